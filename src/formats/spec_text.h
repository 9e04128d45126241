// The one spelling of specs: FORMAT[:OPTION[,OPTION]...].
//
//   options   64 (block of NF4 and FP4), row | expert | block | block128x128 (granularity of the others), nested,
//             blocking=row|flat, axis=-2, scale=absmax|factor, layout=gate_up|up_gate|gate_up_interleaved,
//             nonfinite=saturate, profile=bnb_cpu|bnb_cpu_fp16, dtype=fp32|fp16|bf16
#pragma once

#include "core/report.h"
#include "moeq.h"

namespace moeq {

[[nodiscard]] moeq_status parse_spec(const char* text, moeq_spec* out, Report& report);
// Only what differs from the format's defaults. out: MOEQ_SPEC_TEXT bytes.
[[nodiscard]] moeq_status print_spec(const moeq_spec& spec, char* out, Report& report);

} // namespace moeq
