#include "api/managed_tensor.h"

#include "core/checked.h"

namespace moeq {

namespace {

struct ManagedTensor {
    DLManagedTensorVersioned tensor;
    const moeq_context* context;
    void* owner;
    ReleaseOwner release;
    int64_t shape[kMaxDims];
    int64_t strides[kMaxDims];
};

void delete_managed(DLManagedTensorVersioned* tensor)
{
    auto* managed = static_cast<ManagedTensor*>(tensor->manager_ctx);
    const moeq_context* context = managed->context;
    managed->release(managed->owner);
    context->allocator.free(managed, sizeof *managed);
    context->release();
}

} // namespace

moeq_status managed_tensor_create(const moeq_context& context, const TensorView& view, void* owner,
                                  ReleaseOwner release, DLManagedTensorVersioned** out, Report& report)
{
    auto* managed = create<ManagedTensor>(context.allocator);
    if (managed == nullptr)
        return report.out_of_memory(sizeof(ManagedTensor));
    context.retain();
    managed->context = &context;
    managed->owner = owner;
    managed->release = release;
    // Real strides for every axis: consumers differ in what they make of odd ones.
    int64_t stride = 1;
    for (int32_t i = view.ndim - 1; i >= 0; --i) {
        managed->shape[i] = view.shape[i];
        managed->strides[i] = view.shape[i] > 1 && !view.empty() ? view.strides[i] : stride;
        if (!checked_multiply(managed->strides[i], maximum(view.shape[i], 1), &stride))
            stride = 0; // of an empty tensor, or of one that is not ours to judge: never used
    }
    DLManagedTensorVersioned& tensor = managed->tensor;
    tensor.version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION};
    tensor.manager_ctx = managed;
    tensor.deleter = delete_managed;
    tensor.flags = view.read_only ? DLPACK_FLAG_BITMASK_READ_ONLY : 0;
    DLTensor& plain = tensor.dl_tensor;
    plain.data = view.data;
    plain.device = {static_cast<DLDeviceType>(view.device_type), view.device_id};
    plain.ndim = view.ndim;
    plain.dtype = {dtype_code(view.dtype), dtype_bits(view.dtype), dtype_lanes(view.dtype)};
    plain.shape = managed->shape;
    plain.strides = managed->strides;
    plain.byte_offset = 0;
    *out = &tensor;
    return MOEQ_OK;
}

void managed_tensor_delete(DLManagedTensorVersioned* tensor)
{
    if (tensor != nullptr && tensor->deleter != nullptr)
        tensor->deleter(tensor);
}

} // namespace moeq
