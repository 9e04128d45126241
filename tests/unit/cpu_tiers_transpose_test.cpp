// Transposing: the bytes of the scalar reference for every size around that of a block, whatever the distance of rows and of
// columns and wherever they begin, and nothing between them written.
#include "unit/cpu_tiers.h"

namespace moeq {
namespace {

class CpuTierTransposes : public CpuTiers {
protected:
    // Source rows `gap` elements apart; destination columns too, or at the borders of cache lines; the first `shift` elements
    // behind one.
    void check(int32_t size, int64_t rows, int64_t columns, int64_t gap, bool lines, int64_t shift)
    {
        const int64_t bytes = size == cpu::kFourBytes ? 4 : 2;
        const int64_t column = lines ? (rows * bytes + 63) / 64 * 64 : (rows + gap) * bytes;
        const cpu::Transposition area{
            .rows = rows, .columns = columns, .source_pitch = (columns + gap) * bytes, .destination_pitch = column};
        const int64_t source_bytes = rows == 0 ? 0 : (rows - 1) * area.source_pitch + columns * bytes;
        const Fenced source(source_bytes);
        for (size_t i = 0; i < source.size(); ++i)
            source.data()[i] = static_cast<uint8_t>(random_bits());
        // Fenced memory ends at a border of a page; what lies behind the last element moves the first one.
        const int64_t least = columns == 0 ? 0 : (columns - 1) * column + rows * bytes;
        const int64_t behind = (-(least + shift * bytes) % 64 + 64) % 64;
        const Fenced expected(least + (lines ? behind : shift * bytes));
        const Fenced got(expected);
        ASSERT_TRUE(!lines || least == 0 ||
                    reinterpret_cast<uintptr_t>(expected.data()) % 64 == static_cast<uintptr_t>(shift * bytes));
        reference_.transpose[cpu::kCached][size](source.data(), area, expected.data());
        tier_.transpose[stores()][size](source.data(), area, got.data());
        ASSERT_TRUE(same_bytes(expected, got, size == cpu::kFourBytes ? "4 bytes" : "2 bytes"))
            << rows << " x " << columns << ", gap " << gap << ", shift " << shift << (lines ? ", lines" : "");
        // The reference against the definition.
        for (int64_t i = 0; i < 8 && rows * columns > 0; ++i) {
            const int64_t r = random_below(rows), c = random_below(columns);
            ASSERT_EQ(std::memcmp(expected.data() + c * column + r * bytes,
                                  source.data() + r * area.source_pitch + c * bytes, static_cast<size_t>(bytes)),
                      0);
        }
    }
};

TEST_P(CpuTierTransposes, EverySize)
{
    for (const int32_t size : {cpu::kTwoBytes, cpu::kFourBytes})
        for (const int64_t rows : {0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200, 300})
            for (const int64_t columns : {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 64, 100})
                for (const bool lines : {false, true})
                    check(size, rows, columns, random_below(3), lines, 0);
}

TEST_P(CpuTierTransposes, EveryAlignment)
{
    for (const int32_t size : {cpu::kTwoBytes, cpu::kFourBytes})
        for (int64_t shift = 0; shift < (size == cpu::kFourBytes ? 16 : 32); ++shift)
            for (const bool lines : {false, true}) {
                check(size, 96, 24, 1, lines, shift);
                check(size, 75, 13, 0, lines, shift);
            }
}

INSTANTIATE_TEST_SUITE_P(Tiers, CpuTierTransposes, every_way(), way_name);

} // namespace
} // namespace moeq
