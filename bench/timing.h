// Repeated runs of a call on warm or on new memory, and threads that start at the same time.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "memory.h"

namespace moeq_bench {

constexpr int kRuns = 9;
constexpr double kRunNs = 2e6; // a run repeats what is shorter than this
constexpr int64_t kMaxRepeats = 4096;

inline double now_ns()
{
    using namespace std::chrono;
    return static_cast<double>(duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count());
}

using Times = std::vector<double>;

inline double median(Times times)
{
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

inline int64_t repeats_for(double once_ns)
{
    return std::clamp(static_cast<int64_t>(kRunNs / std::max(once_ns, 1.0)), int64_t{1}, kMaxRepeats);
}

// How often a run repeats a call.
inline int64_t repeats_of(const std::function<void()>& call)
{
    call();
    const double begin = now_ns();
    call();
    return repeats_for(now_ns() - begin);
}

// A run: nanoseconds of one call. What others left in the caches is put right first, where it would count.
inline double run_ns(const std::function<void()>& call, int64_t repeats)
{
    if (repeats > 1)
        call();
    const double start = now_ns();
    for (int64_t i = 0; i < repeats; ++i)
        call();
    return (now_ns() - start) / static_cast<double>(repeats);
}

// Nanoseconds of one call, one entry a run; `between` runs before, between and after the runs.
inline Times measure(const std::function<void()>& call, const std::function<void()>& between)
{
    const int64_t repeats = repeats_of(call);
    Times times;
    for (int run = 0; run < kRuns; ++run) {
        between();
        times.push_back(run_ns(call, repeats));
    }
    between();
    return times;
}

// A call whose destination is new in each run: pages that were never touched.
inline Times measure_cold(int64_t bytes, const std::function<void(void*)>& call, const std::function<void()>& between)
{
    Times times;
    for (int run = 0; run < kRuns; ++run) {
        between();
        Memory fresh(bytes, false);
        const double start = now_ns();
        call(fresh.data());
        times.push_back(now_ns() - start);
    }
    between();
    return times;
}

// Runs part(thread) on `threads` threads, all at once, as often as it is told to; in between they spin.
class Team {
public:
    Team(int threads, std::function<void(int)> part) : part_(std::move(part))
    {
        for (int i = 1; i < threads; ++i)
            workers_.emplace_back([this, i] {
                ready_.fetch_add(1, std::memory_order_release);
                for (int64_t seen = 0;; ++seen) {
                    while (round_.load(std::memory_order_acquire) == seen) {
                    }
                    if (stop_.load(std::memory_order_relaxed))
                        return;
                    part_(i);
                    done_.fetch_add(1, std::memory_order_release);
                }
            });
        while (ready_.load(std::memory_order_acquire) != static_cast<int64_t>(workers_.size())) {
        }
    }
    ~Team()
    {
        stop_ = true;
        round_.fetch_add(1, std::memory_order_release);
        for (std::thread& worker : workers_)
            worker.join();
    }
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    void run()
    {
        done_.store(0, std::memory_order_relaxed);
        round_.fetch_add(1, std::memory_order_release);
        part_(0);
        while (done_.load(std::memory_order_acquire) != static_cast<int64_t>(workers_.size())) {
        }
    }

private:
    std::function<void(int)> part_;
    std::atomic<int64_t> round_{0}, done_{0}, ready_{0};
    std::atomic<bool> stop_{false};
    std::vector<std::thread> workers_;
};

} // namespace moeq_bench
