// What a conversion is asked for.
#pragma once

#include <string>
#include <vector>

#include "moeq.h"
#include "random/dice.h"

namespace moeq_random {

struct Options {
    std::string spec;  // empty: none
    std::string rules; // empty: none
    std::string patterns;
    int32_t dialect = MOEQ_DIALECT_NATIVE;
    int32_t flags = 0;
    int32_t dense = 0; // a dense target, without a spec
};

// names: of tensors and stacks that rules may reach.
Options make_options(Dice& dice, const std::vector<std::string>& names, const std::string& patterns);
std::string make_spec(Dice& dice, int32_t dialect);
const char* dialect_word(int32_t dialect);

} // namespace moeq_random
