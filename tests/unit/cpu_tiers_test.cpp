// What holds of all kernels of a tier, and which tier and which stores are chosen.
#include "unit/cpu_tiers.h"
#include "core/cpu_limits.h"
#include "cpu/stores.h"

namespace moeq {
namespace {

// A tier that forgot to put in a kernel would pass everything below. MXFP8 has its reference only.
TEST_P(CpuTiers, HasKernelsOfItsOwn)
{
    const auto* reference = reinterpret_cast<void* const*>(&reference_);
    const auto* tier = reinterpret_cast<void* const*>(&tier_);
    const auto* plain = reinterpret_cast<void* const*>(&reference_.runs[kMxfp8]);
    for (size_t i = 0; i < sizeof(cpu::Kernels) / sizeof(void*); ++i) {
        ASSERT_NE(reference[i], nullptr) << "entry " << i;
        const bool is_plain = reference + i >= plain && reference + i < plain + sizeof(cpu::RunKernels) / sizeof(void*);
        EXPECT_EQ(tier[i] == reference[i], is_plain) << "entry " << i;
    }
}

// Destinations at every distance from a border of cache lines, runs of many lines.
TEST_P(CpuTiers, EveryAlignment)
{
    const int64_t count = 3000;
    for (int64_t shift = 0; shift < 64; ++shift) {
        for (const int32_t type : kTypes) {
            const int64_t bytes = float_type_bytes(type);
            const Fenced source(count * bytes);
            fill(source, type, Values::kOrdinary);
            for (const int32_t index : kEightBit) {
                const Fenced expected(count + shift);
                const Fenced got(count + shift);
                const codec::Multiplier multiplier = tile_format(index).multiplier(4.0f, MOEQ_PROFILE_MOEQ);
                reference_.tiles[index].encode[cpu::kCached][type](source.data(), count, multiplier, nullptr,
                                                                   expected.data());
                tier_.tiles[index].encode[stores()][type](source.data(), count, multiplier, nullptr, got.data());
                ASSERT_TRUE(same_bytes(expected, got, tile_format(index).name)) << shift;
                const Fenced dense((count + shift) * bytes);
                const Fenced got_dense((count + shift) * bytes);
                decode_run(reference_.tiles[index].decode_rows[cpu::kCached][kAbsmax][type], expected.data(), count,
                           0.125f, dense.data());
                decode_run(tier_.tiles[index].decode_rows[stores()][kAbsmax][type], expected.data(), count, 0.125f,
                           got_dense.data());
                ASSERT_TRUE(same_bytes(dense, got_dense, tile_format(index).name)) << shift;
            }
            for (const int32_t index : kFourBit) {
                const Fenced expected(count + shift);
                const Fenced got(count + shift);
                const Fenced absmax(4 * count);
                const int64_t block = shift % 2 == 0 ? 64 : 128;
                reference_.runs[index].encode_blocks[cpu::kCached][type](source.data(), count, block,
                                                                         absmax.as<float>(), expected.data());
                tier_.runs[index].encode_blocks[stores()][type](source.data(), count, block, absmax.as<float>(),
                                                                got.data());
                ASSERT_TRUE(same_bytes(expected, got, run_format(index).name)) << shift;
                const Fenced dense((count + shift) * bytes);
                const Fenced got_dense((count + shift) * bytes);
                for (const int64_t begin : {int64_t{0}, shift, 32 * shift}) {
                    reference_.runs[index].decode_blocks[cpu::kCached][type](expected.data(), begin, count,
                                                                             absmax.as<float>(), 64, dense.data());
                    tier_.runs[index].decode_blocks[stores()][type](expected.data(), begin, count, absmax.as<float>(),
                                                                    64, got_dense.data());
                    ASSERT_TRUE(same_bytes(dense, got_dense, run_format(index).name)) << shift << ", from " << begin;
                }
            }
        }
    }
}

// A limit is kept, and what the CPU lacks is never chosen.
TEST(CpuDispatch, AtMostTheLimit)
{
    for (const int32_t tier : {MOEQ_CPU_TIER_SCALAR, MOEQ_CPU_TIER_AVX2, MOEQ_CPU_TIER_AVX512, MOEQ_CPU_TIER_NEON}) {
        EXPECT_TRUE(cpu::tier_available(cpu::best_tier(tier)));
        if (cpu::tier_available(tier)) {
            EXPECT_EQ(cpu::best_tier(tier), tier);
        }
    }
    // A tier of another kind of processor allows none of this one's.
    const int32_t other = cpu::tier_available(MOEQ_CPU_TIER_NEON) ? MOEQ_CPU_TIER_AVX512 : MOEQ_CPU_TIER_NEON;
    EXPECT_EQ(cpu::best_tier(other), MOEQ_CPU_TIER_SCALAR);
}

TEST(CpuDispatch, ANameIsATierOrWrong)
{
    for (const int32_t tier :
         {MOEQ_CPU_TIER_BEST, MOEQ_CPU_TIER_SCALAR, MOEQ_CPU_TIER_AVX2, MOEQ_CPU_TIER_AVX512, MOEQ_CPU_TIER_NEON})
        EXPECT_EQ(cpu::parse_tier(cpu::tier_name(tier)), tier);
    EXPECT_EQ(cpu::parse_tier("sse9"), -1);
    EXPECT_EQ(cpu::parse_tier(""), MOEQ_CPU_TIER_BEST);
    EXPECT_EQ(cpu::parse_tier(nullptr), MOEQ_CPU_TIER_BEST);
}

TEST(CpuStores, GoAroundTheCacheWhenItCannotHoldThem)
{
    EXPECT_EQ(cpu::stores_for(0), cpu::kCached);
    EXPECT_EQ(cpu::stores_for(1 << 16), cpu::kCached);
    EXPECT_EQ(cpu::stores_for(int64_t{1} << 40), cpu::kStreamed);
    EXPECT_GE(last_level_cache(), 0);
}

INSTANTIATE_TEST_SUITE_P(Tiers, CpuTiers, every_way(), way_name);

} // namespace
} // namespace moeq
