// Decoding of the 4-bit formats on AVX-512, over a format's kValues: the 16 values, as fp32 bits.
#pragma once

#include "cpu/avx512/elements.h"
#include "cpu/kernels.h"

namespace moeq::cpu::avx512 {

namespace {

// All 16 results of a block: fp32, or 16-bit results twice in each dword.
template <class Code, FloatType type>
MOEQ_TIER_INLINE __m512i block_table(__m512 values, float absmax)
{
    const __m512 results = _mm512_mul_ps(values, _mm512_set1_ps(absmax));
    if constexpr (type == kFp32)
        return _mm512_castps_si512(results);
    if constexpr (type == kFp16) {
        const __m512i words = _mm512_cvtepu16_epi32(round_fp16(results));
        return _mm512_or_si512(words, _mm512_slli_epi32(words, 16));
    }
    const __m512i rounded = round_bf16<true>(results);
    constexpr int kSelect = 0xE4; // c ? a : b
    return _mm512_ternarylogic_epi32(rounded, _mm512_srli_epi32(rounded, 16),
                                     _mm512_set1_epi32(static_cast<int>(0xFFFF0000u)), kSelect);
}

// 64 elements from 32 bytes of codes; without kFull the first `count` of them, never streamed.
template <FloatType type, bool kFull, Stores stores = kCached>
MOEQ_TIER_INLINE void decode64(const uint8_t* codes, int64_t count, __m512i table, void* destination)
{
    if constexpr (type == kFp32) {
        for (int part = 0; part < 4; ++part) {
            const int64_t rest = count - 16 * part;
            __m128i bytes;
            if constexpr (kFull)
                bytes = _mm_loadl_epi64(static_cast<const __m128i*>(static_cast<const void*>(codes + 8 * part)));
            else
                bytes = _mm_maskz_loadu_epi8(static_cast<__mmask16>(low_bits(rest < 16 ? (rest + 1) / 2 : 8)),
                                             codes + 8 * part);
            // Each byte to a quadword, then its high nibble to the lower dword and its low nibble to the upper one.
            const __m512i shifts = _mm512_set1_epi64(0x00000000'00000004);
            const __m512i index = _mm512_multishift_epi64_epi8(shifts, _mm512_cvtepu8_epi64(bytes));
            const __m512 results = _mm512_permutexvar_ps(index, _mm512_castsi512_ps(table));
            float* at = static_cast<float*>(destination) + 16 * part;
            if constexpr (kFull)
                store512<stores>(at, _mm512_castps_si512(results));
            else
                _mm512_mask_storeu_ps(at, static_cast<__mmask16>(low_bits(rest)), results);
        }
    } else {
        const __m256i bytes = kFull ? _mm256_loadu_si256(static_cast<const __m256i*>(static_cast<const void*>(codes)))
                                    : _mm256_maskz_loadu_epi8(static_cast<__mmask32>(low_bits((count + 1) / 2)), codes);
        // Unpacking works in 128-bit lanes: with the dwords in this order its two results are in element order.
        const __m256i ordered = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        const __m512i words = _mm512_cvtepu8_epi16(ordered);
        // The look-up takes 5 bits of index, of which the lowest does not matter: both words of a dword are the same.
        const __m512i even = _mm512_permutexvar_epi16(_mm512_srli_epi16(words, 3), table);
        const __m512i odd = _mm512_permutexvar_epi16(_mm512_add_epi16(words, words), table);
        char* at = static_cast<char*>(destination);
        if constexpr (kFull) {
            store512<stores>(at, _mm512_unpacklo_epi16(even, odd));
            store512<stores>(at + 64, _mm512_unpackhi_epi16(even, odd));
        } else {
            const uint64_t mask = low_bits(count);
            _mm512_mask_storeu_epi16(at, static_cast<__mmask32>(mask), _mm512_unpacklo_epi16(even, odd));
            _mm512_mask_storeu_epi16(at + 64, static_cast<__mmask32>(mask >> 32), _mm512_unpackhi_epi16(even, odd));
        }
    }
}

// Results of 16 bits of two blocks in one register: the look-up's index has 5 bits, of which the highest chooses the block.
template <FloatType type>
MOEQ_TIER_INLINE __m512i pair_table(__m512 values, const float* absmax)
{
    const __m512 first = _mm512_mul_ps(values, _mm512_set1_ps(absmax[0]));
    const __m512 second = _mm512_mul_ps(values, _mm512_set1_ps(absmax[1]));
    if constexpr (type == kFp16)
        return _mm512_inserti64x4(_mm512_castsi256_si512(round_fp16(first)), round_fp16(second), 1);
    return finite_bf16_words(first, second);
}

// Unpacking works in 128-bit lanes. With the dwords of 64 bytes of codes in this order, unpacking twice leaves elements in
// order, 32 in each of four registers.
struct alignas(64) Dwords16 {
    uint32_t at[16];
};
constexpr Dwords16 kLaneOrder = [] {
    Dwords16 order{};
    for (uint32_t i = 0; i < 16; ++i)
        order.at[i] = i % 4 * 4 + i / 4;
    return order;
}();

// In the same order: the number of a byte's block within its pair, at the bit of an index that chooses it.
template <int block>
constexpr Bytes64 kBlockBit = [] {
    Bytes64 bits{};
    for (uint32_t i = 0; i < 64; ++i)
        bits.at[i] = static_cast<uint8_t>(kLaneOrder.at[i / 4] * 8 / block % 2 * 16);
    return bits;
}();

// 128 elements from 64 bytes of codes, blocks of 64 or of 32: the tables of their first half and of their second one.
template <int block, Stores stores>
MOEQ_TIER_INLINE void decode128(const uint8_t* codes, __m512i first, __m512i second, char* at)
{
    const __m512i bytes = _mm512_permutexvar_epi32(_mm512_load_si512(kLaneOrder.at), _mm512_loadu_si512(codes));
    constexpr int kAndOr = 0xEA; // (a & b) | c
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i bit = load_constant(kBlockBit<block>);
    const __m512i high = _mm512_ternarylogic_epi32(_mm512_srli_epi16(bytes, 4), nibble, bit, kAndOr);
    const __m512i low = _mm512_ternarylogic_epi32(bytes, nibble, bit, kAndOr);
    // One index a byte, then one a word, of which the look-up ignores the upper byte.
    const __m512i front = _mm512_unpacklo_epi8(high, low);
    const __m512i back = _mm512_unpackhi_epi8(high, low);
    store512<stores>(at, _mm512_permutexvar_epi16(_mm512_unpacklo_epi8(front, front), first));
    store512<stores>(at + 64, _mm512_permutexvar_epi16(_mm512_unpackhi_epi8(front, front), first));
    store512<stores>(at + 128, _mm512_permutexvar_epi16(_mm512_unpacklo_epi8(back, back), second));
    store512<stores>(at + 192, _mm512_permutexvar_epi16(_mm512_unpackhi_epi8(back, back), second));
}

// Of the first `count` <= 16.
MOEQ_TIER_INLINE bool all_finite(const float* absmax, int64_t count)
{
    const __m512i bits = _mm512_maskz_loadu_epi32(static_cast<__mmask16>(low_bits(count)), absmax);
    const __m512i exponent = _mm512_set1_epi32(static_cast<int>(codec::kNonfiniteBits));
    return _mm512_cmpeq_epi32_mask(_mm512_and_si512(bits, exponent), exponent) == 0;
}

// Blocks of 64 or of 32 from the first on, 128 elements at a time, as far as their absmax are finite. Returns how many
// elements that are.
template <FloatType type, int block, Stores stores>
MOEQ_TIER_INLINE int64_t decode_pairs(const uint8_t* codes, int64_t count, const float* absmax, __m512 values, char* at)
{
    constexpr int64_t kGroupBlocks = 128 / block; // of 128 elements
    const int64_t groups = count / 128;
    int64_t done = 0;
    while (done < groups) {
        const int64_t stop = groups - done < 16 / kGroupBlocks ? groups : done + 16 / kGroupBlocks;
        if (!all_finite(absmax, (stop - done) * kGroupBlocks))
            break;
        for (; done < stop; ++done, codes += 64, absmax += kGroupBlocks, at += 256) {
            prefetch_codes(codes);
            const __m512i first = pair_table<type>(values, absmax);
            const __m512i second = block == 64 ? first : pair_table<type>(values, absmax + 2);
            decode128<block, stores>(codes, first, second, at);
        }
    }
    return 128 * done;
}

// Streamed: every whole group of 64 elements goes to a border of cache lines.
template <class Code, FloatType type, Stores stores>
MOEQ_TIER_INLINE void decode_range(const uint8_t* codes, int64_t begin, int64_t end, const float* absmax, int64_t block,
                                   char* at)
{
    const __m512 values = _mm512_castsi512_ps(_mm512_loadu_si512(Code::kValues.bits));
    int64_t i = begin;
    int64_t left = begin < end ? block - begin % block : 0; // of the block
    absmax += begin / block;
    while (i < end) {
        const int64_t rest = end - i;
        if constexpr (type != kFp32) {
            int64_t done = 0;
            if (left == block && block == 64)
                done = decode_pairs<type, 64, stores>(codes + i / 2, rest, absmax, values, at);
            else if (left == block && block == 32)
                done = decode_pairs<type, 32, stores>(codes + i / 2, rest, absmax, values, at);
            if (done != 0) {
                i += done;
                at += done * kElementBytes<type>;
                absmax += done / block;
                continue;
            }
        } else if (left == block && block == 64 && rest >= 64) {
            for (int64_t b = rest / 64; b != 0; --b, i += 64, at += 256) {
                prefetch_codes(codes + i / 2);
                decode64<type, true, stores>(codes + i / 2, 64, block_table<Code, type>(values, *absmax++), at);
            }
            continue;
        }
        int64_t count = left < rest ? left : rest;
        const __m512i table = block_table<Code, type>(values, *absmax++);
        left = block;
        if ((i & 1) != 0) {
            // Blocks are even, so only the first element of all can be the second one of a byte.
            const uint8_t code[32] = {static_cast<uint8_t>(codes[i / 2] << 4)};
            decode64<type, false>(code, 1, table, at);
            at += kElementBytes<type>;
            ++i;
            --count;
        }
        for (; count >= 64; count -= 64, i += 64, at += 64 * kElementBytes<type>)
            decode64<type, true, stores>(codes + i / 2, 64, table, at);
        if (count > 0) {
            decode64<type, false>(codes + i / 2, count, table, at);
            at += count * kElementBytes<type>;
            i += count;
        }
    }
}

MOEQ_TIER_INLINE void stream_line(uint8_t* to, const uint8_t* from)
{
    store512<kStreamed>(to, _mm512_load_si512(from));
}

template <int64_t bytes>
using Staged = StagedBytes<bytes, stream_line>;

template <class Code, FloatType type, Stores stores>
void decode_blocks(const uint8_t* codes, int64_t begin, int64_t end, const float* absmax, int64_t block,
                   void* destination)
{
    char* at = static_cast<char*>(destination);
    if constexpr (stores == kCached) {
        decode_range<Code, type, kCached>(codes, begin, end, absmax, block, at);
    } else if (reinterpret_cast<uintptr_t>(at) % 64 == 0 && begin % 32 == 0 && block % 32 == 0) {
        decode_range<Code, type, kStreamed>(codes, begin, end, absmax, block, at);
    } else {
        while (begin < end) {
            Staged<4096> staged(at);
            const int64_t most = staged.capacity() / kElementBytes<type>;
            const int64_t count = end - begin < most ? end - begin : most;
            decode_range<Code, type, kCached>(codes, begin, begin + count, absmax, block,
                                              reinterpret_cast<char*>(staged.data()));
            staged.stream(at, count * kElementBytes<type>);
            begin += count;
            at += count * kElementBytes<type>;
        }
    }
}

} // namespace

} // namespace moeq::cpu::avx512
