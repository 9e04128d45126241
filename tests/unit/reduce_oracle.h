// Reductions by brute force: every element is visited by its index, put on the list of its output, and the lists are
// reduced by arithmetic that shares nothing with the library but the order of sums (codec/sum.h, which has its own tests).
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "amax/reduce.h"
#include "codec/sum.h"
#include "core/dtype.h"
#include "core/tensor_view.h"

namespace reduce_oracle {

using moeq::TensorView;
using moeq::amax::Axes;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

constexpr std::array<int32_t, 11> kAllTypes = {
    MOEQ_DTYPE_FP32, MOEQ_DTYPE_FP16,  MOEQ_DTYPE_BF16,  MOEQ_DTYPE_FP64,  MOEQ_DTYPE_FP8_E4M3FN, MOEQ_DTYPE_FP8_E5M2,
    MOEQ_DTYPE_INT8, MOEQ_DTYPE_UINT8, MOEQ_DTYPE_INT16, MOEQ_DTYPE_INT32, MOEQ_DTYPE_INT64};

inline bool is_integer(int32_t dtype) { return (moeq::dtype_set(dtype) & moeq::kSetIntegers) != 0; }

// ---- Narrow floats, from their definition ----

struct NarrowType {
    int mantissa_bits;
    int bias;
    int bits;
    uint32_t infinity; // code of what overflows: Inf, or NaN where there is no Inf
    uint32_t nan;      // of positive quiet NaN; codes above `infinity` are NaN too
};

inline NarrowType narrow_type(int32_t dtype)
{
    switch (dtype) {
    case MOEQ_DTYPE_FP16:
        return {10, 15, 16, 0x7C00, 0x7E00};
    case MOEQ_DTYPE_BF16:
        return {7, 127, 16, 0x7F80, 0x7FC0};
    case MOEQ_DTYPE_FP8_E4M3FN:
        return {3, 7, 8, 0x7F, 0x7F};
    default:
        return {2, 15, 8, 0x7C, 0x7E};
    }
}

// Of a code without sign, as if there were no Inf and NaN.
inline double plain_value(const NarrowType& type, uint32_t code)
{
    const int exponent = static_cast<int>(code >> type.mantissa_bits);
    const double fraction =
        std::ldexp(static_cast<double>(code & ((1u << type.mantissa_bits) - 1)), -type.mantissa_bits);
    return exponent == 0 ? std::ldexp(fraction, 1 - type.bias) : std::ldexp(1.0 + fraction, exponent - type.bias);
}

inline double narrow_value(int32_t dtype, uint32_t code)
{
    const NarrowType type = narrow_type(dtype);
    const uint32_t magnitude = code & ((1u << (type.bits - 1)) - 1);
    const bool negative = code >> (type.bits - 1) != 0;
    if (magnitude > type.infinity || (magnitude == type.infinity && type.infinity == type.nan))
        return kNaN;
    const double value = magnitude == type.infinity ? kInf : plain_value(type, magnitude);
    return negative ? -value : value;
}

// The nearest code by searching all of them; ties to the even one. What lies at or above the middle between the largest
// finite number and the next step overflows.
inline uint32_t narrow_code(int32_t dtype, double value)
{
    const NarrowType type = narrow_type(dtype);
    if (std::isnan(value))
        return type.nan;
    const uint32_t sign = std::signbit(value) ? 1u << (type.bits - 1) : 0u;
    const double magnitude = std::fabs(value);
    uint32_t low = 0;
    uint32_t high = type.infinity; // the plain value of this code is the next step beyond the largest
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        (plain_value(type, middle) <= magnitude ? low : high) = middle;
    }
    const double below = plain_value(type, low);
    const double above = plain_value(type, high);
    const double half = below / 2 + above / 2;
    if (magnitude < half || (magnitude == half && low % 2 == 0))
        return sign | low;
    return high == type.nan ? type.nan : sign | high;
}

// ---- Elements ----

struct Number {
    bool integer = false;
    double real = 0;
    __int128 whole = 0;
};

template <class T>
T read_as(const char* at)
{
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}
template <class T>
void write_as(char* at, T value)
{
    std::memcpy(at, &value, sizeof value);
}

inline Number read(int32_t dtype, const char* at)
{
    switch (dtype) {
    case MOEQ_DTYPE_FP32:
        return {false, static_cast<double>(read_as<float>(at)), 0};
    case MOEQ_DTYPE_FP64:
        return {false, read_as<double>(at), 0};
    case MOEQ_DTYPE_FP16:
    case MOEQ_DTYPE_BF16:
        return {false, narrow_value(dtype, read_as<uint16_t>(at)), 0};
    case MOEQ_DTYPE_FP8_E4M3FN:
    case MOEQ_DTYPE_FP8_E5M2:
        return {false, narrow_value(dtype, read_as<uint8_t>(at)), 0};
    case MOEQ_DTYPE_INT8:
        return {true, 0, read_as<int8_t>(at)};
    case MOEQ_DTYPE_UINT8:
        return {true, 0, read_as<uint8_t>(at)};
    case MOEQ_DTYPE_INT16:
        return {true, 0, read_as<int16_t>(at)};
    case MOEQ_DTYPE_INT32:
        return {true, 0, read_as<int32_t>(at)};
    default:
        return {true, 0, read_as<int64_t>(at)};
    }
}

// ---- Tensors of any layout ----

struct Tensor {
    std::vector<char> memory;
    TensorView view;

    char* at(const std::vector<int64_t>& index) const
    {
        int64_t offset = 0;
        for (size_t i = 0; i < index.size(); ++i)
            offset += index[i] * view.strides[i];
        return view.data + offset * view.itemsize();
    }
};

// One index after another, the last axis fastest; false after the last one.
inline bool next_index(const TensorView& view, std::vector<int64_t>& index)
{
    for (int32_t i = view.ndim - 1; i >= 0; --i) {
        if (++index[static_cast<size_t>(i)] < view.shape[i])
            return true;
        index[static_cast<size_t>(i)] = 0;
    }
    return false;
}

// strides in elements; bytes of memory in between are 0xA5.
inline Tensor make_tensor(int32_t dtype, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides)
{
    Tensor tensor;
    TensorView& view = tensor.view;
    view.dtype = dtype;
    view.ndim = static_cast<int32_t>(shape.size());
    view.device_type = 1;
    view.count = 1;
    int64_t low = 0;
    int64_t high = 0;
    for (size_t i = 0; i < shape.size(); ++i) {
        view.shape[i] = shape[i];
        view.strides[i] = shape[i] > 1 ? strides[i] : 0;
        view.count *= shape[i];
        const int64_t reach = shape[i] > 1 ? (shape[i] - 1) * strides[i] : 0;
        (reach < 0 ? low : high) += reach;
    }
    if (view.count == 0)
        return tensor;
    tensor.memory.assign(static_cast<size_t>((high - low + 1) * view.itemsize()), static_cast<char>(0xA5));
    view.data = tensor.memory.data() - low * view.itemsize();
    return tensor;
}

inline std::vector<int64_t> row_major(const std::vector<int64_t>& shape)
{
    std::vector<int64_t> strides(shape.size());
    int64_t stride = 1;
    for (size_t i = shape.size(); i-- > 0;) {
        strides[i] = stride;
        stride *= std::max<int64_t>(shape[i], 1);
    }
    return strides;
}

// Values over the whole range of a type, small ones as often as large ones. special: NaN and Inf too, now and then.
inline void fill(Tensor& tensor, std::mt19937_64& random, bool special)
{
    if (tensor.view.empty())
        return;
    std::vector<int64_t> index(static_cast<size_t>(tensor.view.ndim), 0);
    do {
        char* at = tensor.at(index);
        const int32_t dtype = tensor.view.dtype;
        for (;;) {
            const uint64_t bits = random() >> (random() % 4 == 0 ? random() % 56 : 0);
            std::memcpy(at, &bits, static_cast<size_t>(tensor.view.itemsize()));
            if (dtype == MOEQ_DTYPE_FP64) // sums of such values stay finite
                write_as(at, std::ldexp(static_cast<double>(static_cast<int64_t>(bits)),
                                        static_cast<int>(random() % 200) - 100));
            const Number number = read(dtype, at);
            if (number.integer || std::isfinite(number.real) || (special && random() % 8 == 0))
                break;
        }
    } while (next_index(tensor.view, index));
}

// ---- The results ----

using Lists = std::vector<std::vector<Number>>; // of each output, in logical order

inline std::vector<int64_t> expected_shape(const Axes& axes, const TensorView& source)
{
    std::vector<int64_t> shape;
    int64_t count = 1;
    for (int32_t i = 0; i < source.ndim; ++i) {
        const bool kept = axes.blocks[i] > 0 || !axes.reduced[i];
        if (!kept && (axes.flags & MOEQ_REDUCE_KEEP_AXES) == 0)
            continue;
        const int64_t block = std::max<int64_t>(axes.blocks[i], 1);
        shape.push_back(kept ? (source.shape[i] + block - 1) / block : 1);
        count *= shape.back();
    }
    if (count == 1 && (axes.flags & MOEQ_REDUCE_SQUEEZE_SCALAR) != 0)
        shape.clear();
    return shape;
}

// Outputs in row-major order of the result.
inline Lists lists_of(const Axes& axes, const Tensor& source)
{
    int64_t outputs = 1;
    for (const int64_t extent : expected_shape(axes, source.view))
        outputs *= extent;
    Lists lists(static_cast<size_t>(outputs));
    if (source.view.empty())
        return lists;
    std::vector<int64_t> index(static_cast<size_t>(source.view.ndim), 0);
    do {
        int64_t output = 0;
        for (int32_t i = 0; i < source.view.ndim; ++i) {
            const int64_t at = index[static_cast<size_t>(i)];
            if (axes.blocks[i] > 0)
                output = output * ((source.view.shape[i] + axes.blocks[i] - 1) / axes.blocks[i]) + at / axes.blocks[i];
            else if (!axes.reduced[i])
                output = output * source.view.shape[i] + at;
        }
        lists[static_cast<size_t>(output)].push_back(read(source.view.dtype, source.at(index)));
    } while (next_index(source.view, index));
    return lists;
}

struct Limits {
    __int128 low;
    __int128 high;
};
inline Limits limits_of(int32_t dtype)
{
    const int bits = moeq::dtype_bits(dtype);
    const __int128 one = 1;
    if (dtype == MOEQ_DTYPE_UINT8)
        return {0, 255};
    return {-(one << (bits - 1)), (one << (bits - 1)) - 1};
}
inline __int128 wrapped(__int128 value, int32_t dtype)
{
    const Limits limits = limits_of(dtype);
    const __int128 span = limits.high - limits.low + 1;
    __int128 offset = (value - limits.low) % span;
    if (offset < 0)
        offset += span;
    return limits.low + offset;
}

// Elements [begin, end), `begin` on a leaf's border: of more than a leaf, the sum of the largest power of two of leaves that is not
// all, and of the rest; of a leaf, 16 lanes, joined by pairs of neighbours and then by halves.
inline double ordered_sum(const std::vector<Number>& list, size_t begin, size_t end)
{
    if (end - begin > 256) {
        size_t left = 256;
        while (2 * left < end - begin)
            left *= 2;
        return ordered_sum(list, begin, begin + left) + ordered_sum(list, begin + left, end);
    }
    std::vector<double> sums(16);
    for (size_t i = begin; i < end; ++i)
        sums[(i - begin) % 16] += list[i].real;
    for (size_t i = 0; i < 8; ++i)
        sums[i] = sums[2 * i] + sums[2 * i + 1];
    for (const size_t half : {4, 2, 1})
        for (size_t i = 0; i < half; ++i)
            sums[i] += sums[i + half];
    return sums[0];
}

inline Number expected_number(const Axes& axes, int32_t source_dtype, const std::vector<Number>& list)
{
    const bool wrap = (axes.flags & MOEQ_REDUCE_WRAP_INTEGERS) != 0;
    if (axes.operation == MOEQ_REDUCE_SUM) {
        if (!is_integer(source_dtype))
            return {false, ordered_sum(list, 0, list.size()), 0};
        __int128 sum = 0;
        for (const Number& number : list)
            sum += number.whole;
        return {true, 0, wrapped(sum, MOEQ_DTYPE_INT64)};
    }
    if (!is_integer(source_dtype)) {
        double most = 0;
        for (const Number& number : list) {
            if (std::isnan(number.real))
                return {false, kNaN, 0};
            most = std::max(most, std::fabs(number.real));
        }
        return {false, most, 0};
    }
    // max(|max x|, |min x|), the magnitudes as the type computes them when it shall wrap
    __int128 low = list[0].whole;
    __int128 high = list[0].whole;
    for (const Number& number : list) {
        low = std::min(low, number.whole);
        high = std::max(high, number.whole);
    }
    const auto magnitude = [&](__int128 value) {
        const __int128 exact = value < 0 ? -value : value;
        return wrap ? wrapped(exact, source_dtype) : exact;
    };
    return {true, 0, std::max(magnitude(low), magnitude(high))};
}

// Writes what the destination shall hold; `at` holds its present content.
inline void expected_store(const Axes& axes, const Number& result, int32_t dtype, char* at)
{
    const bool accumulate = (axes.flags & MOEQ_REDUCE_ACCUMULATE) != 0;
    const bool wrap = (axes.flags & MOEQ_REDUCE_WRAP_INTEGERS) != 0;
    const bool sum = axes.operation == MOEQ_REDUCE_SUM;
    const Number old = read(dtype, at);
    if (is_integer(dtype)) {
        __int128 value = result.whole;
        if (accumulate && sum)
            value = wrapped(value + old.whole, MOEQ_DTYPE_INT64);
        const Limits limits = limits_of(dtype);
        value = wrap ? wrapped(value, dtype) : std::min(std::max(value, limits.low), limits.high);
        if (accumulate && !sum)
            value = std::max(value, old.whole);
        const auto stored = static_cast<int64_t>(value);
        std::memcpy(at, &stored, static_cast<size_t>(moeq::dtype_bytes(dtype))); // little end first
        return;
    }
    double value = result.integer ? static_cast<double>(result.whole) : result.real;
    if (result.integer && dtype == MOEQ_DTYPE_FP32 && !(accumulate && sum))
        value = static_cast<double>(static_cast<float>(result.whole));
    if (accumulate && sum)
        value += old.real;
    const auto put = [&](double number) {
        if (std::isnan(number))
            number = kNaN;
        if (dtype == MOEQ_DTYPE_FP64)
            write_as(at, number);
        else if (dtype == MOEQ_DTYPE_FP32)
            write_as(at, static_cast<float>(number));
        else if (moeq::dtype_bits(dtype) == 16)
            write_as(at, static_cast<uint16_t>(narrow_code(dtype, number)));
        else
            write_as(at, static_cast<uint8_t>(narrow_code(dtype, number)));
    };
    put(value);
    if (accumulate && !sum) {
        const double rounded = read(dtype, at).real;
        put(std::isnan(old.real) || std::isnan(rounded) ? kNaN : std::max(rounded, old.real));
    }
}

inline uint32_t expected_seen(const Number& result)
{
    if (result.integer || std::isfinite(result.real))
        return 0;
    return std::isnan(result.real) ? MOEQ_SEEN_NAN : MOEQ_SEEN_INF;
}

} // namespace reduce_oracle
