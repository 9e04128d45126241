// The part of a stack that is wanted, seen as one dense, row-major [experts, rows, columns]: which tensors its elements lie in.
// Places without a further word are those of this part.
#pragma once

#include "formats/patch.h"
#include "host/engine.h"
#include "store/load/cut.h"
#include "store/load/encoded_part.h"

namespace moeq::store {

// What reading elements of a stack takes.
struct ReadNeeds {
    int32_t dtype = 0;         // of the elements that are read: that of all pieces, or fp32 where they differ
    int64_t scratch_bytes = 0; // besides their destination
};
ReadNeeds needs_of(const Weights& weights, const Stack& stack, int32_t decode_as = 0);

struct ReadRules {
    // Bad scales of weights that are decoded, or copied, are refused (VALUE, F16, with the expert).
    bool strict = true;
    // What quantized pieces are decoded to, where dense ones are not to be read; 0: the type of the pieces.
    int32_t decode_as = 0;
};

class StackSource {
public:
    StackSource(const cpu::Kernels& kernels, const Checkpoint& checkpoint, const Weights& weights, int64_t stack,
                const ReadRules& rules = {})
        : kernels_(kernels), checkpoint_(checkpoint), weights_(weights), stack_(weights.stacks[stack]), rules_(rules)
    {
    }

    // Before all else. INCOMPLETE (F28) names a missing expert; a cut also fails as cut_stack does.
    [[nodiscard]] moeq_status open(const StackPart& part, Report& report);
    [[nodiscard]] moeq_status open(const StackCut& cut, Report& report);
    // Of an open one, experts [begin, end) of the part alone.
    StackSource of_experts(int64_t begin, int64_t end) const;

    const Stack& stack() const { return stack_; }
    const Weight& piece(int64_t i) const { return weights_.piece(stack_, i); }
    const Checkpoint& checkpoint() const { return checkpoint_; }
    const StackPart& part() const { return part_; }
    bool is_strict() const { return rules_.strict; }
    int64_t experts() const { return part_.shape[0]; }
    int64_t rows() const { return part_.shape[1]; }
    int64_t columns() const { return part_.shape[2]; }
    int32_t dtype() const { return needs_.dtype; }
    int64_t itemsize() const { return dtype_bytes(dtype()); }
    int64_t scratch_bytes() const { return needs_.scratch_bytes; }
    Place to_stack(const Place& place) const { return part_.to_stack(place); }
    // Whether a geometry is that of one weight of the files, whole, so that their tensors are its components.
    bool is_one_weight(const Geometry& geometry) const;

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

    // A box of one expert to `out`, row-major and without gaps. Safe in tasks: allocates nothing. scratch: scratch_bytes().
    [[nodiscard]] moeq_status read_box(const Box& box, void* out, void* scratch, Report& report) const;
    // Rows of the i-th piece, counted in the piece, row-major.
    [[nodiscard]] moeq_status read_piece(int64_t i, const WeightRows& rows, void* out, void* scratch,
                                         Report& report) const;
    // Elements [begin, end) in storage order.
    [[nodiscard]] moeq_status read_range(int64_t begin, int64_t end, void* out, void* scratch, Report& report) const;

private:
    [[nodiscard]] moeq_status check_complete(Report& report) const;
    int64_t find_piece(int64_t expert, int64_t row, int64_t column) const;
    [[nodiscard]] moeq_status read_run(const Run& run, char* out, int64_t stride, void* scratch, Report& report) const;
    [[nodiscard]] moeq_status read_dense(const Run& run, char* out, int64_t stride, Report& report) const;
    [[nodiscard]] moeq_status decode(const Run& run, char* out, int64_t stride, char* scratch, Report& report) const;
    int64_t expert_of(const Run& run) const; // of the whole stack; -1: of no experts
    [[nodiscard]] moeq_status check_scales(const EncodedWeight& part, const Run& run, int64_t row, int64_t rows,
                                           Report& report) const;

    const cpu::Kernels& kernels_;
    const Checkpoint& checkpoint_;
    const Weights& weights_;
    const Stack& stack_;
    const ReadRules rules_;
    StackPart part_;
    ReadNeeds needs_;
};

// Rows of one expert, a box, to memory: many tasks at once, with memory of their own.
[[nodiscard]] moeq_status read_rows(const Engine& engine, Allocator& allocator, const StackSource& source,
                                    const Box& rows, void* out, Report& report);

} // namespace moeq::store
