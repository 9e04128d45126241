#include "core/tensor_view.h"

#include <dlpack/dlpack.h>

#include "core/checked.h"

namespace moeq {

static_assert(DLPACK_MAJOR_VERSION == 1, "moeq speaks DLPack 1.x");

namespace {

constexpr uint64_t kKnownFlags =
    DLPACK_FLAG_BITMASK_READ_ONLY | DLPACK_FLAG_BITMASK_IS_COPIED | DLPACK_FLAG_BITMASK_IS_SUBBYTE_TYPE_PADDED;

// Byte offsets of the lowest and the highest element from the first one; [low, high] needs 128 bits until it is checked.
struct Span {
    __int128 low = 0;
    __int128 high = 0; // of the last byte
};

Span byte_span(const TensorView& view)
{
    Span span;
    for (int32_t i = 0; i < view.ndim; ++i) {
        const __int128 reach = static_cast<__int128>(view.shape[i] - 1) * view.strides[i] * view.itemsize();
        (reach < 0 ? span.low : span.high) += reach;
    }
    span.high += view.itemsize() - 1;
    return span;
}

moeq_status check_device(const TensorView& view, const Wanted& wanted, Report& report)
{
    switch (view.device_type) {
    case kDLCPU:
    case kDLCUDAHost:
        return MOEQ_OK;
    case kDLCUDA:
    case kDLCUDAManaged:
        if (wanted.where == Where::kAnyDevice)
            return MOEQ_OK;
        return report.fail(MOEQ_ERROR_DEVICE, wanted.argument)
               << "got a tensor on CUDA device " << view.device_id << "; want host memory; copy it to the host first";
    default:
        return report.fail(MOEQ_ERROR_DEVICE, wanted.argument)
               << "got device type " << view.device_type << " (DLPack), id " << view.device_id
               << "; want host memory (1 or 3)" << (wanted.where == Where::kAnyDevice ? " or CUDA (2 or 13)" : "")
               << "; copy it there first";
    }
}

moeq_status check_dtype(const TensorView& view, const Wanted& wanted, Report& report)
{
    if ((dtype_set(view.dtype) & wanted.dtypes) != 0)
        return MOEQ_OK;
    char names[128];
    describe_dtype_set(wanted.dtypes, names);
    return report.fail(MOEQ_ERROR_DTYPE, wanted.argument)
           << "got " << dtype_name(view.dtype) << " (DLPack code " << dtype_code(view.dtype) << ", bits "
           << dtype_bits(view.dtype) << ", lanes " << dtype_lanes(view.dtype) << "); want " << names
           << "; convert it first";
}

moeq_status check_rank(const DLTensor& tensor, const Wanted& wanted, Report& report)
{
    if (tensor.ndim < 0 || tensor.ndim > kMaxDims)
        return report.fail(MOEQ_ERROR_SHAPE, wanted.argument)
               << "got " << tensor.ndim << " dimensions; want 0 to " << kMaxDims;
    if (tensor.ndim > 0 && tensor.shape == nullptr)
        return report.fail(MOEQ_ERROR_SHAPE, wanted.argument)
               << "got a shape pointer of NULL with " << tensor.ndim << " dimensions; want an array of extents";
    return MOEQ_OK;
}

// Copies extents and strides; strides of axes with at most one element carry no meaning and become 0.
moeq_status take_shape(const DLTensor& tensor, const Wanted& wanted, TensorView& view, Report& report)
{
    for (int32_t i = 0; i < view.ndim; ++i)
        view.shape[i] = tensor.shape[i];
    for (int32_t i = 0; i < view.ndim; ++i)
        if (view.shape[i] < 0)
            return report.fail(MOEQ_ERROR_SHAPE, wanted.argument)
                   << "got extent " << view.shape[i] << " on axis " << i << "; want 0 or more";
    const bool fits = checked_product(view.ndim, view.shape, &view.count);
    if (fits && view.count == 0)
        return MOEQ_OK;
    int64_t bytes = 0;
    if (!fits || !checked_multiply(view.count, view.itemsize(), &bytes)) {
        Failure failure = report.fail(MOEQ_ERROR_SHAPE, wanted.argument);
        failure << "got shape ";
        return failure.shape(view.ndim, view.shape) << "; want less than 2^63 bytes in all";
    }
    if (tensor.strides == nullptr) {
        set_contiguous_strides(view);
        return MOEQ_OK;
    }
    for (int32_t i = 0; i < view.ndim; ++i)
        view.strides[i] = view.shape[i] > 1 ? tensor.strides[i] : 0;
    return MOEQ_OK;
}

moeq_status take_data(const DLTensor& tensor, const Wanted& wanted, TensorView& view, Report& report)
{
    if (tensor.data == nullptr)
        return report.fail(MOEQ_ERROR_ARGUMENT, wanted.argument)
               << "got a data pointer of NULL; want the memory of " << view.count << " elements";
    const Span span = byte_span(view);
    const __int128 first = static_cast<__int128>(reinterpret_cast<uintptr_t>(tensor.data)) + tensor.byte_offset;
    const __int128 limit = static_cast<__int128>(UINTPTR_MAX);
    if (first + span.low < 0 || first > limit || first + span.high > limit || span.high - span.low > INT64_MAX)
        return ((report.fail(MOEQ_ERROR_LAYOUT, wanted.argument) << "got strides ").shape(view.ndim, view.strides)
                << " and byte_offset ")
                   .hex(tensor.byte_offset)
               << ", which leave the address space; want a tensor inside its memory";
    const uintptr_t address = static_cast<uintptr_t>(first);
    if (address % static_cast<uintptr_t>(view.itemsize()) != 0)
        return report.fail(MOEQ_ERROR_LAYOUT, wanted.argument)
               << "got an address that is not a multiple of the element's " << view.itemsize()
               << " bytes; want natural alignment; copy it first";
    view.data = reinterpret_cast<char*>(address);
    return MOEQ_OK;
}

moeq_status check_writable(const DLManagedTensorVersioned& tensor, const Wanted& wanted, const TensorView& view,
                           Report& report)
{
    if ((tensor.flags & ~kKnownFlags) != 0)
        return report.fail(MOEQ_ERROR_VERSION, wanted.argument)
               << "got DLPack flags that this version does not know; want only known ones on a destination";
    if (view.read_only)
        return report.fail(MOEQ_ERROR_READ_ONLY, wanted.argument)
               << "got a read-only tensor; want one that may be written";
    if (!is_injective(view)) {
        Failure failure = report.fail(MOEQ_ERROR_LAYOUT, wanted.argument);
        failure << "got strides ";
        failure.shape(view.ndim, view.strides) << " with shape ";
        return failure.shape(view.ndim, view.shape) << "; want strides that give every element an address of its own";
    }
    return MOEQ_OK;
}

// The first and the last byte of a view with elements, which acceptance found to lie inside of memory: so nothing here
// needs more than 64 bits.
struct Bytes {
    uintptr_t first;
    uintptr_t last;
};

Bytes bytes_of(const TensorView& view)
{
    int64_t low = 0;
    int64_t high = 0; // of the last element's first byte
    const int64_t itemsize = view.itemsize();
    for (int32_t i = 0; i < view.ndim; ++i) {
        const int64_t reach = (view.shape[i] - 1) * view.strides[i] * itemsize;
        (reach < 0 ? low : high) += reach;
    }
    const uintptr_t data = reinterpret_cast<uintptr_t>(view.data);
    return {data + static_cast<uintptr_t>(low), data + static_cast<uintptr_t>(high + itemsize - 1)};
}

// Around an extent of 0 the product of the others may be anything, and then no stride is ever used.
int64_t next_stride(int64_t stride, int64_t extent) { return checked_multiply(stride, extent, &stride) ? stride : 0; }

} // namespace

// Strides prove distinct addresses when, from the smallest on, each one is larger than all that the smaller ones can reach.
bool is_injective(const TensorView& view)
{
    int32_t order[kMaxDims];
    int32_t used = 0;
    for (int32_t i = 0; i < view.ndim; ++i) {
        if (view.shape[i] <= 1)
            continue;
        int32_t at = used++;
        const auto magnitude = [&](int32_t axis) {
            const __int128 stride = view.strides[axis];
            return stride < 0 ? -stride : stride;
        };
        for (; at > 0 && magnitude(order[at - 1]) > magnitude(i); --at)
            order[at] = order[at - 1];
        order[at] = i;
    }
    __int128 reach = 0;
    for (int32_t k = 0; k < used; ++k) {
        const __int128 stride = view.strides[order[k]];
        const __int128 magnitude = stride < 0 ? -stride : stride;
        if (magnitude <= reach)
            return false;
        reach += magnitude * (view.shape[order[k]] - 1);
    }
    return true;
}

void set_contiguous_strides(TensorView& view)
{
    int64_t stride = 1;
    for (int32_t i = view.ndim - 1; i >= 0; --i) {
        view.strides[i] = view.shape[i] > 1 ? stride : 0;
        stride = next_stride(stride, view.shape[i]);
    }
}

bool is_contiguous(const TensorView& view)
{
    int64_t stride = 1;
    for (int32_t i = view.ndim - 1; i >= 0; --i) {
        if (view.shape[i] > 1 && view.strides[i] != stride)
            return false;
        stride = next_stride(stride, view.shape[i]);
    }
    return true;
}

moeq_status accept_tensor(const DLManagedTensorVersioned* tensor, const Wanted& wanted, TensorView* out, Report& report)
{
    if (tensor == nullptr)
        return report.fail(MOEQ_ERROR_ARGUMENT, wanted.argument) << "got NULL; want a tensor";
    const DLPackVersion version = tensor->version; // a later major may have any other layout behind this field
    if (version.major != DLPACK_MAJOR_VERSION)
        return report.fail(MOEQ_ERROR_VERSION, wanted.argument)
               << "got DLPack version " << version.major << "." << version.minor << "; want 1.x";
    const DLManagedTensorVersioned copy = *tensor;
    const DLTensor& from = copy.dl_tensor;
    TensorView view;
    view.device_type = from.device.device_type;
    view.device_id = from.device.device_id;
    view.dtype = make_dtype(from.dtype.code, from.dtype.bits, from.dtype.lanes);
    view.ndim = from.ndim;
    view.read_only = (copy.flags & DLPACK_FLAG_BITMASK_READ_ONLY) != 0 || (copy.flags & ~kKnownFlags) != 0;
    moeq_status status = check_device(view, wanted, report);
    if (status == MOEQ_OK)
        status = check_dtype(view, wanted, report);
    if (status == MOEQ_OK)
        status = check_rank(from, wanted, report);
    if (status == MOEQ_OK)
        status = take_shape(from, wanted, view, report);
    if (status == MOEQ_OK && !view.empty()) {
        status = take_data(from, wanted, view, report);
        if (status == MOEQ_OK && wanted.access == Access::kWrite)
            status = check_writable(copy, wanted, view, report);
    }
    if (status == MOEQ_OK)
        *out = view;
    return status;
}

moeq_status view_legacy(const DLManagedTensor& tensor, const Wanted& wanted, TensorView* out, Report& report)
{
    const DLTensor copy = tensor.dl_tensor;
    TensorView view;
    view.device_type = copy.device.device_type;
    view.device_id = copy.device.device_id;
    view.dtype = make_dtype(copy.dtype.code, copy.dtype.bits, copy.dtype.lanes);
    view.ndim = copy.ndim;
    moeq_status status = check_rank(copy, wanted, report);
    if (status == MOEQ_OK)
        status = take_shape(copy, wanted, view, report);
    if (status == MOEQ_OK && !view.empty())
        view.data = reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(copy.data) + copy.byte_offset);
    if (status == MOEQ_OK)
        *out = view;
    return status;
}

moeq_status check_no_overlap(const TensorView& destination, const Wanted& wanted, const TensorView& other,
                             const char* other_name, Report& report)
{
    if (destination.empty() || other.empty())
        return MOEQ_OK;
    const Bytes a = bytes_of(destination);
    const Bytes b = bytes_of(other);
    if (a.last < b.first || b.last < a.first)
        return MOEQ_OK;
    return report.fail(MOEQ_ERROR_LAYOUT, wanted.argument)
           << "got memory that overlaps " << other_name << "; want a destination of its own";
}

moeq_status check_shape(const TensorView& view, const Wanted& wanted, int32_t ndim, const int64_t* shape,
                        Report& report)
{
    bool same = view.ndim == ndim;
    for (int32_t i = 0; same && i < ndim; ++i)
        same = view.shape[i] == shape[i];
    if (same)
        return MOEQ_OK;
    Failure failure = report.fail(MOEQ_ERROR_SHAPE, wanted.argument);
    failure << "got shape ";
    failure.shape(view.ndim, view.shape) << "; want ";
    failure.shape(ndim, shape);
    return failure;
}

} // namespace moeq
