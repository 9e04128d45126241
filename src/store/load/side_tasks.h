// Tasks that run between those of another loop: what is done is written while what comes next is read. Threads that write one
// file wait for each other, so they had better not all write at once.
#pragma once

#include "core/parallel.h"
#include "store/load/task_errors.h"

namespace moeq::store {

// Task: moeq_status(int64_t index, Report&).
template <class Task>
class SideTasks {
public:
    SideTasks(const Executor& executor, const char* function, Task& task)
        : executor_(executor), function_(function), task_(task)
    {
    }
    SideTasks(const SideTasks&) = delete;
    SideTasks& operator=(const SideTasks&) = delete;

    // Tasks [0, count): the next loop takes them along.
    void set(int64_t count)
    {
        first_ += count_;
        count_ = count;
        taken_ = count == 0;
    }
    // For that loop.
    Executor executor() { return Executor(&SideTasks::run, this, nullptr); }
    // When it has returned `loop`: does what it has not taken along. After a failure there is no next one.
    [[nodiscard]] moeq_status finish(moeq_status loop, Report& report)
    {
        if (executor_error_.status != MOEQ_OK)
            return report.take_over(executor_error_);
        if (loop != MOEQ_OK)
            return loop;
        auto body = [this](int64_t i) { run_one(i); };
        if (!taken_)
            MOEQ_TRY(executor_.for_each(count_, body, report));
        taken_ = true;
        return errors_.conclude(report);
    }

private:
    static int32_t run(moeq_task_fn run, void* task, int64_t count, void* user)
    {
        SideTasks& self = *static_cast<SideTasks*>(user);
        const int64_t side = self.taken_ ? 0 : self.count_;
        self.taken_ = true;
        const int64_t total = count + side;
        auto body = [&](int64_t place) {
            const int64_t before = place * side / total; // side tasks that stand before, at even distances
            if ((place + 1) * side / total > before)
                self.run_one(before);
            else
                run(place - before, task);
        };
        Report report(self.function_, &self.executor_error_);
        return self.executor_.for_each(total, body, report) == MOEQ_OK ? MOEQ_CONTINUE : 0;
    }

    void run_one(int64_t i)
    {
        errors_.run(first_ + i, function_, [&](Report& report) { return task_(i, report); });
    }

    const Executor& executor_;
    const char* function_;
    Task& task_;
    int64_t first_ = 0; // index of task 0 among all that were set
    int64_t count_ = 0;
    bool taken_ = true;
    TaskErrors errors_;
    moeq_error executor_error_{};
};

} // namespace moeq::store
