// What is known about the names of expert weights: one table for the families of models, and the patterns that a caller gives.
#pragma once

#include "store/container/json.h"
#include "store/model/pattern.h"

namespace moeq {

enum class Part : int32_t { kWhole, kGate, kUp };

// Which axis a rank of tensor parallelism has a part of.
enum class Cut : int32_t { kUnknown, kOutput, kContraction };

// One kind of name.
struct Rule {
    const char* match;
    const char* stack; // its wildcards are those of match
    Part part;
    int32_t ndim;       // 2: one expert, found by {expert}; 3: all of them
    int32_t scale_axis; // the contraction axis: -1, or -2 where weights are [.., in, out]
    int32_t layout;     // MOEQ_LAYOUT_, of the stack
    Cut cut;
    // Files of this family have both orientations. config.json's hidden_size says which one it is.
    bool either_axis;
};

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
    const char* down;
};

// What is known about some model types.
struct Family {
    const char* types; // separated by spaces
    const Rule* rules;
    int32_t count;
    bool only; // nothing else is known to be right for these
    Linears linears;
    const LinearNames* names; // the first one that a stack's name fits counts
    int32_t name_count;
};

// What the loader of a family (NULL: an unknown one) does with linears of a stack's experts. The stack is named as stacks here
// are: "...gate_up_proj", or "...gate_proj", "...up_proj" and "...down_proj".
Linears linears_of(const Family* family, const char* stack, int64_t length);
// Appends the name of one: of the gate or the up of "...gate_up_proj", or of what a whole stack is. Where linears_of says
// kUnknown it is the usual name, "a.experts.7.up_proj.weight". False: out of memory.
[[nodiscard]] bool append_linear_name(const Family* family, const char* stack, int64_t length, int64_t expert,
                                      Part part, Array<char>* out);

// The rules for one checkpoint, the caller's first. The first one that matches counts.
class Rules {
public:
    explicit Rules(Allocator& allocator) : rules_(allocator), text_(allocator), document_(allocator) {}

    // model_types: the top one of config.json, and that of its text model; "" where there is none. patterns: JSON, or NULL.
    [[nodiscard]] moeq_status collect(const char* const* model_types, int32_t count, const char* patterns,
                                      int32_t argument, Report& report);
    const Rule* find(const char* name, int64_t length, int32_t ndim, PatternMatch* match) const;
    const Family* family() const { return family_; } // NULL: none of the table's

private:
    [[nodiscard]] moeq_status parse(const char* patterns, int32_t argument, Report& report);

    Array<Rule> rules_;
    Array<char> text_; // of the patterns, which rules point into
    JsonDocument document_;
    const Family* family_ = nullptr;
};

// The hidden size of the text model, and the count of its experts; -1 where config.json does not say it.
int64_t config_hidden_size(const JsonValue& config);
int64_t config_expert_count(const JsonValue& config);
// The part of config.json, or of a part of it, that the text model is in; missing: it has none.
JsonValue config_of_part(const JsonValue& config);
// The text model's part of config.json; the whole where it has no parts.
JsonValue config_of_text(const JsonValue& config);

} // namespace moeq
