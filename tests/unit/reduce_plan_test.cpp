// Options, shapes and the way a plan walks a source.
#include <gtest/gtest.h>

#include <string>

#include "amax/walker.h"
#include "reduce_oracle.h"

namespace {

using namespace reduce_oracle;
using moeq::amax::Plan;

struct Answer {
    moeq_status status;
    std::string message;
    Axes axes;
};

Answer read(const moeq_reduce_options& options, int32_t ndim)
{
    moeq_error error{};
    moeq::Report report("test", &error);
    Answer answer;
    answer.status = moeq::amax::read_axes(options, ndim, 3, &answer.axes, report);
    answer.message = error.message;
    return answer;
}

moeq_reduce_options with_axes(const std::vector<int32_t>& axes)
{
    moeq_reduce_options options{};
    static const int32_t kNone = 0;
    options.axes = axes.empty() ? &kNone : axes.data();
    options.axis_count = static_cast<int32_t>(axes.size());
    return options;
}

TEST(ReducePlan, AxesOfOptions)
{
    EXPECT_TRUE(read({}, 2).axes.reduced[0] && read({}, 2).axes.reduced[1]);
    const std::vector<int32_t> mixed = {-1, 0};
    const Answer answer = read(with_axes(mixed), 3);
    EXPECT_EQ(answer.status, MOEQ_OK);
    EXPECT_TRUE(answer.axes.reduced[0] && !answer.axes.reduced[1] && answer.axes.reduced[2]);
    moeq_reduce_options none = with_axes({});
    EXPECT_FALSE(read(none, 1).axes.reduced[0]);
    none.flags = MOEQ_REDUCE_EMPTY_IS_ALL;
    EXPECT_TRUE(read(none, 1).axes.reduced[0]);
}

TEST(ReducePlan, WrongOptionsAreNamed)
{
    const std::vector<int32_t> outside = {0, 3};
    Answer answer = read(with_axes(outside), 3);
    EXPECT_EQ(answer.status, MOEQ_ERROR_ARGUMENT);
    EXPECT_EQ(answer.message, "test: options.axes: got axis 3 of 3 dimensions; want -3 to 2");
    const std::vector<int32_t> below = {-4};
    EXPECT_EQ(read(with_axes(below), 3).status, MOEQ_ERROR_ARGUMENT);
    const std::vector<int32_t> scalar = {0};
    answer = read(with_axes(scalar), 0);
    EXPECT_EQ(answer.status, MOEQ_ERROR_ARGUMENT);
    EXPECT_NE(answer.message.find("a tensor of 0 dimensions has no axes"), std::string::npos) << answer.message;
    const std::vector<int32_t> twice = {1, -2};
    answer = read(with_axes(twice), 3);
    EXPECT_EQ(answer.status, MOEQ_ERROR_ARGUMENT);
    EXPECT_NE(answer.message.find("axis -2 (1) twice"), std::string::npos) << answer.message;

    moeq_reduce_options options{};
    options.operation = 2;
    EXPECT_EQ(read(options, 1).status, MOEQ_ERROR_ARGUMENT);
    options = {};
    options.flags = 32;
    EXPECT_EQ(read(options, 1).status, MOEQ_ERROR_ARGUMENT);
    options = {};
    options.axis_count = 1;
    EXPECT_EQ(read(options, 1).status, MOEQ_ERROR_ARGUMENT);
    options.axis_count = -1;
    EXPECT_EQ(read(options, 1).status, MOEQ_ERROR_ARGUMENT);
    const int64_t lengths[2] = {4, -1};
    options = {};
    options.blocks = lengths;
    answer = read(options, 2);
    EXPECT_EQ(answer.status, MOEQ_ERROR_ARGUMENT);
    EXPECT_NE(answer.message.find("length -1 for axis 1"), std::string::npos) << answer.message;
}

TEST(ReducePlan, ShapesEqualTheirDefinition)
{
    std::mt19937_64 random(7);
    for (int i = 0; i < 20000; ++i) {
        TensorView source;
        Axes axes;
        source.ndim = axes.ndim = static_cast<int32_t>(random() % 9);
        axes.flags = static_cast<int32_t>(random() % 32);
        for (int32_t axis = 0; axis < axes.ndim; ++axis) {
            source.shape[axis] = static_cast<int64_t>(random() % 9);
            axes.reduced[axis] = random() % 2 == 0;
            axes.blocks[axis] = random() % 2 == 0 ? 0 : static_cast<int64_t>(random() % 12);
        }
        int32_t ndim = -1;
        int64_t shape[moeq::kMaxDims];
        moeq::amax::result_shape(axes, source.shape, &ndim, shape);
        ASSERT_EQ(std::vector<int64_t>(shape, shape + ndim), expected_shape(axes, source));
    }
}

Plan plan_of(int32_t operation, const std::vector<int64_t>& shape, const std::vector<int64_t>& strides,
             const std::vector<bool>& reduced, const std::vector<int64_t>& blocks = {})
{
    Axes axes;
    axes.operation = operation;
    axes.ndim = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) {
        axes.reduced[i] = reduced[i];
        axes.blocks[i] = blocks.empty() ? 0 : blocks[i];
    }
    const Tensor source = make_tensor(MOEQ_DTYPE_FP32, shape, strides);
    const std::vector<int64_t> out = expected_shape(axes, source.view);
    return moeq::amax::make_plan(source.view, axes, make_tensor(MOEQ_DTYPE_FP32, out, row_major(out)).view);
}

TEST(ReducePlan, ContiguousMemoryIsOneRun)
{
    const Plan all = plan_of(MOEQ_REDUCE_SUM, {4, 5, 6}, {30, 6, 1}, {true, true, true});
    EXPECT_EQ(all.reduced_count, 1);
    EXPECT_EQ(all.reduced[0].extent, 120);
    EXPECT_EQ(all.kept_count, 0);
    const Plan rows = plan_of(MOEQ_REDUCE_AMAX, {4, 5, 6}, {30, 6, 1}, {false, false, true});
    EXPECT_EQ(rows.kept_count, 1);
    EXPECT_EQ(rows.kept[0].extent, 20);
    EXPECT_EQ(rows.across.extent, 1);
    const Plan blocks = plan_of(MOEQ_REDUCE_AMAX, {4, 128}, {128, 1}, {false, false}, {1, 64});
    EXPECT_EQ(blocks.kept_count, 1);
    EXPECT_EQ(blocks.kept[0].extent, 8);
    EXPECT_EQ(blocks.reduced[0].extent, 64);
}

TEST(ReducePlan, OnlyAmaxFollowsMemoryInsteadOfLogicalOrder)
{
    const Plan amax = plan_of(MOEQ_REDUCE_AMAX, {6, 5}, {1, 6}, {true, true});
    EXPECT_EQ(amax.reduced_count, 1);
    EXPECT_EQ(amax.reduced[0].stride, 1);
    const Plan sum = plan_of(MOEQ_REDUCE_SUM, {6, 5}, {1, 6}, {true, true});
    EXPECT_EQ(sum.reduced_count, 2);
    EXPECT_EQ(sum.reduced[0].stride, 1);
    EXPECT_EQ(sum.reduced[1].stride, 6);
}

TEST(ReducePlan, LeadingAxesAreReducedSideBySide)
{
    const Plan columns = plan_of(MOEQ_REDUCE_SUM, {100, 7}, {7, 1}, {true, false});
    EXPECT_EQ(columns.across.extent, 7);
    EXPECT_EQ(columns.across.source_stride, 1);
    EXPECT_EQ(columns.kept_count, 0);
    const Plan middle = plan_of(MOEQ_REDUCE_AMAX, {3, 100, 7}, {700, 7, 1}, {false, true, false});
    EXPECT_EQ(middle.across.extent, 7);
    EXPECT_EQ(middle.kept_count, 1);
}

// Every element of every output once, from any starting point and in any number of pieces.
TEST(ReducePlan, CursorsVisitEachElementOnce)
{
    std::mt19937_64 random(8);
    for (int i = 0; i < 500; ++i) {
        std::vector<int64_t> shape(1 + random() % 4);
        std::vector<bool> reduced;
        std::vector<int64_t> blocks;
        for (int64_t& extent : shape) {
            extent = static_cast<int64_t>(1 + random() % 7);
            reduced.push_back(random() % 2 == 0);
            blocks.push_back(random() % 3 == 0 ? static_cast<int64_t>(1 + random() % 8) : 0);
        }
        const Plan plan = plan_of(MOEQ_REDUCE_SUM, shape, row_major(shape), reduced, blocks);
        int64_t elements = 1;
        for (const int64_t extent : shape)
            elements *= extent;
        std::vector<int> visits(static_cast<size_t>(elements), 0);
        std::vector<int> outputs(static_cast<size_t>(plan.outputs), 0);
        const int64_t columns = static_cast<int64_t>(1 + random() % 4);
        const int64_t tiles = moeq::amax::TileCursor::count(plan, columns);
        const int64_t piece = static_cast<int64_t>(1 + random() % 9);
        for (int64_t t = 0; t < tiles; ++t) {
            const moeq::amax::TileCursor cursor(plan, columns, t);
            const moeq::amax::Tile& tile = cursor.tile();
            for (int64_t column = 0; column < tile.width; ++column)
                ++outputs[static_cast<size_t>(tile.first_output + column)];
            for (int64_t begin = 0; begin < tile.elements; begin += piece) {
                moeq::amax::RunCursor runs(tile, begin, std::min(begin + piece, tile.elements));
                moeq::amax::Run run;
                while (runs.next(&run))
                    for (int64_t k = 0; k < run.count; ++k)
                        for (int64_t column = 0; column < tile.width; ++column)
                            ++visits[static_cast<size_t>(run.offset + k * run.stride + column * tile.source_stride)];
            }
        }
        EXPECT_EQ(visits, std::vector<int>(visits.size(), 1));
        EXPECT_EQ(outputs, std::vector<int>(outputs.size(), 1));
    }
}

} // namespace
