// The 8-bit formats over rectangles on AVX-512: a scale for each column, or for each tile of columns. What belongs to a
// scale is made once for all rows. Rules of a format: as in eight_bit.h.
#pragma once

#include "cpu/avx512/eight_bit.h"
#include "cpu/fill.h"
#include "cpu/rectangles.h"

namespace moeq::cpu::avx512 {

namespace {

constexpr int64_t kSideBySide = 8;    // rows that columns with a scale each are worked on in together
constexpr int64_t kTablesAtHand = 64; // tiles side by side whose tables are kept in the first-level cache

// Whether rows that are so far apart begin at cache lines, if they are to be streamed.
template <Stores stores>
MOEQ_TIER_INLINE bool on_lines(const void* first, int64_t pitch)
{
    return stores == kCached || ((reinterpret_cast<uintptr_t>(first) | static_cast<uintptr_t>(pitch)) & 63) == 0;
}

// ---- Decode, a scale for each column ----

template <class Code, ScaleKind kind, FloatType type>
MOEQ_TIER_INLINE void decode_some_columns(const uint8_t* codes, int64_t count, const float* scales, void* destination)
{
    const uint32_t mask = static_cast<uint32_t>(low_bits(count));
    const __m512 first = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), scales);
    const __m512 second = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), scales + 16);
    decode32<Code, kind, type, false, false>(codes, mask, Code::template prepare<kind>(first),
                                             Code::template prepare<kind>(second), destination);
}

template <class Code, ScaleKind kind, FloatType type, Stores stores>
void decode_row(const uint8_t* codes, int64_t count, const float* scales, void* destination)
{
    int64_t i = unaligned_head<stores, kElementBytes<type>>(destination, count);
    if (i != 0)
        decode_some_columns<Code, kind, type>(codes, i, scales, destination);
    for (; i + 32 <= count; i += 32)
        decode32<Code, kind, type, true, false, stores>(
            codes + i, 0, Code::template prepare<kind>(_mm512_loadu_ps(scales + i)),
            Code::template prepare<kind>(_mm512_loadu_ps(scales + i + 16)), element_at<type>(destination, i));
    if (i < count)
        decode_some_columns<Code, kind, type>(codes + i, count - i, scales + i, element_at<type>(destination, i));
}

// 64 columns of some rows.
template <class Code, ScaleKind kind, FloatType type, bool kPlain, Stores stores>
MOEQ_TIER_INLINE void decode_columns64(const uint8_t* codes, const Rectangle& area, int64_t rows,
                                       const typename Code::Scales scales[4], char* at)
{
    for (int64_t r = 0; r < rows; ++r, codes += area.code_pitch, at += area.element_pitch) {
        prefetch_codes(codes);
        decode32<Code, kind, type, true, kPlain, stores>(codes, 0, scales[0], scales[1], at);
        decode32<Code, kind, type, true, kPlain, stores>(codes + 32, 0, scales[2], scales[3], element_at<type>(at, 32));
    }
}

template <class Code, ScaleKind kind, FloatType type, Stores stores>
void decode_columns(const uint8_t* codes, const Rectangle& area, const float* scales, void* destination)
{
    const bool together = area.rows > 1 && on_lines<stores>(destination, area.element_pitch);
    const int64_t whole = together ? area.columns & ~int64_t{63} : 0;
    char* row = static_cast<char*>(destination);
    int64_t rows;
    for (int64_t left = area.rows; left > 0; left -= rows) {
        rows = left < kSideBySide ? left : kSideBySide;
        for (int64_t i = 0; i < whole; i += 64) {
            typename Code::Scales prepared[4];
            bool plain = true;
            for (int part = 0; part < 4; ++part) {
                prepared[part] = Code::template prepare<kind>(_mm512_loadu_ps(scales + i + 16 * part));
                plain = plain && Code::is_plain(prepared[part]);
            }
            char* at = row + i * kElementBytes<type>;
            if (plain) [[likely]]
                decode_columns64<Code, kind, type, true, stores>(codes + i, area, rows, prepared, at);
            else
                decode_columns64<Code, kind, type, false, stores>(codes + i, area, rows, prepared, at);
        }
        for (int64_t r = 0; r < rows; ++r, codes += area.code_pitch, row += area.element_pitch)
            decode_row<Code, kind, type, stores>(codes + whole, area.columns - whole, scales + whole,
                                                 element_at<type>(row, whole));
    }
}

// ---- Decode, a scale for each tile ----

template <class Code, ScaleKind kind, FloatType type, Stores stores>
void decode_one(const uint8_t* codes, int64_t count, float scale, void* destination)
{
    const Rectangle row{.rows = 1, .columns = count, .element_pitch = 0, .code_pitch = 0};
    decode_rows<Code, kind, type, stores>(codes, row, &scale, 0, destination);
}

// Tiles side by side, at most kTablesAtHand, each with its table; tile: a multiple of 64.
template <class Code, ScaleKind kind, FloatType type, Stores stores>
MOEQ_TIER_INLINE void decode_by_tables(const uint8_t* codes, const Rectangle& area, int64_t tile, const float* scales,
                                       void* destination)
{
    MagnitudeTable tables[kTablesAtHand];
    bool usable[kTablesAtHand];
    const int64_t tiles = (area.columns + tile - 1) / tile;
    for (int64_t j = 0; j < tiles; ++j)
        usable[j] = make_table<Code, kind, type>(scales[j], &tables[j]);
    for_each_tile_row<type>(area, tile, [&](int64_t offset, int64_t code, int64_t count, int64_t j) {
        char* at = static_cast<char*>(destination) + offset;
        if (usable[j]) [[likely]]
            decode_by_table<Code, kind, type, stores>(codes + code, count, tables[j], scales[j], at);
        else
            decode_directly<Code, kind, type, stores>(codes + code, count, scales[j], at);
    });
}

template <class Code, ScaleKind kind, FloatType type, Stores stores>
void decode_tiles(const uint8_t* codes, const Rectangle& area, int64_t tile, const float* scales, void* destination)
{
    if constexpr (type != kFp32) {
        if (tile % 64 == 0 && area.rows * tile >= kTableCount && on_lines<stores>(destination, area.element_pitch)) {
            const int64_t most = kTablesAtHand * tile;
            for (int64_t c = 0; c < area.columns; c += most) {
                Rectangle part = area;
                part.columns = area.columns - c < most ? area.columns - c : most;
                decode_by_tables<Code, kind, type, stores>(codes + c, part, tile, scales + c / tile,
                                                           element_at<type>(destination, c));
            }
            return;
        }
    }
    decode_tiles_by_runs<type, decode_one<Code, kind, type, stores>>(codes, area, tile, scales, destination);
}

// ---- Encode, a scale for each column ----

template <class Code, FloatType type, bool kFull, Stores stores = kCached>
MOEQ_TIER_INLINE void encode_columns64(const void* source, int64_t i, uint64_t mask,
                                       const codec::Multiplier* multipliers, uint8_t* codes)
{
    __m512 t[4];
    for (int part = 0; part < 4; ++part) {
        const __mmask16 lanes = static_cast<__mmask16>(mask >> (16 * part));
        const __m512 x = load16<type, kFull>(source, i + 16 * part, lanes);
        t[part] = code_arguments<kFull>(x, multipliers + i + 16 * part, lanes);
    }
    store_bytes<kFull, stores>(codes + i, mask, Code::template encode64<false>(t));
}

template <class Code, FloatType type, Stores stores>
void encode_row(const void* source, int64_t count, const codec::Multiplier* multipliers, uint8_t* codes)
{
    int64_t i = unaligned_head<stores, 1>(codes, count);
    if (i != 0)
        encode_columns64<Code, type, false>(source, 0, low_bits(i), multipliers, codes);
    for (; i + 64 <= count; i += 64)
        encode_columns64<Code, type, true, stores>(source, i, 0, multipliers, codes);
    if (i < count)
        encode_columns64<Code, type, false>(source, i, low_bits(count - i), multipliers, codes);
}

// Multipliers of 64 columns, in the order of load64.
struct ColumnScales {
    __m512 value[4];
    bool plain; // as is_plain_multiplier
};

template <FloatType type>
MOEQ_TIER_INLINE ColumnScales load_columns(const codec::Multiplier* multipliers)
{
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    ColumnScales scales;
    __mmask16 plain = 0xFFFF;
    for (int part = 0; part < 4; ++part) {
        const __m512 first = _mm512_loadu_ps(multipliers + 16 * part);
        const __m512 second = _mm512_loadu_ps(multipliers + 16 * part + 8);
        const __m512 prescale = _mm512_permutex2var_ps(first, even, second);
        scales.value[part] = _mm512_permutex2var_ps(first, odd, second);
        plain = _mm512_mask_cmp_ps_mask(plain, prescale, _mm512_set1_ps(1.0f), _CMP_EQ_OQ);
        plain = _mm512_mask_cmp_ps_mask(plain, scales.value[part], _mm512_setzero_ps(), _CMP_GT_OQ);
    }
    scales.plain = plain == 0xFFFF;
    if constexpr (kSplit<type>) {
        for (int half = 0; half < 4; half += 2) {
            const __m512 first = scales.value[half];
            const __m512 second = scales.value[half + 1];
            scales.value[half] = _mm512_permutex2var_ps(first, even, second);
            scales.value[half + 1] = _mm512_permutex2var_ps(first, odd, second);
        }
    }
    return scales;
}

// 64 columns of some rows.
template <class Code, FloatType type, Stores stores>
MOEQ_TIER_INLINE void encode_columns_plain(const char* at, const Rectangle& area, int64_t rows,
                                           const ColumnScales& scales, uint8_t* codes)
{
    constexpr int64_t kAheadOfColumns = 1024; // bytes
    for (int64_t r = 0; r < rows; ++r, at += area.element_pitch, codes += area.code_pitch) {
        prefetch64<type>(at + kAheadOfColumns, 0);
        __m512 t[4];
        load64<type, true>(at, 0, 0, t);
        for (int part = 0; part < 4; ++part)
            t[part] = _mm512_mul_ps(t[part], scales.value[part]);
        __m512i bytes;
        if constexpr (Code::kSigns && type != kFp32)
            bytes = Code::template encode64<kSplit<type>>(t, high_bytes<true>(at, 0));
        else
            bytes = Code::template encode64<kSplit<type>>(t);
        store_bytes<true, stores>(codes, 0, bytes);
    }
}

template <class Code, FloatType type, Stores stores>
void encode_columns(const void* source, const Rectangle& area, const codec::Multiplier* multipliers, uint8_t* codes)
{
    const bool together = area.rows > 1 && on_lines<stores>(codes, area.code_pitch);
    const int64_t whole = together ? area.columns & ~int64_t{63} : 0;
    const char* row = static_cast<const char*>(source);
    int64_t rows;
    for (int64_t left = area.rows; left > 0; left -= rows) {
        rows = left < kSideBySide ? left : kSideBySide;
        for (int64_t i = 0; i < whole; i += 64) {
            const ColumnScales scales = load_columns<type>(multipliers + i);
            const char* at = row + i * kElementBytes<type>;
            if (scales.plain) [[likely]]
                encode_columns_plain<Code, type, stores>(at, area, rows, scales, codes + i);
            else
                for (int64_t r = 0; r < rows; ++r)
                    encode_columns64<Code, type, true>(at + r * area.element_pitch, 0, 0, multipliers + i,
                                                       codes + r * area.code_pitch + i);
        }
        for (int64_t r = 0; r < rows; ++r, row += area.element_pitch, codes += area.code_pitch)
            encode_row<Code, type, stores>(element_at<type>(row, whole), area.columns - whole, multipliers + whole,
                                           codes + whole);
    }
}

// ---- Encode, a scale for each tile ----

template <class Code, FloatType type, Stores stores>
MOEQ_TIER_INLINE void encode_one(const void* source, int64_t count, codec::Multiplier multiplier, const void* next,
                                 uint8_t* codes)
{
    if (!is_plain_multiplier(multiplier)) [[unlikely]]
        encode_special<Code, type>(source, count, multiplier, codes);
    else if (next != nullptr)
        encode_scaled<Code, type, false, true, stores>(source, count, multiplier, next, codes);
    else
        encode_scaled<Code, type, false, false, stores>(source, count, multiplier, nullptr, codes);
}

// bf16 the shorter way, tiles side by side, at most kTablesAtHand.
template <class Code, Stores stores>
MOEQ_TIER_INLINE void encode_by_words(const void* source, const Rectangle& area, int64_t tile,
                                      const codec::Multiplier* multipliers, const void* next, uint8_t* codes)
{
    using Words = typename Code::Words;
    Words words[kTablesAtHand];
    bool usable[kTablesAtHand];
    const int64_t tiles = (area.columns + tile - 1) / tile;
    for (int64_t j = 0; j < tiles; ++j) {
        usable[j] = is_plain_multiplier(multipliers[j]) && Words::fits(multipliers[j].value);
        if (usable[j])
            words[j] = Words(multipliers[j].value);
    }
    // What is fetched in vain is in the first-level cache already.
    const char* const ahead = static_cast<const char*>(next != nullptr ? next : source);
    for_each_tile_row<kBf16>(area, tile, [&](int64_t offset, int64_t code, int64_t count, int64_t j) {
        const char* at = static_cast<const char*>(source) + offset;
        if (usable[j]) [[likely]]
            encode_words<Code, true, stores>(at, count, words[j], multipliers[j].value, ahead + offset, codes + code);
        else
            encode_one<Code, kBf16, stores>(at, count, multipliers[j], ahead + offset, codes + code);
    });
}

template <class Code, FloatType type, Stores stores>
void encode_tiles(const void* source, const Rectangle& area, int64_t tile, const codec::Multiplier* multipliers,
                  const void* next, uint8_t* codes)
{
    if constexpr (Code::kByWords && type == kBf16) {
        if (area.rows * tile >= kWordsCount) {
            const int64_t most = kTablesAtHand * tile;
            for (int64_t c = 0; c < area.columns; c += most) {
                Rectangle part = area;
                part.columns = area.columns - c < most ? area.columns - c : most;
                encode_by_words<Code, stores>(element_at<type>(source, c), part, tile, multipliers + c / tile,
                                              next == nullptr ? nullptr : element_at<type>(next, c), codes + c);
            }
            return;
        }
    }
    for_each_tile_row<type>(area, tile, [&](int64_t offset, int64_t code, int64_t count, int64_t j) {
        encode_one<Code, type, stores>(static_cast<const char*>(source) + offset, count, multipliers[j],
                                       next == nullptr ? nullptr : static_cast<const char*>(next) + offset,
                                       codes + code);
    });
}

// What fill_kernels enters.
template <class Code>
struct EightBit {
    template <FloatType type, Stores stores>
    static constexpr EncodeRun encode = avx512::encode<Code, type, stores>;
    template <FloatType type, Stores stores>
    static constexpr EncodeColumns encode_columns = avx512::encode_columns<Code, type, stores>;
    template <FloatType type, Stores stores>
    static constexpr EncodeTiles encode_tiles = avx512::encode_tiles<Code, type, stores>;
    template <ScaleKind kind, FloatType type, Stores stores>
    static constexpr DecodeRows decode_rows = avx512::decode_rows<Code, kind, type, stores>;
    template <ScaleKind kind, FloatType type, Stores stores>
    static constexpr DecodeColumns decode_columns = avx512::decode_columns<Code, kind, type, stores>;
    template <ScaleKind kind, FloatType type, Stores stores>
    static constexpr DecodeTiles decode_tiles = avx512::decode_tiles<Code, kind, type, stores>;
};

} // namespace

} // namespace moeq::cpu::avx512
