// The format table, in the order of MOEQ_FORMAT_LIST.
#include <cstring>

#include "formats/rows.h"

namespace moeq {

namespace {

#define MOEQ_FORMAT_ENTRY(name, id) &k##name##Format,
constexpr const Format* kTable[kFormatCount] = {MOEQ_FORMAT_LIST(MOEQ_FORMAT_ENTRY, MOEQ_FORMAT_ENTRY)};
#undef MOEQ_FORMAT_ENTRY

// Format::kernels relies on it: the list is in the order of the ids, which have no gaps.
#define MOEQ_FORMAT_ID(name, id) MOEQ_FORMAT_##id,
constexpr int32_t kIds[kFormatCount] = {MOEQ_FORMAT_LIST(MOEQ_FORMAT_ID, MOEQ_FORMAT_ID)};
#undef MOEQ_FORMAT_ID
constexpr bool ids_in_order()
{
    for (int32_t i = 0; i < kFormatCount; ++i)
        if (kIds[i] != i + 1)
            return false;
    return true;
}
static_assert(ids_in_order());

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
