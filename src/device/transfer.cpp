#include "device/transfer.h"

#include "core/memory.h"

namespace moeq {

namespace {

// Row-major, over memory that holds what `view` shows.
TensorView over(const TensorView& view, void* memory, const Device& device)
{
    TensorView copy = view;
    copy.data = static_cast<char*>(memory);
    copy.device_type = device.type;
    copy.device_id = device.id;
    copy.read_only = false;
    set_contiguous_strides(copy);
    return copy;
}

uint64_t bytes_of(const TensorView& view) { return static_cast<uint64_t>(view.count * view.itemsize()); }

} // namespace

Input::~Input()
{
    if (memory_ != nullptr)
        open_.backend->release(open_.call, memory_, bytes_);
}

moeq_status Input::bring(const Wanted& wanted, TensorView* view, Report& report)
{
    const Call& call = open_.call;
    if (open_.on_host() || !view->device().on_host() || view->empty())
        return check_placed(call, *view, wanted, report);
    bytes_ = bytes_of(*view);
    MOEQ_TRY(open_.backend->allocate(call, bytes_, &memory_, report));
    const TensorView there = over(*view, memory_, call.device);
    MOEQ_TRY(open_.backend->copy(call, *view, there, report));
    *view = there;
    return MOEQ_OK;
}

HostCopy::~HostCopy() { open_.call.allocator->free(memory_, bytes_); }

moeq_status HostCopy::fetch(const Wanted& wanted, TensorView* view, Report& report)
{
    if (view->device().on_host())
        return MOEQ_OK;
    MOEQ_TRY(check_placed(open_.call, *view, wanted, report));
    if (view->empty())
        return MOEQ_OK;
    bytes_ = bytes_of(*view);
    memory_ = open_.call.allocator->allocate(bytes_);
    if (memory_ == nullptr)
        return report.out_of_memory(bytes_);
    const TensorView here = over(*view, memory_, Device{});
    MOEQ_TRY(open_.backend->copy(open_.call, *view, here, report));
    *view = here;
    return MOEQ_OK;
}

} // namespace moeq
