// int8: rounding, clamping, and the two decodes.
#include <gtest/gtest.h>

#include "codec/int8.h"
#include "codec_oracle.h"

namespace {

using namespace moeq::codec;
using namespace codec_oracle;

int expected_code(float t)
{
    if (std::isnan(t)) {
        return 0;
    }
    const double floor = std::floor(static_cast<double>(t));
    const double rest = static_cast<double>(t) - floor;
    double rounded = rest > 0.5 ? floor + 1 : floor;
    if (rest == 0.5) {
        rounded = std::fmod(floor, 2.0) == 0.0 ? floor : floor + 1;
    }
    return static_cast<int>(std::min(127.0, std::max(-127.0, rounded)));
}

TEST(CodecInt8, RoundsToNearestEvenAndClamps)
{
    for (int n = -300; n <= 300; ++n) {
        const float tie = static_cast<float>(n) + 0.5f;
        for (const float t : {static_cast<float>(n), tie, std::nextafterf(tie, 1e9f), std::nextafterf(tie, -1e9f)}) {
            ASSERT_EQ(int8_round(t), expected_code(t)) << t;
        }
    }
    RandomFloats random(3);
    for (int i = 0; i < 1000000; ++i) {
        const float any = from_bits(random.bits());
        const auto inside = static_cast<float>(random.unit() * 256 - 128);
        if (!std::isinf(any)) {
            ASSERT_EQ(int8_round(any), expected_code(any)) << any;
        }
        ASSERT_EQ(int8_round(inside), expected_code(inside)) << inside;
    }
}

TEST(CodecInt8, NonfiniteArguments)
{
    const float inf = std::numeric_limits<float>::infinity();
    EXPECT_EQ(int8_round(inf), 127);
    EXPECT_EQ(int8_round(-inf), -127);
    EXPECT_EQ(int8_round(from_bits(0x7FC00000u)), 0);
    EXPECT_EQ(int8_round(from_bits(0xFF800001u)), 0);
    EXPECT_EQ(int8_code(inf, 0.0f), 0);
    EXPECT_EQ(int8_code(3.0f, 42.0f), 126);
    EXPECT_EQ(int8_code(-2.0f, 63.75f), -127);
}

TEST(CodecInt8, DecodeWithAbsmaxRoundsTwice)
{
    EXPECT_EQ(kInverse127Bits, to_bits(static_cast<float>(1.0 / 127.0)));
    RandomFloats random(4);
    for (int i = 0; i < 20000; ++i) {
        const float a =
            std::ldexp(static_cast<float>(random.unit() + 1.0), static_cast<int>(random.bits() % 240) - 120);
        for (int q = -128; q < 128; ++q) {
            // Double holds q * a exactly; each cast is one rounding.
            const auto first = static_cast<float>(static_cast<double>(q) * static_cast<double>(a));
            const auto second =
                static_cast<float>(static_cast<double>(first) * static_cast<double>(from_bits(kInverse127Bits)));
            if (std::isfinite(first)) {
                ASSERT_EQ(int8_decode_absmax(static_cast<int8_t>(q), a), second) << q << " " << a;
            }
        }
    }
}

TEST(CodecInt8, LargeAbsmaxDecodesToFiniteValues)
{
    // Around 2^120, where the scaled rule begins, and up to the largest finite absmax.
    for (uint32_t bits = 0x7B700000u; bits < 0x7F800000u; bits += 997) {
        for (const int q : {127, 126, 64, 1, -1, -127}) {
            const double a = static_cast<double>(from_bits(bits));
            const auto decoded = static_cast<double>(int8_decode_absmax(static_cast<int8_t>(q), from_bits(bits)));
            ASSERT_NEAR(decoded, q * a / 127.0, a * 0x1p-22) << q << " " << a;
        }
    }
    const float largest = std::numeric_limits<float>::max();
    EXPECT_TRUE(std::isfinite(int8_decode_absmax(127, largest)));
    EXPECT_TRUE(std::isfinite(int8_decode_absmax(-127, largest)));
}

TEST(CodecInt8, DecodingIsTotalOverScales)
{
    for (uint32_t upper = 0; upper < 65536; ++upper) {
        const float scale = from_bits(upper << 16);
        for (int q = -128; q < 128; ++q) {
            const bool nan = std::isnan(scale) || (std::isinf(scale) && q == 0);
            const auto code = static_cast<int8_t>(q);
            ASSERT_EQ(std::isnan(int8_decode_absmax(code, scale)), nan) << q << " " << scale;
            ASSERT_EQ(std::isnan(int8_decode_factor(code, scale)), nan) << q << " " << scale;
            if (!nan) {
                ASSERT_EQ(int8_decode_factor(code, scale),
                          static_cast<float>(static_cast<double>(q) * static_cast<double>(scale)));
            }
        }
    }
}

} // namespace
