// Extents, strides and offsets at the ends of what their types can hold: a status each time, and nothing else. Most of it is
// judged by the sanitizers.
#include <gtest/gtest.h>

#include <algorithm>

#include "support/calls.h"

namespace moeq_test {
namespace {

constexpr int64_t kHuge = int64_t{1} << 40;

// Empty, with a product of the other extents that no number holds.
const std::vector<Shape>& empty_shapes()
{
    static const std::vector<Shape> shapes = {
        {0, kHuge, kHuge},         {kHuge, 0, kHuge},
        {kHuge, kHuge, 0},         {INT64_MAX, 0, INT64_MAX},
        {0, INT64_MAX, INT64_MAX}, {INT64_MAX, INT64_MAX, INT64_MAX, 0, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX},
    };
    return shapes;
}

DLManagedTensorVersioned tensor_of(Shape& shape, int64_t* strides)
{
    DLManagedTensorVersioned tensor{};
    tensor.version = {1, 1};
    tensor.dl_tensor.device = {kDLCPU, 0};
    tensor.dl_tensor.dtype = {kDLFloat, 32, 1};
    tensor.dl_tensor.ndim = static_cast<int32_t>(shape.size());
    tensor.dl_tensor.shape = shape.data();
    tensor.dl_tensor.strides = strides;
    return tensor;
}

TEST(Extremes, EmptyTensorsAreCreated)
{
    World world;
    for (const Shape& shape : empty_shapes()) {
        DLManagedTensorVersioned* out = nullptr;
        const auto ndim = static_cast<int32_t>(shape.size());
        ASSERT_EQ(moeq_tensor_create(world.context, MOEQ_DTYPE_FP32, ndim, shape.data(), 0, 0, nullptr, &out, nullptr),
                  MOEQ_OK);
        EXPECT_EQ(Shape(out->dl_tensor.shape, out->dl_tensor.shape + ndim), shape);
        ASSERT_NE(out->dl_tensor.strides, nullptr);
        out->deleter(out);
    }
}

TEST(Extremes, EmptySourcesAndDestinations)
{
    World world;
    for (Shape shape : empty_shapes()) {
        std::vector<int64_t> strides(shape.size(), INT64_MIN);
        for (int64_t* with : {static_cast<int64_t*>(nullptr), strides.data()}) {
            DLManagedTensorVersioned tensor = tensor_of(shape, with);
            for (const char* text :
                 {"int8", "nf4", "nf4:nested", "nf4:blocking=flat", "fp8_e4m3:block128x128", "fp8_e5m2:expert"}) {
                const moeq_spec spec = parse(text);
                moeq_qtensor* out = nullptr;
                const moeq_status status =
                    moeq_qtensor_quantize(world.context, &tensor, &spec, nullptr, nullptr, &out, nullptr);
                EXPECT_TRUE(status == MOEQ_ERROR_SHAPE || status == MOEQ_ERROR_MEMORY) << status;
                moeq_qtensor_release(out);
            }
            HostTensor number(MOEQ_DTYPE_FP32, {});
            moeq_reduce_options sum{};
            sum.struct_size = sizeof sum;
            sum.operation = MOEQ_REDUCE_SUM;
            EXPECT_EQ(moeq_reduce(world.context, &tensor, &sum, nullptr, number, nullptr), MOEQ_OK);
            EXPECT_EQ(*number.as<float>(), 0.0f);
            EXPECT_EQ(moeq_reduce(world.context, &tensor, nullptr, nullptr, number, nullptr), MOEQ_ERROR_SHAPE);
        }
    }
}

TEST(Extremes, EmptyBuilders)
{
    World world;
    for (const Shape& shape :
         {Shape{kHuge, 0, 64}, Shape{1LL << 58, 0, 1}, Shape{461168601842738791, 0, 1}, Shape{kHuge, 3, 0}}) {
        for (const char* text : {"int8", "nf4:blocking=flat", "nf4:nested", "fp8_e5m2:expert"}) {
            const moeq_spec spec = parse(text);
            moeq_builder* builder = nullptr;
            EXPECT_EQ(moeq_builder_create(world.context, &spec, 3, shape.data(), nullptr, nullptr, &builder, nullptr),
                      MOEQ_ERROR_SHAPE);
            EXPECT_EQ(builder, nullptr);
        }
    }
}

// What a legacy tensor says of its memory is only passed on: who uses it will judge.
TEST(Extremes, LegacyTensorsArePassedOn)
{
    World world;
    float value = 1;
    int64_t shape[] = {2, 2, 2};
    for (const int64_t stride : {INT64_MAX, INT64_MIN, int64_t{-1}, int64_t{0}}) {
        for (const uint64_t offset : {uint64_t{0}, UINT64_MAX, uint64_t{1} << 63}) {
            for (void* data : {static_cast<void*>(nullptr), static_cast<void*>(&value)}) {
                int64_t strides[] = {stride, stride, stride};
                DLManagedTensor legacy{};
                legacy.dl_tensor = {data, {kDLCPU, 0}, 3, {kDLFloat, 32, 1}, shape, strides, offset};
                DLManagedTensorVersioned* out = nullptr;
                const moeq_status status = moeq_tensor_from_legacy(world.context, &legacy, &out, nullptr);
                if (status != MOEQ_OK) {
                    EXPECT_EQ(out, nullptr);
                    continue;
                }
                const moeq_spec spec = parse("int8");
                moeq_qtensor* handle = nullptr;
                if (stride != 0 && stride != -1) { // those two say nothing impossible
                    EXPECT_NE(moeq_qtensor_quantize(world.context, out, &spec, nullptr, nullptr, &handle, nullptr),
                              MOEQ_OK);
                }
                out->deleter(out);
            }
        }
    }
}

// Every number of a region and of a slice at its ends.
TEST(Extremes, RangesOfHandles)
{
    World world;
    HostTensor source(MOEQ_DTYPE_FP32, {2, 4, 64});
    source.fill();
    HostTensor destination(MOEQ_DTYPE_FP32, {2, 4, 64});
    const moeq_spec spec = parse("nf4");
    moeq_qtensor* handle = nullptr;
    ASSERT_EQ(moeq_qtensor_quantize(world.context, source, &spec, nullptr, nullptr, &handle, nullptr), MOEQ_OK);
    constexpr int64_t kEnds[] = {INT64_MIN, INT64_MIN + 1, -1, INT64_MAX - 1, INT64_MAX};
    for (const int64_t begin : kEnds) {
        for (const int64_t end : kEnds) {
            for (const int32_t axis : {0, 1, 2}) {
                moeq_qtensor* out = nullptr;
                EXPECT_EQ(moeq_qtensor_slice(handle, axis, begin, end, &out, nullptr), MOEQ_ERROR_RANGE);
            }
            moeq_region region{};
            region.struct_size = sizeof region;
            region.row_begin = begin;
            region.row_end = end;
            EXPECT_EQ(moeq_qtensor_dequantize(handle, &region, nullptr, destination, nullptr), MOEQ_ERROR_RANGE);
        }
        moeq_region region{};
        region.struct_size = sizeof region;
        region.experts = &begin;
        region.expert_count = 1;
        EXPECT_EQ(moeq_qtensor_dequantize(handle, &region, nullptr, destination, nullptr), MOEQ_ERROR_RANGE);
        EXPECT_NE(moeq_qtensor_slice(handle, static_cast<int32_t>(begin), 0, 1, nullptr, nullptr), MOEQ_OK);
    }
    moeq_qtensor_release(handle);
}

// The same for the place of a piece.
TEST(Extremes, PlacesOfPieces)
{
    World world;
    const moeq_spec spec = parse("int8");
    const int64_t shape[] = {2, 4, 64};
    moeq_builder* builder = nullptr;
    ASSERT_EQ(moeq_builder_create(world.context, &spec, 3, shape, nullptr, nullptr, &builder, nullptr), MOEQ_OK);
    HostTensor piece(MOEQ_DTYPE_FP32, {1, 4, 64});
    Shape empty_shape = {0, kHuge, kHuge};
    DLManagedTensorVersioned empty = tensor_of(empty_shape, nullptr);
    for (const int64_t place : {INT64_MIN, int64_t{-1}, int64_t{3}, INT64_MAX}) {
        EXPECT_EQ(moeq_builder_write(builder, place, 0, 0, piece, nullptr, nullptr), MOEQ_ERROR_RANGE);
        EXPECT_EQ(moeq_builder_write(builder, 0, place, 0, piece, nullptr, nullptr), MOEQ_ERROR_RANGE);
        EXPECT_EQ(moeq_builder_write(builder, 0, 0, place, piece, nullptr, nullptr), MOEQ_ERROR_RANGE);
        EXPECT_EQ(moeq_builder_write(builder, place, place, place, &empty, nullptr, nullptr), MOEQ_ERROR_RANGE);
    }
    moeq_builder_destroy(builder);
}

} // namespace
} // namespace moeq_test
