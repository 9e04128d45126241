#include "api/call.h"

#include "device/backends.h"

namespace moeq {

moeq_status open_elsewhere(const Wanted& by, const Argument& stream_argument, OpenCall* out, Report& report)
{
    if (!out->on_host())
        return find_backend(out->call.device, by.argument, &out->backend, report);
    return report.fail(MOEQ_ERROR_ARGUMENT, stream_argument) << "got a stream with tensors in host memory; want NULL";
}

moeq_status read_device(int32_t device_type, int32_t device_id, const Device& otherwise, const Argument& type,
                        const Argument& id, Device* out, Report& report)
{
    switch (device_type) {
    case MOEQ_DEVICE_DEFAULT:
        *out = otherwise;
        break;
    case MOEQ_DEVICE_CPU:
        *out = {};
        break;
    case MOEQ_DEVICE_CUDA: {
        *out = {MOEQ_DEVICE_CUDA, device_id};
        const Backend* unused = nullptr;
        return find_backend(*out, type, &unused, report);
    }
    case MOEQ_DEVICE_CUDA_HOST:
    case MOEQ_DEVICE_CUDA_MANAGED:
        if (const char* reason = why_no_cuda())
            return report.fail(MOEQ_ERROR_BACKEND, type)
                   << "got " << device_type << "; want MOEQ_DEVICE_CPU: there is no CUDA backend, " << reason;
        return report.fail(MOEQ_ERROR_UNSUPPORTED, type)
               << "got " << device_type << "; want MOEQ_DEVICE_CPU or MOEQ_DEVICE_CUDA: new memory is made there only";
    default:
        return report.fail(MOEQ_ERROR_ARGUMENT, type) << "got " << device_type << "; want a MOEQ_DEVICE_ constant";
    }
    if (device_type != MOEQ_DEVICE_CUDA && device_id != 0)
        return report.fail(MOEQ_ERROR_DEVICE, id) << "got " << device_id << "; want 0 for host memory";
    return MOEQ_OK;
}

} // namespace moeq
