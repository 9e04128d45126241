// What the 4-bit formats share on AVX2, over a format's rules:
//   kValues            the 16 values, as fp32 bits
//   codes32(t, ..)     the codes of 32 arguments, in the order of load32 (kSplitOrder), one to a byte
//   kByWords, Words    whether there is a shorter way for bf16 words of most blocks
#pragma once

#include "cpu/avx2/amax.h"
#include "cpu/avx2/elements.h"
#include "cpu/fill.h"
#include "cpu/kernels.h"

namespace moeq::cpu::avx2 {

namespace {

// ---- Decode ----

// All 16 results of a block. fp32: the first 8 and the last 8. Else: their low bytes and their high bytes, in both halves.
struct BlockTable {
    __m256i parts[2];
};

// The values of 8 codes. A compiler that sees that FP4's last 8 are the first 8 negated multiplies once and negates the products,
// which turns the sign of a NaN.
MOEQ_TIER_INLINE __m256 opaque_values(const uint32_t* bits)
{
    __m256 values = _mm256_castsi256_ps(load256(bits));
    asm("" : "+x"(values));
    return values;
}

template <FloatType type>
MOEQ_TIER_INLINE BlockTable make_table(__m256 first_values, __m256 last_values, float absmax)
{
    const __m256 scale = _mm256_set1_ps(absmax);
    const __m256 first = _mm256_mul_ps(first_values, scale);
    const __m256 last = _mm256_mul_ps(last_values, scale);
    if constexpr (type == kFp32)
        return {{_mm256_castps_si256(first), _mm256_castps_si256(last)}};
    __m256i words; // of the first 8 in the lower halves of dwords, of the last 8 in the upper ones
    if constexpr (type == kFp16) {
        const __m256i lower = _mm256_cvtepu16_epi32(round_fp16(first));
        const __m256i upper = _mm256_cvtepu16_epi32(round_fp16(last));
        words = _mm256_or_si256(lower, _mm256_slli_epi32(upper, 16));
    } else if (codec::magnitude_bits_fp32(absmax) < codec::kNonfiniteBits) [[likely]] {
        const __m256i upper = round_bf16<Rounding::kNumbers, 0>(last);
        words = _mm256_blend_epi16(round_bf16<Rounding::kNumbers>(first), upper, 0xAA);
    } else {
        const __m256i upper = _mm256_slli_epi32(round_bf16<Rounding::kWithNan>(last), 16);
        words = _mm256_or_si256(round_bf16<Rounding::kWithNan>(first), upper);
    }
    // Lanes: 4 low and 4 high bytes of the first results, then of the last ones.
    const __m256i order = _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, //
                                           0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m256i bytes = _mm256_shuffle_epi8(words, order);
    return {{_mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 2, 6, 0, 4, 2, 6)),
             _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(1, 5, 3, 7, 1, 5, 3, 7))}};
}

// 32 elements from 16 bytes of codes.
template <FloatType type, Stores stores = kCached>
MOEQ_TIER_INLINE void decode32(const void* codes, const BlockTable& table, void* destination)
{
    const char* from = static_cast<const char*>(codes);
    char* at = static_cast<char*>(destination);
    if constexpr (type == kFp32) {
        for (int part = 0; part < 4; ++part) {
            int four;
            __builtin_memcpy(&four, from + 4 * part, 4);
            // The nibble of each element comes to the lowest bits.
            const __m256i index =
                _mm256_srlv_epi32(_mm256_set1_epi32(four), _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24));
            const __m256 first = _mm256_permutevar8x32_ps(_mm256_castsi256_ps(table.parts[0]), index);
            const __m256 last = _mm256_permutevar8x32_ps(_mm256_castsi256_ps(table.parts[1]), index);
            const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
            put256<stores>(at + 32 * part, _mm256_castps_si256(_mm256_blendv_ps(first, last, upper)));
        }
    } else {
        // Unpacking works in 128-bit lanes: with the bytes in this order each step below leaves elements in order.
        const __m128i order = _mm_setr_epi8(0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15);
        const __m256i bytes = _mm256_cvtepu8_epi16(_mm_shuffle_epi8(load128(from), order));
        // A byte 0xHL in a word becomes the bytes 0x0H, 0x0L.
        const __m256i pairs = _mm256_or_si256(_mm256_slli_epi16(bytes, 8), _mm256_srli_epi16(bytes, 4));
        const __m256i index = _mm256_and_si256(pairs, _mm256_set1_epi8(15));
        const __m256i low = _mm256_shuffle_epi8(table.parts[0], index);
        const __m256i high = _mm256_shuffle_epi8(table.parts[1], index);
        put256<stores>(at, _mm256_unpacklo_epi8(low, high));
        put256<stores>(at + 32, _mm256_unpackhi_epi8(low, high));
    }
}

// 64 elements of 16 bits from 32 bytes of codes: half as many steps as twice 32.
template <FloatType type, Stores stores>
MOEQ_TIER_INLINE void decode64(const uint8_t* codes, const BlockTable& table, char* at)
{
    // Unpacking works in 128-bit lanes: with the dwords in this order, unpacking twice leaves elements in order.
    const __m256i bytes = _mm256_permutevar8x32_epi32(load256(codes), _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i even = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble);
    const __m256i odd = _mm256_and_si256(bytes, nibble);
    for (int half = 0; half < 2; ++half, at += 64) {
        const __m256i index = half == 0 ? _mm256_unpacklo_epi8(even, odd) : _mm256_unpackhi_epi8(even, odd);
        const __m256i low = _mm256_shuffle_epi8(table.parts[0], index);
        const __m256i high = _mm256_shuffle_epi8(table.parts[1], index);
        put256<stores>(at, _mm256_unpacklo_epi8(low, high));
        put256<stores>(at + 32, _mm256_unpackhi_epi8(low, high));
    }
}

// Streamed: every whole group of 32 elements goes to a border of 64 bytes.
template <class Code, FloatType type, Stores stores>
MOEQ_TIER_INLINE void decode_range(const uint8_t* codes, int64_t begin, int64_t end, const float* absmax, int64_t block,
                                   char* at)
{
    const __m256 first_values = opaque_values(Code::kValues.bits);
    const __m256 last_values = opaque_values(Code::kValues.bits + 8);
    int64_t i = begin;
    int64_t left = begin < end ? block - begin % block : 0; // of the block
    absmax += begin / block;
    while (i < end) {
        const int64_t rest = end - i;
        if constexpr (type != kFp32) {
            if (block == 64 && left == 64 && rest >= 64) {
                for (int64_t b = rest / 64; b != 0; --b, i += 64, at += 128)
                    decode64<type, stores>(codes + i / 2, make_table<type>(first_values, last_values, *absmax++), at);
                continue;
            }
        }
        int64_t count = left < rest ? left : rest;
        const BlockTable table = make_table<type>(first_values, last_values, *absmax++);
        left = block;
        if ((i & 1) != 0) {
            // Blocks are even, so only the first element of all can be the second one of a byte.
            const uint8_t code[16] = {static_cast<uint8_t>(codes[i / 2] << 4)};
            Padded<kElementBytes<type>> results;
            decode32<type>(code, table, results.at);
            results.drain(at, 1);
            at += kElementBytes<type>;
            ++i;
            --count;
        }
        for (; count >= 32; count -= 32, i += 32, at += 32 * kElementBytes<type>)
            decode32<type, stores>(codes + i / 2, table, at);
        if (count > 0) {
            Padded<1> last;
            Padded<kElementBytes<type>> results;
            last.fill(codes + i / 2, (count + 1) / 2);
            decode32<type>(last.at, table, results.at);
            results.drain(at, count);
            at += count * kElementBytes<type>;
            i += count;
        }
    }
}

template <class Code, FloatType type, Stores stores>
void decode_blocks(const uint8_t* codes, int64_t begin, int64_t end, const float* absmax, int64_t block,
                   void* destination)
{
    char* at = static_cast<char*>(destination);
    if constexpr (stores == kCached) {
        decode_range<Code, type, kCached>(codes, begin, end, absmax, block, at);
    } else if (reinterpret_cast<uintptr_t>(at) % 64 == 0 && begin % 32 == 0 && block % 32 == 0) {
        decode_range<Code, type, kStreamed>(codes, begin, end, absmax, block, at);
    } else {
        while (begin < end) {
            Staged<4096> staged(at);
            const int64_t most = staged.capacity() / kElementBytes<type>;
            const int64_t count = end - begin < most ? end - begin : most;
            void* const made = staged.data();
            decode_range<Code, type, kCached>(codes, begin, begin + count, absmax, block, static_cast<char*>(made));
            staged.stream(at, count * kElementBytes<type>);
            begin += count;
            at += count * kElementBytes<type>;
        }
    }
}

// ---- Encode ----

// The 16 bytes of 32 elements.
template <class Code, FloatType type, bool kPrescale>
MOEQ_TIER_INLINE __m128i encode32(const void* source, __m256 prescale, __m256 value)
{
    __m256 t[4];
    load32<type>(source, t);
    for (int part = 0; part < 4; ++part)
        t[part] = scaled<kPrescale>(t[part], prescale, value);
    // 16 * even + odd.
    const __m256i words = _mm256_maddubs_epi16(Code::template codes32<kSplit<type>>(t), _mm256_set1_epi16(0x0110));
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi16(words, words), 0x08));
}

template <class Code, FloatType type, bool kPrescale>
MOEQ_TIER_INLINE void encode_block(const void* source, int64_t count, float prescale, float value, uint8_t* codes)
{
    const __m256 prescales = _mm256_set1_ps(prescale);
    const __m256 values = _mm256_set1_ps(value);
    int64_t i = 0;
    for (; i + kGroup <= count; i += kGroup) {
        const void* at = element_at<type>(source, i);
        prefetch32<type>(at, kAhead / kElementBytes<type>);
        store128(codes + i / 2, encode32<Code, type, kPrescale>(at, prescales, values));
    }
    if (i < count) {
        Padded<kElementBytes<type>> rest;
        Padded<1> results;
        rest.fill(element_at<type>(source, i), count - i);
        store128(results.at, encode32<Code, type, kPrescale>(rest.at, prescales, values));
        results.drain(codes + i / 2, (count - i + 1) / 2);
    }
}

// The shorter way for as many elements of a block as there are whole groups of 64. Returns their number.
template <class Code>
MOEQ_TIER_INLINE int64_t encode_words(const void* source, int64_t count, uint32_t amax, uint8_t* codes)
{
    const typename Code::Words words(amax);
    int64_t i = 0;
    for (; i + 64 <= count; i += 64) {
        const void* at = element_at<kBf16>(source, i);
        prefetch32<kBf16>(at, kAhead / kElementBytes<kBf16>);
        prefetch32<kBf16>(at, kAhead / kElementBytes<kBf16> + 32);
        store256(codes + i / 2, words.encode64(at));
    }
    return i;
}

// codec::unit_multiplier for 8 blocks of statistics `bits`; the prescale of each too.
MOEQ_TIER_INLINE void store_multipliers(const uint32_t* bits, float* prescales, float* values)
{
    const __m256i statistics = load256(bits);
    const __m256 absmax = _mm256_castsi256_ps(statistics);
    const __m256 one = _mm256_set1_ps(1.0f);
    const __m256i zero = _mm256_cmpeq_epi32(statistics, _mm256_setzero_si256());
    const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(codec::kTinyAmaxBits)), statistics);
    const __m256i tiny = _mm256_andnot_si256(zero, below);
    const __m256 power = _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(codec::kTinyPrescaleBits)));
    const __m256 prescale = _mm256_blendv_ps(one, power, _mm256_castsi256_ps(tiny));
    const __m256 value = _mm256_div_ps(one, _mm256_mul_ps(absmax, prescale));
    _mm256_storeu_ps(prescales, prescale);
    _mm256_storeu_ps(values, _mm256_andnot_ps(_mm256_castsi256_ps(zero), value));
}

constexpr int64_t kMostElements = 4096; // at least one block, whose statistics are taken before they are encoded
constexpr int kBlocks = 8;              // at most

// `count` elements from a block's border on, at most kBlocks blocks: their statistics first, then their codes. Returns the
// largest magnitude. A compiler that knows the numbers makes a straight line of it.
template <class Code, FloatType type>
MOEQ_TIER_INLINE uint32_t encode_group(const void* source, int64_t count, int64_t block, float* absmax, uint8_t* codes)
{
    uint32_t bits[kBlocks] = {};
    float prescales[kBlocks];
    float values[kBlocks];
    uint32_t largest = 0;
    int blocks = 0;
    for (int64_t i = 0; i < count; i += block, ++blocks) {
        bits[blocks] = amax_run<type>(element_at<type>(source, i), count - i < block ? count - i : block);
        largest = largest > bits[blocks] ? largest : bits[blocks];
        absmax[blocks] = codec::float_from_bits(bits[blocks]);
    }
    store_multipliers(bits, prescales, values);
    int64_t begin = 0;
    for (int b = 0; b < blocks; ++b, begin += block) {
        const int64_t size = count - begin < block ? count - begin : block;
        const void* elements = element_at<type>(source, begin);
        if constexpr (Code::kByWords && type == kBf16) {
            if (size >= 64 && Code::Words::fits(bits[b])) [[likely]] {
                const int64_t done = encode_words<Code>(elements, size, bits[b], codes + begin / 2);
                encode_block<Code, type, false>(element_at<type>(elements, done), size - done, 1.0f, values[b],
                                                codes + (begin + done) / 2);
                continue;
            }
        }
        if (prescales[b] == 1.0f) [[likely]]
            encode_block<Code, type, false>(elements, size, 1.0f, values[b], codes + begin / 2);
        else
            encode_block<Code, type, true>(elements, size, prescales[b], values[b], codes + begin / 2);
    }
    return largest;
}

template <class Code, FloatType type, Stores stores>
uint32_t encode_blocks(const void* source, int64_t count, int64_t block, float* absmax, uint8_t* codes)
{
    if constexpr (stores == kStreamed) {
        if (block > kMostElements)
            return encode_blocks<Code, type, kCached>(source, count, block, absmax, codes);
    }
    const int64_t most_blocks = block > kMostElements / 2         ? 1
                                : block > kMostElements / kBlocks ? kMostElements / block
                                                                  : kBlocks;
    uint32_t largest = 0;
    for (int64_t begin = 0; begin < count;) {
        const int64_t some = count - begin < most_blocks * block ? count - begin : most_blocks * block;
        const void* elements = element_at<type>(source, begin);
        uint8_t* const destination = codes + begin / 2;
        Staged<kMostElements / 2 + 64> staged(destination);
        uint8_t* at = stores == kStreamed ? staged.data() : destination;
        const uint32_t bits = block == 64 && some == kBlocks * 64
                                  ? encode_group<Code, type>(elements, kBlocks * 64, 64, absmax, at)
                                  : encode_group<Code, type>(elements, some, block, absmax, at);
        largest = largest > bits ? largest : bits;
        if constexpr (stores == kStreamed)
            staged.stream(destination, (some + 1) / 2);
        begin += some;
        absmax += most_blocks;
    }
    return largest;
}

// What fill_kernels enters.
template <class Code>
struct FourBit {
    template <FloatType type, Stores stores>
    static constexpr EncodeBlocks encode_blocks = avx2::encode_blocks<Code, type, stores>;
    template <FloatType type, Stores stores>
    static constexpr DecodeBlocks decode_blocks = avx2::decode_blocks<Code, type, stores>;
};

// ---- Binary search among thresholds ----

// A look-up takes the lowest bits of the negative count n of the levels before, so entry -n & 3 holds the threshold in the
// middle of what is left. It works in lanes of 128 bits: both halves are the same.
struct Thresholds8 {
    uint32_t bits[8];
};
constexpr Thresholds8 thresholds_of_two(uint32_t low, uint32_t high)
{
    return Thresholds8{{low, low, low, high, low, low, low, high}}; // -1 ends in two ones
}
// Thresholds first, first + step, ... of a list.
template <class Thresholds>
constexpr Thresholds8 thresholds_of_four(const Thresholds& list, int first, int step)
{
    Thresholds8 table{};
    for (int n = 0; n < 4; ++n)
        table.bits[-n & 3] = table.bits[(-n & 3) + 4] = list.bits[first + step * n];
    return table;
}

// One more level: the count so far doubled, less one where t is above the threshold. Counts are kept negative, because a
// comparison gives -1.
MOEQ_TIER_INLINE __m256i next_level(__m256i count, __m256 t, __m256 threshold)
{
    const __m256i above = _mm256_castps_si256(_mm256_cmp_ps(t, threshold, _CMP_GT_OQ));
    return _mm256_add_epi32(_mm256_add_epi32(count, count), above);
}

MOEQ_TIER_INLINE __m256 threshold(uint32_t bits)
{
    return _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(bits)));
}

} // namespace

} // namespace moeq::cpu::avx2
