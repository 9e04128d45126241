// FP8: E4M3 (the "FN" variant: no Inf, NaN at 0x7F and 0xFF) and E5M2 (IEEE-like: Inf at 0x7C, NaN above).
#pragma once

#include "codec/host_device.h"
#include "codec/small_float.h"

namespace moeq::codec {

inline constexpr float kE4m3Max = 448.0f;
inline constexpr float kE5m2Max = 57344.0f;
inline constexpr uint8_t kE4m3MaxCode = 0x7E;
inline constexpr uint8_t kE5m2MaxCode = 0x7B;

// Decoding is total: NaN codes give the quiet NaN with the code's sign.
MOEQ_HOST_DEVICE constexpr uint32_t e4m3_to_float_bits(uint8_t code)
{
    const uint32_t sign = static_cast<uint32_t>(code & 0x80u) << 24;
    const uint32_t magnitude = code & 0x7Fu;
    return sign | (magnitude == 0x7Fu ? 0x7FC00000u : widen_magnitude<3, 7>(magnitude));
}

MOEQ_HOST_DEVICE inline float e4m3_to_float(uint8_t code) { return float_from_bits(e4m3_to_float_bits(code)); }

// Inf codes decode to Inf; NaN codes to a quiet NaN that keeps sign and payload.
MOEQ_HOST_DEVICE constexpr uint32_t e5m2_to_float_bits(uint8_t code)
{
    const uint32_t sign = static_cast<uint32_t>(code & 0x80u) << 24;
    const uint32_t magnitude = code & 0x7Fu;
    if (magnitude < 0x7Cu) {
        return sign | widen_magnitude<2, 15>(magnitude);
    }
    const uint32_t payload = (magnitude & 3u) << 21;
    return sign | kNonfiniteBits | payload | (payload != 0 ? 0x400000u : 0u);
}

MOEQ_HOST_DEVICE inline float e5m2_to_float(uint8_t code) { return float_from_bits(e5m2_to_float_bits(code)); }

// Encoding: round to nearest even, saturate at the largest finite value (Inf too), NaN gives 0x00. The sign of a value
// that rounds to zero is kept (0x80). Neither Inf nor NaN is ever produced.
template <int kMantissaBits, int kBias>
MOEQ_HOST_DEVICE constexpr uint8_t fp8_from_float_bits(uint32_t bits, uint32_t max_bits, uint8_t max_code)
{
    const uint32_t magnitude = bits & kMagnitudeMask;
    if (magnitude > kNonfiniteBits) {
        return 0;
    }
    const uint32_t code = magnitude >= max_bits ? max_code : round_magnitude<kMantissaBits, kBias>(magnitude);
    return static_cast<uint8_t>(((bits >> 24) & 0x80u) | code);
}

MOEQ_HOST_DEVICE inline uint8_t float_to_e4m3(float value)
{
    return fp8_from_float_bits<3, 7>(float_bits(value), 0x43E00000u /* 448 */, kE4m3MaxCode);
}

MOEQ_HOST_DEVICE inline uint8_t float_to_e5m2(float value)
{
    return fp8_from_float_bits<2, 15>(float_bits(value), 0x47600000u /* 57344 */, kE5m2MaxCode);
}

// Decode with scale s, the number a code is multiplied by: one fp32 product.
MOEQ_HOST_DEVICE inline float e4m3_decode(uint8_t code, float scale) { return multiply(e4m3_to_float(code), scale); }
MOEQ_HOST_DEVICE inline float e5m2_decode(uint8_t code, float scale) { return multiply(e5m2_to_float(code), scale); }

} // namespace moeq::codec
