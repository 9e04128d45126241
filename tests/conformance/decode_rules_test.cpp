// N05: decoding is total. Every code with every kind of scale, as somebody else may have stored them, gives what a rule in
// double precision says: fp32 products, one rounding to the output type, Inf where that overflows, NaN where a factor is NaN.
#include "support/scale_units.h"

#include <random>

#include "unit/codec_oracle.h"

namespace moeq_test {
namespace {

// Scales that nobody's encoder should store, and those that one may.
std::vector<float> scales()
{
    std::vector<float> list;
    for (const uint32_t bits :
         {0x00000000u, 0x00000001u, 0x00000002u, 0x000003FFu, 0x00400000u, 0x007FFFFFu, 0x00800000u,
          0x00800001u, 0x01000000u, 0x0D7FFFFFu, 0x0D800000u, 0x33800000u, 0x38800000u, 0x3C010204u,
          0x3F800000u, 0x3F7FFFFFu, 0x40490FDBu, 0x477FE000u, 0x477FF000u, 0x43E00000u, 0x4E000000u,
          0x7A000000u, 0x7AFFFFFFu, 0x7B7FFFFFu, 0x7B800000u, 0x7B800001u, 0x7C000000u, 0x7E800000u,
          0x7F000000u, 0x7F7FFFFFu, 0x7F800000u, 0x7FC00000u, 0x7F800001u})
        for (const uint32_t sign : {0u, 0x80000000u})
            list.push_back(float_of(bits | sign));
    std::mt19937 random(99);
    for (int i = 0; i < 60; ++i)
        list.push_back(float_of(static_cast<uint32_t>(random())));
    return list;
}

// The value of a code for scale 1, as the formats' tables say.
double value_of(int32_t format, uint32_t code)
{
    const auto signed_by = [](double magnitude, uint32_t sign) { return sign != 0 ? -magnitude : magnitude; };
    switch (format) {
    case MOEQ_FORMAT_INT8:
        return static_cast<double>(static_cast<int8_t>(code));
    case MOEQ_FORMAT_NF4:
        return static_cast<double>(codec_oracle::kNf4[code]);
    case MOEQ_FORMAT_FP4:
        // Code 8 is a zero of no particular sign.
        return code == 8 ? 0.0 : signed_by(static_cast<double>(codec_oracle::kFp4Magnitudes[code & 7]), code & 8);
    case MOEQ_FORMAT_FP8_E4M3:
        return (code & 0x7F) == 0x7F ? std::nan("")
                                     : signed_by(codec_oracle::small_float_value(code & 0x7F, 3, 7), code & 0x80);
    default:
        if ((code & 0x7F) >= 0x7C)
            return (code & 3) != 0 ? std::nan("") : signed_by(HUGE_VAL, code & 0x80);
        return signed_by(codec_oracle::small_float_value(code & 0x7F, 2, 15), code & 0x80);
    }
}

// A product of two fp32 numbers is exact in double, so the conversion is the one rounding.
float rounded_product(double a, double b) { return static_cast<float>(a * b); }

float wanted_value(const moeq_spec& spec, uint32_t code, float scale)
{
    const double value = value_of(spec.format, code);
    const double s = static_cast<double>(scale);
    if (spec.format == MOEQ_FORMAT_INT8 && spec.scale_kind == MOEQ_SCALE_ABSMAX) {
        const double inverse = static_cast<double>(static_cast<float>(1.0 / 127.0));
        if (std::fabs(s) >= 0x1p120) // scaled down, so that q * a does not overflow, and up again
            return static_cast<float>(
                static_cast<double>(rounded_product(static_cast<double>(rounded_product(value, s * 0x1p-8)), inverse)) *
                256.0);
        return rounded_product(static_cast<double>(rounded_product(value, s)), inverse);
    }
    if (spec.scale_kind == MOEQ_SCALE_ABSMAX && !is_packed(spec)) {
        const double largest = spec.format == MOEQ_FORMAT_FP8_E4M3 ? 448 : 57344;
        return rounded_product(value, static_cast<double>(static_cast<float>(s / largest)));
    }
    return rounded_product(value, s);
}

// The fp16 or bf16 nearest to a fp32 number, ties to the even one, Inf beyond the largest: by comparing with neighbours.
uint32_t rounded_to(int32_t dtype, float value)
{
    if (dtype == MOEQ_DTYPE_BF16) {
        const uint32_t low = bits_of(value) >> 16;
        const uint32_t rest = bits_of(value) & 0xFFFF;
        return low + (rest > 0x8000 || (rest == 0x8000 && (low & 1) != 0) ? 1 : 0);
    }
    const uint32_t sign = bits_of(value) >> 16 & 0x8000;
    const double magnitude = std::fabs(static_cast<double>(value));
    if (magnitude >= 65520.0)
        return sign | 0x7C00;
    int exponent = magnitude == 0.0 ? -14 : std::max(std::ilogb(magnitude), -14);
    double steps = std::nearbyint(std::ldexp(magnitude, 10 - exponent)); // of the last place, to even
    if (steps == 2048.0) {
        steps = 1024.0;
        ++exponent;
    }
    return sign | (steps < 1024.0 ? static_cast<uint32_t>(steps)
                                  : static_cast<uint32_t>(exponent + 15) << 10 | (static_cast<uint32_t>(steps) - 1024));
}

bool is_nan_of(int32_t dtype, uint32_t bits)
{
    if (dtype == MOEQ_DTYPE_FP32)
        return (bits & 0x7FFFFFFFu) > 0x7F800000u;
    return (bits & 0x7FFFu) > (dtype == MOEQ_DTYPE_FP16 ? 0x7C00u : 0x7F80u);
}

class DecodeRules : public testing::TestWithParam<const char*> {};

TEST_P(DecodeRules, N05_every_code_with_every_kind_of_scale)
{
    const moeq_spec spec = resolved(parse(GetParam()), {1, 1, 256});
    const std::vector<float> list = scales();
    const int64_t rows = static_cast<int64_t>(list.size());
    const bool packed = is_packed(spec);
    // 8-bit: a row of all codes per scale. 4-bit: a row of 8 blocks of 32, both nibbles of every byte, one scale.
    const int64_t columns = packed ? 512 : 256;
    const int64_t shape[3] = {1, rows, columns};
    HostTensor codes(spec.format == MOEQ_FORMAT_INT8       ? MOEQ_DTYPE_INT8
                     : spec.format == MOEQ_FORMAT_FP8_E4M3 ? MOEQ_DTYPE_FP8_E4M3FN
                     : spec.format == MOEQ_FORMAT_FP8_E5M2 ? MOEQ_DTYPE_FP8_E5M2
                                                           : MOEQ_DTYPE_UINT8,
                     {1, rows, 256});
    for (size_t i = 0; i < codes.memory().size(); ++i)
        codes.memory()[i] = static_cast<uint8_t>(i);
    const int64_t per_row = packed ? columns / spec.block_columns : 1;
    HostTensor scale(MOEQ_DTYPE_FP32, packed ? Shape{1, rows, per_row} : Shape{1, rows});
    for (int64_t i = 0; i < rows * per_row; ++i)
        scale.as<float>()[i] = list[static_cast<size_t>(i / per_row)];
    const moeq_component parts[2] = {{MOEQ_COMPONENT_CODES, 0, codes}, {MOEQ_COMPONENT_SCALE, 0, scale}};
    for (const int32_t tier : {MOEQ_CPU_TIER_SCALAR, MOEQ_CPU_TIER_AVX2, MOEQ_CPU_TIER_AVX512}) {
        auto options = sized<moeq_context_options>();
        options.cpu_tier = tier;
        moeq_context* made = nullptr;
        if (moeq_context_create(&options, &made, nullptr) == MOEQ_ERROR_UNSUPPORTED)
            continue;
        const Context context(made);
        moeq_qtensor* out = nullptr;
        MOEQ_EXPECT_OK(moeq_qtensor_adopt(context.get(), &spec, 3, shape, parts, 2, nullptr, &out, &ok));
        const QTensor q(out);
        for (const int32_t dtype : {MOEQ_DTYPE_FP32, MOEQ_DTYPE_FP16, MOEQ_DTYPE_BF16}) {
            HostTensor got(dtype, {1, rows, columns});
            MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, got, &ok));
            for (int64_t i = 0; i < rows * columns; ++i) {
                uint32_t code = static_cast<uint32_t>(packed ? i / 2 : i) & 0xFF;
                if (packed)
                    code = i % 2 == 0 ? code >> 4 : code & 15;
                const float value = wanted_value(spec, code, list[static_cast<size_t>(i / columns)]);
                uint32_t bits = 0;
                std::memcpy(&bits, got.memory().data() + i * bytes_of(dtype), static_cast<size_t>(bytes_of(dtype)));
                if (std::isnan(value)) {
                    ASSERT_TRUE(is_nan_of(dtype, bits))
                        << "code " << code << " scale " << list[static_cast<size_t>(i / columns)];
                    continue;
                }
                uint32_t wanted = dtype == MOEQ_DTYPE_FP32 ? bits_of(value) : rounded_to(dtype, value);
                if (spec.format == MOEQ_FORMAT_FP4 &&
                    code == 8) { // by value: the sign of this zero is nobody's promise
                    const uint32_t magnitude = dtype == MOEQ_DTYPE_FP32 ? 0x7FFFFFFFu : 0x7FFFu;
                    wanted &= magnitude;
                    bits &= magnitude;
                }
                ASSERT_EQ(bits, wanted) << GetParam() << " code " << code << " scale "
                                        << list[static_cast<size_t>(i / columns)] << " dtype " << dtype << " tier "
                                        << tier;
            }
        }
        // Whatever the codes are, looking at them is safe too.
        HostTensor source(MOEQ_DTYPE_FP32, {1, rows, columns});
        HostTensor figures(MOEQ_DTYPE_FP64, {1, 7});
        MOEQ_EXPECT_OK(moeq_qtensor_compare(q.get(), source.fill(), nullptr, figures, &ok));
    }
}

INSTANTIATE_TEST_SUITE_P(Specs, DecodeRules,
                         testing::Values("int8", "int8:scale=factor", "fp8_e4m3", "fp8_e4m3:scale=absmax", "fp8_e5m2",
                                         "fp8_e5m2:scale=absmax", "nf4:32,blocking=row", "fp4:32,blocking=row"));

TEST(Fp8, N05_encoding_never_makes_nan_or_inf_codes)
{
    for (const int32_t tier : {MOEQ_CPU_TIER_SCALAR, MOEQ_CPU_TIER_BEST})
        for (const char* text : {"fp8_e4m3:expert,nonfinite=saturate", "fp8_e5m2:expert,nonfinite=saturate"}) {
            const Context context = make_context(1, tier);
            // All bf16 values there are.
            HostTensor source(MOEQ_DTYPE_BF16, {1, 256, 256});
            for (uint32_t i = 0; i < 65536; ++i)
                source.as<uint16_t>()[i] = static_cast<uint16_t>(i);
            HostTensor amax(MOEQ_DTYPE_FP32, {1});
            auto options = sized<moeq_quantize_options>();
            for (const float given : {-1.0f, 0.0f, 1e-45f, 1.0f, 3e38f}) { // -1: measured
                amax.as<float>()[0] = given;
                options.amax = given < 0 ? nullptr : static_cast<DLManagedTensorVersioned*>(amax);
                const QTensor q = quantize(context, source, parse(text), &options);
                for (const uint8_t code : packed_bytes(component(q, MOEQ_COMPONENT_CODES).get()))
                    ASSERT_LE(code & 0x7F, text[5] == '4' ? 0x7E : 0x7B) << text << " " << given;
            }
        }
}

// An adopted nested statistic may be anything as well.
TEST(Nested, N05_any_map_offset_and_scale)
{
    const Context context = make_context();
    const moeq_spec spec = parse("nf4:32,nested");
    const int64_t shape[3] = {1, 16, 1024};
    HostTensor codes(MOEQ_DTYPE_UINT8, {1, 8192});
    HostTensor absmax(MOEQ_DTYPE_UINT8, {1, 512});
    HostTensor nested_scale(MOEQ_DTYPE_FP32, {2});
    HostTensor map(MOEQ_DTYPE_FP32, {256});
    HostTensor offset(MOEQ_DTYPE_FP32, {});
    for (size_t i = 0; i < 8192; ++i)
        codes.memory()[i] = static_cast<uint8_t>(i * 37);
    for (size_t i = 0; i < 512; ++i)
        absmax.memory()[i] = static_cast<uint8_t>(i);
    for (int i = 0; i < 256; ++i)
        map.as<float>()[i] = i < 8 ? scales()[static_cast<size_t>(50 + i)] : static_cast<float>(i - 100) / 64.0f;
    for (const float at : {0.0f, -3.0f, 1e30f, HUGE_VALF, std::nanf("")}) {
        offset.as<float>()[0] = at;
        nested_scale.as<float>()[0] = 2.5f;
        nested_scale.as<float>()[1] = -1e-3f;
        const moeq_component parts[5] = {{MOEQ_COMPONENT_CODES, 0, codes},
                                         {MOEQ_COMPONENT_SCALE, 0, absmax},
                                         {MOEQ_COMPONENT_NESTED_SCALE, 0, nested_scale},
                                         {MOEQ_COMPONENT_NESTED_MAP, 0, map},
                                         {MOEQ_COMPONENT_NESTED_OFFSET, 0, offset}};
        moeq_qtensor* out = nullptr;
        MOEQ_EXPECT_OK(moeq_qtensor_adopt(context.get(), &spec, 3, shape, parts, 5, nullptr, &out, &ok));
        const QTensor q(out);
        const std::vector<float> got = dequantize(q);
        for (int64_t i = 0; i < 16 * 1024; ++i) {
            const int64_t block = i / 32;
            const double entry = static_cast<double>(map.as<float>()[block % 256]);
            const float product = rounded_product(entry, static_cast<double>(nested_scale.as<float>()[block / 256]));
            const float statistic = static_cast<float>(static_cast<double>(product) + static_cast<double>(at));
            const uint8_t byte = codes.memory()[static_cast<size_t>(i / 2)];
            const float wanted = rounded_product(value_of(MOEQ_FORMAT_NF4, i % 2 == 0 ? byte >> 4 : byte & 15),
                                                 static_cast<double>(statistic));
            if (std::isnan(wanted))
                ASSERT_TRUE(std::isnan(got[static_cast<size_t>(i)])) << i;
            else
                ASSERT_EQ(bits_of(got[static_cast<size_t>(i)]), bits_of(wanted)) << i;
        }
    }
}

} // namespace
} // namespace moeq_test
