// Codes and statistics that are in the files already, as a handle has them.
#include <algorithm>

#include "codec/e8m0.h"
#include "store/load/buffers.h"
#include "store/load/encoded_part.h"
#include "store/load/stack_source.h"

namespace moeq::store {

namespace {

constexpr int64_t kStepBytes = 4 << 20;       // of codes that one task copies
constexpr int64_t kStepStatistics = 64 << 10; // that one task reads, where they follow each other

// `count` segments of as many elements each, from one component of a weight to memory.
struct Step {
    const Weight* weight;
    int32_t component; // of the file; statistics become fp32, and plain unless `raw`
    bool raw;
    int64_t source, source_stride; // in bytes, of statistics in elements
    char* target;
    int64_t target_stride; // in bytes
    int64_t segment;
    int64_t count;
    int64_t expert; // of the whole stack
};

class ComponentLoader {
public:
    ComponentLoader(const Engine& engine, Allocator& allocator, const StackSource& source, bool strict,
                    const EncodedWeight& out, Progress& progress, Report& report)
        : engine_(engine), allocator_(allocator), source_(source), strict_(strict), out_(out), g_(out.geometry),
          progress_(progress), report_(report), steps_(allocator), digests_(allocator)
    {
    }

    moeq_status run(Digest* digest)
    {
        const Stack& stack = source_.stack();
        if (stack.odd_piece >= 0)
            return refuse_odd();
        MOEQ_TRY(is_whole() ? add_whole() : add_parts());
        std::sort(steps_.begin(), steps_.end(), [](const Step& a, const Step& b) {
            const int64_t left = a.weight->tensors[a.component];
            const int64_t right = b.weight->tensors[b.component];
            return left != right ? left < right : a.source < b.source;
        });
        if (!digests_.resize(digest != nullptr ? steps_.size() : 0))
            return report_.out_of_memory(static_cast<uint64_t>(steps_.size()) * sizeof(Digest));
        MOEQ_TRY(read_steps());
        if (digest != nullptr)
            *digest = digest_of_all(digests_.data(), digests_.size());
        return MOEQ_OK;
    }

private:
    moeq_status refuse_odd()
    {
        const Stack& stack = source_.stack();
        const Weight& odd = source_.piece(stack.odd_piece);
        Failure failure = report_.fail(MOEQ_ERROR_MISMATCH);
        report_.set_place({odd.expert, -1, -1});
        (failure << "got ").quoted(odd.name);
        (failure << (odd.quantized ? " quantized in another way" : " dense") << " among the experts of ")
            .quoted(stack.name);
        return failure << "; want all in one form; give a spec to quantize them anew";
    }

    // One weight of the file as it is: also the only way to keep what experts share.
    bool is_whole() const
    {
        const int64_t* shape = source_.stack().shape;
        return source_.stack().piece_count == 1 && g_.experts == shape[0] && g_.rows == shape[1] &&
               g_.columns == shape[2] && (source_.piece(0).spec.nested != 0) == g_.nested();
    }

    moeq_status append(const Step& step)
    {
        if (step.segment == 0 || step.count == 0)
            return MOEQ_OK;
        return steps_.append(step) ? MOEQ_OK
                                   : report_.out_of_memory(static_cast<uint64_t>(steps_.size() + 1) * sizeof(Step));
    }

    // A step in parts of at most `most` elements; `item`: bytes of one in the target.
    moeq_status append_split(Step step, int64_t most, int64_t item)
    {
        if (step.count == 1) {
            const int64_t all = step.segment;
            for (int64_t done = 0; done < all; done += most) {
                Step part = step;
                part.source += done;
                part.target += done * item;
                part.segment = minimum(most, all - done);
                MOEQ_TRY(append(part));
            }
            return MOEQ_OK;
        }
        const int64_t rows = maximum(1, most / maximum(step.segment, 1));
        for (int64_t done = 0; done < step.count; done += rows) {
            Step part = step;
            part.source += done * step.source_stride;
            part.target += done * step.target_stride;
            part.count = minimum(rows, step.count - done);
            MOEQ_TRY(append(part));
        }
        return MOEQ_OK;
    }

    moeq_status add_whole()
    {
        const Weight& weight = source_.piece(0);
        int32_t ids[kComponentLimit];
        const int32_t count = stored_components(g_, ids);
        for (int32_t i = 0; i < count; ++i) {
            const TensorView& view = out_.component(ids[i]);
            const bool codes =
                ids[i] == MOEQ_COMPONENT_CODES || (ids[i] == MOEQ_COMPONENT_SCALE && !out_.statistics_are_floats());
            if (weight.tensors[ids[i]] < 0) { // the offset alone
                *reinterpret_cast<float*>(view.data) = weight.nested_offset;
                continue;
            }
            const Step step{&weight, ids[i], codes || g_.nested(), 0, 0, view.data, 0, view.count, 1, -1};
            MOEQ_TRY(append_split(step, codes ? kStepBytes : kStepStatistics, view.itemsize()));
        }
        return MOEQ_OK;
    }

    moeq_status add_parts()
    {
        if (g_.count() == 0 && !g_.in_runs())
            store_zero_scales(out_);
        for (int64_t e = 0; e < source_.experts(); ++e)
            for (int64_t row = 0; row < source_.rows();) {
                int64_t rows = source_.rows() - row;
                for (int64_t column = 0; column < source_.columns();) {
                    const auto run = source_.run_at(e, row, column, source_.rows(), source_.columns());
                    MOEQ_TRY(add_run(run, {e, row, column}));
                    column += run.columns;
                    rows = run.rows;
                }
                row += rows;
            }
        return MOEQ_OK;
    }

    moeq_status refuse_border(const Place& at)
    {
        const Place place = source_.to_stack(at);
        const moeq_status status = (report_.fail(MOEQ_ERROR_SHAPE) << "got a part of ").quoted(source_.stack().name)
                                   << " that begins or ends inside of a scale unit, at row " << place.row << ", column "
                                   << place.column << "; want parts of whole tiles or blocks";
        report_.set_place(place);
        return status;
    }

    moeq_status add_run(const StackSource::Run& run, const Place& at)
    {
        Geometry from;
        MOEQ_TRY(plain_geometry(*run.weight, &from, report_));
        return !g_.in_runs()                                      ? add_tiles(run, at, from)
               : run.columns == from.columns && !g_.run_per_row() ? add_run_range(run, at, from)
                                                                  : add_run_rows(run, at, from);
    }

    char* codes_at(int64_t byte) const { return out_.codes.data + byte; }
    char* scale_at(int64_t index) const { return out_.scale.data + index * out_.scale.itemsize(); }

    moeq_status add_codes(const StackSource::Run& run, int64_t source, int64_t stride, int64_t target,
                          int64_t target_stride, int64_t segment, int64_t count, int64_t expert)
    {
        if (stride == segment && target_stride == segment) {
            segment *= count;
            count = 1;
        }
        return append_split({run.weight, MOEQ_COMPONENT_CODES, true, source, stride, codes_at(target), target_stride,
                             segment, count, expert},
                            kStepBytes, 1);
    }
    moeq_status add_scales(const StackSource::Run& run, int64_t source, int64_t stride, int64_t target,
                           int64_t target_stride, int64_t segment, int64_t count, int64_t expert)
    {
        const int64_t item = out_.scale.itemsize();
        if (stride == segment && target_stride == segment) {
            segment *= count;
            count = 1;
        }
        return append_split({run.weight, MOEQ_COMPONENT_SCALE, !out_.statistics_are_floats(), source, stride,
                             scale_at(target), target_stride * item, segment, count, expert},
                            kStepStatistics, item);
    }

    // Units that are tiles.
    moeq_status add_tiles(const StackSource::Run& run, const Place& at, const Geometry& from)
    {
        const int64_t expert = source_.to_stack(at).expert;
        const int64_t target = (at.expert * g_.rows + at.row) * g_.columns + at.column;
        const int64_t source = (run.expert * from.rows + run.row) * from.columns + run.column;
        MOEQ_TRY(add_codes(run, source, from.columns, target, g_.columns, run.columns, run.rows, expert));
        const Tiling& rows = from.row_tiling;
        const Tiling& columns = from.column_tiling;
        const Span over_rows = span(rows, run.row, run.rows, g_.row_tiling, at.row);
        const Span over_columns = span(columns, run.column, run.columns, g_.column_tiling, at.column);
        if (!over_rows.fits || !over_columns.fits)
            return refuse_border(at);
        // A tile that the whole axis shares comes with the first of its runs.
        if ((rows.whole && at.row != 0) || (columns.whole && at.column != 0))
            return MOEQ_OK;
        const int64_t width = columns.count();
        const int64_t target_width = g_.column_tiling.count();
        return add_scales(run, (run.expert * rows.count() + over_rows.first) * width + over_columns.first, width,
                          (at.expert * g_.row_tiling.count() + over_rows.target) * target_width + over_columns.target,
                          target_width, over_columns.count, over_rows.count, expert);
    }

    // Tiles of one axis: where they are in the file's weight, and here.
    struct Span {
        bool fits;
        int64_t first, count, target;
    };
    static Span span(const Tiling& from, int64_t begin, int64_t length, const Tiling& to, int64_t at)
    {
        if (from.whole)
            return {true, 0, 1, 0};
        if (length == 0)
            return {true, 0, 0, 0};
        const int64_t first = from.index_of(begin);
        const int64_t last = from.index_of(begin + length - 1);
        const int64_t target = to.index_of(at);
        const bool fits = from.begin(first) == begin && to.begin(target) == at && to.is_edge(at + length) &&
                          (from.is_edge(begin + length) || to.end(to.index_of(at + length - 1)) == at + length) &&
                          to.index_of(at + length - 1) - target == last - first && from.end(last) == begin + length;
        return {fits, first, last - first + 1, target};
    }

    // Runs over experts: rows that are a range of whole blocks.
    moeq_status add_run_range(const StackSource::Run& run, const Place& at, const Geometry& from)
    {
        const int64_t expert = source_.to_stack(at).expert;
        const auto [from_run, source] = from.run_place(run.expert, run.row);
        const auto [to_run, target] = g_.run_place(at.expert, at.row);
        const int64_t length = run.rows * run.columns;
        const bool to_end = source + length == from.run_length && target + length == g_.run_length;
        if (source % g_.block != 0 || target % g_.block != 0 || (length % g_.block != 0 && !to_end))
            return refuse_border(at);
        const int64_t bytes = g_.format->code_bytes(length);
        MOEQ_TRY(add_codes(run, from_run * from.run_bytes() + g_.format->code_byte(source), bytes,
                           to_run * g_.run_bytes() + g_.format->code_byte(target), bytes, bytes, 1, expert));
        const int64_t blocks = ceil_divide(length, g_.block);
        return add_scales(run, from_run * from.run_blocks() + source / g_.block, blocks,
                          to_run * g_.run_blocks() + target / g_.block, blocks, blocks, 1, expert);
    }

    // ... runs per row here: in the file too, or rows of it are whole blocks.
    moeq_status add_run_rows(const StackSource::Run& run, const Place& at, const Geometry& from)
    {
        const int64_t expert = source_.to_stack(at).expert;
        const bool rows_apart = from.run_per_row();
        const bool to_end = run.column + run.columns == from.columns && at.column + run.columns == g_.columns;
        if (!g_.run_per_row() || run.column % g_.block != 0 || at.column % g_.block != 0 ||
            (run.columns % g_.block != 0 && !to_end) || (!rows_apart && from.columns % g_.block != 0))
            return refuse_border(at);
        const int64_t row_bytes = g_.format->code_bytes(from.columns);
        const int64_t row_blocks = ceil_divide(from.columns, g_.block);
        const int64_t source_row = run.expert * from.rows + run.row;
        const int64_t target_row = at.expert * g_.rows + at.row;
        MOEQ_TRY(add_codes(run, source_row * row_bytes + g_.format->code_byte(run.column), row_bytes,
                           target_row * g_.run_bytes() + g_.format->code_byte(at.column), g_.run_bytes(),
                           g_.format->code_bytes(run.columns), run.rows, expert));
        return add_scales(run, source_row * row_blocks + run.column / g_.block, row_blocks,
                          target_row * g_.run_blocks() + at.column / g_.block, g_.run_blocks(),
                          ceil_divide(run.columns, g_.block), run.rows, expert);
    }

    // ---- reading

    moeq_status read_steps()
    {
        Buffers buffers(allocator_);
        int64_t scratch = 0;
        for (const Step& step : steps_)
            if (!is_codes(step))
                scratch = maximum(scratch, statistics_scratch(step.segment));
        MOEQ_TRY(buffers.open(0, scratch, maximum(steps_.size(), 1), report_));
        return for_each_buffered(
            engine_.executor, buffers, 0, steps_.size(), report_,
            [&](int64_t i, int64_t slot, Report& report) { return read_step(i, buffers.scratch(slot), report); },
            [&](int64_t first, int64_t last) {
                int64_t bytes = 0;
                for (int64_t i = first; i < last; ++i)
                    bytes += step_bytes(steps_[i]);
                return progress_.add(MOEQ_STAGE_READ, source_.stack().name, bytes, report_);
            });
    }

    bool is_codes(const Step& step) const
    {
        return step.component == MOEQ_COMPONENT_CODES || (step.component == MOEQ_COMPONENT_SCALE && step.raw);
    }
    int64_t segment_bytes(const Step& step) const
    {
        return step.segment * (is_codes(step) ? 1 : static_cast<int64_t>(sizeof(float)));
    }
    int64_t step_bytes(const Step& step) const { return step.count * segment_bytes(step); }

    moeq_status read_step(int64_t index, void* scratch, Report& report)
    {
        const Step& step = steps_[index];
        Digest digest;
        for (int64_t i = 0; i < step.count; ++i) {
            const int64_t source = step.source + i * step.source_stride;
            char* target = step.target + i * step.target_stride;
            MOEQ_TRY(is_codes(step) ? read_bytes(step, source, target, report)
                                    : read_floats(step, source, reinterpret_cast<float*>(target), scratch, report));
            if (digests_.empty())
                continue;
            const Digest both[2] = {digest, digest_of(target, segment_bytes(step), engine_.kernels.digest)};
            digest = i == 0 ? both[1] : digest_of_all(both, 2);
        }
        if (!digests_.empty())
            digests_[index] = digest;
        return MOEQ_OK;
    }

    // Codes, of elements or of statistics.
    moeq_status read_bytes(const Step& step, int64_t source, char* target, Report& report)
    {
        MOEQ_TRY(source_.checkpoint().read(step.weight->tensors[step.component], source, step.segment, target, report));
        if (!strict_ || step.component != MOEQ_COMPONENT_SCALE || g_.nested())
            return MOEQ_OK;
        for (int64_t i = 0; i < step.segment; ++i) {
            const float power = codec::e8m0_to_float(static_cast<uint8_t>(target[i]));
            if (!is_good_statistic(power, false))
                return refuse_statistic(*step.weight, power, false, expert_of(step, source + i), report);
        }
        return MOEQ_OK;
    }

    moeq_status read_floats(const Step& step, int64_t source, float* target, void* scratch, Report& report)
    {
        constexpr int64_t kItem = sizeof(float);
        if (step.raw)
            MOEQ_TRY(source_.checkpoint().read(step.weight->tensors[step.component], source * kItem,
                                               step.segment * kItem, target, report));
        else
            MOEQ_TRY(read_statistics(engine_.kernels, source_.checkpoint(), *step.weight,
                                     {source, source + step.segment}, target, scratch, report));
        // The map of nested statistics has both signs, and so has what blocks deviate from their mean.
        const bool signs = g_.format->signed_statistics;
        for (int64_t i = 0; strict_ && i < step.segment; ++i)
            if (!is_good_statistic(target[i], signs))
                return refuse_statistic(*step.weight, target[i], signs, expert_of(step, source + i), report);
        return MOEQ_OK;
    }

    // Of the stack; -1 where it is a weight of no experts, or the statistic one of many.
    int64_t expert_of(const Step& step, int64_t index) const
    {
        const bool one_of_many = step.component != MOEQ_COMPONENT_SCALE;
        if (step.expert >= 0 || one_of_many || !source_.stack().expert)
            return source_.stack().expert ? step.expert : -1;
        return step.weight->ndim == 2 ? step.weight->expert : expert_of_statistic(g_, index);
    }

    const Engine& engine_;
    Allocator& allocator_;
    const StackSource& source_;
    const bool strict_;
    const EncodedWeight& out_;
    const Geometry& g_;
    Progress& progress_;
    Report& report_;
    Array<Step> steps_;
    Array<Digest> digests_;
};

} // namespace

moeq_status cut_spec(const Stack& stack, const StackCut& cut, moeq_spec* out, Report& report)
{
    int64_t shape[3];
    MOEQ_TRY(cut_shape(stack, cut, shape, report));
    moeq_spec spec = stack.spec;
    if (std::memcmp(shape, stack.shape, sizeof shape) == 0) {
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
    if (find_format(spec.format)->units == Units::kRuns && shape[2] != stack.shape[2])
        spec.blocking = MOEQ_BLOCKING_ROW;
    *out = spec;
    return MOEQ_OK;
}

moeq_status load_components(const Engine& engine, Allocator& allocator, const Checkpoint& checkpoint,
                            const Weights& weights, int64_t stack, const StackCut& cut, bool strict,
                            const EncodedWeight& out, Progress& progress, Digest* source_digest, Report& report)
{
    StackSource source(checkpoint, weights, stack);
    MOEQ_TRY(source.set_cut(cut, report));
    MOEQ_TRY(source.prepare(report));
    return ComponentLoader(engine, allocator, source, strict, out, progress, report).run(source_digest);
}

} // namespace moeq::store
