#include "core/parallel.h"

#include <atomic>

#include "core/float_environment.h"
#include "core/pool.h"

namespace moeq {

namespace {

// A number for each index, mixed so that only the right set of indices has the right sum: a task that ran twice in place of
// another one is found without a list of what ran. The constants are those of SplitMix64.
uint64_t mark(int64_t index)
{
    uint64_t x = static_cast<uint64_t>(index) + 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

uint64_t marks_of_all(int64_t count)
{
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; ++i)
        sum += mark(i);
    return sum;
}

// Wraps the body of a call: the host's floating-point modes may differ from thread to thread.
struct Guarded {
    moeq_task_fn body;
    void* task;
    int64_t count;
    std::atomic<int64_t> done{0};
    std::atomic<uint64_t> marks{0}; // of the tasks that were done, added up
    std::atomic<bool> outside{false};

    static void run(int64_t index, void* self)
    {
        Guarded& guarded = *static_cast<Guarded*>(self);
        if (index < 0 || index >= guarded.count) {
            guarded.outside.store(true, std::memory_order_relaxed);
            return;
        }
        {
            FloatEnvironment environment;
            guarded.body(index, guarded.task);
        }
        guarded.marks.fetch_add(mark(index), std::memory_order_relaxed);
        guarded.done.fetch_add(1, std::memory_order_release);
    }
};

} // namespace

moeq_status Executor::run(int64_t count, moeq_task_fn body, void* task, Report& report) const
{
    if (count <= 0)
        return MOEQ_OK;
    if (count == 1 || (parallel_for_ == nullptr && pool_ == nullptr)) {
        FloatEnvironment environment;
        for (int64_t i = 0; i < count; ++i)
            body(i, task);
        return MOEQ_OK;
    }
    Guarded guarded{body, task, count};
    if (parallel_for_ == nullptr) {
        pool_->run(count, &Guarded::run, &guarded);
        return MOEQ_OK;
    }
    const int32_t answer = parallel_for_(&Guarded::run, &guarded, count, user_);
    const int64_t done = guarded.done.load(std::memory_order_acquire);
    if (answer != MOEQ_CONTINUE)
        return report.fail(MOEQ_ERROR_CALLBACK)
               << "parallel_for returned " << answer << "; want MOEQ_CONTINUE (1) after all " << count << " tasks";
    const bool outside = guarded.outside.load(std::memory_order_relaxed);
    if (done != count || outside || guarded.marks.load(std::memory_order_relaxed) != marks_of_all(count))
        return report.fail(MOEQ_ERROR_CALLBACK) << "parallel_for ran " << done << " tasks of " << count
                                                << (outside         ? ", one with an index outside of them"
                                                    : done == count ? ", one of them twice"
                                                                    : "")
                                                << "; want each index from 0 to " << count - 1 << " once";
    return MOEQ_OK;
}

} // namespace moeq
