// Reductions through the public ABI: results, shapes, flags, destinations, and what is refused with which words.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cfenv>
#include <cmath>
#include <limits>
#include <string>

#include "support/hooks.h"
#include "support/host_tensor.h"

namespace {

using moeq_test::Bytes;
using moeq_test::HostExecutor;
using moeq_test::Hooks;
using moeq_test::HostTensor;
using moeq_test::Shape;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Options : moeq_reduce_options {
    explicit Options(int32_t wanted_operation = MOEQ_REDUCE_AMAX, int32_t wanted_flags = 0) : moeq_reduce_options{}
    {
        struct_size = sizeof(moeq_reduce_options);
        operation = wanted_operation;
        flags = wanted_flags;
    }
    Options(const Options& other) : moeq_reduce_options(other), axis_list(other.axis_list), lengths(other.lengths)
    {
        axes = other.axes == nullptr ? nullptr : axis_list.data();
        blocks = other.blocks == nullptr ? nullptr : lengths.data();
    }
    Options& over(std::initializer_list<int32_t> list)
    {
        std::copy(list.begin(), list.end(), axis_list.begin());
        axes = axis_list.data();
        axis_count = static_cast<int32_t>(list.size());
        return *this;
    }
    Options& in_blocks(std::initializer_list<int64_t> list)
    {
        std::copy(list.begin(), list.end(), lengths.begin());
        blocks = lengths.data();
        return *this;
    }
    std::array<int32_t, 8> axis_list{};
    std::array<int64_t, 8> lengths{};
};

class Reduce : public testing::Test {
protected:
    void SetUp() override
    {
        moeq_context_options options = hooks.options();
        ASSERT_EQ(moeq_context_create(&options, &context, nullptr), MOEQ_OK);
    }
    void TearDown() override
    {
        moeq_context_destroy(context);
        moeq_test::expect_all_returned(hooks);
    }
    moeq_status reduce(HostTensor& source, const Options& options, HostTensor& destination)
    {
        error = {};
        return moeq_reduce(context, source, &options, nullptr, destination, &error);
    }
    void expect_error(moeq_status status, moeq_status wanted, int32_t argument, const std::string& part)
    {
        EXPECT_EQ(status, wanted) << error.message;
        EXPECT_EQ(error.status, wanted);
        EXPECT_EQ(error.argument, argument) << error.message;
        EXPECT_NE(std::string(error.message).find(part), std::string::npos) << error.message;
    }

    Hooks hooks;
    moeq_context* context = nullptr;
    moeq_error error{};
};

template <class T>
void set(HostTensor& tensor, std::initializer_list<T> values)
{
    ASSERT_EQ(values.size() * sizeof(T), tensor.memory().size());
    std::copy(values.begin(), values.end(), tensor.as<T>());
}
template <class T>
std::vector<T> values_of(HostTensor& tensor)
{
    return {tensor.as<T>(), tensor.as<T>() + tensor.memory().size() / sizeof(T)};
}

Shape shape_of(const Shape& shape, const Options& options)
{
    int32_t ndim = -1;
    int64_t out[8] = {};
    EXPECT_EQ(moeq_reduce_shape(static_cast<int32_t>(shape.size()), shape.data(), &options, &ndim, out, nullptr), MOEQ_OK);
    return Shape(out, out + ndim);
}

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
    EXPECT_EQ(shape_of({4, 300, 257}, Options(0, MOEQ_REDUCE_KEEP_AXES).over({0}).in_blocks({0, 0, 1000})), Shape({1, 300, 1}));
    EXPECT_EQ(shape_of({0, 300}, Options().over({}).in_blocks({7, 7})), Shape({0, 43}));
    EXPECT_EQ(shape_of({}, Options()), Shape({}));

    int32_t ndim = 0;
    int64_t shape[8] = {1, -1};
    expect_error(moeq_reduce_shape(2, shape, nullptr, &ndim, shape, &error), MOEQ_ERROR_SHAPE, 2, "got extent -1 on axis 1");
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
    source.as<uint16_t>()[2 * 7 + 3] = 0xC2C8; // -100
    HostTensor tiles(MOEQ_DTYPE_BF16, {3, 2});
    EXPECT_EQ(reduce(source, Options().in_blocks({2, 4}), tiles), MOEQ_OK) << error.message;
    const auto at = [&](int row, int column) { return source.as<uint16_t>()[row * 7 + column]; };
    EXPECT_EQ(values_of<uint16_t>(tiles), std::vector<uint16_t>({at(1, 3), at(1, 6), 0x42C8, at(3, 6), at(4, 3), at(4, 6)}));
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
    expect_error(reduce(empty, Options().over({0}), columns), MOEQ_ERROR_SHAPE, 2, "got shape [0, 3], of which there is no amax");
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
    expect_error(moeq_reduce(nullptr, source, nullptr, nullptr, rows, &error), MOEQ_ERROR_ARGUMENT, 1, "context: got NULL");
    expect_error(moeq_reduce(context, nullptr, nullptr, nullptr, rows, &error), MOEQ_ERROR_ARGUMENT, 2, "source: got NULL");
    expect_error(moeq_reduce(context, source, nullptr, nullptr, nullptr, &error), MOEQ_ERROR_ARGUMENT, 5, "destination: got NULL");
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
    expect_error(reduce(words, over_rows, rows), MOEQ_ERROR_DTYPE, 2, "another type");
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

// ---- The same bytes from everywhere ----

Bytes reduce_all_ways(const moeq_context* context)
{
    Bytes all;
    const auto add = [&](int32_t dtype, const Shape& shape, const Options& options) {
        HostTensor source(dtype, shape);
        source.fill(7);
        HostTensor destination(dtype, shape_of(shape, options));
        EXPECT_EQ(moeq_reduce(context, source, &options, nullptr, destination, nullptr), MOEQ_OK);
        moeq_test::append(all, destination.memory());
    };
    for (const int32_t dtype : {MOEQ_DTYPE_FP32, MOEQ_DTYPE_FP16, MOEQ_DTYPE_BF16})
        for (const int32_t operation : {MOEQ_REDUCE_AMAX, MOEQ_REDUCE_SUM}) {
            add(dtype, {1000, 999}, Options(operation));
            add(dtype, {1000, 999}, Options(operation).over({0}));
            add(dtype, {1000, 999}, Options(operation).over({1}));
            add(dtype, {3, 1000, 333}, Options(operation).over({0, 1}));
            add(dtype, {1000, 999}, Options(operation).in_blocks({128, 128}));
            add(dtype, {700001}, Options(operation).in_blocks({64}));
            add(dtype, {700001}, Options(operation).in_blocks({300000}));
        }
    return all;
}

TEST(ReduceDeterminism, ThreadsExecutorsAndTiersGiveTheSameBytes)
{
    const auto with = [](moeq_context_options options) {
        moeq_context* context = nullptr;
        EXPECT_EQ(moeq_context_create(&options, &context, nullptr), MOEQ_OK);
        const Bytes bytes = reduce_all_ways(context);
        moeq_context_destroy(context);
        return bytes;
    };
    moeq_context_options options{};
    options.struct_size = sizeof options;
    options.thread_limit = 1;
    options.cpu_tier = MOEQ_CPU_TIER_SCALAR;
    const Bytes expected = with(options);
    for (const int32_t tier : {MOEQ_CPU_TIER_BEST, MOEQ_CPU_TIER_AVX2})
        for (const int32_t threads : {1, 2, 5}) {
            options.thread_limit = threads;
            options.cpu_tier = tier;
            moeq_context* context = nullptr;
            if (moeq_context_create(&options, &context, nullptr) == MOEQ_ERROR_UNSUPPORTED)
                continue; // this machine has no such tier
            moeq_context_destroy(context);
            EXPECT_TRUE(with(options) == expected) << "tier " << tier << ", threads " << threads;
        }
    HostExecutor executor;
    executor.how = [](moeq_task_fn run, void* task, int64_t count) {
        for (int64_t i = count; i-- > 0;)
            if (i % 2 == 0)
                run(i, task);
        for (int64_t i = 0; i < count; ++i)
            if (i % 2 == 1)
                run(i, task);
        return MOEQ_CONTINUE;
    };
    EXPECT_TRUE(with(executor.options()) == expected);
    EXPECT_GT(executor.uses, 0);
}

TEST(ReduceDeterminism, TheHostsRoundingModeNeitherMattersNorChanges)
{
    moeq_context* context = nullptr;
    ASSERT_EQ(moeq_context_create(nullptr, &context, nullptr), MOEQ_OK);
    const Bytes expected = reduce_all_ways(context);
    ASSERT_EQ(std::fesetround(FE_UPWARD), 0);
    const Bytes upward = reduce_all_ways(context);
    EXPECT_EQ(std::fegetround(), FE_UPWARD);
    std::fesetround(FE_TONEAREST);
    EXPECT_TRUE(upward == expected);
    moeq_context_destroy(context);
}

TEST(ReduceExecutor, AFailingOneIsReported)
{
    HostExecutor executor;
    const moeq_context_options options = executor.options();
    moeq_context* context = nullptr;
    ASSERT_EQ(moeq_context_create(&options, &context, nullptr), MOEQ_OK);
    executor.how = [](moeq_task_fn, void*, int64_t) { return 0; };
    HostTensor source(MOEQ_DTYPE_FP32, {2000, 1000});
    HostTensor destination(MOEQ_DTYPE_FP32, {2000});
    const Options rows = Options().over({1});
    moeq_error error{};
    EXPECT_EQ(moeq_reduce(context, source, &rows, nullptr, destination, &error), MOEQ_ERROR_CALLBACK);
    EXPECT_NE(std::string(error.message).find("parallel_for returned 0"), std::string::npos) << error.message;
    HostTensor scalar(MOEQ_DTYPE_FP32, {});
    EXPECT_EQ(moeq_reduce(context, source, nullptr, nullptr, scalar, &error), MOEQ_ERROR_CALLBACK);
    moeq_context_destroy(context);
}

// ---- More than 2^31 elements, over memory that is not there until it is written ----

TEST_F(Reduce, MoreElementsThan32BitsCount)
{
    constexpr int64_t kCount = (int64_t{1} << 31) + 12;
    void* memory = mmap(nullptr, kCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    auto* bytes = static_cast<int8_t*>(memory);
    bytes[kCount - 1] = -128;
    bytes[kCount / 2] = 100;
    HostTensor source(MOEQ_DTYPE_INT8, {0});
    int64_t shape[2] = {2, kCount / 2};
    int64_t strides[2] = {kCount / 2, 1};
    source.plain().data = memory;
    source.plain().ndim = 1;
    source.plain().shape = shape + 1;
    source.plain().strides = strides + 1;
    shape[1] = kCount;
    HostTensor scalar(MOEQ_DTYPE_INT64, {});
    EXPECT_EQ(reduce(source, Options(), scalar), MOEQ_OK) << error.message;
    EXPECT_EQ(scalar.as<int64_t>()[0], 128);
    EXPECT_EQ(reduce(source, Options(MOEQ_REDUCE_SUM), scalar), MOEQ_OK) << error.message;
    EXPECT_EQ(scalar.as<int64_t>()[0], -28);
    source.plain().ndim = 2;
    source.plain().shape = shape;
    source.plain().strides = strides;
    shape[1] = kCount / 2;
    HostTensor rows(MOEQ_DTYPE_INT64, {2});
    EXPECT_EQ(reduce(source, Options(MOEQ_REDUCE_AMAX).over({1}), rows), MOEQ_OK) << error.message;
    EXPECT_EQ(values_of<int64_t>(rows), std::vector<int64_t>({0, 128}));
    HostTensor blocks(MOEQ_DTYPE_INT64, {2, 3});
    EXPECT_EQ(reduce(source, Options().in_blocks({1, 500000000}), blocks), MOEQ_OK) << error.message;
    EXPECT_EQ(values_of<int64_t>(blocks), std::vector<int64_t>({0, 0, 0, 100, 0, 128}));
    munmap(memory, kCount);
}

// ---- Many sources ----

TEST_F(Reduce, ManySourcesOfAnyTypeAndSizeToOneNumberEach)
{
    HostTensor small(MOEQ_DTYPE_FP32, {3});
    set<float>(small, {1, -2, 0.5f});
    HostTensor scalar(MOEQ_DTYPE_BF16, {});
    scalar.as<uint16_t>()[0] = 0xC040; // -3
    HostTensor integers(MOEQ_DTYPE_INT8, {2, 2});
    set<int8_t>(integers, {-128, 1, 2, 3});
    HostTensor big(MOEQ_DTYPE_FP16, {3000, 1000});
    big.fill(3);
    big.as<uint16_t>()[1234567] = 0xFBFF; // -65504
    const DLManagedTensorVersioned* sources[4] = {small, scalar, integers, big};
    HostTensor out(MOEQ_DTYPE_FP32, {4}, {3});
    EXPECT_EQ(moeq_reduce_many(context, sources, 4, nullptr, nullptr, out, &error), MOEQ_OK) << error.message;
    EXPECT_EQ(out.as<float>()[0], 2);
    EXPECT_EQ(out.as<float>()[3], 3);
    EXPECT_EQ(out.as<float>()[6], 128);
    EXPECT_EQ(out.as<float>()[9], 65504);
    const Options sums(MOEQ_REDUCE_SUM, MOEQ_REDUCE_ACCUMULATE);
    HostTensor running(MOEQ_DTYPE_FP64, {3});
    set<double>(running, {0.25, 10, 1000});
    EXPECT_EQ(moeq_reduce_many(context, sources, 3, &sums, nullptr, running, &error), MOEQ_OK) << error.message;
    EXPECT_EQ(values_of<double>(running), std::vector<double>({-0.25, 7, 878}));
    HostTensor alone(MOEQ_DTYPE_FP32, {});
    HostTensor many(MOEQ_DTYPE_FP32, {4});
    const Options sum(MOEQ_REDUCE_SUM);
    EXPECT_EQ(moeq_reduce_many(context, sources, 4, &sum, nullptr, many, &error), MOEQ_OK) << error.message;
    EXPECT_EQ(reduce(big, sum, alone), MOEQ_OK);
    EXPECT_EQ(many.as<float>()[3], alone.as<float>()[0]);
    EXPECT_EQ(many.as<float>()[0], -0.5f);
    EXPECT_EQ(many.as<float>()[2], -122);
    HostTensor none(MOEQ_DTYPE_FP32, {0});
    EXPECT_EQ(moeq_reduce_many(context, nullptr, 0, nullptr, nullptr, none, &error), MOEQ_OK) << error.message;
}

TEST_F(Reduce, ManySourcesAreCheckedBeforeAnythingIsWritten)
{
    HostTensor good(MOEQ_DTYPE_FP32, {3});
    good.as<float>()[0] = 1;
    HostTensor empty(MOEQ_DTYPE_FP32, {0});
    HostTensor integers(MOEQ_DTYPE_INT8, {1});
    HostTensor out(MOEQ_DTYPE_FP32, {2});
    const auto many = [&](const DLManagedTensorVersioned* second, const Options& options, HostTensor& destination) {
        const DLManagedTensorVersioned* sources[2] = {good, second};
        error = {};
        return moeq_reduce_many(context, sources, 2, &options, nullptr, destination, &error);
    };
    expect_error(many(nullptr, Options(), out), MOEQ_ERROR_ARGUMENT, 2, "sources[1]: got NULL");
    expect_error(many(empty, Options(), out), MOEQ_ERROR_SHAPE, 2, "sources[1]: got shape [0]");
    expect_error(many(out, Options(), out), MOEQ_ERROR_LAYOUT, 6, "overlaps sources[1]");
    EXPECT_EQ(out.as<float>()[0], 0);
    EXPECT_EQ(many(empty, Options(0, MOEQ_REDUCE_ACCUMULATE), out), MOEQ_OK) << error.message;
    EXPECT_EQ(values_of<float>(out), std::vector<float>({1, 0}));
    HostTensor wide(MOEQ_DTYPE_INT64, {2});
    expect_error(many(integers, Options(), wide), MOEQ_ERROR_DTYPE, 6, "got int64 for sources[0] of fp32");
    HostTensor three(MOEQ_DTYPE_FP32, {3});
    expect_error(many(integers, Options(), three), MOEQ_ERROR_SHAPE, 6, "got shape [3]; want [2]");
    expect_error(many(integers, Options().over({0}), out), MOEQ_ERROR_ARGUMENT, 4, "got axes");
    expect_error(many(integers, Options().in_blocks({1}), out), MOEQ_ERROR_ARGUMENT, 4, "got blocks");
    expect_error(many(integers, Options(0, MOEQ_REDUCE_KEEP_AXES), out), MOEQ_ERROR_ARGUMENT, 4, "flags 1");
    expect_error(moeq_reduce_many(context, nullptr, -1, nullptr, nullptr, out, &error), MOEQ_ERROR_ARGUMENT, 3, "got -1");
    expect_error(moeq_reduce_many(context, nullptr, 1, nullptr, nullptr, out, &error), MOEQ_ERROR_ARGUMENT, 2, "NULL");
}

// ---- Axes and scales ----

TEST_F(Reduce, AxesThatAreNotKept)
{
    const auto axes = [&](int32_t ndim, const std::vector<int32_t>& kept) {
        int32_t out[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
        int32_t count = -1;
        const int32_t none = 0;
        EXPECT_EQ(moeq_reduce_axes(ndim, kept.empty() ? &none : kept.data(), static_cast<int32_t>(kept.size()), out, &count, &error),
                  MOEQ_OK)
            << error.message;
        return std::vector<int32_t>(out, out + count);
    };
    EXPECT_EQ(axes(3, {0}), std::vector<int32_t>({1, 2}));
    EXPECT_EQ(axes(3, {-1, 0}), std::vector<int32_t>({1}));
    EXPECT_EQ(axes(3, {2, 1, 0}), std::vector<int32_t>({}));
    EXPECT_EQ(axes(2, {}), std::vector<int32_t>({0, 1}));
    int32_t out[8];
    int32_t count = -1;
    EXPECT_EQ(moeq_reduce_axes(2, nullptr, 0, out, &count, nullptr), MOEQ_OK);
    EXPECT_EQ(count, 2);
    EXPECT_EQ(moeq_reduce_axes(0, nullptr, 0, nullptr, &count, nullptr), MOEQ_OK);
    EXPECT_EQ(count, 0);
    const int32_t outside[1] = {5};
    expect_error(moeq_reduce_axes(3, outside, 1, out, &count, &error), MOEQ_ERROR_ARGUMENT, 2, "axis 5 of 3 dimensions");
    const int32_t twice[2] = {1, -2};
    expect_error(moeq_reduce_axes(3, twice, 2, out, &count, &error), MOEQ_ERROR_ARGUMENT, 2, "axis -2 (1) twice");
    expect_error(moeq_reduce_axes(3, nullptr, 2, out, &count, &error), MOEQ_ERROR_ARGUMENT, 3, "got 2");
    expect_error(moeq_reduce_axes(9, nullptr, 0, out, &count, &error), MOEQ_ERROR_SHAPE, 1, "got 9");
}

TEST_F(Reduce, ScalesOfEachFormat)
{
    HostTensor amax(MOEQ_DTYPE_FP32, {2, 2}, {1, 2});
    set<float>(amax, {448, 0, 1, -0.0f}); // [r][c]: 448 1 / 0 -0
    HostTensor scales(MOEQ_DTYPE_FP32, {2, 2});
    const auto scale = [&](int32_t format, HostTensor& destination) {
        moeq_spec spec{};
        spec.struct_size = sizeof spec;
        spec.format = format;
        error = {};
        return moeq_scale_from_amax(context, amax, &spec, nullptr, destination, &error);
    };
    const struct {
        int32_t format;
        float largest;
    } rules[] = {{MOEQ_FORMAT_INT8, 127}, {MOEQ_FORMAT_FP8_E4M3, 448}, {MOEQ_FORMAT_FP8_E5M2, 57344}, {MOEQ_FORMAT_NF4, 1}, {MOEQ_FORMAT_FP4, 1}};
    for (const auto& rule : rules) {
        EXPECT_EQ(scale(rule.format, scales), MOEQ_OK) << error.message;
        EXPECT_EQ(scales.as<float>()[0], 448 / rule.largest);
        EXPECT_EQ(scales.as<float>()[1], 1 / rule.largest);
        EXPECT_EQ(scales.as<uint32_t>()[2], 0u);
        EXPECT_EQ(scales.as<uint32_t>()[3], 0u); // no -0
    }
    HostTensor halves(MOEQ_DTYPE_FP16, {2, 2});
    EXPECT_EQ(scale(MOEQ_FORMAT_FP8_E4M3, halves), MOEQ_OK) << error.message;
    EXPECT_EQ(halves.as<uint16_t>()[0], 0x3C00);
    EXPECT_EQ(halves.as<uint16_t>()[1], 0x1892); // 1/448 = 1.142 * 2^-9
    HostTensor brains(MOEQ_DTYPE_BF16, {2, 2});
    EXPECT_EQ(scale(MOEQ_FORMAT_FP8_E4M3, brains), MOEQ_OK) << error.message;
    EXPECT_EQ(brains.as<uint16_t>()[1], 0x3B12);

    for (const float bad : {kNaN, kInf, -kInf, -1e-30f}) {
        amax.as<float>()[2] = bad; // [0][1]
        expect_error(scale(MOEQ_FORMAT_INT8, scales), MOEQ_ERROR_VALUE, 2, "at index [0, 1]");
        EXPECT_EQ(error.expert, 0);
        EXPECT_EQ(error.row, 1);
        EXPECT_EQ(error.column, -1);
    }
    amax.as<float>()[2] = 1;
    expect_error(scale(0, scales), MOEQ_ERROR_ARGUMENT, 3, "format 0");
    HostTensor flat(MOEQ_DTYPE_FP32, {4});
    expect_error(scale(MOEQ_FORMAT_INT8, flat), MOEQ_ERROR_SHAPE, 5, "got shape [4]; want [2, 2]");
    HostTensor doubles(MOEQ_DTYPE_FP64, {2, 2});
    expect_error(scale(MOEQ_FORMAT_INT8, doubles), MOEQ_ERROR_DTYPE, 5, "fp64");
    expect_error(scale(MOEQ_FORMAT_INT8, amax), MOEQ_ERROR_LAYOUT, 5, "overlaps amax");
    expect_error(moeq_scale_from_amax(context, amax, nullptr, nullptr, scales, &error), MOEQ_ERROR_ARGUMENT, 3, "spec: got NULL");
}

TEST_F(Reduce, TheFirstBadAmaxIsNamedWhateverTheThreadsDo)
{
    HostTensor amax(MOEQ_DTYPE_FP32, {200000});
    amax.as<float>()[40001] = kNaN;
    amax.as<float>()[190000] = -1;
    HostTensor scales(MOEQ_DTYPE_FP32, {200000});
    HostExecutor executor;
    executor.how = [](moeq_task_fn run, void* task, int64_t count) {
        for (int64_t i = count; i-- > 0;)
            run(i, task);
        return MOEQ_CONTINUE;
    };
    const moeq_context_options options = executor.options();
    moeq_context* other = nullptr;
    ASSERT_EQ(moeq_context_create(&options, &other, nullptr), MOEQ_OK);
    moeq_spec spec{};
    spec.struct_size = sizeof spec;
    spec.format = MOEQ_FORMAT_INT8;
    expect_error(moeq_scale_from_amax(other, amax, &spec, nullptr, scales, &error), MOEQ_ERROR_VALUE, 2, "got NaN at index [40001]");
    expect_error(moeq_scale_from_amax(context, amax, &spec, nullptr, scales, &error), MOEQ_ERROR_VALUE, 2, "got NaN at index [40001]");
    moeq_context_destroy(other);
}

} // namespace
