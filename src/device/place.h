// One device for a call.
#pragma once

#include "device/backend.h"

namespace moeq {

// Where a call works, and the backend that does it.
struct OpenCall {
    Call call;
    const Backend* backend = nullptr;

    bool on_host() const { return call.device.on_host(); }
};

[[nodiscard]] moeq_status refuse_place(const Call& call, const TensorView& view, const Wanted& wanted, Report& report);

// DEVICE unless a tensor is on the call's device; BACKEND where it is on one that has none.
[[nodiscard]] inline moeq_status check_placed(const Call& call, const TensorView& view, const Wanted& wanted,
                                              Report& report)
{
    return view.device() == call.device ? MOEQ_OK : refuse_place(call, view, wanted, report);
}

// UNSUPPORTED for what a backend's row does not have.
template <class Function>
[[nodiscard]] moeq_status check_able(const Backend& backend, Function* function, const char* what, Report& report)
{
    if (function != nullptr)
        return MOEQ_OK;
    return report.fail(MOEQ_ERROR_UNSUPPORTED)
           << "got a call that works on " << backend.name << ", which cannot " << what << "; copy to the host first";
}

} // namespace moeq
