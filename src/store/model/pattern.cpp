#include "store/model/pattern.h"

#include "core/checked.h"
#include "core/text.h"

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

// Whether a segment of a name is one of a pattern that has {expert} at `at`, with what stands around it.
bool match_expert(const Segment& wanted, int64_t at, const Segment& segment, int64_t* out)
{
    const int64_t tail = wanted.length - at - kExpertLength;
    const char* const end = segment.begin + segment.length;
    return segment.length > at + tail && std::memcmp(segment.begin, wanted.begin, static_cast<uint64_t>(at)) == 0 &&
           std::memcmp(end - tail, wanted.begin + at + kExpertLength, static_cast<uint64_t>(tail)) == 0 &&
           parse_index({segment.begin + at, segment.length - at - tail}, out);
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

bool match_pattern(const char* pattern, const char* name, int64_t length, PatternMatch* out)
{
    int64_t pattern_left = static_cast<int64_t>(std::strlen(pattern));
    int64_t left = length;
    out->expert = -1;
    out->count = 0;
    while (pattern_left >= 0) {
        const Segment wanted = take_last(pattern, &pattern_left);
        if (left < 0)
            return false;
        if (equals(wanted, "**")) {
            out->wildcards[out->count++] = {name, left};
            left = -1;
            break;
        }
        const Segment segment = take_last(name, &left);
        if (equals(wanted, "*")) {
            if (segment.length == 0)
                return false;
            out->wildcards[out->count++] = segment;
        } else if (const int64_t at = find_expert(wanted); at >= 0) {
            if (!match_expert(wanted, at, segment, &out->expert))
                return false;
        } else if (segment.length != wanted.length ||
                   std::memcmp(segment.begin, wanted.begin, static_cast<uint64_t>(wanted.length)) != 0) {
            return false;
        }
    }
    // They were found from the back.
    for (int32_t i = 0; i < out->count / 2; ++i)
        std::swap(out->wildcards[i], out->wildcards[out->count - 1 - i]);
    return left < 0;
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
