// What the suites of dense targets share: options, a judge of its own of how decoded values are rounded, tensors of a reader.
#pragma once

#include <bit>
#include <cmath>

#include "conformance/convert_cases.h"
#include "unit/codec_oracle.h"

namespace moeq_test {

inline const char* type_name(int32_t dtype)
{
    return dtype == MOEQ_DTYPE_FP32 ? "fp32" : dtype == MOEQ_DTYPE_FP16 ? "fp16" : "bf16";
}

// The bits of the nearest value of a type, ties to even, by looking at both neighbours in double.
inline uint32_t nearest(int32_t dtype, double value)
{
    if (dtype == MOEQ_DTYPE_FP32)
        return std::bit_cast<uint32_t>(static_cast<float>(value));
    const int mantissa = dtype == MOEQ_DTYPE_FP16 ? 10 : 7;
    const int bias = dtype == MOEQ_DTYPE_FP16 ? 15 : 127;
    const uint32_t sign = std::signbit(value) ? 0x8000u : 0u;
    const uint32_t inf = dtype == MOEQ_DTYPE_FP16 ? 0x7C00u : 0x7F80u;
    if (std::isnan(value))
        return inf | 1;
    uint32_t low = 0, high = inf; // codes: value of low <= |value| <= value of high, which is 2^128 or 2^16 for Inf
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        (codec_oracle::small_float_value(middle, mantissa, bias) <= std::fabs(value) ? low : high) = middle;
    }
    const double below = std::fabs(value) - codec_oracle::small_float_value(low, mantissa, bias);
    const double above = codec_oracle::small_float_value(high, mantissa, bias) - std::fabs(value);
    return sign | (below < above || (below == above && low % 2 == 0) ? low : high);
}

inline uint32_t element(const Bytes& bytes, int32_t dtype, size_t i)
{
    uint32_t bits = 0;
    const size_t size = static_cast<size_t>(bytes_of(dtype));
    std::memcpy(&bits, bytes.data() + i * size, size);
    return bits;
}

inline bool is_nan(int32_t dtype, uint32_t bits)
{
    const uint32_t inf = dtype == MOEQ_DTYPE_FP32 ? 0x7F800000u : dtype == MOEQ_DTYPE_FP16 ? 0x7C00u : 0x7F80u;
    return (bits & (dtype == MOEQ_DTYPE_FP32 ? 0x7FFFFFFFu : 0x7FFFu)) > inf;
}

inline moeq_tensor_info tensor_info(const Reader& reader, int64_t tensor)
{
    auto info = sized<moeq_tensor_info>();
    MOEQ_EXPECT_OK(moeq_reader_get_tensor(reader.get(), tensor, &info, &ok));
    return info;
}

inline int64_t find_tensor(const Reader& reader, const std::string& name)
{
    int64_t tensor = -1, stack = -1;
    MOEQ_EXPECT_OK(moeq_reader_find(reader.get(), name.c_str(), &tensor, &stack, &ok));
    return tensor;
}

inline Bytes read_all(const Reader& reader, int64_t tensor)
{
    HostTensor bytes(MOEQ_DTYPE_UINT8, {tensor_info(reader, tensor).bytes});
    MOEQ_EXPECT_OK(moeq_reader_read(reader.get(), tensor, 0, bytes, &ok));
    return bytes.memory();
}

inline int64_t tensor_count(const Reader& reader)
{
    auto info = sized<moeq_reader_info>();
    MOEQ_EXPECT_OK(moeq_reader_get_info(reader.get(), &info, &ok));
    return info.tensor_count;
}

struct DenseOptions : ConvertOptions {
    explicit DenseOptions(int32_t dtype, int32_t dialect = MOEQ_DIALECT_NATIVE) : ConvertOptions(dialect, nullptr)
    {
        value.dense_dtype = dtype;
    }
};

// Every weight of one dense checkpoint against the codes of the same name, each stack decoded at once.
inline void expect_decoded(const Reader& dense, const Reader& source, int32_t dtype)
{
    int64_t weights = 0;
    std::map<int64_t, std::vector<float>> decoded;
    for (int64_t t = 0; t < tensor_count(source); ++t) {
        const moeq_tensor_info codes = tensor_info(source, t);
        if (codes.component != MOEQ_COMPONENT_CODES)
            continue;
        SCOPED_TRACE(codes.name);
        const int64_t found = find_tensor(dense, codes.name);
        ASSERT_GE(found, 0);
        const moeq_tensor_info info = tensor_info(dense, found);
        ASSERT_EQ(info.component, 0);
        ASSERT_EQ(info.dtype, dtype);
        auto stack = sized<moeq_stack_info>();
        MOEQ_EXPECT_OK(moeq_reader_get_stack(source.get(), codes.stack, &stack, &ok));
        if (decoded.count(codes.stack) == 0)
            decoded[codes.stack] = dequantize(load(source, codes.stack));
        const std::vector<float>& values = decoded[codes.stack];
        const int64_t experts = info.ndim == 3 ? info.shape[0] : 1;
        const int64_t rows = info.shape[info.ndim - 2], columns = info.shape[info.ndim - 1];
        const Bytes bytes = read_all(dense, found);
        ASSERT_EQ(static_cast<int64_t>(bytes.size()), experts * rows * columns * bytes_of(dtype));
        int64_t wrong = 0;
        for (int64_t e = 0; e < experts; ++e)
            for (int64_t r = 0; r < rows; ++r)
                for (int64_t c = 0; c < columns; ++c) {
                    const int64_t at =
                        ((codes.expert + e) * stack.shape[1] + codes.row + r) * stack.shape[2] + codes.column + c;
                    const uint32_t got = element(bytes, dtype, static_cast<size_t>((e * rows + r) * columns + c));
                    const auto want = static_cast<double>(values[static_cast<size_t>(at)]);
                    wrong += std::isnan(want) ? !is_nan(dtype, got) : got != nearest(dtype, want);
                }
        EXPECT_EQ(wrong, 0);
        ++weights;
    }
    EXPECT_GE(weights, 1);
}

// A quantized model, and options that make it dense.
class DenseUnits : public ConvertFixture {
protected:
    void SetUp() override
    {
        convert(context_, kTiny, path("quantized"), ConvertOptions(MOEQ_DIALECT_BITSANDBYTES, "nf4:nested"));
        options_.value.spec = nullptr;
        options_.value.dense_dtype = MOEQ_DTYPE_BF16;
    }
    std::string quantized() const { return path("quantized"); }
    Tree reference()
    {
        convert(context_, quantized(), path("reference"), options_);
        return tree(path("reference"));
    }
};

} // namespace moeq_test
