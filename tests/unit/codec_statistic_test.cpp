// From amax to code to decoded value: the error bounds that docs/formats.md promises, for every size of amax; rows of
// zeros, saturation, and the compatibility arithmetic.
#include <gtest/gtest.h>

#include "codec_bounds.h"

namespace {

using namespace moeq::codec;
using namespace codec_oracle;

TEST(CodecStatistic, BoundsHoldForSmallSubnormalAmaxAndEveryValueBelowIt)
{
    for (uint32_t a = 1; a <= 600; ++a) {
        for (uint32_t x = 0; x <= a; ++x) {
            ASSERT_EQ(violated_bound(from_bits(x), from_bits(a)), nullptr) << x << " of " << a;
            ASSERT_EQ(violated_bound(from_bits(x | 0x80000000u), from_bits(a)), nullptr) << x << " of " << a;
        }
    }
}

TEST(CodecStatistic, BoundsHoldForSampledSubnormalAmax)
{
    RandomFloats random(11);
    for (int i = 0; i < 60000; ++i) {
        const uint32_t a = 1 + (random.bits() & 0x7FFFFFu) % 0x7FFFFFu;
        for (int j = 0; j < 6; ++j) {
            const float x = value_below(random, from_bits(a));
            ASSERT_EQ(violated_bound(x, from_bits(a)), nullptr) << x << " of " << from_bits(a);
        }
    }
}

TEST(CodecStatistic, BoundsHoldForEveryExponentOfAmax)
{
    RandomFloats random(12);
    for (uint32_t exponent = 0; exponent < 255; ++exponent) {
        for (int i = 0; i < 400; ++i) {
            uint32_t mantissa = random.bits() & 0x7FFFFFu;
            mantissa = i == 0 ? 0 : i == 1 ? 0x7FFFFFu : mantissa;
            const float a = from_bits((exponent << 23) | mantissa);
            for (int j = 0; j < 12; ++j) {
                const float x = value_below(random, a);
                ASSERT_EQ(violated_bound(x, a), nullptr) << x << " of " << a;
            }
            ASSERT_EQ(violated_bound(a, a), nullptr) << a;
            ASSERT_EQ(violated_bound(-a, a), nullptr) << a;
        }
    }
}

TEST(CodecStatistic, TheTinyRuleBeginsBelowTwoToTheMinusHundred)
{
    const float border = 0x1p-100f;
    const float below = std::nextafterf(border, 0.0f);
    EXPECT_EQ(unit_multiplier(border).prescale, 1.0f);
    EXPECT_EQ(unit_multiplier(border).value, 0x1p100f);
    EXPECT_EQ(unit_multiplier(below).prescale, 0x1p100f);
    EXPECT_EQ(unit_multiplier(below).value, 1.0f / std::nextafterf(1.0f, 0.0f));
    EXPECT_EQ(int8_multiplier(from_bits(1)).value, 127.0f * 0x1p49f);
    EXPECT_EQ(fp8_multiplier(from_bits(1), kE4m3Max).value, 448.0f * 0x1p49f);
    EXPECT_EQ(fp8_multiplier(from_bits(1), kE5m2Max).value, 57344.0f * 0x1p49f);
    EXPECT_EQ(int8_multiplier(2.0f).value, 63.5f);
    EXPECT_EQ(to_bits(int8_multiplier(3.0f).value), to_bits(static_cast<float>(127.0 / 3.0)));
    EXPECT_EQ(to_bits(int8_factor(3.0f)), to_bits(static_cast<float>(3.0 / 127.0)));
    EXPECT_EQ(to_bits(fp8_factor(3.0f, kE4m3Max)), to_bits(static_cast<float>(3.0 / 448.0)));
}

TEST(CodecStatistic, FactorsNeverMakeTheLargestCodeOverflow)
{
    // The factor differs from the quotient for one amax only.
    for (uint32_t bits = 0x7F7F0000u; bits < 0x7F800000u; ++bits) {
        const float a = from_bits(bits);
        ASSERT_TRUE(std::isfinite(int8_decode_factor(127, int8_factor(a)))) << bits;
        ASSERT_TRUE(std::isfinite(e4m3_decode(kE4m3MaxCode, fp8_factor(a, kE4m3Max)))) << bits;
        ASSERT_TRUE(std::isfinite(e5m2_decode(kE5m2MaxCode, fp8_factor(a, kE5m2Max)))) << bits;
        ASSERT_EQ(int8_factor(a) == a / 127.0f, bits != 0x7F7FFFFFu) << bits;
    }
}

TEST(CodecStatistic, ZeroAmaxGivesTheCodeOfPlusZeroForEverything)
{
    const float inf = std::numeric_limits<float>::infinity();
    for (const float x : {0.0f, -0.0f, 1.0f, -3.0f, inf, -inf, from_bits(0x7FC00000u)}) {
        for (const Multiplier m : {int8_multiplier(0.0f), unit_multiplier(0.0f), fp8_multiplier(0.0f, kE4m3Max),
                                   int8_multiplier_bnb_cpu(0.0f)}) {
            const float t = code_argument(x, m);
            EXPECT_EQ(to_bits(t), 0u);
            EXPECT_EQ(int8_round(t), 0);
            EXPECT_EQ(float_to_e4m3(t), 0x00);
            EXPECT_EQ(float_to_e5m2(t), 0x00);
            EXPECT_EQ(nf4_code(t), kNf4ZeroCode);
            EXPECT_EQ(fp4_code(t), kFp4ZeroCode);
            EXPECT_EQ(dynamic_code(t), kDynamicZeroCode);
        }
    }
    EXPECT_EQ(to_bits(int8_factor(0.0f)), 0u);
    EXPECT_EQ(to_bits(fp8_factor(0.0f, kE5m2Max)), 0u);
}

TEST(CodecStatistic, AnAmaxSmallerThanTheDataSaturates)
{
    RandomFloats random(13);
    for (uint32_t exponent = 0; exponent < 240; ++exponent) {
        const float a = from_bits((exponent << 23) | 1u | (random.bits() & 0x7FFFFFu));
        for (const float x :
             {a * 2.5f, a * 1000.0f, std::numeric_limits<float>::max(), std::numeric_limits<float>::infinity()}) {
            for (const bool negative : {false, true}) {
                const float signed_x = negative ? -x : x;
                const uint8_t sign = negative ? 0x80 : 0;
                EXPECT_EQ(int8_round(code_argument(signed_x, int8_multiplier(a))), negative ? -127 : 127) << a;
                EXPECT_EQ(float_to_e4m3(code_argument(signed_x, fp8_multiplier(a, kE4m3Max))), kE4m3MaxCode | sign);
                EXPECT_EQ(float_to_e5m2(code_argument(signed_x, fp8_multiplier(a, kE5m2Max))), kE5m2MaxCode | sign);
                EXPECT_EQ(nf4_code(code_argument(signed_x, unit_multiplier(a))), negative ? 0 : 15);
                EXPECT_EQ(fp4_code(code_argument(signed_x, unit_multiplier(a))), negative ? 11 : 3);
            }
        }
    }
}

TEST(CodecStatistic, BitsandbytesCpuArithmetic)
{
    // Reciprocal times 127 is not a division: some amax must tell the two apart.
    int differ = 0;
    RandomFloats random(14);
    for (int i = 0; i < 10000; ++i) {
        const auto a = static_cast<float>(random.unit() + 0.5);
        const auto reciprocal = static_cast<float>(1.0 / static_cast<double>(a));
        const auto expected = static_cast<float>(static_cast<double>(reciprocal) * 127.0);
        ASSERT_EQ(int8_multiplier_bnb_cpu(a).value, expected);
        ASSERT_EQ(int8_multiplier_bnb_cpu(a).prescale, 1.0f);
        differ += int8_multiplier(a).value != expected ? 1 : 0;
    }
    EXPECT_GT(differ, 1000);
    // Where its multiplier overflows, its codes are 0.
    EXPECT_EQ(int8_multiplier_bnb_cpu(from_bits(1)).value, 0.0f);
    EXPECT_EQ(int8_multiplier_bnb_cpu(0x1p-122f).value, 0.0f);
    EXPECT_EQ(int8_multiplier_bnb_cpu(0x1p-120f).value, 127.0f * 0x1p120f);

    EXPECT_EQ(kBnbCpuFloorBits, to_bits(1e-38f));
    EXPECT_EQ(block_multiplier_bnb_cpu(0.0f), 1.0f / 1e-38f);
    EXPECT_EQ(block_multiplier_bnb_cpu(3.0f), 1.0f / 3.0f);
    EXPECT_EQ(block_argument_bnb_cpu(3.0f, 0.4f), 1.0f);
    EXPECT_EQ(block_argument_bnb_cpu(-3.0f, 0.4f), -1.0f);
    EXPECT_EQ(block_argument_bnb_cpu(1.5f, 0.25f), 0.375f);
    EXPECT_EQ(partial_block_argument_bnb_cpu(1.0f, 3.0f), 1.0f / 3.0f);
    EXPECT_EQ(partial_block_argument_bnb_cpu(5.0f, 3.0f), 1.0f);
    EXPECT_EQ(partial_block_argument_bnb_cpu(-0.0f, 0.0f), 0.0f);
    EXPECT_EQ(stored_absmax_bnb_cpu(0.0f, true), 1e-38f);
    EXPECT_EQ(stored_absmax_bnb_cpu(0.0f, false), 0.0f);
    EXPECT_EQ(stored_absmax_bnb_cpu(2.0f, true), 2.0f);
    // Its codes of tiny blocks, as measured: 1e-40 alone in a block is code 7 in NF4, and FP4 gives 8 to 1e-45.
    EXPECT_EQ(nf4_code(block_argument_bnb_cpu(1e-40f, block_multiplier_bnb_cpu(1e-40f))), 7);
    EXPECT_EQ(fp4_code_bnb_cpu(block_argument_bnb_cpu(1e-40f, block_multiplier_bnb_cpu(1e-40f))), 1);
    EXPECT_EQ(fp4_code_bnb_cpu(block_argument_bnb_cpu(1e-45f, block_multiplier_bnb_cpu(1e-45f))), 8);
}

} // namespace
