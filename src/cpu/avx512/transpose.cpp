// Transposing by AVX-512.
#include "cpu/transpose.h"

#include "cpu/avx512/elements.h"
#include "cpu/avx512/tier.h"

namespace moeq::cpu::avx512 {

namespace {

struct Ops {
    using Vector = __m512i;
    static constexpr int64_t kSides = 2;

    MOEQ_TIER_INLINE static __m512i gather(const char* at, int64_t step)
    {
        return _mm512_inserti64x4(_mm512_castsi256_si512(half(at)), half(at + step), 1);
    }
    template <int i>
    MOEQ_TIER_INLINE static __m512i side(__m512i a, __m512i b)
    {
        const __m512i lanes =
            i == 0 ? _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13) : _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
        return _mm512_permutex2var_epi64(a, lanes, b);
    }
    MOEQ_TIER_INLINE static __m512i get(const char* at) { return _mm512_loadu_si512(at); }
    template <int64_t bytes>
    MOEQ_TIER_INLINE static __m512i low(__m512i a, __m512i b)
    {
        if constexpr (bytes == 2)
            return _mm512_unpacklo_epi16(a, b);
        else if constexpr (bytes == 4)
            return _mm512_unpacklo_epi32(a, b);
        else
            return _mm512_unpacklo_epi64(a, b);
    }
    template <int64_t bytes>
    MOEQ_TIER_INLINE static __m512i high(__m512i a, __m512i b)
    {
        if constexpr (bytes == 2)
            return _mm512_unpackhi_epi16(a, b);
        else if constexpr (bytes == 4)
            return _mm512_unpackhi_epi32(a, b);
        else
            return _mm512_unpackhi_epi64(a, b);
    }
    template <Stores stores>
    MOEQ_TIER_INLINE static void put(char* at, __m512i v)
    {
        store512<stores>(at, v);
    }

private:
    MOEQ_TIER_INLINE static __m256i half(const char* at)
    {
        return _mm256_loadu_si256(static_cast<const __m256i*>(static_cast<const void*>(at)));
    }
};

} // namespace

void overlay_transpose(Kernels* kernels) { overlay_transposition<Ops, kStreamed>(kernels); }

} // namespace moeq::cpu::avx512
