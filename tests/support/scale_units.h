// Which elements of a weight share a scale, found by walking along the axes: a judge for the library's arithmetic with tiles,
// and the promised error bounds over it.
#pragma once

#include <cmath>
#include <functional>

#include "support/api.h"

namespace moeq_test {

inline bool is_packed(const moeq_spec& spec)
{
    return spec.format == MOEQ_FORMAT_NF4 || spec.format == MOEQ_FORMAT_FP4;
}

// For each position of an axis the number of its tile: a new one where the last is full, and where the up half begins.
inline std::vector<int64_t> tiles_of_axis(int64_t extent, int64_t size, int64_t border)
{
    std::vector<int64_t> tiles;
    int64_t tile = -1;
    int64_t filled = size;
    for (int64_t i = 0; i < extent; ++i, ++filled) {
        if (filled == size || (border != 0 && i == border)) {
            ++tile;
            filled = 0;
        }
        tiles.push_back(tile);
    }
    return tiles;
}

// The scale unit of every element, row-major: its place in the flat SCALE component. spec: resolved.
inline std::vector<int64_t> scale_units(const moeq_spec& spec, int64_t experts, int64_t rows, int64_t columns)
{
    std::vector<int64_t> units;
    units.reserve(static_cast<size_t>(experts * rows * columns));
    if (is_packed(spec)) {
        int64_t unit = -1;
        int64_t filled = 0;
        for (int64_t e = 0; e < experts; ++e)
            for (int64_t r = 0; r < rows; ++r)
                for (int64_t c = 0; c < columns; ++c, ++filled) {
                    const bool first = spec.blocking == MOEQ_BLOCKING_ROW      ? c == 0
                                       : spec.blocking == MOEQ_BLOCKING_EXPERT ? r == 0 && c == 0
                                                                               : e == 0 && r == 0 && c == 0;
                    if (first || filled == spec.block_columns) {
                        ++unit;
                        filled = 0;
                    }
                    units.push_back(unit);
                }
        return units;
    }
    const bool transposed = spec.scale_axis == -2;
    const bool halves = spec.layout == MOEQ_LAYOUT_GATE_UP || spec.layout == MOEQ_LAYOUT_UP_GATE;
    int64_t tile_rows = rows, tile_columns = columns, row_border = 0, column_border = 0;
    if (spec.granularity == MOEQ_GRANULARITY_ROW)
        (transposed ? tile_columns : tile_rows) = 1;
    if (spec.granularity == MOEQ_GRANULARITY_BLOCK) {
        tile_rows = spec.block_rows;
        tile_columns = spec.block_columns;
        if (halves)
            (transposed ? column_border : row_border) = (transposed ? columns : rows) / 2;
    }
    const std::vector<int64_t> row_tiles = tiles_of_axis(rows, tile_rows, row_border);
    const std::vector<int64_t> column_tiles = tiles_of_axis(columns, tile_columns, column_border);
    for (int64_t e = 0; e < experts; ++e)
        for (const int64_t i : row_tiles)
            for (const int64_t j : column_tiles)
                units.push_back((e * (row_tiles.back() + 1) + i) * (column_tiles.back() + 1) + j);
    return units;
}

// The largest error that a format may make at x in a unit of a given amax (formats without nested statistics).
inline double error_bound(const moeq_spec& spec, double x, double amax)
{
    const double half_subnormal = 0x1p-150;
    const double magnitude = std::fabs(x);
    switch (spec.format) {
    case MOEQ_FORMAT_INT8:
        return amax / 254 + 0x1p-22 * magnitude + half_subnormal * (spec.scale_kind == MOEQ_SCALE_FACTOR ? 129 : 1);
    case MOEQ_FORMAT_NF4:
        return 0.15191 * amax + half_subnormal;
    case MOEQ_FORMAT_FP4: // half of the largest gap of its table, 1/3
        return 0.16667 * amax + half_subnormal;
    case MOEQ_FORMAT_FP8_E4M3: {
        const double scale = static_cast<double>(static_cast<float>(amax / 448));
        return std::max(magnitude / 17, scale * 0x1p-10) * (1 + 0x1p-20) + 449 * half_subnormal;
    }
    default: {
        const double scale = static_cast<double>(static_cast<float>(amax / 57344));
        return std::max(magnitude / 9, scale * 0x1p-17) * (1 + 0x1p-20) + 57345 * half_subnormal;
    }
    }
}

inline moeq_spec resolved(const moeq_spec& spec, const Shape& shape)
{
    auto out = sized<moeq_spec>();
    MOEQ_EXPECT_OK(moeq_spec_resolve(&spec, static_cast<int32_t>(shape.size()), shape.data(), &out, &ok));
    return out;
}

// The memory of a component.
inline const float* floats(const Tensor& tensor) { return static_cast<const float*>(tensor->dl_tensor.data); }
inline const uint8_t* octets(const Tensor& tensor) { return static_cast<const uint8_t*>(tensor->dl_tensor.data); }

inline uint32_t bits_of(float value)
{
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline float float_of(uint32_t bits)
{
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Elements of a fp32, fp16 or bf16 tensor by their position in memory, through double: nothing is lost.
inline double load(const HostTensor& tensor, int32_t dtype, int64_t i)
{
    const auto* memory = const_cast<HostTensor&>(tensor).memory().data();
    if (dtype == MOEQ_DTYPE_FP32) {
        float value;
        std::memcpy(&value, memory + i * 4, 4);
        return static_cast<double>(value);
    }
    uint16_t bits;
    std::memcpy(&bits, memory + i * 2, 2);
    if (dtype == MOEQ_DTYPE_BF16)
        return static_cast<double>(float_of(static_cast<uint32_t>(bits) << 16));
    const int exponent = bits >> 10 & 31;
    const int fraction = bits & 1023;
    double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    if (exponent == 31)
        magnitude = fraction == 0 ? HUGE_VAL : std::nan("");
    return bits & 0x8000 ? -magnitude : magnitude;
}

} // namespace moeq_test
