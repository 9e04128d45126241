// Elements of the three weight types in NEON registers: loads that widen to fp32, stores that round, and the packing of
// 16 results into bytes. The kernels work on groups of 32; what is left over goes through a buffer. Products are never
// fused with sums here: no vfma. Everything has internal linkage, as in the other tiers.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "codec/amax.h"
#include "codec/float16.h"
#include "codec/statistic.h"
#include "core/dtype.h"
#include "cpu/elements.h"

namespace moeq::cpu::neon {

namespace {

constexpr int64_t kGroup = 32;

MOEQ_TIER_INLINE uint8x16_t load_bytes(const void* at) { return vld1q_u8(static_cast<const uint8_t*>(at)); }
MOEQ_TIER_INLINE uint16x8_t load_words(const void* at) { return vreinterpretq_u16_u8(load_bytes(at)); }
MOEQ_TIER_INLINE uint32x4_t load_dwords(const void* at) { return vreinterpretq_u32_u8(load_bytes(at)); }
MOEQ_TIER_INLINE float32x4_t load_floats(const void* at) { return vreinterpretq_f32_u8(load_bytes(at)); }
MOEQ_TIER_INLINE void store_bytes(void* at, uint8x16_t bytes) { vst1q_u8(static_cast<uint8_t*>(at), bytes); }

// ---- Loads ----

// 16 elements, 4 to a register.
template <FloatType type>
MOEQ_TIER_INLINE void load16(const void* at, float32x4_t x[4])
{
    if constexpr (type == kFp32) {
        for (int part = 0; part < 4; ++part)
            x[part] = load_floats(element_at<type>(at, 4 * part));
    } else {
        for (int half = 0; half < 2; ++half) {
            const uint16x8_t words = load_words(element_at<type>(at, 8 * half));
            if constexpr (type == kFp16) {
                const float16x8_t halves = vreinterpretq_f16_u16(words);
                x[2 * half] = vcvt_f32_f16(vget_low_f16(halves));
                x[2 * half + 1] = vcvt_high_f32_f16(halves);
            } else {
                const uint16x8_t zero = vdupq_n_u16(0);
                x[2 * half] = vreinterpretq_f32_u16(vzip1q_u16(zero, words));
                x[2 * half + 1] = vreinterpretq_f32_u16(vzip2q_u16(zero, words));
            }
        }
    }
}

// ---- Packing ----

// The lowest, or the highest, byte of each of 16 dwords.
MOEQ_TIER_INLINE uint8x16_t pack_low_bytes(const uint32x4_t v[4])
{
    const uint16x8_t first = vuzp1q_u16(vreinterpretq_u16_u32(v[0]), vreinterpretq_u16_u32(v[1]));
    const uint16x8_t last = vuzp1q_u16(vreinterpretq_u16_u32(v[2]), vreinterpretq_u16_u32(v[3]));
    return vuzp1q_u8(vreinterpretq_u8_u16(first), vreinterpretq_u8_u16(last));
}

MOEQ_TIER_INLINE uint8x16_t pack_high_bytes(const float32x4_t v[4])
{
    const uint16x8_t first = vuzp2q_u16(vreinterpretq_u16_f32(v[0]), vreinterpretq_u16_f32(v[1]));
    const uint16x8_t last = vuzp2q_u16(vreinterpretq_u16_f32(v[2]), vreinterpretq_u16_f32(v[3]));
    return vuzp2q_u8(vreinterpretq_u8_u16(first), vreinterpretq_u8_u16(last));
}

// ---- Rounding and stores ----

// bf16 to nearest even in the upper half of each dword; as codec::bf16_from_float_bits.
template <bool kWithNan>
MOEQ_TIER_INLINE uint16x8_t round_bf16(float32x4_t value)
{
    const uint32x4_t bits = vreinterpretq_u32_f32(value);
    const uint32x4_t odd = vtstq_u32(bits, vdupq_n_u32(0x10000)); // -1 where it is
    uint32x4_t rounded = vsubq_u32(vaddq_u32(bits, vdupq_n_u32(0x7FFF)), odd);
    if constexpr (kWithNan) {
        const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
        rounded = vbslq_u32(vceqq_f32(value, value), rounded, quiet);
    }
    return vreinterpretq_u16_u32(rounded);
}

template <bool kWithNan>
MOEQ_TIER_INLINE uint16x8_t narrow_bf16(float32x4_t first, float32x4_t second)
{
    return vuzp2q_u16(round_bf16<kWithNan>(first), round_bf16<kWithNan>(second));
}

MOEQ_TIER_INLINE uint16x8_t narrow_fp16(float32x4_t first, float32x4_t second)
{
    return vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(first), second));
}

// 16 elements.
template <FloatType type, bool kWithNan>
MOEQ_TIER_INLINE void store16(void* at, const float32x4_t v[4])
{
    if constexpr (type == kFp32) {
        for (int part = 0; part < 4; ++part)
            store_bytes(element_at<type>(at, 4 * part), vreinterpretq_u8_f32(v[part]));
    } else {
        for (int half = 0; half < 2; ++half) {
            const uint16x8_t words = type == kFp16 ? narrow_fp16(v[2 * half], v[2 * half + 1])
                                                   : narrow_bf16<kWithNan>(v[2 * half], v[2 * half + 1]);
            store_bytes(element_at<type>(at, 8 * half), vreinterpretq_u8_u16(words));
        }
    }
}

// ---- Multipliers ----

// fl(fl(x * prescale) * value); the first product is left out where the prescale is 1.
template <bool kPrescale>
MOEQ_TIER_INLINE float32x4_t scaled(float32x4_t x, float32x4_t prescale, float32x4_t value)
{
    return vmulq_f32(kPrescale ? vmulq_f32(x, prescale) : x, value);
}

// x where the mask is set, +0 elsewhere.
MOEQ_TIER_INLINE float32x4_t where(uint32x4_t mask, float32x4_t x)
{
    return vreinterpretq_f32_u32(vandq_u32(mask, vreinterpretq_u32_f32(x)));
}

// codec::code_argument for 4 elements, each with its own multiplier: a value of 0 gives +0.
MOEQ_TIER_INLINE float32x4_t code_arguments(float32x4_t x, const void* multipliers)
{
    static_assert(sizeof(codec::Multiplier) == 8);
    const float32x4_t first = load_floats(multipliers);
    const float32x4_t second = load_floats(static_cast<const char*>(multipliers) + 16);
    const float32x4_t prescale = vuzp1q_f32(first, second);
    const float32x4_t value = vuzp2q_f32(first, second);
    const uint32x4_t nonzero = vmvnq_u32(vceqzq_f32(value));
    return where(nonzero, vmulq_f32(vmulq_f32(x, prescale), value));
}

} // namespace

} // namespace moeq::cpu::neon
