// Stacks that are quantized on their way into memory: reading no byte that is not needed, whole scale units at a time.
#pragma once

#include "store/load/load_job.h"

namespace moeq::store {

// Quantizes a dense stack, or requantizes one that is quantized otherwise.
[[nodiscard]] moeq_status load_and_encode(const LoadJob& job, Report& report);

} // namespace moeq::store
