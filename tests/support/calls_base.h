// What the calls of calls.h are made of.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "support/calls.h"

namespace moeq_test {

template <class T>
T* rubbish()
{
    return reinterpret_cast<T*>(uintptr_t{0x5555555555555550});
}

template <class T>
T sized()
{
    T value{};
    value.struct_size = sizeof value;
    return value;
}

inline constexpr std::array kComponents = {
    MOEQ_COMPONENT_CODES,         MOEQ_COMPONENT_SCALE,    MOEQ_COMPONENT_NESTED_SCALE, MOEQ_COMPONENT_NESTED_MAP,
    MOEQ_COMPONENT_NESTED_OFFSET, MOEQ_COMPONENT_CODE_MAP, MOEQ_COMPONENT_GLOBAL_SCALE};

// An out-pointer, which holds rubbish before the call and is given back at the end.
template <class T, void (*kGiveBack)(T*)>
class Out {
public:
    Out() = default;
    ~Out() { reset(); }
    Out(const Out&) = delete;
    Out& operator=(const Out&) = delete;

    T** ready()
    {
        reset();
        pointer_ = rubbish<T>();
        return &pointer_;
    }
    bool is_null() const { return pointer_ == nullptr; }
    T* get() const { return pointer_; }
    T* take() { return std::exchange(pointer_, nullptr); }
    void reset()
    {
        if (pointer_ != rubbish<T>())
            kGiveBack(pointer_);
        pointer_ = nullptr;
    }

private:
    T* pointer_ = nullptr;
};

inline void release_qtensor(moeq_qtensor* qtensor) { moeq_qtensor_release(qtensor); }
inline void delete_tensor(DLManagedTensorVersioned* tensor)
{
    if (tensor != nullptr && tensor->deleter != nullptr)
        tensor->deleter(tensor);
}

using QtensorOut = Out<moeq_qtensor, release_qtensor>;
using BuilderOut = Out<moeq_builder, moeq_builder_destroy>;
using ContextOut = Out<moeq_context, moeq_context_destroy>;
using BlobOut = Out<moeq_blob, moeq_blob_destroy>;
using WriterOut = Out<moeq_writer, moeq_writer_destroy>;
using TensorOut = Out<DLManagedTensorVersioned, delete_tensor>;

#define EXPECT_DONE(expression)                          \
    do {                                                 \
        moeq_error err{};                                \
        EXPECT_EQ((expression), MOEQ_OK) << err.message; \
    } while (false)

inline void quantize(World& world, const moeq_spec& spec, const Size& size, uint64_t seed, QtensorOut& out)
{
    HostTensor source(MOEQ_DTYPE_BF16, size.shape());
    source.fill(seed);
    EXPECT_DONE(moeq_qtensor_quantize(world.context, source, &spec, nullptr, nullptr, out.ready(), &err));
}

// The tensors that hold the components of a weight, in the caller's memory.
struct Components {
    Components(const moeq_spec& spec, const Shape& shape)
    {
        for (const int32_t component : kComponents) {
            auto info = sized<moeq_component_info>();
            const auto ndim = static_cast<int32_t>(shape.size());
            if (moeq_spec_get_component(&spec, ndim, shape.data(), component, &info, nullptr) != MOEQ_OK)
                continue;
            tensors.push_back(std::make_unique<HostTensor>(info.dtype, Shape(info.shape, info.shape + info.ndim)));
            list.push_back({component, 0, *tensors.back()});
        }
    }
    int64_t count() const { return static_cast<int64_t>(list.size()); }
    Bytes bytes() const
    {
        Bytes all;
        for (const auto& tensor : tensors)
            append(all, tensor->memory());
        return all;
    }
    int deleted() const
    {
        int times = 0;
        for (const auto& tensor : tensors)
            times += tensor->deleted;
        return times;
    }

    std::vector<std::unique_ptr<HostTensor>> tensors;
    std::vector<moeq_component> list;
};

// What all calls have at hand.
struct Base : Call {
    Base(World& world, const char* text, const Size& size)
        : world_(world), spec_(parse(text)), size_(size), shape_(size.shape())
    {
    }
    int32_t ndim() const { return static_cast<int32_t>(shape_.size()); }

    World& world_;
    moeq_spec spec_;
    Size size_;
    Shape shape_;
};

// The specs that a kind of call is tried with.
inline const std::vector<std::string> kOne = {"int8"};
inline const std::vector<std::string> kFew = {"int8", "nf4:nested", "fp8_e4m3:block128x128"};
inline const std::vector<std::string> kAll = {"int8",       "int8:expert",           "int8:axis=-2",      "nf4",
                                              "nf4:nested", "nf4:32,blocking=row",   "nf4:blocking=flat", "fp4",
                                              "fp8_e4m3",   "fp8_e4m3:block128x128", "fp8_e5m2:expert",   "mxfp8"};

template <class T>
void add(std::vector<CallKind>& calls, const char* name, const char* function, bool hot,
         const std::vector<std::string>& specs)
{
    const auto make = [](World& world, const char* spec, const Size& size) -> std::unique_ptr<Call> {
        return std::make_unique<T>(world, spec, size);
    };
    for (const std::string& spec : specs)
        calls.push_back({std::string(name) + " " + spec, function, hot, false, make, spec});
}

void add_context_calls(std::vector<CallKind>& calls);
void add_spec_calls(std::vector<CallKind>& calls);
void add_qtensor_calls(std::vector<CallKind>& calls);
void add_builder_calls(std::vector<CallKind>& calls);
void add_reader_calls(std::vector<CallKind>& calls);
void add_reduce_calls(std::vector<CallKind>& calls);
void add_convert_calls(std::vector<CallKind>& calls);
void add_writer_calls(std::vector<CallKind>& calls);

} // namespace moeq_test
