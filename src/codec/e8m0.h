// E8M0: a power of two in a byte, 2^(code - 127), and NaN at 255 (OCP Microscaling Formats 1.0, section 5.4.1); and which power
// of two a block of a microscaling format is divided by.
#pragma once

#include "codec/host_device.h"

namespace moeq::codec {

inline constexpr uint8_t kE8m0Nan = 255;

// Code 0 is a subnormal of fp32.
MOEQ_HOST_DEVICE constexpr uint32_t e8m0_to_float_bits(uint8_t code)
{
    return code == 0 ? 0x00400000u : code == kE8m0Nan ? 0x7FC00000u : static_cast<uint32_t>(code) << 23;
}
MOEQ_HOST_DEVICE inline float e8m0_to_float(uint8_t code) { return float_from_bits(e8m0_to_float_bits(code)); }

// The code of a number that has one.
MOEQ_HOST_DEVICE inline uint8_t float_to_e8m0(float power) { return static_cast<uint8_t>(float_bits(power) >> 23); }

// The least power of two s with amax <= largest * s, so that no code saturates; no less than 2^-127, also for an amax of 0.
// Both as bits of finite fp32 without sign, `largest` 1 or more.
MOEQ_HOST_DEVICE constexpr uint8_t mx_scale_code(uint32_t amax_bits, uint32_t largest_bits)
{
    constexpr uint32_t kMantissa = 0x7FFFFFu;
    const int32_t above = static_cast<int32_t>(largest_bits >> 23) - 127;
    const int32_t code =
        static_cast<int32_t>(amax_bits >> 23) - above + ((amax_bits & kMantissa) > (largest_bits & kMantissa) ? 1 : 0);
    return static_cast<uint8_t>(code > 0 ? code : 0);
}

// What elements are multiplied by on their way to codes: the reciprocal of the scale, exactly. code: below 254.
MOEQ_HOST_DEVICE inline float mx_multiplier(uint8_t code)
{
    return float_from_bits((254u - static_cast<uint32_t>(code)) << 23);
}

} // namespace moeq::codec
