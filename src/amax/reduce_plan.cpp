#include "amax/reduce_plan.h"

#include "core/checked.h"

namespace moeq::amax {

namespace {

constexpr int32_t kKnownFlags = MOEQ_REDUCE_KEEP_AXES | MOEQ_REDUCE_ACCUMULATE | MOEQ_REDUCE_SQUEEZE_SCALAR |
                                MOEQ_REDUCE_EMPTY_IS_ALL | MOEQ_REDUCE_WRAP_INTEGERS;

moeq_status read_axis_list(const moeq_reduce_options& options, int32_t argument, Axes* out, Report& report)
{
    const int32_t count = options.axis_count;
    if (count < 0 || (options.axes == nullptr && count != 0))
        return report.fail(MOEQ_ERROR_ARGUMENT, argument, "options")
               << "got axis_count " << count << (options.axes == nullptr ? " with axes NULL" : "")
               << "; want the length of axes, and 0 with NULL";
    const bool all = options.axes == nullptr || (count == 0 && out->has(MOEQ_REDUCE_EMPTY_IS_ALL));
    for (int32_t axis = 0; axis < out->ndim; ++axis)
        out->reduced[axis] = all;
    for (int32_t i = 0; i < count; ++i) {
        int32_t axis = 0;
        const moeq_status status = read_axis(options.axes[i], out->ndim, argument, "options.axes", &axis, report);
        if (status != MOEQ_OK)
            return status;
        if (out->reduced[axis])
            return report.fail(MOEQ_ERROR_ARGUMENT, argument, "options.axes")
                   << "got axis " << options.axes[i] << " (" << axis << ") twice; want each axis once";
        out->reduced[axis] = true;
    }
    return MOEQ_OK;
}

// Extents and strides of one source axis, split into what stays and what is reduced.
void split_axis(const TensorView& source, const Axes& axes, int32_t axis, int64_t destination_stride, Plan* plan)
{
    const int64_t extent = source.shape[axis];
    const int64_t stride = source.strides[axis];
    if (!axes.keeps(axis)) {
        plan->reduced[plan->reduced_count++] = {extent, stride, axis};
        return;
    }
    const int64_t block = axes.blocks[axis] == 0 ? 1 : minimum(axes.blocks[axis], extent);
    const int64_t blocks = ceil_divide(extent, block);
    const int64_t last = extent - (blocks - 1) * block;
    // One block only: no step is ever taken, and block * stride might not even fit.
    plan->kept[plan->kept_count++] = {blocks, blocks > 1 ? block * stride : 0, destination_stride, axis,
                                      last < block ? last : 0};
    if (block > 1)
        plan->reduced[plan->reduced_count++] = {block, stride, axis};
}

bool is_ragged(const Plan& plan, int32_t axis)
{
    for (int32_t i = 0; i < plan.kept_count; ++i)
        if (plan.kept[i].axis == axis && plan.kept[i].last_block != 0)
            return true;
    return false;
}

constexpr int64_t magnitude(int64_t stride) { return stride < 0 ? -stride : stride; }

// Outermost the largest step: then the inner runs are contiguous whenever memory is.
void sort_reduced_by_stride(Plan* plan)
{
    for (int32_t i = 1; i < plan->reduced_count; ++i) {
        const ReducedAxis moved = plan->reduced[i];
        int32_t at = i;
        for (; at > 0 && magnitude(plan->reduced[at - 1].stride) < magnitude(moved.stride); --at)
            plan->reduced[at] = plan->reduced[at - 1];
        plan->reduced[at] = moved;
    }
}

void merge_reduced(Plan* plan)
{
    int32_t used = 0;
    for (int32_t i = 0; i < plan->reduced_count; ++i) {
        const ReducedAxis next = plan->reduced[i];
        if (next.extent == 1 && !is_ragged(*plan, next.axis))
            continue;
        ReducedAxis* last = used > 0 ? &plan->reduced[used - 1] : nullptr;
        int64_t step = 0;
        if (last != nullptr && !is_ragged(*plan, last->axis) && !is_ragged(*plan, next.axis) &&
            checked_multiply(next.extent, next.stride, &step) && step == last->stride)
            *last = {last->extent * next.extent, next.stride, next.axis};
        else
            plan->reduced[used++] = next;
    }
    plan->reduced_count = used;
}

void merge_kept(Plan* plan)
{
    int32_t used = 0;
    for (int32_t i = 0; i < plan->kept_count; ++i) {
        const KeptAxis next = plan->kept[i];
        if (next.extent == 1)
            continue;
        KeptAxis* last = used > 0 ? &plan->kept[used - 1] : nullptr;
        int64_t step = 0;
        int64_t destination_step = 0;
        if (last != nullptr && last->last_block == 0 && next.last_block == 0 &&
            checked_multiply(next.extent, next.source_stride, &step) && step == last->source_stride &&
            checked_multiply(next.extent, next.destination_stride, &destination_step) &&
            destination_step == last->destination_stride)
            *last = {last->extent * next.extent, next.source_stride, next.destination_stride, next.axis, 0};
        else
            plan->kept[used++] = next;
    }
    plan->kept_count = used;
}

// Outputs that lie closer together in the source than the elements of one of them are reduced side by side: else each cache
// line would be read once for each output.
void choose_across(Plan* plan)
{
    plan->across = {1, 0, 0, -1, 0};
    int32_t nearest = -1;
    for (int32_t i = 0; i < plan->kept_count; ++i)
        if (plan->kept[i].last_block == 0 &&
            (nearest < 0 || magnitude(plan->kept[i].source_stride) <= magnitude(plan->kept[nearest].source_stride)))
            nearest = i;
    if (nearest < 0)
        return;
    for (int32_t i = 0; i < plan->reduced_count; ++i)
        if (magnitude(plan->reduced[i].stride) <= magnitude(plan->kept[nearest].source_stride))
            return;
    plan->across = plan->kept[nearest];
    for (int32_t i = nearest + 1; i < plan->kept_count; ++i)
        plan->kept[i - 1] = plan->kept[i];
    --plan->kept_count;
}

} // namespace

moeq_status read_axis(int32_t axis, int32_t ndim, int32_t argument, const char* name, int32_t* out, Report& report)
{
    if (ndim == 0)
        return report.fail(MOEQ_ERROR_ARGUMENT, argument, name)
               << "got axis " << axis << "; want none: a tensor of 0 dimensions has no axes";
    if (axis < -ndim || axis >= ndim)
        return report.fail(MOEQ_ERROR_ARGUMENT, argument, name)
               << "got axis " << axis << " of " << ndim << " dimensions; want -" << ndim << " to " << ndim - 1;
    *out = axis < 0 ? axis + ndim : axis;
    return MOEQ_OK;
}

moeq_status read_axes(const moeq_reduce_options& options, int32_t ndim, int32_t argument, Axes* out, Report& report)
{
    *out = Axes{};
    out->operation = options.operation;
    out->flags = options.flags;
    out->ndim = ndim;
    if (options.operation != MOEQ_REDUCE_AMAX && options.operation != MOEQ_REDUCE_SUM)
        return report.fail(MOEQ_ERROR_ARGUMENT, argument, "options")
               << "got operation " << options.operation << "; want a MOEQ_REDUCE_ operation (0 amax, 1 sum)";
    if ((options.flags & ~kKnownFlags) != 0)
        return report.fail(MOEQ_ERROR_ARGUMENT, argument, "options")
               << "got flags " << options.flags << "; want a sum of MOEQ_REDUCE_ flags, at most " << kKnownFlags;
    const moeq_status status = read_axis_list(options, argument, out, report);
    if (status != MOEQ_OK || options.blocks == nullptr)
        return status;
    for (int32_t axis = 0; axis < ndim; ++axis) {
        out->blocks[axis] = options.blocks[axis];
        if (out->blocks[axis] < 0)
            return report.fail(MOEQ_ERROR_ARGUMENT, argument, "options.blocks")
                   << "got length " << out->blocks[axis] << " for axis " << axis << "; want 0 (no blocks) or more";
    }
    return MOEQ_OK;
}

void result_shape(const Axes& axes, const int64_t* shape, int32_t* out_ndim, int64_t* out_shape)
{
    int32_t used = 0;
    bool one_element = true;
    for (int32_t axis = 0; axis < axes.ndim; ++axis) {
        if (!axes.keeps(axis) && !axes.has(MOEQ_REDUCE_KEEP_AXES))
            continue;
        const int64_t block = axes.blocks[axis] == 0 ? 1 : axes.blocks[axis];
        out_shape[used] = axes.keeps(axis) ? ceil_divide(shape[axis], block) : 1;
        one_element = one_element && out_shape[used] == 1;
        ++used;
    }
    *out_ndim = one_element && axes.has(MOEQ_REDUCE_SQUEEZE_SCALAR) ? 0 : used;
}

uint32_t result_dtypes(int32_t source_dtype)
{
    const uint32_t own = dtype_set(source_dtype);
    return kSetFp32 | kSetFp64 | own | ((own & kSetIntegers) != 0 ? static_cast<uint32_t>(kSetInt64) : 0u);
}

Plan make_plan(const TensorView& source, const Axes& axes, const TensorView& destination)
{
    Plan plan{};
    plan.operation = axes.operation;
    plan.accumulate = axes.has(MOEQ_REDUCE_ACCUMULATE);
    plan.wrap = axes.has(MOEQ_REDUCE_WRAP_INTEGERS);
    plan.source_dtype = source.dtype;
    plan.destination_dtype = destination.dtype;
    plan.source = source.data;
    plan.destination = destination.data;
    plan.outputs = destination.count;
    int32_t next = 0; // axis of the destination
    for (int32_t axis = 0; axis < axes.ndim; ++axis) {
        const bool has_place = axes.keeps(axis) || axes.has(MOEQ_REDUCE_KEEP_AXES);
        const int64_t stride = has_place && next < destination.ndim ? destination.strides[next] : 0;
        next += has_place ? 1 : 0;
        split_axis(source, axes, axis, stride, &plan);
    }
    if (source.empty()) {
        plan.reduced_count = 1; // extents that are not 0 may not even multiply
        plan.reduced[0] = {0, 0, -1};
    }
    plan.elements = 1;
    for (int32_t i = 0; i < plan.reduced_count; ++i)
        plan.elements *= plan.reduced[i].extent;
    if (plan.operation == MOEQ_REDUCE_AMAX)
        sort_reduced_by_stride(&plan);
    merge_reduced(&plan);
    merge_kept(&plan);
    choose_across(&plan);
    return plan;
}

} // namespace moeq::amax
