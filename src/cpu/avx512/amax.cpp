// Largest magnitudes by AVX-512.
#include "cpu/avx512/amax.h"

#include "cpu/avx512/tier.h"

namespace moeq::cpu::avx512 {

namespace {

template <FloatType type>
uint32_t amax(const void* source, int64_t count)
{
    return amax_run<type>(source, count);
}

template <FloatType type>
uint32_t amax_blocks(const void* source, int64_t count, int64_t block, float* absmax)
{
    __m512i most = _mm512_setzero_si512();
    for (int64_t first = 0; first < count;) {
        __m512i folded[16] = {};
        int64_t counts[16];
        int blocks = 0;
        int64_t i = first;
        for (; blocks < 16 && i < count; ++blocks) {
            counts[blocks] = count - i < block ? count - i : block;
            folded[blocks] = block_magnitudes<type>(source, i, counts[blocks]);
            i += counts[blocks];
        }
        const __m512i statistics = widened_blocks<type>(largest_of_each<type>(folded), source, first, counts, blocks);
        most = _mm512_max_epu32(most, statistics);
        _mm512_mask_storeu_epi32(absmax, static_cast<__mmask16>(low_bits(blocks)), statistics);
        absmax += blocks;
        first = i;
    }
    return largest_dword(most);
}

template <FloatType type, bool kFull>
MOEQ_TIER_INLINE void columns16(const void* source, int64_t i, __mmask16 mask, uint32_t* bits)
{
    const __m512i magnitude =
        _mm512_and_si512(_mm512_castps_si512(load16<type, kFull>(source, i, mask)), _mm512_set1_epi32(0x7FFFFFFF));
    if constexpr (kFull) {
        _mm512_storeu_si512(bits + i, _mm512_max_epu32(_mm512_loadu_si512(bits + i), magnitude));
    } else {
        const __m512i before = _mm512_maskz_loadu_epi32(mask, bits + i);
        _mm512_mask_storeu_epi32(bits + i, mask, _mm512_max_epu32(before, magnitude));
    }
}

template <FloatType type>
void amax_columns(const void* source, int64_t count, uint32_t* bits)
{
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        columns16<type, true>(source, i, 0, bits);
    if (i < count)
        columns16<type, false>(source, i, static_cast<__mmask16>(low_bits(count - i)), bits);
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
    kernels->amax_columns[kFp32] = amax_columns<kFp32>;
    kernels->amax_columns[kFp16] = amax_columns<kFp16>;
    kernels->amax_columns[kBf16] = amax_columns<kBf16>;
}

} // namespace moeq::cpu::avx512
