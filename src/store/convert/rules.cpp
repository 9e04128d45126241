#include "store/convert/rules.h"

#include <cstring>

#include "formats/geometry.h"
#include "formats/spec_text.h"

namespace moeq::store {

namespace {

constexpr int32_t kOptionsArgument = 4; // of moeq_convert and moeq_convert_plan
constexpr const char* kName = "options.rules";

const char* end_of_segment(const char* name)
{
    while (*name != '\0' && *name != '.')
        ++name;
    return name;
}

} // namespace

bool glob_matches(const char* glob, const char* name)
{
    // Where to go on after a mismatch: the last star of each kind, and what it has taken. A `*` cannot take a dot, so when it
    // is stuck the last `**` takes one character more.
    const char *star = nullptr, *star_name = nullptr;
    const char *wide = nullptr, *wide_name = nullptr;
    // Where the first `*` behind that `**` began; and the end of the segment in which one has failed: one that begins later in it
    // could take only what that one could, too. So a name is not walked over once for each of its characters.
    const char *first = nullptr, *failed = nullptr;
    for (;;) {
        const bool hopeless = *glob == '*' && glob[1] != '*' && first == nullptr && failed != nullptr && name <= failed;
        if (glob[0] == '*' && glob[1] == '*') {
            glob += 2;
            wide = glob;
            wide_name = name;
            star = first = failed = nullptr;
        } else if (*glob == '*' && !hopeless) {
            star = ++glob;
            star_name = name;
            first = first == nullptr ? name : first;
        } else if (*name != '\0' && *glob == *name && !hopeless) {
            ++glob;
            ++name;
        } else if (*name == '\0' && *glob == '\0') {
            return true;
        } else if (star != nullptr && *star_name != '\0' && *star_name != '.') {
            glob = star;
            name = ++star_name;
        } else if (wide != nullptr && *wide_name != '\0') {
            failed = first == nullptr ? failed : end_of_segment(first);
            glob = wide;
            name = ++wide_name;
            star = first = nullptr;
        } else {
            return false;
        }
    }
}

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
        if (glob_matches(rule.glob, name)) {
            rule.used = true;
            return &rule;
        }
    return nullptr;
}

} // namespace moeq::store
