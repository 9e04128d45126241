// What the 8-bit formats share on NEON, over a format's rules:
//   prepare<kind>(s)           what 4 stored scales come to (type Scales), once per run or for 4 columns
//   is_plain(s)                a scale for which the plain forms below are right, with codes that are not special; a
//                              NaN that comes out of them has no bits that bf16 would round
//   is_special(codes)          whether any of 16 codes is
//   values16<plain>(codes, v)  the values of 16 codes
//   apply<kind, plain>(v, s)   the decoded values
//   encode16(t)                the codes of 16 arguments
#pragma once

#include "cpu/fill.h"
#include "cpu/neon/amax.h"
#include "cpu/neon/elements.h"
#include "cpu/rectangles.h"

namespace moeq::cpu::neon {

namespace {

// ---- Decode ----

// The scales of 16 elements, 4 to a member.
template <class Code>
struct Scales16 {
    typename Code::Scales parts[4];
};

template <class Code, ScaleKind kind, FloatType type, bool kPlain>
MOEQ_TIER_INLINE void decode16(uint8x16_t codes, const Scales16<Code>& scales, void* destination)
{
    float32x4_t v[4];
    Code::template values16<kPlain>(codes, v);
    for (int part = 0; part < 4; ++part)
        v[part] = Code::template apply<kind, kPlain>(v[part], scales.parts[part]);
    store16<type, !kPlain>(destination, v);
}

template <class Code, ScaleKind kind, FloatType type, bool kPlain>
MOEQ_TIER_INLINE void decode32(const uint8_t* codes, const Scales16<Code>& scales, void* destination)
{
    const uint8x16_t first = load_bytes(codes);
    const uint8x16_t last = load_bytes(codes + 16);
    void* middle = element_at<type>(destination, 16);
    if (kPlain && !Code::is_special(first, last)) [[likely]] {
        decode16<Code, kind, type, true>(first, scales, destination);
        decode16<Code, kind, type, true>(last, scales, middle);
    } else {
        decode16<Code, kind, type, false>(first, scales, destination);
        decode16<Code, kind, type, false>(last, scales, middle);
    }
}

template <class Code, ScaleKind kind, FloatType type, bool kPlain>
MOEQ_TIER_INLINE void decode_run(const uint8_t* codes, int64_t count, const Scales16<Code>& scales, void* destination)
{
    int64_t i = 0;
    for (; i + kGroup <= count; i += kGroup)
        decode32<Code, kind, type, kPlain>(codes + i, scales, element_at<type>(destination, i));
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
    const auto same = Code::template prepare<kind>(vdupq_n_f32(scale));
    const Scales16<Code> scales{{same, same, same, same}};
    if (Code::is_plain(same)) [[likely]]
        decode_run<Code, kind, type, true>(codes, count, scales, destination);
    else
        decode_run<Code, kind, type, false>(codes, count, scales, destination);
}

template <class Code, ScaleKind kind, FloatType type>
MOEQ_TIER_INLINE void decode_columns16(const uint8_t* codes, const void* stored, void* destination)
{
    Scales16<Code> scales;
    for (int part = 0; part < 4; ++part)
        scales.parts[part] = Code::template prepare<kind>(load_floats(static_cast<const char*>(stored) + 16 * part));
    decode16<Code, kind, type, false>(load_bytes(codes), scales, destination);
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
MOEQ_TIER_INLINE void encode32(const void* source, float32x4_t prescale, float32x4_t value, uint8_t* codes)
{
    for (int half = 0; half < 2; ++half) {
        float32x4_t t[4];
        load16<type>(element_at<type>(source, 16 * half), t);
        for (int part = 0; part < 4; ++part)
            t[part] = scaled<kPrescale>(t[part], prescale, value);
        store_bytes(codes + 16 * half, Code::encode16(t));
    }
}

// kNext: returns the largest magnitude of the next run too.
template <class Code, FloatType type, bool kPrescale, bool kNext>
MOEQ_TIER_INLINE uint32_t encode_scaled(const void* source, int64_t count, codec::Multiplier multiplier,
                                        const void* next, uint8_t* codes)
{
    const float32x4_t prescale = vdupq_n_f32(multiplier.prescale);
    const float32x4_t value = vdupq_n_f32(multiplier.value);
    uint32x4_t most = vdupq_n_u32(0);
    int64_t i = 0;
    for (; i + kGroup <= count; i += kGroup) {
        encode32<Code, type, kPrescale>(element_at<type>(source, i), prescale, value, codes + i);
        if constexpr (kNext)
            most = fold_group<type>(element_at<type>(next, i), most);
    }
    if (i < count) {
        Padded<kElementBytes<type>> rest;
        Padded<1> results;
        rest.fill(element_at<type>(source, i), count - i);
        encode32<Code, type, kPrescale>(rest.at, prescale, value, results.at);
        results.drain(codes + i, count - i);
        if constexpr (kNext) {
            rest.fill(element_at<type>(next, i), count - i);
            most = fold_group<type>(rest.at, most);
        }
    }
    return kNext ? widened<type>(largest_of<type>(most), next, count) : 0;
}

template <class Code, FloatType type>
uint32_t encode(const void* source, int64_t count, codec::Multiplier multiplier, const void* next, uint8_t* codes)
{
    if (multiplier.value != 0.0f && multiplier.prescale == 1.0f) [[likely]]
        return next != nullptr ? encode_scaled<Code, type, false, true>(source, count, multiplier, next, codes)
                               : encode_scaled<Code, type, false, false>(source, count, multiplier, next, codes);
    if (multiplier.value == 0.0f)
        __builtin_memset(codes, 0, static_cast<uint64_t>(count));
    else
        encode_scaled<Code, type, true, false>(source, count, multiplier, nullptr, codes);
    return next != nullptr ? amax_run<type>(next, count) : 0;
}

template <class Code, FloatType type>
MOEQ_TIER_INLINE void encode_columns16(const void* source, const void* multipliers, uint8_t* codes)
{
    float32x4_t t[4];
    load16<type>(source, t);
    for (int part = 0; part < 4; ++part)
        t[part] = code_arguments(t[part], static_cast<const char*>(multipliers) + 32 * part);
    store_bytes(codes, Code::encode16(t));
}

template <class Code, FloatType type>
void encode_columns(const void* source, int64_t count, const codec::Multiplier* multipliers, uint8_t* codes)
{
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        encode_columns16<Code, type>(element_at<type>(source, i), multipliers + i, codes + i);
    if (i < count) {
        Padded<kElementBytes<type>> rest;
        Padded<8> rest_multipliers;
        Padded<1> results;
        rest.fill(element_at<type>(source, i), count - i);
        rest_multipliers.fill(multipliers + i, count - i);
        encode_columns16<Code, type>(rest.at, rest_multipliers.at, results.at);
        results.drain(codes + i, count - i);
    }
}

// What fill_kernels enters. Streamed results leave like the others: a core detects long runs of stores by itself, and the
// instruction that would ask for it (STNP) is a hint that most cores ignore.
template <class Code>
struct EightBit {
    template <FloatType type, Stores>
    static constexpr EncodeRun encode = neon::encode<Code, type>;
    template <FloatType type, Stores>
    static constexpr EncodeColumns encode_columns = encode_columns_by_rows<neon::encode_columns<Code, type>>;
    template <FloatType type, Stores>
    static constexpr EncodeTiles encode_tiles = encode_tiles_by_runs<type, neon::encode<Code, type>>;
    template <ScaleKind kind, FloatType type, Stores>
    static constexpr DecodeRows decode_rows = decode_rows_by_runs<decode<Code, kind, type>>;
    template <ScaleKind kind, FloatType type, Stores>
    static constexpr DecodeColumns decode_columns = decode_columns_by_rows<neon::decode_columns<Code, kind, type>>;
    template <ScaleKind kind, FloatType type, Stores>
    static constexpr DecodeTiles decode_tiles = decode_tiles_by_runs<type, decode<Code, kind, type>>;
};

// Of the scale in every lane.
MOEQ_TIER_INLINE bool is_finite(float32x4_t scale)
{
    return codec::magnitude_bits_fp32(vgetq_lane_f32(scale, 0)) < codec::kNonfiniteBits;
}

} // namespace

} // namespace moeq::cpu::neon
