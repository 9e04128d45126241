// Elements of the three weight types, read and written one at a time: the scalar references are written over these.
#pragma once

#include "codec/amax.h"
#include "codec/float16.h"
#include "core/dtype.h"

namespace moeq {

template <FloatType>
struct Element;

template <>
struct Element<kFp32> {
    using Stored = float;
    static float load(float stored) { return stored; }
    static float store(float value) { return value; }
    static uint32_t magnitude(float stored) { return codec::magnitude_bits_fp32(stored); }
};

template <>
struct Element<kFp16> {
    using Stored = uint16_t;
    static float load(uint16_t stored) { return codec::fp16_to_float(stored); }
    static uint16_t store(float value) { return codec::float_to_fp16(value); }
    static uint32_t magnitude(uint16_t stored) { return codec::magnitude_bits_fp16(stored); }
};

template <>
struct Element<kBf16> {
    using Stored = uint16_t;
    static float load(uint16_t stored) { return codec::bf16_to_float(stored); }
    static uint16_t store(float value) { return codec::float_to_bf16(value); }
    static uint32_t magnitude(uint16_t stored) { return codec::magnitude_bits_bf16(stored); }
};

// The largest magnitude of a run, as fp32 bits.
template <FloatType type>
uint32_t largest_magnitude(const void* source, int64_t count)
{
    const auto* elements = static_cast<const typename Element<type>::Stored*>(source);
    uint32_t bits = 0;
    for (int64_t i = 0; i < count; ++i)
        bits = bits > Element<type>::magnitude(elements[i]) ? bits : Element<type>::magnitude(elements[i]);
    return bits;
}

// One element of a type that is only known at run time.
inline float load_element(int32_t type, const void* data, int64_t i)
{
    switch (type) {
    case kFp32:
        return static_cast<const float*>(data)[i];
    case kFp16:
        return Element<kFp16>::load(static_cast<const uint16_t*>(data)[i]);
    default:
        return Element<kBf16>::load(static_cast<const uint16_t*>(data)[i]);
    }
}

inline int64_t float_type_bytes(int32_t type) { return type == kFp32 ? 4 : 2; }

} // namespace moeq
