#include "store/load/stack_source.h"

#include "formats/elements.h"
#include "host/decode.h"
#include "store/load/buffers.h"

namespace moeq::store {

namespace {

constexpr int64_t kDecodeBytes = 1 << 18; // of codes and statistics that are decoded at once, unless a row has more

// Of one decoded row of any type.
int64_t row_bytes(const Geometry& geometry) { return round_up(geometry.columns * 4, 64); }

} // namespace

ReadNeeds needs_of(const Weights& weights, const Stack& stack, int32_t decode_as)
{
    ReadNeeds needs;
    const Weight* measured = nullptr;
    for (int64_t i = 0; i < stack.piece_count; ++i) {
        const Weight& weight = weights.piece(stack, i);
        needs.dtype = needs.dtype == 0 || needs.dtype == weight.dtype ? weight.dtype : MOEQ_DTYPE_FP32;
        if (!weight.quantized || (measured != nullptr && same_spec(measured->spec, weight.spec)))
            continue;
        measured = &weight;
        Geometry geometry;
        Report silent("", nullptr);
        if (plain_geometry(weight, &geometry, silent) != MOEQ_OK)
            continue; // the read will say it
        const int64_t rows = maximum(1, kDecodeBytes / maximum(1, encoded_part_bytes(geometry, 1)));
        const int64_t bytes =
            encoded_part_bytes(geometry, minimum(rows, maximum(geometry.rows, 1))) + row_bytes(geometry);
        needs.scratch_bytes = maximum(needs.scratch_bytes, bytes);
    }
    if (decode_as != 0)
        needs.dtype = decode_as;
    return needs;
}

moeq_status StackSource::open(const StackPart& part, Report& report)
{
    part_ = part;
    needs_ = needs_of(weights_, stack_, rules_.decode_as);
    return check_complete(report);
}

moeq_status StackSource::open(const StackCut& cut, Report& report)
{
    StackPart part;
    MOEQ_TRY(cut_stack(stack_, cut, &part, report));
    return open(part, report);
}

StackSource StackSource::of_experts(int64_t begin, int64_t end) const
{
    StackSource out = *this;
    out.part_.expert_begin += begin;
    out.part_.shape[0] = end - begin;
    return out;
}

// Experts before the first missing one are all there.
moeq_status StackSource::check_complete(Report& report) const
{
    const int64_t end = part_.expert_begin + experts();
    if (stack_.missing_expert < 0 || stack_.missing_expert >= end)
        return MOEQ_OK;
    const Weight& first = piece(0);
    const int64_t wanted = stack_.shape[1] / maximum(first.rows(), 1) * (stack_.shape[2] / maximum(first.columns(), 1));
    for (int64_t e = part_.expert_begin; e < end; ++e) {
        int64_t found = 0;
        for (int64_t i = find_piece(e, 0, 0); i < stack_.piece_count && found < maximum(wanted, 1); ++i, ++found)
            if (piece(i).expert != e)
                break;
        if (found == maximum(wanted, 1))
            continue;
        Failure failure = report.fail(MOEQ_ERROR_INCOMPLETE);
        report.set_class("F28");
        report.set_place({e, -1, -1});
        (failure << "got no " << (found == 0 ? "" : "second half of ") << "expert " << e << " of ").quoted(stack_.name);
        return failure << " in the files; want all experts that are asked for";
    }
    return MOEQ_OK;
}

bool StackSource::is_one_weight(const Geometry& geometry) const
{
    return stack_.piece_count == 1 && geometry.experts == stack_.shape[0] && geometry.rows == stack_.shape[1] &&
           geometry.columns == stack_.shape[2] && (piece(0).spec.nested != 0) == geometry.nested();
}

// The piece that a place of the whole stack lies in; pieces are sorted by (expert, row, column), and of one shape.
int64_t StackSource::find_piece(int64_t expert, int64_t row, int64_t column) const
{
    int64_t low = 0;
    int64_t high = stack_.piece_count;
    while (high - low > 1) { // the last piece that begins at or before the place
        const int64_t middle = low + (high - low) / 2;
        const Weight& at = piece(middle);
        const int64_t at_expert = at.ndim == 2 ? at.expert : 0;
        const int64_t wanted = at.ndim == 2 ? expert : 0;
        const bool behind =
            at_expert > wanted || (at_expert == wanted && (at.row > row || (at.row <= row && at.column > column)));
        (behind ? high : low) = middle;
    }
    return low;
}

StackSource::Run StackSource::run_at(int64_t expert, int64_t row, int64_t column, int64_t row_end,
                                     int64_t column_end) const
{
    const Place source = to_stack({expert, row, column});
    const AxisRange& rows = part_.rows.at(row);
    const AxisRange& columns = part_.columns.at(column);
    const Weight& weight = piece(find_piece(source.expert, source.row, source.column));
    const bool folded = weight.ndim > 2; // a fused weight, of more axes even
    Run run{&weight, folded ? source.expert : 0, source.row - weight.row, source.column - weight.column, 0, 0};
    run.rows = minimum(minimum(row_end, rows.begin + rows.length) - row, weight.rows() - run.row);
    run.columns = minimum(minimum(column_end, columns.begin + columns.length) - column, weight.columns() - run.column);
    return run;
}

int64_t StackSource::next_border(int64_t row) const { return row + run_at(0, row, 0, rows(), columns()).rows; }

void StackSource::locate(int64_t expert, int64_t row, int64_t column, int64_t* tensor, int64_t* offset) const
{
    const Run run = run_at(expert, row, column, row + 1, column + 1);
    *tensor = run.weight->tensors[run.weight->quantized ? MOEQ_COMPONENT_CODES : 0];
    *offset = (run.expert * run.weight->rows() + run.row) * run.weight->columns() + run.column;
}

namespace {

// Elements of one type as fp32, in place: they lie at the end of the memory that they will fill.
void widen(int32_t dtype, char* out, int64_t count)
{
    const auto* from = reinterpret_cast<const uint16_t*>(out + 2 * count);
    auto* to = reinterpret_cast<float*>(out);
    const int32_t type = float_type(dtype);
    for (int64_t i = 0; i < count; ++i)
        to[i] = load_element(type, from, i);
}

} // namespace

// Consecutive elements of one dense weight, in the type of the part.
moeq_status StackSource::read_dense(const Run& run, char* out, int64_t stride, Report& report) const
{
    const Weight& weight = *run.weight;
    const int64_t item = dtype_bytes(weight.dtype);
    const bool widens = weight.dtype != dtype();
    const bool whole = run.columns == weight.columns() && (stride == run.columns || run.rows == 1);
    const int64_t reads = whole ? 1 : run.rows;
    const int64_t elements = whole ? run.rows * run.columns : run.columns;
    for (int64_t i = 0; i < reads; ++i) {
        const int64_t first = (run.expert * weight.rows() + run.row + i) * weight.columns() + run.column;
        char* to = out + i * stride * itemsize();
        char* raw = widens ? to + elements * (itemsize() - item) : to;
        MOEQ_TRY(checkpoint_.read(weight.tensors[0], first * item, elements * item, raw, report));
        if (widens)
            widen(weight.dtype, to, elements);
    }
    return MOEQ_OK;
}

// The scales of rows [row, row + rows) of a run's columns. Those of other columns are nobody's business.
moeq_status StackSource::check_scales(const EncodedWeight& part, const Run& run, int64_t row, int64_t rows,
                                      Report& report) const
{
    const Geometry& g = part.geometry;
    if (!rules_.strict || rows == 0 || run.columns == 0)
        return MOEQ_OK;
    const bool signs = g.format->signed_statistics;
    const auto check = [&](const float* scales, int64_t count) -> moeq_status {
        for (int64_t i = 0; i < count; ++i)
            if (!is_good_statistic(scales[i], signs))
                return refuse_statistic(*run.weight, scales[i], signs, expert_of(run), report);
        return MOEQ_OK;
    };
    if (!g.in_runs()) {
        const int64_t first = g.column_tiling.index_of(run.column);
        const int64_t last = g.column_tiling.index_of(run.column + run.columns - 1);
        const int64_t end = g.row_tiling.index_of(row + rows - 1);
        for (int64_t tile = g.row_tiling.index_of(row); tile <= end; ++tile)
            MOEQ_TRY(check(part.scale_at(run.expert, tile, first), last - first + 1));
        return MOEQ_OK;
    }
    for (int64_t r = row; r < row + rows; ++r) {
        const auto [blocks, at] = g.run_place(run.expert, r, run.column);
        const float* scales = part.run_absmax(blocks);
        const int64_t first = at / g.block;
        MOEQ_TRY(check(scales + first, (at + run.columns - 1) / g.block - first + 1));
    }
    return MOEQ_OK;
}

int64_t StackSource::expert_of(const Run& run) const
{
    return !stack_.expert ? -1 : run.weight->ndim == 2 ? run.weight->expert : run.expert;
}

// Rows of one quantized weight, some at a time.
moeq_status StackSource::decode(const Run& run, char* out, int64_t stride, char* scratch, Report& report) const
{
    const Weight& weight = *run.weight;
    Geometry geometry;
    MOEQ_TRY(plain_geometry(weight, &geometry, report));
    const Executor serial(nullptr, nullptr, nullptr);
    const Engine engine{serial, kernels_};
    const bool whole = run.columns == geometry.columns;
    char* row_buffer = scratch;
    char* part_buffer = scratch + row_bytes(geometry);
    const int64_t band = whole ? maximum(1, kDecodeBytes / maximum(1, encoded_part_bytes(geometry, 1))) : 1;
    for (int64_t done = 0; done < run.rows;) {
        const int64_t some = minimum(band, run.rows - done);
        const int64_t row = run.row + done;
        EncodedWeight part;
        MOEQ_TRY(read_encoded_part(kernels_, checkpoint_, weight, geometry, {run.expert, row, row + some}, part_buffer,
                                   &part, report));
        MOEQ_TRY(check_scales(part, run, row, some, report));
        TensorView view;
        view.data = whole ? out + done * stride * itemsize() : row_buffer;
        view.dtype = dtype();
        view.ndim = 2;
        view.shape[0] = some;
        view.shape[1] = geometry.columns;
        view.count = some * geometry.columns;
        set_contiguous_strides(view);
        if (whole && some > 1)
            view.strides[0] = stride;
        const int64_t expert = run.expert;
        const ExpertList list{.ids = &expert, .count = 1};
        MOEQ_TRY(decode_rows(engine, part, list, row, row + some, StackView(view), MOEQ_STORES_CACHED, report));
        if (!whole)
            std::memcpy(out + done * stride * itemsize(), row_buffer + run.column * itemsize(),
                        static_cast<uint64_t>(run.columns * itemsize()));
        done += some;
    }
    return MOEQ_OK;
}

moeq_status StackSource::read_run(const Run& run, char* out, int64_t stride, void* scratch, Report& report) const
{
    return run.weight->quantized ? decode(run, out, stride, static_cast<char*>(scratch), report)
                                 : read_dense(run, out, stride, report);
}

moeq_status StackSource::read_box(const Box& box, void* out, void* scratch, Report& report) const
{
    char* const base = static_cast<char*>(out);
    for (int64_t row = box.row_begin; row < box.row_end;) {
        int64_t rows = 0;
        for (int64_t column = box.column_begin; column < box.column_end;) {
            const Run run = run_at(box.expert_begin, row, column, box.row_end, box.column_end);
            char* to = base + ((row - box.row_begin) * box.columns() + column - box.column_begin) * itemsize();
            MOEQ_TRY(read_run(run, to, box.columns(), scratch, report));
            column += run.columns;
            rows = run.rows;
        }
        row += maximum(rows, 1);
    }
    return MOEQ_OK;
}

moeq_status StackSource::read_piece(int64_t i, const WeightRows& rows, void* out, void* scratch, Report& report) const
{
    const Weight& weight = piece(i);
    const Run run{&weight, rows.expert, rows.begin, 0, rows.count(), weight.columns()};
    return read_run(run, static_cast<char*>(out), weight.columns(), scratch, report);
}

moeq_status StackSource::read_range(int64_t begin, int64_t end, void* out, void* scratch, Report& report) const
{
    char* to = static_cast<char*>(out);
    for (int64_t at = begin; at < end;) {
        const int64_t column = at % columns();
        const int64_t row = at / columns() % rows();
        const int64_t expert = at / columns() / rows();
        Box box{expert, expert + 1, row, row + 1, column, minimum(columns(), column + end - at)};
        if (column == 0 && end - at >= columns()) {
            box.row_end = minimum(rows(), row + (end - at) / columns());
            box.column_end = columns();
        }
        MOEQ_TRY(read_box(box, to, scratch, report));
        const int64_t count = box.rows() * box.columns();
        to += count * itemsize();
        at += count;
    }
    return MOEQ_OK;
}

moeq_status read_rows(const Engine& engine, Allocator& allocator, const StackSource& source, const Box& rows, void* out,
                      Report& report)
{
    Buffers buffers(allocator);
    MOEQ_TRY(buffers.open(0, source.scratch_bytes(), Buffers::kSlots, report));
    const int64_t band = maximum(1, task_elements(rows.rows() * rows.columns()) / maximum(1, rows.columns()));
    const int64_t bands = ceil_divide(rows.rows(), band);
    const int64_t row_bytes = rows.columns() * source.itemsize();
    return for_each_buffered(engine.executor, buffers, bands, report, [&](int64_t i, int64_t slot, Report& inner) {
        Box box = rows;
        box.row_begin = rows.row_begin + i * band;
        box.row_end = minimum(box.row_begin + band, rows.row_end);
        return source.read_box(box, static_cast<char*>(out) + i * band * row_bytes, buffers.scratch(slot), inner);
    });
}

} // namespace moeq::store
