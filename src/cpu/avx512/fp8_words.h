// FP8 from bf16 without widening it, by AVX-512. What a positive bf16 number times a scale comes to is, within one octave of
// the number, decided by its 7 bits of mantissa; in the next octave the code is larger by one exponent step. So 128 codes,
// made once for a scale by the arithmetic that all other numbers go through, tell those of every number whose product is
// not subnormal: the double rounding, first of the product and then to the format, is in them.
#pragma once

#include "cpu/avx512/elements.h"
#include "cpu/fp8_octaves.h"

namespace moeq::cpu::avx512 {

namespace {

// Rules: what fp8.cpp has of a format.
template <class Rules>
constexpr Bytes64 make_word_offsets(int first)
{
    Bytes64 offsets{};
    for (int i = 0; i < 64; ++i)
        offsets.at[i] = static_cast<uint8_t>(Rules::kExcess + ((first + i) >> (7 - Rules::kMantissaBits)));
    return offsets;
}
// What Rules::round leaves to be taken off 128 codes, and what an octave's shifted words have besides the octave.
template <class Rules>
constexpr Bytes64 kWordOffsets[2] = {make_word_offsets<Rules>(0), make_word_offsets<Rules>(64)};

template <class Rules>
class WordCodes {
public:
    MOEQ_TIER_INLINE static bool fits(float scale) { return has_fp8_octaves<Rules::kBias>(scale); }

    WordCodes() = default; // not to be used before it is assigned to
    MOEQ_TIER_INLINE explicit WordCodes(float scale)
    {
        const int32_t octave = first_octave(scale) << 23;
        const __m512 scales = _mm512_set1_ps(scale);
        for (int half = 0; half < 2; ++half) {
            __m512i rounded[4];
            for (int part = 0; part < 4; ++part) {
                const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
                const __m512i mantissas = _mm512_add_epi32(lanes, _mm512_set1_epi32(64 * half + 16 * part));
                const __m512i bits = _mm512_or_si512(_mm512_slli_epi32(mantissas, 16), _mm512_set1_epi32(octave));
                const __m512 product = _mm512_mul_ps(_mm512_castsi512_ps(bits), scales);
                rounded[part] = Rules::round(_mm512_castps_si512(product));
            }
            codes_[half] = _mm512_sub_epi8(pack_byte<false, 0>(rounded), load_constant(kWordOffsets<Rules>[half]));
        }
        first_ = _mm512_set1_epi16(static_cast<int16_t>(first_octave(scale) << 7));
    }

    // 64 elements, words as they lie in memory. False: one of them is 0, has a subnormal product, is far too large or no
    // number at all; then *codes is not to be used.
    MOEQ_TIER_INLINE bool encode64(__m512i first, __m512i second, __m512i* codes) const
    {
        const __m512i magnitude = _mm512_set1_epi16(0x7FFF);
        const __m512i low = _mm512_sub_epi16(_mm512_and_si512(first, magnitude), first_);
        const __m512i high = _mm512_sub_epi16(_mm512_and_si512(second, magnitude), first_);
        const __m512i largest = _mm512_max_epu16(low, high); // what is below the first octave has wrapped
        if (_mm512_cmpge_epu16_mask(largest, _mm512_set1_epi16(kOctaves << 7)) != 0) [[unlikely]]
            return false;
        // The index of look-ups has 7 bits, so the octave beside the mantissa does not matter.
        const __m512i mantissas = _mm512_permutex2var_epi8(low, load_constant(kEvenBytes), high);
        constexpr int kStep = 7 - Rules::kMantissaBits; // an octave of words to one of codes
        const __m512i octaves = _mm512_permutex2var_epi8(_mm512_srli_epi16(low, kStep), load_constant(kEvenBytes),
                                                         _mm512_srli_epi16(high, kStep));
        const __m512i signs = _mm512_permutex2var_epi8(first, load_constant(kOddBytes), second);
        const __m512i sum = _mm512_add_epi8(octaves, _mm512_permutex2var_epi8(codes_[0], mantissas, codes_[1]));
        const __m512i limited = _mm512_min_epu8(sum, _mm512_set1_epi8(Rules::kMaxCode));
        constexpr int kOrOfAnd = 0xF8; // a | (b & c)
        *codes = _mm512_ternarylogic_epi32(limited, signs, _mm512_set1_epi8(static_cast<char>(0x80)), kOrOfAnd);
        return true;
    }

private:
    static constexpr int32_t kOctaves = kFp8Octaves<Rules::kBias>;
    static_assert((kOctaves << Rules::kMantissaBits) + (3 << Rules::kMantissaBits) < 256, "a sum is a byte");

    MOEQ_TIER_INLINE static int32_t first_octave(float scale) { return first_fp8_octave<Rules::kBias>(scale); }

    __m512i codes_[2];
    __m512i first_;
};

} // namespace

} // namespace moeq::cpu::avx512
