// Codes and scales that are in the files already, as a handle has them.
#pragma once

#include "store/load/load_job.h"

namespace moeq::store {

// Copies the components of a stack that is quantized already.
[[nodiscard]] moeq_status load_components(const LoadJob& job, Report& report);

} // namespace moeq::store
