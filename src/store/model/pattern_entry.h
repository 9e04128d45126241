// One entry of a caller's patterns: an object with match, stack and what the weights are like.
#pragma once

#include "store/model/rules.h"

namespace moeq::store {

// Reads one entry of a caller's patterns; ARGUMENT says what is wrong with it. `experts`: as config.json says; -1: it does not.
[[nodiscard]] moeq_status read_pattern(const text::JsonValue& entry, int64_t index, int64_t experts, int32_t argument,
                                       Rule* out, Report& report);

} // namespace moeq::store
