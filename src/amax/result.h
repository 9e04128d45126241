// The exact results of outputs, and their way into elements of the destination: one rounding.
#pragma once

#include <cstdint>

#include "amax/reduce_plan.h"

namespace moeq::amax {

// `count` results to elements `stride` apart, from the one at `first` on. Floats: the value itself, or the fp64 sum. Integers:
// exact, except that sums have wrapped to int64 already.
// Stores to the nearest, ties to even, and beyond the range as IEEE does (E4M3, which has no Inf: NaN); every NaN as the
// positive quiet one. Integers into a narrower integer saturate, or wrap when the plan says so. Accumulating: amax as the
// maximum in the destination's type, sums in fp64 (int64 for integer destinations) before the rounding.
// Returns MOEQ_SEEN_ bits of the results before they are rounded or joined to the destination.
uint32_t store_results(const Plan& plan, const double* results, int64_t count, char* first, int64_t stride);
uint32_t store_results(const Plan& plan, const __int128* results, int64_t count, char* first, int64_t stride);

} // namespace moeq::amax
