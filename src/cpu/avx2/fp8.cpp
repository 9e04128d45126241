// FP8, E4M3 and E5M2, by AVX2.
#include "codec/fp8.h"

#include "cpu/avx2/eight_bit.h"
#include "cpu/avx2/fp8_words.h"
#include "cpu/avx2/tier.h"

namespace moeq::cpu::avx2 {

namespace {

struct Magnitudes {
    float at[128];
};

// What halves() gives of the codes 0 to 127.
template <uint32_t (*to_float_bits)(uint8_t)>
constexpr Magnitudes make_magnitudes(float half_scale)
{
    Magnitudes magnitudes{};
    for (int i = 0; i < 128; ++i)
        magnitudes.at[i] = codec::float_from_bits(to_float_bits(static_cast<uint8_t>(i))) / half_scale;
    return magnitudes;
}

// What the two formats differ in.
struct E4m3 {
    static constexpr int kMantissaBits = 3;
    static constexpr int kBias = 7;
    static constexpr float kMax = codec::kE4m3Max;
    static constexpr uint8_t kMaxCode = codec::kE4m3MaxCode;
    // The numbers of halves() are too small by this.
    static constexpr float kHalfScale = 256.0f;
    static constexpr Magnitudes kMagnitudes = make_magnitudes<codec::e4m3_to_float_bits>(kHalfScale);

    // Codes moved into the layout of fp16; without kPlain NaN to its quiet NaN.
    template <bool kPlain>
    MOEQ_TIER_INLINE static __m256i halves(__m128i codes)
    {
        // Sign-extended, so the shift leaves the sign in bit 15 (and a copy of it in bit 14).
        const __m256i shifted = _mm256_slli_epi16(_mm256_cvtepi8_epi16(codes), 7);
        const __m256i halves = _mm256_and_si256(shifted, _mm256_set1_epi16(static_cast<int16_t>(0xBF80)));
        if constexpr (kPlain)
            return halves;
        const __m256i all_ones = _mm256_set1_epi16(0x3F80);
        const __m256i nan = _mm256_cmpeq_epi16(_mm256_and_si256(shifted, all_ones), all_ones);
        return _mm256_add_epi16(halves, _mm256_and_si256(nan, _mm256_set1_epi16(0x7E00 - 0x3F80)));
    }

    MOEQ_TIER_INLINE static bool is_special(__m256i codes)
    {
        const __m256i all_ones = _mm256_set1_epi8(0x7F);
        return _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_and_si256(codes, all_ones), all_ones)) != 0;
    }
};

struct E5m2 {
    static constexpr int kMantissaBits = 2;
    static constexpr int kBias = 15;
    static constexpr float kMax = codec::kE5m2Max;
    static constexpr uint8_t kMaxCode = codec::kE5m2MaxCode;
    static constexpr float kHalfScale = 1.0f;
    static constexpr Magnitudes kMagnitudes = make_magnitudes<codec::e5m2_to_float_bits>(kHalfScale);

    template <bool>
    MOEQ_TIER_INLINE static __m256i halves(__m128i codes)
    {
        return _mm256_slli_epi16(_mm256_cvtepu8_epi16(codes), 8);
    }

    MOEQ_TIER_INLINE static bool is_special(__m256i) { return false; }
};

template <class Layout>
struct Code : Layout {
    static constexpr bool kSigns = true;
    static constexpr bool kByWords = true;
    using Words = WordCodes<Code>;

    // `plain` is what the numbers of halves() are multiplied by: the same product, as scaling by a power of two is exact.
    struct Scales {
        __m256 scale;
        __m256 plain;
    };

    template <ScaleKind kind>
    MOEQ_TIER_INLINE static Scales prepare(__m256 stored)
    {
        const __m256 scale = kind == kFactor ? stored : _mm256_div_ps(stored, _mm256_set1_ps(Layout::kMax));
        return {scale, _mm256_mul_ps(scale, _mm256_set1_ps(Layout::kHalfScale))};
    }

    MOEQ_TIER_INLINE static bool is_plain(const Scales& scales)
    {
        return codec::magnitude_bits_fp32(_mm256_cvtss_f32(scales.plain)) < codec::kNonfiniteBits;
    }

    template <bool kPlain>
    MOEQ_TIER_INLINE static void values16(const void* codes, __m256* low, __m256* high)
    {
        const __m256i halves = Layout::template halves<kPlain>(load128(codes));
        *low = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
        *high = _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1));
        if constexpr (!kPlain && Layout::kHalfScale != 1.0f) {
            *low = _mm256_mul_ps(*low, _mm256_set1_ps(Layout::kHalfScale));
            *high = _mm256_mul_ps(*high, _mm256_set1_ps(Layout::kHalfScale));
        }
    }

    template <ScaleKind, bool kPlain>
    MOEQ_TIER_INLINE static __m256 apply(__m256 values, const Scales& scales)
    {
        return _mm256_mul_ps(values, kPlain ? scales.plain : scales.scale);
    }

    // Adding 2^(e + kShift) to a magnitude in [2^e, 2^(e + 1)) leaves it rounded to the format's mantissa, as an integer in
    // the lowest bits of the sum: 2^kMantissaBits to 2^(kMantissaBits + 1). With e no smaller than the exponent of the
    // smallest normal number, subnormals are rounded to their grid in the same way. The sum's own exponent field, moved
    // down to the place of the code's, then adds up with it to the code, apart from a constant.
    static constexpr int kShift = 23 - Layout::kMantissaBits;
    static constexpr int kExcess = (127 + kShift + 1 - Layout::kBias) << Layout::kMantissaBits;

    // Of a magnitude that is at most kMax: the code and kExcess, modulo 2^8. Positive floats are ordered like their bits.
    MOEQ_TIER_INLINE static __m256i round(__m256i magnitude)
    {
        const __m256i exponent = _mm256_and_si256(magnitude, _mm256_set1_epi32(0x7F800000));
        const __m256i power = _mm256_max_epi32(exponent, _mm256_set1_epi32((128 - Layout::kBias) << 23));
        // The product is exact.
        const __m256 sum = _mm256_fmadd_ps(_mm256_castsi256_ps(power), _mm256_set1_ps(static_cast<float>(1 << kShift)),
                                           _mm256_castsi256_ps(magnitude));
        const __m256i bits = _mm256_castps_si256(sum);
        const __m256i both = _mm256_add_epi32(bits, _mm256_srli_epi32(bits, kShift));
        return _mm256_and_si256(both, _mm256_set1_epi32(0xFF));
    }

    // signs: where bit 7 of each byte is the sign of its argument.
    template <bool kSplitOrder>
    MOEQ_TIER_INLINE static __m256i encode32(const __m256 t[4], __m256i signs)
    {
        __m256i magnitude[4];
        for (int part = 0; part < 4; ++part)
            magnitude[part] = _mm256_and_si256(_mm256_castps_si256(t[part]), _mm256_set1_epi32(0x7FFFFFFF));
        const __m256i largest = _mm256_max_epi32(_mm256_max_epi32(magnitude[0], magnitude[1]),
                                                 _mm256_max_epi32(magnitude[2], magnitude[3]));
        const __m256i most = _mm256_set1_epi32(static_cast<int>(codec::float_bits(Layout::kMax)));
        // Beyond the largest number, or NaN: only where the scale is not that of these elements, or through rounding.
        if (_mm256_movemask_epi8(_mm256_cmpgt_epi32(largest, most)) != 0) [[unlikely]] {
            __m256 numbers[4];
            for (int part = 0; part < 4; ++part) {
                const __m256 number = _mm256_cmp_ps(t[part], t[part], _CMP_ORD_Q);
                const __m256i clamped = _mm256_min_epi32(magnitude[part], most);
                magnitude[part] = _mm256_and_si256(clamped, _mm256_castps_si256(number));
                numbers[part] = _mm256_and_ps(t[part], number);
            }
            signs = pack_signs<kSplitOrder>(numbers);
        }
        __m256i rounded[4];
        for (int part = 0; part < 4; ++part)
            rounded[part] = round(magnitude[part]);
        const __m256i excess = _mm256_set1_epi8(static_cast<char>(kExcess & 0xFF));
        const __m256i codes = _mm256_sub_epi8(pack_unsigned<kSplitOrder>(rounded), excess);
        return _mm256_or_si256(codes, _mm256_and_si256(signs, _mm256_set1_epi8(static_cast<char>(0x80))));
    }

    template <bool kSplitOrder>
    MOEQ_TIER_INLINE static __m256i encode32(const __m256 t[4])
    {
        return encode32<kSplitOrder>(t, pack_signs<kSplitOrder>(t));
    }
};

} // namespace

void overlay_e4m3(TileKernels* kernels) { fill_kernels<EightBit<Code<E4m3>>>(kernels); }
void overlay_e5m2(TileKernels* kernels) { fill_kernels<EightBit<Code<E5m2>>>(kernels); }

} // namespace moeq::cpu::avx2
