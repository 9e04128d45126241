// The largest magnitude bits of a run, by AVX2.
#pragma once

#include "cpu/amax_rules.h"
#include "cpu/avx2/elements.h"

namespace moeq::cpu::avx2 {

namespace {

MOEQ_TIER_INLINE uint32_t largest_word(__m256i words)
{
    const __m128i half = _mm_max_epu16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    // The instruction finds a minimum.
    const __m128i smallest = _mm_minpos_epu16(_mm_xor_si128(half, _mm_set1_epi16(-1)));
    return ~static_cast<uint32_t>(_mm_cvtsi128_si32(smallest)) & 0xFFFFu;
}

MOEQ_TIER_INLINE uint32_t largest_dword(__m256i dwords)
{
    __m128i most = _mm_max_epu32(_mm256_castsi256_si128(dwords), _mm256_extracti128_si256(dwords, 1));
    most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 0x4E));
    most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 0xB1));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(most));
}

template <FloatType type>
constexpr int64_t kLanes = type == kFp32 ? 8 : 16;

template <FloatType type>
MOEQ_TIER_INLINE __m256i magnitudes(const void* at)
{
    return _mm256_and_si256(load256(at), type == kFp32 ? _mm256_set1_epi32(0x7FFFFFFF) : _mm256_set1_epi16(0x7FFF));
}

template <FloatType type>
MOEQ_TIER_INLINE __m256i larger(__m256i a, __m256i b)
{
    return type == kFp32 ? _mm256_max_epu32(a, b) : _mm256_max_epu16(a, b);
}

// kFetch: what follows in memory is asked for.
template <FloatType type, bool kFetch = false>
MOEQ_TIER_INLINE uint32_t amax_run(const void* source, int64_t count)
{
    constexpr int64_t kStep = kLanes<type>;
    __m256i most = _mm256_setzero_si256();
    int64_t i = 0;
    if (count >= 4 * kStep) {
        __m256i most1 = most;
        __m256i most2 = most;
        __m256i most3 = most;
        for (; i + 4 * kStep <= count; i += 4 * kStep) {
            const char* at = static_cast<const char*>(element_at<type>(source, i));
            if constexpr (kFetch) {
                _mm_prefetch(at + kLookAhead, _MM_HINT_T0);
                _mm_prefetch(at + kLookAhead + 64, _MM_HINT_T0);
            }
            most = larger<type>(most, magnitudes<type>(at));
            most1 = larger<type>(most1, magnitudes<type>(at + 32));
            most2 = larger<type>(most2, magnitudes<type>(at + 64));
            most3 = larger<type>(most3, magnitudes<type>(at + 96));
        }
        most = larger<type>(larger<type>(most, most1), larger<type>(most2, most3));
    }
    for (; i + kStep <= count; i += kStep)
        most = larger<type>(most, magnitudes<type>(element_at<type>(source, i)));
    if (i < count) {
        Padded<kElementBytes<type>> rest;
        rest.fill(element_at<type>(source, i), count - i);
        most = larger<type>(most, magnitudes<type>(rest.at));
    }
    return widened<type>(type == kFp32 ? largest_dword(most) : largest_word(most), source, count);
}

} // namespace

} // namespace moeq::cpu::avx2
