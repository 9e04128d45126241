// From a checkpoint's stacks to codes and scales in memory: reading no byte that is not needed, whole scale units at a time.
#pragma once

#include "host/encode.h"
#include "store/load/buffers.h"
#include "store/load/progress.h"
#include "store/model/weights.h"

namespace moeq::store {

// The part of a stack that is wanted: experts, and of each one a cut of rows (of each half, where the layout has two) or of
// columns.
struct StackCut {
    int64_t expert_begin = 0, expert_end = 0;
    int32_t tp_rank = 0, tp_size = 1;
};

// Shape of the part, [experts, rows, columns]; the layout stays. expert_end 0: to the last. RANGE; SHAPE where it does not divide.
[[nodiscard]] moeq_status cut_shape(const Stack& stack, const StackCut& cut, int64_t* out_shape, Report& report);
// The spec of a part of a quantized stack: parts of nested weights have plain statistics, columns of blocks per expert have
// blocks per row. UNSUPPORTED where experts share blocks.
[[nodiscard]] moeq_status cut_spec(const Stack& stack, const StackCut& cut, moeq_spec* out, Report& report);

// Quantizes a dense stack (or requantizes one that is quantized otherwise) into `out`, whose components are allocated.
// given_amax: [experts], EXPERT granularity, or NULL: then an amax pass comes first where the spec needs one.
// source_digest: of the bytes read, in a fixed order; may be NULL. strict: refuses bad scales of what is requantized, as
// load_components does. buffers: memory that loads one after the other share; NULL: this one has its own.
[[nodiscard]] moeq_status load_and_encode(const Engine& engine, Allocator& allocator, const Checkpoint& checkpoint,
                                          const Weights& weights, int64_t stack, const StackCut& cut,
                                          const TensorView* given_amax, const EncodedWeight& out, Progress& progress,
                                          Digest* source_digest, Report& report, bool strict = true,
                                          Buffers* buffers = nullptr);

// Copies the components of a stack that is quantized already. strict: refuses bad scales (VALUE, F16, with the expert).
[[nodiscard]] moeq_status load_components(const Engine& engine, Allocator& allocator, const Checkpoint& checkpoint,
                                          const Weights& weights, int64_t stack, const StackCut& cut, bool strict,
                                          const EncodedWeight& out, Progress& progress, Digest* source_digest,
                                          Report& report);

// Dense elements of rows [row_begin, row_end) of one expert of a stack, in the stack's type (a quantized one is decoded to its
// logical type, and its bad scales are refused), row-major, into out: (row_end - row_begin) x columns.
[[nodiscard]] moeq_status read_rows(const Engine& engine, Allocator& allocator, const Checkpoint& checkpoint,
                                    const Weights& weights, int64_t stack, int64_t expert, int64_t row_begin,
                                    int64_t row_end, void* out, Report& report);

} // namespace moeq::store
