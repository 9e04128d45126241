// Reductions through the public ABI: results, shapes, flags, destinations, and what is refused with which words.
#include <gtest/gtest.h>

#include <cmath>

#include "reduce_calls.h"

namespace {

using namespace reduce_calls;

TEST_F(Reduce, AmaxAndSumOverEachAxis)
{
    HostTensor source(MOEQ_DTYPE_FP32, {2, 3});
    set<float>(source, {1, -2, 3, -40, 5, 0.5f});
    HostTensor scalar(MOEQ_DTYPE_FP32, {});
    EXPECT_EQ(moeq_reduce(context, source, nullptr, nullptr, scalar, &error), MOEQ_OK) << error.message;
    EXPECT_EQ(values_of<float>(scalar), std::vector<float>({40}));
    HostTensor rows(MOEQ_DTYPE_FP32, {2});
    EXPECT_EQ(reduce(source, Options().over({-1}), rows), MOEQ_OK) << error.message;
    EXPECT_EQ(values_of<float>(rows), std::vector<float>({3, 40}));
    EXPECT_EQ(reduce(source, Options(MOEQ_REDUCE_SUM).over({1}), rows), MOEQ_OK);
    EXPECT_EQ(values_of<float>(rows), std::vector<float>({2, -34.5f}));
    HostTensor columns(MOEQ_DTYPE_FP64, {1, 3});
    EXPECT_EQ(reduce(source, Options(MOEQ_REDUCE_SUM, MOEQ_REDUCE_KEEP_AXES).over({0}), columns), MOEQ_OK);
    EXPECT_EQ(values_of<double>(columns), std::vector<double>({-39, 3, 3.5}));
}

TEST_F(Reduce, AnEmptyListOfAxesReducesNoneUnlessTold)
{
    HostTensor source(MOEQ_DTYPE_FP32, {3});
    set<float>(source, {-1, 2, -3});
    HostTensor same(MOEQ_DTYPE_FP32, {3});
    EXPECT_EQ(reduce(source, Options().over({}), same), MOEQ_OK) << error.message;
    EXPECT_EQ(values_of<float>(same), std::vector<float>({1, 2, 3}));
    HostTensor scalar(MOEQ_DTYPE_FP32, {});
    expect_error(reduce(source, Options().over({}), scalar), MOEQ_ERROR_SHAPE, 5, "got shape []; want [3]");
    EXPECT_EQ(reduce(source, Options(0, MOEQ_REDUCE_EMPTY_IS_ALL).over({}), scalar), MOEQ_OK) << error.message;
    EXPECT_EQ(values_of<float>(scalar), std::vector<float>({3}));
}

TEST_F(Reduce, Shapes)
{
    EXPECT_EQ(shape_of({4, 5, 6}, Options()), Shape({}));
    EXPECT_EQ(shape_of({4, 5, 6}, Options(0, MOEQ_REDUCE_KEEP_AXES)), Shape({1, 1, 1}));
    EXPECT_EQ(shape_of({4, 5, 6}, Options(0, MOEQ_REDUCE_KEEP_AXES | MOEQ_REDUCE_SQUEEZE_SCALAR)), Shape({}));
    EXPECT_EQ(shape_of({1, 5}, Options().over({1})), Shape({1}));
    EXPECT_EQ(shape_of({1, 5}, Options(0, MOEQ_REDUCE_SQUEEZE_SCALAR).over({1})), Shape({}));
    EXPECT_EQ(shape_of({4, 5, 6}, Options(0, MOEQ_REDUCE_KEEP_AXES).over({-1, 0})), Shape({1, 5, 1}));
    // Blocks: a length takes its axis out of `axes`; 0 leaves it there; a last block may be short.
    EXPECT_EQ(shape_of({4, 300, 257}, Options().in_blocks({1, 128, 128})), Shape({4, 3, 3}));
    EXPECT_EQ(shape_of({4, 300, 257}, Options().in_blocks({0, 128, 128})), Shape({3, 3}));
    EXPECT_EQ(shape_of({4, 300, 257}, Options().over({1, 2}).in_blocks({0, 128, 128})), Shape({4, 3, 3}));
    EXPECT_EQ(shape_of({4, 300, 257}, Options(0, MOEQ_REDUCE_KEEP_AXES).over({0}).in_blocks({0, 0, 1000})),
              Shape({1, 300, 1}));
    EXPECT_EQ(shape_of({0, 300}, Options().over({}).in_blocks({7, 7})), Shape({0, 43}));
    EXPECT_EQ(shape_of({}, Options()), Shape({}));

    int32_t ndim = 0;
    int64_t shape[8] = {1, -1};
    expect_error(moeq_reduce_shape(2, shape, nullptr, &ndim, shape, &error), MOEQ_ERROR_SHAPE, 2,
                 "got extent -1 on axis 1");
    expect_error(moeq_reduce_shape(9, shape, nullptr, &ndim, shape, &error), MOEQ_ERROR_SHAPE, 1, "want 0 to 8");
    expect_error(moeq_reduce_shape(1, nullptr, nullptr, &ndim, shape, &error), MOEQ_ERROR_ARGUMENT, 2, "NULL");
    expect_error(moeq_reduce_shape(1, shape, nullptr, nullptr, shape, &error), MOEQ_ERROR_ARGUMENT, 4, "NULL");
    expect_error(moeq_reduce_shape(1, shape, nullptr, &ndim, nullptr, &error), MOEQ_ERROR_ARGUMENT, 5, "NULL");
}

TEST_F(Reduce, BlocksOfBothAxesWithAShortLastOne)
{
    HostTensor source(MOEQ_DTYPE_BF16, {5, 7});
    for (int i = 0; i < 35; ++i)
        source.as<uint16_t>()[i] = static_cast<uint16_t>(0x3F80 + i); // rising
    source.as<uint16_t>()[2 * 7 + 3] = 0xC2C8;                        // -100
    HostTensor tiles(MOEQ_DTYPE_BF16, {3, 2});
    EXPECT_EQ(reduce(source, Options().in_blocks({2, 4}), tiles), MOEQ_OK) << error.message;
    const auto at = [&](int row, int column) { return source.as<uint16_t>()[row * 7 + column]; };
    EXPECT_EQ(values_of<uint16_t>(tiles),
              std::vector<uint16_t>({at(1, 3), at(1, 6), 0x42C8, at(3, 6), at(4, 3), at(4, 6)}));
}

TEST_F(Reduce, StridedTurnedAndOffsetSourcesAndDestinations)
{
    HostTensor source(MOEQ_DTYPE_FP32, {3, 4}, {1, 3}); // transposed
    for (int i = 0; i < 12; ++i)
        source.as<float>()[i] = static_cast<float>(i % 3 * 100 + i / 3); // [r][c] = 100 r + c
    int64_t turned[2] = {1, -3};
    source.plain().strides = turned;
    source.plain().byte_offset = 9 * sizeof(float); // columns from the last to the first
    HostTensor destination(MOEQ_DTYPE_FP32, {3}, {5});
    EXPECT_EQ(reduce(source, Options(MOEQ_REDUCE_SUM).over({1}), destination), MOEQ_OK) << error.message;
    EXPECT_EQ(destination.as<float>()[0], 6);
    EXPECT_EQ(destination.as<float>()[5], 406);
    EXPECT_EQ(destination.as<float>()[10], 806);
    EXPECT_EQ(destination.as<float>()[1], 0); // between the elements nothing is written
    HostTensor columns(MOEQ_DTYPE_FP32, {4});
    EXPECT_EQ(reduce(source, Options().over({0}), columns), MOEQ_OK) << error.message;
    EXPECT_EQ(values_of<float>(columns), std::vector<float>({203, 202, 201, 200}));
}

TEST_F(Reduce, IntegersAreWidenedSaturatedOrWrapped)
{
    HostTensor source(MOEQ_DTYPE_INT8, {2});
    set<int8_t>(source, {-128, 5});
    HostTensor real(MOEQ_DTYPE_FP32, {});
    EXPECT_EQ(reduce(source, Options(), real), MOEQ_OK) << error.message;
    EXPECT_EQ(real.as<float>()[0], 128.0f);
    HostTensor wide(MOEQ_DTYPE_INT64, {});
    EXPECT_EQ(reduce(source, Options(), wide), MOEQ_OK) << error.message;
    EXPECT_EQ(wide.as<int64_t>()[0], 128);
    HostTensor own(MOEQ_DTYPE_INT8, {});
    EXPECT_EQ(reduce(source, Options(), own), MOEQ_OK) << error.message;
    EXPECT_EQ(own.as<int8_t>()[0], 127);
    EXPECT_EQ(reduce(source, Options(0, MOEQ_REDUCE_WRAP_INTEGERS), own), MOEQ_OK);
    EXPECT_EQ(own.as<int8_t>()[0], 5);

    HostTensor longs(MOEQ_DTYPE_INT64, {2});
    set<int64_t>(longs, {INT64_MIN, -1});
    EXPECT_EQ(reduce(longs, Options(), wide), MOEQ_OK);
    EXPECT_EQ(wide.as<int64_t>()[0], INT64_MAX);
    EXPECT_EQ(reduce(longs, Options(), real), MOEQ_OK);
    EXPECT_EQ(real.as<float>()[0], 0x1p63f);
    EXPECT_EQ(reduce(longs, Options(MOEQ_REDUCE_SUM), wide), MOEQ_OK);
    EXPECT_EQ(wide.as<int64_t>()[0], INT64_MAX); // two's complement

    HostTensor bytes(MOEQ_DTYPE_UINT8, {300});
    std::fill_n(bytes.as<uint8_t>(), 300, uint8_t{255});
    HostTensor byte(MOEQ_DTYPE_UINT8, {});
    EXPECT_EQ(reduce(bytes, Options(MOEQ_REDUCE_SUM), wide), MOEQ_OK);
    EXPECT_EQ(wide.as<int64_t>()[0], 76500);
    EXPECT_EQ(reduce(bytes, Options(MOEQ_REDUCE_SUM), byte), MOEQ_OK);
    EXPECT_EQ(byte.as<uint8_t>()[0], 255);
    EXPECT_EQ(reduce(bytes, Options(MOEQ_REDUCE_SUM, MOEQ_REDUCE_WRAP_INTEGERS), byte), MOEQ_OK);
    EXPECT_EQ(byte.as<uint8_t>()[0], 76500 % 256);
}

TEST_F(Reduce, NanAndInfShowInTheResultAndInTheStatusWord)
{
    HostTensor source(MOEQ_DTYPE_FP32, {3, 2});
    set<float>(source, {1, -kInf, kNaN, 2, 3, 4});
    HostTensor rows(MOEQ_DTYPE_FP32, {3});
    uint32_t word = 0x100; // other bits stay
    Options options;
    options.over({1}).status_word = &word;
    EXPECT_EQ(reduce(source, options, rows), MOEQ_OK) << error.message;
    EXPECT_EQ(rows.as<float>()[0], kInf);
    EXPECT_TRUE(std::isnan(rows.as<float>()[1]));
    EXPECT_EQ(rows.as<uint32_t>()[1], 0x7FC00000u);
    EXPECT_EQ(rows.as<float>()[2], 4);
    EXPECT_EQ(word, 0x100u | MOEQ_SEEN_NAN | MOEQ_SEEN_INF);

    set<float>(source, {1, -kInf, kInf, -kInf, 3, 4});
    word = 0;
    options.operation = MOEQ_REDUCE_SUM;
    EXPECT_EQ(reduce(source, options, rows), MOEQ_OK) << error.message;
    EXPECT_EQ(rows.as<float>()[0], -kInf);
    EXPECT_EQ(rows.as<uint32_t>()[1], 0x7FC00000u); // Inf - Inf, the same NaN on every processor
    EXPECT_EQ(word, uint32_t{MOEQ_SEEN_NAN | MOEQ_SEEN_INF});

    HostTensor codes(MOEQ_DTYPE_FP8_E4M3FN, {2});
    set<uint8_t>(codes, {0xFF, 0x7E});
    HostTensor one(MOEQ_DTYPE_FP8_E4M3FN, {});
    word = 0;
    options.axes = nullptr;
    options.axis_count = 0;
    options.operation = MOEQ_REDUCE_AMAX;
    EXPECT_EQ(reduce(codes, options, one), MOEQ_OK) << error.message;
    EXPECT_EQ(one.as<uint8_t>()[0], 0x7F);
    EXPECT_EQ(word, uint32_t{MOEQ_SEEN_NAN});
}

TEST_F(Reduce, AccumulatesIntoWhatIsThere)
{
    HostTensor source(MOEQ_DTYPE_BF16, {2, 2});
    set<uint16_t>(source, {0x3F80, 0xC000, 0x4040, 0x0000}); // 1 -2 / 3 0
    HostTensor running(MOEQ_DTYPE_FP32, {2});
    set<float>(running, {5, 1});
    EXPECT_EQ(reduce(source, Options(0, MOEQ_REDUCE_ACCUMULATE).over({1}), running), MOEQ_OK) << error.message;
    EXPECT_EQ(values_of<float>(running), std::vector<float>({5, 3}));
    EXPECT_EQ(reduce(source, Options(MOEQ_REDUCE_SUM, MOEQ_REDUCE_ACCUMULATE).over({1}), running), MOEQ_OK);
    EXPECT_EQ(values_of<float>(running), std::vector<float>({4, 6}));
    // 0-d views of single experts in one tensor.
    HostTensor slot(MOEQ_DTYPE_FP32, {});
    slot.plain().data = running.memory().data();
    slot.plain().byte_offset = sizeof(float);
    EXPECT_EQ(reduce(source, Options(0, MOEQ_REDUCE_ACCUMULATE), slot), MOEQ_OK) << error.message;
    EXPECT_EQ(values_of<float>(running), std::vector<float>({4, 6}));
}

TEST_F(Reduce, NothingHasASumButNoAmax)
{
    HostTensor empty(MOEQ_DTYPE_FP32, {0, 3});
    HostTensor columns(MOEQ_DTYPE_FP32, {3});
    columns.as<float>()[1] = -7;
    EXPECT_EQ(reduce(empty, Options(MOEQ_REDUCE_SUM).over({0}), columns), MOEQ_OK) << error.message;
    EXPECT_EQ(values_of<float>(columns), std::vector<float>({0, 0, 0}));
    columns.as<float>()[1] = -7;
    expect_error(reduce(empty, Options().over({0}), columns), MOEQ_ERROR_SHAPE, 2,
                 "got shape [0, 3], of which there is no amax");
    EXPECT_EQ(reduce(empty, Options(0, MOEQ_REDUCE_ACCUMULATE).over({0}), columns), MOEQ_OK) << error.message;
    EXPECT_EQ(columns.as<float>()[1], -7); // an expert without tokens
    HostTensor rows(MOEQ_DTYPE_FP32, {0});
    EXPECT_EQ(reduce(empty, Options().over({1}), rows), MOEQ_OK) << error.message; // an empty destination
    // Extents that would overflow if they were multiplied in order.
    HostTensor huge(MOEQ_DTYPE_FP32, {0, 0, 0});
    int64_t extents[3] = {int64_t{1} << 40, int64_t{1} << 40, 0};
    huge.plain().shape = extents;
    HostTensor scalar(MOEQ_DTYPE_FP32, {});
    scalar.as<float>()[0] = 3;
    EXPECT_EQ(reduce(huge, Options(MOEQ_REDUCE_SUM), scalar), MOEQ_OK) << error.message;
    EXPECT_EQ(scalar.as<float>()[0], 0);
}

TEST_F(Reduce, WrongCallsSayWhatIsWrong)
{
    HostTensor source(MOEQ_DTYPE_FP32, {2, 3});
    HostTensor rows(MOEQ_DTYPE_FP32, {2});
    const Options over_rows = Options().over({1});
    expect_error(moeq_reduce(nullptr, source, nullptr, nullptr, rows, &error), MOEQ_ERROR_ARGUMENT, 1,
                 "context: got NULL");
    expect_error(moeq_reduce(context, nullptr, nullptr, nullptr, rows, &error), MOEQ_ERROR_ARGUMENT, 2,
                 "source: got NULL");
    expect_error(moeq_reduce(context, source, nullptr, nullptr, nullptr, &error), MOEQ_ERROR_ARGUMENT, 5,
                 "destination: got NULL");
    int stream = 0;
    expect_error(moeq_reduce(context, source, &over_rows, &stream, rows, &error), MOEQ_ERROR_ARGUMENT, 4, "stream");
    expect_error(reduce(source, Options().over({2}), rows), MOEQ_ERROR_ARGUMENT, 3, "axis 2 of 2 dimensions");
    expect_error(reduce(source, Options().over({1, -1}), rows), MOEQ_ERROR_ARGUMENT, 3, "twice");
    expect_error(reduce(source, Options(2), rows), MOEQ_ERROR_ARGUMENT, 3, "operation 2");
    expect_error(reduce(source, Options(0, 64), rows), MOEQ_ERROR_ARGUMENT, 3, "flags 64");
    expect_error(reduce(source, Options().in_blocks({-3, 0}), rows), MOEQ_ERROR_ARGUMENT, 3, "length -3 for axis 0");
    Options small;
    small.struct_size = 8;
    expect_error(reduce(source, small, rows), MOEQ_ERROR_VERSION, 3, "struct_size 8");
    HostTensor columns(MOEQ_DTYPE_FP32, {3});
    expect_error(reduce(source, over_rows, columns), MOEQ_ERROR_SHAPE, 5, "got shape [3]; want [2]");
    HostTensor halves(MOEQ_DTYPE_FP16, {2});
    expect_error(reduce(source, over_rows, halves), MOEQ_ERROR_DTYPE, 5, "want fp32 or fp64");
    HostTensor longs(MOEQ_DTYPE_INT64, {2});
    expect_error(reduce(source, over_rows, longs), MOEQ_ERROR_DTYPE, 5, "got int64");
    HostTensor words(0x11001, {2, 3}); // uint16
    expect_error(reduce(words, over_rows, rows), MOEQ_ERROR_DTYPE, 2, "uint16");
    rows->flags = 1; // read-only
    expect_error(reduce(source, over_rows, rows), MOEQ_ERROR_READ_ONLY, 5, "read-only");
    rows->flags = 0;
    rows.plain().data = source.plain().data;
    expect_error(reduce(source, over_rows, rows), MOEQ_ERROR_LAYOUT, 5, "overlaps source");
    HostTensor folded(MOEQ_DTYPE_FP32, {2}, {1});
    int64_t zero = 0;
    folded.plain().strides = &zero;
    expect_error(reduce(source, over_rows, folded), MOEQ_ERROR_LAYOUT, 5, "an address of its own");
    EXPECT_EQ(moeq_reduce(context, source, nullptr, nullptr, nullptr, nullptr), MOEQ_ERROR_ARGUMENT); // without err
}

TEST_F(Reduce, HotCallsDoNotAllocate)
{
    HostTensor source(MOEQ_DTYPE_FP32, {700, 1000});
    source.fill();
    HostTensor rows(MOEQ_DTYPE_FP32, {700});
    HostTensor columns(MOEQ_DTYPE_FP32, {1000});
    HostTensor one(MOEQ_DTYPE_FP32, {1});
    const int64_t before = hooks.allocations();
    EXPECT_EQ(reduce(source, Options().over({1}), rows), MOEQ_OK);
    EXPECT_EQ(reduce(source, Options(MOEQ_REDUCE_SUM).over({0}), columns), MOEQ_OK);
    EXPECT_EQ(reduce(source, Options(0, MOEQ_REDUCE_KEEP_AXES | MOEQ_REDUCE_SQUEEZE_SCALAR), one), MOEQ_ERROR_SHAPE);
    const DLManagedTensorVersioned* sources[1] = {source};
    EXPECT_EQ(moeq_reduce_many(context, sources, 1, nullptr, nullptr, one, nullptr), MOEQ_OK);
    moeq_spec spec{};
    spec.struct_size = sizeof spec;
    spec.format = MOEQ_FORMAT_INT8;
    HostTensor scales(MOEQ_DTYPE_FP32, {700});
    EXPECT_EQ(moeq_scale_from_amax(context, rows, &spec, nullptr, scales, nullptr), MOEQ_OK);
    EXPECT_EQ(hooks.allocations(), before);
    EXPECT_EQ(source.deleted + rows.deleted + columns.deleted, 0); // borrowed
}

} // namespace
