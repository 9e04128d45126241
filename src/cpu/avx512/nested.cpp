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

// The map as four tables of bytes, one for each byte of a float: 64 codes are looked up in one of them with three
// instructions. Gathers are many times slower, and floats take 24 instructions for 16 codes.
struct BytePlanes {
    __m512i table[4][4]; // [byte][a quarter of the map]
};

MOEQ_TIER_INLINE BytePlanes planes_of(const float* map)
{
    alignas(64) static constexpr struct Picks {
        constexpr Picks()
        {
            for (int half = 0; half < 2; ++half)
                for (int i = 0; i < 64; ++i)
                    byte[half][i] = static_cast<uint8_t>(4 * (i % 32) + 2 * half + i / 32);
        }
        uint8_t byte[2][64] = {}; // of 32 floats: bytes 0, then 1; bytes 2, then 3
    } kPicks;
    BytePlanes planes;
    for (int half = 0; half < 2; ++half) {
        const __m512i pick = _mm512_load_si512(kPicks.byte[half]);
        for (int quarter = 0; quarter < 4; ++quarter) {
            __m512i two[2];
            for (int k = 0; k < 2; ++k) {
                const float* from = map + 64 * quarter + 32 * k;
                two[k] = _mm512_permutex2var_epi8(_mm512_loadu_si512(from), pick, _mm512_loadu_si512(from + 16));
            }
            planes.table[2 * half][quarter] = _mm512_shuffle_i64x2(two[0], two[1], 0x44);
            planes.table[2 * half + 1][quarter] = _mm512_shuffle_i64x2(two[0], two[1], 0xEE);
        }
    }
    return planes;
}

// values[k] are those of codes 16 k to 16 k + 15.
MOEQ_TIER_INLINE void map_values(const BytePlanes& planes, __m512i codes, __m512 values[4])
{
    // Bytes are put together within quarters of a register: so each of these gets four codes of every result.
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i index = _mm512_permutexvar_epi32(order, codes);
    const __mmask64 upper = _mm512_movepi8_mask(index);
    __m512i byte[4];
    for (int i = 0; i < 4; ++i) {
        const __m512i* table = planes.table[i];
        byte[i] = _mm512_mask_blend_epi8(upper, _mm512_permutex2var_epi8(table[0], index, table[1]),
                                         _mm512_permutex2var_epi8(table[2], index, table[3]));
    }
    const __m512i low[2] = {_mm512_unpacklo_epi8(byte[0], byte[1]), _mm512_unpacklo_epi8(byte[2], byte[3])};
    const __m512i high[2] = {_mm512_unpackhi_epi8(byte[0], byte[1]), _mm512_unpackhi_epi8(byte[2], byte[3])};
    values[0] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(low[0], low[1]));
    values[1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(low[0], low[1]));
    values[2] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(high[0], high[1]));
    values[3] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(high[0], high[1]));
}

void decode_nested(const uint8_t* codes, int64_t count, const float* map, float scale, float offset, float* absmax)
{
    const __m512 scales = _mm512_set1_ps(scale);
    const __m512 offsets = _mm512_set1_ps(offset);
    const BytePlanes planes = planes_of(map);
    for (int64_t i = 0; i < count; i += 64) {
        const __mmask64 mask = low_bits(count - i);
        __m512 values[4];
        map_values(planes, _mm512_maskz_loadu_epi8(mask, codes + i), values);
        for (int k = 0; k < 4; ++k) {
            const __m512 product = _mm512_mul_ps(values[k], scales);
            _mm512_mask_storeu_ps(absmax + i + 16 * k, static_cast<__mmask16>(mask >> (16 * k)),
                                  _mm512_add_ps(product, offsets));
        }
    }
}

} // namespace

void overlay_nested(Kernels* kernels)
{
    kernels->encode_nested = encode_nested;
    kernels->decode_nested = decode_nested;
}

} // namespace moeq::cpu::avx512
