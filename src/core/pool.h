// A small thread pool: lazy, parked, self-scheduling; the caller takes part, so a late worker only costs speed.
#pragma once

#include <cstdint>

#include "core/memory.h"

namespace moeq {

class Pool {
public:
    // threads: the caller included. Starts none: the first run that can use them does. NULL: no memory.
    static Pool* create(Allocator& allocator, int32_t threads);
    // Joins the workers (in a forked child, where they do not exist, it only frees).
    static void destroy(Pool* pool);

    // run(index, task) for each index in [0, count), each once; returns when all are done. Serial when called from inside a
    // task of the same pool, while another thread is using the pool, in a forked child, or where no thread can be had.
    void run(int64_t count, moeq_task_fn body, void* task);

    int32_t threads() const;

private:
    Pool() = default;
    ~Pool() = default;
};

// How many threads make sense here: the least of online cores, affinity mask, cgroup quota and MOEQ_NUM_THREADS; at least 1.
int32_t usable_threads();

} // namespace moeq
