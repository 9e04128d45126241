// int8 by NEON.
#include "codec/int8.h"

#include "cpu/neon/eight_bit.h"
#include "cpu/neon/tier.h"

namespace moeq::cpu::neon {

namespace {

struct Code {
    // Where the absmax is so large that code * absmax could overflow, `scale` holds absmax * 2^-8 and `last` is 2^8.
    struct Scales {
        float32x4_t scale;
        float32x4_t last;
    };

    MOEQ_TIER_INLINE static bool is_special(uint8x16_t, uint8x16_t) { return false; }

    template <bool>
    MOEQ_TIER_INLINE static void values16(uint8x16_t codes, float32x4_t v[4])
    {
        const int8x16_t bytes = vreinterpretq_s8_u8(codes);
        const int16x8_t low = vmovl_s8(vget_low_s8(bytes));
        const int16x8_t high = vmovl_high_s8(bytes);
        v[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
        v[1] = vcvtq_f32_s32(vmovl_high_s16(low));
        v[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
        v[3] = vcvtq_f32_s32(vmovl_high_s16(high));
    }

    template <ScaleKind kind>
    MOEQ_TIER_INLINE static Scales prepare(float32x4_t stored)
    {
        const float32x4_t one = vdupq_n_f32(1.0f);
        if constexpr (kind == kFactor)
            return {stored, one};
        const uint32x4_t magnitude = vandq_u32(vreinterpretq_u32_f32(stored), vdupq_n_u32(0x7FFFFFFF));
        const uint32x4_t large = vcgeq_u32(magnitude, vdupq_n_u32(0x7B800000)); // 2^120
        return {vmulq_f32(stored, vbslq_f32(large, vdupq_n_f32(0.00390625f), one)),
                vbslq_f32(large, vdupq_n_f32(256.0f), one)};
    }

    template <ScaleKind kind, bool kPlain>
    MOEQ_TIER_INLINE static float32x4_t apply(float32x4_t values, const Scales& scales)
    {
        const float32x4_t product = vmulq_f32(values, scales.scale);
        if constexpr (kind == kFactor)
            return product;
        const float32x4_t result = vmulq_f32(product, vreinterpretq_f32_u32(vdupq_n_u32(codec::kInverse127Bits)));
        return kPlain ? result : vmulq_f32(result, scales.last);
    }

    MOEQ_TIER_INLINE static bool is_plain(const Scales& scales)
    {
        return is_finite(scales.scale) && vgetq_lane_f32(scales.last, 0) == 1.0f;
    }

    // Conversion rounds to nearest even, saturates, and makes 0 of NaN; so does each step of narrowing, down to -128.
    MOEQ_TIER_INLINE static uint8x16_t encode16(const float32x4_t t[4])
    {
        const int16x8_t low = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(t[0])), vcvtnq_s32_f32(t[1]));
        const int16x8_t high = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(t[2])), vcvtnq_s32_f32(t[3]));
        const int8x16_t codes = vqmovn_high_s16(vqmovn_s16(low), high);
        return vreinterpretq_u8_s8(vmaxq_s8(codes, vdupq_n_s8(-127)));
    }
};

} // namespace

void overlay_int8(TileKernels* kernels) { fill_kernels<EightBit<Code>>(kernels); }

} // namespace moeq::cpu::neon
