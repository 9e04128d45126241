// The shorter way to NF4 codes for bf16: keys and their tables (cpu/nf4_keys.h) instead of products and a search.
#pragma once

#include "cpu/avx512/elements.h"
#include "cpu/nf4_keys.h"

namespace moeq::cpu::avx512 {

namespace {

using Nf4Keys16 = Nf4Keys<1024, 16>;

// For each mantissa of a block's largest magnitude and each cell, in the order of keys without sign: the code of the cell in
// the upper nibble; the place of a key in the cell, added to the rest, carries where the code is one more.
struct alignas(64) Nf4KeyTables {
    uint8_t of_mantissa[128][Nf4Keys16::kCells];
};
constexpr Nf4KeyTables kNf4KeyTables = [] {
    Nf4KeyTables tables{};
    for (int mantissa = 0; mantissa < 128; ++mantissa) {
        const Nf4Keys16::Thresholds thresholds = Nf4Keys16::thresholds(mantissa);
        for (int i = 0; i < Nf4Keys16::kCells; ++i) {
            const Nf4Keys16::Cell cell = Nf4Keys16::cell(thresholds, i ^ (Nf4Keys16::kCells / 2));
            if (!cell.separate)
                __builtin_abort(); // does not compile
            tables.of_mantissa[mantissa][i] = static_cast<uint8_t>(16 * cell.code + 16 - cell.step);
        }
    }
    return tables;
}();
static_assert(Nf4Keys16::kCells == 128, "a look-up in two registers");

// Of two registers of dwords: the lowest byte of each, then the second one; for the one, then for the other.
constexpr Bytes64 kLowBytesInTurn = [] {
    Bytes64 index{};
    for (int i = 0; i < 64; ++i)
        index.at[i] = static_cast<uint8_t>(i / 32 * 64 + i % 16 * 4 + i / 16 % 2);
    return index;
}();

// 16 blocks, each of which is a 0 or keyed.
class Nf4Words {
public:
    // `amax`: fp32 bits of each block's largest magnitude.
    MOEQ_TIER_INLINE static bool fit(__m512i amax)
    {
        const __m512i least = _mm512_set1_epi32(static_cast<int>(kLeastKeyedBits));
        const __m512i range = _mm512_set1_epi32(static_cast<int>(kEndKeyedBits - kLeastKeyedBits));
        const __mmask16 nonzero = _mm512_test_epi32_mask(amax, amax);
        return _mm512_mask_cmpge_epu32_mask(nonzero, _mm512_sub_epi32(amax, least), range) == 0;
    }

    MOEQ_TIER_INLINE explicit Nf4Words(__m512i amax)
    {
        const __m512i most = _mm512_srli_epi32(amax, 16);
        const __m512i floor = _mm512_subs_epu16(most, _mm512_set1_epi32(Nf4Keys16::kSpan - 1));
        _mm512_store_si512(floors_, _mm512_or_si512(floor, _mm512_slli_epi32(floor, 16)));
        _mm512_store_si512(mantissas_, _mm512_and_si512(most, _mm512_set1_epi32(127)));
    }

    // The 64 bytes of 128 elements: those from `source` on of block `first`, the other half of block `second`.
    MOEQ_TIER_INLINE __m512i encode128(const void* source, int first, int second) const
    {
        const char* at = static_cast<const char*>(source);
        return _mm512_permutex2var_epi8(encode64(at, first, first), load_constant(kLowBytesInTurn),
                                        encode64(at + 128, second, second));
    }

    // The same of four blocks of 32.
    MOEQ_TIER_INLINE __m512i encode_blocks32(const void* source, int first) const
    {
        const char* at = static_cast<const char*>(source);
        return _mm512_permutex2var_epi8(encode64(at, first, first + 1), load_constant(kLowBytesInTurn),
                                        encode64(at + 128, first + 2, first + 3));
    }

    // The 32 bytes of 64 elements of a block.
    MOEQ_TIER_INLINE __m256i encode_part(const void* source, int block) const
    {
        const __m512i bytes = encode64(static_cast<const char*>(source), block, block);
        return _mm512_castsi512_si256(_mm512_permutexvar_epi8(load_constant(kLowBytesInTurn), bytes));
    }

private:
    MOEQ_TIER_INLINE __m512i keys(const char* at, int block) const
    {
        const __m512i words = _mm512_loadu_si512(at);
        const __m512i floor = _mm512_set1_epi32(static_cast<int>(floors_[block]));
        const __m512i magnitudes = _mm512_and_si512(words, _mm512_set1_epi16(0x7FFF));
        return _mm512_xor_si512(_mm512_subs_epu16(magnitudes, floor), _mm512_srai_epi16(words, 15));
    }

    MOEQ_TIER_INLINE __m512i look_up(__m512i cells, int block) const
    {
        const uint8_t* table = kNf4KeyTables.of_mantissa[mantissas_[block]];
        return _mm512_permutex2var_epi8(_mm512_load_si512(table), cells, _mm512_load_si512(table + 64));
    }

    // 32 elements of a block and 32 more, of the same one or the next. In the two lowest bytes of each dword: two codes of the
    // former, and two of the latter.
    MOEQ_TIER_INLINE __m512i encode64(const char* at, int block, int next) const
    {
        const __m512i lower = keys(at, block);
        const __m512i upper = keys(at + 64, next);
        // The latter go into the upper bytes of the former's words.
        constexpr int kSelect = 0xCA; // a ? b : c
        constexpr int kAndOr = 0xEA;  // (a & b) | c
        const __m512i low_bytes = _mm512_set1_epi16(0x00FF);
        const __m512i cells =
            _mm512_ternarylogic_epi32(low_bytes, _mm512_srli_epi16(lower, 4), _mm512_slli_epi16(upper, 4), kSelect);
        const __m512i places = _mm512_ternarylogic_epi32(_mm512_slli_epi16(upper, 8), _mm512_set1_epi16(0x0F00),
                                                         _mm512_and_si512(lower, _mm512_set1_epi16(0x000F)), kAndOr);
        __m512i found = look_up(cells, block);
        if (next != block) // the compiler knows
            found = _mm512_mask_blend_epi8(0xAAAAAAAAAAAAAAAAu, found, look_up(cells, next));
        const __m512i codes = _mm512_add_epi8(found, places); // in the upper nibbles
        return _mm512_ternarylogic_epi32(_mm512_set1_epi32(0xF0F0), codes, _mm512_srli_epi32(codes, 20), kSelect);
    }

    alignas(64) uint32_t floors_[16]; // a / 2^8 nearly, in both words
    alignas(64) uint32_t mantissas_[16];
};

} // namespace

} // namespace moeq::cpu::avx512
