#include "mirror/memory.h"

#include <sys/mman.h>

#include <bit>
#include <cstring>

namespace moeq_mirror {

Memory memory;

namespace {

class Lock {
public:
    explicit Lock(pthread_mutex_t& mutex) : mutex_(mutex) { pthread_mutex_lock(&mutex_); }
    ~Lock() { pthread_mutex_unlock(&mutex_); }

private:
    pthread_mutex_t& mutex_;
};

constexpr size_t kFilled = 1 << 16; // bytes of a piece that are filled with rubbish

// Whole pages, a power of two of them.
size_t room_for(size_t bytes, size_t page) { return std::bit_ceil((bytes + page - 1) / page | 1) * page; }

} // namespace

void Memory::protect()
{
    if (used_ != 0)
        mprotect(begin_, used_, open() ? PROT_READ | PROT_WRITE : PROT_NONE);
}

// With the lock held: the memory may be touched while this lives.
class Memory::Unlocked {
public:
    explicit Unlocked(Memory& of) : memory_(of), was_open_(of.open())
    {
        memory_.operations_ += 1;
        if (!was_open_)
            memory_.protect();
    }
    ~Unlocked()
    {
        memory_.operations_ -= 1;
        if (!was_open_)
            memory_.protect();
    }

private:
    Memory& memory_;
    bool was_open_;
};

void Memory::change(int calls, int operations)
{
    const Lock lock(mutex_);
    const bool before = open();
    calls_ += calls;
    operations_ += operations;
    if (open() != before)
        protect();
}

void* Memory::allocate(size_t bytes)
{
    const Lock lock(mutex_);
    const size_t room = room_for(bytes, kPage);
    Piece*& head = free_[std::countr_zero(room)];
    const Unlocked unlocked(*this); // the list of free pieces lies in the memory itself
    char* piece = reinterpret_cast<char*>(head);
    if (piece != nullptr) {
        head = head->next;
    } else {
        if (begin_ == nullptr) {
            void* region = mmap(nullptr, kRegion, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            begin_ = region == MAP_FAILED ? nullptr : static_cast<char*>(region);
        }
        if (begin_ != nullptr && used_ + room <= kRegion) {
            piece = begin_ + used_;
            used_ += room;
            mprotect(piece, room, PROT_READ | PROT_WRITE);
        }
    }
    if (piece != nullptr)
        std::memset(piece, 0xA5, room < kFilled ? room : kFilled);
    return piece;
}

void Memory::free(void* piece, size_t bytes)
{
    const Lock lock(mutex_);
    const size_t room = room_for(bytes, kPage);
    const Unlocked unlocked(*this);
    std::memset(piece, 0x5A, room < kFilled ? room : kFilled);
    if (room > size_t{1} << 20)
        madvise(piece, room, MADV_DONTNEED);
    Piece*& head = free_[std::countr_zero(room)];
    static_cast<Piece*>(piece)->next = head;
    head = static_cast<Piece*>(piece);
}

} // namespace moeq_mirror
