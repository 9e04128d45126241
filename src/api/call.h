// Where a call works: the device of its tensors, their stream, and the backend that serves both.
#pragma once

#include "api/context.h"
#include "device/host_backend.h"
#include "device/transfer.h"

namespace moeq {

// by: the argument that decided where; BACKEND or DEVICE names it. ARGUMENT for a stream with host memory.
[[nodiscard]] moeq_status open_call(const moeq_context& context, const Device& device, const Wanted& by, void* stream,
                                    int32_t stream_argument, OpenCall* out, Report& report);

// The same for a call that is most often a small one on the host, which then opens nothing.
[[nodiscard]] inline moeq_status open_small_call(const moeq_context& context, const Device& device, const Wanted& by,
                                                 void* stream, int32_t stream_argument, OpenCall* out, Report& report)
{
    if (!device.on_host() || stream != nullptr)
        return open_call(context, device, by, stream, stream_argument, out, report);
    out->call.engine = &context.engine;
    out->call.allocator = &context.allocator;
    out->backend = &kHostBackend;
    return MOEQ_OK;
}

// A place for new memory by the numbers of moeq.h: DEFAULT is `otherwise`. Arguments of a function of their own, or fields of
// `type_name`.
[[nodiscard]] moeq_status read_device(int32_t device_type, int32_t device_id, const Device& otherwise,
                                      int32_t type_argument, int32_t id_argument, const char* type_name,
                                      const char* id_name, Device* out, Report& report);

} // namespace moeq
