// Options that several nouns read.
#pragma once

#include "core/report.h"

namespace moeq {

// moeq_quantize_options of the caller's, checked by itself; NULL: all defaults. Only builders have a staging_limit.
[[nodiscard]] moeq_status read_quantize_options(const moeq_quantize_options* given, int32_t argument, bool for_builder,
                                                moeq_quantize_options* out, Report& report);

// A place for new memory: only the host's for now. Arguments of a function of their own, or fields of `type_name`.
[[nodiscard]] moeq_status check_host_device(int32_t device_type, int32_t device_id, int32_t type_argument,
                                            int32_t id_argument, const char* type_name, const char* id_name,
                                            Report& report);

} // namespace moeq
