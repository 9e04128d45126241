// E8M0, the power of two of a microscaling block, and MXFP8's codes: judged in double.
#include <gtest/gtest.h>

#include "codec/mxfp8.h"
#include "codec_oracle.h"

namespace {

using namespace moeq::codec;
using namespace codec_oracle;

TEST(CodecE8m0, EveryCodeIsItsPowerOfTwoAndBack)
{
    for (int code = 0; code < 255; ++code) {
        const float power = e8m0_to_float(static_cast<uint8_t>(code));
        ASSERT_EQ(static_cast<double>(power), std::ldexp(1.0, code - 127)) << code;
        ASSERT_EQ(float_to_e8m0(power), code);
    }
    EXPECT_TRUE(std::isnan(e8m0_to_float(kE8m0Nan)));
}

// The least code whose power times 448 is not below amax.
int least_code(float amax)
{
    int code = 0;
    while (std::ldexp(448.0, code - 127) < static_cast<double>(amax))
        ++code;
    return code;
}

int scale_code(float amax) { return mxfp8_scale_code(to_bits(amax)); }

TEST(CodecE8m0, TheScaleIsTheLeastThatSaturatesNothing)
{
    EXPECT_EQ(scale_code(0.0f), 0);
    EXPECT_EQ(scale_code(448.0f), 127);
    EXPECT_EQ(scale_code(std::nextafterf(448.0f, 449.0f)), 128);
    EXPECT_EQ(scale_code(std::numeric_limits<float>::max()), 247);
    for (int exponent = -149; exponent < 128; ++exponent)
        for (const double significand : {1.0, 1.5, 1.75, 1.75 + 0x1p-23, 1.875, 2.0 - 0x1p-23}) {
            const auto amax = static_cast<float>(std::ldexp(significand, exponent));
            if (!std::isfinite(amax))
                continue;
            ASSERT_EQ(scale_code(amax), least_code(amax)) << amax;
        }
    RandomFloats random(7);
    for (int i = 0; i < 100000; ++i) {
        const float amax = std::fabs(random.finite());
        ASSERT_EQ(scale_code(amax), least_code(amax)) << amax;
    }
}

TEST(CodecE8m0, MultiplierIsTheReciprocal)
{
    for (int code = 0; code < 254; ++code)
        ASSERT_EQ(static_cast<double>(mx_multiplier(static_cast<uint8_t>(code))), std::ldexp(1.0, 127 - code)) << code;
}

TEST(CodecMxfp8, CodesAreTheNearestAndNoFiniteValueDecodesToInf)
{
    const std::vector<double> values = small_float_values(kE4m3MaxCode, 3, 7);
    const std::vector<double> last(values.begin(), values.begin() + kMxfp8LastCode + 1);
    RandomFloats random(8);
    for (int i = 0; i < 200000; ++i) {
        const float amax = i % 4 == 0 ? 3.4e38f : std::fabs(random.finite());
        const auto x = static_cast<float>(static_cast<double>(amax) * random.unit());
        const uint8_t scale = mxfp8_scale_code(to_bits(amax));
        const uint8_t code = mxfp8_code(-x, scale);
        const double target = std::ldexp(static_cast<double>(x), 127 - scale);
        ASSERT_EQ(code, 0x80u | nearest_even(scale == kMxfp8LastScale ? last : values, target)) << x << " of " << amax;
        ASSERT_TRUE(std::isfinite(e4m3_decode(code, e8m0_to_float(scale)))) << x << " of " << amax;
    }
}

} // namespace
