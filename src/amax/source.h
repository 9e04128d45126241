// The element types that can be reduced: for each one how it is stored, its value, and its magnitude as an unsigned number
// that is ordered like the magnitudes, with Inf above every finite one and NaN above Inf.
#pragma once

#include <bit>
#include <cstdint>

#include "codec/amax.h"
#include "codec/fp8.h"
#include "core/dtype.h"

namespace moeq::amax {

struct Fp32 {
    using Stored = float;
    using Magnitude = uint32_t;
    static constexpr int32_t kKernel = kFp32; // row of the kernel table
    static double value(float x) { return static_cast<double>(x); }
    static Magnitude magnitude(float x) { return codec::magnitude_bits_fp32(x); }
    static double magnitude_value(Magnitude bits) { return static_cast<double>(codec::float_from_bits(bits)); }
};

struct Fp16 {
    using Stored = uint16_t;
    using Magnitude = uint32_t; // of the value widened to fp32, as the kernels count
    static constexpr int32_t kKernel = kFp16;
    static double value(uint16_t x) { return static_cast<double>(codec::fp16_to_float(x)); }
    static Magnitude magnitude(uint16_t x) { return codec::magnitude_bits_fp16(x); }
    static double magnitude_value(Magnitude bits) { return Fp32::magnitude_value(bits); }
};

struct Bf16 {
    using Stored = uint16_t;
    using Magnitude = uint32_t;
    static constexpr int32_t kKernel = kBf16;
    static double value(uint16_t x) { return static_cast<double>(codec::bf16_to_float(x)); }
    static Magnitude magnitude(uint16_t x) { return codec::magnitude_bits_bf16(x); }
    static double magnitude_value(Magnitude bits) { return Fp32::magnitude_value(bits); }
};

constexpr int32_t kNoKernel = -1;

struct Fp64 {
    using Stored = double;
    using Magnitude = uint64_t;
    static constexpr int32_t kKernel = kNoKernel;
    static double value(double x) { return x; }
    static Magnitude magnitude(double x) { return std::bit_cast<uint64_t>(x) & (UINT64_MAX >> 1); }
    static double magnitude_value(Magnitude bits) { return std::bit_cast<double>(bits); }
};

struct Fp8Values {
    uint32_t bits[256]; // fp32
};
template <uint32_t (*to_float_bits)(uint8_t)>
constexpr Fp8Values make_fp8_values()
{
    Fp8Values values{};
    for (uint32_t code = 0; code < 256; ++code)
        values.bits[code] = to_float_bits(static_cast<uint8_t>(code));
    return values;
}
inline constexpr Fp8Values kE4m3Values = make_fp8_values<codec::e4m3_to_float_bits>();
inline constexpr Fp8Values kE5m2Values = make_fp8_values<codec::e5m2_to_float_bits>();

// The codes without their sign are ordered like the magnitudes already, NaN (and Inf) codes last.
template <const Fp8Values& values>
struct Fp8 {
    using Stored = uint8_t;
    using Magnitude = uint8_t;
    static constexpr int32_t kKernel = kNoKernel;
    static double value(uint8_t x) { return static_cast<double>(codec::float_from_bits(values.bits[x])); }
    static Magnitude magnitude(uint8_t x) { return x & 0x7F; }
    static double magnitude_value(Magnitude bits) { return value(bits); }
};
using E4m3 = Fp8<kE4m3Values>;
using E5m2 = Fp8<kE5m2Values>;

template <class T>
struct Integer {
    using Stored = T;
};

// visit(Fp32{}), visit(Integer<int8_t>{}), ...: the one place that turns an element type into a C++ type. `dtype` is one of
// kSetReducible.
template <class FloatVisit, class IntegerVisit>
auto visit_source(int32_t dtype, const FloatVisit& floats, const IntegerVisit& integers)
{
    switch (dtype) {
    case MOEQ_DTYPE_FP32:
        return floats(Fp32{});
    case MOEQ_DTYPE_FP16:
        return floats(Fp16{});
    case MOEQ_DTYPE_BF16:
        return floats(Bf16{});
    case MOEQ_DTYPE_FP64:
        return floats(Fp64{});
    case MOEQ_DTYPE_FP8_E4M3FN:
        return floats(E4m3{});
    case MOEQ_DTYPE_FP8_E5M2:
        return floats(E5m2{});
    case MOEQ_DTYPE_INT8:
        return integers(Integer<int8_t>{});
    case MOEQ_DTYPE_UINT8:
        return integers(Integer<uint8_t>{});
    case MOEQ_DTYPE_INT16:
        return integers(Integer<int16_t>{});
    case MOEQ_DTYPE_INT32:
        return integers(Integer<int32_t>{});
    default:
        return integers(Integer<int64_t>{});
    }
}

} // namespace moeq::amax
