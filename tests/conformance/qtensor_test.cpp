// Reading a handle: any region into any strides and type, slices, copies, adopted parts, figures.
#include "support/api.h"

#include <cmath>

namespace moeq_test {
namespace {

// Every format with every way to cut it.
const char* const kSpecs[] = {
    "int8",
    "int8:scale=factor",
    "int8:axis=-2",
    "int8:expert",
    "int8:block16x32",
    "fp8_e4m3",
    "fp8_e4m3:scale=absmax",
    "fp8_e4m3:axis=-2",
    "fp8_e4m3:expert",
    "fp8_e4m3:block128x128",
    "fp8_e4m3:block7x13,layout=gate_up",
    "fp8_e5m2",
    "mxfp8",
    "nf4",
    "nf4:32,nested",
    "nf4:64,blocking=row",
    "nf4:64,blocking=flat",
    "nf4:128,nested,blocking=flat",
    "nf4:4096",
    "fp4",
    "fp4:32,nested,blocking=row",
};

class QtensorOf : public testing::TestWithParam<const char*> {
protected:
    static constexpr int64_t E = 3, R = 34, C = 77;

    void SetUp() override
    {
        source.fill(11);
        q = quantize(context, source, GetParam());
        ASSERT_NE(q, nullptr);
        all = dequantize(q);
    }
    float at(int64_t e, int64_t r, int64_t c) const { return all[static_cast<size_t>((e * R + r) * C + c)]; }

    // One region into fp32 of given strides, against the elements of `all`.
    void check(const std::vector<int64_t>& experts, int64_t row_begin, int64_t row_end, const Shape& strides)
    {
        auto region = sized<moeq_region>();
        region.experts = experts.data();
        region.expert_count = static_cast<int64_t>(experts.size());
        region.row_begin = row_begin;
        region.row_end = row_end;
        const int64_t n = region.expert_count;
        const int64_t rows = row_end - row_begin;
        HostTensor out(MOEQ_DTYPE_FP32, {n, rows, C}, strides);
        std::memset(out.memory().data(), 0xEE, out.memory().size());
        MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), &region, nullptr, out, &ok));
        const Shape& s = out.plain().strides == nullptr ? strides : Shape(out.plain().strides, out.plain().strides + 3);
        for (int64_t i = 0; i < n; ++i)
            for (int64_t r = 0; r < rows; ++r)
                for (int64_t c = 0; c < C; ++c) {
                    const float got = out.as<float>()[i * s[0] + r * s[1] + c * s[2]];
                    const float expected = at(experts[static_cast<size_t>(i)], row_begin + r, c);
                    ASSERT_EQ(std::memcmp(&got, &expected, 4), 0) << i << " " << r << " " << c;
                }
    }

    Context context = make_context();
    HostTensor source{MOEQ_DTYPE_BF16, {E, R, C}};
    QTensor q;
    std::vector<float> all;
};

TEST_P(QtensorOf, gives_regions)
{
    check({0, 1, 2}, 0, R, {});
    check({2, 0, 2, 2}, 0, R, {});
    check({1}, 5, 9, {});
    check({2, 1}, R - 1, R, {});
    check({1, 0}, 3, 20, {17 * C * 2, C * 2, 2});
    check({1, 0}, 3, 20, {1, 2, 2 * 17});
    check({0, 2}, 0, R, {C, C * 2, 1});
}

TEST_P(QtensorOf, takes_ids_from_a_tensor)
{
    for (const int32_t dtype : {MOEQ_DTYPE_INT32, MOEQ_DTYPE_INT64}) {
        HostTensor ids(dtype, {2}, {3});
        for (int64_t i = 0; i < 2; ++i) {
            const int64_t id = i == 0 ? 2 : 0;
            std::memcpy(ids.memory().data() + i * 3 * bytes_of(dtype), &id, static_cast<size_t>(bytes_of(dtype)));
        }
        auto region = sized<moeq_region>();
        region.expert_ids = ids;
        HostTensor out(MOEQ_DTYPE_FP32, {2, R, C});
        MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), &region, nullptr, out, &ok));
        for (int64_t i = 0; i < R * C; ++i) {
            ASSERT_EQ(out.as<float>()[i], all[static_cast<size_t>(2 * R * C + i)]);
            ASSERT_EQ(out.as<float>()[R * C + i], all[static_cast<size_t>(i)]);
        }
    }
}

TEST_P(QtensorOf, rounds_once_to_each_type)
{
    HostTensor bf16(MOEQ_DTYPE_BF16, {E, R, C});
    HostTensor fp16(MOEQ_DTYPE_FP16, {E, R, C});
    MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, bf16, &ok));
    MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, fp16, &ok));
    for (int64_t i = 0; i < E * R * C; ++i) {
        const float value = all[static_cast<size_t>(i)];
        uint32_t bits;
        std::memcpy(&bits, &value, 4);
        ASSERT_EQ(bf16.as<uint16_t>()[i], (bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
        // fp16: no representable neighbour is nearer.
        const auto widen = [](uint16_t half) {
            const int exponent = half >> 10 & 31;
            const double fraction = half & 1023;
            const double magnitude =
                exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
            return half & 0x8000 ? -magnitude : magnitude;
        };
        const uint16_t half = fp16.as<uint16_t>()[i];
        const double error = std::fabs(widen(half) - static_cast<double>(value));
        ASSERT_LE(error, std::fabs(widen(static_cast<uint16_t>(half + 1)) - static_cast<double>(value)));
        if ((half & 0x7FFF) != 0) {
            ASSERT_LE(error, std::fabs(widen(static_cast<uint16_t>(half - 1)) - static_cast<double>(value)));
        }
    }
}

TEST_P(QtensorOf, is_the_same_for_any_threads_and_tier)
{
    const Bytes expected = stored_bytes(q);
    for (const int32_t tier : {MOEQ_CPU_TIER_SCALAR, MOEQ_CPU_TIER_AVX2, MOEQ_CPU_TIER_AVX512}) {
        auto options = sized<moeq_context_options>();
        options.cpu_tier = tier;
        options.thread_limit = 4;
        moeq_context* other = nullptr;
        if (moeq_context_create(&options, &other, nullptr) == MOEQ_ERROR_UNSUPPORTED)
            continue;
        const Context owner(other);
        const QTensor again = quantize(owner, source, GetParam());
        EXPECT_EQ(stored_bytes(again), expected);
        EXPECT_EQ(dequantize(again), all);
    }
}

TEST_P(QtensorOf, copies_and_requantizes)
{
    moeq_qtensor* out = nullptr;
    MOEQ_EXPECT_OK(moeq_qtensor_copy(q.get(), 0, 0, nullptr, &out, &ok));
    const QTensor copy(out);
    const Bytes before = stored_bytes(q);
    EXPECT_EQ(stored_bytes(copy), before);
    HostTensor other(MOEQ_DTYPE_FP32, {E, R, C});
    MOEQ_EXPECT_OK(moeq_qtensor_requantize(out, other.fill(5), nullptr, nullptr, &ok));
    const QTensor fresh = quantize(context, other, GetParam());
    EXPECT_EQ(stored_bytes(copy), stored_bytes(fresh));
    EXPECT_EQ(stored_bytes(q), before);
    auto info = sized<moeq_qtensor_info>();
    MOEQ_EXPECT_OK(moeq_qtensor_get_info(out, &info, &ok));
    EXPECT_EQ(info.generation, 2u);
}

TEST_P(QtensorOf, adopts_what_it_exports)
{
    auto spec = sized<moeq_spec>();
    MOEQ_EXPECT_OK(moeq_qtensor_get_spec(q.get(), &spec, &ok));
    std::vector<moeq_component> components;
    for (int32_t id = MOEQ_COMPONENT_CODES; id <= MOEQ_COMPONENT_CODE_MAP; ++id) {
        DLManagedTensorVersioned* tensor = nullptr;
        if (moeq_qtensor_export(q.get(), id, &tensor, nullptr) != MOEQ_OK)
            continue;
        auto layout = sized<moeq_component_info>();
        const int64_t shape[3] = {E, R, C};
        MOEQ_EXPECT_OK(moeq_spec_get_component(&spec, 3, shape, id, &layout, &ok));
        EXPECT_EQ(layout.ndim, tensor->dl_tensor.ndim);
        for (int32_t i = 0; i < layout.ndim; ++i)
            EXPECT_EQ(layout.shape[i], tensor->dl_tensor.shape[i]);
        EXPECT_EQ(layout.dtype, tensor->dl_tensor.dtype.code | tensor->dl_tensor.dtype.bits << 8 | 1 << 16);
        components.push_back({id, 0, tensor});
    }
    const int64_t shape[3] = {E, R, C};
    moeq_qtensor* out = nullptr;
    MOEQ_EXPECT_OK(moeq_qtensor_adopt(context.get(), &spec, 3, shape, components.data(),
                                      static_cast<int64_t>(components.size()), nullptr, &out, &ok));
    const QTensor adopted(out);
    EXPECT_EQ(dequantize(adopted), all);
    // Exports are for reading, so there is nothing to write into.
    EXPECT_EQ(moeq_qtensor_requantize(out, source, nullptr, nullptr, nullptr), MOEQ_ERROR_READ_ONLY);
}

TEST_P(QtensorOf, quantizes_into_the_callers_tensors)
{
    const moeq_spec spec = parse(GetParam());
    const int64_t shape[3] = {E, R, C};
    std::vector<std::unique_ptr<HostTensor>> tensors;
    std::vector<moeq_component> destinations;
    Bytes got;
    for (int32_t id = MOEQ_COMPONENT_CODES; id <= MOEQ_COMPONENT_NESTED_OFFSET; ++id) {
        auto layout = sized<moeq_component_info>();
        if (moeq_spec_get_component(&spec, 3, shape, id, &layout, nullptr) != MOEQ_OK)
            continue;
        tensors.push_back(std::make_unique<HostTensor>(layout.dtype, Shape(layout.shape, layout.shape + layout.ndim)));
        destinations.push_back({id, 0, *tensors.back()});
    }
    MOEQ_EXPECT_OK(moeq_quantize_into(context.get(), source, &spec, nullptr, nullptr, destinations.data(),
                                      static_cast<int64_t>(destinations.size()), &ok));
    for (const auto& tensor : tensors)
        append(got, tensor->memory());
    EXPECT_EQ(got, stored_bytes(q));
}

TEST_P(QtensorOf, tells_its_error)
{
    HostTensor figures(MOEQ_DTYPE_FP64, {E, 7});
    MOEQ_EXPECT_OK(moeq_qtensor_compare(q.get(), source, nullptr, figures, &ok));
    for (int64_t e = 0; e < E; ++e) {
        double max_error = 0, squares = 0, source_squares = 0, amax = 0, zeros = 0;
        for (int64_t i = 0; i < R * C; ++i) {
            const uint32_t bits = static_cast<uint32_t>(source.as<uint16_t>()[e * R * C + i]) << 16;
            float x;
            std::memcpy(&x, &bits, 4);
            const double error = static_cast<double>(x) - static_cast<double>(all[static_cast<size_t>(e * R * C + i)]);
            max_error = std::max(max_error, std::fabs(error));
            squares += error * error;
            source_squares += static_cast<double>(x) * static_cast<double>(x);
            amax = std::max(amax, std::fabs(static_cast<double>(x)));
            zeros += all[static_cast<size_t>(e * R * C + i)] == 0.0f ? 1 : 0;
        }
        const double* row = figures.as<double>() + e * 7;
        EXPECT_EQ(row[MOEQ_METRIC_MAX_ERROR], max_error);
        EXPECT_NEAR(row[MOEQ_METRIC_RMSE], std::sqrt(squares / (R * C)), 1e-12);
        EXPECT_NEAR(row[MOEQ_METRIC_SQNR_DB], 10 * std::log10(source_squares / squares), 1e-9);
        EXPECT_EQ(row[MOEQ_METRIC_AMAX], amax);
        EXPECT_GT(row[MOEQ_METRIC_SATURATED], 0.0);
        EXPECT_NEAR(row[MOEQ_METRIC_ZERO], zeros / (R * C), 1e-12);
        EXPECT_GT(row[MOEQ_METRIC_RMSE_OVER_SCALE], 0.0);
        EXPECT_LT(row[MOEQ_METRIC_RMSE_OVER_SCALE], 2.0 * 448);
    }
}

INSTANTIATE_TEST_SUITE_P(Specs, QtensorOf, testing::ValuesIn(kSpecs));

// Slices: the part of the whole, and the bytes that adopting their exports gives.
class SliceOf : public testing::TestWithParam<const char*> {};

TEST_P(SliceOf, equals_the_part_of_the_whole)
{
    const Context context = make_context();
    const int64_t E = 8, R = 64, C = 256;
    HostTensor source(MOEQ_DTYPE_FP32, {E, R, C});
    const QTensor q = quantize(context, source.fill(3), GetParam());
    const std::vector<float> all = dequantize(q);
    struct Range {
        int32_t axis;
        int64_t begin, end;
    };
    int taken = 0;
    for (const Range& range : {Range{0, 0, E}, Range{0, 3, 5}, Range{0, 4, 8}, Range{0, 2, 2}, Range{1, 0, 32},
                               Range{1, 32, 64}, Range{1, 16, 48}, Range{1, 5, 9}, Range{2, 0, 128}, Range{2, 64, 256},
                               Range{2, 128, 192}, Range{2, 3, 100}, Range{1, 0, R}, Range{2, 0, C}}) {
        moeq_qtensor* out = nullptr;
        Error e;
        const moeq_status status = moeq_qtensor_slice(q.get(), range.axis, range.begin, range.end, &out, &e);
        if (status != MOEQ_OK) {
            EXPECT_TRUE(status == MOEQ_ERROR_ARGUMENT || status == MOEQ_ERROR_UNSUPPORTED) << e.message;
            EXPECT_EQ(out, nullptr);
            continue;
        }
        ++taken;
        const QTensor slice(out);
        const std::vector<float> part = dequantize(slice);
        Shape begin{0, 0, 0}, end{E, R, C};
        begin[static_cast<size_t>(range.axis)] = range.begin;
        end[static_cast<size_t>(range.axis)] = range.end;
        size_t i = 0;
        for (int64_t x = begin[0]; x < end[0]; ++x)
            for (int64_t y = begin[1]; y < end[1]; ++y)
                for (int64_t z = begin[2]; z < end[2]; ++z, ++i)
                    ASSERT_EQ(part[i], all[static_cast<size_t>((x * R + y) * C + z)])
                        << range.axis << ": " << range.begin;
        ASSERT_EQ(i, part.size());
        moeq_qtensor* compact = nullptr;
        MOEQ_EXPECT_OK(moeq_qtensor_copy(slice.get(), 0, 0, nullptr, &compact, &ok));
        const QTensor copy(compact);
        EXPECT_EQ(dequantize(copy), part);
        EXPECT_EQ(stored_bytes(copy), stored_bytes(slice));
        // A slice of the slice.
        if (range.end - range.begin >= 2 && range.axis == 0) {
            moeq_qtensor* inner = nullptr;
            MOEQ_EXPECT_OK(moeq_qtensor_slice(slice.get(), 0, 1, 2, &inner, &ok));
            const QTensor owner(inner);
            EXPECT_EQ(dequantize(owner)[17], part[static_cast<size_t>(R * C + 17)]);
        }
    }
    EXPECT_GE(taken, 6) << GetParam();
}

INSTANTIATE_TEST_SUITE_P(Specs, SliceOf,
                         testing::Values("int8", "int8:axis=-2", "int8:expert", "fp8_e4m3:block16x64",
                                         "fp8_e4m3:block16x64,layout=gate_up", "nf4", "nf4:64,blocking=row",
                                         "fp4:32,nested", "nf4:128,blocking=row,axis=-1"));

TEST(Slice, refuses_what_cannot_be_cut)
{
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_FP32, {2, 64, 96});
    Error e;
    moeq_qtensor* out = nullptr;
    const QTensor flat = quantize(context, source.fill(), "nf4:blocking=flat");
    EXPECT_EQ(moeq_qtensor_slice(flat.get(), 0, 0, 1, &out, &e), MOEQ_ERROR_UNSUPPORTED);
    const QTensor blocks = quantize(context, source, "nf4");
    EXPECT_EQ(moeq_qtensor_slice(blocks.get(), 2, 0, 64, &out, &e), MOEQ_ERROR_ARGUMENT); // 96 is not a multiple of 64
    EXPECT_EQ(moeq_qtensor_slice(blocks.get(), 1, 1, 64, &out, &e), MOEQ_ERROR_ARGUMENT);
    EXPECT_EQ(moeq_qtensor_slice(blocks.get(), 3, 0, 1, &out, &e), MOEQ_ERROR_ARGUMENT);
    EXPECT_EQ(moeq_qtensor_slice(blocks.get(), 0, -1, 1, &out, &e), MOEQ_ERROR_RANGE);
    EXPECT_EQ(moeq_qtensor_slice(blocks.get(), 0, 0, 3, &out, &e), MOEQ_ERROR_RANGE);
    EXPECT_EQ(moeq_qtensor_slice(blocks.get(), 1, 9, 8, &out, &e), MOEQ_ERROR_RANGE);
    EXPECT_EQ(out, nullptr);
}

TEST(Qtensor, folds_leading_axes)
{
    const Context context = make_context();
    HostTensor deep(MOEQ_DTYPE_FP32, {2, 3, 8, 70});
    HostTensor folded(MOEQ_DTYPE_FP32, {6, 8, 70});
    deep.fill(2);
    folded.memory() = deep.memory();
    folded.plain().data = folded.memory().data();
    for (const char* spec : {"int8", "nf4", "nf4:nested,blocking=flat", "fp8_e4m3:block128x128", "fp8_e4m3:expert"}) {
        const QTensor q = quantize(context, deep, spec);
        EXPECT_EQ(stored_bytes(q), stored_bytes(quantize(context, folded, spec)));
        EXPECT_EQ(shape_of(q), (Shape{2, 3, 8, 70}));
        HostTensor as_folded(MOEQ_DTYPE_FP32, {6, 8, 70});
        MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, as_folded, &ok));
        EXPECT_EQ(std::memcmp(as_folded.memory().data(), dequantize(q).data(), as_folded.memory().size()), 0);
    }
    HostTensor matrix(MOEQ_DTYPE_FP32, {8, 70});
    const QTensor q = quantize(context, matrix.fill(), "int8");
    EXPECT_EQ(component(q, MOEQ_COMPONENT_SCALE)->dl_tensor.ndim, 1);
}

TEST(Qtensor, refuses_bad_regions)
{
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_FP32, {2, 8, 16});
    const QTensor q = quantize(context, source.fill(), "int8");
    HostTensor out(MOEQ_DTYPE_FP32, {1, 8, 16});
    Error e;
    uint32_t seen = 0;
    for (const int64_t id : {int64_t{2}, int64_t{-1}, INT64_MAX}) {
        auto region = sized<moeq_region>();
        region.experts = &id;
        region.expert_count = 1;
        region.status_word = &seen;
        EXPECT_EQ(moeq_qtensor_dequantize(q.get(), &region, nullptr, out, &e), MOEQ_ERROR_RANGE);
        EXPECT_EQ(e.expert, id);
        EXPECT_EQ(seen, uint32_t{MOEQ_SEEN_BAD_EXPERT});
    }
    auto region = sized<moeq_region>();
    region.row_begin = 3;
    region.row_end = 9;
    EXPECT_EQ(moeq_qtensor_dequantize(q.get(), &region, nullptr, out, &e), MOEQ_ERROR_RANGE);
    region.row_end = 8;
    EXPECT_EQ(moeq_qtensor_dequantize(q.get(), &region, nullptr, out, &e), MOEQ_ERROR_SHAPE);
    EXPECT_NE(e.text().find("want [2, 5, 16]"), std::string::npos) << e.text();
    region.row_end = 0;
    region.expert_count = 1;
    EXPECT_EQ(moeq_qtensor_dequantize(q.get(), &region, nullptr, out, &e), MOEQ_ERROR_ARGUMENT);
    EXPECT_EQ(moeq_qtensor_dequantize(q.get(), nullptr, &e, out, &e), MOEQ_ERROR_ARGUMENT); // a stream
}

} // namespace
} // namespace moeq_test
