// FP8 from bf16 without widening it, by AVX2. What a positive bf16 number times a scale comes to is, within one octave of the
// number, decided by its 7 bits of mantissa; in the next octave the code is larger by one exponent step. Of 8 mantissas in a row
// at most one is the first with a larger code. So the code is that of the octave and of the mantissa's upper bits as they
// are, and a correction: for each 8 mantissas a byte, to which the place among them is added, and which carries. The double
// rounding, first of the product and then to the format, is in it.
#pragma once

#include "cpu/avx2/elements.h"
#include "cpu/fp8_octaves.h"

namespace moeq::cpu::avx2 {

namespace {

// Rules: what fp8.cpp has of a format.
template <class Rules>
class WordCodes {
public:
    MOEQ_TIER_INLINE static bool fits(float scale) { return has_fp8_octaves<Rules::kBias>(scale); }

    MOEQ_TIER_INLINE explicit WordCodes(float scale)
    {
        first_ = _mm256_set1_epi16(static_cast<int16_t>(first_octave(scale) << 7));
        // Of each 8 mantissas the sum of the codes: 8 times the least of them, and one for each that is larger.
        __m256i sums = _mm256_setzero_si256();
        for (int quarter = 3; quarter >= 0; --quarter)
            sums = _mm256_or_si256(_mm256_slli_epi64(sums, 16),
                                   _mm256_sad_epu8(codes_of(scale, 32 * quarter), _mm256_setzero_si256()));
        // Cells 0, 4, 8, 12, then 1, 5, 9, 13; the other half in the upper lane.
        const __m256i bytes = _mm256_packus_epi16(sums, sums);
        const __m128i cells = _mm_unpacklo_epi64(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
        const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        const __m128i counted = _mm_sub_epi8(_mm_shuffle_epi8(cells, order), upper_bits());
        corrections_ = _mm256_broadcastsi128_si256(counted);
    }

    // 32 elements, words as they lie in memory. False: one of them is 0, has a subnormal product, is far too large or no
    // number at all; then *codes is not to be used.
    MOEQ_TIER_INLINE bool encode32(__m256i first, __m256i second, __m256i* codes) const
    {
        const __m256i low = from_first(first);
        const __m256i high = from_first(second);
        // What is below the first octave has wrapped.
        const __m256i above = _mm256_subs_epu16(_mm256_max_epu16(low, high), _mm256_set1_epi16((kOctaves << 7) - 1));
        if (_mm256_testz_si256(above, above) == 0) [[unlikely]]
            return false;
        const __m256i octaves = _mm256_packus_epi16(_mm256_srli_epi16(low, kStep), _mm256_srli_epi16(high, kStep));
        const __m256i mantissa = _mm256_set1_epi16(127);
        const __m256i mantissas =
            _mm256_packus_epi16(_mm256_and_si256(low, mantissa), _mm256_and_si256(high, mantissa));
        const __m256i cells = _mm256_and_si256(_mm256_srli_epi16(mantissas, 3), _mm256_set1_epi8(15));
        const __m256i places = _mm256_and_si256(mantissas, _mm256_set1_epi8(7));
        const __m256i eighths = _mm256_add_epi8(_mm256_shuffle_epi8(corrections_, cells), places);
        const __m256i correction = _mm256_and_si256(_mm256_srli_epi16(eighths, 3), _mm256_set1_epi8(31));
        const __m256i magnitudes =
            _mm256_min_epu8(_mm256_add_epi8(octaves, correction), _mm256_set1_epi8(Rules::kMaxCode));
        const __m256i signs = _mm256_packs_epi16(_mm256_srai_epi16(first, 8), _mm256_srai_epi16(second, 8));
        const __m256i sign = _mm256_and_si256(signs, _mm256_set1_epi8(static_cast<char>(0x80)));
        *codes = _mm256_permute4x64_epi64(_mm256_or_si256(magnitudes, sign), 0xD8);
        return true;
    }

private:
    static constexpr int32_t kOctaves = kFp8Octaves<Rules::kBias>;
    static constexpr int kStep = 7 - Rules::kMantissaBits; // an octave of words to one of codes
    static_assert((kOctaves << Rules::kMantissaBits) + (3 << Rules::kMantissaBits) < 256, "a code is a byte");
    static_assert(8 * (3 << Rules::kMantissaBits) < 256, "and a sum of 8 codes of the first octave");

    MOEQ_TIER_INLINE static int32_t first_octave(float scale) { return first_fp8_octave<Rules::kBias>(scale); }

    // 8 times the upper bits of the mantissas of each cell.
    MOEQ_TIER_INLINE static __m128i upper_bits()
    {
        const __m128i cell = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        const __m128i upper = _mm_srli_epi16(cell, kStep - 3); // of bytes: what comes from the one above is not kept
        return _mm_slli_epi16(_mm_and_si128(upper, _mm_set1_epi8(15)), 3);
    }

    // Of the first octave's numbers with 32 mantissas in a row.
    MOEQ_TIER_INLINE static __m256i codes_of(float scale, int mantissa)
    {
        __m256i rounded[4];
        for (int part = 0; part < 4; ++part) {
            const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            const __m256i mantissas = _mm256_add_epi32(lanes, _mm256_set1_epi32(mantissa + 8 * part));
            const __m256i octave = _mm256_set1_epi32(first_octave(scale) << 23);
            const __m256i bits = _mm256_or_si256(_mm256_slli_epi32(mantissas, 16), octave);
            const __m256 product = _mm256_mul_ps(_mm256_castsi256_ps(bits), _mm256_set1_ps(scale));
            rounded[part] = Rules::round(_mm256_castps_si256(product));
        }
        return _mm256_sub_epi8(pack_unsigned<false>(rounded),
                               _mm256_set1_epi8(static_cast<char>(Rules::kExcess & 0xFF)));
    }

    MOEQ_TIER_INLINE __m256i from_first(__m256i words) const
    {
        return _mm256_sub_epi16(_mm256_and_si256(words, _mm256_set1_epi16(0x7FFF)), first_);
    }

    __m256i first_;
    __m256i corrections_;
};

} // namespace

} // namespace moeq::cpu::avx2
