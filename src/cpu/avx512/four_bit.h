// What the 4-bit formats share on AVX-512, over a format's rules:
//   kValues          the 16 values, as fp32 bits
//   Search           the constants of the encoder in registers, and cell_index(t): bits 0..5 say what the code is
//   kCodes           the code of each of the 64 indices
#pragma once

#include "cpu/avx512/amax.h"
#include "cpu/avx512/elements.h"
#include "cpu/avx512/four_bit_decode.h"
#include "cpu/kernels.h"

namespace moeq::cpu::avx512 {

namespace {

// 64 elements, each half with its own multiplier.
template <class Code, FloatType type, bool kPrescale, bool kFull>
MOEQ_TIER_INLINE void encode_chunk(const void* source, int64_t i, int64_t count, const typename Code::Search& search,
                                   __m512 prescale, __m512 first_value, __m512 second_value, uint8_t* codes)
{
    __m512 x[4];
    load64<type, kFull>(source, i, kFull ? 0 : low_bits(count), x);
    __m512i index[4];
    for (int part = 0; part < 4; ++part)
        index[part] = search.cell_index(scaled<kPrescale>(x[part], prescale, part < 2 ? first_value : second_value));
    const __m512i nibbles = _mm512_permutexvar_epi8(pack_byte<kSplit<type>, 0>(index), load_constant(Code::kCodes));
    // 16 * even + odd.
    const __m512i words = _mm512_maddubs_epi16(nibbles, _mm512_set1_epi16(0x0110));
    const __m256i bytes = _mm512_cvtepi16_epi8(words);
    if constexpr (kFull)
        _mm256_storeu_si256(static_cast<__m256i*>(static_cast<void*>(codes)), bytes);
    else
        _mm256_mask_storeu_epi8(codes, static_cast<__mmask32>(low_bits((count + 1) / 2)), bytes);
}

template <class Code, FloatType type, bool kPrescale>
MOEQ_TIER_INLINE void encode_block(const void* source, int64_t begin, int64_t count,
                                   const typename Code::Search& search, float prescale, float value, uint8_t* codes)
{
    const __m512 prescales = _mm512_set1_ps(prescale);
    const __m512 values = _mm512_set1_ps(value);
    int64_t i = 0;
    for (; i + 64 <= count; i += 64) {
        prefetch64<type>(element_at<type>(source, begin + i), kAhead / kElementBytes<type>);
        encode_chunk<Code, type, kPrescale, true>(source, begin + i, 64, search, prescales, values, values,
                                                  codes + i / 2);
    }
    if (i < count)
        encode_chunk<Code, type, kPrescale, false>(source, begin + i, count - i, search, prescales, values, values,
                                                   codes + i / 2);
}

// codec::unit_multiplier for 16 blocks, whose absmax it stores. Returns the lanes that have a prescale.
MOEQ_TIER_INLINE __mmask16 store_multipliers(__m512i bits, float* values)
{
    const __mmask16 tiny = _mm512_cmplt_epu32_mask(bits, _mm512_set1_epi32(static_cast<int>(codec::kTinyAmaxBits)));
    const __mmask16 nonzero = _mm512_test_epi32_mask(bits, bits);
    const __m512 prescale = _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(codec::kTinyPrescaleBits)));
    const __m512 absmax = _mm512_castsi512_ps(bits);
    const __m512 divisor = _mm512_mask_mul_ps(absmax, tiny, absmax, prescale);
    _mm512_storeu_ps(values, _mm512_maskz_div_ps(nonzero, _mm512_set1_ps(1.0f), divisor));
    return tiny & nonzero;
}

constexpr int64_t kGroup = 4096; // elements, at least one block, whose statistics are taken before they are encoded

// Some blocks on their way, at most 16: their statistics first, then their codes.
template <class Code, FloatType type>
struct BlockGroup {
    int blocks = 0;
    int64_t counts[16];
    alignas(64) float values[16];
    __mmask16 tiny; // blocks whose elements are scaled by 2^100 first

    // Returns the magnitudes. The first block begins at element `first` of `count`.
    MOEQ_TIER_INLINE __m512i measure(const void* source, int64_t first, int64_t count, int64_t block, int most_blocks)
    {
        __m512i folded[16] = {};
        for (int64_t i = first; blocks < most_blocks && i < count; i += block, ++blocks) {
            counts[blocks] = count - i < block ? count - i : block;
            folded[blocks] = block_magnitudes<type>(source, i, counts[blocks]);
        }
        return settle(largest_of_each<type>(folded), source, first);
    }

    // 16 blocks of 64 or 32.
    template <int block>
    MOEQ_TIER_INLINE __m512i measure_full(const void* source, int64_t first)
    {
        __m512i folded[16];
        for (int b = 0; b < 16; ++b) {
            counts[b] = block;
            folded[b] = magnitudes_of<type, block>(element_at<type>(source, first + block * b));
        }
        blocks = 16;
        return settle(largest_of_each<type>(folded), source, first);
    }

    MOEQ_TIER_INLINE void encode(const void* source, int64_t first, const typename Code::Search& search,
                                 uint8_t* codes) const
    {
        for (int b = 0; b < blocks; ++b) {
            const float prescale = codec::float_from_bits(codec::kTinyPrescaleBits);
            if ((tiny >> b & 1) != 0) [[unlikely]]
                encode_block<Code, type, true>(source, first, counts[b], search, prescale, values[b], codes);
            else
                encode_block<Code, type, false>(source, first, counts[b], search, 1.0f, values[b], codes);
            first += counts[b];
            codes += counts[b] / 2;
        }
    }

    // 16 blocks of 64 or 32, none of them tiny.
    template <int block>
    MOEQ_TIER_INLINE void encode_full(const void* source, int64_t first, const typename Code::Search& search,
                                      uint8_t* codes) const
    {
        constexpr int kStep = 64 / block; // blocks at a time
        const __m512 one = _mm512_set1_ps(1.0f);
#pragma GCC unroll 2
        for (int b = 0; b < 16; b += kStep) {
            const int64_t begin = first + block * b;
            prefetch64<type>(element_at<type>(source, begin), kAhead / kElementBytes<type>);
            encode_chunk<Code, type, false, true>(source, begin, 64, search, one, _mm512_set1_ps(values[b]),
                                                  _mm512_set1_ps(values[b + kStep - 1]), codes + block / 2 * b);
        }
    }

private:
    MOEQ_TIER_INLINE __m512i settle(__m512i stored, const void* source, int64_t first)
    {
        const __m512i statistics = widened_blocks<type>(stored, source, first, counts, blocks);
        tiny = store_multipliers(statistics, values);
        return statistics;
    }
};

template <class Code, FloatType type, Stores stores>
uint32_t encode_blocks(const void* source, int64_t count, int64_t block, float* absmax, uint8_t* codes)
{
    if constexpr (stores == kStreamed) {
        if (block > kGroup)
            return encode_blocks<Code, type, kCached>(source, count, block, absmax, codes);
    }
    const typename Code::Search search = Code::make_search();
    const int most_blocks = block >= kGroup ? 1 : block > kGroup / 16 ? static_cast<int>(kGroup / block) : 16;
    __m512i most = _mm512_setzero_si512();
    for (int64_t first = 0; first < count;) {
        const bool full = (block == 64 || block == 32) && count - first >= 16 * block;
        BlockGroup<Code, type> group;
        const __m512i statistics = !full         ? group.measure(source, first, count, block, most_blocks)
                                   : block == 64 ? group.template measure_full<64>(source, first)
                                                 : group.template measure_full<32>(source, first);
        most = _mm512_max_epu32(most, statistics);
        _mm512_mask_storeu_epi32(absmax, static_cast<__mmask16>(low_bits(group.blocks)), statistics);
        absmax += group.blocks;
        uint8_t* const destination = codes + first / 2;
        Staged<kGroup / 2 + 64> staged(destination);
        auto* at = stores == kStreamed ? static_cast<uint8_t*>(staged.data()) : destination;
        if (full && group.tiny == 0 && block == 64) [[likely]]
            group.template encode_full<64>(source, first, search, at);
        else if (full && group.tiny == 0)
            group.template encode_full<32>(source, first, search, at);
        else
            group.encode(source, first, search, at);
        const int64_t elements = block * group.blocks < count - first ? block * group.blocks : count - first;
        if constexpr (stores == kStreamed)
            staged.stream(destination, (elements + 1) / 2);
        first += elements;
    }
    return largest_dword(most);
}

template <class Code, FloatType type>
void overlay_type(FormatKernels* kernels)
{
    kernels->encode_blocks[kCached][type] = encode_blocks<Code, type, kCached>;
    kernels->encode_blocks[kStreamed][type] = encode_blocks<Code, type, kStreamed>;
    kernels->decode_blocks[kCached][type] = decode_blocks<Code, type, kCached>;
    kernels->decode_blocks[kStreamed][type] = decode_blocks<Code, type, kStreamed>;
}

template <class Code>
void overlay_format(FormatKernels* kernels)
{
    overlay_type<Code, kFp32>(kernels);
    overlay_type<Code, kFp16>(kernels);
    overlay_type<Code, kBf16>(kernels);
}

// 1.5 * 2^23: a number below 2^22 added to it comes out as the nearest integer in the lowest bits.
constexpr float kRounder = 12582912.0f;

} // namespace

} // namespace moeq::cpu::avx512
