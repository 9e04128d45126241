// Bytes that a call returns.
#pragma once

#include "api/context.h"
#include "core/report.h"

namespace moeq {

// A copy of `size` bytes, followed by a NUL that is not counted.
[[nodiscard]] moeq_status blob_create(const moeq_context& context, const void* data, int64_t size, moeq_blob** out,
                                      Report& report);

} // namespace moeq
