// Which backends there are. The plug-in is looked for once a process, when a call first needs it.
#pragma once

#include "device/backend.h"

namespace moeq {

// The backend of a device: BACKEND, with what was looked for and where, or DEVICE, where there is none. argument, name: what
// asks for the device.
[[nodiscard]] moeq_status find_backend(const Device& device, const Argument& argument, const Backend** out,
                                       Report& report);

// NULL: the plug-in for CUDA is there. Else why it is not; valid as long as the process.
const char* why_no_cuda();

} // namespace moeq
