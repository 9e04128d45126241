// The C API in a few lines a test can read: calls that must succeed, and the error of calls that must not.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "support/host_tensor.h"

namespace moeq_test {

template <class T>
T sized()
{
    T value{};
    value.struct_size = sizeof value;
    return value;
}

struct Release {
    void operator()(moeq_qtensor* q) const { moeq_qtensor_release(q); }
    void operator()(moeq_builder* b) const { moeq_builder_destroy(b); }
    void operator()(moeq_context* c) const { moeq_context_destroy(c); }
    void operator()(DLManagedTensorVersioned* t) const { t->deleter(t); }
};
using QTensor = std::unique_ptr<moeq_qtensor, Release>;
using Builder = std::unique_ptr<moeq_builder, Release>;
using Context = std::unique_ptr<moeq_context, Release>;
using Tensor = std::unique_ptr<DLManagedTensorVersioned, Release>;

// An error that a call left, for assertions.
struct Error : moeq_error {
    Error() : moeq_error{} {}
    std::string text() const { return message; }
};

// A call that must succeed; its last argument is `&ok`.
#define MOEQ_EXPECT_OK(call)                                  \
    do {                                                      \
        ::moeq_test::Error ok;                                \
        const moeq_status moeq_expect_status = call;          \
        EXPECT_EQ(moeq_expect_status, MOEQ_OK) << ok.message; \
    } while (false)

inline Context make_context(int32_t threads = 1, int32_t tier = MOEQ_CPU_TIER_BEST)
{
    auto options = sized<moeq_context_options>();
    options.thread_limit = threads;
    options.cpu_tier = tier;
    moeq_context* out = nullptr;
    MOEQ_EXPECT_OK(moeq_context_create(&options, &out, &ok));
    return Context(out);
}

inline moeq_spec parse(const char* text)
{
    auto spec = sized<moeq_spec>();
    MOEQ_EXPECT_OK(moeq_spec_parse(text, &spec, &ok));
    return spec;
}

inline QTensor quantize(const Context& context, DLManagedTensorVersioned* source, const moeq_spec& spec,
                        const moeq_quantize_options* options = nullptr)
{
    moeq_qtensor* out = nullptr;
    MOEQ_EXPECT_OK(moeq_qtensor_quantize(context.get(), source, &spec, options, nullptr, &out, &ok));
    return QTensor(out);
}

inline QTensor quantize(const Context& context, DLManagedTensorVersioned* source, const char* spec)
{
    return quantize(context, source, parse(spec));
}

inline Tensor component(const QTensor& q, int32_t id)
{
    DLManagedTensorVersioned* out = nullptr;
    MOEQ_EXPECT_OK(moeq_qtensor_export(q.get(), id, &out, &ok));
    return Tensor(out);
}

// The bytes of a tensor of any strides, row-major.
inline Bytes packed_bytes(const DLManagedTensorVersioned* tensor)
{
    const DLTensor& t = tensor->dl_tensor;
    const int64_t itemsize = t.dtype.bits / 8;
    int64_t count = 1;
    for (int32_t i = 0; i < t.ndim; ++i)
        count *= t.shape[i];
    Bytes out;
    std::vector<int64_t> index(static_cast<size_t>(t.ndim), 0);
    for (int64_t n = 0; n < count; ++n) {
        int64_t offset = 0;
        for (int32_t i = 0; i < t.ndim; ++i)
            offset += index[static_cast<size_t>(i)] * t.strides[i];
        append(out, static_cast<const uint8_t*>(t.data) + static_cast<int64_t>(t.byte_offset) + offset * itemsize,
               static_cast<size_t>(itemsize));
        for (int32_t i = t.ndim - 1; i >= 0 && ++index[static_cast<size_t>(i)] == t.shape[i]; --i)
            index[static_cast<size_t>(i)] = 0;
    }
    return out;
}

// All that a handle stores, component after component.
inline Bytes stored_bytes(const QTensor& q)
{
    Bytes out;
    for (int32_t id = MOEQ_COMPONENT_CODES; id <= MOEQ_COMPONENT_NESTED_OFFSET; ++id) {
        DLManagedTensorVersioned* tensor = nullptr;
        if (moeq_qtensor_export(q.get(), id, &tensor, nullptr) == MOEQ_OK) {
            const Tensor owner(tensor);
            append(out, packed_bytes(tensor));
        }
    }
    return out;
}

inline Shape shape_of(const QTensor& q)
{
    auto info = sized<moeq_qtensor_info>();
    MOEQ_EXPECT_OK(moeq_qtensor_get_info(q.get(), &info, &ok));
    return Shape(info.shape, info.shape + info.ndim);
}

// Everything as fp32, row-major.
inline std::vector<float> dequantize(const QTensor& q)
{
    HostTensor out(MOEQ_DTYPE_FP32, shape_of(q));
    MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, out, &ok));
    const auto* values = out.as<float>();
    return std::vector<float>(values, values + count_of(out.shape()));
}

} // namespace moeq_test
