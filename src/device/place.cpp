#include "device/place.h"

#include "device/backends.h"

namespace moeq {

namespace {

Failure& name_device(Failure& failure, const Device& device)
{
    return device.on_host() ? failure << "host memory" : failure << "CUDA device " << device.id;
}

} // namespace

moeq_status refuse_place(const Call& call, const TensorView& view, const Wanted& wanted, Report& report)
{
    const Device device = view.device();
    const Backend* unused = nullptr;
    MOEQ_TRY(find_backend(device, wanted.argument, &unused, report));
    Failure failure = report.fail(MOEQ_ERROR_DEVICE, wanted.argument);
    failure << "got a tensor in ";
    name_device(failure, device) << "; want ";
    return name_device(failure, call.device) << ", where the call works; copy it there first";
}

} // namespace moeq
