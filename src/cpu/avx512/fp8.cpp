// FP8, E4M3 and E5M2, by AVX-512.
#include "codec/fp8.h"

#include "cpu/avx512/eight_bit_rectangles.h"
#include "cpu/avx512/fp8_words.h"
#include "cpu/avx512/tier.h"

namespace moeq::cpu::avx512 {

namespace {

struct Values128 {
    float at[128];
};

// What the two formats differ in.
struct E4m3 {
    static constexpr int kMantissaBits = 3;
    static constexpr int kBias = 7;
    static constexpr float kMax = codec::kE4m3Max;
    static constexpr uint8_t kMaxCode = codec::kE4m3MaxCode;
    // The numbers of halves() are too small by this.
    static constexpr bool kRescale = true;
    static constexpr float kHalfScale = 256.0f;
    static constexpr Values128 kValues = [] {
        Values128 values{};
        for (int i = 0; i < 128; ++i)
            values.at[i] = codec::float_from_bits(codec::e4m3_to_float_bits(static_cast<uint8_t>(i)));
        return values;
    }();

    // Codes moved into the layout of fp16, NaN to its quiet NaN.
    MOEQ_TIER_INLINE static __m512i halves(__m256i codes)
    {
        // Sign-extended, so the shift leaves the sign in bit 15 (and a copy of it in bit 14).
        const __m512i shifted = _mm512_slli_epi16(_mm512_cvtepi8_epi16(codes), 7);
        const __m512i halves = _mm512_and_si512(shifted, _mm512_set1_epi16(static_cast<int16_t>(0xBF80)));
        const __m512i all_ones = _mm512_set1_epi16(0x3F80);
        const __mmask32 nan = _mm512_cmpeq_epi16_mask(_mm512_and_si512(shifted, all_ones), all_ones);
        return _mm512_mask_add_epi16(halves, nan, halves, _mm512_set1_epi16(0x7E00 - 0x3F80));
    }
};

struct E5m2 {
    static constexpr int kMantissaBits = 2;
    static constexpr int kBias = 15;
    static constexpr float kMax = codec::kE5m2Max;
    static constexpr uint8_t kMaxCode = codec::kE5m2MaxCode;
    static constexpr bool kRescale = false;
    static constexpr Values128 kValues = [] {
        Values128 values{};
        for (int i = 0; i < 128; ++i)
            values.at[i] = codec::float_from_bits(codec::e5m2_to_float_bits(static_cast<uint8_t>(i)));
        return values;
    }();

    MOEQ_TIER_INLINE static __m512i halves(__m256i codes) { return _mm512_slli_epi16(_mm512_cvtepu8_epi16(codes), 8); }
};

// The word of each code from those of the subnormal numbers and the first octave of normal ones.
struct Octaves {
    Words32 place[4]; // upper halves of dwords
    Words32 more[4];
};
template <int mantissa_bits>
constexpr Octaves kOctaves = [] {
    Octaves octaves{};
    constexpr int kOctave = 1 << mantissa_bits;
    for (int code = 0; code < 128; ++code) {
        const int place = code < 2 * kOctave ? code : kOctave + code % kOctave;
        octaves.place[code / 32].at[code % 32] = static_cast<uint16_t>(2 * place + 1);
        octaves.more[code / 32].at[code % 32] = static_cast<uint16_t>(((code - place) >> mantissa_bits) << 7);
    }
    return octaves;
}();

// Codes that are no numbers, from this one on, come out as they are widened.
template <class Layout>
constexpr Words32 kWidened = [] {
    Words32 words{};
    for (int i = 0; i < 32; ++i)
        words.at[i] = static_cast<uint16_t>(codec::float_bits(Layout::kValues.at[96 + i]) >> 16);
    return words;
}();

template <class Layout>
struct Code : Layout {
    static constexpr bool kTwosComplement = false;
    static constexpr bool kSigns = true;
    static constexpr bool kByWords = true;
    using Words = WordCodes<Code>;

    struct Scales {
        __m512 scale;
    };

    static const float* values() { return Layout::kValues.at; }

    MOEQ_TIER_INLINE static void values32(__m256i codes, __m512* low, __m512* high)
    {
        const __m512i halves = Layout::halves(codes);
        *low = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
        *high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
        if constexpr (Layout::kRescale) {
            *low = _mm512_mul_ps(*low, _mm512_set1_ps(Layout::kHalfScale));
            *high = _mm512_mul_ps(*high, _mm512_set1_ps(Layout::kHalfScale));
        }
    }

    template <ScaleKind kind>
    MOEQ_TIER_INLINE static Scales prepare(__m512 stored)
    {
        return {kind == kFactor ? stored : _mm512_div_ps(stored, _mm512_set1_ps(Layout::kMax))};
    }

    template <ScaleKind, bool>
    MOEQ_TIER_INLINE static __m512 apply(__m512 values, const Scales& scales)
    {
        return _mm512_mul_ps(values, scales.scale);
    }

    MOEQ_TIER_INLINE static bool is_plain(const Scales& scales) { return all_finite(scales.scale); }
    MOEQ_TIER_INLINE static bool is_zero(const Scales& scales) { return _mm512_cvtss_f32(scales.scale) == 0.0f; }

    // All results of a positive scale are normal numbers of bf16, but for that of 0. kMax is less than 2^16.
    MOEQ_TIER_INLINE static bool are_octaves(uint32_t scale_bits)
    {
        const uint32_t exponent = scale_bits >> 23;
        return exponent >= 32 + 16 && exponent < 224;
    }

    template <ScaleKind kind>
    MOEQ_TIER_INLINE static void bf16_words(__m512 stored, __m512i words[4])
    {
        const Scales scales = prepare<kind>(stored);
        constexpr const Octaves& octaves = kOctaves<Layout::kMantissaBits>;
        const __m512i few = round_finite_bf16(apply<kind, true>(_mm512_loadu_ps(values()), scales));
        for (int i = 0; i < 4; ++i)
            words[i] = _mm512_add_epi16(_mm512_permutexvar_epi16(load_constant(octaves.place[i]), few),
                                        load_constant(octaves.more[i]));
        constexpr __mmask32 kNoNumbers = ~uint32_t{0} << (Layout::kMaxCode + 1 - 96);
        words[3] = _mm512_mask_mov_epi16(words[3], kNoNumbers, load_constant(kWidened<Layout>));
    }

    // Adding 2^(e + kShift) to a magnitude in [2^e, 2^(e + 1)) leaves it rounded to the format's mantissa, as an integer in
    // the lowest bits of the sum: 2^kMantissaBits to 2^(kMantissaBits + 1). With e no smaller than the exponent of the
    // smallest normal number, subnormals are rounded to their grid in the same way. The sum's own exponent field, moved
    // down to the place of the code's, then adds up with it to the code, apart from a constant.
    static constexpr int kShift = 23 - Layout::kMantissaBits;
    static constexpr int kExcess = (127 + kShift + 1 - Layout::kBias) << Layout::kMantissaBits;

    // Of a magnitude that is at most kMax. Positive floats are ordered like their bits, and integers cost less.
    MOEQ_TIER_INLINE static __m512i round(__m512i magnitude)
    {
        const __m512i exponent = _mm512_and_si512(magnitude, _mm512_set1_epi32(0x7F800000));
        const __m512i power = _mm512_max_epi32(
            exponent, _mm512_set1_epi32(static_cast<int>(static_cast<uint32_t>(128 - Layout::kBias) << 23)));
        // The product is exact.
        const __m512 sum = _mm512_fmadd_ps(_mm512_castsi512_ps(power), _mm512_set1_ps(static_cast<float>(1 << kShift)),
                                           _mm512_castsi512_ps(magnitude));
        const __m512i bits = _mm512_castps_si512(sum);
        return _mm512_add_epi32(bits, _mm512_srli_epi32(bits, kShift));
    }

    // signs: where bit 7 of each byte is the sign of its argument.
    template <bool kSplitOrder>
    MOEQ_TIER_INLINE static __m512i encode64(const __m512 t[4], __m512i signs)
    {
        __m512i magnitude[4];
        for (int part = 0; part < 4; ++part)
            magnitude[part] = _mm512_and_si512(_mm512_castps_si512(t[part]), _mm512_set1_epi32(0x7FFFFFFF));
        const __m512i largest = _mm512_max_epi32(_mm512_max_epi32(magnitude[0], magnitude[1]),
                                                 _mm512_max_epi32(magnitude[2], magnitude[3]));
        constexpr int kMaxBits = static_cast<int>(codec::float_bits(Layout::kMax));
        // Beyond the largest number, or NaN: only where the scale is not that of these elements, or through rounding.
        if (_mm512_cmpgt_epi32_mask(largest, _mm512_set1_epi32(kMaxBits)) != 0) [[unlikely]] {
            for (int part = 0; part < 4; ++part) {
                const __mmask16 nan = _mm512_cmpgt_epi32_mask(
                    magnitude[part], _mm512_set1_epi32(static_cast<int>(codec::kNonfiniteBits)));
                magnitude[part] = _mm512_min_epi32(magnitude[part], _mm512_set1_epi32(kMaxBits));
                magnitude[part] = _mm512_mask_mov_epi32(magnitude[part], nan, _mm512_setzero_si512());
            }
            __m512i ordered[4];
            for (int part = 0; part < 4; ++part)
                ordered[part] = _mm512_maskz_mov_epi32(_mm512_cmp_ps_mask(t[part], t[part], _CMP_ORD_Q),
                                                       _mm512_castps_si512(t[part]));
            signs = pack_byte<kSplitOrder, 3>(ordered);
        }
        __m512i rounded[4];
        for (int part = 0; part < 4; ++part)
            rounded[part] = round(magnitude[part]);
        const __m512i codes =
            _mm512_sub_epi8(pack_byte<kSplitOrder, 0>(rounded), _mm512_set1_epi8(static_cast<char>(kExcess & 0xFF)));
        constexpr int kOrOfAnd = 0xF8; // a | (b & c)
        return _mm512_ternarylogic_epi32(codes, signs, _mm512_set1_epi8(static_cast<char>(0x80)), kOrOfAnd);
    }

    template <bool kSplitOrder>
    MOEQ_TIER_INLINE static __m512i encode64(const __m512 t[4])
    {
        __m512i bits[4];
        for (int part = 0; part < 4; ++part)
            bits[part] = _mm512_castps_si512(t[part]);
        return encode64<kSplitOrder>(t, pack_byte<kSplitOrder, 3>(bits));
    }
};

} // namespace

void overlay_e4m3(TileKernels* kernels) { fill_kernels<EightBit<Code<E4m3>>>(kernels); }
void overlay_e5m2(TileKernels* kernels) { fill_kernels<EightBit<Code<E5m2>>>(kernels); }

} // namespace moeq::cpu::avx512
