// Nested statistics (bitsandbytes' double quantization): absmax minus its mean over the handle, in 8 bits by the signed dynamic
// map, one fp32 scale per 256 blocks.
#pragma once

#include "codec/amax.h"
#include "codec/dynamic_map.h"
#include "codec/statistic.h"
#include "codec/sum.h"
#include "formats/encode.h"

namespace moeq {

static_assert(kNestedBlock == codec::kLeafElements, "the mean's leaves are the nested blocks");

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

// Writes map, offset, scales and codes of a nested weight whose components are contiguous. The blocks' absmax is asked for
// twice, so that a caller who can compute it again needs no memory for it.
template <class Blocks>
void encode_nested(const EncodedWeight& weight, Blocks&& blocks)
{
    const int64_t count = weight.geometry.block_count();
    auto* map = reinterpret_cast<float*>(weight.nested_map.data);
    for (int i = 0; i < kNestedMapSize; ++i)
        map[i] = codec::dynamic_map_value(i);
    float absmax[kNestedBlock];
    codec::PairwiseSum sum;
    for (int64_t first = 0; first < count; first += kNestedBlock) {
        const int64_t some = minimum(kNestedBlock, count - first);
        blocks(first, some, absmax);
        sum.add_leaf(codec::leaf_sum(0, some, codec::FloatArray{absmax}));
    }
    const float offset = count == 0 ? 0.0f : static_cast<float>(sum.result() / static_cast<double>(count));
    *reinterpret_cast<float*>(weight.nested_offset.data) = offset;
    auto* codes = reinterpret_cast<uint8_t*>(weight.scale.data);
    auto* scales = reinterpret_cast<float*>(weight.nested_scale.data);
    for (int64_t first = 0; first < count; first += kNestedBlock) {
        const int64_t some = minimum(kNestedBlock, count - first);
        blocks(first, some, absmax);
        scales[first / kNestedBlock] = encode_nested_block(absmax, some, offset, codes + first);
    }
}

} // namespace moeq
