// The numbers of every format where they are delicate: tiny, huge and zero rows, ties, odd counts, tiles at borders, and what the
// bitsandbytes profiles do at the edges.
#include "support/scale_units.h"

#include <algorithm>
#include <cfenv>
#include <random>

#include "unit/codec_oracle.h"

namespace moeq_test {
namespace {

const char* const kRowSpecs[] = {
    "int8",
    "int8:scale=factor",
    "int8:axis=-2",
    "int8:block1x40",
    "fp8_e4m3",
    "fp8_e4m3:scale=absmax",
    "fp8_e4m3:axis=-2",
    "fp8_e5m2",
    "fp8_e5m2:scale=absmax",
    "nf4",
    "nf4:32",
    "nf4:blocking=row",
    "nf4:blocking=flat",
    "fp4",
    "fp4:blocking=row",
};

// Every element of a fp32 weight meets the bound of its unit.
void expect_bounds(const Context& context, HostTensor& source, const char* text)
{
    const Shape& shape = source.shape();
    const moeq_spec spec = resolved(parse(text), shape);
    const std::vector<int64_t> units = scale_units(spec, shape[0], shape[1], shape[2]);
    const int64_t count = count_of(shape);
    std::vector<double> amax(static_cast<size_t>(units.back() + 1), 0.0);
    for (int64_t i = 0; i < count; ++i) {
        double& largest = amax[static_cast<size_t>(units[static_cast<size_t>(i)])];
        largest = std::max(largest, std::fabs(static_cast<double>(source.as<float>()[i])));
    }
    const QTensor q = quantize(context, source, spec);
    const std::vector<float> got = dequantize(q);
    for (int64_t i = 0; i < count; ++i) {
        const double x = static_cast<double>(source.as<float>()[i]);
        const double a = amax[static_cast<size_t>(units[static_cast<size_t>(i)])];
        const double error = std::fabs(static_cast<double>(got[static_cast<size_t>(i)]) - x);
        ASSERT_LE(error, error_bound(spec, x, a))
            << text << ": x " << x << " amax " << a << " got " << got[static_cast<size_t>(i)];
        ASSERT_TRUE(std::isfinite(got[static_cast<size_t>(i)])) << text;
    }
    // The statistic itself: absmax to the bit, factor as one correctly rounded division.
    const Tensor scale = component(q, MOEQ_COMPONENT_SCALE);
    for (size_t unit = 0; unit < amax.size(); ++unit) {
        const double largest = spec.format == MOEQ_FORMAT_INT8       ? 127
                               : spec.format == MOEQ_FORMAT_FP8_E4M3 ? 448
                                                                     : 57344;
        const float wanted =
            static_cast<float>(spec.scale_kind == MOEQ_SCALE_ABSMAX ? amax[unit] : amax[unit] / largest);
        if (!(spec.format == MOEQ_FORMAT_INT8 && spec.scale_kind == MOEQ_SCALE_FACTOR &&
              bits_of(static_cast<float>(amax[unit])) == 0x7F7FFFFFu)) {
            ASSERT_EQ(bits_of(floats(scale)[unit]), bits_of(wanted)) << text << " " << unit;
        }
    }
}

class Numerics : public testing::TestWithParam<const char*> {
protected:
    // Rows of 80: the largest magnitude, some below it, and zeros.
    void fill_row(float* row, float amax)
    {
        for (int64_t c = 0; c < 80; ++c) {
            const double share = static_cast<double>(random() % 1001) / 1000;
            row[c] = static_cast<float>(share * static_cast<double>(amax)) * (random() % 2 == 0 ? 1.0f : -1.0f);
        }
        row[random() % 80] = amax;
        row[random() % 80] = -amax;
    }
    Context context = make_context();
    std::mt19937 random{42};
};

TEST_P(Numerics, N02_tiny_amax_meets_the_bounds)
{
    // All exponents from subnormal to 2^-90, the border of the prescale among them.
    HostTensor source(MOEQ_DTYPE_FP32, {1, 260, 80});
    for (int64_t r = 0; r < 260; ++r) {
        const uint32_t exponent = static_cast<uint32_t>(r % 38);
        const uint32_t mantissa = r < 38 ? 0 : r < 76 ? 0x7FFFFFu : static_cast<uint32_t>(random()) & 0x7FFFFFu;
        fill_row(source.as<float>() + r * 80,
                 float_of(exponent << 23 | (exponent == 0 && mantissa == 0 ? 1 : mantissa)));
    }
    expect_bounds(context, source, GetParam());
}

TEST_P(Numerics, N02_rows_of_one_subnormal_meet_the_bounds)
{
    HostTensor source(MOEQ_DTYPE_FP32, {1, 400, 80});
    for (int64_t r = 0; r < 400; ++r) {
        const uint32_t bits = r < 200 ? static_cast<uint32_t>(r + 1) : static_cast<uint32_t>(random()) & 0x7FFFFFu;
        source.as<float>()[r * 80 + static_cast<int64_t>(random() % 80)] =
            float_of(bits | (r % 2 == 0 ? 0x80000000u : 0));
    }
    expect_bounds(context, source, GetParam());
}

TEST_P(Numerics, huge_rows_meet_the_bounds)
{
    HostTensor source(MOEQ_DTYPE_FP32, {1, 64, 80});
    for (int64_t r = 0; r < 64; ++r) {
        const uint32_t exponent = 254 - static_cast<uint32_t>(r % 16);
        fill_row(source.as<float>() + r * 80,
                 float_of(exponent << 23 | (r < 16   ? 0x7FFFFFu
                                            : r < 32 ? 0u
                                                     : static_cast<uint32_t>(random()) & 0x7FFFFFu)));
    }
    expect_bounds(context, source, GetParam());
}

TEST_P(Numerics, ordinary_rows_meet_the_bounds)
{
    HostTensor source(MOEQ_DTYPE_FP32, {3, 41, 80});
    expect_bounds(context, source.fill(77), GetParam());
}

TEST_P(Numerics, N03_zeros_of_both_signs_are_nothing)
{
    for (const int32_t dtype : {MOEQ_DTYPE_FP32, MOEQ_DTYPE_FP16, MOEQ_DTYPE_BF16})
        for (const int32_t tier : {MOEQ_CPU_TIER_SCALAR, MOEQ_CPU_TIER_BEST}) {
            const Context other = make_context(1, tier);
            HostTensor source(dtype, {2, 9, 67});
            for (int64_t i = 0; i < 2 * 9 * 67; i += 3)
                source.memory()[static_cast<size_t>((i + 1) * bytes_of(dtype) - 1)] = 0x80; // -0.0
            const QTensor q = quantize(other, source, GetParam());
            const Tensor scale = component(q, MOEQ_COMPONENT_SCALE);
            const Tensor codes = component(q, MOEQ_COMPONENT_CODES);
            for (const uint8_t byte : packed_bytes(scale.get()))
                ASSERT_EQ(byte, 0);
            for (const uint8_t byte : packed_bytes(codes.get()))
                ASSERT_EQ(byte, std::string(GetParam()).rfind("nf4", 0) == 0 ? 0x77 : 0);
            for (const float value : dequantize(q))
                ASSERT_EQ(bits_of(value), 0u);
        }
    // A zero row among others has a statistic of 0 and gives +0; its neighbours do not see it.
    if (std::string(GetParam()) == "int8" || std::string(GetParam()) == "fp8_e4m3" ||
        std::string(GetParam()) == "nf4:blocking=row") {
        HostTensor source(MOEQ_DTYPE_FP32, {1, 3, 64});
        source.fill(8);
        for (int64_t c = 0; c < 64; ++c)
            source.as<float>()[64 + c] = -0.0f;
        const QTensor q = quantize(context, source, GetParam());
        EXPECT_GT(floats(component(q, MOEQ_COMPONENT_SCALE))[0], 0.0f);
        EXPECT_EQ(bits_of(floats(component(q, MOEQ_COMPONENT_SCALE))[1]), 0u);
        const std::vector<float> got = dequantize(q);
        for (size_t c = 0; c < 64; ++c)
            ASSERT_EQ(bits_of(got[64 + c]), 0u);
    }
}

TEST_P(Numerics, N04_the_hosts_rounding_mode_changes_nothing)
{
    const Context pool = make_context(2);
    HostTensor source(MOEQ_DTYPE_FP32, {3, 200, 200});
    source.fill(6);
    const QTensor wanted = quantize(pool, source, GetParam());
    const Bytes bytes = stored_bytes(wanted);
    const std::vector<float> values = dequantize(wanted);
    for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
        ASSERT_EQ(std::fesetround(mode), 0);
        const QTensor q = quantize(pool, source, GetParam());
        const std::vector<float> got = dequantize(q);
        const int after = std::fegetround();
        std::fesetround(FE_TONEAREST);
        EXPECT_EQ(after, mode);
        EXPECT_EQ(stored_bytes(q), bytes);
        EXPECT_EQ(got, values);
    }
}

INSTANTIATE_TEST_SUITE_P(Specs, Numerics, testing::ValuesIn(kRowSpecs));

TEST(Ties, N04_go_to_the_even_code)
{
    for (const int32_t tier : {MOEQ_CPU_TIER_SCALAR, MOEQ_CPU_TIER_BEST}) {
        const Context context = make_context(1, tier);
        // int8: with amax 127 an element is its own code.
        HostTensor halves(MOEQ_DTYPE_FP32, {1, 1, 254});
        for (int64_t i = 0; i < 254; ++i)
            halves.as<float>()[i] = static_cast<float>(i) - 126.5f;
        halves.as<float>()[253] = 127.0f;
        const QTensor int8 = quantize(context, halves, "int8");
        const Tensor codes = component(int8, MOEQ_COMPONENT_CODES);
        for (int64_t i = 0; i < 253; ++i) {
            const int64_t below = i - 127;
            ASSERT_EQ(static_cast<const int8_t*>(codes->dl_tensor.data)[i], below % 2 == 0 ? below : below + 1);
        }
        // FP8: with an amax of the largest value too. Every midpoint, and what is next to it.
        struct Fp8 {
            const char* spec;
            uint32_t last;
            int mantissa, bias;
        };
        for (const Fp8& f : {Fp8{"fp8_e4m3", 0x7E, 3, 7}, Fp8{"fp8_e5m2", 0x7B, 2, 15}}) {
            const std::vector<double> values = codec_oracle::small_float_values(f.last, f.mantissa, f.bias);
            HostTensor source(MOEQ_DTYPE_FP32, {1, 1, static_cast<int64_t>(values.size()) * 6});
            std::vector<uint32_t> wanted;
            for (size_t i = 0; i + 1 < values.size(); ++i) {
                const float middle = static_cast<float>((values[i] + values[i + 1]) / 2);
                for (const float x : {std::nextafterf(middle, 0.0f), middle, std::nextafterf(middle, 1e9f)})
                    for (const uint32_t sign : {0u, 0x80u}) {
                        source.as<float>()[wanted.size()] = sign == 0 ? x : -x;
                        wanted.push_back(codec_oracle::nearest_even(values, static_cast<double>(x)) | sign);
                    }
            }
            source.as<float>()[wanted.size()] = static_cast<float>(values.back());
            wanted.push_back(f.last);
            const QTensor q = quantize(context, source, f.spec);
            for (size_t i = 0; i < wanted.size(); ++i)
                ASSERT_EQ(octets(component(q, MOEQ_COMPONENT_CODES))[i], wanted[i])
                    << f.spec << " " << source.as<float>()[i];
        }
        // NF4: t beyond the middle of two values goes up.
        HostTensor block(MOEQ_DTYPE_FP32, {1, 1, 64});
        for (int i = 0; i < 15; ++i) {
            const float middle = (codec_oracle::kNf4[i] + codec_oracle::kNf4[i + 1]) / 2;
            block.as<float>()[2 * i] = middle - 1e-5f;
            block.as<float>()[2 * i + 1] = middle + 1e-5f;
        }
        block.as<float>()[63] = 1.0f;
        const QTensor nf4 = quantize(context, block, "nf4");
        for (uint32_t i = 0; i < 15; ++i)
            ASSERT_EQ(octets(component(nf4, MOEQ_COMPONENT_CODES))[i], i << 4 | (i + 1));
    }
}

TEST(Nibbles, N07_N08_the_first_element_is_high_and_the_odd_end_is_the_code_of_0)
{
    for (const int32_t tier : {MOEQ_CPU_TIER_SCALAR, MOEQ_CPU_TIER_BEST}) {
        const Context context = make_context(1, tier);
        HostTensor pair(MOEQ_DTYPE_FP32, {1, 1, 2});
        pair.as<float>()[0] = 3.0f;
        pair.as<float>()[1] = -3.0f;
        EXPECT_EQ(octets(component(quantize(context, pair, "nf4"), MOEQ_COMPONENT_CODES))[0], 0xF0);
        EXPECT_EQ(octets(component(quantize(context, pair, "fp4"), MOEQ_COMPONENT_CODES))[0], 0x3B);
        // A run of an odd count ends with the code of 0 in the low nibble; that is at the end of each run and nowhere else.
        for (const char* format : {"nf4:32", "fp4:32"})
            for (const int64_t columns : {1, 31, 33, 63, 65, 129, 517})
                for (const char* blocking : {"expert", "row", "flat"}) {
                    const int64_t E = 3, R = 5;
                    HostTensor source(MOEQ_DTYPE_FP32, {E, R, columns});
                    for (int64_t i = 0; i < E * R * columns; ++i)
                        source.as<float>()[i] = -1.0f; // code 0 in NF4, 11 in FP4
                    const QTensor q =
                        quantize(context, source, (std::string(format) + ",blocking=" + blocking).c_str());
                    const Bytes codes = packed_bytes(component(q, MOEQ_COMPONENT_CODES).get());
                    const std::string kind = blocking;
                    const int64_t run = kind == "row" ? columns : kind == "expert" ? R * columns : E * R * columns;
                    const int64_t bytes = (run + 1) / 2;
                    ASSERT_EQ(static_cast<int64_t>(codes.size()), E * R * columns / run * bytes);
                    const uint32_t one = format[0] == 'n' ? 0x0 : 0xB;
                    const uint32_t nothing = format[0] == 'n' ? 0x7 : 0x0;
                    for (int64_t i = 0; i < static_cast<int64_t>(codes.size()); ++i) {
                        const bool last = run % 2 != 0 && i % bytes == bytes - 1;
                        ASSERT_EQ(codes[static_cast<size_t>(i)], one << 4 | (last ? nothing : one))
                            << format << blocking << columns;
                    }
                    for (const float value : dequantize(q))
                        ASSERT_EQ(value, -1.0f);
                }
    }
}

// Measured on bitsandbytes' CPU path.
TEST(BnbProfile, does_what_bitsandbytes_does_at_the_edges)
{
    const Context context = make_context();
    struct Case {
        const char* spec;
        uint32_t bits; // of all elements of a whole block
        uint8_t byte;
        uint32_t absmax;
    };
    for (const Case& c :
         {Case{"nf4:profile=bnb_cpu", 0, 0x77, 0}, Case{"nf4:profile=bnb_cpu", 71362, 0x77, 71362}, // 1e-40
          Case{"fp4:profile=bnb_cpu", 71362, 0x11, 71362}, Case{"fp4:profile=bnb_cpu", 1, 0x88, 1}}) {
        HostTensor source(MOEQ_DTYPE_FP32, {1, 1, 64});
        for (int64_t i = 0; i < 64; ++i)
            source.as<float>()[i] = float_of(c.bits);
        const QTensor q = quantize(context, source, c.spec);
        for (int64_t i = 0; i < 32; ++i)
            ASSERT_EQ(octets(component(q, MOEQ_COMPONENT_CODES))[i], c.byte) << c.spec << c.bits;
        EXPECT_EQ(bits_of(floats(component(q, MOEQ_COMPONENT_SCALE))[0]), c.absmax);
    }
    // A last partial block of zeros stores 1e-38.
    HostTensor zeros(MOEQ_DTYPE_FP32, {1, 1, 96});
    const QTensor q = quantize(context, zeros, "nf4:profile=bnb_cpu");
    EXPECT_EQ(floats(component(q, MOEQ_COMPONENT_SCALE))[0], 0.0f);
    EXPECT_EQ(floats(component(q, MOEQ_COMPONENT_SCALE))[1], 1e-38f);
    for (const float value : dequantize(q))
        EXPECT_EQ(value, 0.0f);
    // Nested statistics are those that plain ones would be, also when they are read a second time.
    HostTensor odd(MOEQ_DTYPE_FP32, {2, 1, 33});
    const moeq_spec nested = parse("nf4:32,nested,profile=bnb_cpu");
    const int64_t shape[3] = {2, 1, 33};
    moeq_builder* builder = nullptr;
    MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &nested, 3, shape, nullptr, nullptr, &builder, &ok));
    MOEQ_EXPECT_OK(moeq_builder_write(builder, 0, 0, 0, odd, nullptr, &ok));
    moeq_qtensor* built = nullptr;
    MOEQ_EXPECT_OK(moeq_builder_finish(builder, nullptr, &built, &ok));
    const QTensor pieces(built);
    const QTensor whole = quantize(context, odd, nested);
    EXPECT_EQ(stored_bytes(pieces), stored_bytes(whole));
    EXPECT_EQ(floats(component(whole, MOEQ_COMPONENT_NESTED_OFFSET))[0], 0.5e-38f); // the mean of 0 and 1e-38, twice
    // int8: the multiplier is fl(fl(1/a) * 127), which makes other codes than fl(127/a) somewhere, and overflows to codes of 0.
    HostTensor source(MOEQ_DTYPE_FP32, {1, 200, 300});
    source.fill(19);
    source.as<float>()[0] = 0.0f;
    const QTensor bnb = quantize(context, source, "int8:profile=bnb_cpu");
    const auto* codes = static_cast<const int8_t*>(component(bnb, MOEQ_COMPONENT_CODES)->dl_tensor.data);
    const Tensor scale = component(bnb, MOEQ_COMPONENT_SCALE);
    for (int64_t i = 0; i < 200 * 300; ++i) {
        const float inverse = static_cast<float>(1.0 / static_cast<double>(floats(scale)[i / 300]));
        const float multiplier = static_cast<float>(static_cast<double>(inverse) * 127.0);
        const float t =
            static_cast<float>(static_cast<double>(source.as<float>()[i]) * static_cast<double>(multiplier));
        ASSERT_EQ(codes[i], static_cast<int>(std::nearbyint(t))) << i;
    }
}

// Rows of no columns are still rows: their statistics are 0, whatever was in the storage.
TEST(EmptyRows, N03_have_statistics_of_0)
{
    const Context context = make_context();
    struct Case {
        const char* spec;
        Shape shape, scale;
    };
    for (const Case& c : {Case{"int8", {2, 3, 0}, {2, 3}}, Case{"fp8_e4m3:axis=-2", {2, 0, 5}, {2, 5}},
                          Case{"fp8_e4m3:expert", {2, 0, 5}, {2}}, Case{"int8:expert", {4, 7, 0}, {4}}}) {
        const moeq_spec spec = parse(c.spec);
        HostTensor source(MOEQ_DTYPE_FP32, c.shape);
        HostTensor codes(c.spec[0] == 'i' ? MOEQ_DTYPE_INT8 : MOEQ_DTYPE_FP8_E4M3FN, c.shape);
        HostTensor scale(MOEQ_DTYPE_FP32, c.scale);
        scale.fill(3);
        const moeq_component parts[2] = {{MOEQ_COMPONENT_CODES, 0, codes}, {MOEQ_COMPONENT_SCALE, 0, scale}};
        MOEQ_EXPECT_OK(moeq_quantize_into(context.get(), source, &spec, nullptr, nullptr, parts, 2, &ok));
        for (const uint8_t byte : scale.memory())
            ASSERT_EQ(byte, 0) << c.spec;
        const QTensor q = quantize(context, source, spec);
        for (const uint8_t byte : packed_bytes(component(q, MOEQ_COMPONENT_SCALE).get()))
            ASSERT_EQ(byte, 0) << c.spec;
        // A builder has nothing to wait for.
        auto info = sized<moeq_component_info>();
        moeq_builder* builder = nullptr;
        MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &spec, 3, c.shape.data(), nullptr, nullptr, &builder, &ok));
        moeq_qtensor* built = nullptr;
        MOEQ_EXPECT_OK(moeq_builder_finish(builder, nullptr, &built, &ok));
        const QTensor owner(built);
        MOEQ_EXPECT_OK(moeq_spec_get_component(&spec, 3, c.shape.data(), MOEQ_COMPONENT_SCALE, &info, &ok));
        const Bytes stored = packed_bytes(component(owner, MOEQ_COMPONENT_SCALE).get());
        EXPECT_EQ(static_cast<int64_t>(stored.size()), info.bytes);
        for (const uint8_t byte : stored)
            ASSERT_EQ(byte, 0) << c.spec;
    }
}

TEST(Layouts, no_tile_straddles_gate_and_up)
{
    const Context context = make_context();
    // Gate of large values, up of small ones, border at row 5 and tiles of 4: were a tile to straddle, up would suffer.
    HostTensor source(MOEQ_DTYPE_FP32, {2, 10, 12});
    HostTensor transposed(MOEQ_DTYPE_FP32, {2, 12, 10});
    for (int64_t e = 0; e < 2; ++e)
        for (int64_t r = 0; r < 10; ++r)
            for (int64_t c = 0; c < 12; ++c) {
                const float value = static_cast<float>((r < 5 ? 1000 : 1) * (1 + (r * 12 + c) % 5));
                source.as<float>()[(e * 10 + r) * 12 + c] = value;
                transposed.as<float>()[(e * 12 + c) * 10 + r] = value;
            }
    for (const char* layout : {"gate_up", "up_gate"}) {
        const QTensor q = quantize(context, source, (std::string("fp8_e4m3:block4x4,layout=") + layout).c_str());
        const Tensor scale = component(q, MOEQ_COMPONENT_SCALE);
        ASSERT_EQ(scale->dl_tensor.shape[1], 4); // 0-3, 4, 5-8, 9
        ASSERT_EQ(scale->dl_tensor.shape[2], 3);
        for (int64_t i = 0; i < 2 * 4 * 3; ++i)
            EXPECT_EQ(floats(scale)[i], (i / 3 % 4 < 2 ? 5000.0f : 5.0f) / 448.0f) << i;
        const QTensor t =
            quantize(context, transposed, (std::string("fp8_e4m3:block4x4,axis=-2,layout=") + layout).c_str());
        const Tensor t_scale = component(t, MOEQ_COMPONENT_SCALE);
        ASSERT_EQ(t_scale->dl_tensor.shape[1], 3);
        ASSERT_EQ(t_scale->dl_tensor.shape[2], 4);
        for (int64_t i = 0; i < 2 * 3 * 4; ++i)
            EXPECT_EQ(floats(t_scale)[i], (i % 4 < 2 ? 5000.0f : 5.0f) / 448.0f) << i;
    }
    const QTensor plain = quantize(context, source, "fp8_e4m3:block4x4");
    EXPECT_EQ(component(plain, MOEQ_COMPONENT_SCALE)->dl_tensor.shape[1], 3);
    EXPECT_EQ(floats(component(plain, MOEQ_COMPONENT_SCALE))[3], 5000.0f / 448.0f); // rows 4-7
}

TEST(Layouts, interleaved_is_a_tag_and_the_bytes_are_the_plain_ones)
{
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_BF16, {2, 10, 96});
    source.fill(23);
    for (const char* text :
         {"int8", "int8:block4x32", "fp8_e4m3:block3x5", "fp8_e4m3:expert", "nf4", "nf4:32,nested"}) {
        const moeq_spec plain = parse(text);
        moeq_spec tagged = plain;
        tagged.layout = MOEQ_LAYOUT_GATE_UP_INTERLEAVED;
        const QTensor q = quantize(context, source, tagged);
        EXPECT_EQ(stored_bytes(q), stored_bytes(quantize(context, source, plain)));
        auto spec = sized<moeq_spec>();
        MOEQ_EXPECT_OK(moeq_qtensor_get_spec(q.get(), &spec, &ok));
        EXPECT_EQ(spec.layout, MOEQ_LAYOUT_GATE_UP_INTERLEAVED);
    }
    // Rows, blocks of a run and experts have no tile to cut at the border.
    for (const char* text : {"int8", "fp8_e4m3:expert", "nf4", "nf4:blocking=row"}) {
        moeq_spec tagged = parse(text);
        tagged.layout = MOEQ_LAYOUT_GATE_UP;
        EXPECT_EQ(stored_bytes(quantize(context, source, tagged)), stored_bytes(quantize(context, source, text)));
    }
}

} // namespace
} // namespace moeq_test
