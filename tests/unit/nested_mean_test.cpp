// The mean of block statistics is that of one thread, however its tree is shared out.
#include "host/nested.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <vector>

namespace moeq {
namespace {

TEST(NestedMean, IsThatOfOneTree)
{
    std::mt19937 random(7);
    std::uniform_real_distribution<float> any(1e-6f, 10.0f);
    for (const int64_t blocks : {0, 1, 255, 256, 257, 511, 513, 1024, 5000, 65536, 70001, 600000}) {
        std::vector<float> absmax(static_cast<size_t>(blocks));
        for (float& value : absmax)
            value = any(random);
        const float expected = codec::mean_absmax(absmax.data(), blocks);
        for (const int64_t least : {1, 256, 1000, 4096, 1 << 20}) {
            NestedMean mean(blocks, least);
            for (int64_t subtree = mean.subtrees() - 1; subtree >= 0; --subtree) // in any order
                mean.add_subtree(subtree, [&](int64_t first, int64_t) { return absmax.data() + first; });
            EXPECT_EQ(std::bit_cast<uint32_t>(mean.mean()), std::bit_cast<uint32_t>(expected))
                << blocks << " blocks, at least " << least;
        }
    }
}

} // namespace
} // namespace moeq
