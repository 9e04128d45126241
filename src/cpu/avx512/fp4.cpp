// FP4 by AVX-512.
#include "codec/fp4.h"

#include "cpu/avx512/cells.h"
#include "cpu/avx512/four_bit.h"
#include "cpu/avx512/tier.h"

namespace moeq::cpu::avx512 {

namespace {

// Magnitudes up to 1 are cut into cells of 1/14, cell c holding those whose 14 * |t| rounds to c. No two thresholds share a
// cell, so one comparison with that of its own cell tells the rank of the magnitude.
constexpr int kCells = 16;
constexpr double kCellsPerUnit = 14.0;

constexpr auto kCellTable = make_cells<kCells>(codec::kFp4Thresholds, kCellsPerUnit, 0);
static_assert(kCellTable.separate);

struct Code {
    static constexpr codec::Fp4Values kValues = codec::kFp4Values;
    static constexpr bool kByWords = false;

    // Index: the cell in bits 2..5, bit 1 set above its threshold, bit 0 the sign. Rank 0 has no sign.
    static constexpr Bytes64 kCodes = [] {
        Bytes64 codes{};
        for (int i = 0; i < 64; ++i) {
            const int rank = kCellTable.below[i / 4] + i / 2 % 2;
            codes.at[i] = codec::fp4_code_of_rank(static_cast<uint32_t>(rank & 7), i % 2 != 0);
        }
        return codes;
    }();

    struct Search {
        __m512 thresholds;

        MOEQ_TIER_INLINE __m512i cell_index(__m512 t) const
        {
            const __m512 magnitude = _mm512_abs_ps(t);
            const __m512 shifted =
                _mm512_fmadd_ps(magnitude, _mm512_set1_ps(static_cast<float>(kCellsPerUnit)), _mm512_set1_ps(kRounder));
            const __m512i cell = _mm512_castps_si512(shifted);
            const __m512 threshold = _mm512_permutexvar_ps(cell, thresholds);
            // The sign of the difference says whether |t| is above; it moves in behind the cell, then the sign of t does.
            const __m512i above = _mm512_shldi_epi32(cell, _mm512_castps_si512(_mm512_sub_ps(threshold, magnitude)), 1);
            return _mm512_shldi_epi32(above, _mm512_castps_si512(t), 1);
        }
    };

    MOEQ_TIER_INLINE static Search make_search() { return {_mm512_loadu_ps(kCellTable.threshold)}; }
};

} // namespace

void overlay_fp4(RunKernels* kernels) { fill_kernels<FourBit<Code>>(kernels); }

} // namespace moeq::cpu::avx512
