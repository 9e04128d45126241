// Sums by AVX2.
#include "cpu/sum.h"

#include "cpu/avx2/elements.h"
#include "cpu/avx2/tier.h"

namespace moeq::cpu::avx2 {

namespace {

struct SumOps {
    using Vector = __m256d;
    static constexpr int kRegisters = 4;

    MOEQ_TIER_INLINE static Vector zero() { return _mm256_setzero_pd(); }
    MOEQ_TIER_INLINE static Vector add(Vector a, Vector b) { return _mm256_add_pd(a, b); }
    MOEQ_TIER_INLINE static Vector load(const double* at) { return _mm256_loadu_pd(at); }
    MOEQ_TIER_INLINE static void store(double* at, Vector v) { _mm256_storeu_pd(at, v); }
    MOEQ_TIER_INLINE static void fetch(const void* at) { _mm_prefetch(static_cast<const char*>(at), _MM_HINT_T0); }

    MOEQ_TIER_INLINE static void widen8(__m256 floats, Vector v[2])
    {
        v[0] = _mm256_cvtps_pd(_mm256_castps256_ps128(floats));
        v[1] = _mm256_cvtps_pd(_mm256_extractf128_ps(floats, 1));
    }

    template <FloatType type>
    MOEQ_TIER_INLINE static void widen(const void* at, Vector v[4])
    {
        for (int part = 0; part < 4; ++part) {
            const void* from = element_at<type>(at, 4 * part);
            if constexpr (type == kFp32) {
                v[part] = _mm256_cvtps_pd(_mm_loadu_ps(static_cast<const float*>(from)));
            } else {
                const __m128i words = _mm_loadl_epi64(static_cast<const __m128i*>(from));
                if constexpr (type == kFp16)
                    v[part] = _mm256_cvtps_pd(_mm_cvtph_ps(words));
                else
                    v[part] = _mm256_cvtps_pd(_mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), words)));
            }
        }
    }

    // Words of bf16 are upper halves of dwords already: the even elements and the odd ones.
    template <FloatType type>
    MOEQ_TIER_INLINE static void widen_any(const void* at, Vector v[4])
    {
        if constexpr (type == kBf16) {
            const __m256i pairs = load256(at);
            widen8(_mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)), v);
            widen8(_mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(-0x10000))), v + 2);
        } else {
            widen<type>(at, v);
        }
    }

    template <FloatType type>
    MOEQ_TIER_INLINE static double join(const Vector v[4])
    {
        __m128d halves;
        if constexpr (type == kBf16) {
            const Vector quarters = add(add(v[0], v[2]), add(v[1], v[3]));
            halves = _mm_add_pd(_mm256_castpd256_pd128(quarters), _mm256_extractf128_pd(quarters, 1));
        } else {
            // Pairs 0, 2, 1, 3 and 4, 6, 5, 7.
            const Vector quarters = add(_mm256_hadd_pd(v[0], v[1]), _mm256_hadd_pd(v[2], v[3]));
            halves = _mm_hadd_pd(_mm256_castpd256_pd128(quarters), _mm256_extractf128_pd(quarters, 1));
        }
        return _mm_cvtsd_f64(_mm_add_sd(halves, _mm_unpackhi_pd(halves, halves)));
    }
};

} // namespace

void overlay_sum(Kernels* kernels) { fill_sums<SumOps>(kernels); }

} // namespace moeq::cpu::avx2
