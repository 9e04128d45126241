// Sums by NEON.
#include "cpu/sum.h"

#include "cpu/neon/elements.h"
#include "cpu/neon/tier.h"

namespace moeq::cpu::neon {

namespace {

struct SumOps {
    using Vector = float64x2_t;
    static constexpr int kRegisters = 8;

    MOEQ_TIER_INLINE static Vector zero() { return vdupq_n_f64(0.0); }
    MOEQ_TIER_INLINE static Vector add(Vector a, Vector b) { return vaddq_f64(a, b); }
    MOEQ_TIER_INLINE static Vector load(const double* at) { return vld1q_f64(at); }
    MOEQ_TIER_INLINE static void store(double* at, Vector v) { vst1q_f64(at, v); }
    MOEQ_TIER_INLINE static void fetch(const void* at) { __builtin_prefetch(at); }

    template <FloatType type>
    MOEQ_TIER_INLINE static void widen(const void* at, Vector v[8])
    {
        float32x4_t x[4];
        load16<type>(at, x);
        for (int part = 0; part < 4; ++part) {
            v[2 * part] = vcvt_f64_f32(vget_low_f32(x[part]));
            v[2 * part + 1] = vcvt_high_f64_f32(x[part]);
        }
    }
    template <FloatType type>
    MOEQ_TIER_INLINE static void widen_any(const void* at, Vector v[8])
    {
        widen<type>(at, v);
    }

    template <FloatType>
    MOEQ_TIER_INLINE static double join(const Vector v[8])
    {
        const Vector low = add(vpaddq_f64(v[0], v[1]), vpaddq_f64(v[4], v[5]));
        const Vector high = add(vpaddq_f64(v[2], v[3]), vpaddq_f64(v[6], v[7]));
        return vpaddd_f64(add(low, high));
    }
};

} // namespace

void overlay_sum(Kernels* kernels) { fill_sums<SumOps>(kernels); }

} // namespace moeq::cpu::neon
