// NF4 by AVX-512.
#include "codec/nf4.h"

#include "cpu/avx512/four_bit.h"
#include "cpu/avx512/nf4_words.h"
#include "cpu/avx512/tier.h"

namespace moeq::cpu::avx512 {

namespace {

// [-1, 1] is cut into cells of 1/15, cell c holding the t whose 15 * t rounds to c - 16. No two thresholds share a cell, so
// one comparison with that of its own cell tells the code.
constexpr int kCells = 32;
constexpr double kCellsPerUnit = 15.0;

struct CellTable {
    float threshold[kCells]; // 2, above every argument, where the cell has none
    int below[kCells];       // thresholds below the cell
    bool separate;           // at most one in each, and none at a border, where the cell is a matter of rounding
};

constexpr CellTable make_cells()
{
    CellTable table{};
    table.separate = true;
    for (int c = 0; c < kCells; ++c) {
        const double low = (c - 16 - 0.5) / kCellsPerUnit;
        const double high = (c - 16 + 0.5) / kCellsPerUnit;
        int inside = 0;
        table.threshold[c] = 2.0f;
        for (const uint32_t bits : codec::kNf4Thresholds.bits) {
            const double threshold = static_cast<double>(codec::float_from_bits(bits));
            if (threshold < low)
                ++table.below[c];
            if (threshold >= low && threshold <= high) {
                table.threshold[c] = codec::float_from_bits(bits);
                ++inside;
            }
            const double from_border = threshold > low ? threshold - low : low - threshold;
            table.separate = table.separate && from_border > 1e-4;
        }
        table.separate = table.separate && inside <= 1;
    }
    return table;
}
constexpr CellTable kCellTable = make_cells();
static_assert(kCellTable.separate);

struct Code {
    static constexpr codec::Nf4Values kValues = codec::kNf4Values;
    static constexpr bool kByWords = true;
    using Words = Nf4Words;

    // Index: the cell in bits 1..5, bit 0 set above its threshold.
    static constexpr Bytes64 kCodes = [] {
        Bytes64 codes{};
        for (int i = 0; i < 64; ++i)
            codes.at[i] = static_cast<uint8_t>((kCellTable.below[i / 2] + i % 2) & 15);
        return codes;
    }();

    struct Search {
        __m512 thresholds[2];

        MOEQ_TIER_INLINE __m512i cell_index(__m512 t) const
        {
            const __m512 shifted =
                _mm512_fmadd_ps(t, _mm512_set1_ps(static_cast<float>(kCellsPerUnit)), _mm512_set1_ps(kRounder + 16.0f));
            const __m512i cell = _mm512_castps_si512(shifted);
            const __m512 threshold = _mm512_permutex2var_ps(thresholds[0], cell, thresholds[1]);
            // The sign of the difference says whether t is above; it moves in behind the cell.
            return _mm512_shldi_epi32(cell, _mm512_castps_si512(_mm512_sub_ps(threshold, t)), 1);
        }
    };

    MOEQ_TIER_INLINE static Search make_search()
    {
        return {{_mm512_loadu_ps(kCellTable.threshold), _mm512_loadu_ps(kCellTable.threshold + 16)}};
    }
};

} // namespace

void overlay_nf4(RunKernels* kernels) { overlay_format<Code>(kernels); }

} // namespace moeq::cpu::avx512
