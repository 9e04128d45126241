// A small thread pool: lazy, parked, self-scheduling; the caller takes part, so a late worker only costs speed.
#pragma once

#include <pthread.h>
#include <sys/types.h>

#include <atomic>
#include <cstdint>

#include "core/memory.h"

namespace moeq {

constexpr int32_t kMaxThreads = 1024; // of a pool

class Pool {
public:
    // threads: the caller included. Starts none: the first run that can use them does. NULL: no memory.
    static Pool* create(Allocator& allocator, int32_t threads);
    // Joins the workers (in a forked child, where they do not exist, it only frees).
    static void destroy(Pool* pool);

    // run(index, task) for each index in [0, count), each once; returns when all are done. Serial when called from inside a
    // task of the same pool, while another thread is using the pool, in a forked child, or where no thread can be had.
    void run(int64_t count, moeq_task_fn body, void* task);

    // The most that a run may use, the caller included.
    int32_t threads() const { return threads_; }

private:
    // Tasks that follow each other, of which one thread takes the first ones, and others what it leaves: so a thread works on
    // long stretches of memory, and on the same ones in the next run.
    //
    // The number of the round in the upper half, the tasks that nobody has taken yet in the lower half. A task is taken by
    // a compare-exchange of both, so a worker that slept through the end of its round takes nothing by mistake, and who has
    // taken a task holds the round, and what belongs to it, until it reports. (2^32 rounds during one such exchange would be
    // taken for none; they last an hour.)
    struct alignas(64) Share {
        std::atomic<uint64_t> ticket{0};
    };

    Pool(Allocator& allocator, int32_t threads, pid_t process, Share* shares, pthread_t* workers)
        : allocator_(allocator), threads_(threads), process_(process), shares_(shares), workers_(workers)
    {
    }
    ~Pool() = default;
    static uint64_t bytes(int32_t threads);

    static void* work(void* pool);
    void run_round(int64_t base, uint32_t count);
    void wake_workers(uint32_t wanted);
    void start_workers(int32_t wanted);
    uint32_t share_begin(uint32_t share) const;
    void take_tasks(uint32_t first_share);
    uint32_t take_share(uint32_t share);
    void wait_for_workers();
    uint32_t wait_for_round(uint32_t seen);

    Allocator& allocator_;
    const int32_t threads_;
    const pid_t process_; // where the workers live
    Share* const shares_; // one for each thread, the caller's first
    pthread_t* const workers_;

    // Written by the thread that is inside run, while no task of the round before is in the air.
    int32_t started_ = 0;
    bool refused_ = false; // the system had no thread for us; it is not asked again
    moeq_task_fn body_ = nullptr;
    void* task_ = nullptr;
    int64_t base_ = 0;   // index of the first task of this round
    uint32_t count_ = 0; // tasks of this round
    uint32_t used_ = 1;  // shares of this round

    alignas(64) std::atomic<uint32_t> unreported_{0}; // tasks; the caller sleeps on this word
    std::atomic<bool> caller_sleeps_{false};
    alignas(64) std::atomic<uint32_t> round_{0}; // the workers sleep on this word
    std::atomic<uint32_t> sleepers_{0};
    std::atomic<uint32_t> arrived_{0}; // workers, each of which takes the next share for its own
    std::atomic<bool> stop_{false};
    std::atomic<bool> busy_{false}; // a thread is inside run
};

// How many threads make sense here: the least of online cores, affinity mask, cgroup quota and MOEQ_NUM_THREADS; at least 1.
int32_t usable_threads();

} // namespace moeq
