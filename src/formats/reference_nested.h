// The scalar reference of nested statistics.
#pragma once

#include "codec/amax.h"
#include "codec/dynamic_map.h"
#include "codec/statistic.h"
#include "formats/geometry.h"

namespace moeq {

// One nested block: `count` absmax values to codes and their common scale.
inline float encode_nested_block(const float* absmax, int64_t count, float offset, uint8_t* codes)
{
    float shifted[kNestedBlock];
    uint32_t bits = 0;
    for (int64_t i = 0; i < count; ++i) {
        shifted[i] = codec::subtract(absmax[i], offset);
        const uint32_t magnitude = codec::magnitude_bits_fp32(shifted[i]);
        bits = magnitude > bits ? magnitude : bits;
    }
    const float amax = codec::float_from_bits(bits);
    const codec::Multiplier multiplier = codec::unit_multiplier(amax);
    for (int64_t i = 0; i < count; ++i)
        codes[i] = codec::dynamic_code(codec::code_argument(shifted[i], multiplier));
    return amax;
}

inline void decode_nested_block(const uint8_t* codes, int64_t count, const float* map, float scale, float offset,
                                float* absmax)
{
    for (int64_t i = 0; i < count; ++i)
        absmax[i] = codec::nested_absmax(map[codes[i]], scale, offset);
}

} // namespace moeq
