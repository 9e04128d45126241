// What the 8-bit formats share on AVX2, over a format's rules:
//   prepare<kind>(s)           what 8 stored scales come to (type Scales), once per run or for 8 columns
//   is_plain(s)                a scale for which the plain forms below are right, with codes that are not special; a NaN
//                              that comes out of them has no bits that bf16 would round
//   is_special(codes)          whether any of 32 codes is
//   values16<plain>(codes, ..) the values of 16 codes
//   apply<kind, plain>(v, s)   the decoded values
//   kMagnitudes                the values that codes have but for their sign, and zeros up to a multiple of 8
//   encode32(t)                the codes of 32 arguments, in the order of load32 (kSplitOrder) or one after another
//   kSigns, encode32(t, signs) whether it wants to be told the signs, which are cheaper to have before elements are widened
//   kByWords, Words            whether there is a shorter way for bf16 words under most scales
#pragma once

#include "cpu/avx2/amax.h"
#include "cpu/avx2/elements.h"
#include "cpu/fill.h"
#include "cpu/rectangles.h"

namespace moeq::cpu::avx2 {

namespace {

// ---- Decode ----

// kNumbers and kHalfUp go with the plain forms.
template <class Code, ScaleKind kind, FloatType type, Rounding rounding, Stores stores = kCached>
MOEQ_TIER_INLINE void decode16(const void* codes, const typename Code::Scales& first,
                               const typename Code::Scales& second, void* destination)
{
    constexpr bool kPlain = rounding != Rounding::kWithNan;
    __m256 low;
    __m256 high;
    Code::template values16<kPlain>(codes, &low, &high);
    store16<type, rounding, stores>(destination, Code::template apply<kind, kPlain>(low, first),
                                    Code::template apply<kind, kPlain>(high, second));
}

template <class Code, ScaleKind kind, FloatType type, Rounding rounding, Stores stores = kCached>
MOEQ_TIER_INLINE void decode32(const uint8_t* codes, const typename Code::Scales& scales, void* destination)
{
    decode16<Code, kind, type, rounding, stores>(codes, scales, scales, destination);
    decode16<Code, kind, type, rounding, stores>(codes + 16, scales, scales, element_at<type>(destination, 16));
}

// Fewer than 32 elements.
template <class Code, ScaleKind kind, FloatType type>
MOEQ_TIER_INLINE void decode_some(const uint8_t* codes, int64_t count, const typename Code::Scales& scales,
                                  void* destination)
{
    Padded<1> rest;
    Padded<kElementBytes<type>> results;
    rest.fill(codes, count);
    decode32<Code, kind, type, Rounding::kWithNan>(rest.at, scales, results.at);
    results.drain(destination, count);
}

template <class Code, ScaleKind kind, FloatType type, Rounding rounding, Stores stores>
MOEQ_TIER_INLINE void decode_run(const uint8_t* codes, int64_t count, const typename Code::Scales& scales,
                                 void* destination)
{
    int64_t i = unaligned_head<stores, kElementBytes<type>>(destination, count);
    if (i != 0)
        decode_some<Code, kind, type>(codes, i, scales, destination);
    for (; i + kGroup <= count; i += kGroup) {
        void* at = element_at<type>(destination, i);
        if (rounding == Rounding::kWithNan || Code::is_special(load256(codes + i))) [[unlikely]]
            decode32<Code, kind, type, Rounding::kWithNan, stores>(codes + i, scales, at);
        else
            decode32<Code, kind, type, rounding, stores>(codes + i, scales, at);
    }
    if (i < count)
        decode_some<Code, kind, type>(codes + i, count - i, scales, element_at<type>(destination, i));
}

// Whether some code's value lies in the middle between two numbers of bf16.
template <class Code, ScaleKind kind>
MOEQ_TIER_INLINE bool has_ties(const typename Code::Scales& scales)
{
    const __m256i low_half = _mm256_set1_epi32(0xFFFF);
    const __m256i middle = _mm256_set1_epi32(0x8000);
    __m256i ties = _mm256_setzero_si256();
    for (uint64_t i = 0; i < sizeof Code::kMagnitudes.at / sizeof(float); i += 8) {
        const __m256 values = Code::template apply<kind, true>(_mm256_loadu_ps(Code::kMagnitudes.at + i), scales);
        const __m256i rest = _mm256_and_si256(_mm256_castps_si256(values), low_half);
        ties = _mm256_or_si256(ties, _mm256_cmpeq_epi32(rest, middle));
    }
    return _mm256_testz_si256(ties, ties) == 0;
}

// Below this looking for ties costs more than it saves.
constexpr int64_t kTieCount = 512;

template <class Code, ScaleKind kind, FloatType type, Stores stores>
void decode(const uint8_t* codes, int64_t count, float scale, void* destination)
{
    const auto scales = Code::template prepare<kind>(_mm256_set1_ps(scale));
    if (!Code::is_plain(scales)) [[unlikely]] {
        decode_run<Code, kind, type, Rounding::kWithNan, kCached>(codes, count, scales, destination);
        return;
    }
    if constexpr (type == kBf16) {
        if (count >= kTieCount && !has_ties<Code, kind>(scales)) {
            decode_run<Code, kind, type, Rounding::kHalfUp, stores>(codes, count, scales, destination);
            return;
        }
    }
    decode_run<Code, kind, type, Rounding::kNumbers, stores>(codes, count, scales, destination);
}

template <class Code, ScaleKind kind, FloatType type, Stores stores = kCached>
MOEQ_TIER_INLINE void decode_columns16(const void* codes, const void* scales, void* destination)
{
    const float* at = static_cast<const float*>(scales);
    decode16<Code, kind, type, Rounding::kWithNan, stores>(codes, Code::template prepare<kind>(_mm256_loadu_ps(at)),
                                                           Code::template prepare<kind>(_mm256_loadu_ps(at + 8)),
                                                           destination);
}

// At most 32 elements.
template <class Code, ScaleKind kind, FloatType type>
MOEQ_TIER_INLINE void decode_some_columns(const uint8_t* codes, int64_t count, const float* scales, void* destination)
{
    Padded<1> rest;
    Padded<4> rest_scales;
    Padded<kElementBytes<type>> results;
    rest.fill(codes, count);
    rest_scales.fill(scales, count);
    decode_columns16<Code, kind, type>(rest.at, rest_scales.at, results.at);
    decode_columns16<Code, kind, type>(rest.at + 16, rest_scales.at + 64, element_at<type>(results.at, 16));
    results.drain(destination, count);
}

template <class Code, ScaleKind kind, FloatType type, Stores stores>
void decode_columns(const uint8_t* codes, int64_t count, const float* scales, void* destination)
{
    int64_t i = unaligned_head<stores, kElementBytes<type>>(destination, count);
    if (i != 0)
        decode_some_columns<Code, kind, type>(codes, i, scales, destination);
    for (; i + 16 <= count; i += 16)
        decode_columns16<Code, kind, type, stores>(codes + i, scales + i, element_at<type>(destination, i));
    if (i < count)
        decode_some_columns<Code, kind, type>(codes + i, count - i, scales + i, element_at<type>(destination, i));
}

// ---- Encode ----

// What one run is encoded with.
struct RunScale {
    __m256 prescale;
    __m256 value;
};

template <class Code, FloatType type, bool kPrescale>
MOEQ_TIER_INLINE __m256i encode32(const void* source, const RunScale& scale)
{
    __m256 t[4];
    load32<type>(source, t);
    for (int part = 0; part < 4; ++part)
        t[part] = scaled<kPrescale>(t[part], scale.prescale, scale.value);
    if constexpr (Code::kSigns && type != kFp32 && !kPrescale)
        return Code::template encode32<kSplit<type>>(t, high_bytes(source));
    else
        return Code::template encode32<kSplit<type>>(t);
}

// At most 64 elements.
template <class Code, FloatType type, bool kPrescale>
MOEQ_TIER_INLINE void encode_some(const void* source, int64_t count, const RunScale& scale, uint8_t* codes)
{
    for (int64_t i = 0; i < count; i += kGroup) {
        const int64_t some = count - i < kGroup ? count - i : kGroup;
        Padded<kElementBytes<type>> rest;
        Padded<1> results;
        rest.fill(element_at<type>(source, i), some);
        store256(results.at, encode32<Code, type, kPrescale>(rest.at, scale));
        results.drain(codes + i, some);
    }
}

// kFetch: what comes after is asked for, so that its amax and then its codes find it in the first-level cache.
template <class Code, FloatType type, bool kPrescale, bool kFetch, Stores stores>
MOEQ_TIER_INLINE void encode_scaled(const void* source, int64_t count, codec::Multiplier multiplier, const void* next,
                                    uint8_t* codes)
{
    const RunScale scale{_mm256_set1_ps(multiplier.prescale), _mm256_set1_ps(multiplier.value)};
    int64_t i = unaligned_head<stores, 1>(codes, count);
    if (i != 0)
        encode_some<Code, type, kPrescale>(source, i, scale, codes);
    for (; i + kGroup <= count; i += kGroup) {
        if constexpr (kFetch)
            prefetch32<type>(next, i);
        put256<stores>(codes + i, encode32<Code, type, kPrescale>(element_at<type>(source, i), scale));
    }
    if (i < count)
        encode_some<Code, type, kPrescale>(element_at<type>(source, i), count - i, scale, codes + i);
}

// Below this the tables of the shorter way for bf16 cost more than they save.
constexpr int64_t kWordsCount = 256;

// bf16 the shorter way; 32 elements that are not made for it are widened.
template <class Code, bool kFetch, Stores stores>
MOEQ_TIER_INLINE void encode_words(const void* source, int64_t count, float multiplier, const void* next,
                                   uint8_t* codes)
{
    const typename Code::Words words(multiplier);
    const RunScale scale{_mm256_set1_ps(1.0f), _mm256_set1_ps(multiplier)};
    int64_t i = unaligned_head<stores, 1>(codes, count);
    if (i != 0)
        encode_some<Code, kBf16, false>(source, i, scale, codes);
    for (; i + kGroup <= count; i += kGroup) {
        if constexpr (kFetch)
            prefetch32<kBf16>(next, i);
        const void* at = element_at<kBf16>(source, i);
        __m256i bytes;
        if (!words.encode32(load256(at), load256(element_at<kBf16>(at, 16)), &bytes)) [[unlikely]]
            bytes = encode32<Code, kBf16, false>(at, scale);
        put256<stores>(codes + i, bytes);
    }
    if (i < count)
        encode_some<Code, kBf16, false>(element_at<kBf16>(source, i), count - i, scale, codes + i);
}

// A run whose multiplier has no prescale and is positive: arguments have the signs of elements.
template <class Code, FloatType type, bool kFetch, Stores stores>
MOEQ_TIER_INLINE void encode_plain(const void* source, int64_t count, codec::Multiplier multiplier, const void* next,
                                   uint8_t* codes)
{
    if constexpr (Code::kByWords && type == kBf16) {
        if (count >= kWordsCount && Code::Words::fits(multiplier.value)) {
            encode_words<Code, kFetch, stores>(source, count, multiplier.value, next, codes);
            return;
        }
    }
    encode_scaled<Code, type, false, kFetch, stores>(source, count, multiplier, next, codes);
}

template <class Code, FloatType type, Stores stores>
uint32_t encode(const void* source, int64_t count, codec::Multiplier multiplier, const void* next, uint8_t* codes)
{
    if (multiplier.value == 0.0f)
        __builtin_memset(codes, 0, static_cast<uint64_t>(count));
    else if (multiplier.prescale != 1.0f || !(multiplier.value > 0.0f))
        encode_scaled<Code, type, true, false, kCached>(source, count, multiplier, nullptr, codes);
    else if (next != nullptr)
        encode_plain<Code, type, true, stores>(source, count, multiplier, ahead_of<type>(source, next, count), codes);
    else
        encode_plain<Code, type, false, stores>(source, count, multiplier, nullptr, codes);
    return next != nullptr ? amax_run<type>(next, count) : 0;
}

template <class Code, FloatType type>
MOEQ_TIER_INLINE __m256i encode_columns32(const void* source, const void* multipliers)
{
    __m256 t[4];
    for (int part = 0; part < 4; ++part)
        t[part] = code_arguments(load8<type>(element_at<type>(source, 8 * part)),
                                 static_cast<const char*>(multipliers) + 64 * part);
    return Code::template encode32<false>(t);
}

// At most 64 elements.
template <class Code, FloatType type>
MOEQ_TIER_INLINE void encode_some_columns(const void* source, int64_t count, const codec::Multiplier* multipliers,
                                          uint8_t* codes)
{
    for (int64_t i = 0; i < count; i += kGroup) {
        const int64_t some = count - i < kGroup ? count - i : kGroup;
        Padded<kElementBytes<type>> rest;
        Padded<8> rest_multipliers;
        Padded<1> results;
        rest.fill(element_at<type>(source, i), some);
        rest_multipliers.fill(multipliers + i, some);
        store256(results.at, encode_columns32<Code, type>(rest.at, rest_multipliers.at));
        results.drain(codes + i, some);
    }
}

template <class Code, FloatType type, Stores stores>
void encode_columns(const void* source, int64_t count, const codec::Multiplier* multipliers, uint8_t* codes)
{
    int64_t i = unaligned_head<stores, 1>(codes, count);
    if (i != 0)
        encode_some_columns<Code, type>(source, i, multipliers, codes);
    for (; i + kGroup <= count; i += kGroup)
        put256<stores>(codes + i, encode_columns32<Code, type>(element_at<type>(source, i), multipliers + i));
    if (i < count)
        encode_some_columns<Code, type>(element_at<type>(source, i), count - i, multipliers + i, codes + i);
}

// What fill_kernels enters.
template <class Code>
struct EightBit {
    template <FloatType type, Stores stores>
    static constexpr EncodeRun encode = avx2::encode<Code, type, stores>;
    template <FloatType type, Stores stores>
    static constexpr EncodeColumns encode_columns = encode_columns_by_rows<avx2::encode_columns<Code, type, stores>>;
    template <FloatType type, Stores stores>
    static constexpr EncodeTiles encode_tiles = encode_tiles_by_runs<type, avx2::encode<Code, type, stores>>;
    template <ScaleKind kind, FloatType type, Stores stores>
    static constexpr DecodeRows decode_rows = decode_rows_by_runs<decode<Code, kind, type, stores>>;
    template <ScaleKind kind, FloatType type, Stores stores>
    static constexpr DecodeColumns decode_columns =
        decode_columns_by_rows<avx2::decode_columns<Code, kind, type, stores>>;
    template <ScaleKind kind, FloatType type, Stores stores>
    static constexpr DecodeTiles decode_tiles = decode_tiles_by_runs<type, decode<Code, kind, type, stores>>;
};

} // namespace

} // namespace moeq::cpu::avx2
