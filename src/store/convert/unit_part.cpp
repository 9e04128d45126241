// 2-D weights as views into the codes and statistics of a stack.
#include "store/convert/unit.h"

namespace moeq::store {

namespace {

// A component of the output weight over memory of the stack's, with other strides where it has two axes or one.
TensorView view_of(const Geometry& out, int32_t component, char* data, int64_t row_stride, int64_t column_stride)
{
    TensorView view;
    component_layout(out, component, &view);
    view.data = data;
    const int64_t strides[2] = {row_stride, column_stride};
    for (int32_t i = 0; i < view.ndim && i < 2; ++i)
        view.strides[i] = view.shape[i] <= 1 ? 0 : strides[i];
    return view;
}

// Blocks follow each other through the rows, so a weight is one run of bytes.
void set_runs(const Geometry& work, const EncodedWeight& stack, int64_t expert, int64_t row, EncodedWeight* out)
{
    const auto [run, first] = work.run_place(expert, row); // where a block begins, also where experts share a run
    const int64_t code = run * work.run_bytes() + work.format->code_byte(first);
    const int64_t block = run * work.run_blocks() + first / work.block;
    component_layout(out->geometry, MOEQ_COMPONENT_CODES, &out->codes);
    out->codes.data = stack.codes.data + code;
    TensorView& scale = out->scale;
    component_layout(out->geometry, MOEQ_COMPONENT_SCALE, &scale);
    scale.data = stack.scale.data + block * stack.scale.itemsize();
}

void set_tiles(const PlanItem& item, const EncodedWeight& stack, int64_t expert, int64_t part, EncodedWeight* out)
{
    const Geometry& work = stack.geometry;
    const ExpertParts& parts = item.parts;
    const int64_t step = parts.interleaved && parts.count > 1 ? 2 : 1; // of output rows
    const int64_t first = step == 2 ? part : part * item.out.rows;
    char* codes = stack.codes.data + expert * work.expert_elements();
    out->codes = parts.transposed
                     ? view_of(item.out, MOEQ_COMPONENT_CODES, codes + first, step, work.columns)
                     : view_of(item.out, MOEQ_COMPONENT_CODES, codes + first * work.columns, step * work.columns, 1);
    float* scale = reinterpret_cast<float*>(stack.scale.data);
    int64_t row_stride = step;
    int64_t column_stride = 1;
    if (work.spec.granularity == MOEQ_GRANULARITY_ROW) {
        scale += expert * (parts.transposed ? work.columns : work.rows) + first;
    } else if (work.spec.granularity == MOEQ_GRANULARITY_EXPERT) {
        scale += expert;
    } else {
        const int64_t across = work.column_tiling.count();
        scale += expert * work.row_tiling.count() * across;
        scale += parts.transposed ? work.column_tiling.index_of(first) : work.row_tiling.index_of(first) * across;
        row_stride = parts.transposed ? 1 : across;
        column_stride = parts.transposed ? across : 1;
    }
    out->scale = view_of(item.out, MOEQ_COMPONENT_SCALE, reinterpret_cast<char*>(scale), row_stride, column_stride);
}

} // namespace

EncodedWeight part_of_stack(const PlanItem& item, const EncodedWeight& stack, int64_t expert, int64_t part)
{
    EncodedWeight out;
    out.geometry = item.out;
    out.geometry.spec.nested = 0; // views are of plain statistics
    if (item.out.in_runs())
        set_runs(stack.geometry, stack, expert, part * item.out.rows, &out);
    else
        set_tiles(item, stack, expert, part, &out);
    out.prepare();
    return out;
}

} // namespace moeq::store
