// NF4 by AVX2.
#include "codec/nf4.h"

#include "cpu/avx2/four_bit.h"
#include "cpu/avx2/nf4_words.h"
#include "cpu/avx2/tier.h"

namespace moeq::cpu::avx2 {

namespace {

constexpr Thresholds8 kSecond = thresholds_of_two(codec::kNf4Thresholds.bits[3], codec::kNf4Thresholds.bits[11]);
constexpr Thresholds8 kThird = thresholds_of_four(codec::kNf4Thresholds, 1, 4);
// Of 8 entries, across the lanes.
constexpr Thresholds8 kFourth = [] {
    Thresholds8 table{};
    for (int n = 0; n < 8; ++n)
        table.bits[-n & 7] = codec::kNf4Thresholds.bits[2 * n];
    return table;
}();

struct Code {
    static constexpr codec::Nf4Values kValues = codec::kNf4Values;
    static constexpr bool kByWords = true;
    using Words = Nf4Words;

    // Minus the number of thresholds below t.
    MOEQ_TIER_INLINE static __m256i search(__m256 t)
    {
        const __m256i first = next_level(_mm256_setzero_si256(), t, threshold(codec::kNf4Thresholds.bits[7]));
        const __m256 second = _mm256_permutevar_ps(_mm256_castsi256_ps(load256(kSecond.bits)), first);
        __m256i count = next_level(first, t, second);
        const __m256 third = _mm256_permutevar_ps(_mm256_castsi256_ps(load256(kThird.bits)), count);
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

void overlay_nf4(RunKernels* kernels) { fill_kernels<FourBit<Code>>(kernels); }

} // namespace moeq::cpu::avx2
