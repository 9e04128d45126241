// The largest magnitude bits of a run, by NEON.
#pragma once

#include "cpu/neon/elements.h"

namespace moeq::cpu::neon {

namespace {

template <FloatType type>
constexpr int64_t kLanes = 16 / kElementBytes<type>;

// Of 4 or 8 elements, by their stored bits.
template <FloatType type>
MOEQ_TIER_INLINE uint32x4_t magnitudes(const void* at)
{
    if constexpr (type == kFp32)
        return vandq_u32(load_dwords(at), vdupq_n_u32(0x7FFFFFFF));
    else
        return vreinterpretq_u32_u16(vandq_u16(load_words(at), vdupq_n_u16(0x7FFF)));
}

template <FloatType type>
MOEQ_TIER_INLINE uint32x4_t larger(uint32x4_t a, uint32x4_t b)
{
    if constexpr (type == kFp32)
        return vmaxq_u32(a, b);
    else
        return vreinterpretq_u32_u16(vmaxq_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b)));
}

// Widening makes a signalling fp16 NaN quiet, so among NaNs the largest code need not be the largest widened value.
inline uint32_t amax_fp16_one_by_one(const uint16_t* elements, int64_t count)
{
    uint32_t largest = 0;
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t bits = codec::magnitude_bits_fp16(elements[i]);
        largest = largest > bits ? largest : bits;
    }
    return largest;
}

// The widened magnitude bits of the largest of `count` elements; `most` holds the largest stored magnitude of them.
template <FloatType type>
MOEQ_TIER_INLINE uint32_t widened(uint32x4_t most, const void* source, int64_t count)
{
    if constexpr (type == kFp32)
        return vmaxvq_u32(most);
    const uint32_t stored = vmaxvq_u16(vreinterpretq_u16_u32(most));
    if constexpr (type == kBf16)
        return stored << 16;
    else if (stored > 0x7C00u) [[unlikely]]
        return amax_fp16_one_by_one(static_cast<const uint16_t*>(source), count);
    else
        return codec::fp16_to_float_bits(static_cast<uint16_t>(stored));
}

// The largest of 4 registers and what was found before.
template <FloatType type>
MOEQ_TIER_INLINE uint32x4_t fold4(const void* at, uint32x4_t most)
{
    const uint32x4_t first = larger<type>(magnitudes<type>(at), magnitudes<type>(element_at<type>(at, kLanes<type>)));
    const uint32x4_t last = larger<type>(magnitudes<type>(element_at<type>(at, 2 * kLanes<type>)),
                                         magnitudes<type>(element_at<type>(at, 3 * kLanes<type>)));
    return larger<type>(most, larger<type>(first, last));
}

// As many elements as one group of the encoders.
template <FloatType type>
MOEQ_TIER_INLINE uint32x4_t fold_group(const void* at, uint32x4_t most)
{
    most = fold4<type>(at, most);
    return type == kFp32 ? fold4<type>(element_at<type>(at, kGroup / 2), most) : most;
}

template <FloatType type>
MOEQ_TIER_INLINE uint32_t amax_run(const void* source, int64_t count)
{
    uint32x4_t most = vdupq_n_u32(0);
    int64_t i = 0;
    for (; i + kGroup <= count; i += kGroup)
        most = fold_group<type>(element_at<type>(source, i), most);
    if (i < count) {
        Padded<kElementBytes<type>> rest;
        rest.fill(element_at<type>(source, i), count - i);
        most = fold_group<type>(rest.at, most);
    }
    return widened<type>(most, source, count);
}

} // namespace

} // namespace moeq::cpu::neon
