// The caller's rules of a conversion: globs over names of weights, and what becomes of what they match.
#pragma once

#include "core/report.h"
#include "text/json.h"

namespace moeq::store {

constexpr int32_t kOptionsArgument = 4; // of moeq_convert and moeq_convert_plan

struct ConvertRule {
    const char* glob; // in the document
    bool dense;       // null: keep as it is
    bool used;
    int32_t dtype; // of "bf16" and its like: what is quantized becomes dense; 0: none of these
    moeq_spec spec;

    // What the weight is to be quantized as; NULL: nothing.
    const moeq_spec* wanted() const { return dense || dtype != 0 ? nullptr : &spec; }
};

class ConvertRules {
public:
    explicit ConvertRules(Allocator& allocator) : text_(allocator), document_(allocator), rules_(allocator) {}

    // text: JSON [{"match": glob, "spec": text, name of a float type, or null}, ...]; NULL: no rules. ARGUMENT tells what is wrong with it.
    [[nodiscard]] moeq_status read(const char* text, Report& report);

    // The first rule that matches, marked as used; NULL: none.
    const ConvertRule* find(const char* name);
    int64_t size() const { return rules_.size(); }
    const ConvertRule& operator[](int64_t i) const { return rules_[i]; }

private:
    [[nodiscard]] moeq_status add(const text::JsonValue& value, int64_t index, Report& report);

    Array<char> text_;
    text::JsonDocument document_;
    Array<ConvertRule> rules_;
};

} // namespace moeq::store
