#include "formats/slice.h"

#include <cstring>
#include <initializer_list>

namespace moeq {

namespace {

constexpr const char* kAxisNames[3] = {"experts", "rows", "columns"};

// A view narrowed to [begin, end) of one axis.
void narrow(TensorView& view, int32_t axis, int64_t begin, int64_t end)
{
    if (view.data != nullptr && !view.empty())
        view.data += begin * view.strides[axis] * view.itemsize();
    view.shape[axis] = end - begin;
    view.count = 1;
    for (int32_t i = 0; i < view.ndim; ++i)
        view.count *= view.shape[i];
}

// Folds the leading axes of a view into one, in place; false when one stride cannot describe them.
bool fold_lead(TensorView& view, int32_t lead)
{
    const LeadAxes axes(view, lead);
    if (!axes.single_stride())
        return false;
    int64_t experts = 1;
    for (int32_t i = 0; i < lead; ++i)
        experts *= view.shape[i];
    const int32_t inner = view.ndim - lead;
    for (int32_t i = 0; i < inner; ++i) {
        view.shape[1 + i] = view.shape[lead + i];
        view.strides[1 + i] = view.strides[lead + i];
    }
    // With inner axes moved, slots behind them are dead.
    view.shape[0] = experts;
    view.strides[0] = axes.stride();
    view.ndim = inner + 1;
    return true;
}

class Slicer {
public:
    Slicer(const EncodedWeight& weight, int32_t axis, int64_t begin, int64_t end, Report& report)
        : from_(weight.geometry), axis_(axis), begin_(begin), end_(end), report_(report), slice_(weight),
          spec_(from_.spec)
    {
    }

    moeq_status run(EncodedWeight* out)
    {
        moeq_status status = check_range();
        if (status == MOEQ_OK && axis_ == 0)
            status = slice_experts();
        else if (status == MOEQ_OK)
            status = from_.in_runs() ? slice_runs() : slice_tiles();
        if (status == MOEQ_OK && from_.nested())
            status = slice_nested();
        if (status != MOEQ_OK)
            return status;
        if (ndim_ + axis_ >= 3) // a 2-D weight has no axis of experts
            shape_[ndim_ - 3 + axis_] = end_ - begin_;
        status = make_geometry(spec_, 0, ndim_, shape_, 0, "shape", &slice_.geometry, report_);
        if (status != MOEQ_OK)
            return status;
        slice_.prepare();
        *out = slice_;
        return MOEQ_OK;
    }

private:
    moeq_status check_range()
    {
        if (axis_ < 0 || axis_ > 2)
            return report_.fail(MOEQ_ERROR_ARGUMENT, 2, "axis")
                   << "got " << axis_ << "; want 0 (experts), 1 (rows) or 2 (columns)";
        const int64_t extent = axis_ == 0 ? from_.experts : axis_ == 1 ? from_.rows : from_.columns;
        if (begin_ < 0 || begin_ > end_ || end_ > extent)
            return report_.fail(MOEQ_ERROR_RANGE, begin_ < 0 || begin_ > end_ ? 3 : 4,
                                begin_ < 0 || begin_ > end_ ? "begin" : "end")
                   << "got [" << begin_ << ", " << end_ << ") of the " << kAxisNames[axis_]
                   << "; want a range inside [0, " << extent << ")";
        if (from_.flat())
            return report_.fail(MOEQ_ERROR_UNSUPPORTED, 1, "qtensor")
                   << "got blocking FLAT, whose experts share blocks; want blocking EXPERT or ROW to slice";
        ndim_ = from_.ndim;
        for (int32_t i = 0; i < ndim_; ++i)
            shape_[i] = from_.shape[i];
        return MOEQ_OK;
    }

    moeq_status refuse_border(const char* what, int64_t unit)
    {
        return report_.fail(MOEQ_ERROR_ARGUMENT, 3, "begin")
               << "got [" << begin_ << ", " << end_ << ") of the " << kAxisNames[axis_] << ", which cuts through "
               << what << " of " << unit << "; want begin and end where one ends; slice wider";
    }

    int64_t code_byte(int64_t element) const { return from_.format->code_byte(element); }
    int64_t code_bytes(int64_t count) const { return from_.format->code_bytes(count); }
    bool whole_axis_taken(int64_t extent) const { return begin_ == 0 && end_ == extent; }

    // What a slice of the output axis does not keep: the halves of gate and up.
    void drop_layout(int64_t extent)
    {
        if (!whole_axis_taken(extent))
            spec_.layout = MOEQ_LAYOUT_PLAIN;
    }

    moeq_status slice_experts()
    {
        const int32_t lead = from_.lead();
        if (lead == 0)
            return begin_ == 0 && end_ == 1 ? MOEQ_OK : empty_single_expert();
        if (lead > 1) {
            if (!fold_lead(slice_.codes, lead) || !fold_lead(slice_.scale, lead))
                return report_.fail(MOEQ_ERROR_UNSUPPORTED, 1, "qtensor")
                       << "got leading axes with strides that do not fold into one; want [experts, rows, columns]";
            shape_[0] = from_.experts;
            shape_[1] = from_.rows;
            shape_[2] = from_.columns;
            ndim_ = 3;
        }
        narrow(slice_.codes, 0, begin_, end_);
        narrow(slice_.scale, 0, begin_, end_);
        return MOEQ_OK;
    }

    // No expert of a 2-D weight: 3-D, as an expert axis of extent 0 needs one.
    moeq_status empty_single_expert()
    {
        for (TensorView* view : {&slice_.codes, &slice_.scale}) {
            for (int32_t i = view->ndim; i > 0; --i) {
                view->shape[i] = view->shape[i - 1];
                view->strides[i] = view->strides[i - 1];
            }
            ++view->ndim;
            view->shape[0] = 1;
            view->strides[0] = 0;
            narrow(*view, 0, 0, 0);
        }
        shape_[0] = 1;
        shape_[1] = from_.rows;
        shape_[2] = from_.columns;
        ndim_ = 3;
        return MOEQ_OK;
    }

    moeq_status slice_tiles()
    {
        const Tiling& tiling = axis_ == 1 ? from_.row_tiling : from_.column_tiling;
        const int32_t lead = from_.lead();
        const bool output_axis = (axis_ == 1) == (from_.spec.scale_axis == -1);
        if (!tiling.whole && !(tiling.is_edge(begin_) && tiling.is_edge(end_)))
            return refuse_border("tiles", tiling.size);
        // Tiles of a slice count from its begin: across a border they would lie elsewhere, unless they happen to agree.
        const int64_t border = tiling.border;
        if (border != 0 && begin_ < border && end_ > border && !whole_axis_taken(tiling.extent) &&
            (border - begin_) % tiling.size != 0)
            return refuse_border("the border between gate and up in tiles", tiling.size);
        if (output_axis)
            drop_layout(tiling.extent);
        narrow(slice_.codes, lead + axis_ - 1, begin_, end_);
        if (tiling.whole)
            return MOEQ_OK;
        const int64_t first = begin_ == tiling.extent ? tiling.count() : tiling.index_of(begin_);
        const int64_t last = end_ == begin_ ? first : tiling.index_of(end_ - 1) + 1;
        const bool two_axes = from_.spec.granularity == MOEQ_GRANULARITY_BLOCK;
        narrow(slice_.scale, two_axes ? lead + axis_ - 1 : lead, first, last);
        return MOEQ_OK;
    }

    moeq_status slice_runs()
    {
        if ((axis_ == 1) == (from_.spec.scale_axis == -1))
            drop_layout(axis_ == 1 ? from_.rows : from_.columns);
        if (from_.run_per_row())
            return axis_ == 1 ? slice_row_runs() : slice_run_columns();
        return axis_ == 1 ? slice_expert_runs() : split_expert_runs();
    }

    // Rows of a run per row: whole runs.
    moeq_status slice_row_runs()
    {
        narrow(slice_.codes, from_.lead(), begin_, end_);
        narrow(slice_.scale, from_.lead(), begin_, end_);
        return MOEQ_OK;
    }

    // Columns of a run per row: whole blocks.
    moeq_status slice_run_columns()
    {
        if (begin_ % from_.block != 0 || (end_ % from_.block != 0 && end_ != from_.columns))
            return refuse_border("blocks", from_.block);
        narrow(slice_.codes, from_.lead() + 1, code_byte(begin_), code_bytes(end_));
        narrow(slice_.scale, from_.lead() + 1, begin_ / from_.block, ceil_divide(end_, from_.block));
        return MOEQ_OK;
    }

    // Rows of a run per expert: a part of the run, at block borders.
    moeq_status slice_expert_runs()
    {
        const int64_t first = begin_ * from_.columns;
        const int64_t last = end_ * from_.columns;
        if (first % from_.block != 0 || (last % from_.block != 0 && end_ != from_.rows))
            return refuse_border("blocks", from_.block);
        narrow(slice_.codes, from_.lead(), code_byte(first), code_bytes(last));
        narrow(slice_.scale, from_.lead(), first / from_.block, ceil_divide(last, from_.block));
        return MOEQ_OK;
    }

    // Columns of a run per expert: where rows are whole blocks the same bytes are a run per row, and that one is cut.
    moeq_status split_expert_runs()
    {
        if (whole_axis_taken(from_.columns))
            return MOEQ_OK;
        if (from_.spec.scale_axis == -2)
            return report_.fail(MOEQ_ERROR_UNSUPPORTED, 2, "axis")
                   << "got columns of a weight whose blocks run across its scale axis; want experts or rows";
        if (from_.columns % from_.block != 0)
            return report_.fail(MOEQ_ERROR_ARGUMENT, 2, "axis")
                   << "got columns of a weight with " << from_.columns << " of them, not a multiple of the block "
                   << from_.block << "; want blocking ROW to slice columns";
        for (TensorView* view : {&slice_.codes, &slice_.scale}) {
            const int64_t row = view == &slice_.codes ? code_bytes(from_.columns) : from_.columns / from_.block;
            view->shape[view->ndim] = row;
            view->strides[view->ndim] = 1;
            view->shape[view->ndim - 1] = from_.rows;
            view->strides[view->ndim - 1] = row;
            ++view->ndim;
        }
        spec_.blocking = MOEQ_BLOCKING_ROW;
        return slice_run_columns();
    }

    // Nested scales belong to 256 statistics in storage order: a slice must be a range of them that ends where theirs do.
    moeq_status slice_nested()
    {
        if (axis_ == 2 && !whole_axis_taken(from_.columns))
            return report_.fail(MOEQ_ERROR_UNSUPPORTED, 2, "axis")
                   << "got columns of a weight with nested statistics; want experts or rows";
        if (axis_ == 1 && from_.experts > 1 && !whole_axis_taken(from_.rows))
            return report_.fail(MOEQ_ERROR_UNSUPPORTED, 2, "axis")
                   << "got rows of several experts with nested statistics; slice one expert first, then its rows";
        const int64_t per_expert = from_.experts == 0 ? 0 : from_.block_count() / from_.experts;
        const int64_t per_row_range = axis_ == 1 ? begin_ * from_.columns : 0;
        const int64_t by_row = from_.run_per_row() ? begin_ * from_.run_blocks() : per_row_range / from_.block;
        const int64_t first = axis_ == 0 ? begin_ * per_expert : by_row;
        const int64_t taken = slice_.scale.count;
        if (first % kNestedBlock != 0 || ((first + taken) % kNestedBlock != 0 && first + taken != from_.block_count()))
            return refuse_border("nested blocks (statistics)", kNestedBlock);
        narrow(slice_.nested_scale, 0, first / kNestedBlock, ceil_divide(first + taken, kNestedBlock));
        return MOEQ_OK;
    }

    const Geometry& from_;
    int32_t axis_;
    int64_t begin_;
    int64_t end_;
    Report& report_;
    EncodedWeight slice_;
    moeq_spec spec_;
    int32_t ndim_ = 0;
    int64_t shape_[kMaxDims] = {};
};

} // namespace

moeq_status slice_weight(const EncodedWeight& weight, int32_t axis, int64_t begin, int64_t end, EncodedWeight* out,
                         Report& report)
{
    return Slicer(weight, axis, begin, end, report).run(out);
}

} // namespace moeq
