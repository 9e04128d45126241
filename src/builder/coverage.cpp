#include "builder/coverage.h"

#include "core/checked.h"

namespace moeq::builder {

// The first span whose band ends behind a row.
int64_t Coverage::first_span_at(int64_t row) const
{
    int64_t low = 0;
    int64_t high = spans_.size();
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (spans_[middle].row_end <= row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int64_t Coverage::band_end(int64_t first) const
{
    int64_t end = first + 1;
    while (end < spans_.size() && spans_[end].row_begin == spans_[first].row_begin)
        ++end;
    return end;
}

bool Coverage::find_overlap(const Rectangle& r, int64_t* row, int64_t* column) const
{
    for (int64_t i = first_span_at(r.row_begin); i < spans_.size() && spans_[i].row_begin < r.row_end; ++i) {
        if (spans_[i].column_end <= r.column_begin || spans_[i].column_begin >= r.column_end)
            continue;
        *row = maximum(spans_[i].row_begin, r.row_begin);
        *column = maximum(spans_[i].column_begin, r.column_begin);
        return true;
    }
    return false;
}

// Splitting doubles at most the spans of two bands; then every touched band and every gap between them gets one more.
int64_t Coverage::room_for(const Rectangle& r) const
{
    int64_t touched = 0;
    for (int64_t i = first_span_at(r.row_begin); i < spans_.size() && spans_[i].row_begin < r.row_end; ++i)
        ++touched;
    return spans_.size() + 4 * touched + 2;
}

void Coverage::move_into(Array<CoverageSpan>& larger)
{
    larger.append_reserved(spans_.data(), spans_.size());
    spans_.swap(larger);
}

// Makes a band that contains a row begin there.
void Coverage::split_at(int64_t row)
{
    const int64_t first = first_span_at(row);
    if (first == spans_.size() || spans_[first].row_begin >= row)
        return;
    const int64_t count = band_end(first) - first;
    for (int64_t i = 0; i < count; ++i) {
        Span upper = spans_[first + i];
        spans_[first + i].row_end = row;
        upper.row_begin = row;
        spans_.insert_reserved(first + count + i, upper);
    }
}

// Adds columns to a band that exists as such, or as a new band; neighbours that touch become one.
void Coverage::insert(int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end)
{
    int64_t i = first_span_at(row_begin);
    while (i < spans_.size() && spans_[i].row_begin == row_begin && spans_[i].column_end < column_begin)
        ++i;
    const auto in_band = [&](int64_t at) { return at < spans_.size() && spans_[at].row_begin == row_begin; };
    if (in_band(i) && spans_[i].column_end == column_begin) {
        spans_[i].column_end = column_end;
        if (in_band(i + 1) && spans_[i + 1].column_begin == column_end) {
            spans_[i].column_end = spans_[i + 1].column_end;
            spans_.erase(i + 1);
        }
    } else if (in_band(i) && spans_[i].column_begin == column_end) {
        spans_[i].column_begin = column_begin;
    } else {
        spans_.insert_reserved(i, {row_begin, row_end, column_begin, column_end});
    }
}

void Coverage::add(const Rectangle& r)
{
    split_at(r.row_begin);
    split_at(r.row_end);
    for (int64_t row = r.row_begin; row < r.row_end;) {
        const int64_t i = first_span_at(row);
        const bool in_band = i < spans_.size() && spans_[i].row_begin <= row;
        const int64_t next = i == spans_.size() ? r.row_end : in_band ? spans_[i].row_end : spans_[i].row_begin;
        const int64_t end = minimum(next, r.row_end);
        insert(row, end, r.column_begin, r.column_end);
        row = end;
    }
    covered_ += r.elements();
    merge_bands();
}

bool Coverage::same_columns(int64_t a, int64_t a_end, int64_t b, int64_t b_end) const
{
    if (a_end - a != b_end - b || spans_[a].row_end != spans_[b].row_begin)
        return false;
    for (int64_t i = 0; i < a_end - a; ++i)
        if (spans_[a + i].column_begin != spans_[b + i].column_begin ||
            spans_[a + i].column_end != spans_[b + i].column_end)
            return false;
    return true;
}

// Neighbouring bands with the same columns become one.
void Coverage::merge_bands()
{
    int64_t kept = 0; // first span of the band before, in its final place
    int64_t kept_end = 0;
    int64_t end = 0;
    for (int64_t i = 0; i < spans_.size(); i = end) {
        end = band_end(i);
        if (kept_end > kept && same_columns(kept, kept_end, i, end)) {
            for (int64_t k = kept; k < kept_end; ++k)
                spans_[k].row_end = spans_[i].row_end;
            continue;
        }
        const int64_t to = kept_end;
        for (int64_t k = i; k < end; ++k)
            spans_[to + k - i] = spans_[k];
        kept = to;
        kept_end = to + end - i;
    }
    while (spans_.size() > kept_end)
        spans_.erase(spans_.size() - 1);
}

} // namespace moeq::builder
