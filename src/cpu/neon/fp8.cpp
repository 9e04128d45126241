// FP8, E4M3 and E5M2, by NEON.
#include "codec/fp8.h"

#include "cpu/neon/eight_bit.h"
#include "cpu/neon/tier.h"

namespace moeq::cpu::neon {

namespace {

// What the two formats differ in.
struct E4m3 {
    static constexpr int kMantissaBits = 3;
    static constexpr int kBias = 7;
    static constexpr float kMax = codec::kE4m3Max;
    // The numbers of halves() are too small by this.
    static constexpr float kHalfScale = 256.0f;

    // Codes moved into the layout of fp16; without kPlain NaN to its quiet NaN.
    template <bool kPlain>
    MOEQ_TIER_INLINE static uint16x8_t halves(int8x8_t codes)
    {
        // Sign-extended, so the shift leaves the sign in bit 15 (and a copy of it in bit 14).
        const uint16x8_t shifted = vreinterpretq_u16_s16(vshll_n_s8(codes, 7));
        const uint16x8_t halves = vandq_u16(shifted, vdupq_n_u16(0xBF80));
        if constexpr (kPlain)
            return halves;
        const uint16x8_t all_ones = vdupq_n_u16(0x3F80);
        const uint16x8_t nan = vceqq_u16(vandq_u16(shifted, all_ones), all_ones);
        return vaddq_u16(halves, vandq_u16(nan, vdupq_n_u16(0x7E00 - 0x3F80)));
    }

    template <bool kPlain>
    MOEQ_TIER_INLINE static void halves16(uint8x16_t codes, uint16x8_t* low, uint16x8_t* high)
    {
        const int8x16_t bytes = vreinterpretq_s8_u8(codes);
        *low = halves<kPlain>(vget_low_s8(bytes));
        *high = halves<kPlain>(vget_high_s8(bytes));
    }

    MOEQ_TIER_INLINE static bool is_special(uint8x16_t first, uint8x16_t last)
    {
        const uint8x16_t magnitude = vdupq_n_u8(0x7F);
        return vmaxvq_u8(vmaxq_u8(vandq_u8(first, magnitude), vandq_u8(last, magnitude))) == 0x7F;
    }
};

struct E5m2 {
    static constexpr int kMantissaBits = 2;
    static constexpr int kBias = 15;
    static constexpr float kMax = codec::kE5m2Max;
    static constexpr float kHalfScale = 1.0f;

    template <bool>
    MOEQ_TIER_INLINE static void halves16(uint8x16_t codes, uint16x8_t* low, uint16x8_t* high)
    {
        const uint8x16_t zero = vdupq_n_u8(0);
        *low = vreinterpretq_u16_u8(vzip1q_u8(zero, codes));
        *high = vreinterpretq_u16_u8(vzip2q_u8(zero, codes));
    }

    MOEQ_TIER_INLINE static bool is_special(uint8x16_t, uint8x16_t) { return false; }
};

template <class Layout>
struct Code {
    // `plain` is what the numbers of halves16() are multiplied by: the same product, as scaling by a power of two is
    // exact.
    struct Scales {
        float32x4_t scale;
        float32x4_t plain;
    };

    template <ScaleKind kind>
    MOEQ_TIER_INLINE static Scales prepare(float32x4_t stored)
    {
        const float32x4_t scale = kind == kFactor ? stored : vdivq_f32(stored, vdupq_n_f32(Layout::kMax));
        return {scale, vmulq_f32(scale, vdupq_n_f32(Layout::kHalfScale))};
    }

    MOEQ_TIER_INLINE static bool is_plain(const Scales& scales) { return is_finite(scales.plain); }

    MOEQ_TIER_INLINE static bool is_special(uint8x16_t first, uint8x16_t last)
    {
        return Layout::is_special(first, last);
    }

    template <bool kPlain>
    MOEQ_TIER_INLINE static void values16(uint8x16_t codes, float32x4_t v[4])
    {
        uint16x8_t low;
        uint16x8_t high;
        Layout::template halves16<kPlain>(codes, &low, &high);
        v[0] = vcvt_f32_f16(vget_low_f16(vreinterpretq_f16_u16(low)));
        v[1] = vcvt_high_f32_f16(vreinterpretq_f16_u16(low));
        v[2] = vcvt_f32_f16(vget_low_f16(vreinterpretq_f16_u16(high)));
        v[3] = vcvt_high_f32_f16(vreinterpretq_f16_u16(high));
        if constexpr (!kPlain && Layout::kHalfScale != 1.0f)
            for (int part = 0; part < 4; ++part)
                v[part] = vmulq_f32(v[part], vdupq_n_f32(Layout::kHalfScale));
    }

    template <ScaleKind, bool kPlain>
    MOEQ_TIER_INLINE static float32x4_t apply(float32x4_t values, const Scales& scales)
    {
        return vmulq_f32(values, kPlain ? scales.plain : scales.scale);
    }

    // Adding 2^(e + kShift) to a magnitude in [2^e, 2^(e + 1)) leaves it rounded to the format's mantissa, as an integer
    // in the lowest bits of the sum: 2^kMantissaBits to 2^(kMantissaBits + 1). With e no smaller than the exponent of the
    // smallest normal number, subnormals are rounded to their grid in the same way. The sum's own exponent field, moved
    // down to the place of the code's, then adds up with it to the code, apart from a constant.
    static constexpr int kShift = 23 - Layout::kMantissaBits;
    static constexpr int kExcess = (127 + kShift + 1 - Layout::kBias) << Layout::kMantissaBits;

    // The code of |t| plus kExcess, modulo 2^7; t is no NaN.
    MOEQ_TIER_INLINE static uint32x4_t round(float32x4_t t)
    {
        const float32x4_t magnitude = vminq_f32(vabsq_f32(t), vdupq_n_f32(Layout::kMax));
        const uint32x4_t exponent = vandq_u32(vreinterpretq_u32_f32(magnitude), vdupq_n_u32(0x7F800000));
        const uint32x4_t smallest_normal = vdupq_n_u32(static_cast<uint32_t>(128 - Layout::kBias) << 23);
        const float32x4_t power = vreinterpretq_f32_u32(vmaxq_u32(exponent, smallest_normal));
        // The product is exact.
        const float32x4_t sum = vaddq_f32(vmulq_f32(power, vdupq_n_f32(static_cast<float>(1 << kShift))), magnitude);
        const uint32x4_t bits = vreinterpretq_u32_f32(sum);
        return vsraq_n_u32(bits, bits, kShift);
    }

    MOEQ_TIER_INLINE static uint8x16_t encode16(const float32x4_t arguments[4])
    {
        float32x4_t t[4];
        uint32x4_t rounded[4];
        for (int part = 0; part < 4; ++part) {
            t[part] = where(vceqq_f32(arguments[part], arguments[part]), arguments[part]); // NaN gives +0
            rounded[part] = round(t[part]);
        }
        const uint8x16_t codes = vsubq_u8(pack_low_bytes(rounded), vdupq_n_u8(kExcess & 0xFF));
        return vbslq_u8(vdupq_n_u8(0x80), pack_high_bytes(t), codes);
    }
};

} // namespace

void overlay_e4m3(TileKernels* kernels) { fill_kernels<EightBit<Code<E4m3>>>(kernels); }
void overlay_e5m2(TileKernels* kernels) { fill_kernels<EightBit<Code<E5m2>>>(kernels); }

} // namespace moeq::cpu::neon
