// The shorter way to NF4 codes for bf16: keys and their tables (cpu/nf4_keys.h) instead of products and a search.
#pragma once

#include "cpu/avx2/elements.h"
#include "cpu/nf4_keys.h"

namespace moeq::cpu::avx2 {

namespace {

// Three look-ups of 16 cells: zones. Within one there are at most 8 codes, from 4 times the zone's number on.
using Nf4Keys32 = Nf4Keys<768, 32>;
constexpr int kZones = 3;

// For each mantissa of a block's largest magnitude and each cell: the code of the cell in its zone in the upper 3 bits; the
// place of a key in the cell, added to the rest, carries where the code is one more.
struct Nf4KeyTables {
    alignas(16) uint8_t of_mantissa[128][kZones][16];
};
constexpr Nf4KeyTables kNf4KeyTables = [] {
    Nf4KeyTables tables{};
    for (int mantissa = 0; mantissa < 128; ++mantissa) {
        const Nf4Keys32::Thresholds thresholds = Nf4Keys32::thresholds(mantissa);
        for (int i = 0; i < Nf4Keys32::kCells; ++i) {
            const Nf4Keys32::Cell cell = Nf4Keys32::cell(thresholds, i);
            const int code = cell.code - 4 * (i / 16);
            const int last = code + (cell.step < Nf4Keys32::kCellKeys ? 1 : 0);
            if (!cell.separate || code < 0 || last > 7)
                __builtin_abort(); // does not compile
            tables.of_mantissa[mantissa][i / 16][i % 16] = static_cast<uint8_t>(32 * code + 32 - cell.step);
        }
    }
    return tables;
}();
static_assert(Nf4Keys32::kCells == 16 * kZones, "a look-up for each zone");

// The bf16 elements of one block.
class Nf4Words {
public:
    // `amax`: fp32 bits of the largest magnitude.
    static bool fits(uint32_t amax) { return amax == 0 || (amax >= kLeastKeyedBits && amax < kEndKeyedBits); }

    MOEQ_TIER_INLINE explicit Nf4Words(uint32_t amax)
    {
        const int most = static_cast<int>(amax >> 16);
        floor_ = _mm256_set1_epi16(static_cast<int16_t>(amax == 0 ? 0 : most - (Nf4Keys32::kSpan - 1)));
        for (int zone = 0; zone < kZones; ++zone)
            zones_[zone] = _mm256_broadcastsi128_si256(load128(kNf4KeyTables.of_mantissa[most & 127][zone]));
    }

    // The 32 bytes of 64 elements.
    MOEQ_TIER_INLINE __m256i encode64(const void* source) const
    {
        const char* at = static_cast<const char*>(source);
        // Dwords of 4 bytes: elements 0, 16, 32, 48 in the lower lane, 8, 24, 40, 56 in the upper one.
        const __m256i bytes = _mm256_packus_epi16(encode32(at), encode32(at + 64));
        return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    }

private:
    // Of 16 elements, counted from 0.
    MOEQ_TIER_INLINE __m256i keys(const char* at) const
    {
        const __m256i words = load256(at);
        const __m256i magnitudes = _mm256_and_si256(words, _mm256_set1_epi16(0x7FFF));
        const __m256i distances = _mm256_subs_epu16(magnitudes, floor_);
        const __m256i keys = _mm256_xor_si256(distances, _mm256_srai_epi16(words, 15));
        return _mm256_add_epi16(keys, _mm256_set1_epi16(Nf4Keys32::kSpan));
    }

    // 16 bytes in words. Lanes: elements 0..7 and 16..23, then 8..15 and 24..31.
    MOEQ_TIER_INLINE __m256i encode32(const char* at) const
    {
        const __m256i lower = keys(at);
        const __m256i upper = keys(at + 32);
        const __m256i cells = _mm256_packus_epi16(_mm256_srli_epi16(lower, 5), _mm256_srli_epi16(upper, 5));
        const __m256i low_bits = _mm256_set1_epi16(31);
        const __m256i places =
            _mm256_packus_epi16(_mm256_and_si256(lower, low_bits), _mm256_and_si256(upper, low_bits));
        // Bits 4 and 5 of a cell's number are those of its zone. They come to where blending looks.
        const __m256i first = _mm256_blendv_epi8(_mm256_shuffle_epi8(zones_[0], cells),
                                                 _mm256_shuffle_epi8(zones_[1], cells), _mm256_slli_epi16(cells, 3));
        const __m256i found =
            _mm256_blendv_epi8(first, _mm256_shuffle_epi8(zones_[2], cells), _mm256_slli_epi16(cells, 2));
        const __m256i in_zone = _mm256_srli_epi16(_mm256_add_epi8(found, places), 5);
        const __m256i from_zone = _mm256_srli_epi16(cells, 2);
        const __m256i codes = _mm256_add_epi8(_mm256_and_si256(in_zone, _mm256_set1_epi8(7)),
                                              _mm256_and_si256(from_zone, _mm256_set1_epi8(12)));
        return _mm256_maddubs_epi16(codes, _mm256_set1_epi16(0x0110)); // 16 * even + odd
    }

    __m256i floor_; // a / 2^6 nearly
    __m256i zones_[kZones];
};

} // namespace

} // namespace moeq::cpu::avx2
