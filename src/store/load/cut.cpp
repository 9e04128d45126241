#include "store/load/cut.h"

#include "core/checked.h"

namespace moeq::store {

namespace {

constexpr int32_t kOptionsArgument = 3; // of moeq_reader_load, whose callers choose parts

bool is_output_axis(const Stack& stack, int32_t axis) { return (axis == 1) == (stack.cut_axis == -1); }

// What rank `tp_rank` of `tp_size` has of an axis of a stack.
AxisCut cut_axis(const Stack& stack, const StackCut& cut, int32_t axis)
{
    AxisCut out;
    const int64_t extent = stack.shape[axis];
    const bool is_cut = cut.tp_size > 1 && is_output_axis(stack, axis) == (stack.cut == Cut::kOutput);
    if (!is_cut) {
        out.ranges[out.count++] = {0, 0, extent};
        return out;
    }
    const bool halves = is_output_axis(stack, axis) &&
                        (stack.cut_layout == MOEQ_LAYOUT_GATE_UP || stack.cut_layout == MOEQ_LAYOUT_UP_GATE);
    const int64_t whole = halves ? extent / 2 : extent;
    const int64_t part = whole / cut.tp_size;
    out.ranges[out.count++] = {0, cut.tp_rank * part, part};
    if (halves)
        out.ranges[out.count++] = {part, whole + cut.tp_rank * part, part};
    return out;
}

moeq_status check_tensor_parallel(const Stack& stack, const StackCut& cut, Report& report)
{
    if (cut.tp_size <= 1)
        return MOEQ_OK;
    if (stack.cut == Cut::kUnknown)
        return (report.fail(MOEQ_ERROR_UNSUPPORTED) << "got tp_size " << cut.tp_size << " for ").quoted(stack.name)
               << ", of which it is not known whether ranks have a part of its output or of its contraction axis; want "
                  "a pattern with \"cut\", or no cut";
    const int32_t axis = is_output_axis(stack, 1) == (stack.cut == Cut::kOutput) ? 1 : 2;
    const bool pairs = stack.cut == Cut::kOutput && stack.cut_layout != MOEQ_LAYOUT_PLAIN;
    const int64_t unit = pairs ? 2 * int64_t{cut.tp_size} : int64_t{cut.tp_size};
    if (stack.shape[axis] % unit == 0)
        return MOEQ_OK;
    Failure failure = report.fail(MOEQ_ERROR_SHAPE);
    (failure << "got tp_size " << cut.tp_size << " for ").quoted(stack.name).shape(3, stack.shape);
    return failure << "; want one that divides " << (pairs ? "gate and up, " : "") << stack.shape[axis]
                   << (axis == 1 ? " rows" : " columns") << (pairs ? " of both," : "") << " evenly";
}

moeq_status check_cut(const Stack& stack, const StackCut& cut, Report& report)
{
    if (cut.tp_size < 0 || cut.tp_rank < 0 || cut.tp_rank >= maximum(cut.tp_size, 1))
        return report.fail(MOEQ_ERROR_RANGE, kOptionsArgument, "options.tp_rank")
               << "got " << cut.tp_rank << " of tp_size " << cut.tp_size << "; want a rank from 0 to tp_size - 1";
    const int64_t end = cut.expert_end == 0 ? stack.shape[0] : cut.expert_end;
    if (cut.expert_begin >= 0 && cut.expert_begin <= end && end <= stack.shape[0])
        return check_tensor_parallel(stack, cut, report);
    const moeq_status status = report.fail(MOEQ_ERROR_RANGE, kOptionsArgument, "options.expert_begin")
                               << "got experts [" << cut.expert_begin << ", " << cut.expert_end
                               << "); want a range inside [0, " << stack.shape[0] << ")";
    report.set_place({cut.expert_begin, -1, -1});
    return status;
}

} // namespace

moeq_status cut_stack(const Stack& stack, const StackCut& cut, StackPart* out, Report& report)
{
    MOEQ_TRY(check_cut(stack, cut, report));
    out->expert_begin = cut.expert_begin;
    out->rows = cut_axis(stack, cut, 1);
    out->columns = cut_axis(stack, cut, 2);
    out->shape[0] = (cut.expert_end == 0 ? stack.shape[0] : cut.expert_end) - cut.expert_begin;
    out->shape[1] = out->rows.ranges[0].length * out->rows.count;
    out->shape[2] = out->columns.ranges[0].length * out->columns.count;
    return MOEQ_OK;
}

moeq_status part_spec(const Stack& stack, const StackPart& part, moeq_spec* out, Report& report)
{
    moeq_spec spec = stack.spec;
    if (part.is_all_of(stack)) {
        *out = spec;
        return MOEQ_OK;
    }
    spec.nested = 0;
    if (spec.blocking == MOEQ_BLOCKING_FLAT) {
        if (stack.shape[1] * stack.shape[2] % spec.block_columns != 0)
            return (report.fail(MOEQ_ERROR_UNSUPPORTED) << "got a part of ").quoted(stack.name)
                   << ", whose experts share blocks; want all of it";
        spec.blocking = MOEQ_BLOCKING_EXPERT;
    }
    if (find_format(spec.format)->units == Units::kRuns && part.shape[2] != stack.shape[2])
        spec.blocking = MOEQ_BLOCKING_ROW;
    *out = spec;
    return MOEQ_OK;
}

} // namespace moeq::store
