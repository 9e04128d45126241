// Names for linears of one expert each that are made of a stack.
#pragma once

#include "store/model/families.h"

namespace moeq::store {

// What the loader of a family (NULL: an unknown one) does with linears of a stack's experts. The stack is named as stacks here
// are: "...gate_up_proj", or "...gate_proj", "...up_proj" and "...down_proj".
Linears linears_of(const Family* family, const char* stack, int64_t length);

// Which kind of experts they are, where linears of two kinds are numbered through.
Kind kind_of(const Family* family, const char* stack, int64_t length);

// A linear of one expert that a stack is cut into.
struct LinearOf {
    const char* stack; // its name
    int64_t length;
    int64_t expert;
    Part part; // the gate or the up of "...gate_up_proj", or what a whole stack is
};
// Appends its name. Where linears_of says kUnknown it is the usual one, "a.experts.7.up_proj.weight". first_kind: how many
// experts the first of two kinds has. False: out of memory.
[[nodiscard]] bool append_linear_name(const Family* family, int64_t first_kind, const LinearOf& linear,
                                      Array<char>* out);

} // namespace moeq::store
