// Kernels over rectangles made of kernels over runs, for tiers that gain nothing by seeing more than a row. Everything here
// has internal linkage, as tiers are compiled for different processors.
#pragma once

#include "cpu/kernels.h"

namespace moeq::cpu {

namespace {

template <auto kRun> // an AmaxRun
uint32_t amax_by_rows(const void* source, const Rectangle& area)
{
    uint32_t largest = 0;
    for (int64_t r = 0; r < area.rows; ++r) {
        const uint32_t bits = kRun(static_cast<const char*>(source) + r * area.element_pitch, area.columns);
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

template <auto kRow> // (source, count, bits)
void amax_columns_by_rows(const void* source, const Rectangle& area, uint32_t* bits)
{
    for (int64_t r = 0; r < area.rows; ++r)
        kRow(static_cast<const char*>(source) + r * area.element_pitch, area.columns, bits);
}

template <auto kRun> // (codes, count, scale, destination)
void decode_rows_by_runs(const uint8_t* codes, const Rectangle& area, const float* scales, int64_t scale_pitch,
                         void* destination)
{
    for (int64_t r = 0; r < area.rows; ++r)
        kRun(codes + r * area.code_pitch, area.columns, scales[r * scale_pitch],
             static_cast<char*>(destination) + r * area.element_pitch);
}

template <auto kRow> // (source, count, multipliers, codes)
void encode_columns_by_rows(const void* source, const Rectangle& area, const codec::Multiplier* multipliers,
                            uint8_t* codes)
{
    for (int64_t r = 0; r < area.rows; ++r)
        kRow(static_cast<const char*>(source) + r * area.element_pitch, area.columns, multipliers,
             codes + r * area.code_pitch);
}

template <auto kRow> // (codes, count, scales, destination)
void decode_columns_by_rows(const uint8_t* codes, const Rectangle& area, const float* scales, void* destination)
{
    for (int64_t r = 0; r < area.rows; ++r)
        kRow(codes + r * area.code_pitch, area.columns, scales,
             static_cast<char*>(destination) + r * area.element_pitch);
}

// visit(offset of the elements in bytes, of the codes, their number, tile) for each row of each tile, in order of place.
template <FloatType type, class Visit>
[[gnu::always_inline]] inline void for_each_tile_row(const Rectangle& area, int64_t tile, Visit visit)
{
    constexpr int64_t kBytes = type == kFp32 ? 4 : 2;
    for (int64_t r = 0; r < area.rows; ++r)
        for (int64_t c = 0, j = 0; c < area.columns; c += tile, ++j)
            visit(r * area.element_pitch + c * kBytes, r * area.code_pitch + c,
                  area.columns - c < tile ? area.columns - c : tile, j);
}

template <FloatType type, auto kRun> // an EncodeRun
void encode_tiles_by_runs(const void* source, const Rectangle& area, int64_t tile, const codec::Multiplier* multipliers,
                          const void*, uint8_t* codes)
{
    for_each_tile_row<type>(area, tile, [&](int64_t element, int64_t code, int64_t count, int64_t j) {
        kRun(static_cast<const char*>(source) + element, count, multipliers[j], nullptr, codes + code);
    });
}

template <FloatType type, auto kRun> // (codes, count, scale, destination)
void decode_tiles_by_runs(const uint8_t* codes, const Rectangle& area, int64_t tile, const float* scales,
                          void* destination)
{
    for_each_tile_row<type>(area, tile, [&](int64_t element, int64_t code, int64_t count, int64_t j) {
        kRun(codes + code, count, scales[j], static_cast<char*>(destination) + element);
    });
}

} // namespace

} // namespace moeq::cpu
