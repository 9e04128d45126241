// Many sources in one call, the axes that are not kept, and scales from amax.
#include <gtest/gtest.h>

#include "reduce_calls.h"

namespace {

using namespace reduce_calls;
using moeq_test::HostExecutor;

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
    expect_error(moeq_reduce_many(context, nullptr, -1, nullptr, nullptr, out, &error), MOEQ_ERROR_ARGUMENT, 3,
                 "got -1");
    expect_error(moeq_reduce_many(context, nullptr, 1, nullptr, nullptr, out, &error), MOEQ_ERROR_ARGUMENT, 2, "NULL");
}

// ---- Axes and scales ----

TEST_F(Reduce, AxesThatAreNotKept)
{
    const auto axes = [&](int32_t ndim, const std::vector<int32_t>& kept) {
        int32_t out[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
        int32_t count = -1;
        const int32_t none = 0;
        EXPECT_EQ(moeq_reduce_axes(ndim, kept.empty() ? &none : kept.data(), static_cast<int32_t>(kept.size()), out,
                                   &count, &error),
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
    expect_error(moeq_reduce_axes(3, outside, 1, out, &count, &error), MOEQ_ERROR_ARGUMENT, 2,
                 "axis 5 of 3 dimensions");
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
    } rules[] = {{MOEQ_FORMAT_INT8, 127},
                 {MOEQ_FORMAT_FP8_E4M3, 448},
                 {MOEQ_FORMAT_FP8_E5M2, 57344},
                 {MOEQ_FORMAT_NF4, 1},
                 {MOEQ_FORMAT_FP4, 1}};
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
    expect_error(moeq_scale_from_amax(context, amax, nullptr, nullptr, scales, &error), MOEQ_ERROR_ARGUMENT, 3,
                 "spec: got NULL");
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
    expect_error(moeq_scale_from_amax(other, amax, &spec, nullptr, scales, &error), MOEQ_ERROR_VALUE, 2,
                 "got NaN at index [40001]");
    expect_error(moeq_scale_from_amax(context, amax, &spec, nullptr, scales, &error), MOEQ_ERROR_VALUE, 2,
                 "got NaN at index [40001]");
    moeq_context_destroy(other);
}

} // namespace
