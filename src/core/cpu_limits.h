// What limits the number of threads apart from the cores: the pieces of usable_threads.
#pragma once

#include <cstdint>

namespace moeq {

constexpr int32_t kNoLimit = INT32_MAX;

// Cores in the calling thread's affinity mask; kNoLimit: the system does not say.
int32_t affinity_limit();

// CPU quota of the process's control group and of all above it, rounded up to whole cores; kNoLimit: none is set.
// Versions 2 and 1. root: "" for the machine's own /proc and /sys.
int32_t cgroup_limit(const char* root);

// "4" -> 4; kNoLimit for NULL and for everything that is no decimal number from 1 on.
int32_t parse_thread_limit(const char* text);

// Bytes of the last cache before memory that the calling core has a share in; 0: nobody says.
int64_t last_level_cache();

} // namespace moeq
