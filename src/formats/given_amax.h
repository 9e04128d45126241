// Absolute maxima that a caller gives instead of having them measured.
#pragma once

#include "core/report.h"
#include "core/tensor_view.h"

namespace moeq {

// VALUE for the first that is negative, NaN or Inf. amax: fp32, one for each expert.
[[nodiscard]] moeq_status check_given_amax(const TensorView& amax, int32_t argument, Report& report);

} // namespace moeq
