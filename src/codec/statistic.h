// From the largest magnitude of a scale unit (row, block, tile, tensor) to what encoding multiplies by and what is
// stored.
#pragma once

#include "codec/host_device.h"

namespace moeq::codec {

// What x is multiplied by on its way to a code: t = fl(fl(x * prescale) * value). `prescale` is 1, or 2^100 when the
// amax is so small that its reciprocal would overflow (the first product is then exact for every |x| <= amax). `value`
// is 0 for an amax of 0, and then every code is that of +0.
struct Multiplier {
    float prescale;
    float value;
};

inline constexpr uint32_t kLargestFiniteBits = 0x7F7FFFFFu;
inline constexpr uint32_t kTinyAmaxBits = 0x0D800000u;     // 2^-100
inline constexpr uint32_t kTinyPrescaleBits = 0x71800000u; // 2^100

// The argument of the code functions. A multiplier of 0 gives +0 for every x, also for -0.0, Inf and NaN.
MOEQ_HOST_DEVICE inline float code_argument(float x, Multiplier m)
{
    if (m.value == 0.0f) {
        return 0.0f;
    }
    return multiply(multiply(x, m.prescale), m.value);
}

// fl(numerator / a) under the tiny-amax rule; a is finite and not negative.
MOEQ_HOST_DEVICE inline Multiplier multiplier_of(float numerator, float a)
{
    if (a == 0.0f) {
        return {1.0f, 0.0f};
    }
    if (float_bits(a) < kTinyAmaxBits) {
        const float prescale = float_from_bits(kTinyPrescaleBits);
        return {prescale, divide(numerator, multiply(a, prescale))};
    }
    return {1.0f, divide(numerator, a)};
}

// int8: fl(127 / a). FP8: fl(max / a), max = 448 or 57344. NF4, FP4 and the dynamic map: fl(1 / a).
MOEQ_HOST_DEVICE inline Multiplier int8_multiplier(float a) { return multiplier_of(127.0f, a); }
MOEQ_HOST_DEVICE inline Multiplier fp8_multiplier(float a, float max) { return multiplier_of(max, a); }
MOEQ_HOST_DEVICE inline Multiplier unit_multiplier(float a) { return multiplier_of(1.0f, a); }

// Stored factors: fl(a / 127) and fl(a / max). For the one amax where 127 * fl(a / 127) would overflow, the largest
// finite fp32, the int8 factor is the fp32 below, so that every finite row decodes to finite values.
MOEQ_HOST_DEVICE inline float int8_factor(float a)
{
    const float factor = divide(a, 127.0f);
    return float_bits(a) == kLargestFiniteBits ? float_from_bits(float_bits(factor) - 1u) : factor;
}
MOEQ_HOST_DEVICE inline float fp8_factor(float a, float max) { return divide(a, max); }

// ---- Compatibility with bitsandbytes' CPU path (no prescaling there) ----

// fl(fl(1 / a) * 127). Where that overflows (a below about 2^-121) every code is 0 there, which a value of 0 says.
MOEQ_HOST_DEVICE inline Multiplier int8_multiplier_bnb_cpu(float a)
{
    const float value = a == 0.0f ? 0.0f : multiply(divide(1.0f, a), 127.0f);
    return {1.0f, float_bits(value) >= kNonfiniteBits ? 0.0f : value};
}

inline constexpr uint32_t kBnbCpuFloorBits = 0x006CE3EEu; // 1e-38

MOEQ_HOST_DEVICE inline float bnb_cpu_floored(float a)
{
    const float floor = float_from_bits(kBnbCpuFloorBits);
    return a > floor ? a : floor;
}

MOEQ_HOST_DEVICE inline float clamp_to_unit(float t)
{
    const float low = t > -1.0f ? t : -1.0f;
    return low < 1.0f ? low : 1.0f;
}

// 4-bit, a full block: multiplier fl(1 / max(a, 1e-38)), argument clamped to [-1, 1]; a itself is stored.
MOEQ_HOST_DEVICE inline float block_multiplier_bnb_cpu(float a) { return divide(1.0f, bnb_cpu_floored(a)); }

MOEQ_HOST_DEVICE inline float block_argument_bnb_cpu(float x, float multiplier)
{
    return clamp_to_unit(multiply(x, multiplier));
}

// 4-bit, the last block when it is partial: a true division by max(a, 1e-38), and that maximum is what is stored.
MOEQ_HOST_DEVICE inline float partial_block_argument_bnb_cpu(float x, float a)
{
    return clamp_to_unit(divide(x, bnb_cpu_floored(a)));
}

MOEQ_HOST_DEVICE inline float stored_absmax_bnb_cpu(float a, bool partial_block)
{
    return partial_block ? bnb_cpu_floored(a) : a;
}

} // namespace moeq::codec
