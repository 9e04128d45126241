// Coverage against a bitmap that is looked at element by element.
#include "builder/coverage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace {

using moeq::builder::Coverage;
using moeq::builder::CoverageSpan;
using moeq::builder::Rectangle;

class Field {
public:
    Field(int64_t rows, int64_t columns) : rows_(rows), columns_(columns), there_(static_cast<size_t>(rows * columns))
    {
    }

    bool at(int64_t row, int64_t column) const { return there_[static_cast<size_t>(row * columns_ + column)]; }
    // The first element of a rectangle that is there.
    bool first_in(const Rectangle& r, int64_t* row, int64_t* column) const
    {
        for (int64_t y = r.row_begin; y < r.row_end; ++y)
            for (int64_t x = r.column_begin; x < r.column_end; ++x)
                if (at(y, x)) {
                    *row = y;
                    *column = x;
                    return true;
                }
        return false;
    }
    void add(const Rectangle& r)
    {
        for (int64_t y = r.row_begin; y < r.row_end; ++y)
            for (int64_t x = r.column_begin; x < r.column_end; ++x)
                there_[static_cast<size_t>(y * columns_ + x)] = true;
    }
    int64_t count() const { return std::count(there_.begin(), there_.end(), true); }
    int64_t rows() const { return rows_; }
    int64_t columns() const { return columns_; }

private:
    int64_t rows_;
    int64_t columns_;
    std::vector<bool> there_;
};

class CoverageTest : public testing::Test {
protected:
    moeq::Allocator allocator{nullptr, nullptr, nullptr};
    Coverage coverage{allocator};
    std::mt19937 random{12345};

    // As the builder does it: room first, then the add that cannot fail.
    void add(const Rectangle& r)
    {
        const int64_t room = coverage.room_for(r);
        if (!coverage.has_room(room)) {
            moeq::Array<CoverageSpan> larger(allocator);
            ASSERT_TRUE(larger.reserve(room));
            coverage.move_into(larger);
        }
        ASSERT_TRUE(coverage.has_room(room));
        coverage.add(r);
        ASSERT_LE(spans(), room);
    }
    // A rectangle behind everything touches nothing, and then two spans are all that an add can make.
    int64_t spans() const
    {
        const int64_t behind = int64_t{1} << 50;
        return coverage.room_for({behind, behind + 1, 0, 1}) - 2;
    }
    Rectangle any(const Field& field, int64_t largest)
    {
        const auto range = [&](int64_t extent, int64_t* begin, int64_t* end) {
            *begin = static_cast<int64_t>(random() % static_cast<uint64_t>(extent));
            *end =
                *begin + 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(std::min(largest, extent - *begin)));
        };
        Rectangle r{};
        range(field.rows(), &r.row_begin, &r.row_end);
        range(field.columns(), &r.column_begin, &r.column_end);
        return r;
    }
    std::vector<Rectangle> gaps(const Field& field)
    {
        std::vector<Rectangle> found;
        EXPECT_TRUE(coverage.for_each_gap(field.rows(), field.columns(), [&](const Rectangle& gap) {
            found.push_back(gap);
            return true;
        }));
        return found;
    }
    // The gaps are exactly what is not there, none twice, in order of place, none empty.
    void expect_gaps_of(const Field& field)
    {
        Field seen = field;
        int64_t missing = 0;
        int64_t row = 0;
        int64_t column = 0;
        const Rectangle* before = nullptr;
        const std::vector<Rectangle> found = gaps(field);
        for (const Rectangle& gap : found) {
            ASSERT_GT(gap.elements(), 0);
            ASSERT_FALSE(seen.first_in(gap, &row, &column)) << row << " " << column;
            seen.add(gap);
            missing += gap.elements();
            if (before != nullptr) {
                ASSERT_TRUE(before->row_begin < gap.row_begin ||
                            (before->row_begin == gap.row_begin && before->column_end < gap.column_begin));
            }
            before = &gap;
        }
        ASSERT_EQ(missing, field.rows() * field.columns() - field.count());
    }
};

TEST_F(CoverageTest, agrees_with_a_bitmap)
{
    for (const int64_t largest : {2, 5, 20}) {
        for (int round = 0; round < 12; ++round) {
            coverage.clear();
            Field field(1 + static_cast<int64_t>(random() % 24), 1 + static_cast<int64_t>(random() % 24));
            for (int i = 0; i < 150; ++i) {
                const Rectangle r = any(field, largest);
                int64_t row = -1, column = -1, wanted_row = -1, wanted_column = -1;
                const bool wanted = field.first_in(r, &wanted_row, &wanted_column);
                ASSERT_EQ(coverage.find_overlap(r, &row, &column), wanted);
                ASSERT_EQ(row, wanted_row);
                ASSERT_EQ(column, wanted_column);
                if (!wanted) {
                    add(r);
                    field.add(r);
                }
                ASSERT_EQ(coverage.covered(), field.count());
                if (i % 10 == 0)
                    expect_gaps_of(field);
            }
            for (const Rectangle& gap : gaps(field)) {
                add(gap);
                field.add(gap);
            }
            EXPECT_TRUE(gaps(field).empty());
            EXPECT_EQ(coverage.covered(), field.rows() * field.columns());
        }
    }
}

TEST_F(CoverageTest, stops_at_the_visitor)
{
    Field field(6, 6);
    add({2, 4, 1, 3});
    int visits = 0;
    EXPECT_FALSE(coverage.for_each_gap(6, 6, [&](const Rectangle&) { return ++visits < 2; }));
    EXPECT_EQ(visits, 2);
    visits = 0;
    EXPECT_FALSE(coverage.for_each_gap(6, 6, [&](const Rectangle&) { return ++visits < 4; })); // the last gap
    EXPECT_EQ(visits, 4);
}

// Rows in any order are one band in the end, and an add needs no more room than a few spans.
TEST_F(CoverageTest, needs_memory_for_raggedness_only)
{
    const int64_t rows = 4096;
    std::vector<int64_t> order(static_cast<size_t>(rows));
    for (int64_t i = 0; i < rows; ++i)
        order[static_cast<size_t>(i)] = i;
    for (const int64_t row : order)
        add({row, row + 1, 0, 100});
    EXPECT_LE(coverage.room_for({0, rows, 100, 101}), 8);
    EXPECT_LE(allocator.peak(), static_cast<int64_t>(64 * sizeof(CoverageSpan)));
    coverage.clear();
    EXPECT_EQ(allocator.live(), 0);
    // In columns, from the right, and in a random order.
    for (int64_t column = 4096; column-- > 0;)
        add({7, 1000, column, column + 1});
    EXPECT_LE(coverage.room_for({0, 2000, 4096, 4097}), 8);
    coverage.clear();
    std::shuffle(order.begin(), order.end(), random);
    for (const int64_t row : order)
        add({row, row + 1, 5, 6});
    EXPECT_LE(coverage.room_for({0, rows, 100, 101}), 8);
    EXPECT_EQ(coverage.covered(), rows);
    // A checkerboard cannot be less than its squares.
    coverage.clear();
    for (int64_t row = 0; row < 16; ++row)
        for (int64_t column = row % 2; column < 16; column += 2)
            add({row, row + 1, column, column + 1});
    Field field(16, 16);
    for (int64_t row = 0; row < 16; ++row)
        for (int64_t column = row % 2; column < 16; column += 2)
            field.add({row, row + 1, column, column + 1});
    expect_gaps_of(field);
    EXPECT_EQ(gaps(field).size(), 128u);
}

TEST_F(CoverageTest, counts_in_64_bits)
{
    const int64_t huge = int64_t{1} << 40;
    add({0, 1 << 20, 0, huge});
    EXPECT_EQ(coverage.covered(), huge << 20);
    int64_t row = 0, column = 0;
    EXPECT_TRUE(coverage.find_overlap({(1 << 20) - 1, 1 << 21, huge - 1, huge}, &row, &column));
    EXPECT_EQ(row, (1 << 20) - 1);
    EXPECT_EQ(column, huge - 1);
    EXPECT_FALSE(coverage.find_overlap({1 << 20, 1 << 21, 0, huge}, &row, &column));
}

} // namespace
