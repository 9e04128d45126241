// Carrying out a plan.
#pragma once

#include <atomic>
#include <cstdint>

#include "amax/reduce_plan.h"
#include "core/parallel.h"
#include "cpu/kernels.h"

namespace moeq::amax {

// Sets MOEQ_SEEN_ bits in `seen`. Fails only when the caller's executor does. Neither allocates nor reads an element twice.
[[nodiscard]] moeq_status reduce(const Plan& plan, const cpu::Kernels& kernels, const Executor& executor,
                                 std::atomic<uint32_t>& seen, Report& report);

// The two operations.
[[nodiscard]] moeq_status reduce_amax(const Plan& plan, const cpu::Kernels& kernels, const Executor& executor,
                                      std::atomic<uint32_t>& seen, Report& report);
[[nodiscard]] moeq_status reduce_sum(const Plan& plan, const cpu::Kernels& kernels, const Executor& executor,
                                     std::atomic<uint32_t>& seen, Report& report);

inline moeq_status reduce(const Plan& plan, const cpu::Kernels& kernels, const Executor& executor,
                          std::atomic<uint32_t>& seen, Report& report)
{
    return plan.operation == MOEQ_REDUCE_AMAX ? reduce_amax(plan, kernels, executor, seen, report)
                                              : reduce_sum(plan, kernels, executor, seen, report);
}

} // namespace moeq::amax
