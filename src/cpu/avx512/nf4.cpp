// NF4 by AVX-512.
#include "codec/nf4.h"

#include "cpu/avx512/cells.h"
#include "cpu/avx512/four_bit.h"
#include "cpu/avx512/nf4_words.h"
#include "cpu/avx512/tier.h"

namespace moeq::cpu::avx512 {

namespace {

// [-1, 1] is cut into cells of 1/15, cell c holding the t whose 15 * t rounds to c - 16. No two thresholds share a cell, so
// one comparison with that of its own cell tells the code.
constexpr int kCells = 32;
constexpr double kCellsPerUnit = 15.0;

constexpr auto kCellTable = make_cells<kCells>(codec::kNf4Thresholds, kCellsPerUnit, 16);
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

void overlay_nf4(RunKernels* kernels) { fill_kernels<FourBit<Code>>(kernels); }

} // namespace moeq::cpu::avx512
