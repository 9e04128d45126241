#include "core/parallel.h"

#include <atomic>

#include "core/float_environment.h"
#include "core/pool.h"

namespace moeq {

namespace {

// Wraps the body of a call: the host's floating-point modes may differ from thread to thread.
struct Guarded {
    moeq_task_fn body;
    void* task;
    int64_t count;
    std::atomic<int64_t> done{0};
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
    if (done != count || guarded.outside.load(std::memory_order_relaxed))
        return report.fail(MOEQ_ERROR_CALLBACK)
               << "parallel_for ran " << done << " of " << count << " tasks or an index outside of them; want each index once";
    return MOEQ_OK;
}

} // namespace moeq
