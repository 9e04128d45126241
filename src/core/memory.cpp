#include "core/memory.h"

#include <sys/mman.h>

#include <cstdlib>

namespace moeq {

namespace {

constexpr uint64_t kHugePage = uint64_t{2} << 20;
constexpr uint64_t kHugeEnough = 4 * kHugePage; // below it what is lost at both ends would count

// Memory of malloc's. Large blocks begin at a huge page and ask for huge ones: their first touch, one of 2 MiB in place of
// 512 of 4 KiB, is what costs most in making a large weight. The system may ignore it.
void* allocate_plain(uint64_t bytes)
{
    void* memory = nullptr;
    const bool huge = bytes >= kHugeEnough;
    if (posix_memalign(&memory, huge ? kHugePage : Allocator::kAlignment, bytes) != 0)
        return nullptr;
#if defined(MADV_HUGEPAGE)
    if (huge)
        madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
    return memory;
}

} // namespace

void* Allocator::allocate(uint64_t bytes)
{
    const uint64_t asked = bytes == 0 ? 1 : bytes;
    if (asked > INT64_MAX - kAlignment)
        return nullptr;
    void* memory = alloc_ != nullptr ? alloc_(asked, kAlignment, user_) : allocate_plain(asked);
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
