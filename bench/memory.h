// Memory and tensors of the benchmark's own, and what ends it when a call fails.
#pragma once

#include <dlpack/dlpack.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "moeq.h"

namespace moeq_bench {

[[noreturn]] inline void fail(const std::string& what)
{
    std::cerr << "moeq_bench: " << what << '\n';
    std::exit(1);
}

inline void check(moeq_status status, const moeq_error& error)
{
    if (status != MOEQ_OK)
        fail(error.message);
}

template <class T>
T sized()
{
    T value{};
    value.struct_size = sizeof value;
    return value;
}

// Pages from the system; warm when every page has been written. Warm ones are huge pages where the system gives them, also of
// little memory: which lines of a second-level cache small pages share is a matter of luck.
class Memory {
public:
    Memory() = default;
    Memory(int64_t bytes, bool warm)
    {
        const size_t wanted = static_cast<size_t>(std::max<int64_t>(bytes, 64));
        const size_t huge = warm ? size_t{2} << 20 : 1;
        const size_t whole = (wanted + huge - 1) / huge * huge;
        mapped_ = whole + huge - 1;
        void* made = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (made == MAP_FAILED)
            fail("no memory");
        base_ = static_cast<char*>(made);
        data_ = base_ + -reinterpret_cast<uintptr_t>(base_) % huge;
        if (warm) {
            madvise(data_, whole, MADV_HUGEPAGE); // cold ones are as malloc gives them
            std::memset(data_, 1, wanted);
        }
    }
    Memory(Memory&& other) noexcept { swap(other); }
    Memory& operator=(Memory&& other) noexcept
    {
        swap(other);
        return *this;
    }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory()
    {
        if (base_)
            munmap(base_, mapped_);
    }
    char* data() { return data_; }

private:
    void swap(Memory& other)
    {
        std::swap(base_, other.base_);
        std::swap(data_, other.data_);
        std::swap(mapped_, other.mapped_);
    }
    char* base_ = nullptr; // of all that is mapped
    char* data_ = nullptr;
    size_t mapped_ = 0;
};

inline int64_t bytes_of(int32_t dtype) { return (dtype >> 8 & 0xFF) / 8; }

// A tensor that borrows its memory; row-major without strides.
class Tensor {
public:
    Tensor(int32_t dtype, std::vector<int64_t> shape, void* data, std::vector<int64_t> strides = {})
        : shape_(std::move(shape)), strides_(std::move(strides))
    {
        tensor_.version = {1, 1};
        DLTensor& plain = tensor_.dl_tensor;
        plain.data = data;
        plain.device = {kDLCPU, 0};
        plain.ndim = static_cast<int32_t>(shape_.size());
        plain.dtype = {static_cast<uint8_t>(dtype & 0xFF), static_cast<uint8_t>(dtype >> 8 & 0xFF),
                       static_cast<uint16_t>(dtype >> 16)};
        plain.shape = shape_.data();
        plain.strides = strides_.empty() ? nullptr : strides_.data();
    }
    Tensor(const Tensor&) = delete;
    Tensor& operator=(const Tensor&) = delete;
    operator DLManagedTensorVersioned*() { return &tensor_; }

private:
    std::vector<int64_t> shape_, strides_;
    DLManagedTensorVersioned tensor_{};
};

} // namespace moeq_bench
