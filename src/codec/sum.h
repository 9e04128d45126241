// The order in which statistics are added, for their mean: leaves of 256 elements summed front to back in fp64, leaves joined by a binary tree
// that depends on their number alone, so the result is the same for any thread count and any chunking.
#pragma once

#include <cstdint>

#include "codec/host_device.h"

namespace moeq::codec {

inline constexpr int64_t kLeafElements = 256;

// The leaf of elements start, start + 1, ... start + count - 1, count <= kLeafElements; at(i) is element i, of any type
// that converts to double exactly. Starts from +0.
template <typename At>
MOEQ_HOST_DEVICE inline double leaf_sum(int64_t start, int64_t count, const At& at)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; ++i) {
        sum = add(sum, static_cast<double>(at(start + i)));
    }
    return sum;
}

// A binary counter of complete subtrees: after n leaves, bit l of n says whether a subtree of 2^l leaves waits at level
// l. Two subtrees of a level join as left + right; at the end the waiting ones join from the right.
class PairwiseSum {
public:
    MOEQ_HOST_DEVICE inline void add_leaf(double leaf) { add_subtree(leaf, 0); }

    // A complete subtree of 2^level leaves, summed elsewhere by the same rule; the number of leaves so far must be a
    // multiple of 2^level. This is how threads share the work without changing the result.
    MOEQ_HOST_DEVICE inline void add_subtree(double sum, int level)
    {
        const uint64_t leaves = uint64_t{1} << level;
        while ((count_ & (uint64_t{1} << level)) != 0) {
            sum = add(waiting_[level], sum);
            ++level;
        }
        waiting_[level] = sum;
        count_ += leaves;
    }

    // +0 when there was no leaf. rest: the result of the leaves behind, fewer than the smallest subtree that was added.
    MOEQ_HOST_DEVICE inline double result(double rest = 0.0) const
    {
        double sum = rest;
        for (int level = 0; level < kLevels; ++level) {
            if ((count_ & (uint64_t{1} << level)) != 0) {
                sum = add(waiting_[level], sum);
            }
        }
        return sum;
    }

private:
    // 2^56 leaves of 256 elements are more than a 64-bit element count can name.
    static constexpr int kLevels = 56;
    double waiting_[kLevels];
    uint64_t count_ = 0;
};

// The sum of the elements at(0), at(1), ... at(count - 1).
template <typename At>
MOEQ_HOST_DEVICE inline double pairwise_sum(int64_t count, const At& at)
{
    PairwiseSum sum;
    for (int64_t start = 0; start < count; start += kLeafElements) {
        const int64_t rest = count - start;
        sum.add_leaf(leaf_sum(start, rest < kLeafElements ? rest : kLeafElements, at));
    }
    return sum.result();
}

// Element access for a plain array.
struct FloatArray {
    const float* values;
    MOEQ_HOST_DEVICE inline float operator()(int64_t i) const { return values[i]; }
};

MOEQ_HOST_DEVICE inline double pairwise_sum(const float* values, int64_t count)
{
    return pairwise_sum(count, FloatArray{values});
}

// The offset of nested statistics: the mean of `count` block statistics, rounded once to fp32; 0 when there are none.
MOEQ_HOST_DEVICE inline float mean_absmax(const float* absmax, int64_t count)
{
    return count == 0 ? 0.0f : static_cast<float>(pairwise_sum(absmax, count) / static_cast<double>(count));
}

} // namespace moeq::codec
