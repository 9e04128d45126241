// fp16 and bf16: every code, and encoding judged by distances in double.
#include <gtest/gtest.h>

#include "codec/float16.h"
#include "codec_oracle.h"

namespace {

using namespace moeq::codec;
using namespace codec_oracle;

TEST(CodecFp16, EveryCodeDecodesToItsValueAndBack)
{
    for (uint32_t code = 0; code < 65536; ++code) {
        const auto half = static_cast<uint16_t>(code);
        const float value = fp16_to_float(half);
        const uint32_t magnitude = code & 0x7FFFu;
        ASSERT_EQ(std::signbit(value), code >> 15 != 0) << code;
        if (magnitude < 0x7C00u) {
            ASSERT_EQ(std::fabs(static_cast<double>(value)), small_float_value(magnitude, 10, 15)) << code;
            ASSERT_EQ(float_to_fp16(value), half);
        } else if (magnitude == 0x7C00u) {
            ASSERT_TRUE(std::isinf(value));
            ASSERT_EQ(float_to_fp16(value), half);
        } else {
            // Quiet bit set, the rest of the payload kept.
            ASSERT_EQ(to_bits(value) & 0x7FFFFFFFu, 0x7F800000u | ((magnitude & 0x3FFu) << 13) | 0x400000u);
            ASSERT_EQ(float_to_fp16(value), half | 0x200u);
        }
    }
}

TEST(CodecFp16, EncodingTakesTheNearestValueAndTheEvenOneInTies)
{
    const std::vector<double> values = small_float_values(0x7C00u, 10, 15); // the last stands for 65536, that is Inf
    for (uint32_t code = 0; code < 0x7C00u; ++code) {
        // The middle of two neighbours has one bit more than fp16 and is exact in fp32.
        const auto middle = static_cast<float>((values[code] + values[code + 1]) / 2);
        const uint32_t even = code % 2 == 0 ? code : code + 1;
        ASSERT_EQ(float_to_fp16(middle), even) << middle;
        ASSERT_EQ(float_to_fp16(std::nextafterf(middle, 0.0f)), code) << middle;
        ASSERT_EQ(float_to_fp16(std::nextafterf(middle, 1e30f)), code + 1) << middle;
        ASSERT_EQ(float_to_fp16(-middle), even | 0x8000u) << middle;
    }
    RandomFloats random(1);
    for (int i = 0; i < 300; ++i) {
        const auto x = static_cast<float>(std::ldexp(random.unit(), static_cast<int>(random.bits() % 45) - 27));
        ASSERT_EQ(float_to_fp16(x), nearest_even(values, static_cast<double>(x))) << x;
    }
}

TEST(CodecFp16, EdgesOfTheRange)
{
    EXPECT_EQ(float_to_fp16(65519.996f), 0x7BFFu);
    EXPECT_EQ(float_to_fp16(65520.0f), 0x7C00u);
    EXPECT_EQ(float_to_fp16(-3.4e38f), 0xFC00u);
    EXPECT_EQ(float_to_fp16(0x1p-25f), 0x0000u); // half of the smallest subnormal: tie to even
    EXPECT_EQ(float_to_fp16(0x1.000002p-25f), 0x0001u);
    EXPECT_EQ(float_to_fp16(-0x1p-26f), 0x8000u);
    EXPECT_EQ(float_to_fp16(from_bits(1)), 0x0000u);
    EXPECT_EQ(float_to_fp16(from_bits(0x7F800001u)), 0x7E00u);
    EXPECT_EQ(float_to_fp16(from_bits(0xFFC02000u)), 0xFE01u);
}

TEST(CodecBf16, EveryCodeComesBack)
{
    for (uint32_t code = 0; code < 65536; ++code) {
        const auto brain = static_cast<uint16_t>(code);
        ASSERT_EQ(to_bits(bf16_to_float(brain)), code << 16);
        const bool nan = (code & 0x7FFFu) > 0x7F80u;
        ASSERT_EQ(float_to_bf16(bf16_to_float(brain)), nan ? code | 0x40u : code);
    }
}

TEST(CodecBf16, EncodingTakesTheNearestValueAndTheEvenOneInTies)
{
    for (uint32_t code = 0; code < 0x7F80u; ++code) {
        const double low = small_float_value(code, 7, 127);
        const double high = small_float_value(code + 1, 7, 127); // 2^128 stands for Inf
        const auto middle = static_cast<float>((low + high) / 2);
        ASSERT_EQ(static_cast<double>(middle), (low + high) / 2);
        ASSERT_EQ(float_to_bf16(middle), code % 2 == 0 ? code : code + 1);
        ASSERT_EQ(float_to_bf16(std::nextafterf(middle, 0.0f)), code);
        ASSERT_EQ(float_to_bf16(from_bits(to_bits(middle) + 1)), code + 1);
        ASSERT_EQ(float_to_bf16(-middle), (code % 2 == 0 ? code : code + 1) | 0x8000u);
    }
    EXPECT_EQ(float_to_bf16(from_bits(0x7F800001u)), 0x7FC0u);
    EXPECT_EQ(float_to_bf16(from_bits(0xFFA10001u)), 0xFFE1u);
}

} // namespace
