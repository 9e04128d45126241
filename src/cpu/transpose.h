// Transposing by blocks that fill a cache line of the destination in each of some columns, over a tier's registers:
//   Vector                    a register of one or more lanes of 16 bytes
//   kSides                    how many lanes side by side hold columns of the same rows: 1 or 2
//   gather(at, step)          its lanes from memory, so many side by side, then so many bytes further
//   low<bytes>(a, b)          the lower halves of each lane of two registers, elements of so many bytes alternating
//   high<bytes>(a, b)         the upper halves
//   side<i>(a, b)             with two sides: the lanes of one of them, of a and b in turn
//   get(at)                   from memory
//   put<stores>(at, v)        stores; streamed ones are aligned to 64 bytes, a line at a time
// Everything here has internal linkage, as tiers are compiled for different processors.
#pragma once

#include <cstring>

#include "cpu/kernels.h"

namespace moeq::cpu {

namespace {

// v[j] has row j of a square in each lane, and then column j.
template <int64_t bytes, class Ops>
[[gnu::always_inline]] inline void transpose_lanes(typename Ops::Vector* v)
{
    using Vector = typename Ops::Vector;
    if constexpr (bytes == 4) {
        const Vector a[2] = {Ops::template low<4>(v[0], v[1]), Ops::template low<4>(v[2], v[3])};
        const Vector b[2] = {Ops::template high<4>(v[0], v[1]), Ops::template high<4>(v[2], v[3])};
        v[0] = Ops::template low<8>(a[0], a[1]);
        v[1] = Ops::template high<8>(a[0], a[1]);
        v[2] = Ops::template low<8>(b[0], b[1]);
        v[3] = Ops::template high<8>(b[0], b[1]);
    } else {
        Vector pairs[2][4]; // columns 0..3 and 4..7 of two rows
        for (int i = 0; i < 4; ++i) {
            pairs[0][i] = Ops::template low<2>(v[2 * i], v[2 * i + 1]);
            pairs[1][i] = Ops::template high<2>(v[2 * i], v[2 * i + 1]);
        }
        for (int half = 0; half < 2; ++half) {
            const Vector* p = pairs[half];
            const Vector a[2] = {Ops::template low<4>(p[0], p[1]), Ops::template low<4>(p[2], p[3])};
            const Vector b[2] = {Ops::template high<4>(p[0], p[1]), Ops::template high<4>(p[2], p[3])};
            v[4 * half] = Ops::template low<8>(a[0], a[1]);
            v[4 * half + 1] = Ops::template high<8>(a[0], a[1]);
            v[4 * half + 2] = Ops::template low<8>(b[0], b[1]);
            v[4 * half + 3] = Ops::template high<8>(b[0], b[1]);
        }
    }
}

// A block: so many columns, each of which fills a line.
template <int64_t bytes, class Ops>
constexpr int64_t kBlockColumns = Ops::kSides * 16 / bytes;
template <int64_t bytes>
constexpr int64_t kBlockRows = 64 / bytes;

template <int64_t bytes, class Ops>
[[gnu::always_inline]] inline void transpose_block(const char* from, int64_t from_pitch, char* to, int64_t to_pitch)
{
    constexpr int64_t kSquare = 16 / bytes;
    constexpr int64_t kWidth = sizeof(typename Ops::Vector);
    constexpr int64_t kParts = Ops::kSides * 64 / kWidth; // registers for so many columns
    constexpr int64_t kStep = Ops::kSides * kSquare;      // rows from lane to lane
    typename Ops::Vector v[static_cast<uint64_t>(kParts)][static_cast<uint64_t>(kSquare)];
    for (int64_t part = 0; part < kParts; ++part) {
        const char* rows = from + part * (Ops::kSides == 2 ? kSquare : kWidth / bytes) * from_pitch;
        for (int64_t j = 0; j < kSquare; ++j)
            v[part][j] = Ops::gather(rows + j * from_pitch, kStep * from_pitch);
        transpose_lanes<bytes, Ops>(v[part]);
    }
    for (int64_t c = 0; c < kSquare; ++c) {
        char* const column = to + c * to_pitch;
        if constexpr (Ops::kSides == 2) {
            static_assert(kParts == 2);
            Ops::template put<kCached>(column, Ops::template side<0>(v[0][c], v[1][c]));
            Ops::template put<kCached>(column + kSquare * to_pitch, Ops::template side<1>(v[0][c], v[1][c]));
        } else {
            for (int64_t part = 0; part < kParts; ++part)
                Ops::template put<kCached>(column + part * kWidth, v[part][c]);
        }
    }
}

// What is left at the edges: fewer rows or columns than a block has.
template <int64_t bytes, class Ops>
void transpose_rest(const char* from, int64_t from_pitch, int64_t rows, int64_t columns, char* to, int64_t to_pitch)
{
    constexpr int64_t kColumns = kBlockColumns<bytes, Ops>;
    constexpr int64_t kPitch = kColumns * bytes;
    alignas(64) char block[static_cast<uint64_t>(kBlockRows<bytes> * kPitch)] = {};
    alignas(64) char lines[static_cast<uint64_t>(kColumns) * 64];
    for (int64_t r = 0; r < rows; ++r)
        if (columns == kColumns)
            std::memcpy(block + kPitch * r, from + r * from_pitch, kPitch);
        else
            std::memcpy(block + kPitch * r, from + r * from_pitch, static_cast<uint64_t>(columns * bytes));
    transpose_block<bytes, Ops>(block, kPitch, lines, 64);
    for (int64_t c = 0; c < columns; ++c)
        std::memcpy(to + c * to_pitch, lines + 64 * c, static_cast<uint64_t>(rows * bytes));
}

// The rows of some columns, at most a block's; `to` is a line's border where they are streamed.
template <int64_t bytes, class Ops>
[[gnu::always_inline]] inline void transpose_columns(const char* from, int64_t from_pitch, int64_t rows,
                                                     int64_t columns, char* to, int64_t to_pitch)
{
    constexpr int64_t kRows = kBlockRows<bytes>;
    int64_t r = 0;
    for (; columns == kBlockColumns<bytes, Ops> && r + kRows <= rows; r += kRows)
        transpose_block<bytes, Ops>(from + r * from_pitch, from_pitch, to + r * bytes, to_pitch);
    for (; r < rows; r += kRows)
        transpose_rest<bytes, Ops>(from + r * from_pitch, from_pitch, rows - r < kRows ? rows - r : kRows, columns,
                                   to + r * bytes, to_pitch);
}

// The same, streamed. A column's lines are made in the first-level cache and leave one after another: going from column to
// column with every line takes the processor longer than all the rest.
template <int64_t bytes, class Ops>
[[gnu::always_inline]] inline void stream_columns(const char* from, int64_t from_pitch, int64_t rows, char* to,
                                                  int64_t to_pitch)
{
    constexpr int64_t kLines = 4;
    constexpr int64_t kWidth = sizeof(typename Ops::Vector);
    constexpr int64_t kRows = kLines * kBlockRows<bytes>;
    alignas(64) char lines[static_cast<uint64_t>(kBlockColumns<bytes, Ops> * kLines) * 64];
    for (int64_t r = 0; r < rows; r += kRows) {
        const int64_t count = rows - r < kRows ? rows - r : kRows;
        transpose_columns<bytes, Ops>(from + r * from_pitch, from_pitch, count, kBlockColumns<bytes, Ops>, lines,
                                      kLines * 64);
        const int64_t whole = count * bytes & ~int64_t{63};
        for (int64_t c = 0; c < kBlockColumns<bytes, Ops>; ++c) {
            const char* line = lines + c * kLines * 64;
            char* at = to + r * bytes + c * to_pitch;
            for (int64_t i = 0; i < whole; i += kWidth)
                Ops::template put<kStreamed>(at + i, Ops::get(line + i));
            if (whole != count * bytes)
                std::memcpy(at + whole, line + whole, static_cast<uint64_t>(count * bytes - whole));
        }
    }
}

template <int64_t bytes, class Ops, Stores stores>
void transpose(const void* source, const Transposition& area, void* destination)
{
    constexpr int64_t kColumns = kBlockColumns<bytes, Ops>;
    const bool lines =
        ((reinterpret_cast<uintptr_t>(destination) | static_cast<uintptr_t>(area.destination_pitch)) & 63) == 0;
    for (int64_t c = 0; c < area.columns; c += kColumns) {
        const char* from = static_cast<const char*>(source) + c * bytes;
        char* to = static_cast<char*>(destination) + c * area.destination_pitch;
        const int64_t columns = area.columns - c < kColumns ? area.columns - c : kColumns;
        if (stores == kStreamed && lines && columns == kColumns)
            stream_columns<bytes, Ops>(from, area.source_pitch, area.rows, to, area.destination_pitch);
        else
            transpose_columns<bytes, Ops>(from, area.source_pitch, area.rows, columns, to, area.destination_pitch);
    }
}

template <class Ops, Stores streamed>
void overlay_transposition(Kernels* kernels)
{
    kernels->transpose[kCached][kTwoBytes] = transpose<2, Ops, kCached>;
    kernels->transpose[kCached][kFourBytes] = transpose<4, Ops, kCached>;
    kernels->transpose[kStreamed][kTwoBytes] = transpose<2, Ops, streamed>;
    kernels->transpose[kStreamed][kFourBytes] = transpose<4, Ops, streamed>;
}

} // namespace

} // namespace moeq::cpu
