// MXFP8: E4M3 codes of blocks that share a power of two.
#pragma once

#include "codec/e8m0.h"
#include "codec/fp8.h"

namespace moeq::codec {

// The scale's code for a block whose largest magnitude has these bits, which are those of a finite number.
MOEQ_HOST_DEVICE inline uint8_t mxfp8_scale_code(uint32_t amax_bits)
{
    return mx_scale_code(amax_bits, float_bits(kE4m3Max));
}

// The largest scale there is, 2^120, has one more code whose product is finite below 256: what would be rounded up to that, and
// decode to Inf, takes 240.
inline constexpr uint8_t kMxfp8LastScale = 247;
inline constexpr uint8_t kMxfp8LastCode = 0x77; // 240

MOEQ_HOST_DEVICE inline uint8_t mxfp8_code(float x, uint8_t scale)
{
    const uint8_t code = float_to_e4m3(multiply(x, mx_multiplier(scale)));
    const bool overflows = scale == kMxfp8LastScale && (code & 0x7F) > kMxfp8LastCode;
    return overflows ? static_cast<uint8_t>((code & 0x80) | kMxfp8LastCode) : code;
}

} // namespace moeq::codec
