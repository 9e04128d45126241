// Where a call works: the device of its tensors, their stream, and the backend that serves both.
#pragma once

#include "api/context.h"
#include "device/host_backend.h"
#include "device/transfer.h"

namespace moeq {

// What is left of open_call where there is a device or a stream.
[[nodiscard]] moeq_status open_elsewhere(const Wanted& by, const Argument& stream_argument, OpenCall* out,
                                         Report& report);

// by: the argument that decided where; BACKEND or DEVICE names it. ARGUMENT for a stream with host memory. Inline, as a small
// call on the host would feel it.
[[nodiscard]] inline moeq_status open_call(const moeq_context& context, const Device& device, const Wanted& by,
                                           void* stream, const Argument& stream_argument, OpenCall* out, Report& report)
{
    out->call.device = device;
    out->call.stream = stream;
    out->call.engine = &context.engine;
    out->call.allocator = &context.allocator;
    out->backend = &kHostBackend;
    return device.on_host() && stream == nullptr ? MOEQ_OK : open_elsewhere(by, stream_argument, out, report);
}

// A place for new memory by the numbers of moeq.h: DEFAULT is `otherwise`. Arguments of a function of their own, or fields of
// `type_name`.
[[nodiscard]] moeq_status read_device(int32_t device_type, int32_t device_id, const Device& otherwise,
                                      const Argument& type, const Argument& id, Device* out, Report& report);

} // namespace moeq
