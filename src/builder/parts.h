// The scale units that a piece touches without holding them whole: what has to be staged until their rest arrives.
#pragma once

#include "host/encode.h"

namespace moeq::builder {

// Consecutive elements of one row of one partial unit.
struct Part {
    int64_t unit;     // index over the whole weight
    Place at;         // in the weight
    int64_t count;    // elements
    int64_t position; // of the first one inside its unit
};

// A scale unit by its index. A tile of one expert, or a block of a run.
struct Unit {
    Box box;           // of a tile
    int64_t run = 0;   // of a block
    int64_t begin = 0; // first element of the run
    int64_t elements = 0;
};
int64_t unit_count(const Geometry& geometry);
Unit unit_at(const Geometry& geometry, int64_t index);

namespace detail {

template <class Visit>
void visit_tile_parts(const Geometry& g, const Box& box, Visit& visit)
{
    const Tiling& rows = g.row_tiling;
    const Tiling& columns = g.column_tiling;
    for (int64_t e = box.expert_begin; e < box.expert_end; ++e)
        for (int64_t i = rows.index_of(box.row_begin); i <= rows.index_of(box.row_end - 1); ++i)
            for (int64_t j = columns.index_of(box.column_begin); j <= columns.index_of(box.column_end - 1); ++j) {
                const int64_t row_begin = maximum(rows.begin(i), box.row_begin);
                const int64_t row_end = minimum(rows.end(i), box.row_end);
                const int64_t column_begin = maximum(columns.begin(j), box.column_begin);
                const int64_t column_end = minimum(columns.end(j), box.column_end);
                const int64_t width = columns.end(j) - columns.begin(j);
                const int64_t height = rows.end(i) - rows.begin(i);
                if ((row_end - row_begin) * (column_end - column_begin) == width * height)
                    continue;
                const int64_t unit = (e * rows.count() + i) * columns.count() + j;
                for (int64_t r = row_begin; r < row_end; ++r)
                    visit(Part{unit,
                               {e, r, column_begin},
                               column_end - column_begin,
                               (r - rows.begin(i)) * width + column_begin - columns.begin(j)});
            }
}

// Elements [begin, end) of a segment that belong to blocks that the segment does not hold whole, cut at rows and blocks.
template <class Visit>
void visit_block_parts(const Geometry& g, const RunSegments::Segment& segment, int64_t begin, int64_t end, Visit& visit)
{
    for (int64_t f = begin; f < end;) {
        const int64_t ahead =
            segment.first.column + f - segment.begin; // columns from the begin of the segment's first row
        const int64_t column = ahead % g.columns;
        const int64_t row = segment.first.row + ahead / g.columns;
        const int64_t block = f / g.block;
        const int64_t count = minimum(minimum(end - f, g.columns - column), (block + 1) * g.block - f);
        visit(Part{segment.run * g.run_blocks() + block,
                   {segment.first.expert + row / g.rows, row % g.rows, column},
                   count,
                   f - block * g.block});
        f += count;
    }
}

template <class Visit>
void visit_segment_parts(const Geometry& g, const Box& box, Visit& visit)
{
    const RunSegments segments(g, box);
    for (int64_t i = 0; i < segments.count; ++i) {
        const RunSegments::Segment segment = segments[i];
        int64_t begin;
        int64_t end;
        whole_blocks(g, segment, &begin, &end);
        if (begin >= end) {
            visit_block_parts(g, segment, segment.begin, segment.end, visit);
            continue;
        }
        visit_block_parts(g, segment, segment.begin, begin, visit);
        visit_block_parts(g, segment, end, segment.end, visit);
    }
}

} // namespace detail

// visit(Part) for each part, unit by unit: the parts of one unit may come in several groups, but never more than a few.
template <class Visit>
void for_each_part(const Geometry& geometry, const Box& box, Visit visit)
{
    geometry.in_runs() ? detail::visit_segment_parts(geometry, box, visit)
                       : detail::visit_tile_parts(geometry, box, visit);
}

} // namespace moeq::builder
