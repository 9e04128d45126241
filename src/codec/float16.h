// fp16 and bf16: conversion to and from fp32 as bit patterns.
#pragma once

#include "codec/host_device.h"
#include "codec/small_float.h"

namespace moeq::codec {

// A signalling NaN comes back quiet, sign and payload kept (as the processors' own conversion does).
MOEQ_HOST_DEVICE constexpr uint32_t fp16_to_float_bits(uint16_t half)
{
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
    const uint32_t code = half & 0x7FFFu;
    if (code < 0x7C00u) {
        return sign | widen_magnitude<10, 15>(code);
    }
    const uint32_t payload = (code & 0x3FFu) << 13;
    return sign | kNonfiniteBits | payload | (payload != 0 ? 0x400000u : 0u);
}

MOEQ_HOST_DEVICE inline float fp16_to_float(uint16_t half) { return float_from_bits(fp16_to_float_bits(half)); }

// Round to nearest even; from 65520 on the result is Inf, as IEEE asks. NaN: quiet, sign and upper payload kept.
MOEQ_HOST_DEVICE constexpr uint16_t fp16_from_float_bits(uint32_t bits)
{
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & kMagnitudeMask;
    if (magnitude >= kNonfiniteBits) {
        const uint32_t payload = magnitude > kNonfiniteBits ? 0x200u | ((magnitude >> 13) & 0x3FFu) : 0u;
        return static_cast<uint16_t>(sign | 0x7C00u | payload);
    }
    const uint32_t code = round_magnitude<10, 15>(magnitude);
    return static_cast<uint16_t>(sign | (code < 0x7C00u ? code : 0x7C00u));
}

MOEQ_HOST_DEVICE inline uint16_t float_to_fp16(float value) { return fp16_from_float_bits(float_bits(value)); }

// bf16 is the upper half of an fp32: widening is exact and keeps every bit, those of a signalling NaN too.
MOEQ_HOST_DEVICE constexpr uint32_t bf16_to_float_bits(uint16_t brain) { return static_cast<uint32_t>(brain) << 16; }

MOEQ_HOST_DEVICE inline float bf16_to_float(uint16_t brain) { return float_from_bits(bf16_to_float_bits(brain)); }

// Round to nearest even; the largest values carry into Inf by themselves. NaN: quiet, sign and upper payload kept.
MOEQ_HOST_DEVICE constexpr uint16_t bf16_from_float_bits(uint32_t bits)
{
    if ((bits & kMagnitudeMask) > kNonfiniteBits) {
        return static_cast<uint16_t>((bits >> 16) | 0x40u);
    }
    const uint32_t odd = (bits >> 16) & 1u;
    return static_cast<uint16_t>((bits + 0x7FFFu + odd) >> 16);
}

MOEQ_HOST_DEVICE inline uint16_t float_to_bf16(float value) { return bf16_from_float_bits(float_bits(value)); }

} // namespace moeq::codec
