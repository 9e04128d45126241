// How an axis is cut into the extents of scale units: equal tiles, the last one ragged, restarting at a border (where the gate
// half of an output axis ends and the up half begins), so that no tile straddles it.
#pragma once

#include "core/checked.h"

namespace moeq {

struct Tiling {
    int64_t extent = 0;
    int64_t size = 1;   // of a whole tile; at least 1
    int64_t border = 0; // 0: none

    int64_t before_border() const { return border == 0 ? 0 : ceil_divide(border, size); }
    // An axis of no elements still has one tile when the tile is the axis (`size >= extent`, no border).
    int64_t count() const
    {
        if (border != 0)
            return before_border() + ceil_divide(extent - border, size);
        return extent == 0 && whole ? 1 : ceil_divide(extent, size);
    }
    int64_t index_of(int64_t position) const
    {
        return border != 0 && position >= border ? before_border() + (position - border) / size : position / size;
    }
    int64_t begin(int64_t tile) const
    {
        const int64_t first = before_border();
        return border != 0 && tile >= first ? border + (tile - first) * size : tile * size;
    }
    int64_t end(int64_t tile) const
    {
        const int64_t limit = border != 0 && tile < before_border() ? border : extent;
        return minimum(begin(tile) + size, limit);
    }
    // True when a tile begins or the axis ends at a position.
    bool is_edge(int64_t position) const { return position >= extent || begin(index_of(position)) == position; }

    bool whole = false; // one tile is the whole axis
};

inline Tiling whole_axis(int64_t extent) { return {.extent = extent, .size = maximum(extent, 1), .whole = true}; }
inline Tiling single_elements(int64_t extent) { return {.extent = extent, .size = 1}; }

} // namespace moeq
