#include "core/memory.h"

#include <cstdlib>

namespace moeq {

void* Allocator::allocate(uint64_t bytes)
{
    const uint64_t asked = bytes == 0 ? 1 : bytes;
    if (asked > INT64_MAX - kAlignment)
        return nullptr;
    void* memory = nullptr;
    if (alloc_ != nullptr)
        memory = alloc_(asked, kAlignment, user_);
    else if (posix_memalign(&memory, kAlignment, asked) != 0)
        memory = nullptr;
    if (memory == nullptr)
        return nullptr;
    count(static_cast<int64_t>(asked));
    return memory;
}

void Allocator::adopt(uint64_t bytes) { count(static_cast<int64_t>(bytes)); }

void Allocator::count(int64_t bytes)
{
    const int64_t live = live_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    int64_t peak = peak_.load(std::memory_order_relaxed);
    while (live > peak && !peak_.compare_exchange_weak(peak, live, std::memory_order_relaxed)) {
    }
}

void Allocator::free(void* memory, uint64_t bytes)
{
    if (memory == nullptr)
        return;
    const uint64_t asked = bytes == 0 ? 1 : bytes;
    live_.fetch_sub(static_cast<int64_t>(asked), std::memory_order_relaxed);
    if (free_ != nullptr)
        free_(memory, asked, user_);
    else
        std::free(memory);
}

} // namespace moeq
