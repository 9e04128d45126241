// Tensors for callers without a framework.
#include <dlpack/dlpack.h>

#include "api/arguments.h"
#include "api/boundary.h"
#include "api/call.h"
#include "api/managed_tensor.h"
#include "core/checked.h"

using namespace moeq;

namespace {

// Memory of a created tensor, with what is needed to give it back.
struct OwnedMemory {
    OpenCall open;
    void* data;
    uint64_t bytes;

    static void release(void* self)
    {
        auto* memory = static_cast<OwnedMemory*>(self);
        if (memory->data != nullptr)
            memory->open.backend->release(memory->open.call, memory->data, memory->bytes);
        destroy(*memory->open.call.allocator, memory);
    }
};

moeq_status describe_new_tensor(int32_t dtype, int32_t ndim, const int64_t* shape, TensorView* view, Report& report)
{
    if (dtype_set(dtype) == 0)
        return (report.fail(MOEQ_ERROR_DTYPE, arg::tensor_create::dtype) << "got ").hex(static_cast<uint32_t>(dtype))
               << "; want a MOEQ_DTYPE_ constant";
    if (ndim < 0 || ndim > kMaxDims)
        return report.fail(MOEQ_ERROR_SHAPE, arg::tensor_create::ndim) << "got " << ndim << "; want 0 to " << kMaxDims;
    if (ndim > 0)
        MOEQ_TRY(check_not_null(shape, arg::tensor_create::shape, report));
    view->dtype = dtype;
    view->ndim = ndim;
    for (int32_t i = 0; i < ndim; ++i) {
        if (shape[i] < 0)
            return report.fail(MOEQ_ERROR_SHAPE, arg::tensor_create::shape)
                   << "got extent " << shape[i] << " on axis " << i << "; want 0 or more";
        view->shape[i] = shape[i];
    }
    int64_t bytes = 0;
    if (!checked_product(ndim, shape, &view->count) || !checked_multiply(view->count, view->itemsize(), &bytes))
        return (report.fail(MOEQ_ERROR_SHAPE, arg::tensor_create::shape) << "got ").shape(ndim, shape)
               << "; want less than 2^63 bytes in all";
    set_contiguous_strides(*view);
    return MOEQ_OK;
}

} // namespace

extern "C" moeq_status moeq_tensor_create(const moeq_context* context, int32_t dtype, int32_t ndim,
                                          const int64_t* shape, int32_t device_type, int32_t device_id, void* stream,
                                          DLManagedTensorVersioned** out, moeq_error* err)
{
    return guarded("moeq_tensor_create", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::tensor_create::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(context, arg::tensor_create::context, report));
        TensorView view;
        MOEQ_TRY(describe_new_tensor(dtype, ndim, shape, &view, report));
        Device device;
        MOEQ_TRY(read_device(device_type, device_id, {}, arg::tensor_create::device_type, arg::tensor_create::device_id,
                             &device, report));
        OpenCall open;
        MOEQ_TRY(open_call(*context, device, {arg::tensor_create::device_type, 0}, stream, arg::tensor_create::stream,
                           &open, report));
        const uint64_t bytes = static_cast<uint64_t>(view.count * view.itemsize());
        Allocator& allocator = context->allocator;
        auto* memory = create<OwnedMemory>(allocator);
        if (memory == nullptr)
            return report.out_of_memory(sizeof(OwnedMemory));
        *memory = {open, nullptr, bytes};
        moeq_status status = open.backend->allocate(open.call, bytes, &memory->data, report);
        view.data = static_cast<char*>(memory->data);
        view.device_type = device.type;
        view.device_id = device.id;
        if (status == MOEQ_OK)
            status = managed_tensor_create(*context, view, memory, &OwnedMemory::release, out, report);
        if (status != MOEQ_OK)
            OwnedMemory::release(memory);
        return status;
    });
}

namespace {

void delete_legacy(void* owner)
{
    auto* legacy = static_cast<DLManagedTensor*>(owner);
    if (legacy->deleter != nullptr)
        legacy->deleter(legacy);
}

} // namespace

extern "C" moeq_status moeq_tensor_from_legacy(const moeq_context* context, DLManagedTensor* legacy,
                                               DLManagedTensorVersioned** out, moeq_error* err)
{
    return guarded("moeq_tensor_from_legacy", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::tensor_from_legacy::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(context, arg::tensor_from_legacy::context, report));
        MOEQ_TRY(check_not_null(legacy, arg::tensor_from_legacy::legacy, report));
        TensorView view;
        MOEQ_TRY(view_legacy(*legacy, {.argument = arg::tensor_from_legacy::legacy, .dtypes = ~0u}, &view, report));
        return managed_tensor_create(*context, view, legacy, delete_legacy, out, report);
    });
}
