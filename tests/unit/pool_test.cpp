// The thread pool: every task once, from any number of callers, from inside a task, after a fork, without threads to have.
#include "core/pool.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "core/parallel.h"
#include "support/float_modes.h"

#if defined(__SANITIZE_THREAD__)
#define MOEQ_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MOEQ_UNDER_TSAN 1
#endif
#endif

namespace moeq {
namespace {

using namespace std::chrono_literals;

struct Destroy {
    void operator()(Pool* pool) const { Pool::destroy(pool); }
};
using PoolPointer = std::unique_ptr<Pool, Destroy>;

class PoolTest : public testing::Test {
protected:
    void TearDown() override { EXPECT_EQ(allocator_.live(), 0); }
    PoolPointer make(int32_t threads) { return PoolPointer(Pool::create(allocator_, threads)); }

    Allocator allocator_{nullptr, nullptr, nullptr};
};

template <class Body>
void run(Pool& pool, int64_t count, Body& body)
{
    pool.run(
        count, [](int64_t index, void* task) { (*static_cast<Body*>(task))(index); }, &body);
}

// How often each index ran.
struct Counts {
    explicit Counts(int64_t count) : ran(static_cast<size_t>(count)) {}
    void operator()(int64_t index) { ran.at(static_cast<size_t>(index)).fetch_add(1, std::memory_order_relaxed); }
    bool once() const
    {
        for (const auto& one : ran)
            if (one.load() != 1)
                return false;
        return true;
    }
    std::vector<std::atomic<int>> ran;
};

int threads_of_process()
{
    int threads = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/task"))
        ++threads;
    return threads;
}

// A joined thread may be listed a moment longer.
bool threads_become(int wanted)
{
    for (int i = 0; i < 1000 && threads_of_process() != wanted; ++i)
        std::this_thread::sleep_for(5ms);
    return threads_of_process() == wanted;
}

// Threads when none comes or goes.
int settled_threads()
{
    int threads = threads_of_process();
    for (int quiet = 0; quiet < 10; ++quiet) {
        std::this_thread::sleep_for(1ms);
        const int now = threads_of_process();
        if (now != threads)
            quiet = 0;
        threads = now;
    }
    return threads;
}

// Runs tasks that wait for each other until `wanted` threads have taken part; false: they never did.
bool gathers(Pool& pool, size_t wanted)
{
    std::set<std::thread::id> ids;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    const auto end = std::chrono::steady_clock::now() + 30s;
    auto body = [&](int64_t) {
        pthread_mutex_lock(&mutex);
        ids.insert(std::this_thread::get_id());
        pthread_mutex_unlock(&mutex);
        for (bool all = false; !all && std::chrono::steady_clock::now() < end;) {
            pthread_mutex_lock(&mutex);
            all = ids.size() >= wanted;
            pthread_mutex_unlock(&mutex);
            std::this_thread::sleep_for(10us);
        }
    };
    run(pool, static_cast<int64_t>(wanted), body);
    return ids.size() == wanted;
}

TEST_F(PoolTest, EveryIndexOnce)
{
    for (const int32_t threads : {-1, 0, 1, 2, 3, 8, 33}) {
        PoolPointer pool = make(threads);
        ASSERT_TRUE(pool);
        EXPECT_EQ(pool->threads(), threads < 1 ? 1 : threads);
        for (const int64_t count : {0, 1, 2, 3, 7, 8, 9, 64, 1000, 100'000}) {
            Counts counts(count);
            run(*pool, count, counts);
            EXPECT_TRUE(counts.once()) << threads << " threads, " << count << " tasks";
        }
    }
}

TEST_F(PoolTest, NegativeCountIsNothing)
{
    PoolPointer pool = make(2);
    Counts counts(0);
    run(*pool, -5, counts);
}

TEST_F(PoolTest, ManyShortRuns)
{
    PoolPointer pool = make(4);
    for (int64_t i = 0; i < 20'000; ++i) {
        const int64_t count = 2 + i % 5;
        Counts counts(count);
        run(*pool, count, counts);
        ASSERT_TRUE(counts.once()) << i;
    }
}

TEST_F(PoolTest, WakesWorkersThatSleep)
{
    PoolPointer pool = make(3);
    for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(gathers(*pool, 3)) << i;
        std::this_thread::sleep_for(2ms); // long after the workers stopped looking
    }
}

TEST_F(PoolTest, WhatTasksWroteIsSeen)
{
    PoolPointer pool = make(4);
    std::vector<int64_t> plain(4096);
    for (int64_t round = 1; round < 200; ++round) {
        auto body = [&](int64_t i) { plain[static_cast<size_t>(i)] += round; };
        run(*pool, static_cast<int64_t>(plain.size()), body);
    }
    for (const int64_t value : plain)
        ASSERT_EQ(value, 199 * 200 / 2);
}

TEST_F(PoolTest, NoThreadBeforeItIsNeeded)
{
    std::thread([] {}).join(); // the thread sanitizer has a thread of its own from the first other one on
    const int before = settled_threads();
    PoolPointer pool = make(8);
    EXPECT_EQ(threads_of_process(), before);
    Counts one(1);
    run(*pool, 1, one);
    EXPECT_EQ(threads_of_process(), before);
    Counts three(3);
    run(*pool, 3, three);
    EXPECT_EQ(threads_of_process(), before + 2) << "two helpers are enough for three tasks";
    Counts many(100);
    run(*pool, 100, many);
    EXPECT_EQ(threads_of_process(), before + 7);
    pool.reset();
    EXPECT_TRUE(threads_become(before));
}

TEST_F(PoolTest, WorkersBlockAllSignals)
{
    sigset_t before;
    pthread_sigmask(SIG_SETMASK, nullptr, &before);
    PoolPointer pool = make(2);
    const pthread_t caller = pthread_self();
    std::atomic<int> workers{0};
    std::atomic<int> open{0};
    const auto end = std::chrono::steady_clock::now() + 30s;
    auto body = [&](int64_t) {
        if (!pthread_equal(pthread_self(), caller)) {
            sigset_t mask;
            pthread_sigmask(SIG_SETMASK, nullptr, &mask);
            for (const int signal : {SIGINT, SIGTERM, SIGCHLD, SIGUSR1, SIGALRM, SIGPROF})
                open += sigismember(&mask, signal) == 1 ? 0 : 1;
            ++workers;
        }
        while (workers == 0 && std::chrono::steady_clock::now() < end)
            std::this_thread::sleep_for(10us);
    };
    run(*pool, 2, body);
    EXPECT_GE(workers, 1);
    EXPECT_EQ(open, 0);
    sigset_t after;
    pthread_sigmask(SIG_SETMASK, nullptr, &after);
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1})
        EXPECT_EQ(sigismember(&before, signal), sigismember(&after, signal));
}

TEST_F(PoolTest, NestedRunGoesInline)
{
    PoolPointer pool = make(4);
    Counts inner(16 * 50);
    std::atomic<int> moved{0};
    auto body = [&](int64_t outer) {
        const auto here = std::this_thread::get_id();
        auto task = [&, here](int64_t i) {
            moved += std::this_thread::get_id() == here ? 0 : 1;
            inner(outer * 50 + i);
        };
        run(*pool, 50, task);
    };
    run(*pool, 16, body);
    EXPECT_TRUE(inner.once());
    EXPECT_EQ(moved, 0);
}

TEST_F(PoolTest, NestedRunOfAnotherPool)
{
    PoolPointer outer = make(3);
    PoolPointer inner = make(3);
    Counts counts(8 * 20);
    auto body = [&](int64_t i) {
        auto task = [&](int64_t j) { counts(i * 20 + j); };
        run(*inner, 20, task);
    };
    run(*outer, 8, body);
    EXPECT_TRUE(counts.once());
}

class Callers : public PoolTest, public testing::WithParamInterface<int> {};

TEST_P(Callers, AllAtOnce)
{
    PoolPointer pool = make(4);
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int c = 0; c < GetParam(); ++c)
        callers.emplace_back([&, c] {
            for (int i = 0; i < 500; ++i) {
                const int64_t count = 1 + (c + i) % 40;
                Counts counts(count);
                run(*pool, count, counts);
                wrong += counts.once() ? 0 : 1;
            }
        });
    for (auto& caller : callers)
        caller.join();
    EXPECT_EQ(wrong, 0);
}

INSTANTIATE_TEST_SUITE_P(Pool, Callers, testing::Values(2, 8));

TEST_F(PoolTest, SecondCallerDoesNotWait)
{
    PoolPointer pool = make(2);
    std::atomic<bool> inside{false};
    std::atomic<bool> leave{false};
    std::thread first([&] {
        auto body = [&](int64_t) {
            inside = true;
            while (!leave)
                std::this_thread::sleep_for(10us);
        };
        run(*pool, 2, body);
    });
    while (!inside)
        std::this_thread::sleep_for(10us);
    Counts counts(10);
    run(*pool, 10, counts); // ends although the first caller's tasks do not
    EXPECT_TRUE(counts.once());
    leave = true;
    first.join();
}

TEST_F(PoolTest, ErrnoStays)
{
    PoolPointer pool = make(4);
    auto body = [](int64_t) { std::this_thread::sleep_for(100us); };
    for (int i = 0; i < 50; ++i) {
        errno = EDOM;
        run(*pool, 5, body);
        ASSERT_EQ(errno, EDOM);
    }
}

TEST_F(PoolTest, CreateWithoutMemory)
{
    Allocator none([](uint64_t, uint64_t, void*) -> void* { return nullptr; }, [](void*, uint64_t, void*) {}, nullptr);
    EXPECT_EQ(Pool::create(none, 4), nullptr);
    EXPECT_EQ(none.live(), 0);
    Pool::destroy(nullptr);
}

TEST_F(PoolTest, AbsurdThreadCountIsCut)
{
    PoolPointer pool = make(INT32_MAX);
    ASSERT_TRUE(pool);
    EXPECT_LT(allocator_.live(), 1 << 20);
}

TEST_F(PoolTest, CreateUseDestroyManyTimes)
{
    const int before = settled_threads();
    for (int i = 0; i < 200; ++i) {
        PoolPointer pool = make(3);
        Counts counts(2 + i % 3);
        run(*pool, 2 + i % 3, counts);
        ASSERT_TRUE(counts.once());
    }
    EXPECT_TRUE(threads_become(before));
}

// Waits for a child at most a minute; its exit status, or -1.
int wait_for(pid_t child)
{
    for (int i = 0; i < 6000; ++i) {
        int status = 0;
        if (waitpid(child, &status, WNOHANG) == child)
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        std::this_thread::sleep_for(10ms);
    }
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    return -1;
}

TEST_F(PoolTest, ForkAfterUse)
{
    PoolPointer pool = make(4);
    Counts first(1000);
    run(*pool, 1000, first);
    ASSERT_TRUE(first.once());
    for (int round = 0; round < 20; ++round) {
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            const int threads = threads_of_process();
            Counts counts(1000);
            run(*pool, 1000, counts);
            const bool alone = threads_of_process() == threads;
            Pool::destroy(pool.release());
            Counts again(1000);
#if !defined(MOEQ_UNDER_TSAN) // it forbids a forked child to start threads
            Pool* own = Pool::create(allocator_, 3);
            run(*own, 1000, again);
            Pool::destroy(own);
            if (!again.once())
                _exit(3);
#endif
            _exit(!counts.once() ? 1 : !alone ? 2 : allocator_.live() != 0 ? 4 : 42);
        }
        EXPECT_EQ(wait_for(child), 42);
        Counts counts(1000);
        run(*pool, 1000, counts);
        EXPECT_TRUE(counts.once());
    }
}

TEST_F(PoolTest, ForkBeforeUse)
{
    PoolPointer pool = make(4);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        const int threads = threads_of_process();
        Counts counts(1000);
        run(*pool, 1000, counts);
        const bool alone = threads_of_process() == threads;
        Pool::destroy(pool.release());
        _exit(!counts.once() ? 1 : !alone ? 2 : 42);
    }
    EXPECT_EQ(wait_for(child), 42);
}

TEST_F(PoolTest, ForkWhileAnotherThreadRuns)
{
    PoolPointer pool = make(3);
    std::atomic<bool> stop{false};
    std::thread other([&] {
        while (!stop) {
            auto body = [](int64_t) { std::this_thread::sleep_for(20us); };
            run(*pool, 6, body);
        }
    });
    for (int round = 0; round < 50; ++round) {
        const pid_t child = fork();
        if (child == 0) {
            Counts counts(100);
            run(*pool, 100, counts);
            Pool::destroy(pool.release());
            _exit(counts.once() ? 42 : 1);
        }
        EXPECT_EQ(wait_for(child), 42);
    }
    stop = true;
    other.join();
}

// No stack of 64 TiB can be mapped, so the system refuses every thread.
TEST_F(PoolTest, NoThreadToHave)
{
    pthread_attr_t before;
    ASSERT_EQ(pthread_getattr_default_np(&before), 0);
    pthread_attr_t huge;
    ASSERT_EQ(pthread_getattr_default_np(&huge), 0);
    ASSERT_EQ(pthread_attr_setstacksize(&huge, size_t{1} << 46), 0);
    ASSERT_EQ(pthread_setattr_default_np(&huge), 0);
    pthread_t thread;
    EXPECT_NE(pthread_create(
                  &thread, nullptr, [](void*) -> void* { return nullptr; }, nullptr),
              0);
    const int threads = settled_threads();
    {
        PoolPointer pool = make(4);
        errno = EDOM;
        for (int i = 0; i < 3; ++i) {
            Counts counts(1000);
            run(*pool, 1000, counts);
            EXPECT_TRUE(counts.once());
        }
        EXPECT_EQ(errno, EDOM);
        EXPECT_EQ(threads_of_process(), threads);
    }
    EXPECT_EQ(pthread_setattr_default_np(&before), 0);
    pthread_attr_destroy(&before);
    pthread_attr_destroy(&huge);
}

// The second thread is refused, the first one works.
TEST_F(PoolTest, FewerThreadsThanWanted)
{
    const int threads = settled_threads();
    PoolPointer pool = make(4);
    EXPECT_TRUE(gathers(*pool, 2));
    pthread_attr_t before;
    ASSERT_EQ(pthread_getattr_default_np(&before), 0);
    pthread_attr_t huge;
    ASSERT_EQ(pthread_getattr_default_np(&huge), 0);
    ASSERT_EQ(pthread_attr_setstacksize(&huge, size_t{1} << 46), 0);
    ASSERT_EQ(pthread_setattr_default_np(&huge), 0);
    Counts counts(1000);
    run(*pool, 1000, counts);
    EXPECT_EQ(pthread_setattr_default_np(&before), 0);
    EXPECT_TRUE(counts.once());
    EXPECT_EQ(threads_of_process(), threads + 1);
    EXPECT_TRUE(gathers(*pool, 2));
    pthread_attr_destroy(&before);
    pthread_attr_destroy(&huge);
}

#if defined(MOEQ_TEST_FLOAT_MODES)

using namespace moeq_test;

class HostModes : public PoolTest, public testing::WithParamInterface<FloatModes> {};

TEST_P(HostModes, TasksSeeTheDefault)
{
    const FloatModes set = kDefaultModes | GetParam();
    const ScopedFloatModes scope(set); // workers inherit the modes of the thread that starts them
    PoolPointer pool = make(3);
    Executor executor(nullptr, nullptr, pool.get());
    Report report("test", nullptr);
    std::vector<FloatModes> seen(200);
    auto body = [&](int64_t i) { seen[static_cast<size_t>(i)] = float_modes() & kControl; };
    for (const int64_t count : {1, 200}) {
        EXPECT_EQ(executor.for_each(count, body, report), MOEQ_OK);
        EXPECT_EQ(float_modes(), set);
    }
    for (const FloatModes modes : seen)
        EXPECT_EQ(modes, kDefaultModes);
}

INSTANTIATE_TEST_SUITE_P(Pool, HostModes,
                         testing::Values(FloatModes{0}, kFlush, kDownward, kUpward, kTowardZero, kTowardZero | kFlush));

#endif

} // namespace
} // namespace moeq
