#include "cpu/stores.h"

#include <atomic>

#include "core/cpu_limits.h"

namespace moeq::cpu {

namespace {

constexpr int64_t kUnknownCache = int64_t{32} << 20;

// 0: nobody has asked yet. It comes out the same whoever asks first, and asking traps on virtual machines.
std::atomic<int64_t> threshold{0};

} // namespace

Stores stores_for(int64_t bytes)
{
    int64_t limit = threshold.load(std::memory_order_relaxed);
    if (limit == 0) {
        const int64_t cache = last_level_cache();
        limit = (cache == 0 ? kUnknownCache : cache) / 2; // what is read wants room too
        threshold.store(limit, std::memory_order_relaxed);
    }
    return bytes > limit ? kStreamed : kCached;
}

} // namespace moeq::cpu
