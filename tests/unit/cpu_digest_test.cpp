// Every tier gives the digest of the plain one, whatever the length: XXH3 has other ways for short inputs and for long ones.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "cpu/digest.h"
#include "cpu/dispatch.h"
#include "moeq.h"

namespace {

TEST(CpuDigest, IsTheSameInEveryTier)
{
    std::vector<uint8_t> bytes((1 << 16) + 77);
    std::mt19937 random(7);
    for (uint8_t& byte : bytes)
        byte = static_cast<uint8_t>(random());
    int tiers = 0;
    for (const int32_t tier : {MOEQ_CPU_TIER_AVX2, MOEQ_CPU_TIER_AVX512, MOEQ_CPU_TIER_NEON}) {
        if (!moeq::cpu::tier_available(tier))
            continue;
        moeq::cpu::Kernels kernels{};
        kernels.digest = moeq::cpu::digest_plain;
        moeq::cpu::overlay_tier(tier, &kernels);
        ++tiers;
        for (size_t count = 0; count <= bytes.size(); count += count < 2100 ? 1 : 997) {
            const size_t begin = count % 3; // aligned and not
            const auto length = static_cast<int64_t>(std::min(count, bytes.size() - begin));
            uint64_t plain[2], wide[2];
            moeq::cpu::digest_plain(bytes.data() + begin, length, plain);
            kernels.digest(bytes.data() + begin, length, wide);
            ASSERT_EQ(plain[0], wide[0]) << moeq::cpu::tier_name(tier) << " " << length;
            ASSERT_EQ(plain[1], wide[1]) << moeq::cpu::tier_name(tier) << " " << length;
        }
    }
    if (tiers == 0)
        GTEST_SKIP() << "this machine has the scalar tier only";
}

// The value that the algorithm's authors publish for no bytes and seed 0.
TEST(CpuDigest, OfNothing)
{
    uint64_t halves[2];
    moeq::cpu::digest_plain("", 0, halves);
    EXPECT_EQ(halves[1], 0x99aa06d3014798d8u);
    EXPECT_EQ(halves[0], 0x6001c324468d497fu);
}

} // namespace
