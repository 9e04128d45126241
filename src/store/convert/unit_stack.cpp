// Stacks: encoded or taken over in memory, whole or some experts at a time, and written as the weights of the target.
#include <cmath>

#include "codec/host_device.h"
#include "host/encode.h"
#include "host/nested.h"
#include "store/convert/put_tasks.h"
#include "store/convert/unit.h"
#include "store/load/load_and_encode.h"
#include "store/load/load_components.h"
#include "store/load/side_tasks.h"

namespace moeq::store {

namespace {

class StackConverter {
public:
    StackConverter(const UnitSink& sink, const PlanItem& item, Report& report)
        : sink_(sink), c_(sink.conversion), item_(item), stack_(c_.weights.stacks[item.source]), report_(report)
    {
    }

    moeq_status run()
    {
        switch (item_.form) {
        case ItemForm::kWhole:
            return convert_whole();
        case ItemForm::kParts:
            return convert_parts();
        case ItemForm::kEach:
            return convert_each();
        default:
            return convert_pieces();
        }
    }

private:
    const char* name(int64_t i) const { return c_.plan.name(item_.first_name + i); }

    StackSource source_of(int64_t stack) const { return {c_.engine.kernels, c_.checkpoint, c_.weights, stack}; }

    // Codes and scales of a whole source.
    moeq_status load(const Engine& engine, const StackSource& source, const EncodedWeight& out,
                     Buffers* buffers = nullptr)
    {
        Digest digest;
        const LoadJob job{engine, c_.allocator, source, out, c_.progress, nullptr, &digest, buffers};
        MOEQ_TRY(item_.kind == ItemKind::kEncode ? load_and_encode(job, report_) : load_components(job, report_));
        if (item_.kind == ItemKind::kKeep && item_.work.spec.scale_kind != stack_.spec.scale_kind)
            MOEQ_TRY(restate_statistics(out));
        return sink_.note(digest, report_);
    }

    // absmax = factor * largest, or factor = absmax / largest, each rounded once; codes mean the same.
    moeq_status restate_statistics(const EncodedWeight& out)
    {
        const Format& format = *out.geometry.format;
        float* statistics = reinterpret_cast<float*>(out.scale.data);
        const bool to_factor = out.geometry.spec.scale_kind == MOEQ_SCALE_FACTOR;
        for (int64_t i = 0; i < out.scale.count; ++i) {
            const float stated = statistics[i];
            statistics[i] = to_factor ? format.factor(stated) : codec::multiply(stated, format.largest);
            if (!std::isfinite(statistics[i]))
                return (report_.fail(MOEQ_ERROR_VALUE, 2, "source") << "got ").quoted(stack_.name)
                       << " with a scale too large for an absmax in fp32; want finite ones; choose scale=factor";
        }
        return MOEQ_OK;
    }

    moeq_status put(const char* weight_name, const EncodedWeight& weight, Report& report)
    {
        return sink_.writer == nullptr ? MOEQ_OK : sink_.writer->put_weight(weight_name, weight, report);
    }

    // One large weight: its bytes are digested and written side by side. but_for: a component that is there already; 0: none.
    moeq_status put_shared(const char* weight_name, const EncodedWeight& weight, int32_t but_for)
    {
        if (sink_.writer == nullptr)
            return MOEQ_OK;
        DialectEntries entries(c_.allocator);
        const Dialect& dialect = *c_.plan.dialect;
        MOEQ_TRY(dialect.list(weight.geometry, weight_name, &entries, report_));
        if (dialect.fill != nullptr)
            MOEQ_TRY(dialect.fill(weight, weight_name, &entries, report_));
        for (int32_t i = 0; i < entries.count; ++i) {
            const DialectEntry& entry = entries.entries[i];
            if (but_for != 0 && entry.component == but_for)
                continue;
            const char* bytes =
                entry.component == 0 ? entries.bytes.data() + entry.constant : weight.component(entry.component).data;
            MOEQ_TRY(put_entry(weight_name, entry, bytes));
        }
        return MOEQ_OK;
    }

    moeq_status put_entry(const char* weight_name, const DialectEntry& entry, const char* bytes)
    {
        Array<char> full(c_.allocator);
        if (!append_entry_name(weight_name, entry, &full))
            return report_.out_of_memory(static_cast<uint64_t>(kNameLimit));
        TaskErrors errors;
        auto body = [&](int64_t i) {
            errors.run(i, report_.function(), [&](Report& report) {
                return put_piece(*sink_.writer, full.data(), 0, bytes, entry.bytes, i, report);
            });
        };
        MOEQ_TRY(c_.engine.executor.for_each(put_tasks(0, entry.bytes), body, report_));
        return errors.conclude(report_);
    }

    moeq_status convert_whole()
    {
        if (experts_at_once(item_, stack_) == stack_.shape[0])
            return convert_at_once();
        DialectEntries entries(c_.allocator);
        Array<char> codes_name(c_.allocator);
        MOEQ_TRY(c_.plan.dialect->list(item_.out, name(0), &entries, report_));
        const DialectEntry& codes = entries.entries[0];
        if (!append_entry_name(name(0), codes, &codes_name))
            return report_.out_of_memory(static_cast<uint64_t>(kNameLimit));
        OwnWeight statistics(c_.allocator);
        MOEQ_TRY(statistics.allocate(item_.work, false, report_));
        const int64_t each = codes.bytes / stack_.shape[0];
        MOEQ_TRY(convert_ranges(
            [&](int64_t begin, EncodedWeight* weight) { share_statistics(statistics.weight, begin, weight); },
            [&](const Range& range) { return put_tasks(range.begin * each, range.experts() * each); },
            [&](const Range& range, int64_t i, Report& report) {
                return put_piece(*sink_.writer, codes_name.data(), range.begin * each, range.weight->codes.data,
                                 range.experts() * each, i, report);
            }));
        return put_whole(statistics.weight, MOEQ_COMPONENT_CODES);
    }

    // Blocks that cross experts, and nested statistics as a file has them: all in memory.
    moeq_status convert_at_once()
    {
        OwnWeight own(c_.allocator);
        MOEQ_TRY(own.allocate(item_.work, true, report_));
        StackSource source = source_of(item_.source);
        MOEQ_TRY(source.open(StackCut(), report_));
        MOEQ_TRY(load(c_.engine, source, own.weight));
        return put_whole(own.weight, 0);
    }

    // The one output weight; its statistics may be plain still.
    moeq_status put_whole(const EncodedWeight& weight, int32_t but_for)
    {
        if (item_.work.nested() == item_.out.nested())
            return put_shared(name(0), weight, but_for);
        OwnWeight nested(c_.allocator);
        MOEQ_TRY(nest(weight, c_.engine.executor, &nested, report_));
        return put_shared(name(0), nested.weight, but_for);
    }

    moeq_status convert_parts()
    {
        const int64_t parts = item_.parts.count;
        return convert_ranges([](int64_t, EncodedWeight*) {},
                              [&](const Range& range) { return range.experts() * parts; },
                              [&](const Range& range, int64_t i, Report& report) {
                                  return put_part(*range.weight, range.begin * parts, i, report);
                              });
    }

    // ---- some experts at a time: while they are read and encoded, those before them are written

    struct Range {
        int64_t begin, end; // experts
        const EncodedWeight* weight;
        int64_t experts() const { return end - begin; }
    };

    // prepare(begin, weight): memory has been allocated; put_count(range) tasks put(range, i, report) write a range.
    template <class Prepare, class PutCount, class Put>
    moeq_status convert_ranges(const Prepare& prepare, const PutCount& put_count, const Put& put)
    {
        StackSource source = source_of(item_.source);
        MOEQ_TRY(source.open(StackCut(), report_));
        Range done{};
        auto write = [&](int64_t i, Report& report) { return put(done, i, report); };
        SideTasks writing(c_.engine.executor, report_.function(), write);
        OwnWeight own[2] = {OwnWeight(c_.allocator), OwnWeight(c_.allocator)}; // being encoded, being written
        Buffers buffers(c_.allocator);
        const int64_t experts = stack_.shape[0];
        const int64_t step = experts_at_once(item_, stack_);
        for (int64_t begin = 0, turn = 0; begin < experts; begin += step, turn ^= 1) {
            const int64_t end = minimum(begin + step, experts);
            EncodedWeight& weight = own[turn].weight;
            MOEQ_TRY(own[turn].allocate(geometry_of(end - begin), true, report_));
            prepare(begin, &weight);
            const Executor executor = writing.executor();
            const Engine engine{executor, c_.engine.kernels};
            MOEQ_TRY(writing.finish(load(engine, source.of_experts(begin, end), weight, &buffers), report_));
            done = {begin, end, &weight};
            writing.set(sink_.writer == nullptr ? 0 : put_count(done));
        }
        return writing.finish(MOEQ_OK, report_);
    }

    // The work geometry of so many experts.
    Geometry geometry_of(int64_t experts)
    {
        if (experts == item_.work.experts)
            return item_.work;
        Geometry out;
        moeq_spec spec = item_.work.spec;
        if (item_.work.flat())
            spec.blocking = MOEQ_BLOCKING_EXPERT; // the same, where experts are whole blocks
        const int64_t shape[3] = {experts, item_.work.rows, item_.work.columns};
        Report quiet("", nullptr);
        (void)make_geometry(spec, 0, 3, shape, 0, "", &out, quiet); // as the whole has one
        return out;
    }

    // The statistics of an expert and those behind it, in memory of the whole's.
    void share_statistics(const EncodedWeight& whole, int64_t begin, EncodedWeight* out) const
    {
        component_layout(out->geometry, MOEQ_COMPONENT_SCALE, &out->scale);
        out->scale.data = whole.scale.data + begin * (whole.scale.count / item_.work.experts) * whole.scale.itemsize();
        out->prepare();
    }

    // The i-th output weight of some experts, the first of which has the output weight `first`.
    moeq_status put_part(const EncodedWeight& experts, int64_t first, int64_t i, Report& report)
    {
        const EncodedWeight plain = part_of_stack(item_, experts, i / item_.parts.count, i % item_.parts.count);
        if (!item_.out.nested())
            return put(name(first + i), plain, report);
        OwnWeight nested(c_.allocator);
        MOEQ_TRY(nest(plain, Executor(nullptr, nullptr, nullptr), &nested, report));
        return put(name(first + i), nested.weight, report);
    }

    // The output weight of these codes and plain statistics.
    moeq_status nest(const EncodedWeight& plain, const Executor& executor, OwnWeight* out, Report& report)
    {
        MOEQ_TRY(out->allocate(item_.out, false, report));
        EncodedWeight& weight = out->weight;
        weight.codes = plain.codes;
        weight.prepare();
        return store_nested(executor, c_.engine.kernels.encode_nested, weight,
                            reinterpret_cast<const float*>(plain.scale.data), report);
    }

    // Each output weight is a stack of its own.
    moeq_status convert_each()
    {
        OwnWeight own(c_.allocator);
        for (int64_t i = 0; i < item_.name_count; ++i) {
            MOEQ_TRY(own.allocate(item_.out, true, report_));
            StackSource source = source_of(item_.first_lone + i);
            MOEQ_TRY(source.open(StackCut{.expert_end = 1}, report_));
            MOEQ_TRY(load(c_.engine, source, own.weight));
            MOEQ_TRY(put(name(i), own.weight, report_));
        }
        return MOEQ_OK;
    }

    // Gate and up take turns, and tiles hold rows of one of them: whole tiles of both at a time.
    moeq_status convert_pieces()
    {
        constexpr int32_t kMostParts = 2;
        const ExpertParts& parts = item_.parts;
        const int64_t tile =
            parts.transposed ? item_.out.spec.block_columns : int64_t{item_.out.spec.block_rows} * parts.count;
        const int64_t row_bytes = stack_.shape[2] * dtype_bytes(stack_.dtype);
        const int64_t rows = maximum(1, kBufferBytes / 2 / maximum(row_bytes * tile, 1)) * tile;
        const int64_t bytes = minimum(rows, stack_.shape[1]) * row_bytes;
        Array<char> buffer(c_.allocator);
        if (!buffer.reserve(bytes))
            return report_.out_of_memory(static_cast<uint64_t>(bytes));
        StackSource source = source_of(item_.source);
        MOEQ_TRY(source.open(StackCut(), report_));
        OwnWeight first(c_.allocator), second(c_.allocator);
        OwnWeight* own[kMostParts] = {&first, &second};
        for (int64_t e = 0; e < stack_.shape[0]; ++e) {
            for (int32_t p = 0; p < parts.count; ++p)
                MOEQ_TRY(own[p]->allocate(item_.out, true, report_));
            for (int64_t r = 0; r < stack_.shape[1]; r += rows) {
                const int64_t end = minimum(r + rows, stack_.shape[1]);
                MOEQ_TRY(read_rows(c_.engine, c_.allocator, source, {e, e + 1, r, end, 0, stack_.shape[2]},
                                   buffer.data(), report_));
                MOEQ_TRY(
                    sink_.note(digest_of(buffer.data(), (end - r) * row_bytes, c_.engine.kernels.digest), report_));
                for (int32_t p = 0; p < parts.count; ++p)
                    MOEQ_TRY(encode_rows(buffer.data(), p, r, end, own[p]->weight));
                const int64_t read = (end - r) * stack_.bytes / maximum(stack_.shape[0] * stack_.shape[1], 1);
                MOEQ_TRY(c_.progress.add(MOEQ_STAGE_QUANTIZE, stack_.name, read, report_));
            }
            for (int32_t p = 0; p < parts.count; ++p)
                MOEQ_TRY(put(name(e * parts.count + p), own[p]->weight, report_));
        }
        return MOEQ_OK;
    }

    // Rows [begin, end) of the stack hold every second row, or column, of one part.
    moeq_status encode_rows(char* rows, int32_t part, int64_t begin, int64_t end, const EncodedWeight& out)
    {
        const ExpertParts& parts = item_.parts;
        const int64_t step = parts.count;
        TensorView view;
        view.dtype = stack_.dtype;
        view.ndim = 2;
        const int64_t across = parts.transposed ? 1 : stack_.shape[2];
        view.data = rows + part * across * dtype_bytes(stack_.dtype);
        Box box{0, 1, 0, out.geometry.rows, 0, out.geometry.columns};
        if (parts.transposed) {
            box.column_begin = begin;
            box.column_end = end;
        } else {
            box.row_begin = begin / step;
            box.row_end = end / step;
        }
        view.shape[0] = box.rows();
        view.shape[1] = box.columns();
        view.strides[0] = parts.transposed ? step : step * stack_.shape[2];
        view.strides[1] = parts.transposed ? stack_.shape[2] : 1;
        view.count = box.rows() * box.columns();
        Findings findings;
        const Patch patch{StackView(view), box};
        MOEQ_TRY(encode_whole_units(c_.engine, out, patch, nullptr, nullptr, findings, report_));
        return conclude(findings, out.geometry, 2, "source", report_);
    }

    const UnitSink& sink_;
    const Conversion& c_;
    const PlanItem& item_;
    const Stack& stack_;
    Report& report_;
};

} // namespace

moeq_status convert_stack(const UnitSink& sink, const PlanItem& item, Report& report)
{
    return StackConverter(sink, item, report).run();
}

} // namespace moeq::store
