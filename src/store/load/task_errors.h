// Tasks of one loop that can fail: the error of the first of them, in the order of tasks, is the one that is told.
#pragma once

#include <atomic>

#include "core/mutex.h"
#include "core/report.h"

namespace moeq::store {

class TaskErrors {
public:
    // Runs one task that may fail; after a failure tasks behind the failed one are left out.
    template <class Task>
    void run(int64_t index, const char* function, Task&& task)
    {
        if (first_.load(std::memory_order_relaxed) < index)
            return;
        moeq_error error{};
        Report report(function, &error);
        if (task(report) == MOEQ_OK)
            return;
        const Lock lock(mutex_);
        if (index < first_.load(std::memory_order_relaxed)) {
            first_.store(index, std::memory_order_relaxed);
            error_ = error;
        }
    }
    // After the loop.
    [[nodiscard]] moeq_status conclude(Report& report) const
    {
        return first_.load(std::memory_order_relaxed) == INT64_MAX ? MOEQ_OK : report.take_over(error_);
    }

private:
    std::atomic<int64_t> first_{INT64_MAX};
    Mutex mutex_;
    moeq_error error_{};
};

} // namespace moeq::store
