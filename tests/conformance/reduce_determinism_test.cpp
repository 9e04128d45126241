// Reductions give the same bytes from every thread count, executor and CPU tier, and of more elements than 32 bits count.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cfenv>

#include "reduce_calls.h"

namespace {

using namespace reduce_calls;
using moeq_test::Bytes;
using moeq_test::HostExecutor;

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

// Memory that is not there until it is written.
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

} // namespace
