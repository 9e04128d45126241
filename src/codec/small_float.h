// Rounding of a finite fp32 magnitude to a narrower binary float by integer arithmetic: shared by fp16, E4M3 and E5M2.
#pragma once

#include "codec/host_device.h"

namespace moeq::codec {

// Returns the code (exponent and mantissa fields, no sign) of `magnitude` rounded to nearest even, for a format with
// kMantissaBits of mantissa and exponent bias kBias. `magnitude` is the bits of a finite fp32 without its sign.
// The exponent is not bounded above: the caller clamps or turns what is too large into its Inf.
// Integers only, so flush-to-zero modes cannot change the result.
template <int kMantissaBits, int kBias>
MOEQ_HOST_DEVICE constexpr uint32_t round_magnitude(uint32_t magnitude)
{
    constexpr int kDropped = 23 - kMantissaBits;
    constexpr uint32_t kSmallestNormal = static_cast<uint32_t>(127 + 1 - kBias) << 23;
    if (magnitude >= kSmallestNormal) {
        const uint32_t odd = (magnitude >> kDropped) & 1u;
        const uint32_t rounded = (magnitude + ((1u << (kDropped - 1)) - 1u) + odd) >> kDropped;
        return rounded - (static_cast<uint32_t>(127 - kBias) << kMantissaBits);
    }
    // The result is a count of the format's smallest subnormal, 2^(1 - bias - mantissa bits); the significand below is
    // value * 2^(150 - exponent). An fp32 subnormal lies far below half a unit of any of these formats and gives 0.
    const int exponent = static_cast<int>(magnitude >> 23);
    const int shift = 151 - kBias - kMantissaBits - exponent;
    if (shift > 24) {
        return 0;
    }
    const uint32_t significand = (magnitude & 0x7FFFFFu) | 0x800000u;
    const uint32_t odd = (significand >> shift) & 1u;
    return (significand + ((1u << (shift - 1)) - 1u) + odd) >> shift;
}

// The fp32 magnitude bits of a code below the format's Inf and NaN codes.
template <int kMantissaBits, int kBias>
MOEQ_HOST_DEVICE constexpr uint32_t widen_magnitude(uint32_t code)
{
    if (code >> kMantissaBits != 0) {
        return (code << (23 - kMantissaBits)) + (static_cast<uint32_t>(127 - kBias) << 23);
    }
    if (code == 0) {
        return 0;
    }
    // Subnormal: move the leading bit up to the place of the implicit one.
    uint32_t significand = code << (23 - kMantissaBits);
    uint32_t exponent = static_cast<uint32_t>(127 + 1 - kBias);
    while ((significand & 0x800000u) == 0) {
        significand <<= 1;
        --exponent;
    }
    return (exponent << 23) | (significand & 0x7FFFFFu);
}

} // namespace moeq::codec
