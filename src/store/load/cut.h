// Cuts of a stack: which experts are wanted, and what of each one a rank of tensor parallelism has.
#pragma once

#include "store/model/weights.h"

namespace moeq::store {

struct StackCut {
    int64_t expert_begin = 0, expert_end = 0; // expert_end 0: to the last
    // Of each expert a part of its rows (of each half, where the layout has two) or of its columns.
    int32_t tp_rank = 0, tp_size = 1;
};

// A range of an axis of the whole stack that is a range of the part.
struct AxisRange {
    int64_t begin; // in the part
    int64_t source;
    int64_t length;
};

// What a cut leaves of an axis: at most a range of each half.
struct AxisCut {
    AxisRange ranges[2];
    int32_t count = 0;

    // The range that a position of the part is in.
    const AxisRange& at(int64_t position) const
    {
        return count == 2 && position >= ranges[1].begin ? ranges[1] : ranges[0];
    }
};

// What a cut leaves of a stack.
struct StackPart {
    int64_t expert_begin = 0;
    int64_t shape[3] = {}; // [experts, rows, columns]; the layout is that of the stack
    AxisCut rows, columns;

    bool is_all_of(const Stack& stack) const
    {
        return shape[0] == stack.shape[0] && shape[1] == stack.shape[1] && shape[2] == stack.shape[2];
    }
    // A place of the part in the whole stack.
    Place to_stack(const Place& place) const
    {
        const AxisRange& of_rows = rows.at(place.row);
        const AxisRange& of_columns = columns.at(place.column);
        return {expert_begin + place.expert, of_rows.source + place.row - of_rows.begin,
                of_columns.source + place.column - of_columns.begin};
    }
};

// RANGE for a cut that is none, SHAPE where tensor parallelism does not divide the stack, UNSUPPORTED where it is not known how
// it would.
[[nodiscard]] moeq_status cut_stack(const Stack& stack, const StackCut& cut, StackPart* out, Report& report);
// The spec of a part of a quantized stack: parts of nested weights have plain statistics, columns of blocks per expert have
// blocks per row. UNSUPPORTED where experts share blocks.
[[nodiscard]] moeq_status part_spec(const Stack& stack, const StackPart& part, moeq_spec* out, Report& report);

} // namespace moeq::store
