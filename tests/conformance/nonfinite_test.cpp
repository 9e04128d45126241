// N01: NaN and Inf in a weight. Refused with the place of the first one, or replaced by the rule, under every format, cut,
// source type, source layout and number of threads.
#include "support/scale_units.h"

#include <algorithm>
#include <random>

namespace moeq_test {
namespace {

const char* const kSpecs[] = {
    "int8",
    "int8:axis=-2",
    "int8:expert",
    "int8:block16x48",
    "int8:scale=factor",
    "int8:profile=bnb_cpu",
    "int8:profile=bnb_cpu_fp16",
    "fp8_e4m3",
    "fp8_e4m3:axis=-2",
    "fp8_e4m3:expert",
    "fp8_e4m3:block128x128",
    "fp8_e4m3:block9x100,layout=gate_up",
    "fp8_e5m2",
    "mxfp8",
    "fp8_e5m2:block128x128,axis=-2,layout=up_gate",
    "nf4",
    "nf4:4096",
    "nf4:32,nested",
    "nf4:blocking=row",
    "nf4:blocking=flat",
    "nf4:profile=bnb_cpu",
    "fp4",
    "fp4:nested,blocking=flat",
    "fp4:32,blocking=row,profile=bnb_cpu",
};

// The bits of a type's special values.
struct Special {
    uint32_t nan, inf, sign;
};
Special special(int32_t dtype)
{
    if (dtype == MOEQ_DTYPE_FP32)
        return {0x7FC00001u, 0x7F800000u, 0x80000000u};
    return dtype == MOEQ_DTYPE_FP16 ? Special{0x7E01u, 0x7C00u, 0x8000u} : Special{0x7FC1u, 0x7F80u, 0x8000u};
}

class Nonfinite : public testing::TestWithParam<const char*> {
protected:
    static constexpr int64_t E = 3, R = 46, C = 700; // more than one task for every cut

    void put(HostTensor& tensor, int64_t index, uint32_t bits)
    {
        const int64_t size = tensor.plain().dtype.bits / 8;
        std::memcpy(tensor.memory().data() + index * size, &bits, static_cast<size_t>(size));
    }
    std::mt19937 random{7};
    int64_t any() { return static_cast<int64_t>(random() % static_cast<uint64_t>(E * R * C)); }
};

TEST_P(Nonfinite, N01_the_first_one_in_row_major_order_is_named)
{
    const moeq_spec spec = parse(GetParam());
    for (const int32_t threads : {1, 3})
        for (const int32_t dtype : {MOEQ_DTYPE_FP32, MOEQ_DTYPE_FP16, MOEQ_DTYPE_BF16})
            for (const bool transposed : {false, true}) {
                const Context context = make_context(threads, transposed ? MOEQ_CPU_TIER_SCALAR : MOEQ_CPU_TIER_BEST);
                const Special values = special(dtype);
                // Row-major, or with rows as the innermost axis of memory.
                const Shape strides = transposed ? Shape{R * C, 1, R} : Shape{R * C, C, 1};
                HostTensor source(dtype, {E, R, C}, strides);
                source.fill(5);
                for (int round = 0; round < 4; ++round) {
                    const Bytes clean = source.memory();
                    int64_t first = INT64_MAX;
                    const int count = round == 0 ? 1 : 5;
                    for (int i = 0; i < count; ++i) {
                        const int64_t at = round == 1 && i == 0 ? 0 : round == 2 && i == 0 ? E * R * C - 1 : any();
                        const int64_t e = at / (R * C), r = at / C % R, c = at % C;
                        const uint32_t bits = (i % 3 == 0 ? values.nan : values.inf) | (i % 2 == 0 ? values.sign : 0);
                        put(source, e * strides[0] + r * strides[1] + c * strides[2], bits);
                        first = std::min(first, at);
                    }
                    moeq_qtensor* out = nullptr;
                    Error error;
                    ASSERT_EQ(moeq_qtensor_quantize(context.get(), source, &spec, nullptr, nullptr, &out, &error),
                              MOEQ_ERROR_VALUE);
                    EXPECT_EQ(out, nullptr);
                    EXPECT_EQ((error.expert * R + error.row) * C + error.column, first) << error.message;
                    EXPECT_EQ(error.expert, first / (R * C));
                    EXPECT_EQ(error.column, first % C);
                    EXPECT_STREQ(error.class_id, "N01");
                    source.memory() = clean;
                    source.plain().data = source.memory().data();
                }
                quantize(context, source, spec); // nothing of it stays
            }
}

// NaN -> 0; Inf -> the largest finite magnitude of its scale unit with its sign, 0 where there is none.
TEST_P(Nonfinite, N01_saturated_bytes_are_those_of_the_replaced_values)
{
    moeq_spec spec = parse(GetParam());
    spec.nonfinite = MOEQ_NONFINITE_SATURATE;
    const std::vector<int64_t> units = scale_units(resolved(spec, {E, R, C}), E, R, C);
    for (const int32_t dtype : {MOEQ_DTYPE_FP32, MOEQ_DTYPE_FP16, MOEQ_DTYPE_BF16}) {
        const Context context = make_context(2);
        const Special values = special(dtype);
        const size_t size = static_cast<size_t>(bytes_of(dtype));
        HostTensor source(dtype, {E, R, C});
        HostTensor replaced(dtype, {E, R, C});
        source.fill(9);
        for (int i = 0; i < 60; ++i)
            put(source, any(), (i % 3 == 0 ? values.nan : values.inf) | (i % 2 == 0 ? values.sign : 0));
        // A whole row and a whole column of nothing finite, and an expert's end.
        for (int64_t c = 0; c < C; ++c)
            put(source, (1 * R + 7) * C + c, c % 5 == 0 ? values.nan : values.inf);
        for (int64_t r = 0; r < R; ++r)
            put(source, (2 * R + r) * C + 3, values.inf | values.sign);
        put(source, E * R * C - 1, values.inf);
        std::vector<double> largest(static_cast<size_t>(units.back() + 1), 0.0);
        std::vector<uint32_t> largest_bits(largest.size(), 0);
        const auto bits_at = [&](int64_t i) {
            uint32_t bits = 0;
            std::memcpy(&bits, source.memory().data() + static_cast<size_t>(i) * size, size);
            return bits;
        };
        for (int64_t i = 0; i < E * R * C; ++i) {
            const double magnitude = std::fabs(load(source, dtype, i));
            const size_t unit = static_cast<size_t>(units[static_cast<size_t>(i)]);
            if (std::isfinite(magnitude) && magnitude > largest[unit]) {
                largest[unit] = magnitude;
                largest_bits[unit] = bits_at(i) & ~values.sign;
            }
        }
        uint32_t seen_wanted = 0;
        for (int64_t i = 0; i < E * R * C; ++i) {
            const double value = load(source, dtype, i);
            uint32_t bits = bits_at(i);
            if (std::isnan(value))
                bits = 0;
            else if (std::isinf(value))
                bits = (bits & values.sign) | largest_bits[static_cast<size_t>(units[static_cast<size_t>(i)])];
            seen_wanted |= std::isnan(value) ? MOEQ_SEEN_NAN : std::isinf(value) ? MOEQ_SEEN_INF : 0;
            put(replaced, i, bits);
        }
        uint32_t seen = 0;
        auto options = sized<moeq_quantize_options>();
        options.status_word = &seen;
        const QTensor q = quantize(context, source, spec, &options);
        EXPECT_EQ(seen, seen_wanted);
        EXPECT_EQ(stored_bytes(q), stored_bytes(quantize(context, replaced, spec)));
        for (const float value : dequantize(q))
            ASSERT_TRUE(std::isfinite(value));
        // The same from a strided source, which takes other paths.
        HostTensor wide(dtype, {E, R, C}, {R * C * 3, C * 3, 3});
        for (int64_t i = 0; i < E * R * C; ++i)
            put(wide, i * 3, bits_at(i));
        EXPECT_EQ(stored_bytes(quantize(context, wide, spec)), stored_bytes(q));
        // And in pieces.
        const int64_t shape[3] = {E, R, C};
        moeq_builder* builder = nullptr;
        MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &spec, 3, shape, nullptr, nullptr, &builder, &ok));
        for (int64_t e = 0; e < E; ++e)
            for (int64_t r = 0; r < R; r += 10)
                for (int64_t c = 0; c < C; c += 90) {
                    const int64_t rows = std::min<int64_t>(10, R - r), columns = std::min<int64_t>(90, C - c);
                    HostTensor piece(dtype, {rows, columns});
                    for (int64_t i = 0; i < rows * columns; ++i)
                        put(piece, i, bits_at((e * R + r + i / columns) * C + c + i % columns));
                    MOEQ_EXPECT_OK(moeq_builder_write(builder, e, r, c, piece, nullptr, &ok));
                }
        moeq_qtensor* built = nullptr;
        MOEQ_EXPECT_OK(moeq_builder_finish(builder, nullptr, &built, &ok));
        EXPECT_EQ(stored_bytes(QTensor(built)), stored_bytes(q));
    }
}

TEST_P(Nonfinite, N01_hot_calls_refuse_too)
{
    const Context context = make_context();
    const moeq_spec spec = parse(GetParam());
    HostTensor source(MOEQ_DTYPE_FP32, {1, 4, 64});
    const QTensor q = quantize(context, source.fill(), spec);
    put(source, 2 * 64 + 5, 0xFF800000u);
    Error error;
    uint32_t seen = 0;
    auto options = sized<moeq_quantize_options>();
    options.status_word = &seen;
    EXPECT_EQ(moeq_qtensor_requantize(q.get(), source, &options, nullptr, &error), MOEQ_ERROR_VALUE);
    EXPECT_EQ(error.row, 2);
    EXPECT_EQ(error.column, 5);
    EXPECT_EQ(seen, uint32_t{MOEQ_SEEN_INF});
    const int64_t shape[3] = {1, 4, 64};
    std::vector<std::unique_ptr<HostTensor>> tensors;
    std::vector<moeq_component> destinations;
    for (int32_t id = MOEQ_COMPONENT_CODES; id <= MOEQ_COMPONENT_NESTED_OFFSET; ++id) {
        auto layout = sized<moeq_component_info>();
        if (moeq_spec_get_component(&spec, 3, shape, id, &layout, nullptr) != MOEQ_OK)
            continue;
        tensors.push_back(std::make_unique<HostTensor>(layout.dtype, Shape(layout.shape, layout.shape + layout.ndim)));
        destinations.push_back({id, 0, *tensors.back()});
    }
    EXPECT_EQ(moeq_quantize_into(context.get(), source, &spec, nullptr, nullptr, destinations.data(),
                                 static_cast<int64_t>(destinations.size()), &error),
              MOEQ_ERROR_VALUE);
    EXPECT_EQ(error.row, 2);
}

INSTANTIATE_TEST_SUITE_P(Specs, Nonfinite, testing::ValuesIn(kSpecs));

// Rows longer than any buffer of the library.
TEST(NonfiniteWide, N01_saturates_and_finds_everywhere)
{
    const int64_t R = 3, C = 9001;
    for (const char* text : {"int8", "fp8_e4m3", "fp8_e5m2:expert", "int8:block2x5000", "int8:profile=bnb_cpu_fp16",
                             "nf4:4096,blocking=row"})
        for (const int32_t dtype : {MOEQ_DTYPE_FP32, MOEQ_DTYPE_BF16})
            for (const int64_t step : {1, 2}) { // contiguous, and through a copy
                const Context context = make_context();
                moeq_spec spec = parse(text);
                const Special values = special(dtype);
                HostTensor source(dtype, {1, R, C}, {R * C * step, C * step, step});
                HostTensor clean(dtype, {1, R, C});
                source.fill(12);
                const auto put = [&](HostTensor& tensor, int64_t index, uint32_t bits) {
                    std::memcpy(tensor.memory().data() + index * bytes_of(dtype), &bits,
                                static_cast<size_t>(bytes_of(dtype)));
                };
                const int64_t bad[] = {C + 4095, C + 4096, C + 8191, C + 9000, 2 * C + 8192};
                for (const int64_t at : bad)
                    put(source, at * step, values.nan);
                for (int64_t i = 0; i < R * C; ++i) {
                    uint32_t bits = 0;
                    std::memcpy(&bits, source.memory().data() + i * step * bytes_of(dtype),
                                static_cast<size_t>(bytes_of(dtype)));
                    put(clean, i, std::find(std::begin(bad), std::end(bad), i) != std::end(bad) ? 0 : bits);
                }
                moeq_qtensor* out = nullptr;
                Error error;
                EXPECT_EQ(moeq_qtensor_quantize(context.get(), source, &spec, nullptr, nullptr, &out, &error),
                          MOEQ_ERROR_VALUE);
                EXPECT_EQ(error.row, 1);
                EXPECT_EQ(error.column, 4095);
                EXPECT_NE(error.text().find("got NaN, first at expert 0, row 1, column 4095"), std::string::npos)
                    << error.message;
                spec.nonfinite = MOEQ_NONFINITE_SATURATE;
                EXPECT_EQ(stored_bytes(quantize(context, source, spec)), stored_bytes(quantize(context, clean, spec)))
                    << text << step;
            }
}

TEST(NonfiniteMessage, N01_says_what_was_found)
{
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_FP32, {1, 2, 64});
    source.fill();
    const auto message = [&] {
        const moeq_spec spec = parse("int8");
        moeq_qtensor* out = nullptr;
        Error error;
        EXPECT_EQ(moeq_qtensor_quantize(context.get(), source, &spec, nullptr, nullptr, &out, &error),
                  MOEQ_ERROR_VALUE);
        return error.text();
    };
    source.as<float>()[70] = -HUGE_VALF;
    EXPECT_NE(message().find("got Inf, first"), std::string::npos);
    source.as<float>()[9] = std::nanf("");
    EXPECT_NE(message().find("got NaN or Inf, first"), std::string::npos);
}

// The rounding to fp16 that a profile asks for comes first: what overflows there is an Inf.
TEST(NonfiniteProfile, N01_a_value_beyond_fp16_is_an_inf_under_the_fp16_profile)
{
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_FP32, {1, 2, 8});
    source.fill();
    source.as<float>()[11] = -65520.0f; // rounds to -Inf; 65519 would round to 65504
    const moeq_spec spec = parse("int8:profile=bnb_cpu_fp16");
    moeq_qtensor* out = nullptr;
    Error error;
    EXPECT_EQ(moeq_qtensor_quantize(context.get(), source, &spec, nullptr, nullptr, &out, &error), MOEQ_ERROR_VALUE);
    EXPECT_EQ(error.row, 1);
    EXPECT_EQ(error.column, 3);
    source.as<float>()[11] = -65519.0f;
    const QTensor q = quantize(context, source, spec);
    EXPECT_EQ(reinterpret_cast<const float*>(component(q, MOEQ_COMPONENT_SCALE)->dl_tensor.data)[1], 65504.0f);
}

// With a given amax the magnitude that Inf takes is the given one, also where the element type does not have it, so pieces agree.
TEST(NonfiniteAmax, N01_saturates_to_the_given_amax)
{
    for (const char* text :
         {"int8:expert,nonfinite=saturate", "fp8_e4m3:expert,nonfinite=saturate", "fp8_e5m2:expert,nonfinite=saturate"})
        for (const int32_t dtype : {MOEQ_DTYPE_FP32, MOEQ_DTYPE_FP16, MOEQ_DTYPE_BF16})
            for (const float given : {0.0f, 0.5f, 2.0f, 96.0f, 0x1p20f, 0x1p-140f}) // 2^20 is beyond fp16
                for (const int32_t tier : {MOEQ_CPU_TIER_SCALAR, MOEQ_CPU_TIER_BEST}) {
                    const Context context = make_context(1, tier);
                    HostTensor source(dtype, {1, 2, 70});
                    source.fill(3);
                    const Special values = special(dtype);
                    for (int64_t i = 0; i < 140; i += 7) {
                        const uint32_t bits = (i % 3 == 0 ? values.nan : values.inf) | (i % 2 == 0 ? values.sign : 0);
                        std::memcpy(source.memory().data() + i * bytes_of(dtype), &bits,
                                    static_cast<size_t>(bytes_of(dtype)));
                    }
                    HostTensor amax(MOEQ_DTYPE_FP32, {1});
                    amax.as<float>()[0] = given;
                    auto options = sized<moeq_quantize_options>();
                    options.amax = amax;
                    uint32_t seen = 0;
                    options.status_word = &seen;
                    const QTensor q = quantize(context, source, parse(text), &options);
                    EXPECT_EQ(seen & (MOEQ_SEEN_NAN | MOEQ_SEEN_INF), uint32_t{MOEQ_SEEN_NAN | MOEQ_SEEN_INF});
                    const std::vector<float> got = dequantize(q);
                    for (int64_t i = 0; i < 140; i += 7) {
                        const double value = load(source, dtype, i);
                        const double wanted =
                            std::isnan(value) ? 0.0 : std::copysign(static_cast<double>(given), value);
                        // The code of the given amax: its own value but for the rounding of the factor.
                        EXPECT_NEAR(static_cast<double>(got[static_cast<size_t>(i)]), wanted,
                                    static_cast<double>(given) * 0x1p-20 + 57345 * 0x1p-150)
                            << text << " " << dtype << " " << given << " " << tier;
                    }
                }
}

} // namespace
} // namespace moeq_test
