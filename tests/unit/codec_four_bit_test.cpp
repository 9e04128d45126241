// NF4 and FP4: tables, thresholds, ties, the compatibility rule of bitsandbytes' CPU path, and total decoding.
#include <gtest/gtest.h>

#include <algorithm>

#include "codec/fp4.h"
#include "codec/nf4.h"
#include "codec_oracle.h"

namespace {

using namespace moeq::codec;
using namespace codec_oracle;

TEST(CodecNf4, TableIsThePublishedOne)
{
    for (uint8_t code = 0; code < 16; ++code) {
        EXPECT_EQ(to_bits(nf4_value(code)), to_bits(kNf4[code])) << int{code};
        EXPECT_EQ(nf4_code(nf4_value(code)), code);
    }
    EXPECT_EQ(to_bits(nf4_value(kNf4ZeroCode)), 0u);
}

TEST(CodecNf4, ThresholdsAreTheRoundedMidpointsAndTiesGoDown)
{
    for (uint8_t i = 0; i < 15; ++i) {
        const auto middle = static_cast<float>((static_cast<double>(kNf4[i]) + static_cast<double>(kNf4[i + 1])) / 2);
        ASSERT_EQ(kNf4Thresholds.bits[i], to_bits(middle)) << int{i};
        EXPECT_EQ(nf4_code(middle), i);
        EXPECT_EQ(nf4_code(std::nextafterf(middle, 2.0f)), i + 1);
        EXPECT_EQ(nf4_code(std::nextafterf(middle, -2.0f)), i);
    }
}

TEST(CodecNf4, NearestValueAwayFromTies)
{
    const std::vector<double> values(std::begin(kNf4), std::end(kNf4));
    RandomFloats random(5);
    for (int i = 0; i < 1000000; ++i) {
        const auto t = static_cast<float>(random.unit() * 2.4 - 1.2);
        const uint32_t nearest = nearest_even(values, static_cast<double>(t));
        const uint8_t code = nf4_code(t);
        if (code != nearest) {
            // Only within the rounding of the threshold.
            const double a = std::fabs(values[code] - static_cast<double>(t));
            const double b = std::fabs(values[nearest] - static_cast<double>(t));
            ASSERT_NEAR(a, b, 0x1p-23) << t;
        }
    }
}

TEST(CodecNf4, OutsideAndNonfinite)
{
    const float inf = std::numeric_limits<float>::infinity();
    EXPECT_EQ(nf4_code(1.0000001f), 15);
    EXPECT_EQ(nf4_code(inf), 15);
    EXPECT_EQ(nf4_code(-7.0f), 0);
    EXPECT_EQ(nf4_code(-inf), 0);
    EXPECT_EQ(nf4_code(-0.0f), kNf4ZeroCode);
    EXPECT_EQ(nf4_code(from_bits(1)), kNf4ZeroCode);
    EXPECT_EQ(nf4_code(from_bits(0x7FC00000u)), kNf4ZeroCode);
}

TEST(CodecFp4, TableIsThePublishedOne)
{
    for (uint8_t code = 0; code < 16; ++code) {
        const float magnitude = kFp4Magnitudes[code & 7u];
        EXPECT_EQ(to_bits(fp4_value(code)), to_bits(code >= 8 ? -magnitude : magnitude)) << int{code};
        EXPECT_EQ(fp4_code(fp4_value(code)), code == 8 ? 0 : code);
    }
}

TEST(CodecFp4, ThresholdsAreTheDecimalsAndTiesGoTowardsZero)
{
    for (uint32_t i = 0; i < 7; ++i) {
        const float cut = kFp4Cuts[i];
        ASSERT_EQ(kFp4Thresholds.bits[i], to_bits(cut)) << i;
        const uint8_t below = kFp4Order[i];
        const uint8_t above = kFp4Order[i + 1];
        const uint8_t sign_below = below == 0 ? 0 : 8; // code 8 is never produced
        EXPECT_EQ(fp4_code(cut), below);
        EXPECT_EQ(fp4_code(-cut), below | sign_below);
        EXPECT_EQ(fp4_code(std::nextafterf(cut, 2.0f)), above);
        EXPECT_EQ(fp4_code(std::nextafterf(-cut, -2.0f)), above | 8);
        EXPECT_EQ(fp4_code(std::nextafterf(cut, 0.0f)), below);
    }
}

TEST(CodecFp4, NeverMakesCodeEight)
{
    RandomFloats random(6);
    for (int i = 0; i < 1000000; ++i) {
        ASSERT_NE(fp4_code(from_bits(random.bits())), 8);
        ASSERT_NE(fp4_code(static_cast<float>(-0.01 * random.unit())), 8);
    }
    EXPECT_EQ(fp4_code(-0.0f), 0);
    EXPECT_EQ(fp4_code(from_bits(0x80000001u)), 0);
    EXPECT_EQ(fp4_code(from_bits(0xFFC00000u)), 0);
    EXPECT_EQ(fp4_code(std::numeric_limits<float>::infinity()), 3);
    EXPECT_EQ(fp4_code(-std::numeric_limits<float>::infinity()), 11);
}

TEST(CodecFp4, BitsandbytesCpuRuleIsLowerBoundOverSortedMidpoints)
{
    // The rule built here from scratch: sort the 16 codes by value (+0 before -0), midpoints in fp32, count those below
    // t.
    uint8_t order[16];
    for (uint8_t i = 0; i < 16; ++i) {
        order[i] = i;
    }
    const auto value = [](uint8_t code) { return code >= 8 ? -kFp4Magnitudes[code & 7u] : kFp4Magnitudes[code]; };
    std::stable_sort(order, order + 16, [&](uint8_t a, uint8_t b) { return value(a) < value(b); });
    float middle[15];
    for (int i = 0; i < 15; ++i) {
        middle[i] = (value(order[i]) + value(order[i + 1])) / 2.0f;
    }
    const auto expected = [&](float t) { return order[std::lower_bound(middle, middle + 15, t) - middle]; };
    for (const float m : middle) {
        for (const float t : {m, std::nextafterf(m, 2.0f), std::nextafterf(m, -2.0f)}) {
            ASSERT_EQ(fp4_code_bnb_cpu(t), expected(t)) << t;
        }
    }
    RandomFloats random(7);
    for (int i = 0; i < 1000000; ++i) {
        const auto t =
            static_cast<float>((random.unit() * 2 - 1) * std::ldexp(1.0, -static_cast<int>(random.bits() % 20)));
        ASSERT_EQ(fp4_code_bnb_cpu(t), expected(t)) << t;
    }
    EXPECT_EQ(fp4_code_bnb_cpu(0.0f), 0);
    EXPECT_EQ(fp4_code_bnb_cpu(-0.0f), 0);
    EXPECT_EQ(fp4_code_bnb_cpu(from_bits(1)), 8);
    EXPECT_EQ(fp4_code_bnb_cpu(from_bits(0x80000001u)), 0);
    EXPECT_EQ(fp4_code_bnb_cpu(from_bits(0x7FC00000u)), 0);
}

TEST(CodecFourBit, DecodingIsTotalOverScales)
{
    for (uint32_t upper = 0; upper < 65536; ++upper) {
        const float absmax = from_bits(upper << 16);
        for (uint32_t byte = 0; byte < 256; ++byte) {
            const auto code = static_cast<uint8_t>(byte); // the upper nibble is ignored
            const auto nf4 = static_cast<double>(kNf4[code & 15u]) * static_cast<double>(absmax);
            const auto fp4 = static_cast<double>(fp4_value(code & 15u)) * static_cast<double>(absmax);
            const float decoded_nf4 = nf4_decode(code, absmax);
            const float decoded_fp4 = fp4_decode(code, absmax);
            ASSERT_EQ(std::isnan(decoded_nf4), std::isnan(nf4)) << byte << " " << absmax;
            ASSERT_EQ(std::isnan(decoded_fp4), std::isnan(fp4)) << byte << " " << absmax;
            // 24 bits times 8 bits is exact in double.
            ASSERT_TRUE(std::isnan(nf4) || decoded_nf4 == static_cast<float>(nf4)) << byte << " " << absmax;
            ASSERT_TRUE(std::isnan(fp4) || decoded_fp4 == static_cast<float>(fp4)) << byte << " " << absmax;
        }
    }
}

} // namespace
