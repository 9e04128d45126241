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
    // body must not fail or call the caller back. CALLBACK: the caller's executor failed or did not do every task once.
    template <class Body>
    [[nodiscard]] moeq_status for_each(int64_t count, Body& body, Report& report) const
    {
        return run(
            count, [](int64_t index, void* task) { (*static_cast<Body*>(task))(index); }, &body, report);
    }

    // The same for work on so many elements in all: a little of it the pool leaves to the calling thread.
    template <class Body>
    [[nodiscard]] moeq_status for_each(int64_t count, int64_t elements, Body& body, Report& report) const
    {
        if (parallel_for_ == nullptr && elements <= kSerialElements)
            return Executor(nullptr, nullptr, nullptr).for_each(count, body, report);
        return for_each(count, body, report);
    }

private:
    // Waking a thread takes some tens of microseconds, in which one thread does so much.
    static constexpr int64_t kSerialElements = int64_t{1} << 18;

    [[nodiscard]] moeq_status run(int64_t count, moeq_task_fn body, void* task, Report& report) const;

    moeq_parallel_for_fn parallel_for_;
    void* user_;
    Pool* pool_;
};

// How many elements a task should have, of so many in all: enough of them for some dozens of threads to share evenly, each
// with enough work that handing it out costs nothing, and with memory in long stretches; the end of one that stores around
// the cache is waited for. Independent of the threads.
constexpr int64_t task_elements(int64_t total)
{
    constexpr int64_t kLeast = int64_t{1} << 16;
    constexpr int64_t kMost = int64_t{1} << 20;
    const int64_t share = total / 256;
    return share < kLeast ? kLeast : share > kMost ? kMost : share;
}

} // namespace moeq
