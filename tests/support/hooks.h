// The callbacks of a context, watched: how often, how much, and on demand failing or misbehaving.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "moeq.h"

namespace moeq_test {

class Hooks {
public:
    // Everything that a context takes; the caller adds what it likes.
    moeq_context_options options(int32_t thread_limit = 1)
    {
        moeq_context_options options{};
        options.struct_size = sizeof options;
        options.thread_limit = thread_limit;
        options.host_alloc = [](uint64_t bytes, uint64_t alignment, void* user) {
            return static_cast<Hooks*>(user)->allocate(bytes, alignment);
        };
        options.host_free = [](void* memory, uint64_t bytes, void* user) {
            static_cast<Hooks*>(user)->free(memory, bytes);
        };
        options.user = this;
        options.user_destroy = [](void* user) { ++static_cast<Hooks*>(user)->destroyed; };
        return options;
    }

    // The `nth` allocation from now on fails (1: the next), and when `forever` all after it.
    void fail_at(int64_t nth, bool forever)
    {
        const std::lock_guard lock(mutex_);
        fail_from_ = allocations_ + nth;
        fail_until_ = forever ? INT64_MAX : fail_from_;
        refused_ = 0;
    }
    void fail_no_more()
    {
        const std::lock_guard lock(mutex_);
        fail_from_ = INT64_MAX;
    }

    // From now on memory comes from here, so that the hooks themselves use no malloc.
    void use_arena(size_t bytes)
    {
        const std::lock_guard lock(mutex_);
        arena_.resize(bytes);
        arena_next_ = reinterpret_cast<uintptr_t>(arena_.data());
    }

    int64_t allocations() const { return locked(allocations_); }
    int64_t refused() const { return locked(refused_); }
    int64_t live_bytes() const { return locked(live_bytes_); }
    int64_t live_blocks() const
    {
        const std::lock_guard lock(mutex_);
        return static_cast<int64_t>(blocks_.size());
    }
    // Frees of what was not allocated, or with another size.
    int64_t wrong_frees() const { return locked(wrong_frees_); }

    std::atomic<int> destroyed{0};

private:
    static constexpr uint64_t kMostBytes = uint64_t{1} << 32; // sanitizers end the process at absurd sizes

    void* allocate(uint64_t bytes, uint64_t alignment)
    {
        const std::lock_guard lock(mutex_);
        ++allocations_;
        if (allocations_ >= fail_from_ && allocations_ <= fail_until_) {
            ++refused_;
            return nullptr;
        }
        if (bytes > kMostBytes)
            return nullptr;
        if (arena_next_ != 0)
            return allocate_in_arena(bytes, alignment);
        void* memory = nullptr;
        if (posix_memalign(&memory, alignment, bytes) != 0)
            return nullptr;
        std::memset(memory, 0xA5, bytes); // what is used before it is written shows
        blocks_[memory] = bytes;
        live_bytes_ += static_cast<int64_t>(bytes);
        return memory;
    }
    void free(void* memory, uint64_t bytes)
    {
        {
            const std::lock_guard lock(mutex_);
            if (in_arena(memory)) {
                live_bytes_ -= static_cast<int64_t>(bytes);
                return;
            }
            const auto found = blocks_.find(memory);
            if (found == blocks_.end() || found->second != bytes) {
                ++wrong_frees_;
                return;
            }
            blocks_.erase(found);
            live_bytes_ -= static_cast<int64_t>(bytes);
        }
        std::memset(memory, 0xDD, bytes);
        std::free(memory);
    }
    void* allocate_in_arena(uint64_t bytes, uint64_t alignment)
    {
        const uintptr_t at = (arena_next_ + alignment - 1) / alignment * alignment;
        if (at + bytes > reinterpret_cast<uintptr_t>(arena_.data()) + arena_.size())
            return nullptr;
        arena_next_ = at + bytes;
        live_bytes_ += static_cast<int64_t>(bytes);
        return reinterpret_cast<void*>(at);
    }
    bool in_arena(const void* memory) const
    {
        const auto at = reinterpret_cast<uintptr_t>(memory);
        const auto begin = reinterpret_cast<uintptr_t>(arena_.data());
        return at >= begin && at < begin + arena_.size();
    }
    int64_t locked(const int64_t& value) const
    {
        const std::lock_guard lock(mutex_);
        return value;
    }

    mutable std::mutex mutex_;
    std::unordered_map<void*, uint64_t> blocks_;
    std::vector<uint8_t> arena_;
    uintptr_t arena_next_ = 0;
    int64_t allocations_ = 0;
    int64_t refused_ = 0;
    int64_t live_bytes_ = 0;
    int64_t wrong_frees_ = 0;
    int64_t fail_from_ = INT64_MAX;
    int64_t fail_until_ = INT64_MAX;
};

// Nothing left, nothing freed twice, and `user` let go once: what must be true after the last handle.
inline void expect_all_returned(const Hooks& hooks, int contexts = 1)
{
    EXPECT_EQ(hooks.live_bytes(), 0);
    EXPECT_EQ(hooks.live_blocks(), 0);
    EXPECT_EQ(hooks.wrong_frees(), 0);
    EXPECT_EQ(hooks.destroyed, contexts);
}

// A caller's executor. `how` gets run, task and count, and its answer is the callback's.
struct HostExecutor : Hooks {
    using How = std::function<int32_t(moeq_task_fn, void*, int64_t)>;

    moeq_context_options options()
    {
        moeq_context_options options = Hooks::options(0);
        // `user` is a Hooks*, for all callbacks.
        options.parallel_for = [](moeq_task_fn run, void* task, int64_t count, void* user) {
            auto* self = static_cast<HostExecutor*>(static_cast<Hooks*>(user));
            ++self->uses;
            return self->how(run, task, count);
        };
        return options;
    }

    static int32_t one_after_the_other(moeq_task_fn run, void* task, int64_t count)
    {
        for (int64_t i = 0; i < count; ++i)
            run(i, task);
        return MOEQ_CONTINUE;
    }

    How how = one_after_the_other;
    std::atomic<int64_t> uses{0};
};

} // namespace moeq_test
