// NF4 by AVX2.
#include "codec/nf4.h"

#include "cpu/avx2/four_bit.h"
#include "cpu/avx2/tier.h"

namespace moeq::cpu::avx2 {

namespace {

struct Thresholds8 {
    uint32_t bits[8];
};

// A look-up takes the lowest 3 bits of the negative count n of the levels before; entry -n & 7 of these holds the threshold in
// the middle of what is left.
constexpr Thresholds8 level_table(int counts, int first, int step)
{
    Thresholds8 table{};
    for (int n = 0; n < counts; ++n)
        table.bits[-n & 7] = codec::kNf4Thresholds.bits[first + step * n];
    return table;
}
constexpr Thresholds8 kThird = level_table(4, 1, 4);
constexpr Thresholds8 kFourth = level_table(8, 0, 2);

struct Code {
    static constexpr codec::Nf4Values kValues = codec::kNf4Values;

    // Minus the number of thresholds below t.
    MOEQ_TIER_INLINE static __m256i search(__m256 t)
    {
        const auto &bits = codec::kNf4Thresholds.bits;
        const __m256i first = next_level(_mm256_setzero_si256(), t, threshold(bits[7]));
        const __m256 second = _mm256_blendv_ps(threshold(bits[3]), threshold(bits[11]), _mm256_castsi256_ps(first));
        __m256i count = next_level(first, t, second);
        const __m256 third = _mm256_permutevar8x32_ps(_mm256_castsi256_ps(load256(kThird.bits)), count);
        count = next_level(count, t, third);
        const __m256 fourth = _mm256_permutevar8x32_ps(_mm256_castsi256_ps(load256(kFourth.bits)), count);
        return next_level(count, t, fourth);
    }

    template <bool kSplitOrder>
    MOEQ_TIER_INLINE static __m256i codes32(const __m256 t[4])
    {
        __m256i counts[4];
        for (int part = 0; part < 4; ++part)
            counts[part] = search(t[part]);
        return _mm256_abs_epi8(pack_saturated<kSplitOrder>(counts));
    }
};

} // namespace

void overlay_nf4(FormatKernels *kernels) { overlay_format<Code>(kernels); }

} // namespace moeq::cpu::avx2
