// int8, symmetric: the code of a scaled value and the two decodes (statistic stored as absmax, or as factor).
#pragma once

#include "codec/host_device.h"

namespace moeq::codec {

// fp32 nearest to 1/127.
inline constexpr uint32_t kInverse127Bits = 0x3C010204u;

// The code of an already scaled value t: round to nearest even, clamped to +-127; NaN gives 0.
MOEQ_HOST_DEVICE inline int8_t int8_round(float t)
{
    if (is_nan(t)) {
        return 0;
    }
    const float low = t > -127.0f ? t : -127.0f;
    const float clamped = low < 127.0f ? low : 127.0f;
    // 1.5 * 2^23 has a unit in the last place of 1: the addition rounds to an integer and leaves it in the low bits.
    const uint32_t shifted = float_bits(add(clamped, 12582912.0f));
    return static_cast<int8_t>(static_cast<int32_t>(shifted) - 0x4B400000);
}

// code = clamp(rne(fl(x * multiplier)), -127, 127). The multiplier is statistic.h's.
MOEQ_HOST_DEVICE inline int8_t int8_code(float x, float multiplier) { return int8_round(multiply(x, multiplier)); }

// Decode from the stored absmax a: fl(fl(q * a) * fl(1/127)), the two roundings of bitsandbytes. From |a| = 2^120 on,
// where q * a could overflow, a is scaled by 2^-8 first and the result by 2^8 (both exact). A scale of NaN or Inf, or a
// code of -128 in somebody else's file, goes through the same arithmetic.
MOEQ_HOST_DEVICE inline float int8_decode_absmax(int8_t q, float a)
{
    const float inverse = float_from_bits(kInverse127Bits);
    const float code = static_cast<float>(q);
    if ((float_bits(a) & kMagnitudeMask) >= 0x7B800000u /* 2^120 */) {
        return multiply(multiply(multiply(code, multiply(a, 0.00390625f)), inverse), 256.0f);
    }
    return multiply(multiply(code, a), inverse);
}

// Decode from the stored factor s: fl(q * s).
MOEQ_HOST_DEVICE inline float int8_decode_factor(int8_t q, float s) { return multiply(static_cast<float>(q), s); }

} // namespace moeq::codec
