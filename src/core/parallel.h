// Runs the tasks of one call: on the caller's executor, on the pool, or one after the other.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/report.h"

namespace moeq {

class Pool;

class Executor {
public:
    // parallel_for NULL: the pool; pool NULL too: the calling thread.
    Executor(moeq_parallel_for_fn parallel_for, void* user, Pool* pool)
        : parallel_for_(parallel_for), user_(user), pool_(pool)
    {
    }

    // body(index) for each index in [0, count), in any order, from any threads, each once; returns when all are done. The
    // body must not fail, allocate or call back. CALLBACK: the caller's executor failed or did not do every task once.
    template <class Body>
    [[nodiscard]] moeq_status for_each(int64_t count, Body& body, Report& report) const
    {
        return run(
            count, [](int64_t index, void* task) { (*static_cast<Body*>(task))(index); }, &body, report);
    }

private:
    [[nodiscard]] moeq_status run(int64_t count, moeq_task_fn body, void* task, Report& report) const;

    moeq_parallel_for_fn parallel_for_;
    void* user_;
    Pool* pool_;
};

} // namespace moeq
