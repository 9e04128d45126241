// Nested statistics (bitsandbytes' double quantization): absmax minus its mean over the handle, in 8 bits by the signed dynamic
// map, one fp32 scale per 256 blocks.
#pragma once

#include "codec/dynamic_map.h"
#include "codec/sum.h"
#include "core/parallel.h"
#include "cpu/kernels.h"
#include "formats/encoded_weight.h"
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

// All of a weight's nested statistics from the plain ones, absmax[block_count], with the same bytes from any executor.
[[nodiscard]] inline moeq_status store_nested(const Executor& executor, cpu::EncodeNested encode,
                                              const EncodedWeight& weight, const float* absmax, Report& report)
{
    const int64_t count = weight.geometry.block_count();
    NestedMean mean(count, kNestedBlock);
    auto add = [&](int64_t subtree) {
        mean.add_subtree(subtree, [&](int64_t first, int64_t) { return absmax + first; });
    };
    MOEQ_TRY(executor.for_each(mean.subtrees(), add, report));
    store_nested_frame(weight, mean.mean());
    auto store = [&](int64_t subtree) {
        const int64_t end = minimum((subtree + 1) * mean.subtree_blocks(), count);
        for (int64_t first = subtree * mean.subtree_blocks(); first < end; first += kNestedBlock)
            store_nested_block(encode, weight, first, minimum(kNestedBlock, end - first), absmax + first);
    };
    return executor.for_each(mean.subtrees(), store, report);
}

} // namespace moeq
