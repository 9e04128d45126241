// int8 by AVX-512.
#include "codec/int8.h"

#include "cpu/avx512/eight_bit_rectangles.h"
#include "cpu/avx512/tier.h"

namespace moeq::cpu::avx512 {

namespace {

struct Values128 {
    float at[128];
};
constexpr Values128 kValues = [] {
    Values128 values{};
    for (int i = 0; i < 128; ++i)
        values.at[i] = static_cast<float>(i);
    return values;
}();

// The word of each code from those of 64..127: where it is among them, and by how many powers of two it is less.
struct Octaves {
    Words32 place[2]; // of codes 0..31, 32..63
    Words32 less[2];
};
constexpr Octaves kOctaves = [] {
    Octaves octaves{};
    for (int code = 1; code < 64; ++code) {
        int shift = 0;
        while ((code << shift) < 64)
            ++shift;
        octaves.place[code / 32].at[code % 32] = static_cast<uint16_t>((code << shift) - 64);
        octaves.less[code / 32].at[code % 32] = static_cast<uint16_t>(shift << 7);
    }
    return octaves;
}();

struct Code {
    static constexpr bool kTwosComplement = true;
    static constexpr bool kSigns = false;
    static constexpr bool kByWords = false;

    // `large`: the lanes whose absmax is so large that code * absmax could overflow; their scale holds absmax * 2^-8.
    struct Scales {
        __m512 scale;
        __mmask16 large;
    };

    static const float* values() { return kValues.at; }

    MOEQ_TIER_INLINE static void values32(__m256i codes, __m512* low, __m512* high)
    {
        *low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(codes)));
        *high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(codes, 1)));
    }

    template <ScaleKind kind>
    MOEQ_TIER_INLINE static Scales prepare(__m512 stored)
    {
        if constexpr (kind == kFactor)
            return {stored, 0};
        const __m512i magnitude = _mm512_and_si512(_mm512_castps_si512(stored), _mm512_set1_epi32(0x7FFFFFFF));
        const __mmask16 large = _mm512_cmpge_epu32_mask(magnitude, _mm512_set1_epi32(0x7B800000)); // 2^120
        return {_mm512_mask_mul_ps(stored, large, stored, _mm512_set1_ps(0.00390625f)), large};
    }

    template <ScaleKind kind, bool kPlain>
    MOEQ_TIER_INLINE static __m512 apply(__m512 values, const Scales& scales)
    {
        const __m512 product = _mm512_mul_ps(values, scales.scale);
        if constexpr (kind == kFactor)
            return product;
        const __m512 inverse = _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(codec::kInverse127Bits)));
        const __m512 result = _mm512_mul_ps(product, inverse);
        return kPlain ? result : _mm512_mask_mul_ps(result, scales.large, result, _mm512_set1_ps(256.0f));
    }

    MOEQ_TIER_INLINE static bool is_plain(const Scales& scales)
    {
        return scales.large == 0 && all_finite(scales.scale);
    }
    MOEQ_TIER_INLINE static bool is_zero(const Scales& scales) { return _mm512_cvtss_f32(scales.scale) == 0.0f; }

    // All results of a positive scale are normal numbers of bf16.
    MOEQ_TIER_INLINE static bool are_octaves(uint32_t scale_bits)
    {
        const uint32_t exponent = scale_bits >> 23;
        return exponent >= 32 && exponent < 224;
    }

    template <ScaleKind kind>
    MOEQ_TIER_INLINE static void bf16_words(__m512 stored, __m512i words[4])
    {
        const Scales scales{stored, 0};
        for (int i = 0; i < 2; ++i) {
            const float* values = kValues.at + 64 + 32 * i;
            words[2 + i] = finite_bf16_words(apply<kind, true>(_mm512_loadu_ps(values), scales),
                                             apply<kind, true>(_mm512_loadu_ps(values + 16), scales));
        }
        for (int i = 0; i < 2; ++i) {
            const __m512i larger = _mm512_permutex2var_epi16(words[2], load_constant(kOctaves.place[i]), words[3]);
            const __mmask32 nonzero = i == 0 ? 0xFFFFFFFEu : 0xFFFFFFFFu;
            words[i] = _mm512_maskz_sub_epi16(nonzero, larger, load_constant(kOctaves.less[i]));
        }
    }

    // An argument outside the range of int32 and NaN convert to -2^31, which packs to -128, as what is below -127 does.
    // That code is never right, so it says that these 64 need the slower way; what is above 127 saturates by itself.
    template <bool kSplitOrder>
    MOEQ_TIER_INLINE static __m512i encode64(const __m512 t[4])
    {
        __m512i rounded[4];
        for (int part = 0; part < 4; ++part)
            rounded[part] = _mm512_cvtps_epi32(t[part]);
        const __m512i codes = pack_saturated<kSplitOrder>(rounded);
        if (_mm512_cmpeq_epi8_mask(codes, _mm512_set1_epi8(-128)) == 0) [[likely]]
            return codes;
        for (int part = 0; part < 4; ++part) {
            const __mmask16 number = _mm512_cmp_ps_mask(t[part], t[part], _CMP_ORD_Q);
            const __m512 low = _mm512_maskz_max_ps(number, t[part], _mm512_set1_ps(-127.0f));
            rounded[part] = _mm512_cvtps_epi32(_mm512_min_ps(low, _mm512_set1_ps(127.0f)));
        }
        return pack_saturated<kSplitOrder>(rounded);
    }
};

} // namespace

void overlay_int8(TileKernels* kernels) { fill_kernels<EightBit<Code>>(kernels); }

} // namespace moeq::cpu::avx512
