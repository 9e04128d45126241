// What is known about families of models: one table of model types, with the names and the layouts of their experts.
#pragma once

#include "store/model/rules.h"

namespace moeq::store {

// Whether the family's own loader, which is transformers', takes experts that are linears of one expert each.
enum class Linears : int32_t {
    kUnknown,  // nothing is known about the type, or about experts of such a name
    kNone,     // it takes fused weights only, and leaves the experts as they were made where it finds linears
    kReplaced, // only where a quantizer puts linears in their place: compressed-tensors, bitsandbytes
    kLoaded,   // it stacks them, or has a module for each of them
};

// What it wants them to be called. Wildcards of `linears` are those of `stacks`.
struct LinearNames {
    const char* stacks;  // the name of a stack without its last segment
    const char* linears; // that of a linear without its own last segment and ".weight", with {expert}
    const char* gate;
    const char* up;
    const char* down; // "": the expert itself is the linear
    Kind kind = Kind::kOnly;
};

// What is known about some model types.
struct Family {
    const char* types; // separated by spaces
    const Rule* rules;
    int32_t count;
    Linears linears;
    const LinearNames* names; // the first one that a stack's name fits counts
    int32_t name_count;
    const char* own_modules = nullptr; // what its experts are, where transformers' FP8 has no module for them
    bool only = false;                 // nothing else is known to be right for these
    const char* odd = nullptr;         // what its experts are, where they are no weights that could be stacked
    bool unplaced = false;             // transformers' model has no parameter of the name of a stack
};

// By config.json's model type, or by that of its text model; NULL: neither is known.
const Family* find_family(const char* type, const char* text_type);

// Names that leave no doubt, and layouts that come with them: for every model type.
extern const Rule kCommonRules[];
extern const int32_t kCommonRuleCount;

} // namespace moeq::store
