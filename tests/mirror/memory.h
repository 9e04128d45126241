// The device's memory: pages of one reserved region, and whether they may be touched.
#pragma once

#include <pthread.h>

#include <cstddef>
#include <cstdint>

namespace moeq_mirror {

class Memory {
public:
    void* allocate(size_t bytes); // NULL: the region is full
    void free(void* memory, size_t bytes);

    void enter_call() { change(+1, 0); }
    void leave_call() { change(-1, 0); }
    void enter_operation() { change(0, +1); }
    void leave_operation() { change(0, -1); }

private:
    static constexpr size_t kRegion = size_t{1} << 36; // of addresses, not of memory
    static constexpr size_t kPage = 4096;
    static constexpr size_t kClasses = 64; // freed pieces by the logarithm of their size

    struct Piece {
        Piece* next;
    };

    class Unlocked;

    bool open() const { return operations_ > 0 || calls_ == 0; }
    void change(int calls, int operations);
    void protect();

    pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
    char* begin_ = nullptr;
    size_t used_ = 0; // bytes that were ever given away
    int calls_ = 0;
    int operations_ = 0;
    Piece* free_[kClasses] = {};
};

extern Memory memory;

} // namespace moeq_mirror
