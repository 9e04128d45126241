// Elements of the three weight types in AVX-512 registers: loads that widen to fp32, stores that round, and the packing of
// 64 results into bytes. Everything here has internal linkage, so that no other object can take its wide code.
#pragma once

#include <cstdint>

// GCC 12 sees the "undefined" registers of its own header as a mistake of the caller's.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif

#include "codec/amax.h"
#include "codec/float16.h"
#include "codec/statistic.h"
#include "core/dtype.h"
#include "cpu/elements.h"

namespace moeq::cpu::avx512 {

namespace {

// The lowest `count` bits, count <= 64; 0 for a negative count.
MOEQ_TIER_INLINE uint64_t low_bits(int64_t count)
{
    return count >= 64 ? ~uint64_t{0} : count <= 0 ? uint64_t{0} : (uint64_t{1} << count) - 1;
}

struct alignas(64) Bytes64 {
    uint8_t at[64];
};

MOEQ_TIER_INLINE __m512i load_constant(const Bytes64& bytes) { return _mm512_load_si512(bytes.at); }

// Of the bytes of two registers.
constexpr Bytes64 every_other_byte(int first)
{
    Bytes64 index{};
    for (int i = 0; i < 64; ++i)
        index.at[i] = static_cast<uint8_t>(2 * i + first);
    return index;
}
constexpr Bytes64 kEvenBytes = every_other_byte(0);
constexpr Bytes64 kOddBytes = every_other_byte(1);

struct alignas(64) Words32 {
    uint16_t at[32];
};

MOEQ_TIER_INLINE __m512i load_constant(const Words32& words) { return _mm512_load_si512(words.at); }

// The halves of the dwords of two registers.
constexpr Words32 every_other_word(int first)
{
    Words32 index{};
    for (int i = 0; i < 32; ++i)
        index.at[i] = static_cast<uint16_t>(2 * i + first);
    return index;
}
constexpr Words32 kLowerWords = every_other_word(0);
constexpr Words32 kUpperWords = every_other_word(1);

// ---- Loads. kFull: all lanes, and the mask is not looked at; else the lanes of the mask, zeros in the others. ----

template <bool kFull>
MOEQ_TIER_INLINE __m512i load_words(const void* at, __mmask32 mask)
{
    return kFull ? _mm512_loadu_si512(at) : _mm512_maskz_loadu_epi16(mask, at);
}

template <FloatType type, bool kFull>
MOEQ_TIER_INLINE __m512 load16(const void* source, int64_t i, __mmask16 mask)
{
    const void* at = element_at<type>(source, i);
    if constexpr (type == kFp32) {
        return kFull ? _mm512_loadu_ps(at) : _mm512_maskz_loadu_ps(mask, at);
    } else {
        const __m256i words =
            kFull ? _mm256_loadu_si256(static_cast<const __m256i*>(at)) : _mm256_maskz_loadu_epi16(mask, at);
        if constexpr (type == kFp16)
            return _mm512_cvtph_ps(words);
        else
            return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
    }
}

// 64 elements in the order that is cheapest for the type: bf16 as (0, 2, .. 30), (1, 3, .. 31), (32, 34, ..), (33, 35, ..),
// the others one after another. The packing functions below put them back in order.
template <FloatType type>
constexpr bool kSplit = type == kBf16;

template <FloatType type, bool kFull>
MOEQ_TIER_INLINE void load64(const void* source, int64_t i, uint64_t mask, __m512 x[4])
{
    if constexpr (type == kBf16) {
        for (int half = 0; half < 2; ++half) {
            const __m512i words =
                load_words<kFull>(element_at<type>(source, i + 32 * half), static_cast<__mmask32>(mask >> (32 * half)));
            x[2 * half] = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
            x[2 * half + 1] =
                _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))));
        }
    } else {
        for (int part = 0; part < 4; ++part)
            x[part] = load16<type, kFull>(source, i + 16 * part, static_cast<__mmask16>(mask >> (16 * part)));
    }
}

// So far ahead of what is worked on the source is asked for at least, in bytes.
constexpr int64_t kAhead = 16384;

// The same of codes to decode, in bytes: enough for those in a cache, which would be waited for where a row begins. There
// need not be so many.
constexpr int64_t kAheadOfCodes = 512;

MOEQ_TIER_INLINE void prefetch_codes(const uint8_t* codes)
{
    _mm_prefetch(reinterpret_cast<const char*>(codes) + kAheadOfCodes, _MM_HINT_T0);
}

// Asks for the lines of 64 elements.
template <FloatType type>
MOEQ_TIER_INLINE void prefetch64(const void* source, int64_t i)
{
    const char* at = static_cast<const char*>(element_at<type>(source, i));
    for (int64_t line = 0; line < 64 * kElementBytes<type>; line += 64)
        _mm_prefetch(at + line, _MM_HINT_T0);
}

// Where to ask while a run is worked on that `next` follows: short runs look further ahead, as if the next one followed
// them in memory, which it mostly does.
template <FloatType type>
MOEQ_TIER_INLINE const void* ahead_of(const void* source, const void* next, int64_t count)
{
    return count * kElementBytes<type> >= kAhead ? next : static_cast<const char*>(source) + kAhead;
}

// ---- Packing of 4 x 16 dwords, ordered as load64 leaves them, into 64 bytes in element order ----

// Byte `byte` of each dword of two registers, in element order, in the lower half of the result.
template <bool kSplitOrder, int byte>
constexpr Bytes64 kPairBytes = [] {
    Bytes64 index{};
    for (int i = 0; i < 32; ++i) {
        const int source = kSplitOrder ? (i % 2) * 64 + (i / 2) * 4 : (i / 16) * 64 + (i % 16) * 4;
        index.at[i] = static_cast<uint8_t>(source + byte);
    }
    return index;
}();

template <bool kSplitOrder, int byte>
MOEQ_TIER_INLINE __m512i pack_byte(const __m512i v[4])
{
    const __m512i index = load_constant(kPairBytes<kSplitOrder, byte>);
    const __m512i first = _mm512_permutex2var_epi8(v[0], index, v[1]);
    const __m512i second = _mm512_permutex2var_epi8(v[2], index, v[3]);
    return _mm512_inserti64x4(first, _mm512_castsi512_si256(second), 1);
}

// The high bytes of 64 words in memory: their signs, and the upper bits of their exponents.
template <bool kFull>
MOEQ_TIER_INLINE __m512i high_bytes(const void* at, uint64_t mask)
{
    const __m512i first = load_words<kFull>(at, static_cast<__mmask32>(mask));
    const __m512i second = load_words<kFull>(static_cast<const char*>(at) + 64, static_cast<__mmask32>(mask >> 32));
    return _mm512_permutex2var_epi8(first, load_constant(kOddBytes), second);
}

// What two rounds of saturating packs leave in each 128-bit lane, put in element order.
template <bool kSplitOrder>
constexpr Bytes64 kPackedOrder = [] {
    Bytes64 index{};
    for (int i = 0; i < 64; ++i) {
        const int part = kSplitOrder ? (i / 32) * 2 + i % 2 : i / 16;
        const int lane = kSplitOrder ? (i % 32) / 2 : i % 16;
        index.at[i] = static_cast<uint8_t>((lane / 4) * 16 + part * 4 + lane % 4);
    }
    return index;
}();

// Saturated to -128..127.
template <bool kSplitOrder>
MOEQ_TIER_INLINE __m512i pack_saturated(const __m512i v[4])
{
    const __m512i packed = _mm512_packs_epi16(_mm512_packs_epi32(v[0], v[1]), _mm512_packs_epi32(v[2], v[3]));
    return _mm512_permutexvar_epi8(load_constant(kPackedOrder<kSplitOrder>), packed);
}

// Streamed: `at` is aligned to 64 bytes.
template <Stores stores>
MOEQ_TIER_INLINE void store512(void* at, __m512i bits)
{
    if constexpr (stores == kStreamed)
        _mm512_stream_si512(static_cast<__m512i*>(at), bits);
    else
        _mm512_storeu_si512(at, bits);
}

template <bool kFull, Stores stores = kCached>
MOEQ_TIER_INLINE void store_bytes(uint8_t* at, uint64_t mask, __m512i bytes)
{
    if constexpr (kFull)
        store512<stores>(at, bytes);
    else
        _mm512_mask_storeu_epi8(at, mask, bytes);
}

// ---- Rounding and stores ----

// bf16 to nearest even in the upper half of each dword (the lower half is leftovers), as codec::bf16_from_float_bits; NaN apart.
MOEQ_TIER_INLINE __m512i round_finite_bf16(__m512 value)
{
    const __m512i bits = _mm512_castps_si512(value);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    return _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
}

// The same of 32 numbers, as words one after another: what is added to the lower halves comes to no more than a carry.
MOEQ_TIER_INLINE __m512i finite_bf16_words(__m512 first, __m512 second)
{
    const __m512i a = _mm512_castps_si512(first);
    const __m512i b = _mm512_castps_si512(second);
    const __m512i upper = _mm512_permutex2var_epi16(a, load_constant(kUpperWords), b);
    const __m512i lower = _mm512_permutex2var_epi16(a, load_constant(kLowerWords), b);
    // (lower + 0x7FFF + odd) / 2, whose bit 15 is the carry; the average itself rounds upwards.
    constexpr int kAndOr = 0xEA; // (a & b) | c
    const __m512i half = _mm512_ternarylogic_epi32(upper, _mm512_set1_epi16(1), _mm512_set1_epi16(0x7FFE), kAndOr);
    return _mm512_add_epi16(upper, _mm512_srli_epi16(_mm512_avg_epu16(lower, half), 15));
}

template <bool kWithNan>
MOEQ_TIER_INLINE __m512i round_bf16(__m512 value)
{
    if constexpr (!kWithNan)
        return round_finite_bf16(value);
    const __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    return _mm512_mask_or_epi32(round_finite_bf16(value), nan, _mm512_castps_si512(value), _mm512_set1_epi32(0x400000));
}

MOEQ_TIER_INLINE __m256i round_fp16(__m512 value)
{
    // All lanes: the form without a mask does not pass the warnings of GCC 12 at -O0.
    return _mm512_maskz_cvtps_ph(0xFFFF, value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

// 32 elements from `destination` on; without kFull those of the mask, never streamed.
template <FloatType type, bool kFull, bool kWithNan, Stores stores = kCached>
MOEQ_TIER_INLINE void store32(void* destination, uint32_t mask, __m512 first, __m512 second)
{
    if constexpr (type == kFp32) {
        float* at = static_cast<float*>(destination);
        if constexpr (kFull) {
            store512<stores>(at, _mm512_castps_si512(first));
            store512<stores>(at + 16, _mm512_castps_si512(second));
        } else {
            _mm512_mask_storeu_ps(at, static_cast<__mmask16>(mask), first);
            _mm512_mask_storeu_ps(at + 16, static_cast<__mmask16>(mask >> 16), second);
        }
    } else {
        __m512i words;
        if constexpr (type == kBf16 && kWithNan)
            words = _mm512_permutex2var_epi16(round_bf16<true>(first), load_constant(kUpperWords),
                                              round_bf16<true>(second));
        else if constexpr (type == kBf16)
            words = finite_bf16_words(first, second);
        else
            words = _mm512_inserti64x4(_mm512_castsi256_si512(round_fp16(first)), round_fp16(second), 1);
        if constexpr (kFull)
            store512<stores>(destination, words);
        else
            _mm512_mask_storeu_epi16(destination, mask, words);
    }
}

// ---- Multipliers ----

// fl(fl(x * prescale) * value); the first product is left out where the prescale is 1.
template <bool kPrescale>
MOEQ_TIER_INLINE __m512 scaled(__m512 x, __m512 prescale, __m512 value)
{
    return _mm512_mul_ps(kPrescale ? _mm512_mul_ps(x, prescale) : x, value);
}

// codec::code_argument for 16 elements, each with its own multiplier: a value of 0 gives +0.
template <bool kFull>
MOEQ_TIER_INLINE __m512 code_arguments(__m512 x, const codec::Multiplier* multipliers, __mmask16 mask)
{
    // The mask is one of low lanes, so twice as many low floats are wanted.
    const uint64_t floats = kFull ? 0 : low_bits(2 * __builtin_popcount(mask));
    const __m512 first =
        kFull ? _mm512_loadu_ps(multipliers) : _mm512_maskz_loadu_ps(static_cast<__mmask16>(floats), multipliers);
    const __m512 second = kFull ? _mm512_loadu_ps(multipliers + 8)
                                : _mm512_maskz_loadu_ps(static_cast<__mmask16>(floats >> 16), multipliers + 8);
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const __m512 prescale = _mm512_permutex2var_ps(first, even, second);
    const __m512 value = _mm512_permutex2var_ps(first, odd, second);
    const __mmask16 nonzero = _mm512_cmp_ps_mask(value, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    return _mm512_maskz_mul_ps(nonzero, _mm512_mul_ps(x, prescale), value);
}

} // namespace

} // namespace moeq::cpu::avx512
