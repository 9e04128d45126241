// Use of a handle after its release is undefined: handles are pointers. A build with MOEQ_DEBUG keeps a list of those that are
// alive, so that such a use becomes an error; in other builds all of this is nothing.
#pragma once

#if defined(MOEQ_DEBUG)
#include "core/mutex.h"
#endif

namespace moeq {

#if defined(MOEQ_DEBUG)

// The first base of every handle, so that both have one address.
class LiveHandle {
public:
    LiveHandle()
    {
        const Lock lock(list().mutex);
        next_ = list().head;
        previous_ = nullptr;
        if (next_ != nullptr)
            next_->previous_ = this;
        list().head = this;
    }
    ~LiveHandle()
    {
        const Lock lock(list().mutex);
        (previous_ != nullptr ? previous_->next_ : list().head) = next_;
        if (next_ != nullptr)
            next_->previous_ = previous_;
    }
    LiveHandle(const LiveHandle&) = delete;
    LiveHandle& operator=(const LiveHandle&) = delete;

    // Reads nothing behind the pointer.
    static bool is_alive(const void* handle)
    {
        const Lock lock(list().mutex);
        for (const LiveHandle* live = list().head; live != nullptr; live = live->next_)
            if (live == handle)
                return true;
        return false;
    }
    static constexpr bool kChecked = true;

private:
    struct List {
        Mutex mutex;
        LiveHandle* head = nullptr;
    };
    static List& list()
    {
        // Never destroyed: handles may outlive static objects.
        alignas(List) static constinit union Storage {
            List list;
            constexpr Storage() : list() {}
            ~Storage() {}
        } storage;
        return storage.list;
    }

    LiveHandle* next_;
    LiveHandle* previous_;
};

#else

class LiveHandle {
public:
    static constexpr bool is_alive(const void*) { return true; }
    static constexpr bool kChecked = false;
};

#endif

} // namespace moeq
