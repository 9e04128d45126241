// What the 4-bit formats share on AVX-512, over a format's rules:
//   kValues          the 16 values, as fp32 bits
//   Search           the constants of the encoder in registers, and cell_index(t): bits 0..5 say what the code is
//   kCodes           the code of each of the 64 indices
//   kByWords, Words  whether there is a shorter way for bf16 words of most blocks
#pragma once

#include "cpu/avx512/amax.h"
#include "cpu/avx512/elements.h"
#include "cpu/avx512/four_bit_decode.h"
#include "cpu/fill.h"
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

// The shorter way for as many elements of a block as there are whole groups of 64. Returns their number.
template <class Code>
MOEQ_TIER_INLINE int64_t encode_words(const void* source, int64_t count, const typename Code::Words& words, int block,
                                      uint8_t* codes)
{
    int64_t i = 0;
    for (; i + 64 <= count; i += 64) {
        const void* at = element_at<kBf16>(source, i);
        prefetch64<kBf16>(at, kAhead / kElementBytes<kBf16>);
        _mm256_storeu_si256(static_cast<__m256i*>(static_cast<void*>(codes + i / 2)), words.encode_part(at, block));
    }
    return i;
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

// Some blocks on their way: their statistics first, then their codes.
template <class Code, FloatType type>
struct EncodedGroup : BlockGroup<type> {
    using BlockGroup<type>::blocks;
    using BlockGroup<type>::counts;
    using BlockGroup<type>::amax;

    alignas(64) float values[16]; // multipliers
    __mmask16 tiny;               // blocks whose elements are scaled by 2^100 first

    // Returns whether encode_full will do.
    MOEQ_TIER_INLINE bool prepare(const void* source, int64_t first, int64_t count, int64_t block, int most_blocks)
    {
        const bool full = this->template measure_next<false>(source, first, count, block, most_blocks);
        tiny = store_multipliers(amax, values);
        return full && tiny == 0;
    }

    MOEQ_TIER_INLINE void encode(const void* source, int64_t first, const typename Code::Search& search,
                                 uint8_t* codes) const
    {
        if constexpr (Code::kByWords && type == kBf16) {
            if (Code::Words::fit(amax)) [[likely]] {
                const typename Code::Words words(amax);
                for (int b = 0; b < blocks; ++b) {
                    const int64_t done =
                        encode_words<Code>(element_at<type>(source, first), counts[b], words, b, codes);
                    encode_block<Code, type, false>(source, first + done, counts[b] - done, search, 1.0f, values[b],
                                                    codes + done / 2);
                    first += counts[b];
                    codes += counts[b] / 2;
                }
                return;
            }
        }
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
        if constexpr (Code::kByWords && type == kBf16) {
            if (Code::Words::fit(amax)) [[likely]] {
                encode_full_words<block>(source, first, codes);
                return;
            }
        }
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
    template <int block>
    MOEQ_TIER_INLINE void encode_full_words(const void* source, int64_t first, uint8_t* codes) const
    {
        const typename Code::Words words(amax);
        for (int64_t i = 0; i < 16 * block; i += 128) {
            const void* at = element_at<type>(source, first + i);
            prefetch64<type>(at, kAhead / kElementBytes<type>);
            prefetch64<type>(at, kAhead / kElementBytes<type> + 64);
            const int b = static_cast<int>(i / block);
            _mm512_storeu_si512(codes + i / 2,
                                block == 64 ? words.encode128(at, b, b + 1) : words.encode_blocks32(at, b));
        }
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
        EncodedGroup<Code, type> group;
        const bool full = group.prepare(source, first, count, block, most_blocks);
        most = _mm512_max_epu32(most, group.amax);
        _mm512_mask_storeu_epi32(absmax, static_cast<__mmask16>(low_bits(group.blocks)), group.amax);
        absmax += group.blocks;
        uint8_t* const destination = codes + first / 2;
        Staged<kGroup / 2 + 64> staged(destination);
        auto* at = stores == kStreamed ? static_cast<uint8_t*>(staged.data()) : destination;
        if (full && block == 64) [[likely]]
            group.template encode_full<64>(source, first, search, at);
        else if (full)
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

// What fill_kernels enters.
template <class Code>
struct FourBit {
    template <FloatType type, Stores stores>
    static constexpr EncodeBlocks encode_blocks = avx512::encode_blocks<Code, type, stores>;
    template <FloatType type, Stores stores>
    static constexpr DecodeBlocks decode_blocks = avx512::decode_blocks<Code, type, stores>;
};

// 1.5 * 2^23: a number below 2^22 added to it comes out as the nearest integer in the lowest bits.
constexpr float kRounder = 12582912.0f;

} // namespace

} // namespace moeq::cpu::avx512
