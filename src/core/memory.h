// All host memory of the library: the caller's hooks or malloc, counted. The allocation-failure tests drive these hooks, so
// nothing in src/ may get memory in any other way.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

#include "moeq.h"

namespace moeq {

class Allocator {
public:
    static constexpr uint64_t kAlignment = 64; // a cache line, and the widest vector

    // Both hooks NULL: malloc.
    Allocator(moeq_host_alloc_fn host_alloc, moeq_host_free_fn host_free, void* user)
        : alloc_(host_alloc), free_(host_free), user_(user)
    {
    }
    Allocator(const Allocator&) = delete;
    Allocator& operator=(const Allocator&) = delete;

    // NULL: none left. 0 bytes give a pointer that free takes.
    void* allocate(uint64_t bytes);
    void free(void* memory, uint64_t bytes);

    // Memory that came from the same hooks before this object was there: counts it.
    void adopt(uint64_t bytes);
    moeq_host_free_fn free_hook() const { return free_; }

    int64_t live() const { return live_.load(std::memory_order_relaxed); }
    int64_t peak() const { return peak_.load(std::memory_order_relaxed); }

private:
    void count(int64_t bytes);

    moeq_host_alloc_fn alloc_;
    moeq_host_free_fn free_;
    void* user_;
    std::atomic<int64_t> live_{0};
    std::atomic<int64_t> peak_{0};
};

// An object of the allocator's memory; NULL: none left.
template <class T, class... Arguments>
T* create(Allocator& allocator, Arguments&&... arguments)
{
    void* memory = allocator.allocate(sizeof(T));
    return memory == nullptr ? nullptr : ::new (memory) T(std::forward<Arguments>(arguments)...);
}

template <class T>
void destroy(Allocator& allocator, T* object)
{
    if (object == nullptr)
        return;
    object->~T();
    allocator.free(object, sizeof(T));
}

// A growing array of plain values. What fails leaves it as it was.
template <class T>
class Array {
    static_assert(std::is_trivially_copyable_v<T>, "moved with memcpy");

public:
    explicit Array(Allocator& allocator) : allocator_(&allocator) {}
    ~Array() { clear(); }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;

    int64_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](int64_t i) { return data_[i]; }
    const T& operator[](int64_t i) const { return data_[i]; }
    T* begin() { return data_; }
    T* end() { return data_ + size_; }
    const T* begin() const { return data_; }
    const T* end() const { return data_ + size_; }

    // Room for `capacity` values in all.
    [[nodiscard]] bool reserve(int64_t capacity)
    {
        if (capacity <= capacity_)
            return true;
        const int64_t doubled = capacity_ < 8 ? 8 : 2 * capacity_;
        const int64_t wanted = capacity > doubled ? capacity : doubled;
        T* grown = static_cast<T*>(allocator_->allocate(static_cast<uint64_t>(wanted) * sizeof(T)));
        if (grown == nullptr)
            return false;
        if (size_ != 0)
            std::memcpy(static_cast<void*>(grown), data_, static_cast<uint64_t>(size_) * sizeof(T));
        release_memory();
        data_ = grown;
        capacity_ = wanted;
        return true;
    }
    int64_t capacity() const { return capacity_; }
    // False: no memory.
    [[nodiscard]] bool append(const T& value)
    {
        if (!reserve(size_ + 1))
            return false;
        data_[size_++] = value;
        return true;
    }
    // Values beyond the old size are not set.
    [[nodiscard]] bool resize(int64_t size)
    {
        if (!reserve(size))
            return false;
        size_ = size;
        return true;
    }
    // Values beyond the old size are `value`.
    [[nodiscard]] bool resize(int64_t size, const T& value)
    {
        const int64_t old = size_;
        if (!resize(size))
            return false;
        for (int64_t i = old; i < size; ++i)
            data_[i] = value;
        return true;
    }
    // Room must have been reserved.
    void append_reserved(const T* values, int64_t count)
    {
        if (count != 0)
            std::memcpy(static_cast<void*>(data_ + size_), values, static_cast<uint64_t>(count) * sizeof(T));
        size_ += count;
    }
    // Before position i; room must have been reserved.
    void insert_reserved(int64_t i, const T& value)
    {
        std::memmove(static_cast<void*>(data_ + i + 1), data_ + i, static_cast<uint64_t>(size_ - i) * sizeof(T));
        data_[i] = value;
        ++size_;
    }
    void erase(int64_t i)
    {
        std::memmove(static_cast<void*>(data_ + i), data_ + i + 1, static_cast<uint64_t>(size_ - i - 1) * sizeof(T));
        --size_;
    }
    void clear()
    {
        release_memory();
        data_ = nullptr;
        size_ = capacity_ = 0;
    }
    void swap(Array& other)
    {
        std::swap(allocator_, other.allocator_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
    }

private:
    void release_memory()
    {
        if (data_ != nullptr)
            allocator_->free(data_, static_cast<uint64_t>(capacity_) * sizeof(T));
    }

    Allocator* allocator_;
    T* data_ = nullptr;
    int64_t size_ = 0;
    int64_t capacity_ = 0;
};

} // namespace moeq
