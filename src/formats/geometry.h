// What a resolved spec means for one shape: how the weight is cut into scale units, and the shape of every component. Every
// size in the library that depends on a format is computed here and nowhere else.
#pragma once

#include <cstring>

#include "core/report.h"
#include "core/tensor_view.h"
#include "formats/format.h"
#include "formats/tiling.h"

namespace moeq {

constexpr int64_t kNestedBlock = 256; // scales that share one nested scale
constexpr int64_t kNestedMapSize = 256;
constexpr int32_t kComponentLimit = 8; // component ids are below this

struct RunPlace {
    int64_t run;
    int64_t element; // of the run
};

struct Geometry {
    moeq_spec spec{}; // resolved
    const Format* format = nullptr;
    int32_t ndim = 0;
    int64_t shape[kMaxDims] = {}; // as given; the last two are rows and columns
    int64_t experts = 0;          // all leading axes folded
    int64_t rows = 0;
    int64_t columns = 0;

    // Units that are tiles: a row tile x a column tile of one expert.
    Tiling row_tiling;
    Tiling column_tiling;

    // Units that are runs: codes run over `run_count` runs of `run_length` elements (experts, rows, or the whole tensor).
    int64_t block = 0;
    int64_t run_count = 0;
    int64_t run_length = 0;
    int64_t runs_per_expert = 0; // 0: flat
    int64_t run_blocks() const { return ceil_divide(run_length, block); }
    int64_t run_bytes() const { return format->code_bytes(run_length); }
    int64_t block_count() const { return run_count * run_blocks(); }
    // Where an element lies in the runs; those behind it in its row, and in rows that follow, lie behind it.
    RunPlace run_place(int64_t expert, int64_t row, int64_t column = 0) const
    {
        if (run_per_row())
            return {expert * rows + row, column};
        return flat() ? RunPlace{0, expert * expert_elements() + row * columns + column}
                      : RunPlace{expert, row * columns + column};
    }

    bool in_runs() const { return format->units == Units::kRuns; }
    bool run_per_row() const { return in_runs() && spec.blocking == MOEQ_BLOCKING_ROW; }
    bool flat() const { return in_runs() && spec.blocking == MOEQ_BLOCKING_FLAT; }
    bool nested() const { return spec.nested != 0; }
    int64_t expert_elements() const { return rows * columns; }
    int64_t count() const { return experts * rows * columns; }
    int32_t lead() const { return ndim - 2; } // axes before rows and columns
    ScaleKind scale_kind() const { return spec.scale_kind == MOEQ_SCALE_FACTOR ? kFactor : kAbsmax; }
    // What is stored for an amax.
    float statistic(float amax) const { return scale_kind() == kFactor ? format->factor(amax) : amax; }
    bool scale_per_column() const
    {
        return !in_runs() && spec.granularity == MOEQ_GRANULARITY_ROW && spec.scale_axis == -2;
    }
};

// Checks a spec by itself and replaces every default that needs no shape. `argument` and `name` are for messages.
[[nodiscard]] moeq_status resolve_spec(const moeq_spec& spec, int32_t argument, const char* name, moeq_spec* out,
                                       Report& report);

// Whether two resolved specs are one in every field.
inline bool same_spec(const moeq_spec& a, const moeq_spec& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

// The geometry of a spec (resolved or not) over a shape. shape_argument: the argument that the shape came from.
[[nodiscard]] moeq_status make_geometry(const moeq_spec& spec, int32_t spec_argument, int32_t ndim,
                                        const int64_t* shape, int32_t shape_argument, const char* shape_name,
                                        Geometry* out, Report& report);

// Element type and shape of a component; false where the format has none. Strides are row-major.
bool component_layout(const Geometry& geometry, int32_t component, TensorView* out);
// "scale"; for messages.
const char* component_name(int32_t component);
// Components that are stored, in order: codes, scale and, when nested, the three more. The code map is a constant.
int32_t stored_components(const Geometry& geometry, int32_t* out);
// Bytes of all stored components.
int64_t stored_bytes(const Geometry& geometry);

} // namespace moeq
