// Thresholds by cells of equal width, at most one in each: then one comparison with that of its own cell tells how many a
// number exceeds.
#pragma once

#include "codec/host_device.h"

namespace moeq::cpu::avx512 {

namespace {

template <int cells>
struct CellTable {
    float threshold[static_cast<uint64_t>(cells)]; // 2, above every argument, where the cell has none
    int below[static_cast<uint64_t>(cells)];       // thresholds below the cell
    bool separate; // at most one in each, and none at a border, where the cell is a matter of rounding
};

// Cell c holds the numbers that `per_unit` times round to c - zero.
template <int cells, class Thresholds>
constexpr CellTable<cells> make_cells(const Thresholds& thresholds, double per_unit, int zero)
{
    CellTable<cells> table{};
    table.separate = true;
    for (int c = 0; c < cells; ++c) {
        const double low = (c - zero - 0.5) / per_unit;
        const double high = (c - zero + 0.5) / per_unit;
        int inside = 0;
        table.threshold[c] = 2.0f;
        for (const uint32_t bits : thresholds.bits) {
            const double threshold = static_cast<double>(codec::float_from_bits(bits));
            if (threshold < low)
                ++table.below[c];
            if (threshold >= low && threshold <= high) {
                table.threshold[c] = codec::float_from_bits(bits);
                ++inside;
            }
            const double from_border = threshold > low ? threshold - low : low - threshold;
            table.separate = table.separate && from_border > 1e-4;
        }
        table.separate = table.separate && inside <= 1;
    }
    return table;
}

} // namespace

} // namespace moeq::cpu::avx512
