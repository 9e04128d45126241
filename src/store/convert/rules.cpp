#include "store/convert/rules.h"

#include <cstring>

#include "formats/geometry.h"
#include "formats/spec_text.h"
#include "text/glob.h"

namespace moeq::store {

namespace {

constexpr const char* kName = "options.rules";

} // namespace

moeq_status ConvertRules::add(const text::JsonValue& value, int64_t index, Report& report)
{
    const text::JsonValue match = value.find("match");
    const text::JsonValue spec = value.find("spec");
    const bool plain =
        match.is_string() && match.length() > 0 && std::strlen(match.text()) == static_cast<uint64_t>(match.length());
    if (!value.is_object())
        return report.fail(MOEQ_ERROR_ARGUMENT, kOptionsArgument, kName)
               << "got rule " << index << " as " << value.kind_name()
               << "; want {\"match\": a glob, \"spec\": a text or null}";
    if (value.size() != 2 || !plain || !(spec.is_string() || spec.is(text::JsonKind::kNull)))
        return report.fail(MOEQ_ERROR_ARGUMENT, kOptionsArgument, kName)
               << "got rule " << index << " of another form; want {\"match\": a glob, \"spec\": a text or null}";
    ConvertRule rule{match.text(), !spec.is_string(), false, 0, {}};
    moeq_error error{};
    Report inner("spec", &error);
    if (!rule.dense)
        rule.dtype = float_dtype(spec.text());
    if (rule.wanted() != nullptr && parse_spec(spec.text(), &rule.spec, inner) != MOEQ_OK)
        return report.fail(MOEQ_ERROR_ARGUMENT, kOptionsArgument, kName)
               << "got rule " << index << " with a wrong " << error.message;
    return rules_.append(rule) ? MOEQ_OK : report.out_of_memory(sizeof(ConvertRule));
}

moeq_status ConvertRules::read(const char* text, Report& report)
{
    if (text == nullptr)
        return MOEQ_OK;
    const int64_t length = static_cast<int64_t>(std::strlen(text));
    if (!text_.reserve(length + 1))
        return report.out_of_memory(static_cast<uint64_t>(length) + 1);
    text_.append_reserved(text, length + 1);
    moeq_error error{};
    Report inner("JSON", &error);
    const moeq_status status = document_.parse(text_.data(), length, {.what = "the rules"}, inner);
    if (status == MOEQ_ERROR_MEMORY)
        return report.out_of_memory(static_cast<uint64_t>(length));
    if (status != MOEQ_OK)
        return report.fail(MOEQ_ERROR_ARGUMENT, kOptionsArgument, kName) << "got " << error.message;
    if (!document_.root().is_array())
        return report.fail(MOEQ_ERROR_ARGUMENT, kOptionsArgument, kName)
               << "got " << document_.root().kind_name()
               << "; want [{\"match\": a glob, \"spec\": a text or null}, ...]";
    int64_t index = 0;
    for (text::JsonMember member = document_.root().first(); !member.done(); member = member.next())
        MOEQ_TRY(add(member.value(), index++, report));
    return MOEQ_OK;
}

const ConvertRule* ConvertRules::find(const char* name)
{
    for (ConvertRule& rule : rules_)
        if (text::glob_matches(rule.glob, name)) {
            rule.used = true;
            return &rule;
        }
    return nullptr;
}

} // namespace moeq::store
