// A part of a weight, and the source elements that belong to it.
#pragma once

#include "formats/encoded_weight.h"

namespace moeq {

// A box of a weight.
struct Box {
    int64_t expert_begin = 0, expert_end = 0;
    int64_t row_begin = 0, row_end = 0;
    int64_t column_begin = 0, column_end = 0;

    int64_t experts() const { return expert_end - expert_begin; }
    int64_t rows() const { return row_end - row_begin; }
    int64_t columns() const { return column_end - column_begin; }
    bool empty() const { return experts() <= 0 || rows() <= 0 || columns() <= 0; }
};

// Elements [begin, end) of a run of a weight.
struct RunRange {
    int64_t run, begin, end;
    int64_t count() const { return end - begin; }
};

// Source elements of a box: element (e, r, c) of the weight is at view.at(e - box.expert_begin, ...).
struct Patch {
    StackView view;
    Box box;
    char* at(int64_t expert, int64_t row, int64_t column) const
    {
        return view.at(expert - box.expert_begin, row - box.row_begin, column - box.column_begin);
    }
};

} // namespace moeq
