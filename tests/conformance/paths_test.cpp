// Ways through the library that ordinary shapes do not take: statistics that are read twice, padded experts, strided scales,
// slices at odd places, error figures over blocks of different size.
#include <thread>

#include "support/scale_units.h"

namespace moeq_test {
namespace {

// Hot calls have no memory for the statistics of nested formats and read the source again.
TEST(Nested, hot_calls_read_the_statistics_again)
{
    const Context context = make_context();
    for (const char* text :
         {"nf4:32,nested", "nf4:32,nested,profile=bnb_cpu", "fp4:32,nested,blocking=row,profile=bnb_cpu"})
        for (const bool zeros : {false, true}) {
            moeq_spec spec = parse(text);
            spec.nonfinite = MOEQ_NONFINITE_SATURATE;
            HostTensor source(MOEQ_DTYPE_FP32, {2, 3, 33});
            if (!zeros) {
                source.fill(2);
                source.as<float>()[40] = std::nanf("");
                source.as<float>()[70] = -HUGE_VALF;
            }
            const QTensor wanted = quantize(context, source, spec);
            HostTensor other(MOEQ_DTYPE_FP32, {2, 3, 33});
            const QTensor q = quantize(context, other.fill(9), spec);
            MOEQ_EXPECT_OK(moeq_qtensor_requantize(q.get(), source, nullptr, nullptr, &ok));
            EXPECT_EQ(stored_bytes(q), stored_bytes(wanted)) << text << zeros;
        }
}

TEST(Strides, padded_experts_give_the_bytes_of_packed_ones)
{
    const Context context = make_context();
    HostTensor packed(MOEQ_DTYPE_FP32, {3, 4, 64});
    HostTensor padded(MOEQ_DTYPE_FP32, {3, 4, 64}, {4 * 64 + 32, 64, 1});
    packed.fill(3);
    for (int64_t e = 0; e < 3; ++e)
        std::memcpy(padded.as<float>() + e * (4 * 64 + 32), packed.as<float>() + e * 4 * 64, 4 * 64 * 4);
    for (const char* text : {"nf4:blocking=flat", "nf4:32", "nf4:4096,blocking=flat", "fp4:blocking=row", "int8"})
        EXPECT_EQ(stored_bytes(quantize(context, padded, text)), stored_bytes(quantize(context, packed, text))) << text;
}

TEST(Strides, scales_may_be_strided_where_they_belong_to_columns)
{
    const Context context = make_context();
    const Shape shape{2, 6, 700};
    HostTensor source(MOEQ_DTYPE_FP32, shape);
    const QTensor q = quantize(context, source.fill(4), "int8:axis=-2");
    const Tensor codes = component(q, MOEQ_COMPONENT_CODES);
    HostTensor scale(MOEQ_DTYPE_FP32, {2, 700}, {1, 2});
    const Tensor stored = component(q, MOEQ_COMPONENT_SCALE);
    for (int64_t i = 0; i < 1400; ++i)
        scale.as<float>()[i / 700 + i % 700 * 2] = floats(stored)[i];
    const moeq_spec spec = parse("int8:axis=-2");
    HostTensor own_codes(MOEQ_DTYPE_INT8, shape);
    own_codes.memory() = packed_bytes(codes.get());
    own_codes.plain().data = own_codes.memory().data();
    const moeq_component parts[2] = {{MOEQ_COMPONENT_CODES, 0, own_codes}, {MOEQ_COMPONENT_SCALE, 0, scale}};
    moeq_qtensor* out = nullptr;
    MOEQ_EXPECT_OK(moeq_qtensor_adopt(context.get(), &spec, 3, shape.data(), parts, 2, nullptr, &out, &ok));
    const QTensor adopted(out);
    EXPECT_EQ(dequantize(adopted), dequantize(q));
}

// The error of each element over the scale of its own unit.
TEST(Figures, rmse_over_scale_takes_each_units_own_scale)
{
    const Context context = make_context();
    for (const char* text : {"int8", "int8:scale=factor", "fp8_e4m3:scale=absmax", "fp8_e4m3:block3x20", "nf4:32",
                             "fp4:32,blocking=row"}) {
        const Shape shape{2, 6, 96};
        HostTensor source(MOEQ_DTYPE_FP32, shape);
        source.fill(5);
        for (int64_t i = 0; i < count_of(shape); ++i)
            source.as<float>()[i] *= static_cast<float>(1 << (i / 32 % 9)); // units of very different scales
        const moeq_spec spec = resolved(parse(text), shape);
        const QTensor q = quantize(context, source, spec);
        const std::vector<float> got = dequantize(q);
        const std::vector<int64_t> units = scale_units(spec, 2, 6, 96);
        const Tensor scale = component(q, MOEQ_COMPONENT_SCALE);
        HostTensor figures(MOEQ_DTYPE_FP64, {2, 7});
        MOEQ_EXPECT_OK(moeq_qtensor_compare(q.get(), source, nullptr, figures, &ok));
        const double largest = spec.format == MOEQ_FORMAT_INT8 ? 127 : spec.format == MOEQ_FORMAT_FP8_E4M3 ? 448 : 1;
        for (size_t e = 0; e < 2; ++e) {
            double sum = 0;
            for (size_t i = e * 576; i < (e + 1) * 576; ++i) {
                double s = static_cast<double>(floats(scale)[units[i]]);
                if (spec.scale_kind == MOEQ_SCALE_ABSMAX)
                    s /= largest;
                const double error = (static_cast<double>(got[i]) - static_cast<double>(source.as<float>()[i])) / s;
                sum += error * error;
            }
            EXPECT_NEAR(figures.as<double>()[e * 7 + MOEQ_METRIC_RMSE_OVER_SCALE], std::sqrt(sum / 576),
                        1e-5 * std::sqrt(sum / 576))
                << text;
        }
    }
}

moeq_status slice(const QTensor& q, int32_t axis, int64_t begin, int64_t end, QTensor* out)
{
    moeq_qtensor* made = nullptr;
    const moeq_status status = moeq_qtensor_slice(q.get(), axis, begin, end, &made, nullptr);
    out->reset(made);
    return status;
}

TEST(SlicePlaces, tiles_across_the_border_of_gate_and_up)
{
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_FP32, {2, 20, 8}); // tiles of rows: 0, 4, 8-9, 10, 14, 18
    const QTensor q = quantize(context, source.fill(6), "fp8_e4m3:block4x8,layout=gate_up");
    const std::vector<float> all = dequantize(q);
    QTensor part;
    EXPECT_EQ(slice(q, 1, 4, 14, &part), MOEQ_ERROR_ARGUMENT); // its tiles would not be those of a weight of 10 rows
    EXPECT_EQ(slice(q, 1, 10, 15, &part), MOEQ_ERROR_ARGUMENT);
    for (const auto& [begin, end] :
         {std::pair<int64_t, int64_t>{0, 10}, {10, 20}, {4, 10}, {10, 14}, {14, 20}, {0, 20}}) {
        ASSERT_EQ(slice(q, 1, begin, end, &part), MOEQ_OK) << begin;
        const std::vector<float> got = dequantize(part);
        for (int64_t i = 0; i < 2 * (end - begin) * 8; ++i) {
            const int64_t e = i / ((end - begin) * 8), r = i / 8 % (end - begin);
            ASSERT_EQ(got[static_cast<size_t>(i)], all[static_cast<size_t>((e * 20 + begin + r) * 8 + i % 8)]);
        }
        auto spec = sized<moeq_spec>();
        MOEQ_EXPECT_OK(moeq_qtensor_get_spec(part.get(), &spec, &ok));
        EXPECT_EQ(spec.layout, end - begin == 20 ? MOEQ_LAYOUT_GATE_UP : MOEQ_LAYOUT_PLAIN);
    }
}

TEST(SlicePlaces, odd_ends_and_nested_blocks)
{
    const Context context = make_context();
    HostTensor odd(MOEQ_DTYPE_FP32, {2, 3, 77});
    const QTensor q = quantize(context, odd.fill(7), "nf4:32,blocking=row");
    const std::vector<float> all = dequantize(q);
    QTensor part;
    ASSERT_EQ(slice(q, 2, 64, 77, &part), MOEQ_OK);
    EXPECT_EQ(component(part, MOEQ_COMPONENT_CODES)->dl_tensor.shape[2], 7);
    const std::vector<float> got = dequantize(part);
    for (size_t i = 0; i < 6 * 13; ++i)
        ASSERT_EQ(got[i], all[i / 13 * 77 + 64 + i % 13]);
    // 130 blocks to an expert: no expert but the first begins where 256 statistics do.
    HostTensor source(MOEQ_DTYPE_FP32, {4, 65, 64});
    const QTensor nested = quantize(context, source.fill(8), "nf4:32,nested");
    EXPECT_EQ(slice(nested, 0, 1, 4, &part), MOEQ_ERROR_ARGUMENT);
    EXPECT_EQ(slice(nested, 0, 0, 2, &part), MOEQ_ERROR_ARGUMENT);
    EXPECT_EQ(slice(nested, 0, 0, 4, &part), MOEQ_OK);
}

// The limit is the last number that is allowed, and a unit counts once however many rows of it a piece has.
TEST(StagingLimit, is_exact)
{
    const Context context = make_context();
    struct Case {
        const char* spec;
        Shape piece;
        int64_t staged;
    };
    const int64_t shape[3] = {2, 16, 128};
    for (const Case& c : {Case{"int8", {4, 64}, 4 * 128 * 2}, Case{"fp8_e4m3:expert", {4, 128}, 16 * 128 * 2},
                          Case{"fp8_e4m3:block8x64", {7, 128}, 2 * 8 * 64 * 2}})
        for (const int64_t below : {0, 1}) {
            auto options = sized<moeq_quantize_options>();
            options.staging_limit = c.staged - below;
            const moeq_spec spec = parse(c.spec);
            moeq_builder* out = nullptr;
            MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &spec, 3, shape, &options, nullptr, &out, &ok));
            const Builder owner(out);
            HostTensor piece(MOEQ_DTYPE_BF16, c.piece);
            EXPECT_EQ(moeq_builder_write(out, 0, 0, 0, piece.fill(), nullptr, nullptr),
                      below == 0 ? MOEQ_OK : MOEQ_ERROR_LIMIT)
                << c.spec;
        }
}

TEST(LogicalDtype, is_that_of_the_pieces)
{
    const Context context = make_context();
    const moeq_spec spec = parse("int8");
    const int64_t shape[3] = {1, 2, 8};
    for (const int32_t dtype : {MOEQ_DTYPE_FP32, MOEQ_DTYPE_FP16, MOEQ_DTYPE_BF16}) {
        HostTensor source(dtype, {1, 2, 8});
        moeq_builder* builder = nullptr;
        MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &spec, 3, shape, nullptr, nullptr, &builder, &ok));
        MOEQ_EXPECT_OK(moeq_builder_write(builder, 0, 0, 0, source.fill(), nullptr, &ok));
        moeq_qtensor* built = nullptr;
        MOEQ_EXPECT_OK(moeq_builder_finish(builder, nullptr, &built, &ok));
        const QTensor q(built);
        auto found = sized<moeq_spec>();
        MOEQ_EXPECT_OK(moeq_qtensor_get_spec(q.get(), &found, &ok));
        EXPECT_EQ(found.logical_dtype, dtype);
    }
}

// Memory that touches is fine, a byte in common is not, also where strides are negative.
TEST(Overlap, is_judged_to_the_byte)
{
    const Context context = make_context();
    alignas(64) uint8_t memory[128] = {};
    const moeq_spec spec = parse("int8");
    const auto status = [&](int64_t stride, uint64_t source_at, uint64_t codes_at) {
        HostTensor source(MOEQ_DTYPE_FP32, {1, 1, 8});
        HostTensor codes(MOEQ_DTYPE_INT8, {1, 1, 8});
        HostTensor scale(MOEQ_DTYPE_FP32, {1, 1});
        int64_t strides[3] = {8, 8, stride};
        source.plain().data = memory;
        source.plain().byte_offset = source_at;
        source.plain().strides = strides;
        codes.plain().data = memory;
        codes.plain().byte_offset = codes_at;
        const moeq_component parts[2] = {{MOEQ_COMPONENT_CODES, 0, codes}, {MOEQ_COMPONENT_SCALE, 0, scale}};
        const moeq_status result =
            moeq_quantize_into(context.get(), source, &spec, nullptr, nullptr, parts, 2, nullptr);
        std::memset(memory, 0, sizeof memory);
        return result;
    };
    for (const int64_t stride : {1, -1}) { // the source is at bytes 32..63 either way
        const uint64_t at = stride == 1 ? 32 : 60;
        EXPECT_EQ(status(stride, at, 24), MOEQ_OK);
        EXPECT_EQ(status(stride, at, 25), MOEQ_ERROR_LAYOUT);
        EXPECT_EQ(status(stride, at, 40), MOEQ_ERROR_LAYOUT);
        EXPECT_EQ(status(stride, at, 63), MOEQ_ERROR_LAYOUT);
        EXPECT_EQ(status(stride, at, 64), MOEQ_OK);
    }
}

// A code map among the destinations is one like the others: apart from the source, and untouched when something is refused.
TEST(CodeMap, is_written_when_all_is_checked)
{
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_FP32, {1, 2, 64});
    HostTensor codes(MOEQ_DTYPE_UINT8, {1, 64});
    HostTensor scale(MOEQ_DTYPE_FP32, {1, 2});
    HostTensor map(MOEQ_DTYPE_FP32, {16});
    source.fill(2);
    const Bytes before = source.memory();
    moeq_component destinations[3] = {
        {MOEQ_COMPONENT_CODE_MAP, 0, map}, {MOEQ_COMPONENT_CODES, 0, codes}, {MOEQ_COMPONENT_SCALE, 0, scale}};
    const moeq_spec spec = parse("nf4");
    Error e;
    map.plain().data = source.memory().data();
    EXPECT_EQ(moeq_quantize_into(context.get(), source, &spec, nullptr, nullptr, destinations, 3, &e),
              MOEQ_ERROR_LAYOUT);
    EXPECT_EQ(source.memory(), before);
    map.plain().data = map.memory().data();
    scale->flags = DLPACK_FLAG_BITMASK_READ_ONLY;
    EXPECT_EQ(moeq_quantize_into(context.get(), source, &spec, nullptr, nullptr, destinations, 3, &e),
              MOEQ_ERROR_READ_ONLY);
    EXPECT_EQ(map.memory(), Bytes(64, 0));
    scale->flags = 0;
    MOEQ_EXPECT_OK(moeq_quantize_into(context.get(), source, &spec, nullptr, nullptr, destinations, 3, &ok));
    EXPECT_EQ(map.as<float>()[0], -1.0f);
    EXPECT_EQ(map.as<float>()[15], 1.0f);
}

// What may be read through strides of 0 may not be written through them.
TEST(Requantize, refuses_adopted_components_that_share_addresses)
{
    const Context context = make_context();
    HostTensor codes(MOEQ_DTYPE_INT8, {4, 1, 8});
    HostTensor scale(MOEQ_DTYPE_FP32, {4, 1});
    HostTensor source(MOEQ_DTYPE_FP32, {4, 1, 8});
    Shape broadcast{0, 0};
    scale.plain().strides = broadcast.data();
    const moeq_component components[2] = {{MOEQ_COMPONENT_CODES, 0, codes}, {MOEQ_COMPONENT_SCALE, 0, scale}};
    const int64_t shape[3] = {4, 1, 8};
    const moeq_spec spec = parse("int8");
    moeq_qtensor* out = nullptr;
    MOEQ_EXPECT_OK(moeq_qtensor_adopt(context.get(), &spec, 3, shape, components, 2, nullptr, &out, &ok));
    const QTensor q(out);
    Error e;
    EXPECT_EQ(moeq_qtensor_requantize(out, source.fill(), nullptr, nullptr, &e), MOEQ_ERROR_LAYOUT);
    EXPECT_NE(e.text().find("scale"), std::string::npos) << e.text();
    EXPECT_EQ(scale.as<float>()[0], 0.0f);
}

TEST(Dequantize, refuses_to_write_over_the_list_of_experts)
{
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_FP32, {4, 1, 8});
    const QTensor q = quantize(context, source.fill(), "int8");
    HostTensor out(MOEQ_DTYPE_FP32, {4, 1, 8});
    auto* list = reinterpret_cast<int64_t*>(out.memory().data() + 32);
    for (int64_t i = 0; i < 4; ++i)
        list[i] = 3 - i;
    HostTensor ids(MOEQ_DTYPE_INT64, {4});
    ids.plain().data = list;
    Error e;
    auto region = sized<moeq_region>();
    region.expert_ids = ids;
    EXPECT_EQ(moeq_qtensor_dequantize(q.get(), &region, nullptr, out, &e), MOEQ_ERROR_LAYOUT);
    region = sized<moeq_region>();
    region.experts = list;
    region.expert_count = 4;
    EXPECT_EQ(moeq_qtensor_dequantize(q.get(), &region, nullptr, out, &e), MOEQ_ERROR_LAYOUT);
}

// The last share may end in any thread.
TEST(Deleters, D16_deleters_run_in_any_thread)
{
    const Context context = make_context();
    HostTensor codes(MOEQ_DTYPE_INT8, {2, 4, 8});
    HostTensor scale(MOEQ_DTYPE_FP32, {2, 4});
    const moeq_component components[2] = {{MOEQ_COMPONENT_CODES, 0, codes}, {MOEQ_COMPONENT_SCALE, 0, scale}};
    const int64_t shape[3] = {2, 4, 8};
    const moeq_spec spec = parse("int8");
    moeq_qtensor* out = nullptr;
    MOEQ_EXPECT_OK(moeq_qtensor_adopt(context.get(), &spec, 3, shape, components, 2, nullptr, &out, &ok));
    Tensor view = component(QTensor(out), MOEQ_COMPONENT_SCALE);
    EXPECT_EQ(codes.deleted + scale.deleted, 0);
    std::thread([&] { view.reset(); }).join();
    EXPECT_EQ(codes.deleted, 1);
    EXPECT_EQ(scale.deleted, 1);
}

} // namespace
} // namespace moeq_test
