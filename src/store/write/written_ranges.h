// Which bytes of a file are there, or on their way: what many threads write in any order, each byte once.
#pragma once

#include <algorithm>

#include "core/memory.h"
#include "core/mutex.h"

namespace moeq::store {

class WrittenRanges {
public:
    explicit WrittenRanges(Allocator& allocator) : allocator_(allocator), ranges_(allocator) {}

    enum Result { kClaimed, kTaken, kNoMemory };

    // Room for so many claims more: if nobody else claims meanwhile, they cannot lack memory.
    [[nodiscard]] bool reserve(int64_t count)
    {
        int64_t size = 0;
        {
            const Lock lock(mutex_);
            size = ranges_.size() + count;
            if (size <= ranges_.capacity())
                return true;
        }
        return grow(size);
    }

    // Takes [begin, end), not empty, for the caller to write. kTaken: *out_taken is the first byte that somebody else has.
    Result claim(int64_t begin, int64_t end, int64_t* out_taken)
    {
        for (;;) {
            int64_t size = 0;
            {
                const Lock lock(mutex_);
                const int64_t i = first_ending_after(begin);
                size = ranges_.size();
                if (i < size && ranges_[i].begin < end) {
                    *out_taken = std::max(ranges_[i].begin, begin);
                    return kTaken;
                }
                if (size < ranges_.capacity()) {
                    ranges_.insert_reserved(i, {begin, end, false});
                    return kClaimed;
                }
            }
            if (!grow(size))
                return kNoMemory;
        }
    }

    // The bytes of the claim that begins there are written: joins it to its neighbours.
    void finish(int64_t begin)
    {
        const Lock lock(mutex_);
        int64_t i = first_ending_after(begin);
        ranges_[i].done = true;
        if (i > 0 && joins(i - 1))
            join(--i);
        if (i + 1 < ranges_.size() && joins(i))
            join(i);
    }

    // They could not be written.
    void release(int64_t begin)
    {
        const Lock lock(mutex_);
        ranges_.erase(first_ending_after(begin));
    }

    // How many bytes of [begin, end) are there.
    int64_t count(int64_t begin, int64_t end) const
    {
        const Lock lock(mutex_);
        int64_t bytes = 0;
        for (int64_t i = first_ending_after(begin); i < ranges_.size() && ranges_[i].begin < end; ++i)
            if (ranges_[i].done)
                bytes += std::min(ranges_[i].end, end) - std::max(ranges_[i].begin, begin);
        return bytes;
    }

private:
    struct Range {
        int64_t begin;
        int64_t end;
        bool done;
    };

    // Room for more than `size` ranges. Memory comes and goes without the lock.
    bool grow(int64_t size)
    {
        constexpr int64_t kLeast = 16;
        Array<Range> larger(allocator_);
        if (!larger.reserve(std::max(2 * size, kLeast)))
            return false;
        const Lock lock(mutex_);
        if (larger.capacity() > ranges_.capacity()) {
            larger.append_reserved(ranges_.data(), ranges_.size());
            larger.swap(ranges_);
        }
        return true;
    }

    bool joins(int64_t i) const
    {
        return ranges_[i].done && ranges_[i + 1].done && ranges_[i].end == ranges_[i + 1].begin;
    }
    void join(int64_t i)
    {
        ranges_[i].end = ranges_[i + 1].end;
        ranges_.erase(i + 1);
    }
    int64_t first_ending_after(int64_t at) const
    {
        return std::upper_bound(ranges_.begin(), ranges_.end(), at,
                                [](int64_t value, const Range& range) { return value < range.end; }) -
               ranges_.begin();
    }

    Allocator& allocator_;
    mutable Mutex mutex_;
    Array<Range> ranges_; // ascending, apart
};

} // namespace moeq::store
