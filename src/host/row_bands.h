// Memory whose rows lie closer together than its columns, such as [experts, columns, rows] seen as [experts, rows, columns]. It
// is read and written in bands of rows, which go through the stack a few columns at a time and are transposed there, so that
// every cache line is touched once.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/checked.h"
#include "core/stack_view.h"
#include "cpu/kernels.h"

namespace moeq {

constexpr int64_t kBandRows = 64;      // at least two cache lines of each column
constexpr int64_t kSegmentBytes = 512; // of each row, on the stack at a time, at most

// Whether bands of rows are the way through a view of so many rows and columns.
inline bool by_row_bands(const StackView& view, int64_t rows, int64_t columns)
{
    const auto distance = [](int64_t stride) { return stride < 0 ? -stride : stride; };
    return rows > 1 && columns > 1 && distance(view.row_stride) < distance(view.column_stride);
}

// The rows of one expert. Bands end at the borders of cache lines where all columns have those at the same rows.
struct RowBands {
    RowBands(const StackView& view, int64_t all_rows) : rows(all_rows)
    {
        const auto to_border = static_cast<int64_t>(-reinterpret_cast<uintptr_t>(view.data) & 63);
        if (view.row_stride == 1 && to_border % view.itemsize == 0 && to_border != 0)
            missing = kBandRows - to_border / view.itemsize;
        count = ceil_divide(rows + missing, kBandRows);
    }

    int64_t begin(int64_t band) const { return maximum(0, band * kBandRows - missing); }
    int64_t end(int64_t band) const { return minimum(rows, (band + 1) * kBandRows - missing); }

    int64_t rows;
    int64_t missing = 0; // rows that the first band has less than others
    int64_t count;
};

// Bytes from row to row of a buffer, for so many of each: not a power of two, so that columns do not share a set of the
// first-level cache.
constexpr int64_t buffer_pitch(int64_t bytes) { return round_up(bytes, 64) + 64; }

// Some columns of a band, row by row: kSegmentBytes of each row, or more of fewer rows.
struct BandBuffer {
    alignas(64) char data[static_cast<uint64_t>(kBandRows * buffer_pitch(kSegmentBytes))];
};

// Rows and columns of memory that lie so many bytes apart.
struct StridedBand {
    char* data;
    int64_t rows;
    int64_t columns;
    int64_t row_stride;
    int64_t column_stride;
    int64_t itemsize;
};

// From a buffer, row by row, to a band.
inline void scatter_band(const cpu::Kernels& kernels, cpu::Stores stores, const char* from, int64_t from_pitch,
                         const StridedBand& band)
{
    if (band.row_stride == band.itemsize) {
        const cpu::Transposition area{.rows = band.rows,
                                      .columns = band.columns,
                                      .source_pitch = from_pitch,
                                      .destination_pitch = band.column_stride};
        kernels.transpose[stores][band.itemsize == 4 ? cpu::kFourBytes : cpu::kTwoBytes](from, area, band.data);
        return;
    }
    for (int64_t c = 0; c < band.columns; ++c)
        for (int64_t r = 0; r < band.rows; ++r) {
            char* to = band.data + c * band.column_stride + r * band.row_stride;
            if (band.itemsize == 4)
                std::memcpy(to, from + r * from_pitch + c * 4, 4);
            else
                std::memcpy(to, from + r * from_pitch + c * 2, 2);
        }
}

} // namespace moeq
