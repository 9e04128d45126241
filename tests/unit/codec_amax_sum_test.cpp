// Magnitude bits, the saturation of NaN and Inf, and the fixed order of sums.
#include <gtest/gtest.h>

#include "codec/amax.h"
#include "codec/sum.h"
#include "codec_oracle.h"

namespace {

using namespace moeq::codec;
using namespace codec_oracle;

TEST(CodecAmax, MagnitudesOfAllTypesCompareAsFp32)
{
    for (uint32_t code = 0; code < 65536; ++code) {
        const auto x = static_cast<uint16_t>(code);
        const bool fp16_special = (code & 0x7C00u) == 0x7C00u;
        const bool bf16_special = (code & 0x7F80u) == 0x7F80u;
        ASSERT_EQ(magnitude_bits_fp16(x) >= kNonfiniteBits, fp16_special) << code;
        ASSERT_EQ(magnitude_bits_bf16(x) >= kNonfiniteBits, bf16_special) << code;
        if (!fp16_special) {
            ASSERT_EQ(static_cast<double>(from_bits(magnitude_bits_fp16(x))),
                      small_float_value(code & 0x7FFFu, 10, 15));
        }
        if (!bf16_special) {
            ASSERT_EQ(static_cast<double>(from_bits(magnitude_bits_bf16(x))),
                      small_float_value(code & 0x7FFFu, 7, 127));
        }
    }
    RandomFloats random(15);
    for (int i = 0; i < 100000; ++i) {
        const float x = random.finite();
        const float y = random.finite();
        ASSERT_EQ(magnitude_bits_fp32(x) < magnitude_bits_fp32(y), std::fabs(x) < std::fabs(y));
    }
    EXPECT_EQ(magnitude_bits_fp32(-0.0f), 0u);
    EXPECT_EQ(magnitude_bits_fp32(-std::numeric_limits<float>::infinity()), kNonfiniteBits);
    EXPECT_GT(magnitude_bits_fp32(from_bits(0xFF800001u)), kNonfiniteBits);
    EXPECT_EQ(finite_or_zero(kNonfiniteBits), 0u);
    EXPECT_EQ(finite_or_zero(0x7FC00000u), 0u);
    EXPECT_EQ(finite_or_zero(0x7F7FFFFFu), 0x7F7FFFFFu);
}

TEST(CodecAmax, SaturateNonfinite)
{
    const float inf = std::numeric_limits<float>::infinity();
    EXPECT_EQ(saturate_nonfinite(inf, 3.0f), 3.0f);
    EXPECT_EQ(saturate_nonfinite(-inf, 3.0f), -3.0f);
    EXPECT_EQ(to_bits(saturate_nonfinite(from_bits(0xFFC00000u), 3.0f)), 0u);
    EXPECT_EQ(saturate_nonfinite(inf, 0.0f), 0.0f);
    EXPECT_EQ(saturate_nonfinite(-7.0f, 3.0f), -7.0f);
    EXPECT_EQ(to_bits(saturate_nonfinite(-0.0f, 3.0f)), 0x80000000u);
}

// The tree written recursively: the left part is the largest power of two of leaves that is smaller than the whole.
double recursive_sum(const float* values, size_t count)
{
    if (count <= 256) {
        double sum = 0.0;
        for (size_t i = 0; i < count; ++i) {
            sum += static_cast<double>(values[i]);
        }
        return sum;
    }
    size_t left = 256;
    while (left * 2 < count) {
        left *= 2;
    }
    return recursive_sum(values, left) + recursive_sum(values + left, count - left);
}

std::vector<float> wide_values(size_t count)
{
    RandomFloats random(16);
    std::vector<float> values(count);
    for (float& value : values) {
        value = static_cast<float>(std::ldexp(random.unit() - 0.5, static_cast<int>(random.bits() % 80) - 40));
    }
    return values;
}

TEST(CodecSum, EqualsTheRecursiveTreeAtEveryLength)
{
    const std::vector<float> values = wide_values(40 * 256 + 17);
    for (size_t count = 1; count <= values.size(); count += count < 1100 ? 1 : 61) {
        ASSERT_EQ(pairwise_sum(values.data(), static_cast<int64_t>(count)), recursive_sum(values.data(), count))
            << count;
    }
    EXPECT_EQ(std::bit_cast<uint64_t>(pairwise_sum(values.data(), 0)), 0u);
}

TEST(CodecSum, SubtreesMadeElsewhereGiveTheSameBits)
{
    const size_t leaves = 5 * 16 + 7;
    const std::vector<float> values = wide_values(leaves * 256 - 100);
    const auto whole = pairwise_sum(values.data(), static_cast<int64_t>(values.size()));
    for (const int level : {1, 2, 3, 4}) {
        const size_t part = size_t{256} << level;
        PairwiseSum joined;
        size_t start = 0;
        for (; start + part <= values.size(); start += part) {
            joined.add_subtree(pairwise_sum(values.data() + start, static_cast<int64_t>(part)), level);
        }
        for (; start < values.size(); start += 256) {
            const size_t rest = std::min<size_t>(256, values.size() - start);
            joined.add_leaf(pairwise_sum(values.data() + start, static_cast<int64_t>(rest)));
        }
        ASSERT_EQ(joined.result(), whole) << level;
    }
}

TEST(CodecSum, AccuracyAndMean)
{
    // Cancelling values whose exact sum is known: i and -i, then one 1.
    std::vector<float> values;
    for (int i = 0; i < 5000; ++i) {
        values.push_back(static_cast<float>(i) * 1024.0f);
        values.push_back(static_cast<float>(-i) * 1024.0f);
    }
    values.push_back(1.0f);
    EXPECT_EQ(pairwise_sum(values.data(), static_cast<int64_t>(values.size())), 1.0);
    const float thirds[3] = {1.0f, 1.0f, 0.0f};
    EXPECT_EQ(to_bits(mean_absmax(thirds, 3)), to_bits(static_cast<float>(2.0 / 3.0)));
    EXPECT_EQ(to_bits(mean_absmax(thirds, 0)), 0u);
    // Values that a running fp32 sum would lose.
    std::vector<float> small(100000, 0x1p-24f);
    small.insert(small.begin(), 1.0f);
    EXPECT_EQ(pairwise_sum(small.data(), static_cast<int64_t>(small.size())), 1.0 + 100000 * 0x1p-24);
}

TEST(CodecSum, AcceptsAnyAccessor)
{
    const auto twice = [](int64_t i) { return static_cast<double>(2 * i); };
    EXPECT_EQ(pairwise_sum(1000, twice), 999.0 * 1000.0);
}

} // namespace
