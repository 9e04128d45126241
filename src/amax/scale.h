// From amax to the number that codes are multiplied by.
#pragma once

#include "core/parallel.h"
#include "core/report.h"
#include "core/tensor_view.h"

namespace moeq::amax {

// destination[i] = factor(amax[i]), rounded once to the destination's type; factor NULL: amax[i] itself. amax: fp32; the
// destination: fp32, fp16 or bf16 of the same shape. VALUE for the first amax, in logical order, that is NaN, Inf or negative.
[[nodiscard]] moeq_status scale_from_amax(const TensorView& amax, float (*factor)(float), const TensorView& destination,
                                          const Executor& executor, Report& report);

} // namespace moeq::amax
