// Names in the order in which they were added, found by hash: what a writer has been told of. The last one can be taken back.
#pragma once

#include "core/memory.h"
#include "store/container/digest.h"

namespace moeq::store {

class NameTable {
public:
    explicit NameTable(Allocator& allocator)
        : allocator_(allocator), text_(allocator), names_(allocator), slots_(allocator)
    {
    }

    int64_t size() const { return names_.size(); }
    const char* name(int64_t index) const { return text_.data() + names_[index].begin; } // until the next add
    int64_t length(int64_t index) const { return names_[index].length; }

    // -1: none.
    int64_t find(const char* name, int64_t length) const
    {
        const int64_t slot = slot_of(name, length);
        return slot < 0 ? -1 : slots_[slot];
    }

    // A name that is not there yet. False: no memory, and nothing has changed.
    [[nodiscard]] bool add(const char* name, int64_t length)
    {
        if (!text_.reserve(text_.size() + length + 1) || !names_.reserve(size() + 1) || !make_room())
            return false;
        const Name added = {text_.size(), length, digest_of(name, length).low};
        text_.append_reserved(name, length);
        text_.append_reserved("", 1);
        names_.append_reserved(&added, 1);
        place(size() - 1);
        return true;
    }

    void remove_last()
    {
        const int64_t last = size() - 1;
        const Name removed = names_[last];
        // Nothing was placed after it, so no search passes through its slot.
        slots_[slot_of(text_.data() + removed.begin, removed.length)] = -1;
        names_.erase(last);
        (void)text_.resize(removed.begin); // smaller: needs no memory
    }

private:
    struct Name {
        int64_t begin; // in text_
        int64_t length;
        uint64_t hash;
    };

    int64_t next_slot(int64_t slot) const { return slot + 1 == slots_.size() ? 0 : slot + 1; }
    int64_t first_slot(uint64_t hash) const
    {
        return static_cast<int64_t>(hash & static_cast<uint64_t>(slots_.size() - 1));
    }

    int64_t slot_of(const char* name, int64_t length) const
    {
        if (slots_.empty())
            return -1;
        const uint64_t hash = digest_of(name, length).low;
        for (int64_t slot = first_slot(hash); slots_[slot] >= 0; slot = next_slot(slot)) {
            const Name& known = names_[slots_[slot]];
            if (known.hash == hash && known.length == length &&
                std::memcmp(text_.data() + known.begin, name, static_cast<uint64_t>(length)) == 0)
                return slot;
        }
        return -1;
    }

    void place(int64_t index)
    {
        int64_t slot = first_slot(names_[index].hash);
        while (slots_[slot] >= 0)
            slot = next_slot(slot);
        slots_[slot] = index;
    }

    // At least half of the slots, whose number is a power of two, stay free.
    bool make_room()
    {
        constexpr int64_t kLeast = 64;
        if (2 * (size() + 1) <= slots_.size())
            return true;
        const int64_t count = slots_.empty() ? kLeast : 2 * slots_.size();
        Array<int64_t> grown(allocator_);
        if (!grown.resize(count, -1))
            return false;
        slots_.swap(grown);
        for (int64_t i = 0; i < size(); ++i)
            place(i);
        return true;
    }

    Allocator& allocator_;
    Array<char> text_;
    Array<Name> names_;
    Array<int64_t> slots_; // indices of names; -1: free
};

} // namespace moeq::store
