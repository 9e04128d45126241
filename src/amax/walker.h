// Walking a plan: tile after tile over the outputs, and inside a tile run after run over the elements that are reduced.
#pragma once

#include "amax/reduce_plan.h"
#include "core/checked.h"

namespace moeq::amax {

// Neighbouring outputs along plan.across, and what is reduced into each of them. Offsets and strides are in elements.
struct Tile {
    int64_t source_offset; // of the first element of the first output
    int64_t source_stride; // from one output to the next
    int64_t destination_offset;
    int64_t destination_stride;
    int64_t width;         // outputs
    int64_t first_output;  // each output of a plan has a number of its own
    int64_t elements;      // of each output
    int32_t reduced_count; // at least 1
    int64_t extents[kMaxDims];
    int64_t strides[kMaxDims];
};

// The tiles of a plan, from any one on.
class TileCursor {
public:
    // columns: the most outputs of a tile
    TileCursor(const Plan& plan, int64_t columns, int64_t first) : plan_(plan), columns_(columns)
    {
        const int64_t across = ceil_divide(plan.across.extent, columns);
        across_begin_ = first % across * columns;
        outer_ = first / across;
        int64_t rest = outer_;
        for (int32_t i = plan.kept_count - 1; i >= 0; --i) {
            index_[i] = rest % plan.kept[i].extent;
            rest /= plan.kept[i].extent;
        }
        set_outer();
        set_across();
    }

    static int64_t count(const Plan& plan, int64_t columns)
    {
        return plan.outputs / plan.across.extent * ceil_divide(plan.across.extent, columns);
    }

    const Tile& tile() const { return tile_; }

    void advance()
    {
        across_begin_ += columns_;
        if (across_begin_ >= plan_.across.extent) {
            across_begin_ = 0;
            ++outer_;
            for (int32_t i = plan_.kept_count - 1; i >= 0 && ++index_[i] == plan_.kept[i].extent; --i)
                index_[i] = 0;
            set_outer();
        }
        set_across();
    }

private:
    void set_outer()
    {
        outer_source_ = outer_destination_ = 0;
        tile_.reduced_count = plan_.reduced_count == 0 ? 1 : plan_.reduced_count;
        tile_.extents[0] = 1;
        tile_.strides[0] = 0;
        for (int32_t i = 0; i < plan_.reduced_count; ++i) {
            tile_.extents[i] = plan_.reduced[i].extent;
            tile_.strides[i] = plan_.reduced[i].stride;
        }
        for (int32_t i = 0; i < plan_.kept_count; ++i) {
            const KeptAxis& kept = plan_.kept[i];
            outer_source_ += index_[i] * kept.source_stride;
            outer_destination_ += index_[i] * kept.destination_stride;
            if (kept.last_block != 0 && index_[i] == kept.extent - 1)
                shorten(kept);
        }
        tile_.elements = 1;
        for (int32_t i = 0; i < tile_.reduced_count; ++i)
            tile_.elements *= tile_.extents[i];
    }

    void shorten(const KeptAxis& kept)
    {
        for (int32_t i = 0; i < plan_.reduced_count; ++i)
            if (plan_.reduced[i].axis == kept.axis)
                tile_.extents[i] = kept.last_block;
    }

    void set_across()
    {
        const KeptAxis& across = plan_.across;
        tile_.width = minimum(columns_, across.extent - across_begin_);
        tile_.source_stride = across.source_stride;
        tile_.destination_stride = across.destination_stride;
        tile_.source_offset = outer_source_ + across_begin_ * across.source_stride;
        tile_.destination_offset = outer_destination_ + across_begin_ * across.destination_stride;
        tile_.first_output = outer_ * across.extent + across_begin_;
    }

    const Plan& plan_;
    int64_t columns_;
    int64_t outer_;
    int64_t across_begin_;
    int64_t outer_source_ = 0;
    int64_t outer_destination_ = 0;
    int64_t index_[kMaxDims] = {};
    Tile tile_{};
};

struct Run {
    int64_t offset; // in elements, from the plan's source
    int64_t count;
    int64_t stride;
};

// The elements [begin, end) of the first output of a tile, in order, as runs along the innermost axis.
class RunCursor {
public:
    RunCursor(const Tile& tile, int64_t begin, int64_t end)
        : tile_(tile), left_(end - begin), offset_(tile.source_offset)
    {
        int64_t rest = begin;
        for (int32_t i = tile.reduced_count - 1; i >= 0 && left_ > 0; --i) {
            index_[i] = rest % tile.extents[i];
            rest /= tile.extents[i];
            offset_ += index_[i] * tile.strides[i];
        }
    }

    bool next(Run* run)
    {
        if (left_ <= 0)
            return false;
        const int32_t inner = tile_.reduced_count - 1;
        run->offset = offset_;
        run->stride = tile_.strides[inner];
        run->count = minimum(tile_.extents[inner] - index_[inner], left_);
        left_ -= run->count;
        if (left_ > 0)
            step_outer(inner);
        return true;
    }

private:
    // To the first element of the next run.
    void step_outer(int32_t inner)
    {
        offset_ -= index_[inner] * tile_.strides[inner];
        index_[inner] = 0;
        for (int32_t i = inner - 1; i >= 0; --i) {
            if (++index_[i] < tile_.extents[i]) {
                offset_ += tile_.strides[i];
                return;
            }
            offset_ -= (tile_.extents[i] - 1) * tile_.strides[i];
            index_[i] = 0;
        }
    }

    const Tile& tile_;
    int64_t left_;
    int64_t offset_;
    int64_t index_[kMaxDims] = {};
};

} // namespace moeq::amax
