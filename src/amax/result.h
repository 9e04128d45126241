// The exact result of one output, and its way into an element of the destination: one rounding.
#pragma once

#include <cstdint>

#include "amax/reduce_plan.h"

namespace moeq::amax {

// Floats: the value itself, or the fp64 sum. Integers: exact, except that sums have wrapped to int64 already.
struct Result {
    bool is_integer;
    double real;
    __int128 whole;

    static Result of_real(double value) { return {false, value, 0}; }
    static Result of_whole(__int128 value) { return {true, 0.0, value}; }
};

// Stores to the nearest, ties to even, and beyond the range as IEEE does (E4M3, which has no Inf: NaN); every NaN as the
// positive quiet one. Integers into a narrower integer saturate, or wrap when the plan says so. Accumulating: amax as the
// maximum in the destination's type, sums in fp64 (int64 for integer destinations) before the rounding.
// Returns MOEQ_SEEN_ bits of the result before it is rounded or joined to the destination.
uint32_t store_result(const Plan& plan, const Result& result, char* element);

} // namespace moeq::amax
