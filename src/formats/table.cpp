// The format table, in the order of MOEQ_FORMAT_LIST.
#include <cstring>

#include "formats/rows.h"

namespace moeq {

namespace {

#define MOEQ_FORMAT_ENTRY(name, id) &k##name##Format,
constexpr const Format* kTable[kFormatCount] = {MOEQ_FORMAT_LIST(MOEQ_FORMAT_ENTRY)};
#undef MOEQ_FORMAT_ENTRY

// Format::index relies on it: ids have no gaps.
#define MOEQ_FORMAT_IN_ORDER(name, id) static_assert(MOEQ_FORMAT_##id == k##name + 1);
MOEQ_FORMAT_LIST(MOEQ_FORMAT_IN_ORDER)
#undef MOEQ_FORMAT_IN_ORDER

} // namespace

const Format& format_at(int32_t index) { return *kTable[index]; }

const Format* find_format(int32_t id)
{
    for (const Format* format : kTable)
        if (format->id == id)
            return format;
    return nullptr;
}

const Format* find_format(const char* name, int64_t length)
{
    for (const Format* format : kTable)
        if (std::strlen(format->name) == static_cast<uint64_t>(length) &&
            std::memcmp(format->name, name, static_cast<uint64_t>(length)) == 0)
            return format;
    return nullptr;
}

} // namespace moeq
