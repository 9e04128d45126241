// Nested statistics (bitsandbytes' double quantization): absmax minus its mean over the handle, in 8 bits by the signed dynamic
// map, one fp32 scale per 256 blocks.
#pragma once

#include <cstring>

#include "codec/dynamic_map.h"
#include "codec/sum.h"
#include "formats/encode.h"
#include "formats/reference_nested.h"

namespace moeq {

static_assert(kNestedBlock == codec::kLeafElements, "the mean's leaves are the nested blocks");

// The mean of block statistics, summed by any threads in subtrees that are parts of the one tree of codec/sum.h.
class NestedMean {
public:
    // Subtrees of at least so many blocks, a power of two times kNestedBlock; `blocks` in all.
    NestedMean(int64_t blocks, int64_t least) : blocks_(blocks)
    {
        while (subtrees() > kPartials || (subtrees() > 1 && subtree_blocks() < least))
            ++level_;
    }

    int64_t subtree_blocks() const { return kNestedBlock << level_; }
    int64_t subtrees() const { return ceil_divide(blocks_, subtree_blocks()); }

    // leaf(first, count) is the absmax of blocks [first, first + count); asked for in order.
    template <class Leaf>
    void add_subtree(int64_t subtree, Leaf&& leaf)
    {
        const int64_t begin = subtree * subtree_blocks();
        const int64_t end = minimum(begin + subtree_blocks(), blocks_);
        codec::PairwiseSum sum;
        for (int64_t first = begin; first < end; first += kNestedBlock) {
            const int64_t some = minimum(kNestedBlock, end - first);
            sum.add_leaf(codec::leaf_sum(0, some, codec::FloatArray{leaf(first, some)}));
        }
        partials_[subtree] = sum.result();
    }

    // When all subtrees are there.
    float mean() const
    {
        if (blocks_ == 0)
            return 0.0f;
        const int64_t leaves = ceil_divide(blocks_, kNestedBlock);
        const int64_t whole = leaves >> level_;
        codec::PairwiseSum sum;
        for (int64_t i = 0; i < whole; ++i)
            sum.add_subtree(partials_[i], level_);
        const double total = sum.result(whole == subtrees() ? 0.0 : partials_[whole]);
        return static_cast<float>(total / static_cast<double>(blocks_));
    }

private:
    static constexpr int64_t kPartials = 1024; // 8 KiB of the caller's stack

    int64_t blocks_;
    int level_ = 0;
    double partials_[kPartials];
};

// Writes map and offset.
inline void store_nested_frame(const EncodedWeight& weight, float offset)
{
    auto* map = reinterpret_cast<float*>(weight.nested_map.data);
    for (int i = 0; i < kNestedMapSize; ++i)
        map[i] = codec::dynamic_map_value(i);
    *reinterpret_cast<float*>(weight.nested_offset.data) = offset;
}

// Nested statistics of blocks [first, first + count), at most one nested block and at its border.
inline void store_nested_block(cpu::EncodeNested encode, const EncodedWeight& weight, int64_t first, int64_t count,
                               const float* absmax)
{
    auto* codes = reinterpret_cast<uint8_t*>(weight.scale.data);
    auto* scales = reinterpret_cast<float*>(weight.nested_scale.data);
    scales[first / kNestedBlock] =
        encode(absmax, count, *reinterpret_cast<const float*>(weight.nested_offset.data), codes + first);
}

// Serial, by the scalar reference. The blocks' absmax is asked for twice.
template <class Blocks>
void encode_nested(const EncodedWeight& weight, Blocks&& blocks)
{
    float absmax[kNestedBlock];
    const auto read = [&](int64_t first, int64_t count) {
        blocks(first, count, absmax);
        return static_cast<const float*>(absmax);
    };
    const int64_t count = weight.geometry.block_count();
    NestedMean mean(count, kNestedBlock);
    for (int64_t i = 0; i < mean.subtrees(); ++i)
        mean.add_subtree(i, read);
    store_nested_frame(weight, mean.mean());
    for (int64_t first = 0; first < count; first += kNestedBlock) {
        const int64_t some = minimum(kNestedBlock, count - first);
        store_nested_block(encode_nested_block, weight, first, some, read(first, some));
    }
}

} // namespace moeq
