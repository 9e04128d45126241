// Sums by AVX-512.
#include "cpu/sum.h"

#include "cpu/avx512/elements.h"
#include "cpu/avx512/tier.h"

namespace moeq::cpu::avx512 {

namespace {

struct SumOps {
    using Vector = __m512d;
    static constexpr int kRegisters = 2;

    MOEQ_TIER_INLINE static Vector zero() { return _mm512_setzero_pd(); }
    MOEQ_TIER_INLINE static Vector add(Vector a, Vector b) { return _mm512_add_pd(a, b); }
    MOEQ_TIER_INLINE static Vector load(const double* at) { return _mm512_loadu_pd(at); }
    MOEQ_TIER_INLINE static void store(double* at, Vector v) { _mm512_storeu_pd(at, v); }
    MOEQ_TIER_INLINE static void fetch(const void* at) { _mm_prefetch(static_cast<const char*>(at), _MM_HINT_T0); }

    template <FloatType type>
    MOEQ_TIER_INLINE static void widen(const void* at, Vector v[2])
    {
        for (int half = 0; half < 2; ++half) {
            const void* from = element_at<type>(at, 8 * half);
            if constexpr (type == kFp32) {
                v[half] = _mm512_cvtps_pd(_mm256_loadu_ps(static_cast<const float*>(from)));
            } else {
                const __m128i words = _mm_loadu_si128(static_cast<const __m128i*>(from));
                if constexpr (type == kFp16)
                    v[half] = _mm512_cvtps_pd(_mm256_cvtph_ps(words));
                else
                    v[half] = _mm512_cvtps_pd(_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16)));
            }
        }
    }

    // Words of bf16 are upper halves of dwords already: the even elements and the odd ones.
    template <FloatType type>
    MOEQ_TIER_INLINE static void widen_any(const void* at, Vector v[2])
    {
        if constexpr (type == kBf16) {
            const __m256i pairs = _mm256_loadu_si256(static_cast<const __m256i*>(at));
            v[0] = _mm512_cvtps_pd(_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)));
            v[1] = _mm512_cvtps_pd(_mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(-0x10000))));
        } else {
            widen<type>(at, v);
        }
    }

    template <FloatType type>
    MOEQ_TIER_INLINE static double join(const Vector v[2])
    {
        __m128d halves;
        if constexpr (type == kBf16) {
            const Vector pairs = add(v[0], v[1]);
            const __m256d quarters = _mm256_add_pd(_mm512_castpd512_pd256(pairs), _mm512_extractf64x4_pd(pairs, 1));
            halves = _mm_add_pd(_mm256_castpd256_pd128(quarters), _mm256_extractf128_pd(quarters, 1));
        } else {
            // Pairs 0, 4, 1, 5, 2, 6, 3, 7; then their sums 0, 2, 1, 3; then 0, 1.
            const Vector pairs = add(_mm512_unpacklo_pd(v[0], v[1]), _mm512_unpackhi_pd(v[0], v[1]));
            const __m256d quarters = _mm256_hadd_pd(_mm512_castpd512_pd256(pairs), _mm512_extractf64x4_pd(pairs, 1));
            halves = _mm_hadd_pd(_mm256_castpd256_pd128(quarters), _mm256_extractf128_pd(quarters, 1));
        }
        return _mm_cvtsd_f64(_mm_add_sd(halves, _mm_unpackhi_pd(halves, halves)));
    }
};

} // namespace

void overlay_sum(Kernels* kernels) { fill_sums<SumOps>(kernels); }

} // namespace moeq::cpu::avx512
