// The opaque handle: a view of codes and scales, and a share in the storage that they live in.
#pragma once

#include <atomic>

#include "api/call.h"
#include "api/managed_tensor.h"
#include "formats/slice.h"

namespace moeq {

// Memory of components, shared by a handle, its slices and exported components. Counted; the last one frees it, in the order
// of the stream that it was made on, and calls the deleters of what was adopted.
struct Storage {
    Storage(const moeq_context& of, const OpenCall& made_by)
        : context(&of), backend(made_by.backend), device(made_by.call.device), home_stream(made_by.call.stream)
    {
        of.retain();
    }

    void retain() { references.fetch_add(1, std::memory_order_relaxed); }
    void release();

    const moeq_context* context;
    const Backend* backend;
    Device device;
    void* home_stream;
    std::atomic<int64_t> references{1};
    std::atomic<uint64_t> generation{1};
    void* memory = nullptr; // of our own; NULL when adopted
    uint64_t bytes = 0;
    DLManagedTensorVersioned* adopted[kComponentLimit] = {};
    int32_t adopted_count = 0;
};

// Storage of our own for a geometry; points weight's components into it.
[[nodiscard]] moeq_status storage_allocate(const moeq_context& context, const OpenCall& open, const Geometry& geometry,
                                           EncodedWeight* weight, Storage** out, Report& report);

// Checks components of the caller's against a geometry and points weight's components at them. Access::kWrite: each must be a
// destination, and none may overlap another. All are on one device; what a code map to read says, wherever it is, is for
// check_code_map.
[[nodiscard]] moeq_status accept_components(const Geometry& geometry, const moeq_component* components, int64_t count,
                                            Access access, const Argument& argument, EncodedWeight* weight,
                                            Report& report);

// LAYOUT where a stored component and another tensor of the call share memory: "`wanted.name` overlaps `overlapped`".
[[nodiscard]] moeq_status check_components_apart(const EncodedWeight& weight, const TensorView& other,
                                                 const Wanted& wanted, const char* overlapped, Report& report);

// What writing into components that were adopted for reading needs: writable, an address for each element, all apart.
[[nodiscard]] moeq_status check_components_writable(const EncodedWeight& weight, const Wanted& wanted, Report& report);

// UNSUPPORTED where a code map among the components is another than the format's own.
[[nodiscard]] moeq_status check_code_map(const OpenCall& open, const Geometry& geometry,
                                         const moeq_component* components, int64_t count, const Argument& argument,
                                         Report& report);

// Where the components of a weight are.
Device device_of(const EncodedWeight& weight);

// All components into another weight of the same geometry, each on the call's device or on the host.
[[nodiscard]] moeq_status copy_components(const OpenCall& open, const EncodedWeight& from, const EncodedWeight& to,
                                          Report& report);

// Storage that owns the caller's tensors from now on. On failure they are still the caller's.
[[nodiscard]] moeq_status storage_adopt(const moeq_context& context, const OpenCall& open,
                                        const moeq_component* components, int64_t count, Storage** out, Report& report);

// Undoes storage_adopt after a failure: the tensors are the caller's again.
void storage_disown(Storage* storage);

// A handle over a view; takes over the caller's share in the storage on success.
[[nodiscard]] moeq_status qtensor_create(const EncodedWeight& weight, Storage* storage, bool sliced, moeq_qtensor** out,
                                         Report& report);

// A given amax: fp32, one finite value >= 0 per expert, EXPERT granularity only. The values are looked at where they are on the
// host; elsewhere the backend does.
[[nodiscard]] moeq_status accept_amax(const DLManagedTensorVersioned* amax, const Geometry& geometry,
                                      const Argument& options, TensorView* out, Report& report);

} // namespace moeq

struct moeq_qtensor : moeq::LiveHandle {
    mutable std::atomic<int64_t> references{1};
    moeq::Storage* storage;
    moeq::EncodedWeight weight;
    bool sliced; // shows a part of its storage only
};
