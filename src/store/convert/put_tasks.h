// A range of one entry's bytes, written by tasks that end where the pieces do that digests are of, so that these need not be
// read back.
#pragma once

#include "store/write/safetensors_writer.h"

namespace moeq::store {

constexpr int64_t kPutBytes = 1 << 20; // that a task writes; a multiple of what one digest is of

// Of bytes [begin, begin + count).
inline int64_t put_tasks(int64_t begin, int64_t count)
{
    return ceil_divide(begin + count - round_down(begin, kPutBytes), kPutBytes);
}

// The task-th of them. bytes: those of the range.
[[nodiscard]] inline moeq_status put_piece(SafetensorsWriter& writer, const char* entry, int64_t begin,
                                           const char* bytes, int64_t count, int64_t task, Report& report)
{
    const int64_t first = round_down(begin, kPutBytes) + task * kPutBytes;
    const int64_t from = maximum(first, begin);
    const int64_t to = minimum(first + kPutBytes, begin + count);
    return writer.put(entry, from, bytes + (from - begin), to - from, report);
}

} // namespace moeq::store
