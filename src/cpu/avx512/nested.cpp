// Nested statistics by AVX-512.
#include "codec/dynamic_thresholds.h"

#include "cpu/avx512/elements.h"
#include "cpu/avx512/tier.h"

namespace moeq::cpu::avx512 {

namespace {

// The thresholds behind every 16th code, which say in which group of 16 a code is.
struct alignas(64) GroupThresholds {
    float at[16];
};
constexpr GroupThresholds kGroups = [] {
    GroupThresholds groups{};
    for (int i = 0; i < 16; ++i)
        groups.at[i] = codec::kDynamicThresholds.values[16 * i + 15];
    return groups;
}();

// codec::dynamic_code of 16 numbers.
MOEQ_TIER_INLINE __m512i dynamic_codes(__m512 t)
{
    const __m512 groups = _mm512_load_ps(kGroups.at);
    __m512i group = _mm512_setzero_si512();
    for (int step = 8; step != 0; step /= 2) {
        const __m512i middle = _mm512_add_epi32(group, _mm512_set1_epi32(step - 1));
        const __mmask16 above = _mm512_cmp_ps_mask(t, _mm512_permutexvar_ps(middle, groups), _CMP_GT_OQ);
        group = _mm512_mask_add_epi32(group, above, group, _mm512_set1_epi32(step));
    }
    __m512i code = _mm512_slli_epi32(group, 4);
    for (int step = 8; step != 0; step /= 2) {
        const __m512i middle = _mm512_add_epi32(code, _mm512_set1_epi32(step - 1));
        const __m512 threshold = _mm512_i32gather_ps(middle, codec::kDynamicThresholds.values, 4);
        const __mmask16 above = _mm512_cmp_ps_mask(t, threshold, _CMP_GT_OQ);
        code = _mm512_mask_add_epi32(code, above, code, _mm512_set1_epi32(step));
    }
    return code;
}

float encode_nested(const float* absmax, int64_t count, float offset, uint8_t* codes)
{
    constexpr int kRegisters = 16; // for 256 values
    const __m512 offsets = _mm512_set1_ps(offset);
    __m512 shifted[kRegisters];
    __m512i most = _mm512_setzero_si512();
    for (int64_t i = 0; i < count; i += 16) {
        const __mmask16 mask = static_cast<__mmask16>(low_bits(count - i));
        const __m512 difference = _mm512_maskz_sub_ps(mask, _mm512_maskz_loadu_ps(mask, absmax + i), offsets);
        const __m512i magnitude = _mm512_and_si512(_mm512_castps_si512(difference), _mm512_set1_epi32(0x7FFFFFFF));
        most = _mm512_max_epu32(most, magnitude);
        shifted[i / 16] = difference;
    }
    const float amax = codec::float_from_bits(_mm512_reduce_max_epu32(most));
    const codec::Multiplier multiplier = codec::unit_multiplier(amax);
    if (multiplier.value == 0.0f) {
        __builtin_memset(codes, codec::kDynamicZeroCode, static_cast<uint64_t>(count));
        return amax;
    }
    const __m512 prescale = _mm512_set1_ps(multiplier.prescale);
    const __m512 value = _mm512_set1_ps(multiplier.value);
    for (int64_t i = 0; i < count; i += 16) {
        const __m128i bytes = _mm512_cvtepi32_epi8(dynamic_codes(scaled<true>(shifted[i / 16], prescale, value)));
        _mm_mask_storeu_epi8(codes + i, static_cast<__mmask16>(low_bits(count - i)), bytes);
    }
    return amax;
}

// The values of 16 codes. Gathers are several times slower than looking all eighths of the map up and choosing.
MOEQ_TIER_INLINE __m512 map_values(const __m512 map[16], __m512i index)
{
    __m512 found[8];
    for (int eighth = 0; eighth < 8; ++eighth)
        found[eighth] = _mm512_permutex2var_ps(map[2 * eighth], index, map[2 * eighth + 1]);
    for (int bit = 5, left = 4; left != 0; ++bit, left /= 2) {
        const __mmask16 upper = _mm512_test_epi32_mask(index, _mm512_set1_epi32(1 << bit));
        for (int i = 0; i < left; ++i)
            found[i] = _mm512_mask_blend_ps(upper, found[2 * i], found[2 * i + 1]);
    }
    return found[0];
}

void decode_nested(const uint8_t* codes, int64_t count, const float* map, float scale, float offset, float* absmax)
{
    const __m512 scales = _mm512_set1_ps(scale);
    const __m512 offsets = _mm512_set1_ps(offset);
    __m512 values[16];
    for (int i = 0; i < 16; ++i)
        values[i] = _mm512_loadu_ps(map + 16 * i);
    for (int64_t i = 0; i < count; i += 16) {
        const __mmask16 mask = static_cast<__mmask16>(low_bits(count - i));
        const __m512i index = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(mask, codes + i));
        const __m512 product = _mm512_mul_ps(map_values(values, index), scales);
        _mm512_mask_storeu_ps(absmax + i, mask, _mm512_add_ps(product, offsets));
    }
}

} // namespace

void overlay_nested(Kernels* kernels)
{
    kernels->encode_nested = encode_nested;
    kernels->decode_nested = decode_nested;
}

} // namespace moeq::cpu::avx512
