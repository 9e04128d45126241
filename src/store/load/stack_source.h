// The part of a stack that is wanted, seen as one dense, row-major [experts, rows, columns]: which tensors its elements lie in.
// Places without a further word are those of this part.
#pragma once

#include "host/encode.h"
#include "store/load/load.h"

namespace moeq::store {

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

class StackSource {
public:
    // strict: reads refuse bad scales (VALUE, F16, with the expert) of weights that they decode.
    StackSource(const Checkpoint& checkpoint, const Weights& weights, int64_t stack, bool strict = true)
        : checkpoint_(checkpoint), weights_(weights), stack_(weights.stacks[stack]), strict_(strict)
    {
    }

    // RANGE, SHAPE where the cut does not fit.
    [[nodiscard]] moeq_status set_cut(const StackCut& cut, Report& report);
    // Quantized pieces are decoded to this type, and dense ones are not to be read. Before prepare.
    void decode_as(int32_t dtype) { decoded_dtype_ = dtype; }
    // Before any read: finds the type of the elements and the room that reading needs. INCOMPLETE (F28) names a missing
    // expert.
    [[nodiscard]] moeq_status prepare(Report& report);

    const Stack& stack() const { return stack_; }
    const Weight& piece(int64_t i) const { return weights_.piece(stack_, i); }
    const Checkpoint& checkpoint() const { return checkpoint_; }
    int64_t experts() const { return shape_[0]; }
    int64_t rows() const { return shape_[1]; }
    int64_t columns() const { return shape_[2]; }
    int64_t count() const { return shape_[0] * shape_[1] * shape_[2]; }
    const int64_t* shape() const { return shape_; }
    // Of the elements that are read: that of all pieces, or fp32 where they differ.
    int32_t dtype() const { return dtype_; }
    int64_t itemsize() const { return dtype_bytes(dtype_); }

    // A place of the part in the whole stack.
    Place to_stack(const Place& place) const;

    // Elements of one weight, as far as they follow each other: rows [row, row + rows) of an expert of it, from a column on.
    struct Run {
        const Weight* weight;
        int64_t expert; // of the weight
        int64_t row, column;
        int64_t rows, columns;
    };
    // The run that begins at a place and ends at row_end and column_end at the latest.
    Run run_at(int64_t expert, int64_t row, int64_t column, int64_t row_end, int64_t column_end) const;
    // Rows where another piece, or another range of the cut, begins: the first one behind `row`; rows() where there is none.
    int64_t next_border(int64_t row) const;
    // Orders places as the files have them: (tensor, offset).
    void locate(int64_t expert, int64_t row, int64_t column, int64_t* tensor, int64_t* offset) const;

    // Bytes that a read needs besides its destination.
    int64_t scratch_bytes() const { return scratch_bytes_; }
    // A box of one expert to `out`, row-major and without gaps. Safe in tasks: allocates nothing.
    [[nodiscard]] moeq_status read_box(const cpu::Kernels& kernels, const Box& box, void* out, void* scratch,
                                       Report& report) const;
    // Rows of one expert of the i-th piece, counted in the piece, row-major.
    [[nodiscard]] moeq_status read_piece(const cpu::Kernels& kernels, int64_t i, int64_t expert, int64_t row_begin,
                                         int64_t row_end, void* out, void* scratch, Report& report) const;
    // Elements [begin, end) in storage order.
    [[nodiscard]] moeq_status read_range(const cpu::Kernels& kernels, int64_t begin, int64_t end, void* out,
                                         void* scratch, Report& report) const;

private:
    int64_t find_piece(int64_t expert, int64_t row, int64_t column) const;
    [[nodiscard]] moeq_status read_run(const cpu::Kernels& kernels, const Run& run, char* out, int64_t stride,
                                       void* scratch, Report& report) const;
    [[nodiscard]] moeq_status read_dense(const Run& run, char* out, int64_t stride, Report& report) const;
    [[nodiscard]] moeq_status decode(const cpu::Kernels& kernels, const Run& run, char* out, int64_t stride,
                                     char* scratch, Report& report) const;
    int64_t expert_of(const Run& run) const; // of the whole stack; -1: of no experts
    [[nodiscard]] moeq_status check_scales(const EncodedWeight& part, const Run& run, int64_t row, int64_t rows,
                                           Report& report) const;
    void set_dtype();

    const Checkpoint& checkpoint_;
    const Weights& weights_;
    const Stack& stack_;
    const bool strict_;
    int64_t expert_begin_ = 0;
    int64_t shape_[3] = {};
    AxisCut row_cut_;
    AxisCut column_cut_;
    int32_t decoded_dtype_ = 0; // 0: that of the pieces
    int32_t dtype_ = 0;
    int64_t scratch_bytes_ = 0;
};

} // namespace moeq::store
