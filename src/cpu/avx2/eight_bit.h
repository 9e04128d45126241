// What the 8-bit formats share on AVX2, over a format's rules:
//   prepare<kind>(s)           what 8 stored scales come to (type Scales), once per run or for 8 columns
//   is_plain(s)                a scale for which the plain forms below are right, with codes that are not special; a NaN
//                              that comes out of them has no bits that bf16 would round
//   is_special(codes)          whether any of 32 codes is
//   values16<plain>(codes, ..) the values of 16 codes
//   apply<kind, plain>(v, s)   the decoded values
//   encode32(t, ..)            the codes of 32 arguments, in the order of load32 (kSplitOrder) or one after another
#pragma once

#include "cpu/avx2/elements.h"
#include "cpu/kernels.h"

namespace moeq::cpu::avx2 {

namespace {

// ---- Decode ----

template <class Code, ScaleKind kind, FloatType type, bool kPlain>
MOEQ_TIER_INLINE void decode16(const void* codes, const typename Code::Scales& first,
                               const typename Code::Scales& second, void* destination)
{
    __m256 low;
    __m256 high;
    Code::template values16<kPlain>(load128(codes), &low, &high);
    store16<type, !kPlain>(destination, Code::template apply<kind, kPlain>(low, first),
                           Code::template apply<kind, kPlain>(high, second));
}

template <class Code, ScaleKind kind, FloatType type, bool kPlain>
MOEQ_TIER_INLINE void decode32(const uint8_t* codes, const typename Code::Scales& scales, void* destination)
{
    decode16<Code, kind, type, kPlain>(codes, scales, scales, destination);
    decode16<Code, kind, type, kPlain>(codes + 16, scales, scales, element_at<type>(destination, 16));
}

template <class Code, ScaleKind kind, FloatType type, bool kPlain>
MOEQ_TIER_INLINE void decode_run(const uint8_t* codes, int64_t count, const typename Code::Scales& scales,
                                 void* destination)
{
    int64_t i = 0;
    for (; i + kGroup <= count; i += kGroup) {
        void* at = element_at<type>(destination, i);
        if (kPlain && !Code::is_special(load256(codes + i))) [[likely]]
            decode32<Code, kind, type, true>(codes + i, scales, at);
        else
            decode32<Code, kind, type, false>(codes + i, scales, at);
    }
    if (i < count) {
        Padded<1> rest;
        Padded<kElementBytes<type>> results;
        rest.fill(codes + i, count - i);
        decode32<Code, kind, type, false>(rest.at, scales, results.at);
        results.drain(element_at<type>(destination, i), count - i);
    }
}

template <class Code, ScaleKind kind, FloatType type>
void decode(const uint8_t* codes, int64_t count, float scale, void* destination)
{
    const auto scales = Code::template prepare<kind>(_mm256_set1_ps(scale));
    if (Code::is_plain(scales))
        decode_run<Code, kind, type, true>(codes, count, scales, destination);
    else
        decode_run<Code, kind, type, false>(codes, count, scales, destination);
}

template <class Code, ScaleKind kind, FloatType type>
MOEQ_TIER_INLINE void decode_columns16(const void* codes, const void* scales, void* destination)
{
    const float* at = static_cast<const float*>(scales);
    decode16<Code, kind, type, false>(codes, Code::template prepare<kind>(_mm256_loadu_ps(at)),
                                      Code::template prepare<kind>(_mm256_loadu_ps(at + 8)), destination);
}

template <class Code, ScaleKind kind, FloatType type>
void decode_columns(const uint8_t* codes, int64_t count, const float* scales, void* destination)
{
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        decode_columns16<Code, kind, type>(codes + i, scales + i, element_at<type>(destination, i));
    if (i < count) {
        Padded<1> rest;
        Padded<4> rest_scales;
        Padded<kElementBytes<type>> results;
        rest.fill(codes + i, count - i);
        rest_scales.fill(scales + i, count - i);
        decode_columns16<Code, kind, type>(rest.at, rest_scales.at, results.at);
        results.drain(element_at<type>(destination, i), count - i);
    }
}

// ---- Encode ----

template <class Code, FloatType type, bool kPrescale>
MOEQ_TIER_INLINE __m256i encode32(const void* source, __m256 prescale, __m256 value)
{
    __m256 t[4];
    load32<type>(source, t);
    for (int part = 0; part < 4; ++part)
        t[part] = scaled<kPrescale>(t[part], prescale, value);
    return Code::template encode32<kSplit<type>>(t);
}

template <class Code, FloatType type, bool kPrescale>
MOEQ_TIER_INLINE void encode_scaled(const void* source, int64_t count, codec::Multiplier multiplier, uint8_t* codes)
{
    const __m256 prescale = _mm256_set1_ps(multiplier.prescale);
    const __m256 value = _mm256_set1_ps(multiplier.value);
    int64_t i = 0;
    for (; i + kGroup <= count; i += kGroup)
        store256(codes + i, encode32<Code, type, kPrescale>(element_at<type>(source, i), prescale, value));
    if (i < count) {
        Padded<kElementBytes<type>> rest;
        Padded<1> results;
        rest.fill(element_at<type>(source, i), count - i);
        store256(results.at, encode32<Code, type, kPrescale>(rest.at, prescale, value));
        results.drain(codes + i, count - i);
    }
}

template <class Code, FloatType type>
void encode(const void* source, int64_t count, codec::Multiplier multiplier, uint8_t* codes)
{
    if (multiplier.value == 0.0f)
        __builtin_memset(codes, 0, static_cast<uint64_t>(count));
    else if (multiplier.prescale == 1.0f)
        encode_scaled<Code, type, false>(source, count, multiplier, codes);
    else
        encode_scaled<Code, type, true>(source, count, multiplier, codes);
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

template <class Code, FloatType type>
void encode_columns(const void* source, int64_t count, const codec::Multiplier* multipliers, uint8_t* codes)
{
    int64_t i = 0;
    for (; i + kGroup <= count; i += kGroup)
        store256(codes + i, encode_columns32<Code, type>(element_at<type>(source, i), multipliers + i));
    if (i < count) {
        Padded<kElementBytes<type>> rest;
        Padded<8> rest_multipliers;
        Padded<1> results;
        rest.fill(element_at<type>(source, i), count - i);
        rest_multipliers.fill(multipliers + i, count - i);
        store256(results.at, encode_columns32<Code, type>(rest.at, rest_multipliers.at));
        results.drain(codes + i, count - i);
    }
}

template <class Code, FloatType type>
void overlay_type(FormatKernels* kernels)
{
    kernels->encode[type] = encode<Code, type>;
    kernels->encode_columns[type] = encode_columns<Code, type>;
    kernels->decode[kAbsmax][type] = decode<Code, kAbsmax, type>;
    kernels->decode[kFactor][type] = decode<Code, kFactor, type>;
    kernels->decode_columns[kAbsmax][type] = decode_columns<Code, kAbsmax, type>;
    kernels->decode_columns[kFactor][type] = decode_columns<Code, kFactor, type>;
}

template <class Code>
void overlay_format(FormatKernels* kernels)
{
    overlay_type<Code, kFp32>(kernels);
    overlay_type<Code, kFp16>(kernels);
    overlay_type<Code, kBf16>(kernels);
}

} // namespace

} // namespace moeq::cpu::avx2
