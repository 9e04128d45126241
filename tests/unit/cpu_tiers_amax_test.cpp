// amax of every tier is that of the scalar reference: runs, blocks, any place and any bits.
#include "unit/cpu_tiers.h"

namespace moeq {
namespace {

TEST_P(CpuTiers, Amax)
{
    for (const int32_t type : kTypes) {
        for (const Values values : kAllValues) {
            for (const int64_t count : counts()) {
                const Fenced source(count * float_type_bytes(type));
                fill(source, type, values);
                ASSERT_EQ(tier_.amax[type](source.data(), count), reference_.amax[type](source.data(), count))
                    << kTypeNames[type] << " x " << count;

                const Fenced expected(count * 4);
                for (int64_t i = 0; i < count; ++i)
                    expected.as<uint32_t>()[i] = random_bits() & 0x7FFFFFFFu;
                const Fenced got(expected);
                const cpu::Rectangle row{.rows = 1, .columns = count, .element_pitch = 0, .code_pitch = 0};
                reference_.amax_columns[type](source.data(), row, expected.as<uint32_t>());
                tier_.amax_columns[type](source.data(), row, got.as<uint32_t>());
                ASSERT_TRUE(expected.same(got)) << kTypeNames[type] << " columns x " << count;
            }
        }
    }
}

TEST_P(CpuTiers, AmaxOfBlocks)
{
    for (const int32_t type : kTypes) {
        for (const Values values : kAllValues) {
            for (const int64_t block : {1, 2, 31, 32, 64, 65, 128, 4096}) {
                for (const int64_t count : counts()) {
                    if (random_below(3) != 0)
                        continue;
                    const Fenced source(count * float_type_bytes(type));
                    fill(source, type, values);
                    const Fenced expected(4 * ((count + block - 1) / block));
                    const Fenced got(expected);
                    ASSERT_EQ(tier_.amax_blocks[type](source.data(), count, block, got.as<float>()),
                              reference_.amax_blocks[type](source.data(), count, block, expected.as<float>()));
                    ASSERT_TRUE(same_bytes(expected, got, kTypeNames[type])) << count << ", block " << block;
                }
            }
        }
    }
}

// One large element anywhere in a run is found, whatever its bits.
TEST_P(CpuTiers, AmaxFindsEveryPlace)
{
    const int64_t count = 300;
    for (const int32_t type : kTypes) {
        for (int64_t place = 0; place < count; ++place) {
            const Fenced source(count * float_type_bytes(type));
            fill(source, type, Values::kSubnormal);
            const uint32_t bits = random_bits() | 0x40004000u;
            if (type == kFp32)
                source.as<uint32_t>()[place] = bits;
            else
                source.as<uint16_t>()[place] = static_cast<uint16_t>(bits);
            ASSERT_EQ(tier_.amax[type](source.data(), count), reference_.amax[type](source.data(), count)) << place;
        }
    }
}

TEST_P(CpuTiers, AmaxOfEvery16BitPair)
{
    for (const int32_t type : {kFp16, kBf16}) {
        for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
            const uint16_t pair[2] = {static_cast<uint16_t>(bits), static_cast<uint16_t>(random_bits() | 0x7800u)};
            ASSERT_EQ(tier_.amax[type](pair, 2), reference_.amax[type](pair, 2)) << kTypeNames[type] << " " << bits;
        }
    }
}

} // namespace
} // namespace moeq
