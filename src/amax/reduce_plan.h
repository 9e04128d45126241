// From the options of a reduction to a plan: which axes go, which stay, which become blocks; the shape of the result; and
// the strides by which both tensors are walked.
//
// The rule of blocks. blocks[d] = b > 0 takes axis d out of `axes`: it becomes its ceil(extent / b) blocks, the last of which
// may be shorter, and is reduced inside each of them. b = 1 so keeps the axis, and b >= extent leaves one block. blocks[d] = 0
// leaves the axis to `axes`.
#pragma once

#include "core/report.h"
#include "core/tensor_view.h"
#include "moeq.h"

namespace moeq::amax {

// The options of a reduction, checked for a number of axes.
struct Axes {
    int32_t operation = MOEQ_REDUCE_AMAX;
    int32_t flags = 0;
    int32_t ndim = 0;
    bool reduced[kMaxDims] = {};
    int64_t blocks[kMaxDims] = {}; // 0: no blocks on this axis

    bool has(int32_t flag) const { return (flags & flag) != 0; }
    bool keeps(int32_t axis) const { return blocks[axis] > 0 || !reduced[axis]; }
};

// argument: the place of `options` among the function's arguments.
[[nodiscard]] moeq_status read_axes(const moeq_reduce_options& options, int32_t ndim, int32_t argument, Axes* out,
                                    Report& report);

// The axis that a possibly negative number names; ARGUMENT when it is out of range.
[[nodiscard]] moeq_status read_axis(int32_t axis, int32_t ndim, int32_t argument, const char* name, int32_t* out,
                                    Report& report);

// out_shape has room for axes.ndim extents.
void result_shape(const Axes& axes, const int64_t* shape, int32_t* out_ndim, int64_t* out_shape);

// The types that a result of a source of this type can be stored in: fp32, fp64, the source's own; int64 for integers.
uint32_t result_dtypes(int32_t source_dtype);

struct KeptAxis {
    int64_t extent;
    int64_t source_stride; // in elements, from one output to the next
    int64_t destination_stride;
    int32_t axis;       // of the source, before axes were merged
    int64_t last_block; // elements in the last block of this axis when it is shorter than the others; else 0
};

struct ReducedAxis {
    int64_t extent; // of a whole block
    int64_t stride;
    int32_t axis;
};

// A reduction of one source into one destination. Axes of extent 1 are gone and neighbours that can be walked as one are
// merged. The reduced axes stay in logical order, outermost first, except for amax, which does not depend on it and goes
// along memory. `across` is the kept axis along which neighbouring outputs lie closest together in the source.
struct Plan {
    int32_t operation;
    bool accumulate;
    bool wrap;
    int32_t source_dtype;
    int32_t destination_dtype;
    const char* source;
    char* destination;

    int32_t kept_count;
    KeptAxis kept[kMaxDims];
    int32_t reduced_count;
    ReducedAxis reduced[kMaxDims];

    KeptAxis across;  // extent 1 when each output is walked for itself
    int64_t outputs;  // elements of the destination
    int64_t elements; // that go into one output, at most

    // Whether outputs lie in memory one behind the other, each with the elements that go into it.
    bool are_neighbours() const
    {
        return kept_count == 1 && across.extent == 1 && reduced_count == 1 && reduced[0].stride == 1 &&
               kept[0].source_stride == reduced[0].extent;
    }
};

// Both views are accepted, the destination has the shape of result_shape and is not empty.
Plan make_plan(const TensorView& source, const Axes& axes, const TensorView& destination);

} // namespace moeq::amax
