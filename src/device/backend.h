// The seam between the library and a device: a table of functions that a backend fills, and the plain values that cross it. The
// one header of this folder that a plug-in includes.
//
// The cut is by whole operations over a weight, not by kernels: a launch is a whole box, and bands, prefetches and cache hints
// mean nothing on a device. Everything was checked before it gets here: shapes, types, ranges, overlap, that memory is where
// Call says. All functions of a row are there, but for those that say that they may be NULL.
//
// This is no ABI for others: library and plug-in come from one tree, and each says which (kBackendVersion, and the sizes).
#pragma once

#include "amax/reduce_plan.h"
#include "core/device.h"
#include "formats/expert_list.h"
#include "formats/findings.h"
#include "formats/metric_sink.h"
#include "formats/patch.h"

namespace moeq {

class Allocator;
struct Engine;

constexpr uint32_t kBackendVersion = MOEQ_VERSION_MAJOR << 16 | MOEQ_VERSION_MINOR << 8 | MOEQ_VERSION_PATCH;

// Where and when a call works, and what it may do. What it made or wrote is ready on `stream`, not necessarily when it returns.
struct Call {
    Device device;
    void* stream = nullptr;
    uint32_t* status_word = nullptr; // the caller's, in memory that the device can write; NULL: none
    bool hot = false;                // neither allocate nor synchronise
    const Engine* engine = nullptr;  // these two are the host's: a plug-in does not look
    Allocator* allocator = nullptr;
};

struct Backend {
    // ---- the handshake
    uint32_t version; // kBackendVersion
    uint32_t backend_bytes;
    uint32_t call_bytes;
    uint32_t weight_bytes;
    uint32_t plan_bytes;
    int32_t device_type;
    const char* name;

    // ---- memory
    // DEVICE where there is none of this id, BACKEND where there is no driver.
    moeq_status (*open_device)(const Device& device, Report& report);
    // 64-byte aligned, uninitialised; 0 bytes give a pointer that release takes.
    moeq_status (*allocate)(const Call& call, uint64_t bytes, void** out, Report& report);
    // In the order of call.stream.
    void (*release)(const Call& call, void* memory, uint64_t bytes);
    // Elements of two views of one shape and type, any strides, each on the host or on a device of this backend, one of them on
    // call.device. What the host reads is there when it returns.
    moeq_status (*copy)(const Call& call, const TensorView& from, const TensorView& to, Report& report);

    // ---- weights: components and source on call.device, `amax` there or on the host, `experts.ids` on the host
    // What does not come from elements: given scales, those of a weight without elements, the code map. VALUE for an amax on
    // the device that is none.
    moeq_status (*prepare)(const Call& call, const EncodedWeight& weight, const TensorView* amax, Report& report);
    // A whole weight, nested statistics and all. absmax: room for the plain statistic of each block of a nested one, or NULL.
    moeq_status (*encode)(const Call& call, const EncodedWeight& weight, const StackView& source,
                          const TensorView* amax, float* absmax, Findings& findings, Report& report);
    // The scale units that lie wholly inside a box; with amax all of it. absmax as above, to be closed later; NULL: dropped.
    moeq_status (*encode_part)(const Call& call, const EncodedWeight& weight, const Patch& patch,
                               const TensorView* amax, float* absmax, Findings& findings, Report& report);
    // A range of a run, contiguous from `elements` on: whole blocks. absmax: of the first of them; NULL: the weight's own.
    moeq_status (*encode_run)(const Call& call, const EncodedWeight& weight, int32_t dtype, const void* elements,
                              const RunRange& range, float* absmax, Findings& findings, Report& report);
    // Nested statistics of a whole weight from the plain ones.
    moeq_status (*close_nested)(const Call& call, const EncodedWeight& weight, const float* absmax, Report& report);
    // Rows of the listed experts into [count, rows, columns]. stores: MOEQ_STORES_. An id out of range, which only a device
    // that reads the ids can find: zeros, and MOEQ_SEEN_BAD_EXPERT.
    moeq_status (*decode)(const Call& call, const EncodedWeight& weight, const ExpertList& experts, int64_t row_begin,
                          int64_t row_end, const StackView& destination, int32_t stores, Report& report);
    // Figures on the host, complete when it returns. NULL: the call is UNSUPPORTED.
    moeq_status (*compare)(const Call& call, const EncodedWeight& weight, const StackView& source,
                           const MetricSink& sink, Report& report);

    // ---- tensors
    moeq_status (*reduce)(const Call& call, const amax::Plan& plan, Report& report);
    // The scale of a format for each amax. VALUE for the first that is no amax.
    moeq_status (*scale_from_amax)(const Call& call, const TensorView& amax, int32_t format,
                                   const TensorView& destination, Report& report);
};

// The one symbol of a plug-in. NULL where it was built for another version; *own is its version in any case.
using BackendFunction = const Backend* (*)(uint32_t version, uint32_t* own);
constexpr const char* kCudaBackendSymbol = "moeq_cuda_backend";

} // namespace moeq
