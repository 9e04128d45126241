// Slow (half a minute): the promised error bounds for all 2^23 - 1 subnormal amax, and the decode of the largest int8
// code for every amax from 2^119 to the largest finite fp32.
#include <gtest/gtest.h>

#include "../unit/codec_bounds.h"

namespace {

using namespace moeq::codec;
using namespace codec_oracle;

TEST(ExhaustiveBounds, EverySubnormalAmax)
{
    RandomFloats random(21);
    for (uint32_t bits = 1; bits < 0x800000u; ++bits) {
        const float a = from_bits(bits);
        ASSERT_EQ(violated_bound(a, a), nullptr) << bits;
        for (int i = 0; i < 8; ++i) {
            const float x = value_below(random, a);
            ASSERT_EQ(violated_bound(x, a), nullptr) << x << " of " << bits;
        }
    }
}

TEST(ExhaustiveBounds, EveryLargeAmaxOfInt8)
{
    for (uint32_t bits = 0x7B000000u; bits < 0x7F800000u; ++bits) {
        const float a = from_bits(bits);
        const double exact = static_cast<double>(a);
        for (const int q : {127, -127}) {
            const double target = q > 0 ? exact : -exact;
            const auto decoded = static_cast<double>(int8_decode_absmax(static_cast<int8_t>(q), a));
            ASSERT_LE(std::fabs(decoded - target), exact / 254) << bits;
        }
        ASSERT_EQ(violated_bound(a, a), nullptr) << bits;
    }
}

} // namespace
