// A DLPack tensor over memory of its own, on the host or where a suite works, which counts how often its deleter ran.
#pragma once

#include <dlpack/dlpack.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "moeq.h"

namespace moeq_test {

#ifdef MOEQ_TEST_ON_DEVICE // tests/mirror/device_suite.h
using Bytes = std::vector<uint8_t, DeviceAllocator<uint8_t>>;
constexpr DLDevice kTensorDevice{kDLCUDA, 0};
#else
using Bytes = std::vector<uint8_t>;
constexpr DLDevice kTensorDevice{kDLCPU, 0};
#endif
using Shape = std::vector<int64_t>;

inline void append(Bytes& to, const void* from, size_t size)
{
    const auto* bytes = static_cast<const uint8_t*>(from);
    to.insert(to.end(), bytes, bytes + size);
}
template <class T>
void append_value(Bytes& to, const T& value)
{
    append(to, &value, sizeof value);
}
inline void append(Bytes& to, const Bytes& from) { append(to, from.data(), from.size()); }

inline int64_t count_of(const Shape& shape)
{
    int64_t count = 1;
    for (const int64_t extent : shape)
        count *= extent;
    return count;
}

inline int64_t bytes_of(int32_t dtype) { return (dtype >> 8 & 0xFF) / 8; }

class HostTensor {
public:
    // strides in elements, none: row-major; the tensor then has as much memory as its last element needs.
    HostTensor(int32_t dtype, Shape shape, Shape strides = {}) : shape_(std::move(shape)), strides_(std::move(strides))
    {
        if (strides_.empty()) {
            strides_.resize(shape_.size());
            int64_t stride = 1;
            for (size_t i = shape_.size(); i-- > 0; stride *= shape_[i])
                strides_[i] = stride;
        }
        int64_t last = 0;
        for (size_t i = 0; i < shape_.size(); ++i)
            last += (shape_[i] - 1) * strides_[i];
        const bool empty = count_of(shape_) == 0;
        memory_.resize(empty ? 0 : static_cast<size_t>((last + 1) * bytes_of(dtype)));
        tensor_.version = {1, 1};
        tensor_.manager_ctx = this;
        tensor_.deleter = [](DLManagedTensorVersioned* self) {
            ++static_cast<HostTensor*>(self->manager_ctx)->deleted;
        };
        DLTensor& plain = tensor_.dl_tensor;
        plain.data = memory_.data();
        plain.device = kTensorDevice;
        plain.ndim = static_cast<int32_t>(shape_.size());
        plain.dtype = {static_cast<uint8_t>(dtype & 0xFF), static_cast<uint8_t>(dtype >> 8 & 0xFF),
                       static_cast<uint16_t>(dtype >> 16)};
        plain.shape = shape_.data();
        plain.strides = strides_.data();
    }
    HostTensor(const HostTensor&) = delete;
    HostTensor& operator=(const HostTensor&) = delete;

    operator DLManagedTensorVersioned*() { return &tensor_; } // NOLINT: the point of the type
    DLManagedTensorVersioned* operator->() { return &tensor_; }
    DLTensor& plain() { return tensor_.dl_tensor; }
    Bytes& memory() { return memory_; }
    const Shape& shape() const { return shape_; }
    template <class T>
    T* as()
    {
        return reinterpret_cast<T*>(memory_.data());
    }

    // Numbers of both signs, most of them within 4, some tiny, some zero; the same for the same seed on every machine.
    HostTensor& fill(uint64_t seed = 1)
    {
        const DLDataType type = tensor_.dl_tensor.dtype;
        const size_t size = type.bits / 8u;
        uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
        for (size_t at = 0; at + size <= memory_.size(); at += size) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            const uint32_t random = static_cast<uint32_t>(state >> 32);
            uint32_t bits = float_bits(random);
            if (type.code == kDLFloat && type.bits == 16) // 5 bits of exponent: 2^-13..2^2
                bits = (random >> 16 & 0x8000u) | (2 + (random >> 4) % 15) << 10 | (random >> 20 & 0x3FFu);
            else if (type.code == kDLBfloat)
                bits >>= 16;
            const uint64_t wide = uint64_t{random} << 32 | bits; // of types of 8 bytes, both halves
            std::memcpy(memory_.data() + at, &wide, size);
        }
        return *this;
    }

    int deleted = 0;

private:
    static uint32_t float_bits(uint32_t random)
    {
        const uint32_t kind = random % 61;
        if (kind == 0)
            return random & 0x80000000u; // a zero of either sign
        const uint32_t exponent =
            kind == 1 ? random >> 8 & 1 : 118 + (random >> 4) % 11; // 2^-9..2^1, seldom a subnormal
        return (random & 0x80000000u) | exponent << 23 | (random * 2654435761u & 0x7FFFFFu);
    }

    Shape shape_;
    Shape strides_;
    Bytes memory_;
    DLManagedTensorVersioned tensor_{};
};

// What a row-major tensor of any maker holds.
inline Bytes contents(const DLManagedTensorVersioned* tensor)
{
    const DLTensor& plain = tensor->dl_tensor;
    int64_t bytes = plain.dtype.bits / 8;
    for (int32_t i = 0; i < plain.ndim; ++i)
        bytes *= plain.shape[i];
    Bytes result;
    if (bytes != 0)
        append(result, static_cast<const uint8_t*>(plain.data) + plain.byte_offset, static_cast<size_t>(bytes));
    return result;
}

} // namespace moeq_test
