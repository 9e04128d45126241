// What the 4-bit formats share on AVX-512, over a format's rules:
//   kValues          the 16 values, as fp32 bits
//   Search           the constants of the encoder in registers, and cell_index(t): bits 0..5 say what the code is
//   kCodes           the code of each of the 64 indices
#pragma once

#include "cpu/avx512/amax.h"
#include "cpu/avx512/elements.h"
#include "cpu/kernels.h"

namespace moeq::cpu::avx512 {

namespace {

// ---- Decode ----

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

// 64 elements from 32 bytes of codes; without kFull the first `count` of them.
template <FloatType type, bool kFull>
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
                _mm512_storeu_ps(at, results);
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
            _mm512_storeu_si512(at, _mm512_unpacklo_epi16(even, odd));
            _mm512_storeu_si512(at + 64, _mm512_unpackhi_epi16(even, odd));
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

// Bytes to words, for each block of a pair, such that unpacking in 128-bit lanes leaves elements in order.
template <int first>
constexpr Bytes64 kBlockWords = [] {
    Bytes64 index{};
    for (int word = 0; word < 32; ++word)
        index.at[2 * word] = static_cast<uint8_t>(first + (word / 8) * 4 + (word % 8 / 4) * 16 + word % 4);
    return index;
}();

// Pairs of blocks of 64 elements, finite absmax.
template <FloatType type>
MOEQ_TIER_INLINE void decode_pairs(const uint8_t* codes, int64_t pairs, const float* absmax, __m512 values, char* at)
{
    constexpr __mmask64 kLowBytes = 0x5555555555555555u;
    const __m512i first_words = load_constant(kBlockWords<0>);
    const __m512i second_words = load_constant(kBlockWords<32>);
    const __m512i ones = _mm512_set1_epi8(1);
    const __m512i low_nibble = _mm512_set1_epi16(15);
    const __m512i block_bit = _mm512_set1_epi16(16);
    constexpr int kAndOr = 0xEA; // (a & b) | c
    for (int64_t pair = 0; pair < pairs; ++pair, codes += 64, absmax += 2, at += 256) {
        const __m512i table = pair_table<type>(values, absmax);
        const __m512i bytes = _mm512_loadu_si512(codes);
        const __m512i first = _mm512_maskz_permutexvar_epi8(kLowBytes, first_words, bytes);
        // 0x1HL: the one is the upper byte, which the shift brings to the bit that chooses the second block.
        const __m512i second = _mm512_mask_permutexvar_epi8(ones, kLowBytes, second_words, bytes);
        const __m512i even = _mm512_permutexvar_epi16(_mm512_srli_epi16(first, 4), table);
        const __m512i odd = _mm512_permutexvar_epi16(_mm512_and_si512(first, low_nibble), table);
        _mm512_storeu_si512(at, _mm512_unpacklo_epi16(even, odd));
        _mm512_storeu_si512(at + 64, _mm512_unpackhi_epi16(even, odd));
        const __m512i second_odd = _mm512_ternarylogic_epi32(second, low_nibble, block_bit, kAndOr);
        const __m512i even2 = _mm512_permutexvar_epi16(_mm512_srli_epi16(second, 4), table);
        const __m512i odd2 = _mm512_permutexvar_epi16(second_odd, table);
        _mm512_storeu_si512(at + 128, _mm512_unpacklo_epi16(even2, odd2));
        _mm512_storeu_si512(at + 192, _mm512_unpackhi_epi16(even2, odd2));
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

template <class Code, FloatType type>
void decode_blocks(const uint8_t* codes, int64_t begin, int64_t end, const float* absmax, int64_t block,
                   void* destination)
{
    const __m512 values = _mm512_castsi512_ps(_mm512_loadu_si512(Code::kValues.bits));
    char* at = static_cast<char*>(destination);
    int64_t i = begin;
    int64_t left = begin < end ? block - begin % block : 0; // of the block
    absmax += begin / block;
    while (i < end) {
        const int64_t rest = end - i;
        if constexpr (type != kFp32) {
            const int64_t blocks = block == 64 && left == 64 ? finite_blocks(absmax, rest / 64) : 0;
            if (blocks != 0) {
                decode_pairs<type>(codes + i / 2, blocks / 2, absmax, values, at);
                i += 64 * blocks;
                at += 64 * kElementBytes<type> * blocks;
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
            decode64<type, true>(codes + i / 2, 64, table, at);
        if (count > 0) {
            decode64<type, false>(codes + i / 2, count, table, at);
            at += count * kElementBytes<type>;
            i += count;
        }
    }
}

// ---- Encode ----

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

template <FloatType type>
MOEQ_TIER_INLINE uint32_t block_amax(const void* source, int64_t begin, int64_t count)
{
    __m512i most = _mm512_setzero_si512();
    int64_t i = 0;
    for (; i + 64 <= count; i += 64)
        most = larger<type>(most, chunk_magnitude<type, true>(source, begin + i, 0));
    if (i < count)
        most = larger<type>(most, chunk_magnitude<type, false>(source, begin + i, low_bits(count - i)));
    return widened<type>(type == kFp32 ? largest_dword(most) : largest_word(most), element_at<type>(source, begin),
                         count);
}

template <class Code, FloatType type, bool kPrescale, bool kFull>
MOEQ_TIER_INLINE void encode_chunk(const void* source, int64_t i, int64_t count, const typename Code::Search& search,
                                   __m512 prescale, __m512 value, uint8_t* codes)
{
    __m512 x[4];
    load64<type, kFull>(source, i, kFull ? 0 : low_bits(count), x);
    __m512i index[4];
    for (int part = 0; part < 4; ++part)
        index[part] = search.cell_index(scaled<kPrescale>(x[part], prescale, value));
    const __m512i nibbles = _mm512_permutexvar_epi8(pack_byte<kSplit<type>, 0>(index), load_constant(Code::kCodes));
    // 16 * even + odd.
    const __m512i words = _mm512_maddubs_epi16(nibbles, _mm512_set1_epi16(0x0110));
    const __m256i bytes = _mm512_cvtepi16_epi8(words);
    if constexpr (kFull)
        _mm256_storeu_si256(static_cast<__m256i*>(static_cast<void*>(codes + i / 2)), bytes);
    else
        _mm256_mask_storeu_epi8(codes + i / 2, static_cast<__mmask32>(low_bits((count + 1) / 2)), bytes);
}

template <class Code, FloatType type, bool kPrescale>
MOEQ_TIER_INLINE void encode_block(const void* source, int64_t begin, int64_t count,
                                   const typename Code::Search& search, float prescale, float value, uint8_t* codes)
{
    const __m512 prescales = _mm512_set1_ps(prescale);
    const __m512 values = _mm512_set1_ps(value);
    int64_t i = 0;
    for (; i + 64 <= count; i += 64)
        encode_chunk<Code, type, kPrescale, true>(source, begin + i, 64, search, prescales, values, codes);
    if (i < count)
        encode_chunk<Code, type, kPrescale, false>(source, begin + i, count - i, search, prescales, values, codes);
}

// codec::unit_multiplier for 16 blocks, whose absmax it stores. Returns the lanes that have a prescale.
MOEQ_TIER_INLINE __mmask16 store_multipliers(__m512i bits, float* values)
{
    const __mmask16 tiny = _mm512_cmplt_epu32_mask(bits, _mm512_set1_epi32(static_cast<int>(codec::kTinyAmaxBits)));
    const __mmask16 nonzero = _mm512_test_epi32_mask(bits, bits);
    const __m512 prescale = _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(codec::kTinyPrescaleBits)));
    const __m512 absmax = _mm512_castsi512_ps(bits);
    const __m512 divisor = _mm512_mask_mul_ps(absmax, tiny, absmax, prescale);
    _mm512_storeu_ps(values, _mm512_maskz_div_ps(nonzero, _mm512_set1_ps(1.0f), divisor));
    return tiny & nonzero;
}

template <class Code, FloatType type>
uint32_t encode_blocks(const void* source, int64_t count, int64_t block, float* absmax, uint8_t* codes)
{
    const typename Code::Search search = Code::make_search();
    __m512i most = _mm512_setzero_si512();
    // 16 blocks at a time: first their statistics, then their codes.
    for (int64_t first = 0; first < count;) {
        alignas(64) uint32_t bits[16] = {};
        alignas(64) float values[16];
        int64_t counts[16];
        int blocks = 0;
        for (int64_t i = first; blocks < 16 && i < count; i += block, ++blocks) {
            counts[blocks] = count - i < block ? count - i : block;
            bits[blocks] = block_amax<type>(source, i, counts[blocks]);
        }
        const __m512i statistics = _mm512_load_si512(bits);
        most = _mm512_max_epu32(most, statistics);
        _mm512_mask_storeu_epi32(absmax, static_cast<__mmask16>(low_bits(blocks)), statistics);
        absmax += blocks;
        const __mmask16 tiny = store_multipliers(statistics, values);
        for (int b = 0; b < blocks; ++b) {
            const float prescale = codec::float_from_bits(codec::kTinyPrescaleBits);
            if ((tiny >> b & 1) != 0) [[unlikely]]
                encode_block<Code, type, true>(source, first, counts[b], search, prescale, values[b], codes);
            else
                encode_block<Code, type, false>(source, first, counts[b], search, 1.0f, values[b], codes);
            first += counts[b];
        }
    }
    return largest_dword(most);
}

template <class Code, FloatType type>
void overlay_type(FormatKernels* kernels)
{
    kernels->encode_blocks[type] = encode_blocks<Code, type>;
    kernels->decode_blocks[type] = decode_blocks<Code, type>;
}

template <class Code>
void overlay_format(FormatKernels* kernels)
{
    overlay_type<Code, kFp32>(kernels);
    overlay_type<Code, kFp16>(kernels);
    overlay_type<Code, kBf16>(kernels);
}

// 1.5 * 2^23: a number below 2^22 added to it comes out as the nearest integer in the lowest bits.
constexpr float kRounder = 12582912.0f;

} // namespace

} // namespace moeq::cpu::avx512
