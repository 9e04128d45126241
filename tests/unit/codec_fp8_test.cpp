// E4M3 and E5M2: every code, ties, saturation, and encoding judged by distances in double.
#include <gtest/gtest.h>

#include "codec/float16.h"
#include "codec/fp8.h"
#include "codec_oracle.h"
#include "support/float_modes.h"

namespace {

using namespace moeq::codec;
using namespace codec_oracle;

struct Fp8 {
    const char* name;
    int mantissa_bits;
    int bias;
    uint32_t max_code;
    double max_value;
    float (*to_float)(uint8_t);
    uint8_t (*from_float)(float);
};

const Fp8 kFormats[] = {
    {"e4m3", 3, 7, 0x7E, 448.0, [](uint8_t c) { return e4m3_to_float(c); }, [](float x) { return float_to_e4m3(x); }},
    {"e5m2", 2, 15, 0x7B, 57344.0, [](uint8_t c) { return e5m2_to_float(c); },
     [](float x) { return float_to_e5m2(x); }},
};

TEST(CodecFp8, EveryCodeDecodesToItsValueAndBack)
{
    for (const Fp8& format : kFormats) {
        ASSERT_EQ(small_float_value(format.max_code, format.mantissa_bits, format.bias), format.max_value);
        for (uint32_t code = 0; code < 256; ++code) {
            const float value = format.to_float(static_cast<uint8_t>(code));
            const uint32_t magnitude = code & 0x7Fu;
            ASSERT_EQ(std::signbit(value), code >= 128) << format.name << code;
            if (magnitude <= format.max_code) {
                ASSERT_EQ(std::fabs(static_cast<double>(value)),
                          small_float_value(magnitude, format.mantissa_bits, format.bias));
                ASSERT_EQ(format.from_float(value), code) << format.name;
            }
        }
    }
}

TEST(CodecFp8, SpecialCodes)
{
    EXPECT_EQ(to_bits(e4m3_to_float(0x7F)), 0x7FC00000u);
    EXPECT_EQ(to_bits(e4m3_to_float(0xFF)), 0xFFC00000u);
    EXPECT_EQ(to_bits(e5m2_to_float(0x7C)), 0x7F800000u);
    EXPECT_EQ(to_bits(e5m2_to_float(0xFC)), 0xFF800000u);
    for (const int code : {0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF}) {
        EXPECT_TRUE(std::isnan(e5m2_to_float(static_cast<uint8_t>(code))));
    }
}

TEST(CodecFp8, TiesGoToTheEvenCodeAndTheirNeighboursDoNot)
{
    for (const Fp8& format : kFormats) {
        const std::vector<double> values = small_float_values(format.max_code, format.mantissa_bits, format.bias);
        for (uint32_t code = 0; code < format.max_code; ++code) {
            const auto middle = static_cast<float>((values[code] + values[code + 1]) / 2);
            const uint32_t even = code % 2 == 0 ? code : code + 1;
            for (const uint32_t sign : {0u, 0x80u}) {
                const float s = sign != 0 ? -1.0f : 1.0f;
                ASSERT_EQ(format.from_float(s * middle), even | sign) << format.name << middle;
                ASSERT_EQ(format.from_float(s * std::nextafterf(middle, 0.0f)), code | sign);
                ASSERT_EQ(format.from_float(s * std::nextafterf(middle, 1e30f)), (code + 1) | sign);
            }
        }
    }
}

TEST(CodecFp8, EncodingTakesTheNearestValue)
{
    RandomFloats random(2);
    for (const Fp8& format : kFormats) {
        const std::vector<double> values = small_float_values(format.max_code, format.mantissa_bits, format.bias);
        for (int i = 0; i < 200000; ++i) {
            const float any = random.finite();
            const auto inside =
                static_cast<float>(format.max_value * std::ldexp(random.unit(), -static_cast<int>(random.bits() % 40)));
            for (const float x : {any, inside, -inside}) {
                const uint32_t sign = std::signbit(x) ? 0x80u : 0u;
                const double target = std::min(std::fabs(static_cast<double>(x)), format.max_value);
                ASSERT_EQ(format.from_float(x), nearest_even(values, target) | sign) << format.name << x;
            }
        }
    }
}

TEST(CodecFp8, SaturatesAndNeverMakesNanOrInf)
{
    const float inf = std::numeric_limits<float>::infinity();
    for (const Fp8& format : kFormats) {
        const auto max = static_cast<float>(format.max_value);
        for (const float x : {max, std::nextafterf(max, inf), 1.2f * max, 3.4e38f, inf}) {
            ASSERT_EQ(format.from_float(x), format.max_code);
            ASSERT_EQ(format.from_float(-x), format.max_code | 0x80u);
        }
        for (const uint32_t nan : {0x7F800001u, 0x7FC00000u, 0x7FFFFFFFu, 0xFF800001u, 0xFFFFFFFFu}) {
            ASSERT_EQ(format.from_float(from_bits(nan)), 0);
        }
        ASSERT_EQ(format.from_float(0.0f), 0x00);
        ASSERT_EQ(format.from_float(-0.0f), 0x80);
        ASSERT_EQ(format.from_float(from_bits(0x80000001u)), 0x80);
        // All upper halves of an fp32 with a few lower halves.
        for (uint32_t upper = 0; upper < 65536; ++upper) {
            for (const uint32_t lower : {0u, 1u, 0x7FFFu, 0x8000u, 0xFFFFu}) {
                ASSERT_LE(format.from_float(from_bits((upper << 16) | lower)) & 0x7Fu, format.max_code);
            }
        }
    }
}

#if defined(MOEQ_TEST_FLOAT_MODES)
TEST(CodecFp8, FlushToZeroModesChangeNothing)
{
    // All upper halves with three lower halves: codes under the default mode and under flush-to-zero must agree.
    const auto digest = [] {
        uint64_t hash = 14695981039346656037u;
        const auto mix = [&hash](uint32_t value) { hash = (hash ^ value) * 1099511628211u; };
        const volatile uint32_t first = 0; // so that no compiler takes the second result from the first call
        for (uint32_t upper = first; upper < 65536; ++upper) {
            for (const uint32_t lower : {0u, 1u, 0x8001u}) {
                const float x = from_bits((upper << 16) | lower);
                mix(float_to_e4m3(x));
                mix(float_to_e5m2(x));
                mix(float_to_fp16(x));
                mix(float_to_bf16(x));
            }
            mix(to_bits(fp16_to_float(static_cast<uint16_t>(upper))));
            mix(to_bits(bf16_to_float(static_cast<uint16_t>(upper))));
            mix(to_bits(e4m3_to_float(static_cast<uint8_t>(upper))));
            mix(to_bits(e5m2_to_float(static_cast<uint8_t>(upper))));
        }
        return hash;
    };
    const uint64_t expected = digest();
    const moeq_test::ScopedFloatModes scope(moeq_test::kDefaultModes | moeq_test::kFlush);
    EXPECT_EQ(digest(), expected);
}
#endif

TEST(CodecFp8, DecodingIsTotalOverScales)
{
    // 256 codes x 65,536 scales: NaN only from a NaN code or scale, from Inf * 0 and from 0 * Inf.
    for (const Fp8& format : kFormats) {
        for (uint32_t upper = 0; upper < 65536; ++upper) {
            const float scale = from_bits(upper << 16);
            for (uint32_t code = 0; code < 256; ++code) {
                const float value = format.to_float(static_cast<uint8_t>(code));
                const float decoded = format.name[1] == '4' ? e4m3_decode(static_cast<uint8_t>(code), scale)
                                                            : e5m2_decode(static_cast<uint8_t>(code), scale);
                const bool nan = std::isnan(value) || std::isnan(scale) || (std::isinf(value) && scale == 0.0f) ||
                                 (value == 0.0f && std::isinf(scale));
                ASSERT_EQ(std::isnan(decoded), nan) << format.name << code << " " << scale;
                if (!nan) {
                    // The product of a short and a bf16 significand is exact in double: one rounding.
                    ASSERT_EQ(decoded, static_cast<float>(static_cast<double>(value) * static_cast<double>(scale)));
                }
            }
        }
    }
}

} // namespace
