// The largest magnitude bits of a run, by AVX-512.
#pragma once

#include "cpu/amax_rules.h"
#include "cpu/avx512/elements.h"

namespace moeq::cpu::avx512 {

namespace {

MOEQ_TIER_INLINE uint32_t largest_word(__m512i words)
{
    const __m256i half = _mm256_max_epu16(_mm512_castsi512_si256(words), _mm512_extracti64x4_epi64(words, 1));
    const __m128i quarter = _mm_max_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    // The instruction finds a minimum.
    const __m128i smallest = _mm_minpos_epu16(_mm_xor_si128(quarter, _mm_set1_epi16(-1)));
    return ~static_cast<uint32_t>(_mm_cvtsi128_si32(smallest)) & 0xFFFFu;
}

MOEQ_TIER_INLINE uint32_t largest_dword(__m512i dwords) { return _mm512_reduce_max_epu32(dwords); }

template <FloatType type>
constexpr int kLanes = type == kFp32 ? 16 : 32;

template <FloatType type>
MOEQ_TIER_INLINE __m512i magnitudes(__m512i elements)
{
    return _mm512_and_si512(elements, type == kFp32 ? _mm512_set1_epi32(0x7FFFFFFF) : _mm512_set1_epi16(0x7FFF));
}

template <FloatType type>
MOEQ_TIER_INLINE __m512i larger(__m512i a, __m512i b)
{
    return type == kFp32 ? _mm512_max_epu32(a, b) : _mm512_max_epu16(a, b);
}

template <FloatType type>
MOEQ_TIER_INLINE __m512i load_masked(const void* at, uint64_t mask)
{
    return type == kFp32 ? _mm512_maskz_loadu_epi32(static_cast<__mmask16>(mask), at)
                         : _mm512_maskz_loadu_epi16(static_cast<__mmask32>(mask), at);
}

// kFetch: what follows in memory is asked for.
template <FloatType type, bool kFetch = false>
MOEQ_TIER_INLINE uint32_t amax_run(const void* source, int64_t count)
{
    constexpr int64_t kStep = kLanes<type>;
    __m512i most = _mm512_setzero_si512();
    int64_t i = 0;
    if (count >= 4 * kStep) {
        __m512i most1 = most;
        __m512i most2 = most;
        __m512i most3 = most;
        for (; i + 4 * kStep <= count; i += 4 * kStep) {
            const char* at = static_cast<const char*>(element_at<type>(source, i));
            if constexpr (kFetch)
                for (int64_t line = 0; line < 256; line += 64)
                    _mm_prefetch(at + kLookAhead + line, _MM_HINT_T0);
            most = larger<type>(most, magnitudes<type>(_mm512_loadu_si512(at)));
            most1 = larger<type>(most1, magnitudes<type>(_mm512_loadu_si512(at + 64)));
            most2 = larger<type>(most2, magnitudes<type>(_mm512_loadu_si512(at + 128)));
            most3 = larger<type>(most3, magnitudes<type>(_mm512_loadu_si512(at + 192)));
        }
        most = larger<type>(larger<type>(most, most1), larger<type>(most2, most3));
    }
    for (; i + kStep <= count; i += kStep)
        most = larger<type>(most, magnitudes<type>(_mm512_loadu_si512(element_at<type>(source, i))));
    if (i < count)
        most =
            larger<type>(most, magnitudes<type>(load_masked<type>(element_at<type>(source, i), low_bits(count - i))));
    return widened<type>(type == kFp32 ? largest_dword(most) : largest_word(most), source, count);
}

// ---- Of each of up to 16 blocks ----

template <FloatType type, bool kFull>
MOEQ_TIER_INLINE __m512i chunk_magnitude(const void* source, int64_t i, uint64_t mask)
{
    constexpr int kRegisters = 64 / kLanes<type>;
    __m512i most = _mm512_setzero_si512();
    for (int r = 0; r < kRegisters; ++r) {
        const void* at = element_at<type>(source, i + r * kLanes<type>);
        const __m512i elements = kFull ? _mm512_loadu_si512(at) : load_masked<type>(at, mask >> (r * kLanes<type>));
        most = larger<type>(most, magnitudes<type>(elements));
    }
    return most;
}

// The magnitudes of a block, folded into one register.
template <FloatType type>
MOEQ_TIER_INLINE __m512i block_magnitudes(const void* source, int64_t begin, int64_t count)
{
    __m512i most = _mm512_setzero_si512();
    int64_t i = 0;
    for (; i + 64 <= count; i += 64)
        most = larger<type>(most, chunk_magnitude<type, true>(source, begin + i, 0));
    if (i < count)
        most = larger<type>(most, chunk_magnitude<type, false>(source, begin + i, low_bits(count - i)));
    return most;
}

// The largest of each of 16 registers, as dwords in their order: a tree whose steps halve what is left of two registers and
// put it into one.
template <FloatType type>
MOEQ_TIER_INLINE __m512i largest_of_each(const __m512i v[16])
{
    __m512i fours[4]; // dwords of four registers, in each 128-bit lane
    for (int i = 0; i < 4; ++i) {
        const __m512i* four = v + 4 * i;
        const __m512i first =
            larger<type>(_mm512_unpacklo_epi32(four[0], four[1]), _mm512_unpackhi_epi32(four[0], four[1]));
        const __m512i last =
            larger<type>(_mm512_unpacklo_epi32(four[2], four[3]), _mm512_unpackhi_epi32(four[2], four[3]));
        fours[i] = larger<type>(_mm512_unpacklo_epi64(first, last), _mm512_unpackhi_epi64(first, last));
    }
    __m512i eights[2];
    for (int i = 0; i < 2; ++i)
        eights[i] = larger<type>(_mm512_shuffle_i64x2(fours[2 * i], fours[2 * i + 1], 0x44),
                                 _mm512_shuffle_i64x2(fours[2 * i], fours[2 * i + 1], 0xEE));
    const __m512i all = larger<type>(_mm512_shuffle_i64x2(eights[0], eights[1], 0x88),
                                     _mm512_shuffle_i64x2(eights[0], eights[1], 0xDD));
    if constexpr (type == kFp32)
        return all;
    return _mm512_and_si512(_mm512_max_epu16(all, _mm512_srli_epi32(all, 16)), _mm512_set1_epi32(0xFFFF));
}

// The widened magnitude bits of `blocks` blocks, the first at element `begin`; `stored` are their magnitudes.
template <FloatType type>
MOEQ_TIER_INLINE __m512i widened_blocks(__m512i stored, const void* source, int64_t begin, const int64_t* counts,
                                        int blocks)
{
    if constexpr (type == kFp32)
        return stored;
    if constexpr (type == kBf16)
        return _mm512_slli_epi32(stored, 16);
    if (_mm512_cmpgt_epu32_mask(stored, _mm512_set1_epi32(0x7C00)) == 0) [[likely]]
        return _mm512_castps_si512(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(stored)));
    alignas(64) uint32_t bits[16] = {};
    for (int b = 0; b < blocks; begin += counts[b++])
        bits[b] = amax_fp16_one_by_one(static_cast<const uint16_t*>(element_at<type>(source, begin)), counts[b]);
    return _mm512_load_si512(bits);
}

// Up to 16 blocks that follow each other, the last of all perhaps shorter.
template <FloatType type>
struct BlockGroup {
    static constexpr int kMost = 16;

    int blocks;
    int64_t counts[kMost];
    __m512i amax; // of each block, as fp32 bits

    // Those from element `first` of `count` on.
    MOEQ_TIER_INLINE void measure(const void* source, int64_t first, int64_t count, int64_t block, int most_blocks)
    {
        __m512i folded[kMost];
        blocks = 0;
        for (int64_t i = first; blocks < most_blocks && i < count; i += block, ++blocks) {
            counts[blocks] = count - i < block ? count - i : block;
            folded[blocks] = block_magnitudes<type>(source, i, counts[blocks]);
        }
        for (int b = blocks; b < kMost; ++b)
            folded[b] = _mm512_setzero_si512();
        amax = widened_blocks<type>(largest_of_each<type>(folded), source, first, counts, blocks);
    }

    // 16 blocks of 64 or 32. kFetch: what comes later is asked for.
    template <int block, bool kFetch>
    MOEQ_TIER_INLINE void measure_full(const void* source, int64_t first)
    {
        __m512i folded[kMost];
        blocks = kMost;
#pragma GCC unroll 16
        for (int b = 0; b < kMost; ++b) {
            counts[b] = block;
            for (int i = 0; i < block; i += kLanes<type>) {
                const void* at = element_at<type>(source, first + block * b + i);
                if constexpr (kFetch)
                    _mm_prefetch(static_cast<const char*>(at) + kAhead, _MM_HINT_T0);
                const __m512i some = magnitudes<type>(_mm512_loadu_si512(at));
                folded[b] = i == 0 ? some : larger<type>(folded[b], some);
            }
        }
        amax = widened_blocks<type>(largest_of_each<type>(folded), source, first, counts, blocks);
    }

    // One or the other; true for 16 blocks of 64 or 32.
    template <bool kFetch>
    MOEQ_TIER_INLINE bool measure_next(const void* source, int64_t first, int64_t count, int64_t block, int most_blocks)
    {
        const bool full = (block == 64 || block == 32) && count - first >= kMost * block;
        if (!full)
            measure(source, first, count, block, most_blocks);
        else if (block == 64)
            measure_full<64, kFetch>(source, first);
        else
            measure_full<32, kFetch>(source, first);
        return full;
    }
};

} // namespace

} // namespace moeq::cpu::avx512
