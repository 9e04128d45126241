// Elements of the three weight types in AVX2 registers: loads that widen to fp32, stores that round, and the packing of 32
// results into bytes. The kernels work on groups of 32; what is left over goes through a buffer. Everything here has internal
// linkage, so that no other object can take its wide code.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "codec/amax.h"
#include "codec/float16.h"
#include "codec/statistic.h"
#include "core/dtype.h"
#include "cpu/elements.h"

namespace moeq::cpu::avx2 {

namespace {

constexpr int64_t kGroup = 32;

MOEQ_TIER_INLINE __m256i load256(const void* at) { return _mm256_loadu_si256(static_cast<const __m256i*>(at)); }
MOEQ_TIER_INLINE __m128i load128(const void* at) { return _mm_loadu_si128(static_cast<const __m128i*>(at)); }
MOEQ_TIER_INLINE void store256(void* at, __m256i bits) { _mm256_storeu_si256(static_cast<__m256i*>(at), bits); }
MOEQ_TIER_INLINE void store128(void* at, __m128i bits) { _mm_storeu_si128(static_cast<__m128i*>(at), bits); }

// Streamed: `at` is aligned to 32 bytes; the other half of its cache line follows at once.
template <Stores stores>
MOEQ_TIER_INLINE void put256(void* at, __m256i bits)
{
    if constexpr (stores == kStreamed)
        _mm256_stream_si256(static_cast<__m256i*>(at), bits);
    else
        store256(at, bits);
}

MOEQ_TIER_INLINE void stream_line(uint8_t* to, const uint8_t* from)
{
    put256<kStreamed>(to, load256(from));
    put256<kStreamed>(to + 32, load256(from + 32));
}

template <int64_t bytes>
using Staged = StagedBytes<bytes, stream_line>;

// ---- Loads ----

template <FloatType type>
MOEQ_TIER_INLINE __m256 load8(const void* at)
{
    if constexpr (type == kFp32)
        return _mm256_loadu_ps(static_cast<const float*>(at));
    else if constexpr (type == kFp16)
        return _mm256_cvtph_ps(load128(at));
    else
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(at)), 16));
}

// 32 elements in the order that is cheapest for the type: bf16 as (0, 2, .. 14), (1, 3, .. 15), (16, 18, ..), (17, 19, ..),
// the others one after another. The packing functions below put them back in order.
template <FloatType type>
constexpr bool kSplit = type == kBf16;

template <FloatType type>
MOEQ_TIER_INLINE void load32(const void* at, __m256 x[4])
{
    if constexpr (type == kBf16) {
        for (int half = 0; half < 2; ++half) {
            const __m256i words = load256(element_at<type>(at, 16 * half));
            x[2 * half] = _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
            x[2 * half + 1] =
                _mm256_castsi256_ps(_mm256_and_si256(words, _mm256_set1_epi32(static_cast<int>(0xFFFF0000u))));
        }
    } else {
        for (int part = 0; part < 4; ++part)
            x[part] = load8<type>(element_at<type>(at, 8 * part));
    }
}

// So far ahead of what is worked on the source is asked for at least, in bytes.
constexpr int64_t kAhead = 16384;

// Asks for the lines of 32 elements.
template <FloatType type>
MOEQ_TIER_INLINE void prefetch32(const void* source, int64_t i)
{
    const char* at = static_cast<const char*>(element_at<type>(source, i));
    for (int64_t line = 0; line < kGroup * kElementBytes<type>; line += 64)
        _mm_prefetch(at + line, _MM_HINT_T0);
}

// Where to ask while a run is worked on that `next` follows: short runs look further ahead, as if the next one followed
// them in memory, which it mostly does.
template <FloatType type>
MOEQ_TIER_INLINE const void* ahead_of(const void* source, const void* next, int64_t count)
{
    return count * kElementBytes<type> >= kAhead ? next : static_cast<const char*>(source) + kAhead;
}

// ---- Packing ----

// What two rounds of packs leave, put in element order.
template <bool kSplitOrder>
MOEQ_TIER_INLINE __m256i ordered_bytes(__m256i packed)
{
    if constexpr (kSplitOrder) {
        const __m256i zip = _mm256_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15, //
                                             0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
        return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(packed, zip), 0xD8);
    }
    return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// 4 x 8 dwords, ordered as load32 leaves them, saturated to int8 and in element order.
template <bool kSplitOrder>
MOEQ_TIER_INLINE __m256i pack_saturated(const __m256i v[4])
{
    return ordered_bytes<kSplitOrder>(
        _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3])));
}

// The same of dwords from 0 to 255.
template <bool kSplitOrder>
MOEQ_TIER_INLINE __m256i pack_unsigned(const __m256i v[4])
{
    return ordered_bytes<kSplitOrder>(
        _mm256_packus_epi16(_mm256_packus_epi32(v[0], v[1]), _mm256_packus_epi32(v[2], v[3])));
}

// The high bytes of 32 words in memory: their signs, and the upper bits of their exponents.
MOEQ_TIER_INLINE __m256i high_bytes(const void* at)
{
    const __m256i first = _mm256_srli_epi16(load256(at), 8);
    const __m256i second = _mm256_srli_epi16(load256(static_cast<const char*>(at) + 32), 8);
    return _mm256_permute4x64_epi64(_mm256_packus_epi16(first, second), 0xD8);
}

// The signs of 32 numbers as bytes of -128 or 0: what -2^31 and 0 saturate to.
template <bool kSplitOrder>
MOEQ_TIER_INLINE __m256i pack_signs(const __m256 t[4])
{
    const __m256i sign = _mm256_set1_epi32(static_cast<int>(codec::kSignBit));
    __m256i signs[4];
    for (int part = 0; part < 4; ++part)
        signs[part] = _mm256_and_si256(_mm256_castps_si256(t[part]), sign);
    return pack_saturated<kSplitOrder>(signs);
}

// ---- Rounding and stores ----

// How numbers are rounded to bf16. To nearest even, with or without NaN among them; or half up, which is the same where no
// number lies in the middle between two, and costs half as much.
enum class Rounding { kWithNan, kNumbers, kHalfUp };

// bf16 in the lower half of each dword, the upper one 0; as codec::bf16_from_float_bits. With a shift of 0: in the upper half,
// and leftovers in the lower one.
template <Rounding rounding, int shift = 16>
MOEQ_TIER_INLINE __m256i round_bf16(__m256 value)
{
    const __m256i bits = _mm256_castps_si256(value);
    if constexpr (rounding == Rounding::kHalfUp)
        return _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x8000)), shift);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
    if constexpr (rounding == Rounding::kWithNan) {
        const __m256 quiet = _mm256_or_ps(value, _mm256_castsi256_ps(_mm256_set1_epi32(0x400000)));
        const __m256 nan = _mm256_cmp_ps(value, value, _CMP_UNORD_Q);
        rounded = _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(rounded), quiet, nan));
    }
    return _mm256_srli_epi32(rounded, shift);
}

MOEQ_TIER_INLINE __m128i round_fp16(__m256 value)
{
    return _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

// 16 elements.
template <FloatType type, Rounding rounding, Stores stores = kCached>
MOEQ_TIER_INLINE void store16(void* at, __m256 first, __m256 second)
{
    if constexpr (type == kFp32) {
        put256<stores>(at, _mm256_castps_si256(first));
        put256<stores>(static_cast<float*>(at) + 8, _mm256_castps_si256(second));
    } else if constexpr (type == kFp16) {
        put256<stores>(at, _mm256_set_m128i(round_fp16(second), round_fp16(first)));
    } else {
        const __m256i words = _mm256_packus_epi32(round_bf16<rounding>(first), round_bf16<rounding>(second));
        put256<stores>(at, _mm256_permute4x64_epi64(words, 0xD8));
    }
}

// ---- Multipliers ----

// fl(fl(x * prescale) * value); the first product is left out where the prescale is 1.
template <bool kPrescale>
MOEQ_TIER_INLINE __m256 scaled(__m256 x, __m256 prescale, __m256 value)
{
    return _mm256_mul_ps(kPrescale ? _mm256_mul_ps(x, prescale) : x, value);
}

// codec::code_argument for 8 elements, each with its own multiplier: a value of 0 gives +0.
MOEQ_TIER_INLINE __m256 code_arguments(__m256 x, const void* multipliers)
{
    static_assert(sizeof(codec::Multiplier) == 8);
    const __m256 first = _mm256_loadu_ps(static_cast<const float*>(multipliers));
    const __m256 second = _mm256_loadu_ps(static_cast<const float*>(multipliers) + 8);
    const __m256d prescales = _mm256_castps_pd(_mm256_shuffle_ps(first, second, 0x88));
    const __m256d values = _mm256_castps_pd(_mm256_shuffle_ps(first, second, 0xDD));
    const __m256 prescale = _mm256_castpd_ps(_mm256_permute4x64_pd(prescales, 0xD8));
    const __m256 value = _mm256_castpd_ps(_mm256_permute4x64_pd(values, 0xD8));
    const __m256 nonzero = _mm256_cmp_ps(value, _mm256_setzero_ps(), _CMP_NEQ_UQ);
    return _mm256_and_ps(nonzero, _mm256_mul_ps(_mm256_mul_ps(x, prescale), value));
}

} // namespace

} // namespace moeq::cpu::avx2
