// What every codec header stands on: the host/device macro, single-rounding fp32 arithmetic and bit views of a float.
#pragma once

#include <bit>
#include <cstdint>

#if defined(__FAST_MATH__)
#error "moeq codecs need IEEE arithmetic: do not compile them with -ffast-math"
#endif

// Always inlined on purpose: a translation unit compiled for AVX-512 must not leave an out-of-line copy of these
// functions that the linker could then choose for everybody, older processors included.
#if defined(__CUDACC__)
#define MOEQ_HOST_DEVICE __host__ __device__ __attribute__((always_inline))
#elif defined(__GNUC__) || defined(__clang__)
#define MOEQ_HOST_DEVICE __attribute__((always_inline))
#else
#define MOEQ_HOST_DEVICE
#endif

namespace moeq::codec {

static_assert(sizeof(float) == 4 && sizeof(double) == 8, "IEEE binary32 and binary64 are assumed");

// The four operations with exactly one fp32 rounding (to nearest even, subnormals kept). On the host the build turns
// contraction off (-ffp-contract=off) and the callers run under the default floating-point environment; on the device
// the intrinsics keep the compiler from contracting or approximating.
MOEQ_HOST_DEVICE inline float multiply(float a, float b)
{
#if defined(__CUDA_ARCH__)
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

MOEQ_HOST_DEVICE inline float add(float a, float b)
{
#if defined(__CUDA_ARCH__)
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
}

MOEQ_HOST_DEVICE inline float subtract(float a, float b)
{
#if defined(__CUDA_ARCH__)
    return __fsub_rn(a, b);
#else
    return a - b;
#endif
}

MOEQ_HOST_DEVICE inline float divide(float a, float b)
{
#if defined(__CUDA_ARCH__)
    return __fdiv_rn(a, b);
#else
    return a / b;
#endif
}

MOEQ_HOST_DEVICE inline double add(double a, double b)
{
#if defined(__CUDA_ARCH__)
    return __dadd_rn(a, b);
#else
    return a + b;
#endif
}

#if defined(__CUDA_ARCH__)
MOEQ_HOST_DEVICE inline uint32_t float_bits(float value) { return __float_as_uint(value); }
MOEQ_HOST_DEVICE inline float float_from_bits(uint32_t bits) { return __uint_as_float(bits); }
#else
// The builtin, because std::bit_cast would leave an out-of-line copy in unoptimised builds.
MOEQ_HOST_DEVICE constexpr uint32_t float_bits(float value) { return __builtin_bit_cast(uint32_t, value); }
MOEQ_HOST_DEVICE constexpr float float_from_bits(uint32_t bits) { return __builtin_bit_cast(float, bits); }
#endif

inline constexpr uint32_t kSignBit = 0x80000000u;
inline constexpr uint32_t kMagnitudeMask = 0x7FFFFFFFu;
// Magnitude bits at or above this are Inf; above it, NaN.
inline constexpr uint32_t kNonfiniteBits = 0x7F800000u;

// By bits, so that no compiler flag about NaN can fold it away.
MOEQ_HOST_DEVICE inline bool is_nan(float value) { return (float_bits(value) & kMagnitudeMask) > kNonfiniteBits; }

} // namespace moeq::codec
