// Which octaves of bf16 numbers FP8 codes can be told for from the elements' bits, as the tiers' fp8_words.h do: those whose
// products with a scale are normal in the format. Everything here has internal linkage, as tiers are compiled for different
// processors.
#pragma once

#include <cstdint>

#include "codec/host_device.h"

namespace moeq::cpu {

namespace {

// From the smallest normal number of a format with this bias to what is larger than its largest one: exponents told apart.
template <int bias>
constexpr int32_t kFp8Octaves = 2 * bias + 2;

[[gnu::always_inline]] inline int32_t exponent_of(float scale)
{
    return static_cast<int32_t>(codec::float_bits(scale) >> 23 & 0xFF);
}

// The exponent of the least power of two whose product with the scale is normal in the format.
template <int bias>
[[gnu::always_inline]] inline int32_t first_fp8_octave(float scale)
{
    return 255 - bias - exponent_of(scale);
}

// Whether a positive scale is such that the octaves are those of ordinary bf16 numbers.
template <int bias>
[[gnu::always_inline]] inline bool has_fp8_octaves(float scale)
{
    const int32_t first = first_fp8_octave<bias>(scale);
    return exponent_of(scale) > 0 && exponent_of(scale) < 255 && first >= 1 && first + kFp8Octaves<bias> < 255;
}

} // namespace

} // namespace moeq::cpu
