// Options that several nouns read.
#pragma once

#include "core/report.h"

namespace moeq {

// moeq_quantize_options of the caller's, checked by itself; NULL: all defaults. Only builders have a staging_limit.
[[nodiscard]] moeq_status read_quantize_options(const moeq_quantize_options* given, const Argument& argument,
                                                bool for_builder, moeq_quantize_options* out, Report& report);

} // namespace moeq
