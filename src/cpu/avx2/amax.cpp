// Largest magnitudes by AVX2.
#include "cpu/avx2/amax.h"

#include "cpu/avx2/tier.h"
#include "cpu/rectangles.h"

namespace moeq::cpu::avx2 {

namespace {

template <FloatType type>
uint32_t amax(const void* source, int64_t count)
{
    return amax_run<type, true>(source, count);
}

template <FloatType type>
MOEQ_TIER_INLINE void columns8(const void* source, void* bits)
{
    const __m256i magnitude = _mm256_and_si256(_mm256_castps_si256(load8<type>(source)), _mm256_set1_epi32(0x7FFFFFFF));
    store256(bits, _mm256_max_epu32(load256(bits), magnitude));
}

template <FloatType type>
uint32_t amax_blocks(const void* source, int64_t count, int64_t block, float* absmax)
{
    uint32_t largest = 0;
    for (int64_t i = 0; i < count; i += block) {
        const uint32_t bits = amax_run<type>(element_at<type>(source, i), count - i < block ? count - i : block);
        *absmax++ = codec::float_from_bits(bits);
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

template <FloatType type>
void amax_columns(const void* source, int64_t count, uint32_t* bits)
{
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        columns8<type>(element_at<type>(source, i), bits + i);
    if (i < count) {
        Padded<kElementBytes<type>> elements;
        Padded<4> results;
        elements.fill(element_at<type>(source, i), count - i);
        results.fill(bits + i, count - i);
        columns8<type>(elements.at, results.at);
        results.drain(bits + i, count - i);
    }
}

} // namespace

void overlay_amax(Kernels* kernels)
{
    kernels->amax[kFp32] = amax<kFp32>;
    kernels->amax[kFp16] = amax<kFp16>;
    kernels->amax[kBf16] = amax<kBf16>;
    kernels->amax_blocks[kFp32] = amax_blocks<kFp32>;
    kernels->amax_blocks[kFp16] = amax_blocks<kFp16>;
    kernels->amax_blocks[kBf16] = amax_blocks<kBf16>;
    kernels->amax_rectangle[kFp32] = amax_by_rows<amax<kFp32>>;
    kernels->amax_columns[kFp32] = amax_columns_by_rows<amax_columns<kFp32>>;
    kernels->amax_rectangle[kFp16] = amax_by_rows<amax<kFp16>>;
    kernels->amax_columns[kFp16] = amax_columns_by_rows<amax_columns<kFp16>>;
    kernels->amax_rectangle[kBf16] = amax_by_rows<amax<kBf16>>;
    kernels->amax_columns[kBf16] = amax_columns_by_rows<amax_columns<kBf16>>;
}

} // namespace moeq::cpu::avx2
