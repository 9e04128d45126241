#include "amax/result.h"

#include <bit>
#include <limits>

#include "codec/float16.h"
#include "codec/fp8.h"
#include "codec/small_float.h"
#include "core/dtype.h"

namespace moeq::amax {

namespace {

constexpr uint64_t kInfBits = 0x7FF0000000000000u;

bool is_nan(double value) { return (std::bit_cast<uint64_t>(value) & (UINT64_MAX >> 1)) > kInfBits; }
bool is_inf(double value) { return (std::bit_cast<uint64_t>(value) & (UINT64_MAX >> 1)) == kInfBits; }

constexpr double kNan = std::bit_cast<double>(uint64_t{0x7FF8000000000000u});

// fp32 with the last bit set whenever bits were lost: rounding that to a type of at most 22 bits of mantissa is rounding the
// fp64 value once. Beyond the range of fp32 it is its largest finite number.
float round_to_odd(double value)
{
    const float nearest = static_cast<float>(value);
    if (static_cast<double>(nearest) == value || is_nan(value))
        return nearest;
    const double magnitude = value < 0 ? -value : value;
    const float nearest_magnitude = nearest < 0 ? -nearest : nearest;
    const uint32_t bits = codec::float_bits(nearest);
    const uint32_t truncated = static_cast<double>(nearest_magnitude) > magnitude ? bits - 1 : bits;
    return codec::float_from_bits(truncated | 1u);
}

// The code of a float8, rounded to nearest even; Inf and what is beyond the range: `overflow`, which may be `nan`.
template <int mantissa_bits, int bias>
uint8_t to_fp8(double value, uint32_t max_code, uint32_t overflow, uint32_t nan)
{
    const uint32_t bits = codec::float_bits(round_to_odd(value));
    const uint32_t magnitude = bits & codec::kMagnitudeMask;
    if (magnitude > codec::kNonfiniteBits)
        return static_cast<uint8_t>(nan);
    uint32_t code = overflow;
    if (magnitude < codec::kNonfiniteBits)
        code = codec::round_magnitude<mantissa_bits, bias>(magnitude);
    if (code > max_code)
        code = overflow;
    return static_cast<uint8_t>(code == nan ? nan : (bits >> 24 & 0x80u) | code);
}

// One struct per float destination: Stored, load (exact), store (rounds once).
struct ToFp64 {
    using Stored = double;
    static double load(double stored) { return stored; }
    static double store(double value) { return value; }
};
struct ToFp32 {
    using Stored = float;
    static double load(float stored) { return static_cast<double>(stored); }
    static float store(double value) { return static_cast<float>(value); }
};
struct ToFp16 {
    using Stored = uint16_t;
    static double load(uint16_t stored) { return static_cast<double>(codec::fp16_to_float(stored)); }
    static uint16_t store(double value) { return codec::float_to_fp16(round_to_odd(value)); }
};
struct ToBf16 {
    using Stored = uint16_t;
    static double load(uint16_t stored) { return static_cast<double>(codec::bf16_to_float(stored)); }
    static uint16_t store(double value) { return codec::float_to_bf16(round_to_odd(value)); }
};
struct ToE4m3 {
    using Stored = uint8_t;
    static double load(uint8_t stored) { return static_cast<double>(codec::e4m3_to_float(stored)); }
    static uint8_t store(double value) { return to_fp8<3, 7>(value, codec::kE4m3MaxCode, 0x7F, 0x7F); }
};
struct ToE5m2 {
    using Stored = uint8_t;
    static double load(uint8_t stored) { return static_cast<double>(codec::e5m2_to_float(stored)); }
    static uint8_t store(double value) { return to_fp8<2, 15>(value, codec::kE5m2MaxCode, 0x7C, 0x7E); }
};

double larger(double old, double value) { return is_nan(old) || is_nan(value) ? kNan : value >= old ? value : old; }

template <class To>
void store_real(const Plan& plan, double value, typename To::Stored* stored)
{
    if (plan.accumulate && plan.operation == MOEQ_REDUCE_AMAX)
        value = larger(To::load(*stored), To::load(To::store(value)));
    else if (plan.accumulate)
        value += To::load(*stored);
    *stored = To::store(is_nan(value) ? kNan : value);
}

// An integer rounds to fp32 directly: by way of fp64 it could be rounded twice.
template <class To>
double to_real(const Plan& plan, __int128 whole)
{
    const bool directly = sizeof(typename To::Stored) == 4 && !(plan.accumulate && plan.operation == MOEQ_REDUCE_SUM);
    return directly ? static_cast<double>(static_cast<float>(whole)) : static_cast<double>(whole);
}
template <class To>
double to_real(const Plan&, double value)
{
    return value;
}

template <class To, class Exact>
void store_reals(const Plan& plan, const Exact* results, int64_t count, char* first, int64_t stride)
{
    auto* stored = reinterpret_cast<typename To::Stored*>(first);
    for (int64_t i = 0; i < count; ++i)
        store_real<To>(plan, to_real<To>(plan, results[i]), stored + i * stride);
}

template <class T>
T narrow(__int128 value, bool wrap)
{
    constexpr __int128 low = std::numeric_limits<T>::min();
    constexpr __int128 high = std::numeric_limits<T>::max();
    if (wrap)
        return static_cast<T>(value);
    return static_cast<T>(value < low ? low : value > high ? high : value);
}

template <class T>
void store_whole(const Plan& plan, __int128 value, T* stored)
{
    const __int128 old = *stored;
    const bool is_sum = plan.operation == MOEQ_REDUCE_SUM;
    if (plan.accumulate && is_sum)
        value = static_cast<int64_t>(value + old); // sums are int64 and wrap
    const T result = narrow<T>(value, plan.wrap);
    *stored = plan.accumulate && !is_sum && old > result ? static_cast<T>(old) : result;
}

template <class T>
void store_wholes(const Plan& plan, const __int128* results, int64_t count, char* first, int64_t stride)
{
    for (int64_t i = 0; i < count; ++i)
        store_whole(plan, results[i], reinterpret_cast<T*>(first) + i * stride);
}

// False: the destination's type is none of these.
template <class Exact>
bool store_floats(const Plan& plan, const Exact* results, int64_t count, char* first, int64_t stride)
{
    switch (plan.destination_dtype) {
    case MOEQ_DTYPE_FP64:
        store_reals<ToFp64>(plan, results, count, first, stride);
        return true;
    case MOEQ_DTYPE_FP32:
        store_reals<ToFp32>(plan, results, count, first, stride);
        return true;
    case MOEQ_DTYPE_FP16:
        store_reals<ToFp16>(plan, results, count, first, stride);
        return true;
    case MOEQ_DTYPE_BF16:
        store_reals<ToBf16>(plan, results, count, first, stride);
        return true;
    case MOEQ_DTYPE_FP8_E4M3FN:
        store_reals<ToE4m3>(plan, results, count, first, stride);
        return true;
    case MOEQ_DTYPE_FP8_E5M2:
        store_reals<ToE5m2>(plan, results, count, first, stride);
        return true;
    default:
        return false;
    }
}

} // namespace

uint32_t store_results(const Plan& plan, const double* results, int64_t count, char* first, int64_t stride)
{
    (void)store_floats(plan, results, count, first, stride); // floats go to floats
    bool nan = false;
    bool inf = false;
    for (int64_t i = 0; i < count; ++i) {
        nan = nan || is_nan(results[i]);
        inf = inf || is_inf(results[i]);
    }
    return (nan ? MOEQ_SEEN_NAN : 0) | (inf ? MOEQ_SEEN_INF : 0);
}

uint32_t store_results(const Plan& plan, const __int128* results, int64_t count, char* first, int64_t stride)
{
    if (store_floats(plan, results, count, first, stride))
        return 0;
    switch (plan.destination_dtype) {
    case MOEQ_DTYPE_INT8:
        store_wholes<int8_t>(plan, results, count, first, stride);
        break;
    case MOEQ_DTYPE_UINT8:
        store_wholes<uint8_t>(plan, results, count, first, stride);
        break;
    case MOEQ_DTYPE_INT16:
        store_wholes<int16_t>(plan, results, count, first, stride);
        break;
    case MOEQ_DTYPE_INT32:
        store_wholes<int32_t>(plan, results, count, first, stride);
        break;
    default:
        store_wholes<int64_t>(plan, results, count, first, stride);
        break;
    }
    return 0;
}

} // namespace moeq::amax
