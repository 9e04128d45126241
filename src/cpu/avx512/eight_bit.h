// What the 8-bit formats share on AVX-512, over a format's rules:
//   values()                   the 128 fp32 values of codes 0..127
//   values32(codes, ..)        the values of 32 codes
//   prepare<kind>(s)           what 16 stored scales come to (type Scales), once per run or for 16 columns
//   is_plain(s)                scales for which the plain form of apply is right; a NaN that comes out of it has no bits
//                              that bf16 would round
//   apply<kind, plain>(v, s)   the decoded values
//   are_octaves(bits)          whether a stored scale is plain, not 0, and its bf16 results can be told from those of fewer
//                              codes
//   bf16_words<kind>(s, w)     then those of codes 0..127 in order
//   encode64(t)                the codes of 64 arguments, in the order of load64 (kSplitOrder) or one after another
//   kSigns, encode64(t, signs) whether it wants to be told the signs, which are cheaper to have before elements are widened
//   kByWords, Words            whether there is a shorter way for bf16 words under most scales
#pragma once

#include "cpu/avx512/amax.h"
#include "cpu/avx512/elements.h"
#include "cpu/kernels.h"
#include "cpu/rectangles.h"

namespace moeq::cpu::avx512 {

namespace {

// ---- Decode ----

// Results of 16 bits for one scale: the two bytes of each of the 128 magnitudes, looked up with the lower 7 bits of a code.
struct MagnitudeTable {
    __m512i low[2];
    __m512i high[2];
};

// Of two registers of results: their 32 low bytes, then their 32 high bytes.
constexpr Bytes64 kSplitUpperWords = [] {
    Bytes64 index{};
    for (int i = 0; i < 64; ++i)
        index.at[i] = static_cast<uint8_t>((i % 32) * 4 + 2 + i / 32);
    return index;
}();
constexpr Bytes64 kSplitWords = [] {
    Bytes64 index{};
    for (int i = 0; i < 64; ++i)
        index.at[i] = static_cast<uint8_t>((i % 32) * 2 + i / 32);
    return index;
}();

template <FloatType type>
MOEQ_TIER_INLINE __m512i split_bytes(__m512 first, __m512 second)
{
    if constexpr (type == kBf16)
        return _mm512_permutex2var_epi8(round_finite_bf16(first), load_constant(kSplitUpperWords),
                                        round_finite_bf16(second));
    const __m512i words = _mm512_inserti64x4(_mm512_castsi256_si512(round_fp16(first)), round_fp16(second), 1);
    return _mm512_permutexvar_epi8(load_constant(kSplitWords), words);
}

// The same of 128 words.
MOEQ_TIER_INLINE MagnitudeTable split_words(const __m512i words[4])
{
    MagnitudeTable table;
    for (int i = 0; i < 2; ++i) {
        table.low[i] = _mm512_permutex2var_epi8(words[2 * i], load_constant(kEvenBytes), words[2 * i + 1]);
        table.high[i] = _mm512_permutex2var_epi8(words[2 * i], load_constant(kOddBytes), words[2 * i + 1]);
    }
    return table;
}

// Returns whether the table may be used: the scale must be plain and not 0, as a result with the code's sign turned is then
// the negated result.
template <class Code, ScaleKind kind, FloatType type>
MOEQ_TIER_INLINE bool make_table(float scale, MagnitudeTable* table)
{
    if constexpr (type == kBf16) {
        if (Code::are_octaves(codec::float_bits(scale))) [[likely]] {
            __m512i words[4];
            Code::template bf16_words<kind>(_mm512_set1_ps(scale), words);
            *table = split_words(words);
            return true;
        }
    }
    const auto scales = Code::template prepare<kind>(_mm512_set1_ps(scale));
    __m512i split[4];
    for (int i = 0; i < 4; ++i) {
        const float* values = Code::values() + 32 * i;
        split[i] = split_bytes<type>(Code::template apply<kind, true>(_mm512_loadu_ps(values), scales),
                                     Code::template apply<kind, true>(_mm512_loadu_ps(values + 16), scales));
    }
    for (int i = 0; i < 2; ++i) {
        table->low[i] = _mm512_shuffle_i64x2(split[2 * i], split[2 * i + 1], 0x44);
        table->high[i] = _mm512_shuffle_i64x2(split[2 * i], split[2 * i + 1], 0xEE);
    }
    return Code::is_plain(scales) && !Code::is_zero(scales);
}

template <class Code, ScaleKind kind, FloatType type, bool kFull, bool kPlain, Stores stores = kCached>
MOEQ_TIER_INLINE void decode32(const uint8_t* codes, uint32_t mask, const typename Code::Scales& first,
                               const typename Code::Scales& second, void* destination)
{
    const __m256i bytes = kFull ? _mm256_loadu_si256(static_cast<const __m256i*>(static_cast<const void*>(codes)))
                                : _mm256_maskz_loadu_epi8(mask, codes);
    __m512 low;
    __m512 high;
    Code::values32(bytes, &low, &high);
    store32<type, kFull, !kPlain, stores>(destination, mask, Code::template apply<kind, kPlain>(low, first),
                                          Code::template apply<kind, kPlain>(high, second));
}

// `count` codes, a multiple of 64. Returns the lowest of them as signed numbers.
template <class Code, FloatType type, Stores stores>
MOEQ_TIER_INLINE __m512i look_up(const uint8_t* codes, int64_t count, const MagnitudeTable& table, char* at)
{
    // Unpacking works in 128-bit lanes: with the quadwords in this order its two results are in element order.
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    __m512i lowest = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int64_t i = 0; i < count; i += 64, at += 128) {
        prefetch_codes(codes + i);
        const __m512i bytes = _mm512_permutexvar_epi64(order, _mm512_loadu_si512(codes + i));
        if constexpr (Code::kTwosComplement)
            lowest = _mm512_min_epi8(lowest, bytes);
        const __m512i index = Code::kTwosComplement ? _mm512_abs_epi8(bytes) : bytes;
        const __m512i low = _mm512_permutex2var_epi8(table.low[0], index, table.low[1]);
        const __m512i magnitude = _mm512_permutex2var_epi8(table.high[0], index, table.high[1]);
        constexpr int kXorOfAnd = 0x78; // a ^ (b & c)
        const __m512i high = _mm512_ternarylogic_epi32(magnitude, bytes, sign, kXorOfAnd);
        store512<stores>(at, _mm512_unpacklo_epi8(low, high));
        store512<stores>(at + 64, _mm512_unpackhi_epi8(low, high));
    }
    return lowest;
}

template <class Code, ScaleKind kind, FloatType type, bool kPlain, Stores stores>
MOEQ_TIER_INLINE void decode_run(const uint8_t* codes, int64_t count, const typename Code::Scales& scales,
                                 void* destination)
{
    int64_t i = unaligned_head<stores, kElementBytes<type>>(destination, count);
    if (i != 0)
        decode32<Code, kind, type, false, kPlain>(codes, static_cast<uint32_t>(low_bits(i)), scales, scales,
                                                  destination);
    for (; i + 32 <= count; i += 32)
        decode32<Code, kind, type, true, kPlain, stores>(codes + i, 0, scales, scales,
                                                         element_at<type>(destination, i));
    if (i < count)
        decode32<Code, kind, type, false, kPlain>(codes + i, static_cast<uint32_t>(low_bits(count - i)), scales, scales,
                                                  element_at<type>(destination, i));
}

// Without a table, for any scale and all codes.
template <class Code, ScaleKind kind, FloatType type, Stores stores>
[[gnu::noinline]] void decode_directly(const uint8_t* codes, int64_t count, float scale, void* destination)
{
    const auto scales = Code::template prepare<kind>(_mm512_set1_ps(scale));
    if (Code::is_plain(scales)) [[likely]]
        decode_run<Code, kind, type, true, stores>(codes, count, scales, destination);
    else
        decode_run<Code, kind, type, false, kCached>(codes, count, scales, destination);
}

// Where results were looked up: those of -128, which has no magnitude of 7 bits.
template <class Code, ScaleKind kind, FloatType type>
[[gnu::noinline]] void mend(const uint8_t* codes, int64_t count, float scale, char* at)
{
    constexpr uint8_t kLowest = 0x80;
    uint16_t result;
    decode_directly<Code, kind, type, kCached>(&kLowest, 1, scale, &result);
    const __m512i results = _mm512_set1_epi16(static_cast<int16_t>(result));
    for (int64_t i = 0; i < count; i += 64, at += 128) {
        const __mmask64 mask = _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(codes + i), _mm512_set1_epi8(-128));
        if (mask != 0) {
            _mm512_mask_storeu_epi16(at, static_cast<__mmask32>(mask), results);
            _mm512_mask_storeu_epi16(at + 64, static_cast<__mmask32>(mask >> 32), results);
        }
    }
}

template <class Code, ScaleKind kind, FloatType type, Stores stores>
MOEQ_TIER_INLINE void decode_by_table(const uint8_t* codes, int64_t count, const MagnitudeTable& table, float scale,
                                      void* destination)
{
    const int64_t head = unaligned_head<stores, kElementBytes<type>>(destination, count);
    if (head != 0) [[unlikely]]
        decode_directly<Code, kind, type, stores>(codes, head, scale, destination);
    const int64_t whole = (count - head) & ~int64_t{63};
    char* at = static_cast<char*>(element_at<type>(destination, head));
    const __m512i lowest = look_up<Code, type, stores>(codes + head, whole, table, at);
    if constexpr (Code::kTwosComplement) {
        if (_mm512_cmpeq_epi8_mask(lowest, _mm512_set1_epi8(-128)) != 0) [[unlikely]]
            mend<Code, kind, type>(codes + head, whole, scale, at);
    }
    const int64_t end = head + whole;
    if (end != count) [[unlikely]]
        decode_directly<Code, kind, type, stores>(codes + end, count - end, scale, element_at<type>(destination, end));
}

// Below this the table of a row costs more than it saves.
constexpr int64_t kTableCount = 256;

// The table of the next row is made before a row is looked up: so nothing waits for it, though each of its few instructions
// waits for the one before.
template <class Code, ScaleKind kind, FloatType type, Stores stores>
void decode_rows(const uint8_t* codes, const Rectangle& area, const float* scales, int64_t scale_pitch,
                 void* destination)
{
    const auto [rows, columns, element_pitch, code_pitch] = area;
    if (type == kFp32 || columns < kTableCount || rows == 0) {
        decode_rows_by_runs<decode_directly<Code, kind, type, stores>>(codes, area, scales, scale_pitch, destination);
        return;
    }
    if constexpr (type != kFp32) {
        char* at = static_cast<char*>(destination);
        MagnitudeTable next;
        bool next_usable = make_table<Code, kind, type>(*scales, &next);
        for (int64_t r = 0; r < rows; ++r, codes += code_pitch, at += element_pitch) {
            const MagnitudeTable table = next;
            const bool usable = next_usable;
            const float scale = *scales;
            if (scale_pitch != 0 && r + 1 < rows) {
                scales += scale_pitch;
                next_usable = make_table<Code, kind, type>(*scales, &next);
            }
            if (usable) [[likely]]
                decode_by_table<Code, kind, type, stores>(codes, columns, table, scale, at);
            else
                decode_directly<Code, kind, type, stores>(codes, columns, scale, at);
        }
    }
}

// ---- Encode ----

// Below this the table of the shorter way for bf16 costs more than it saves.
constexpr int64_t kWordsCount = 256;

// What one run is encoded with.
struct RunScale {
    __m512 prescale;
    __m512 value;
};

template <class Code, FloatType type, bool kPrescale, bool kFull, Stores stores = kCached>
MOEQ_TIER_INLINE void encode64(const void* source, int64_t i, uint64_t mask, const RunScale& scale, uint8_t* codes)
{
    __m512 t[4];
    load64<type, kFull>(source, i, mask, t);
    for (int part = 0; part < 4; ++part)
        t[part] = scaled<kPrescale>(t[part], scale.prescale, scale.value);
    __m512i bytes;
    if constexpr (Code::kSigns && type != kFp32 && !kPrescale)
        bytes = Code::template encode64<kSplit<type>>(t, high_bytes<kFull>(element_at<type>(source, i), mask));
    else
        bytes = Code::template encode64<kSplit<type>>(t);
    store_bytes<kFull, stores>(codes + i, mask, bytes);
}

// kFetch: what comes after is asked for, so that its amax and then its codes find it in the first-level cache. Loading it
// here already would be slower: those loads wait, and what is done here waits behind them.
template <class Code, FloatType type, bool kPrescale, bool kFetch, Stores stores>
MOEQ_TIER_INLINE void encode_scaled(const void* source, int64_t count, codec::Multiplier multiplier, const void* next,
                                    uint8_t* codes)
{
    const RunScale scale{_mm512_set1_ps(multiplier.prescale), _mm512_set1_ps(multiplier.value)};
    int64_t i = unaligned_head<stores, 1>(codes, count);
    if (i != 0)
        encode64<Code, type, kPrescale, false>(source, 0, low_bits(i), scale, codes);
    for (; i + 64 <= count; i += 64) {
        if constexpr (kFetch)
            prefetch64<type>(next, i);
        encode64<Code, type, kPrescale, true, stores>(source, i, 0, scale, codes);
    }
    if (i < count)
        encode64<Code, type, kPrescale, false>(source, i, low_bits(count - i), scale, codes);
}

// bf16 the shorter way; 64 elements that are not made for it are widened.
template <class Code, bool kFetch, Stores stores>
MOEQ_TIER_INLINE void encode_words(const void* source, int64_t count, const typename Code::Words& words,
                                   float multiplier, const void* next, uint8_t* codes)
{
    const RunScale scale{_mm512_set1_ps(1.0f), _mm512_set1_ps(multiplier)};
    int64_t i = unaligned_head<stores, 1>(codes, count);
    if (i != 0)
        encode64<Code, kBf16, false, false>(source, 0, low_bits(i), scale, codes);
    for (; i + 64 <= count; i += 64) {
        if constexpr (kFetch)
            prefetch64<kBf16>(next, i);
        const void* at = element_at<kBf16>(source, i);
        __m512i bytes;
        if (words.encode64(_mm512_loadu_si512(at), _mm512_loadu_si512(static_cast<const char*>(at) + 64), &bytes))
            [[likely]]
            store_bytes<true, stores>(codes + i, 0, bytes);
        else
            encode64<Code, kBf16, false, true, stores>(source, i, 0, scale, codes);
    }
    if (i < count)
        encode64<Code, kBf16, false, false>(source, i, low_bits(count - i), scale, codes);
}

// A run whose multiplier has no prescale and is positive.
template <class Code, FloatType type, bool kFetch, Stores stores>
MOEQ_TIER_INLINE void encode_plain(const void* source, int64_t count, codec::Multiplier multiplier, const void* next,
                                   uint8_t* codes)
{
    if constexpr (Code::kByWords && type == kBf16) {
        if (count >= kWordsCount && Code::Words::fits(multiplier.value)) {
            const typename Code::Words words(multiplier.value);
            encode_words<Code, kFetch, stores>(source, count, words, multiplier.value, next, codes);
            return;
        }
    }
    encode_scaled<Code, type, false, kFetch, stores>(source, count, multiplier, next, codes);
}

// Whether arguments have the signs of elements, and none is scaled twice.
MOEQ_TIER_INLINE bool is_plain_multiplier(codec::Multiplier multiplier)
{
    return multiplier.prescale == 1.0f && multiplier.value > 0.0f;
}

// A run with any other multiplier.
template <class Code, FloatType type>
MOEQ_TIER_INLINE void encode_special(const void* source, int64_t count, codec::Multiplier multiplier, uint8_t* codes)
{
    if (multiplier.value == 0.0f)
        __builtin_memset(codes, 0, static_cast<uint64_t>(count));
    else
        encode_scaled<Code, type, true, false, kCached>(source, count, multiplier, nullptr, codes);
}

template <class Code, FloatType type, Stores stores>
uint32_t encode(const void* source, int64_t count, codec::Multiplier multiplier, const void* next, uint8_t* codes)
{
    if (!is_plain_multiplier(multiplier)) [[unlikely]]
        encode_special<Code, type>(source, count, multiplier, codes);
    else if (next != nullptr)
        encode_plain<Code, type, true, stores>(source, count, multiplier, ahead_of<type>(source, next, count), codes);
    else
        encode_plain<Code, type, false, stores>(source, count, multiplier, nullptr, codes);
    return next != nullptr ? amax_run<type>(next, count) : 0;
}

// In every lane.
MOEQ_TIER_INLINE bool all_finite(__m512 scale)
{
    const __m512i magnitude = _mm512_and_si512(_mm512_castps_si512(scale), _mm512_set1_epi32(0x7FFFFFFF));
    const __m512i limit = _mm512_set1_epi32(static_cast<int>(codec::kNonfiniteBits));
    return _mm512_cmpge_epu32_mask(magnitude, limit) == 0;
}

} // namespace

} // namespace moeq::cpu::avx512
