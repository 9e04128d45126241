// Magnitudes as unsigned integers: their maximum is exact, independent of order, and shows NaN and Inf for free.
#pragma once

#include "codec/float16.h"
#include "codec/host_device.h"

namespace moeq::codec {

// The value widened to fp32, sign bit cleared: comparable across dtypes, ordered like the magnitudes, and at or above
// kNonfiniteBits exactly for Inf and NaN.
MOEQ_HOST_DEVICE inline uint32_t magnitude_bits_fp32(float x) { return float_bits(x) & kMagnitudeMask; }

MOEQ_HOST_DEVICE constexpr uint32_t magnitude_bits_fp16(uint16_t x) { return fp16_to_float_bits(x) & kMagnitudeMask; }

MOEQ_HOST_DEVICE constexpr uint32_t magnitude_bits_bf16(uint16_t x) { return bf16_to_float_bits(x) & kMagnitudeMask; }

// The maximum of the finite magnitudes only, for `nonfinite = saturate`: Inf and NaN count as 0.
MOEQ_HOST_DEVICE constexpr uint32_t finite_or_zero(uint32_t magnitude)
{
    return magnitude < kNonfiniteBits ? magnitude : 0u;
}

// `nonfinite = saturate`: NaN becomes +0, Inf the largest finite magnitude `amax` of its scale unit with its own sign.
MOEQ_HOST_DEVICE inline float saturate_nonfinite(float x, float amax)
{
    const uint32_t magnitude = magnitude_bits_fp32(x);
    if (magnitude < kNonfiniteBits) {
        return x;
    }
    const uint32_t sign = float_bits(x) & kSignBit;
    return magnitude == kNonfiniteBits ? float_from_bits(sign | float_bits(amax)) : 0.0f;
}

} // namespace moeq::codec
