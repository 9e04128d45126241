// What the elements of a source told while they were encoded.
#pragma once

#include <atomic>

#include "formats/geometry.h"

namespace moeq {

// What the data told, gathered from all tasks of a call.
class Findings {
public:
    // A NaN or Inf that the policy refuses. The least place wins.
    void refuse(int64_t flat_index)
    {
        uint64_t least = first_bad_.load(std::memory_order_relaxed);
        const uint64_t index = static_cast<uint64_t>(flat_index);
        while (index < least && !first_bad_.compare_exchange_weak(least, index, std::memory_order_relaxed)) {
        }
    }
    void see(uint32_t bits) { seen_.fetch_or(bits, std::memory_order_relaxed); }

    bool refused() const { return first_bad_.load(std::memory_order_relaxed) != kNone; }
    int64_t first_bad() const { return static_cast<int64_t>(first_bad_.load(std::memory_order_relaxed)); }
    uint32_t seen() const { return seen_.load(std::memory_order_relaxed); }

private:
    static constexpr uint64_t kNone = UINT64_MAX;
    std::atomic<uint64_t> first_bad_{kNone};
    std::atomic<uint32_t> seen_{0};
};

// Of the first refused element in a weight.
Place first_bad_place(const Findings& findings, const Geometry& geometry);
// VALUE, N01, for what was refused. argument, name: 0 and NULL for none in particular; weight: NULL, or its name in files.
moeq_status refuse_nonfinite(const Findings& findings, const Place& place, int32_t argument, const char* name,
                             const char* weight, Report& report);
// The status for what was found: VALUE with the place of the first refused element.
[[nodiscard]] moeq_status conclude(const Findings& findings, const Geometry& geometry, int32_t argument,
                                   const char* name, Report& report);

} // namespace moeq
