// int8 by AVX2.
#include "codec/int8.h"

#include "cpu/avx2/eight_bit.h"
#include "cpu/avx2/tier.h"

namespace moeq::cpu::avx2 {

namespace {

struct Magnitudes {
    float at[136];
};

struct Code {
    static constexpr bool kSigns = false;
    static constexpr bool kByWords = false;
    static constexpr Magnitudes kMagnitudes = [] {
        Magnitudes magnitudes{};
        for (int i = 0; i <= 128; ++i)
            magnitudes.at[i] = static_cast<float>(i);
        return magnitudes;
    }();

    // Where the absmax is so large that code * absmax could overflow, `scale` holds absmax * 2^-8 and `last` is 2^8.
    struct Scales {
        __m256 scale;
        __m256 last;
    };

    MOEQ_TIER_INLINE static bool is_special(__m256i) { return false; }

    template <bool>
    MOEQ_TIER_INLINE static void values16(const void* codes, __m256* low, __m256* high)
    {
        const auto* at = static_cast<const __m128i*>(codes);
        const auto* behind = static_cast<const __m128i*>(static_cast<const void*>(static_cast<const char*>(codes) + 8));
        *low = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at)));
        *high = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(behind)));
    }

    template <ScaleKind kind>
    MOEQ_TIER_INLINE static Scales prepare(__m256 stored)
    {
        const __m256 one = _mm256_set1_ps(1.0f);
        if constexpr (kind == kFactor)
            return {stored, one};
        const __m256i magnitude = _mm256_and_si256(_mm256_castps_si256(stored), _mm256_set1_epi32(0x7FFFFFFF));
        const __m256 large =
            _mm256_castsi256_ps(_mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x7B7FFFFF))); // >= 2^120
        const __m256 first = _mm256_blendv_ps(one, _mm256_set1_ps(0.00390625f), large);
        return {_mm256_mul_ps(stored, first), _mm256_blendv_ps(one, _mm256_set1_ps(256.0f), large)};
    }

    template <ScaleKind kind, bool kPlain>
    MOEQ_TIER_INLINE static __m256 apply(__m256 values, const Scales& scales)
    {
        const __m256 product = _mm256_mul_ps(values, scales.scale);
        if constexpr (kind == kFactor)
            return product;
        const __m256 inverse = _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(codec::kInverse127Bits)));
        const __m256 result = _mm256_mul_ps(product, inverse);
        return kPlain ? result : _mm256_mul_ps(result, scales.last);
    }

    MOEQ_TIER_INLINE static bool is_plain(const Scales& scales)
    {
        return codec::magnitude_bits_fp32(_mm256_cvtss_f32(scales.scale)) < codec::kNonfiniteBits &&
               _mm256_cvtss_f32(scales.last) == 1.0f;
    }

    // An argument outside the range of int32 and NaN convert to -2^31, which packs to -128, as what is below -127 does.
    // That code is never right, so it says that these 32 need the slower way; what is above 127 saturates by itself.
    template <bool kSplitOrder>
    MOEQ_TIER_INLINE static __m256i encode32(const __m256 t[4])
    {
        __m256i rounded[4];
        for (int part = 0; part < 4; ++part)
            rounded[part] = _mm256_cvtps_epi32(t[part]);
        const __m256i codes = pack_saturated<kSplitOrder>(rounded);
        if (_mm256_movemask_epi8(_mm256_cmpeq_epi8(codes, _mm256_set1_epi8(-128))) == 0) [[likely]]
            return codes;
        for (int part = 0; part < 4; ++part) {
            const __m256 number = _mm256_and_ps(t[part], _mm256_cmp_ps(t[part], t[part], _CMP_ORD_Q));
            const __m256 low = _mm256_max_ps(number, _mm256_set1_ps(-127.0f));
            rounded[part] = _mm256_cvtps_epi32(_mm256_min_ps(low, _mm256_set1_ps(127.0f)));
        }
        return pack_saturated<kSplitOrder>(rounded);
    }
};

} // namespace

void overlay_int8(TileKernels* kernels) { fill_kernels<EightBit<Code>>(kernels); }

} // namespace moeq::cpu::avx2
