// What every call works with: memory, threads, kernels. Immutable after creation; lives as long as its last handle.
#pragma once

#include <atomic>

#include "core/live_handles.h"
#include "core/memory.h"
#include "core/pool.h"
#include "host/engine.h"
#include "moeq.h"

struct moeq_context : moeq::LiveHandle {
    moeq_context(const moeq_context_options& options, int32_t tier_chosen, int32_t threads_chosen)
        : allocator(options.host_alloc, options.host_free, options.user),
          executor(options.parallel_for, options.user, nullptr), tier(tier_chosen), threads(threads_chosen),
          user(options.user), user_destroy(options.user_destroy), own_executor(options.parallel_for == nullptr)
    {
    }

    void retain() const { references.fetch_add(1, std::memory_order_relaxed); }
    void release() const;

    mutable moeq::Allocator allocator;
    moeq::Executor executor;
    moeq::cpu::Kernels kernels{};
    const moeq::Engine engine{executor, kernels};
    moeq::Pool* pool = nullptr; // NULL: the caller's executor, or serial
    int32_t tier;               // MOEQ_CPU_TIER_
    const char* tier_reason = "";
    int32_t threads; // that a call may use, the caller included
    void* user;
    moeq_destroy_fn user_destroy;
    bool own_executor;
    mutable std::atomic<int64_t> references{1};
};
