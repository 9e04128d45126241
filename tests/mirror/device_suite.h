// Makes a suite that knows nothing of devices one that works on the mirror: included before everything else in each of its
// sources. Tensors of tests live in the device's memory, and each call of moeq.h is one during which only the plug-in may
// touch it.
#pragma once

#include <dlpack/dlpack.h>

#include <cstring>
#include <new>
#include <type_traits>
#include <vector>

#include "mirror/mirror.h"
#include "moeq.h"

#define MOEQ_TEST_ON_DEVICE 1

namespace moeq_test {

template <class T>
struct DeviceAllocator {
    using value_type = T;

    DeviceAllocator() = default;
    template <class U>
    DeviceAllocator(const DeviceAllocator<U>&) // NOLINT: what the standard asks for
    {
    }
    T* allocate(size_t count)
    {
        void* memory = moeq_mirror_allocate(count * sizeof(T));
        if (memory == nullptr)
            throw std::bad_alloc();
        return static_cast<T*>(memory);
    }
    void deallocate(T* memory, size_t count) { moeq_mirror_free(memory, count * sizeof(T)); }
    friend bool operator==(const DeviceAllocator&, const DeviceAllocator&) { return true; }
};

class InsideCall {
public:
    InsideCall() { moeq_mirror_enter_call(); }
    ~InsideCall() { moeq_mirror_leave_call(); }
    InsideCall(const InsideCall&) = delete;
    InsideCall& operator=(const InsideCall&) = delete;
};

// Arguments are made before, as they may read the tensors.
template <class Result, class... Parameters>
Result called(Result (*function)(Parameters...), std::type_identity_t<Parameters>... arguments)
{
    const InsideCall inside;
    return function(arguments...);
}

// Calls that make a handle where nothing says where: on the device.
inline moeq_status create_builder(const moeq_context* context, const moeq_spec* spec, int32_t ndim,
                                  const int64_t* shape, const moeq_quantize_options* options, void* stream,
                                  moeq_builder** out, moeq_error* err)
{
    moeq_quantize_options there{};
    there.struct_size = sizeof there;
    if (options != nullptr && options->struct_size >= sizeof there)
        there = *options;
    if (there.storage == nullptr && there.device_type == MOEQ_DEVICE_DEFAULT)
        there.device_type = MOEQ_DEVICE_CUDA;
    const bool whole = options == nullptr || options->struct_size >= sizeof there;
    return called(moeq_builder_create, context, spec, ndim, shape, whole ? &there : options, stream, out, err);
}

inline moeq_status load(const moeq_reader* reader, int64_t stack, const moeq_load_options* options, void* stream,
                        moeq_qtensor** out, moeq_error* err)
{
    moeq_load_options there{};
    there.struct_size = sizeof there;
    if (options != nullptr && options->struct_size >= sizeof there)
        there = *options;
    if (there.device_type == MOEQ_DEVICE_DEFAULT)
        there.device_type = MOEQ_DEVICE_CUDA;
    const bool whole = options == nullptr || options->struct_size >= sizeof there;
    return called(moeq_reader_load, reader, stack, whole ? &there : options, stream, out, err);
}

inline moeq_status copy(const moeq_qtensor* qtensor, int32_t device_type, int32_t device_id, void* stream,
                        moeq_qtensor** out, moeq_error* err)
{
    return called(moeq_qtensor_copy, qtensor, device_type == MOEQ_DEVICE_CPU ? MOEQ_DEVICE_CUDA : device_type,
                  device_id, stream, out, err);
}

// For calls whose destination is on the host: tensors of tests lend them memory there.
template <class Call>
moeq_status into_host_memory(struct DLManagedTensorVersioned* destination, const Call& call)
{
    if (destination == nullptr || destination->dl_tensor.device.device_type != kDLCUDA)
        return call();
    DLTensor& tensor = destination->dl_tensor;
    size_t bytes = tensor.dtype.bits / 8u;
    for (int32_t i = 0; i < tensor.ndim; ++i)
        if (tensor.shape[i] > 0)
            bytes += static_cast<size_t>((tensor.shape[i] - 1) * (tensor.strides != nullptr ? tensor.strides[i] : 0)) *
                     (tensor.dtype.bits / 8u);
    void* const there = tensor.data;
    std::vector<char> here(bytes + 64);
    std::memcpy(here.data(), there, bytes);
    tensor.data = here.data();
    tensor.device = {kDLCPU, 0};
    const moeq_status status = call();
    tensor.data = there;
    tensor.device = {kDLCUDA, 0};
    std::memcpy(there, here.data(), bytes);
    return status;
}

inline moeq_status compare(const moeq_qtensor* qtensor, const DLManagedTensorVersioned* source, void* stream,
                           DLManagedTensorVersioned* destination, moeq_error* err)
{
    return into_host_memory(destination,
                            [&] { return called(moeq_qtensor_compare, qtensor, source, stream, destination, err); });
}

inline moeq_status read(const moeq_reader* reader, int64_t tensor, int64_t begin, DLManagedTensorVersioned* destination,
                        moeq_error* err)
{
    return into_host_memory(destination,
                            [&] { return called(moeq_reader_read, reader, tensor, begin, destination, err); });
}

} // namespace moeq_test

#include "moeq_called.h" // each function as a call of the above; made by CMake from moeq.h
#undef moeq_builder_create
#undef moeq_reader_load
#undef moeq_qtensor_copy
#undef moeq_qtensor_compare
#undef moeq_reader_read
#define moeq_builder_create(...) ::moeq_test::create_builder(__VA_ARGS__)
#define moeq_reader_load(...) ::moeq_test::load(__VA_ARGS__)
#define moeq_qtensor_copy(...) ::moeq_test::copy(__VA_ARGS__)
#define moeq_qtensor_compare(...) ::moeq_test::compare(__VA_ARGS__)
#define moeq_reader_read(...) ::moeq_test::read(__VA_ARGS__)
