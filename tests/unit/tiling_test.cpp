// Tilings against a walk along the axis that cuts wherever a tile is full or a border comes.
#include "formats/tiling.h"

#include <gtest/gtest.h>

#include <vector>

namespace {

using moeq::Tiling;

// The begin of every tile, and the extent at the end.
std::vector<int64_t> walk(int64_t extent, int64_t size, int64_t border)
{
    std::vector<int64_t> edges;
    int64_t filled = size;
    for (int64_t i = 0; i < extent; ++i, ++filled)
        if (filled == size || (i == border && border != 0)) {
            edges.push_back(i);
            filled = 0;
        }
    edges.push_back(extent);
    return edges;
}

void expect_equal(const Tiling& tiling, const std::vector<int64_t>& edges)
{
    const int64_t count = static_cast<int64_t>(edges.size()) - 1;
    ASSERT_EQ(tiling.count(), count);
    for (int64_t tile = 0; tile < count; ++tile) {
        const int64_t begin = edges[static_cast<size_t>(tile)];
        const int64_t end = edges[static_cast<size_t>(tile + 1)];
        ASSERT_EQ(tiling.begin(tile), begin);
        ASSERT_EQ(tiling.end(tile), end);
        for (int64_t i = begin; i < end; ++i) {
            ASSERT_EQ(tiling.index_of(i), tile) << i;
            ASSERT_EQ(tiling.is_edge(i), i == begin) << i;
        }
    }
    ASSERT_TRUE(tiling.is_edge(tiling.extent));
}

TEST(Tiling, cuts_equal_tiles_with_a_ragged_end)
{
    for (int64_t extent = 1; extent <= 40; ++extent)
        for (int64_t size = 1; size <= extent + 3; ++size)
            expect_equal({.extent = extent, .size = size}, walk(extent, size, 0));
}

TEST(Tiling, no_tile_straddles_a_border)
{
    for (int64_t extent = 2; extent <= 40; extent += 2)
        for (int64_t size = 1; size <= extent + 3; ++size)
            expect_equal({.extent = extent, .size = size, .border = extent / 2}, walk(extent, size, extent / 2));
}

TEST(Tiling, whole_axes_and_single_elements)
{
    expect_equal(moeq::whole_axis(17), walk(17, 17, 0));
    expect_equal(moeq::single_elements(5), walk(5, 1, 0));
    EXPECT_EQ(moeq::single_elements(0).count(), 0);
    EXPECT_EQ((Tiling{.extent = 0, .size = 128}.count()), 0);
    // A row of no columns still has its scale.
    EXPECT_EQ(moeq::whole_axis(0).count(), 1);
    EXPECT_EQ(moeq::whole_axis(0).end(0), 0);
}

TEST(Tiling, sizes_are_64_bits)
{
    const int64_t extent = int64_t{1} << 50;
    const Tiling tiling{.extent = extent, .size = 3, .border = extent / 2};
    EXPECT_EQ(tiling.index_of(extent / 2 - 1), tiling.before_border() - 1);
    EXPECT_EQ(tiling.index_of(extent / 2), tiling.before_border());
    EXPECT_EQ(tiling.end(tiling.before_border() - 1), extent / 2);
    EXPECT_EQ(tiling.end(tiling.count() - 1), extent);
}

} // namespace
