// From the largest stored bits of some elements to the largest magnitude, and how a tier's kernels for it are entered.
// Everything here has internal linkage, as tiers are compiled for different processors.
#pragma once

#include "codec/amax.h"
#include "codec/float16.h"
#include "cpu/elements.h"

namespace moeq::cpu {

namespace {

// So far ahead elements that are only looked at are asked for, in bytes; the processor itself keeps closer.
constexpr int64_t kLookAhead = 4096;

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

// The widened magnitude bits of the largest of `count` elements, whose stored magnitude is given.
template <FloatType type>
MOEQ_TIER_INLINE uint32_t widened(uint32_t stored, const void* source, int64_t count)
{
    if constexpr (type == kFp32)
        return stored;
    else if constexpr (type == kBf16)
        return stored << 16;
    else if (stored > 0x7C00u) [[unlikely]]
        return amax_fp16_one_by_one(static_cast<const uint16_t*>(source), count);
    else
        return codec::fp16_to_float_bits(static_cast<uint16_t>(stored));
}

// An AmaxBlocks of an AmaxRun.
template <FloatType type, auto kRun>
uint32_t amax_blocks_by_runs(const void* source, int64_t count, int64_t block, float* absmax)
{
    uint32_t largest = 0;
    for (int64_t i = 0; i < count; i += block) {
        const uint32_t bits = kRun(element_at<type>(source, i), count - i < block ? count - i : block);
        *absmax++ = codec::float_from_bits(bits);
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

template <template <FloatType> class Amax, FloatType type>
void fill_amax_of(Kernels* kernels)
{
    kernels->amax[type] = Amax<type>::run;
    kernels->amax_blocks[type] = Amax<type>::blocks;
    kernels->amax_rectangle[type] = Amax<type>::rectangle;
    kernels->amax_columns[type] = Amax<type>::columns;
}

// Amax<type>: run, blocks, rectangle and columns, as Kernels has them.
template <template <FloatType> class Amax>
void fill_amax(Kernels* kernels)
{
    fill_amax_of<Amax, kFp32>(kernels);
    fill_amax_of<Amax, kFp16>(kernels);
    fill_amax_of<Amax, kBf16>(kernels);
}

} // namespace

} // namespace moeq::cpu
