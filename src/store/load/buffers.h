// Buffers of tasks.
#pragma once

#include <atomic>

#include "core/checked.h"
#include "core/memory.h"
#include "core/parallel.h"
#include "core/report.h"
#include "store/load/task_errors.h"

namespace moeq::store {

constexpr int64_t kBufferBytes = 64 << 20; // all buffers of one load or unit together

// Memory that tasks read into; the same few buffers again and again, so that they stay in the cache.
class Buffers {
public:
    static constexpr int64_t kSlots = 64; // at most: one bit of a word for each

    explicit Buffers(Allocator& allocator) : allocator_(allocator) {}
    ~Buffers() { release(); }
    Buffers(const Buffers&) = delete;
    Buffers& operator=(const Buffers&) = delete;

    // Each has room for elements and for scratch; as many as fit kBufferBytes, but one at least. Memory that suffices is kept:
    // what was touched need not be cleared by the system again.
    [[nodiscard]] moeq_status open(int64_t elements_bytes, int64_t scratch_bytes, int64_t wanted, Report& report)
    {
        scratch_at_ = round_up(elements_bytes, kLine);
        slot_bytes_ = slot_bytes_of(elements_bytes, scratch_bytes);
        const int64_t count = slots_of(slot_bytes_, wanted);
        const uint64_t bytes = static_cast<uint64_t>(count * slot_bytes_);
        if (bytes > bytes_) {
            release();
            memory_ = static_cast<char*>(allocator_.allocate(bytes));
            if (memory_ == nullptr)
                return report.out_of_memory(bytes);
            bytes_ = bytes;
        }
        count_ = count;
        return MOEQ_OK;
    }

    // The memory that open takes.
    static int64_t bytes_of(int64_t elements_bytes, int64_t scratch_bytes, int64_t wanted)
    {
        const int64_t slot_bytes = slot_bytes_of(elements_bytes, scratch_bytes);
        return slots_of(slot_bytes, wanted) * slot_bytes;
    }

    int64_t count() const { return count_; }
    char* elements(int64_t slot) const { return memory_ + slot * slot_bytes_; }
    char* scratch(int64_t slot) const { return elements(slot) + scratch_at_; }

    // One that nobody has. There is one as long as no more tasks run than there are buffers.
    int64_t claim()
    {
        uint64_t taken = taken_.load(std::memory_order_relaxed);
        for (;;) {
            const int64_t slot = __builtin_ctzll(~taken);
            if (taken_.compare_exchange_weak(taken, taken | uint64_t{1} << slot, std::memory_order_acquire))
                return slot;
        }
    }
    void give_back(int64_t slot) { taken_.fetch_and(~(uint64_t{1} << slot), std::memory_order_release); }

private:
    static constexpr int64_t kLine = 64; // of the cache

    static int64_t slot_bytes_of(int64_t elements_bytes, int64_t scratch_bytes)
    {
        return maximum(round_up(elements_bytes, kLine) + round_up(scratch_bytes, kLine), kLine);
    }
    static int64_t slots_of(int64_t slot_bytes, int64_t wanted)
    {
        return maximum(1, minimum(minimum(wanted, kSlots), kBufferBytes / slot_bytes));
    }

    void release()
    {
        allocator_.free(memory_, bytes_);
        memory_ = nullptr;
        bytes_ = 0;
    }

    Allocator& allocator_;
    char* memory_ = nullptr;
    uint64_t bytes_ = 0;
    int64_t count_ = 0;
    int64_t slot_bytes_ = 0;
    int64_t scratch_at_ = 0;
    std::atomic<uint64_t> taken_{0};
};

// task(index, slot, report) for indices [begin, end), each with a buffer of its own: as many side by side as there are buffers,
// then done(first, last), by the calling thread, for those of a batch.
template <class Task, class Done>
[[nodiscard]] moeq_status for_each_buffered(const Executor& executor, Buffers& buffers, int64_t begin, int64_t end,
                                            Report& report, const Task& task, const Done& done)
{
    for (int64_t first = begin; first < end; first += buffers.count()) {
        const int64_t last = minimum(first + buffers.count(), end);
        TaskErrors errors;
        auto body = [&](int64_t i) {
            const int64_t slot = buffers.claim();
            errors.run(i, report.function(), [&](Report& inner) { return task(first + i, slot, inner); });
            buffers.give_back(slot);
        };
        MOEQ_TRY(executor.for_each(last - first, body, report));
        MOEQ_TRY(errors.conclude(report));
        MOEQ_TRY(done(first, last));
    }
    return MOEQ_OK;
}
template <class Task>
[[nodiscard]] moeq_status for_each_buffered(const Executor& executor, Buffers& buffers, int64_t count, Report& report,
                                            const Task& task)
{
    return for_each_buffered(executor, buffers, 0, count, report, task,
                             [](int64_t, int64_t) { return moeq_status{MOEQ_OK}; });
}

} // namespace moeq::store
