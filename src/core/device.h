// Where memory is.
#pragma once

#include "moeq.h"

namespace moeq {

// In DLPack's numbers. Pinned memory is the host's: a processor reads it as any other.
struct Device {
    int32_t type = MOEQ_DEVICE_CPU;
    int32_t id = 0;

    bool on_host() const { return type == MOEQ_DEVICE_CPU; }
    bool operator==(const Device& other) const { return type == other.type && id == other.id; }
};

} // namespace moeq
