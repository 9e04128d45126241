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

// The rules for one checkpoint, the caller's first. The first one that matches counts.
class Rules {
public:
    explicit Rules(Allocator& allocator) : rules_(allocator), text_(allocator), document_(allocator) {}

    // model_types: the top one of config.json, and that of its text model; "" where there is none. patterns: JSON, or NULL.
    [[nodiscard]] moeq_status collect(const char* const* model_types, int32_t count, const char* patterns,
                                      int32_t argument, Report& report);
    const Rule* find(const char* name, int64_t length, int32_t ndim, PatternMatch* match) const;

private:
    [[nodiscard]] moeq_status parse(const char* patterns, int32_t argument, Report& report);

    Array<Rule> rules_;
    Array<char> text_; // of the patterns, which rules point into
    JsonDocument document_;
};

// The hidden size of the text model, and the count of its experts; -1 where config.json does not say it.
int64_t config_hidden_size(const JsonValue& config);
int64_t config_expert_count(const JsonValue& config);
// The text model's part of config.json; the whole where it has no parts.
JsonValue config_of_text(const JsonValue& config);

} // namespace moeq
