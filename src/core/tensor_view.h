// The only reader of DLPack structs. A tensor from outside is copied once into a TensorView by one acceptance function with
// one fixed order of checks, so the first failing step is what the caller is told; everything behind works on views.
#pragma once

#include <cstring>

#include "core/device.h"
#include "core/dtype.h"
#include "core/report.h"

namespace moeq {

constexpr int32_t kMaxDims = 8;

struct TensorView {
    char* data = nullptr; // first element; byte_offset is in it. NULL allowed when empty
    int32_t dtype = 0;
    int32_t ndim = 0;
    int32_t device_type = 0;
    int32_t device_id = 0;
    bool read_only = false; // or with flags that this version does not know
    int64_t count = 0;      // elements
    int64_t shape[kMaxDims];
    int64_t strides[kMaxDims]; // in elements; 0 where the extent is 0 or 1

    // In two parts: what compilers make of one large span of zeros costs a small call tens of cycles for every view.
    TensorView()
    {
        std::memset(shape, 0, sizeof shape);
        std::memset(strides, 0, sizeof strides);
    }

    int64_t itemsize() const { return dtype_bytes(dtype); }
    // Where work on it is done: managed memory by the device that it names, pinned memory by the host.
    Device device() const
    {
        const bool cuda = device_type == MOEQ_DEVICE_CUDA || device_type == MOEQ_DEVICE_CUDA_MANAGED;
        return cuda ? Device{MOEQ_DEVICE_CUDA, device_id} : Device{};
    }
    bool empty() const { return count == 0; }
};

// Row-major strides of a shape, by the convention of TensorView.
void set_contiguous_strides(TensorView& view);
bool is_contiguous(const TensorView& view);
// True when the strides prove that every element has an address of its own; sufficient, not necessary.
bool is_injective(const TensorView& view);

enum class Access { kRead, kWrite };
enum class Where { kHost, kAnyDevice };

struct Wanted {
    Argument argument;
    uint32_t dtypes; // a DtypeSet
    Access access = Access::kRead;
    Where where = Where::kHost;
};

// Copies and checks. Order: NULL, major version, kind of device, element type, rank, extents, (empty: done), size, data,
// alignment, and for kWrite: writable, no element at the address of another. Of Where::kAnyDevice the caller has to find out
// whether there is a backend, and whether all tensors are on one device.
[[nodiscard]] moeq_status accept_tensor(const DLManagedTensorVersioned* tensor, const Wanted& wanted, TensorView* out,
                                        Report& report);

// The same for the struct inside a tensor of the form before 1.0, on any device: rank, extents and size are checked.
[[nodiscard]] moeq_status view_legacy(const DLManagedTensor& tensor, const Wanted& wanted, TensorView* out,
                                      Report& report);

// LAYOUT where the byte ranges meet.
[[nodiscard]] moeq_status check_no_overlap(const TensorView& destination, const Wanted& wanted, const TensorView& other,
                                           const char* other_name, Report& report);

[[nodiscard]] moeq_status check_shape(const TensorView& view, const Wanted& wanted, int32_t ndim, const int64_t* shape,
                                      Report& report);

} // namespace moeq
