// Finds names, and names that are there twice, in time that nobody can make quadratic: names are sorted by a hash,
// those with equal hashes by their bytes.
#pragma once

#include <algorithm>

#include "core/memory.h"
#include "cpu/digest.h"

namespace moeq::text {

struct NameView {
    const char* text;
    int64_t length;
};

inline int32_t compare_names(const NameView& a, const NameView& b)
{
    const int64_t common = a.length < b.length ? a.length : b.length;
    const int32_t order = common == 0 ? 0 : std::memcmp(a.text, b.text, static_cast<uint64_t>(common));
    if (order != 0)
        return order;
    return a.length < b.length ? -1 : a.length > b.length ? 1 : 0;
}

// Names are not kept, only 32-bit indices of them: `name_at(index)` gives the NameView, always the same.
class NameOrder {
public:
    explicit NameOrder(Allocator& allocator) : keys_(allocator) {}

    // Reserve for all, add each, sort. False: no memory.
    [[nodiscard]] bool reserve(int64_t count)
    {
        keys_.clear();
        return keys_.reserve(count);
    }
    void add(int64_t index, const NameView& name)
    {
        const uint64_t key = hash(name) | static_cast<uint64_t>(index);
        keys_.append_reserved(&key, 1);
    }
    template <class NameAt>
    void sort(const NameAt& name_at)
    {
        std::sort(keys_.begin(), keys_.end(), [&](uint64_t a, uint64_t b) {
            if ((a & kHashMask) != (b & kHashMask))
                return a < b;
            const int32_t order = compare_names(name_at(index(a)), name_at(index(b)));
            return order != 0 ? order < 0 : a < b;
        });
    }

    // The smallest index whose name another index before it has, too; -1: all differ.
    template <class NameAt>
    int64_t find_duplicate(const NameAt& name_at) const
    {
        int64_t found = -1;
        for (int64_t i = 1; i < keys_.size(); ++i) {
            const uint64_t a = keys_[i - 1], b = keys_[i];
            if ((a & kHashMask) == (b & kHashMask) && compare_names(name_at(index(a)), name_at(index(b))) == 0)
                found = found < 0 || index(b) < found ? index(b) : found;
        }
        return found;
    }

    // The index of a name; -1: none.
    template <class NameAt>
    int64_t find(const NameView& name, const NameAt& name_at) const
    {
        const uint64_t wanted = hash(name);
        const uint64_t* at = std::lower_bound(keys_.begin(), keys_.end(), wanted, [&](uint64_t key, uint64_t value) {
            if ((key & kHashMask) != value)
                return key < value;
            return compare_names(name_at(index(key)), name) < 0;
        });
        if (at == keys_.end() || (*at & kHashMask) != wanted || compare_names(name_at(index(*at)), name) != 0)
            return -1;
        return index(*at);
    }

    void clear() { keys_.clear(); }

private:
    static constexpr uint64_t kHashMask = 0xFFFFFFFF00000000u;
    static uint64_t hash(const NameView& name)
    {
        uint64_t halves[2];
        cpu::digest_plain(name.text, name.length, halves);
        return halves[1] & kHashMask;
    }
    static int64_t index(uint64_t key) { return static_cast<int64_t>(key & ~kHashMask); }

    Array<uint64_t> keys_; // hash in the high half, index in the low one
};

} // namespace moeq::text
