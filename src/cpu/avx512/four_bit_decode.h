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
    return _mm512_permutex2var_epi16(round_finite_bf16(first), _mm512_load_si512(kUpperWords.at),
                                     round_finite_bf16(second));
}

// Bytes to words, such that unpacking in 128-bit lanes leaves elements in order: 32 bytes from `first` on.
template <int first>
constexpr Bytes64 kBlockWords = [] {
    Bytes64 index{};
    for (int word = 0; word < 32; ++word)
        index.at[2 * word] = static_cast<uint8_t>(first + (word / 8) * 4 + (word % 8 / 4) * 16 + word % 4);
    return index;
}();

// What is put above the 64 codes of a group, words 0xHL, so that shifting by 4 brings the number of their block in the
// pair to the bit of the index that chooses it; and that bit alone, for the low nibbles.
enum class Of { kFirstBlock, kSecondBlock, kHalfEach };

template <Of blocks>
constexpr Bytes64 kBlockNumber = [] {
    Bytes64 bytes{};
    for (int word = 0; word < 32; ++word)
        bytes.at[2 * word + 1] = blocks == Of::kSecondBlock || (blocks == Of::kHalfEach && word % 8 >= 4) ? 1 : 0;
    return bytes;
}();
template <Of blocks>
constexpr Bytes64 kBlockBit = [] {
    Bytes64 bytes{};
    for (int word = 0; word < 32; ++word)
        bytes.at[2 * word] = static_cast<uint8_t>(16 * kBlockNumber<blocks>.at[2 * word + 1]);
    return bytes;
}();

// 64 elements from the 32 bytes of codes at `first`.
template <int first, Of blocks, Stores stores>
MOEQ_TIER_INLINE void decode_group(__m512i bytes, __m512i table, char* at)
{
    constexpr __mmask64 kLowBytes = 0x5555555555555555u;
    constexpr int kAndOr = 0xEA; // (a & b) | c
    const __m512i words = _mm512_mask_permutexvar_epi8(load_constant(kBlockNumber<blocks>), kLowBytes,
                                                       load_constant(kBlockWords<first>), bytes);
    const __m512i low =
        _mm512_ternarylogic_epi32(words, _mm512_set1_epi16(15), load_constant(kBlockBit<blocks>), kAndOr);
    const __m512i even = _mm512_permutexvar_epi16(_mm512_srli_epi16(words, 4), table);
    const __m512i odd = _mm512_permutexvar_epi16(low, table);
    store512<stores>(at, _mm512_unpacklo_epi16(even, odd));
    store512<stores>(at + 64, _mm512_unpackhi_epi16(even, odd));
}

// Pairs of blocks of 64 or of 32 elements, finite absmax.
template <FloatType type, int block, Stores stores>
MOEQ_TIER_INLINE void decode_pairs(const uint8_t* codes, int64_t pairs, const float* absmax, __m512 values, char* at)
{
    for (int64_t pair = 0; pair < pairs; ++pair, codes += block, absmax += 2, at += 4 * block) {
        const __m512i table = pair_table<type>(values, absmax);
        if constexpr (block == 64) {
            const __m512i bytes = _mm512_loadu_si512(codes);
            decode_group<0, Of::kFirstBlock, stores>(bytes, table, at);
            decode_group<32, Of::kSecondBlock, stores>(bytes, table, at + 128);
        } else {
            const __m256i half = _mm256_loadu_si256(static_cast<const __m256i*>(static_cast<const void*>(codes)));
            decode_group<0, Of::kHalfEach, stores>(_mm512_castsi256_si512(half), table, at);
        }
    }
}

// The number of blocks in front, even and at most 16, that decode_pairs may take.
MOEQ_TIER_INLINE int64_t finite_blocks(const float* absmax, int64_t blocks)
{
    const int64_t most = blocks < 16 ? blocks & ~int64_t{1} : 16;
    const __m512i bits = _mm512_maskz_loadu_epi32(static_cast<__mmask16>(low_bits(most)), absmax);
    const __m512i exponent = _mm512_set1_epi32(static_cast<int>(codec::kNonfiniteBits));
    return _mm512_cmpeq_epi32_mask(_mm512_and_si512(bits, exponent), exponent) == 0 ? most : 0;
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
            const bool pairs = left == block && (block == 64 || block == 32);
            const int64_t blocks = pairs ? finite_blocks(absmax, rest / block) : 0;
            if (blocks != 0) {
                if (block == 64)
                    decode_pairs<type, 64, stores>(codes + i / 2, blocks / 2, absmax, values, at);
                else
                    decode_pairs<type, 32, stores>(codes + i / 2, blocks / 2, absmax, values, at);
                i += block * blocks;
                at += block * kElementBytes<type> * blocks;
                absmax += blocks;
                continue;
            }
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

// Bytes that are made in the first-level cache, in the lines' own order, and streamed from there.
template <int64_t bytes>
class Staged {
public:
    // As far behind a cache line's border as the destination is.
    explicit Staged(const void* destination)
        : phase_(static_cast<int64_t>(reinterpret_cast<uintptr_t>(destination) & 63))
    {
    }
    void* data() { return buffer_ + phase_; }
    int64_t capacity() const { return bytes - phase_; }

    void stream(void* destination, int64_t count) const
    {
        const uint8_t* from = buffer_ + phase_;
        auto* to = static_cast<uint8_t*>(destination);
        const int64_t head = unaligned_head<kStreamed, 1>(to, count);
        __builtin_memcpy(to, from, static_cast<uint64_t>(head));
        int64_t i = head;
        for (; i + 64 <= count; i += 64)
            store512<kStreamed>(to + i, _mm512_load_si512(from + i));
        __builtin_memcpy(to + i, from + i, static_cast<uint64_t>(count - i));
    }

private:
    int64_t phase_;
    alignas(64) uint8_t buffer_[static_cast<uint64_t>(bytes)];
};

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
                                              static_cast<char*>(staged.data()));
            staged.stream(at, count * kElementBytes<type>);
            begin += count;
            at += count * kElementBytes<type>;
        }
    }
}

} // namespace

} // namespace moeq::cpu::avx512
