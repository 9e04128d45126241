#include "store/load/chunks.h"

#include <algorithm>

#include "store/load/buffers.h"

namespace moeq::store {

namespace {

constexpr int64_t kLeastBytes = 64 << 10; // of a chunk
// Large enough that a read costs no more than its copy, small enough for a cache.
constexpr int64_t kMostBytes = 1 << 20;
constexpr int64_t kWideBytes = 8 << 20; // where rows are so long that chunks are parts of rows
// All rows of some columns, which all threads read and encode together, one such chunk at a time.
constexpr int64_t kSlabBytes = 16 << 20;

class Cutter {
public:
    Cutter(const StackSource& source, const Geometry& geometry, const ChunkOrder& order, Array<Chunk>* out,
           Report& report)
        : source_(source), g_(geometry), order_(order), out_(out), report_(report), item_(source.itemsize())
    {
        const int64_t share = g_.count() / 64 * item_;
        const int64_t bytes = share < kLeastBytes ? kLeastBytes : minimum(share, kMostBytes);
        target_ = bytes / item_;
    }

    moeq_status run()
    {
        if (g_.count() == 0)
            return MOEQ_OK;
        if (g_.in_runs() && !g_.run_per_row())
            MOEQ_TRY(cut_runs());
        else
            for (int64_t e = 0; e < g_.experts; ++e)
                MOEQ_TRY(g_.scale_per_column() ? cut_slabs(e)
                         : g_.in_runs()        ? cut_rows(e, g_.block)
                         : order_.any_rows     ? cut_rows(e, 1)
                                               : cut_tiles(e));
        std::sort(out_->begin(), out_->end(), [this](const Chunk& a, const Chunk& b) {
            if (order_.by_expert && a.box.expert_begin != b.box.expert_begin)
                return a.box.expert_begin < b.box.expert_begin;
            return a.tensor != b.tensor ? a.tensor < b.tensor : a.offset < b.offset;
        });
        return MOEQ_OK;
    }

private:
    moeq_status append(Chunk chunk, int64_t expert, int64_t row, int64_t column)
    {
        source_.locate(expert, row, column, &chunk.tensor, &chunk.offset);
        if (chunk.elements() > (kBufferBytes - source_.scratch_bytes()) / item_)
            return report_.fail(MOEQ_ERROR_LIMIT)
                   << "got a scale unit of " << chunk.elements() << " elements; want at most " << kBufferBytes
                   << " bytes of them, which is all that is buffered; use smaller blocks";
        return out_->append(chunk) ? MOEQ_OK
                                   : report_.out_of_memory(static_cast<uint64_t>(out_->size() + 1) * sizeof(Chunk));
    }
    moeq_status append_box(const Box& box)
    {
        return append({0, 0, box, 0, 0}, box.expert_begin, box.row_begin, box.column_begin);
    }

    // Elements [begin, end) in storage order, cut where blocks end.
    moeq_status cut_range(int64_t begin, int64_t end)
    {
        const int64_t step = maximum(round_down(target_, g_.block), g_.block);
        for (int64_t at = begin; at < end; at += step) {
            const int64_t row = at / g_.columns;
            Chunk chunk{0, 0, {}, at, minimum(at + step, end)};
            chunk.box.expert_begin = row / g_.rows;
            MOEQ_TRY(append(chunk, row / g_.rows, row % g_.rows, at % g_.columns));
        }
        return MOEQ_OK;
    }

    // Blocks that run over experts, or over everything. Where pieces meet, chunks end if a block does.
    moeq_status cut_runs()
    {
        const int64_t per_expert = g_.expert_elements();
        if (g_.flat() && per_expert % g_.block != 0)
            return cut_range(0, g_.count());
        bool aligned = true;
        for (int64_t row = 0; row < g_.rows; row = source_.next_border(row))
            aligned = aligned && row * g_.columns % g_.block == 0;
        for (int64_t e = 0; e < g_.experts; ++e) {
            if (!aligned)
                MOEQ_TRY(cut_range(e * per_expert, (e + 1) * per_expert));
            for (int64_t row = 0; aligned && row < g_.rows;) {
                const int64_t end = source_.next_border(row);
                MOEQ_TRY(cut_range(e * per_expert + row * g_.columns, e * per_expert + end * g_.columns));
                row = end;
            }
        }
        return MOEQ_OK;
    }

    // Whole rows, or parts of one row that end where a multiple of `unit` does.
    moeq_status cut_rows(int64_t e, int64_t unit)
    {
        const bool wide = g_.columns * item_ > kWideBytes;
        const int64_t height = wide ? 1 : maximum(1, target_ / g_.columns);
        const int64_t width = wide ? round_down(kMostBytes / item_, unit) : g_.columns;
        for (int64_t row = 0; row < g_.rows;) {
            const int64_t end = minimum(row + height, source_.next_border(row));
            for (int64_t column = 0; column < g_.columns; column += width)
                MOEQ_TRY(append_box({e, e + 1, row, end, column, minimum(column + width, g_.columns)}));
            row = end;
        }
        return MOEQ_OK;
    }

    // All rows of some columns: as many as there is room for, as a read of a part of a row costs as much as one of all of it.
    moeq_status cut_slabs(int64_t e)
    {
        const int64_t width = maximum(1, kSlabBytes / (g_.rows * item_));
        for (int64_t column = 0; column < g_.columns; column += width)
            MOEQ_TRY(append_box({e, e + 1, 0, g_.rows, column, minimum(column + width, g_.columns)}));
        return MOEQ_OK;
    }

    // Rows from a tile's begin to a tile's end; chunks end where pieces meet, if a tile does.
    int64_t end_of_tiles(int64_t row, int64_t height) const
    {
        const Tiling& tiles = g_.row_tiling;
        int64_t end = tiles.end(tiles.index_of(row));
        while (end < g_.rows && tiles.end(tiles.index_of(end)) - row <= height)
            end = tiles.end(tiles.index_of(end));
        const int64_t border = source_.next_border(row);
        return border < end && tiles.is_edge(border) ? border : end;
    }

    moeq_status cut_tiles(int64_t e)
    {
        const Tiling& tiles = g_.column_tiling;
        const int64_t height = maximum(1, target_ / g_.columns);
        for (int64_t row = 0; row < g_.rows;) {
            const int64_t end = end_of_tiles(row, height);
            const bool wide = (end - row) * g_.columns * item_ > kWideBytes;
            const int64_t width = wide ? kMostBytes * 4 / item_ / (end - row) : g_.columns;
            for (int64_t column = 0; column < g_.columns;) {
                int64_t stop = tiles.end(tiles.index_of(column));
                while (stop < g_.columns && tiles.end(tiles.index_of(stop)) - column <= width)
                    stop = tiles.end(tiles.index_of(stop));
                MOEQ_TRY(append_box({e, e + 1, row, end, column, stop}));
                column = stop;
            }
            row = end;
        }
        return MOEQ_OK;
    }

    const StackSource& source_;
    const Geometry& g_;
    const ChunkOrder& order_;
    Array<Chunk>* out_;
    Report& report_;
    int64_t item_;
    int64_t target_; // elements
};

} // namespace

moeq_status cut_into_chunks(const StackSource& source, const Geometry& geometry, const ChunkOrder& order,
                            Array<Chunk>* out, Report& report)
{
    return Cutter(source, geometry, order, out, report).run();
}

} // namespace moeq::store
