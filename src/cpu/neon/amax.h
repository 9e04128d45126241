// The largest magnitude bits of a run, by NEON.
#pragma once

#include "cpu/amax_rules.h"
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

// The largest stored magnitude, as a number.
template <FloatType type>
MOEQ_TIER_INLINE uint32_t largest_of(uint32x4_t most)
{
    return type == kFp32 ? vmaxvq_u32(most) : vmaxvq_u16(vreinterpretq_u16_u32(most));
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
    return widened<type>(largest_of<type>(most), source, count);
}

} // namespace

} // namespace moeq::cpu::neon
