#include "core/pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace moeq {

namespace {

constexpr int64_t kMaxRound = int64_t{1} << 30; // tasks; a ticket has 32 bits for them
// Looking before sleeping saves a wake-up, about 40 us, between two calls in a row. Short and by the clock: on a busy host
// the one who looks keeps the one who works off the core.
constexpr int64_t kLookNanoseconds = 20'000;
constexpr int32_t kLooksPerClock = 32;

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t), "the kernel compares the word itself");

void sleep_while(std::atomic<uint32_t>& word, uint32_t value)
{
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void wake(std::atomic<uint32_t>& word, uint32_t sleepers)
{
    const uint32_t most = sleepers < INT32_MAX ? sleepers : INT32_MAX;
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, most, nullptr, nullptr, 0);
}

void breathe()
{
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

int64_t nanoseconds()
{
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// True as soon as the condition holds; false after kLookNanoseconds.
template <class Condition>
bool look_for(Condition condition)
{
    const int64_t end = nanoseconds() + kLookNanoseconds;
    do {
        for (int32_t i = 0; i < kLooksPerClock; ++i) {
            if (condition())
                return true;
            breathe();
        }
    } while (nanoseconds() < end);
    return false;
}

// The system calls of a run write errno also when all went well.
class KeepErrno {
public:
    KeepErrno() : saved_(errno) {}
    ~KeepErrno() { errno = saved_; }
    KeepErrno(const KeepErrno&) = delete;
    KeepErrno& operator=(const KeepErrno&) = delete;

private:
    int saved_;
};

} // namespace

uint64_t Pool::bytes(int32_t threads)
{
    return sizeof(Pool) + static_cast<uint64_t>(threads) * (sizeof(Share) + sizeof(pthread_t));
}

Pool* Pool::create(Allocator& allocator, int32_t threads)
{
    const int32_t most = threads < 1 ? 1 : threads > kMaxThreads ? kMaxThreads : threads;
    void* memory = allocator.allocate(bytes(most));
    if (memory == nullptr)
        return nullptr;
    void* behind = static_cast<unsigned char*>(memory) + sizeof(Pool);
    Share* shares = static_cast<Share*>(behind);
    for (int32_t i = 0; i < most; ++i)
        ::new (shares + i) Share;
    void* last = shares + most;
    return ::new (memory) Pool(allocator, most, getpid(), shares, static_cast<pthread_t*>(last));
}

void Pool::destroy(Pool* pool)
{
    if (pool == nullptr)
        return;
    if (pool->process_ == getpid() && pool->started_ != 0) {
        KeepErrno keep;
        pool->stop_.store(true, std::memory_order_relaxed);
        pool->round_.fetch_add(1, std::memory_order_seq_cst);
        wake(pool->round_, UINT32_MAX);
        for (int32_t i = 0; i < pool->started_; ++i)
            pthread_join(pool->workers_[i], nullptr);
    }
    Allocator& allocator = pool->allocator_;
    const uint64_t size = bytes(pool->threads_);
    pool->~Pool();
    allocator.free(pool, size);
}

void Pool::run(int64_t count, moeq_task_fn body, void* task)
{
    // A task of ours that calls back and a second thread both find the pool busy: no thread waits for another one's work.
    const bool alone =
        count <= 1 || threads_ == 1 || process_ != getpid() || busy_.exchange(true, std::memory_order_acquire);
    if (alone) {
        for (int64_t i = 0; i < count; ++i)
            body(i, task);
        return;
    }
    KeepErrno keep;
    body_ = body;
    task_ = task;
    for (int64_t base = 0; base < count; base += kMaxRound) {
        const int64_t left = count - base;
        run_round(base, static_cast<uint32_t>(left < kMaxRound ? left : kMaxRound));
    }
    busy_.store(false, std::memory_order_release);
}

void Pool::run_round(int64_t base, uint32_t count)
{
    base_ = base;
    count_ = count;
    used_ = count < static_cast<uint32_t>(threads_) ? count : static_cast<uint32_t>(threads_);
    const uint32_t round = round_.load(std::memory_order_relaxed) + 1;
    unreported_.store(count, std::memory_order_relaxed);
    for (uint32_t share = 0; share < used_; ++share) {
        const uint32_t tasks = share_begin(share + 1) - share_begin(share);
        shares_[share].ticket.store(static_cast<uint64_t>(round) << 32 | tasks, std::memory_order_release);
    }
    round_.store(round, std::memory_order_seq_cst);
    wake_workers(count - 1);
    take_tasks(0);
    wait_for_workers();
}

void Pool::wake_workers(uint32_t wanted)
{
    if (sleepers_.load(std::memory_order_seq_cst) != 0)
        wake(round_, wanted);
    const uint32_t most = static_cast<uint32_t>(threads_ - 1);
    start_workers(static_cast<int32_t>(wanted < most ? wanted : most));
}

void Pool::start_workers(int32_t wanted)
{
    if (started_ >= wanted || refused_)
        return;
    // Signals are the host's business: its handlers must not run on our threads.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return;
    while (started_ < wanted && !refused_) {
        if (pthread_create(&workers_[started_], nullptr, &Pool::work, this) == 0)
            ++started_;
        else
            refused_ = true;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// The index, in the round, of a share's first task.
uint32_t Pool::share_begin(uint32_t share) const { return static_cast<uint32_t>(uint64_t{count_} * share / used_); }

// Returns how many there were.
uint32_t Pool::take_share(uint32_t share)
{
    std::atomic<uint64_t>& shared = shares_[share].ticket;
    uint32_t done = 0;
    uint64_t ticket = shared.load(std::memory_order_acquire);
    for (;;) {
        const uint32_t left = static_cast<uint32_t>(ticket);
        if (left == 0)
            return done;
        if (!shared.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel, std::memory_order_acquire))
            continue;
        body_(base_ + (share_begin(share + 1) - left), task_);
        ++done;
        ticket = shared.load(std::memory_order_acquire);
    }
}

// One's own share first, then what is left of the others. A worker that comes in between two rounds may see shares of both;
// what it misses the caller finds.
void Pool::take_tasks(uint32_t first_share)
{
    uint32_t done = 0;
    for (uint32_t i = 0; i < static_cast<uint32_t>(threads_); ++i)
        done += take_share((first_share + i) % static_cast<uint32_t>(threads_));
    if (done == 0)
        return;
    if (unreported_.fetch_sub(done, std::memory_order_seq_cst) == done &&
        caller_sleeps_.load(std::memory_order_seq_cst))
        wake(unreported_, 1);
}

void Pool::wait_for_workers()
{
    if (look_for([this] { return unreported_.load(std::memory_order_acquire) == 0; }))
        return;
    caller_sleeps_.store(true, std::memory_order_seq_cst);
    for (;;) {
        const uint32_t unreported = unreported_.load(std::memory_order_seq_cst);
        if (unreported == 0)
            break;
        sleep_while(unreported_, unreported);
    }
    caller_sleeps_.store(false, std::memory_order_relaxed);
}

uint32_t Pool::wait_for_round(uint32_t seen)
{
    if (!look_for([this, seen] { return round_.load(std::memory_order_relaxed) != seen; })) {
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        while (round_.load(std::memory_order_seq_cst) == seen)
            sleep_while(round_, seen);
        sleepers_.fetch_sub(1, std::memory_order_relaxed);
    }
    return round_.load(std::memory_order_acquire);
}

void* Pool::work(void* self)
{
    Pool& pool = *static_cast<Pool*>(self);
    const uint32_t own = 1 + pool.arrived_.fetch_add(1, std::memory_order_relaxed);
    uint32_t seen = 0;
    while (!pool.stop_.load(std::memory_order_relaxed)) {
        pool.take_tasks(own);
        seen = pool.wait_for_round(seen);
    }
    return nullptr;
}

} // namespace moeq
