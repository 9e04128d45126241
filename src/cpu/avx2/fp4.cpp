// FP4 by AVX2.
#include "codec/fp4.h"

#include "cpu/avx2/four_bit.h"
#include "cpu/avx2/tier.h"

namespace moeq::cpu::avx2 {

namespace {

constexpr Thresholds8 kSecond = thresholds_of_two(codec::kFp4Thresholds.bits[1], codec::kFp4Thresholds.bits[5]);
constexpr Thresholds8 kThird = thresholds_of_four(codec::kFp4Thresholds, 0, 2);

struct Codes32 {
    uint8_t at[32];
};
// By rank, with 8 more for a negative number; twice, for the two lanes.
constexpr Codes32 kCodes = [] {
    Codes32 codes{};
    for (uint32_t i = 0; i < 32; ++i)
        codes.at[i] = codec::fp4_code_of_rank(i % 8, i % 16 >= 8);
    return codes;
}();

struct Code {
    static constexpr codec::Fp4Values kValues = codec::kFp4Values;
    static constexpr bool kByWords = false;

    // Minus the number of thresholds below |t|.
    MOEQ_TIER_INLINE static __m256i search(__m256 t)
    {
        const __m256 magnitude = _mm256_and_ps(t, _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFFFF)));
        const __m256i first = next_level(_mm256_setzero_si256(), magnitude, threshold(codec::kFp4Thresholds.bits[3]));
        const __m256 second = _mm256_permutevar_ps(_mm256_castsi256_ps(load256(kSecond.bits)), first);
        const __m256i count = next_level(first, magnitude, second);
        const __m256 third = _mm256_permutevar_ps(_mm256_castsi256_ps(load256(kThird.bits)), count);
        return next_level(count, magnitude, third);
    }

    template <bool kSplitOrder>
    MOEQ_TIER_INLINE static __m256i codes32(const __m256 t[4])
    {
        __m256i counts[4];
        for (int part = 0; part < 4; ++part)
            counts[part] = search(t[part]);
        const __m256i rank = _mm256_abs_epi8(pack_saturated<kSplitOrder>(counts));
        const __m256i sign = _mm256_and_si256(_mm256_srli_epi16(pack_signs<kSplitOrder>(t), 4), _mm256_set1_epi8(8));
        return _mm256_shuffle_epi8(load256(kCodes.at), _mm256_or_si256(rank, sign));
    }
};

} // namespace

void overlay_fp4(RunKernels* kernels) { fill_kernels<FourBit<Code>>(kernels); }

} // namespace moeq::cpu::avx2
