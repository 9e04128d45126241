// Rules: which names are those of expert weights, and how these lie. A caller's patterns, then those of the table of families.
#pragma once

#include "store/model/pattern.h"
#include "text/json.h"

namespace moeq::store {

struct Family;

enum class Part : int32_t { kWhole, kGate, kUp };

// Which axis a rank of tensor parallelism has a part of.
enum class Cut : int32_t { kUnknown, kOutput, kContraction };

// What one tensor has.
enum class Holds : int32_t {
    kOne,   // 2-D: one expert, which {expert} tells
    kAll,   // 3-D: all experts
    kFolded // 2-D: all experts, the rows of each behind those of the one before
};

// Where experts of two kinds are numbered through, which kind a rule is for: text, then vision.
enum class Kind : int32_t { kOnly, kFirst, kSecond };

// One kind of name.
struct Rule {
    const char* match;
    const char*
        stack; // its wildcards are those of match; "...gate_up_proj" and "...down_proj", whatever files call them
    Part part;
    Holds holds;
    int32_t scale_axis; // the contraction axis: -1, or -2 where weights are [.., in, out]
    int32_t layout;     // MOEQ_LAYOUT_, of the stack
    Cut cut;
    // Files of this family have both orientations. config.json's hidden_size and the other weight of a layer say which one it is.
    bool either_axis = false;
    // A tensor with all experts keeps its name, by which loaders tell how it lies; others get that of the stack.
    bool own_name = false;
    Kind kind = Kind::kOnly;
    int64_t first_expert = 0; // the number that names have for the stack's first one
    int64_t experts = 0;      // how many of them there are; 0: config.json may say it, and names tell
};

// The rules for one checkpoint, the caller's first. The first one that matches counts.
class Rules {
public:
    explicit Rules(Allocator& allocator) : rules_(allocator), text_(allocator), document_(allocator) {}

    // config: config.json, whose model types, of the whole and of its text model, choose the family. patterns: JSON, or NULL.
    [[nodiscard]] moeq_status collect(const text::JsonValue& config, const char* patterns, int32_t argument,
                                      Report& report);
    const Rule* find(const char* name, int64_t length, int32_t ndim, PatternMatch* match) const;
    // The rule that makes stacks of this name, which a native file has as weights; NULL: none.
    const Rule* find_stack(const char* name, int64_t length, PatternMatch* match) const;
    // Appends what files that are not moeq's call a weight of this name, layout and axis with all experts, and tells whether they
    // have such at all. Nothing is known to be otherwise where the family is unknown, or no rule makes such a stack.
    enum class Fused : int32_t { kNone, kNamed, kOutOfMemory };
    Fused append_fused_name(const char* stack, int64_t length, int32_t layout, int32_t axis, Array<char>* out) const;
    // The rule for tensors that have all experts of one part of such a stack; NULL: there is none.
    const Rule* find_part(const char* stack, int64_t length, Part part, int32_t axis, PatternMatch* match) const;
    const Family* family() const { return family_; } // NULL: none of the table's

private:
    [[nodiscard]] moeq_status parse(const text::JsonValue& config, const char* patterns, int32_t argument,
                                    Report& report);
    [[nodiscard]] bool append(const Rule* rules, int32_t count, const text::JsonValue& config);

    Array<Rule> rules_;
    int64_t common_begin_ = 0; // of those for every type
    Array<char> text_;         // of the patterns, which rules point into
    text::JsonDocument document_;
    const Family* family_ = nullptr;
};

// "" where there is none.
const char* config_model_type(const text::JsonValue& config);

} // namespace moeq::store
