// What every tier does with elements in memory, whatever its registers are. Everything here has internal linkage, as tiers are
// compiled for different processors.
#pragma once

#include "cpu/kernels.h"

#define MOEQ_TIER_INLINE [[gnu::always_inline]] inline

namespace moeq::cpu {

namespace {

template <FloatType type>
constexpr int64_t kElementBytes = type == kFp32 ? 4 : 2;

template <FloatType type>
MOEQ_TIER_INLINE const void* element_at(const void* base, int64_t i)
{
    return static_cast<const char*>(base) + i * kElementBytes<type>;
}

template <FloatType type>
MOEQ_TIER_INLINE void* element_at(void* base, int64_t i)
{
    return static_cast<char*>(base) + i * kElementBytes<type>;
}

// `count` elements of `bytes` bytes, zeros behind them: the last of the groups of 32 that a tier without masks works on.
template <int64_t bytes>
struct alignas(32) Padded {
    uint8_t at[static_cast<uint64_t>(32 * bytes)] = {};

    MOEQ_TIER_INLINE void fill(const void* source, int64_t count)
    {
        __builtin_memcpy(at, source, static_cast<uint64_t>(count * bytes));
    }
    MOEQ_TIER_INLINE void drain(void* destination, int64_t count) const
    {
        __builtin_memcpy(destination, at, static_cast<uint64_t>(count * bytes));
    }
};

// How many of `count` elements of `bytes` bytes lie in front of the first cache line border: what a kernel that streams
// the rest stores through the cache.
template <Stores stores, int64_t bytes>
MOEQ_TIER_INLINE int64_t unaligned_head(const void* at, int64_t count)
{
    if constexpr (stores == kCached)
        return 0;
    const int64_t head = static_cast<int64_t>(-reinterpret_cast<uintptr_t>(at) & 63) / bytes;
    return head < count ? head : count;
}

// Bytes that are made in the first-level cache, in the lines' own order, and streamed from there.
// kStreamLine(to, from): one cache line, both aligned.
template <int64_t bytes, auto kStreamLine>
class StagedBytes {
public:
    // As far behind a cache line's border as the destination is.
    explicit StagedBytes(const void* destination)
        : phase_(static_cast<int64_t>(reinterpret_cast<uintptr_t>(destination) & 63))
    {
    }
    uint8_t* data() { return buffer_ + phase_; }
    int64_t capacity() const { return bytes - phase_; }

    void stream(void* destination, int64_t count) const
    {
        const uint8_t* from = buffer_ + phase_;
        auto* to = static_cast<uint8_t*>(destination);
        const int64_t head = unaligned_head<kStreamed, 1>(to, count);
        __builtin_memcpy(to, from, static_cast<uint64_t>(head));
        int64_t i = head;
        for (; i + 64 <= count; i += 64)
            kStreamLine(to + i, from + i);
        __builtin_memcpy(to + i, from + i, static_cast<uint64_t>(count - i));
    }

private:
    int64_t phase_;
    alignas(64) uint8_t buffer_[static_cast<uint64_t>(bytes)];
};

} // namespace

} // namespace moeq::cpu
