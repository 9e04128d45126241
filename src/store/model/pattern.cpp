#include "store/model/pattern.h"

#include "core/checked.h"
#include "core/text.h"
#include "text/glob.h"

namespace moeq::store {

namespace {

constexpr int64_t kIndexDigits = 9; // of an expert: no more than an int32_t

using Segment = PatternMatch::Text;

bool equals(const Segment& segment, const char* text)
{
    const int64_t length = static_cast<int64_t>(std::strlen(text));
    return segment.length == length && std::memcmp(segment.begin, text, static_cast<uint64_t>(length)) == 0;
}
bool is_wildcard(const Segment& segment) { return equals(segment, "*") || equals(segment, "**"); }

constexpr char kExpert[] = "{expert}";
constexpr int64_t kExpertLength = sizeof kExpert - 1;

// Where {expert} begins in a segment of a pattern: "expert_{expert}"; -1: it has none.
int64_t find_expert(const Segment& segment)
{
    const void* brace = std::memchr(segment.begin, '{', static_cast<uint64_t>(segment.length));
    if (brace == nullptr)
        return -1;
    const int64_t at = static_cast<const char*>(brace) - segment.begin;
    const bool whole = at + kExpertLength <= segment.length &&
                       std::memcmp(segment.begin + at, kExpert, static_cast<uint64_t>(kExpertLength)) == 0;
    return whole ? at : -1;
}

// The last segment of [begin, begin + length); takes it and the dot before it away. -1 is left when it was the first one.
Segment take_last(const char* begin, int64_t* length)
{
    int64_t at = *length;
    while (at > 0 && begin[at - 1] != '.')
        --at;
    const Segment segment{begin + at, *length - at};
    *length = at - 1;
    return segment;
}

// An index has one spelling only: "7" and "07" would be one expert twice.
bool parse_index(const Segment& segment, int64_t* out)
{
    if (segment.length == 0 || segment.length > kIndexDigits || (segment.begin[0] == '0' && segment.length > 1))
        return false;
    int64_t value = 0;
    for (int64_t i = 0; i < segment.length; ++i) {
        if (segment.begin[i] < '0' || segment.begin[i] > '9')
            return false;
        value = value * 10 + (segment.begin[i] - '0');
    }
    *out = value;
    return true;
}

// Whether a segment has what means something, but for the {expert} at `expert` (-1: none).
bool has_special(const Segment& segment, int64_t expert)
{
    for (int64_t i = 0; i < segment.length; ++i) {
        if (i == expert)
            i += kExpertLength;
        if (i < segment.length && std::strchr("*{}", segment.begin[i]) != nullptr)
            return true;
    }
    return false;
}

// visit(segment, first) from the last one to the first, until it returns false.
template <class Visit>
void for_each_segment(const char* text, Visit visit)
{
    int64_t left = static_cast<int64_t>(std::strlen(text));
    while (left >= 0) {
        const Segment segment = take_last(text, &left);
        if (!visit(segment, left < 0))
            return;
    }
}

} // namespace

const char* pattern_fault(const char* pattern)
{
    const char* fault = nullptr;
    int32_t wildcards = 0;
    int32_t experts = 0;
    for_each_segment(pattern, [&](const Segment& segment, bool first) {
        const int64_t expert = find_expert(segment);
        if (segment.length == 0)
            fault = "an empty segment";
        else if (equals(segment, "**") && !first)
            fault = "** behind the first segment";
        else if (is_wildcard(segment))
            fault = ++wildcards > kPatternWildcards ? "more than 8 wildcards" : nullptr;
        else if (expert >= 0 && ++experts > 1)
            fault = "{expert} twice";
        else if (has_special(segment, expert))
            fault = "*, { or } inside a segment";
        return fault == nullptr;
    });
    return fault;
}

const char* template_fault(const char* text, const char* pattern)
{
    const char* fault = pattern_fault(text);
    if (fault != nullptr)
        return fault;
    int64_t left = static_cast<int64_t>(std::strlen(pattern));
    for_each_segment(text, [&](const Segment& segment, bool) {
        if (find_expert(segment) >= 0)
            fault = "{expert}, which a stack has all of";
        if (!is_wildcard(segment) || fault != nullptr)
            return fault == nullptr;
        Segment wanted{};
        while (left >= 0 && !is_wildcard(wanted))
            wanted = take_last(pattern, &left);
        if (!is_wildcard(wanted) || wanted.length != segment.length)
            fault = "other wildcards than match";
        return fault == nullptr;
    });
    while (fault == nullptr && left >= 0)
        if (is_wildcard(take_last(pattern, &left)))
            fault = "fewer wildcards than match: stacks would run into each other";
    return fault;
}

// A pattern is a glob of which few texts are one: no two ways of matching it differ, so that what its stars stand for can be
// looked at afterwards.
bool match_pattern(const char* pattern, const char* name, int64_t length, PatternMatch* out)
{
    text::GlobMatch match;
    if (!text::match_glob(pattern, name, length, kExpert, &match))
        return false;
    out->expert = -1;
    out->count = 0;
    for (int32_t i = match.count - 1; i >= 0; --i) {
        const text::GlobMatch::Star& star = match.stars[i];
        const Segment taken{name + star.begin, star.length};
        if (pattern[star.at] == *kExpert) {
            if (!parse_index(taken, &out->expert))
                return false;
            continue;
        }
        const bool wide = pattern[star.at + 1] == '*';
        if (taken.length == 0 && !wide)
            return false;
        out->wildcards[out->count++] = taken;
    }
    return true;
}

bool append_filled(const char* text, const PatternMatch& match, Array<char>* out)
{
    char buffer[32];
    Text number(buffer, sizeof buffer);
    number.add(match.expert);
    int64_t length = static_cast<int64_t>(std::strlen(text)) + static_cast<int64_t>(number.size());
    for (int32_t i = 0; i < match.count; ++i)
        length += match.wildcards[i].length;
    if (!out->reserve(out->size() + length))
        return false;
    int32_t next = 0;
    for (const char* at = text; *at != '\0';) {
        const char* end = at;
        while (*end != '\0' && *end != '.')
            ++end;
        Segment segment{at, end - at};
        const int64_t expert = find_expert(segment);
        if (is_wildcard(segment) && next < match.count)
            segment = match.wildcards[next++];
        if (expert >= 0) {
            out->append_reserved(at, expert);
            out->append_reserved(number.c_str(), static_cast<int64_t>(number.size()));
            segment = {at + expert + kExpertLength, segment.length - expert - kExpertLength};
        }
        out->append_reserved(segment.begin, segment.length);
        if (*end == '.')
            out->append_reserved(end, 1);
        at = *end == '.' ? end + 1 : end;
    }
    return true;
}

} // namespace moeq::store
