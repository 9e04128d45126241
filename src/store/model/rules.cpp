#include "store/model/rules.h"

#include "store/model/families.h"
#include "store/model/model_config.h"
#include "store/model/pattern_entry.h"

namespace moeq::store {

namespace {

constexpr int64_t kPatternsLimit = 1 << 20; // bytes

// Whether a weight of this layout and axis is what a rule's tensors are. One without a layout says nothing of gate and up.
bool lies_as(const Rule& rule, int32_t layout, int32_t axis)
{
    return rule.holds == Holds::kAll && rule.part == Part::kWhole && (rule.either_axis || rule.scale_axis == axis) &&
           (layout == MOEQ_LAYOUT_PLAIN || layout == rule.layout);
}

} // namespace

const char* config_model_type(const text::JsonValue& config)
{
    const text::JsonValue type = config.find("model_type");
    return type.is_string() ? type.text() : "";
}

moeq_status Rules::parse(const text::JsonValue& config, const char* patterns, int32_t argument, Report& report)
{
    const int64_t length = static_cast<int64_t>(strnlen(patterns, kPatternsLimit + 1));
    if (length > kPatternsLimit)
        return report.fail(MOEQ_ERROR_LIMIT, argument, "options.patterns")
               << "got more than " << kPatternsLimit << " bytes; want fewer";
    if (!text_.reserve(length + 1))
        return report.out_of_memory(static_cast<uint64_t>(length) + 1);
    text_.append_reserved(patterns, length + 1);
    {
        moeq_error error{};
        Report inner("", &error);
        const moeq_status status = document_.parse(text_.data(), length, {.what = "JSON"}, inner);
        if (status == MOEQ_ERROR_MEMORY)
            return report.out_of_memory(static_cast<uint64_t>(length));
        if (status != MOEQ_OK) // its message: ": JSON: at byte 3: got ..."
            return report.fail(MOEQ_ERROR_ARGUMENT, argument, "options.patterns")
                   << "got what is no " << std::strstr(error.message, "JSON");
    }
    const text::JsonValue root = document_.root();
    if (!root.is_array())
        return report.fail(MOEQ_ERROR_ARGUMENT, argument, "options.patterns")
               << "got " << root.kind_name() << "; want an array of objects";
    if (!rules_.reserve(root.size()))
        return report.out_of_memory(static_cast<uint64_t>(root.size()) * sizeof(Rule));
    const int64_t experts = config_expert_count(config);
    int64_t index = 0;
    for (text::JsonMember m = root.first(); !m.done(); m = m.next(), ++index) {
        Rule rule;
        MOEQ_TRY(read_pattern(m.value(), index, experts, argument, &rule, report));
        rules_.append_reserved(&rule, 1);
    }
    return MOEQ_OK;
}

// With what config.json says where a rule wants that. One that needs to know how many experts there are is left out where it
// says nothing.
bool Rules::append(const Rule* rules, int32_t count, const text::JsonValue& config)
{
    const int64_t first = config_expert_count(config);
    const int64_t second = config_expert_count(config, 1);
    if (!rules_.reserve(rules_.size() + count))
        return false;
    for (int32_t i = 0; i < count; ++i) {
        Rule rule = rules[i];
        const bool numbered = rule.kind != Kind::kOnly && rule.holds == Holds::kOne;
        if ((numbered || rule.holds == Holds::kFolded) && first <= 0)
            continue;
        if (rule.holds == Holds::kFolded || numbered)
            rule.experts = first;
        if (numbered && rule.kind == Kind::kSecond) {
            rule.first_expert = first;
            rule.experts = second > 0 ? second : first;
        }
        rules_.append_reserved(&rule, 1);
    }
    return true;
}

moeq_status Rules::collect(const text::JsonValue& config, const char* patterns, int32_t argument, Report& report)
{
    if (patterns != nullptr)
        MOEQ_TRY(parse(config, patterns, argument, report));
    family_ = find_family(config_model_type(config), config_model_type(config_of_text(config)));
    bool fits = family_ == nullptr || append(family_->rules, family_->count, config);
    common_begin_ = rules_.size();
    if (family_ == nullptr || !family_->only)
        fits = fits && append(kCommonRules, kCommonRuleCount, config);
    return fits ? MOEQ_OK : report.out_of_memory(sizeof(Rule));
}

const Rule* Rules::find(const char* name, int64_t length, int32_t ndim, PatternMatch* match) const
{
    for (const Rule& rule : rules_) {
        if ((rule.holds == Holds::kAll ? 3 : 2) != ndim || !match_pattern(rule.match, name, length, match))
            continue;
        if (rule.holds != Holds::kOne)
            return &rule;
        const int64_t expert = match->expert - rule.first_expert;
        if (expert >= 0 && (rule.experts == 0 || expert < rule.experts))
            return &rule;
    }
    return nullptr;
}

const Rule* Rules::find_stack(const char* name, int64_t length, PatternMatch* match) const
{
    for (const Rule& rule : rules_)
        if (match_pattern(rule.stack, name, length, match))
            return &rule;
    return nullptr;
}

const Rule* Rules::find_part(const char* stack, int64_t length, Part part, int32_t axis, PatternMatch* match) const
{
    for (int64_t i = 0; i < common_begin_; ++i) {
        const Rule& rule = rules_[i];
        if (rule.holds != Holds::kOne && rule.part == part && rule.scale_axis == axis &&
            match_pattern(rule.stack, stack, length, match))
            return &rule;
    }
    return nullptr;
}

Rules::Fused Rules::append_fused_name(const char* stack, int64_t length, int32_t layout, int32_t axis,
                                      Array<char>* out) const
{
    const auto append = [&](const char* text, const PatternMatch& match) {
        return append_filled(text, match, out) ? Fused::kNamed : Fused::kOutOfMemory;
    };
    bool made = false;
    PatternMatch match;
    for (int64_t i = 0; i < rules_.size(); ++i) {
        const Rule& rule = rules_[i];
        if (!match_pattern(rule.stack, stack, length, &match))
            continue;
        made = true;
        if (i < common_begin_ && lies_as(rule, layout, axis))
            return append(rule.own_name ? rule.match : rule.stack, match);
    }
    if (made && family_ != nullptr)
        return Fused::kNone;
    if (!out->reserve(out->size() + length))
        return Fused::kOutOfMemory;
    out->append_reserved(stack, length);
    return Fused::kNamed;
}

} // namespace moeq::store
