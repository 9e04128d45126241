// Which elements of a matrix have been written: exactly, for rectangles in any order. Rows with equal columns are one band, so
// memory grows with the raggedness of what is there, not with the matrix.
#pragma once

#include "core/memory.h"

namespace moeq::builder {

struct Rectangle {
    int64_t row_begin, row_end, column_begin, column_end;

    int64_t elements() const { return (row_end - row_begin) * (column_end - column_begin); }
};

// One column range of one band of rows.
struct CoverageSpan {
    int64_t row_begin, row_end, column_begin, column_end;
};

class Coverage {
public:
    explicit Coverage(Allocator& allocator) : spans_(allocator) {}

    // The first element, in row-major order, that a rectangle shares with what is there.
    bool find_overlap(const Rectangle& rectangle, int64_t* row, int64_t* column) const;
    // How much room the next add of a rectangle needs at most, in spans.
    int64_t room_for(const Rectangle& rectangle) const;
    bool has_room(int64_t spans) const { return spans <= spans_.capacity(); }
    // Moves into a larger empty array; the old memory is in `larger` then.
    void move_into(Array<CoverageSpan>& larger);
    // Marks a rectangle that overlaps nothing; room_for it must be there.
    void add(const Rectangle& rectangle);

    int64_t covered() const { return covered_; }
    // Calls visit(Rectangle) for what is missing of [0, rows) x [0, columns), in order of place, until it returns false.
    template <class Visit>
    bool for_each_gap(int64_t rows, int64_t columns, Visit visit) const;
    void clear()
    {
        spans_.clear();
        covered_ = 0;
    }

private:
    using Span = CoverageSpan;

    int64_t first_span_at(int64_t row) const;
    void split_at(int64_t row);
    void insert(int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end);
    void merge_bands();
    bool same_columns(int64_t a, int64_t a_end, int64_t b, int64_t b_end) const;
    int64_t band_end(int64_t first) const;

    Array<Span> spans_; // sorted by band, then by column; bands do not overlap
    int64_t covered_ = 0;
};

template <class Visit>
bool Coverage::for_each_gap(int64_t rows, int64_t columns, Visit visit) const
{
    int64_t row = 0;
    for (int64_t i = 0; i < spans_.size();) {
        const int64_t end = band_end(i);
        const Span band = spans_[i];
        if (row < band.row_begin && !visit(Rectangle{row, band.row_begin, 0, columns}))
            return false;
        int64_t column = 0;
        for (; i < end; ++i) {
            if (column < spans_[i].column_begin &&
                !visit(Rectangle{band.row_begin, band.row_end, column, spans_[i].column_begin}))
                return false;
            column = spans_[i].column_end;
        }
        if (column < columns && !visit(Rectangle{band.row_begin, band.row_end, column, columns}))
            return false;
        row = band.row_end;
    }
    return row >= rows || visit(Rectangle{row, rows, 0, columns});
}

} // namespace moeq::builder
