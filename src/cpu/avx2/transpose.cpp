// Transposing by AVX2.
#include "cpu/transpose.h"

#include "cpu/avx2/elements.h"
#include "cpu/avx2/tier.h"

namespace moeq::cpu::avx2 {

namespace {

struct Ops {
    using Vector = __m256i;
    static constexpr int64_t kSides = 1;

    MOEQ_TIER_INLINE static __m256i gather(const char* at, int64_t step)
    {
        return _mm256_inserti128_si256(_mm256_castsi128_si256(load128(at)), load128(at + step), 1);
    }
    MOEQ_TIER_INLINE static __m256i get(const char* at) { return load256(at); }
    template <int64_t bytes>
    MOEQ_TIER_INLINE static __m256i low(__m256i a, __m256i b)
    {
        if constexpr (bytes == 2)
            return _mm256_unpacklo_epi16(a, b);
        else if constexpr (bytes == 4)
            return _mm256_unpacklo_epi32(a, b);
        else
            return _mm256_unpacklo_epi64(a, b);
    }
    template <int64_t bytes>
    MOEQ_TIER_INLINE static __m256i high(__m256i a, __m256i b)
    {
        if constexpr (bytes == 2)
            return _mm256_unpackhi_epi16(a, b);
        else if constexpr (bytes == 4)
            return _mm256_unpackhi_epi32(a, b);
        else
            return _mm256_unpackhi_epi64(a, b);
    }
    template <Stores stores>
    MOEQ_TIER_INLINE static void put(char* at, __m256i v)
    {
        put256<stores>(at, v);
    }
};

} // namespace

void overlay_transpose(Kernels* kernels) { overlay_transposition<Ops, kStreamed>(kernels); }

} // namespace moeq::cpu::avx2
