// Nested statistics by AVX2.
#include "codec/dynamic_thresholds.h"

#include "cpu/avx2/elements.h"
#include "cpu/avx2/tier.h"

namespace moeq::cpu::avx2 {

namespace {

constexpr int64_t kMost = 256; // values of one call

// Minus codec::dynamic_code of 8 numbers.
MOEQ_TIER_INLINE __m256i minus_dynamic_codes(__m256 t)
{
    __m256i code = _mm256_setzero_si256(); // kept negative, because a comparison gives -1
    for (int step = 128; step != 0; step /= 2) {
        const __m256i middle = _mm256_sub_epi32(_mm256_set1_epi32(step - 1), code);
        const __m256 threshold = _mm256_i32gather_ps(codec::kDynamicThresholds.values, middle, 4);
        const __m256i above = _mm256_castps_si256(_mm256_cmp_ps(t, threshold, _CMP_GT_OQ));
        code = _mm256_sub_epi32(code, _mm256_and_si256(above, _mm256_set1_epi32(step)));
    }
    return code;
}

float encode_nested(const float* absmax, int64_t count, float offset, uint8_t* codes)
{
    alignas(32) float shifted[kMost];
    alignas(32) int32_t found[kMost];
    uint32_t bits = 0;
    for (int64_t i = 0; i < count; ++i) {
        shifted[i] = codec::subtract(absmax[i], offset);
        const uint32_t magnitude = codec::magnitude_bits_fp32(shifted[i]);
        bits = magnitude > bits ? magnitude : bits;
    }
    for (int64_t i = count; i < (count + 7) / 8 * 8; ++i)
        shifted[i] = 0.0f;
    const float amax = codec::float_from_bits(bits);
    const codec::Multiplier multiplier = codec::unit_multiplier(amax);
    if (multiplier.value == 0.0f) {
        __builtin_memset(codes, codec::kDynamicZeroCode, static_cast<uint64_t>(count));
        return amax;
    }
    const __m256 prescale = _mm256_set1_ps(multiplier.prescale);
    const __m256 value = _mm256_set1_ps(multiplier.value);
    for (int64_t i = 0; i < count; i += 8) {
        const __m256 t = scaled<true>(_mm256_load_ps(shifted + i), prescale, value);
        store256(found + i, minus_dynamic_codes(t));
    }
    for (int64_t i = 0; i < count; ++i)
        codes[i] = static_cast<uint8_t>(-found[i]);
    return amax;
}

// The values of 4 codes. Loads one by one: a gather takes three times as long.
MOEQ_TIER_INLINE __m128 map_values4(const float* map, const uint8_t* codes)
{
    __m128 values = _mm_load_ss(map + codes[0]);
    values = _mm_insert_ps(values, _mm_load_ss(map + codes[1]), 0x10);
    values = _mm_insert_ps(values, _mm_load_ss(map + codes[2]), 0x20);
    return _mm_insert_ps(values, _mm_load_ss(map + codes[3]), 0x30);
}

void decode_nested(const uint8_t* codes, int64_t count, const float* map, float scale, float offset, float* absmax)
{
    const __m256 scales = _mm256_set1_ps(scale);
    const __m256 offsets = _mm256_set1_ps(offset);
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m256 values = _mm256_set_m128(map_values4(map, codes + i + 4), map_values4(map, codes + i));
        _mm256_storeu_ps(absmax + i, _mm256_add_ps(_mm256_mul_ps(values, scales), offsets));
    }
    for (; i < count; ++i)
        absmax[i] = codec::add(codec::multiply(map[codes[i]], scale), offset);
}

} // namespace

void overlay_nested(Kernels* kernels)
{
    kernels->encode_nested = encode_nested;
    kernels->decode_nested = decode_nested;
}

} // namespace moeq::cpu::avx2
