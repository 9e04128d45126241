#include "store/load/load.h"

#include "cpu/stores.h"
#include "host/nested.h"
#include "store/load/buffers.h"
#include "store/load/chunks.h"
#include "store/load/task_errors.h"

namespace moeq::store {

namespace {

constexpr int64_t kBandBytes = 1 << 20;    // of a slab, that one task reads
constexpr int64_t kSlabScratch = 16 << 20; // beside a slab, for what reading it needs
constexpr int64_t kStripColumns = 256;     // of a slab, that one task encodes

// The address of element 0 of what `elements` has from element `first` on.
char* origin(char* elements, int64_t first, int64_t itemsize)
{
    return reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(elements) - static_cast<uintptr_t>(first * itemsize));
}

class Loader {
public:
    Loader(const Engine& engine, Allocator& allocator, const StackSource& source, const TensorView* amax,
           const EncodedWeight& out, Progress& progress, Buffers* buffers, Report& report)
        : engine_(engine), serial_{serial_executor_, engine.kernels}, allocator_(allocator), source_(source),
          amax_(amax), out_(out), g_(out.geometry), progress_(progress), report_(report), chunks_(allocator),
          digests_(allocator), own_buffers_(allocator), buffers_(buffers != nullptr ? *buffers : own_buffers_),
          slab_(allocator),
          gathers_(!g_.in_runs() && g_.spec.granularity == MOEQ_GRANULARITY_EXPERT && amax == nullptr),
          stores_(cpu::stores_for(g_.format->code_byte(g_.count())))
    {
    }
    ~Loader() { allocator_.free(staging_, staging_bytes()); }
    Loader(const Loader&) = delete;
    Loader& operator=(const Loader&) = delete;

    moeq_status run(Digest* digest)
    {
        MOEQ_TRY(cut_into_chunks(source_, g_, {amax_ != nullptr || gathers_, gathers_}, &chunks_, report_));
        MOEQ_TRY(get_memory(digest != nullptr));
        if (g_.count() == 0 && !g_.in_runs())
            store_zero_scales(out_);
        if (amax_ != nullptr)
            store_given_scales(out_, *amax_);
        MOEQ_TRY(gathers_ ? gather_and_encode() : g_.scale_per_column() ? encode_slabs() : encode());
        if (findings_.refused())
            return refuse();
        if (digest != nullptr)
            *digest = digest_of_all(digests_.data(), digests_.size());
        return !g_.nested() ? MOEQ_OK
                            : store_nested(engine_.executor, engine_.kernels.encode_nested, out_, staging_, report_);
    }

private:
    uint64_t staging_bytes() const { return g_.nested() ? static_cast<uint64_t>(g_.block_count()) * sizeof(float) : 0; }

    moeq_status get_memory(bool has_digest)
    {
        int64_t largest = 0;
        for (const Chunk& chunk : chunks_)
            largest = maximum(largest, chunk.elements());
        const int64_t bytes = largest * source_.itemsize();
        MOEQ_TRY(g_.scale_per_column()
                     ? get_slab(bytes)
                     : buffers_.open(bytes, source_.scratch_bytes(), maximum(chunks_.size(), 1), report_));
        if (has_digest && !digests_.resize(chunks_.size()))
            return report_.out_of_memory(static_cast<uint64_t>(chunks_.size()) * sizeof(Digest));
        if (!g_.nested())
            return MOEQ_OK;
        staging_ = static_cast<float*>(allocator_.allocate(staging_bytes()));
        return staging_ == nullptr ? report_.out_of_memory(staging_bytes()) : MOEQ_OK;
    }

    // ---- tasks

    moeq_status read(int64_t index, char* elements, char* scratch, Report& report)
    {
        const Chunk& chunk = chunks_[index];
        MOEQ_TRY(chunk.is_range()
                     ? source_.read_range(engine_.kernels, chunk.begin, chunk.end, elements, scratch, report)
                     : source_.read_box(engine_.kernels, chunk.box, elements, scratch, report));
        if (!digests_.empty())
            digests_[index] = digest_of(elements, chunk.elements() * source_.itemsize(), engine_.kernels.digest);
        return MOEQ_OK;
    }

    // visit(index, buffer) for chunks [begin, end), each when it has been read.
    template <class Visit>
    moeq_status read_chunks(int64_t begin, int64_t end, int32_t stage, bool counts, Visit visit)
    {
        return for_each_buffered(
            engine_.executor, buffers_, begin, end, report_,
            [&](int64_t index, int64_t slot, Report& report) -> moeq_status {
                MOEQ_TRY(read(index, buffers_.elements(slot), buffers_.scratch(slot), report));
                visit(index, buffers_.elements(slot));
                return MOEQ_OK;
            },
            [&](int64_t first, int64_t last) { return tell(stage, first, last, counts); });
    }

    moeq_status tell(int32_t stage, int64_t begin, int64_t end, bool counts)
    {
        int64_t bytes = 0;
        for (int64_t i = begin; counts && i < end; ++i)
            bytes += chunks_[i].elements() * source_.itemsize();
        return progress_.add(stage, source_.stack().name, bytes, report_);
    }

    // ---- one chunk

    Patch box_patch(const Chunk& chunk, char* elements) const
    {
        TensorView view;
        view.data = elements;
        view.dtype = source_.dtype();
        view.ndim = 2;
        view.shape[0] = chunk.box.rows();
        view.shape[1] = chunk.box.columns();
        view.count = chunk.elements();
        set_contiguous_strides(view);
        return {StackView(view), chunk.box};
    }

    // Elements of the whole part of which only the chunk's may be looked at.
    Patch range_patch(const Chunk& chunk, char* elements) const
    {
        const int64_t expert = g_.flat() ? 0 : chunk.begin / g_.expert_elements();
        const int64_t experts = g_.flat() ? g_.experts : 1;
        TensorView view;
        view.data = origin(elements, chunk.begin - expert * g_.expert_elements(), source_.itemsize());
        view.dtype = source_.dtype();
        view.ndim = 3;
        view.shape[0] = experts;
        view.shape[1] = g_.rows;
        view.shape[2] = g_.columns;
        view.count = experts * g_.expert_elements();
        set_contiguous_strides(view);
        return {StackView(view), {expert, expert + experts, 0, g_.rows, 0, g_.columns}};
    }

    void encode_part_of_run(const Patch& patch, int64_t run, int64_t begin, int64_t end)
    {
        encode_run_part(serial_, out_, patch, run, begin, end, staging_, findings_, stores_);
    }

    void encode_chunk(const Chunk& chunk, char* elements)
    {
        if (chunk.is_range()) {
            const int64_t run = g_.flat() ? 0 : chunk.begin / g_.expert_elements();
            const int64_t begin = chunk.begin - run * g_.expert_elements();
            encode_part_of_run(range_patch(chunk, elements), run, begin, begin + chunk.end - chunk.begin);
        } else if (g_.in_runs()) {
            const Box& box = chunk.box;
            const Patch patch = box_patch(chunk, elements);
            for (int64_t row = box.row_begin; row < box.row_end; ++row)
                encode_part_of_run(patch, box.expert_begin * g_.rows + row, box.column_begin, box.column_end);
        } else {
            encode_box(serial_, out_, box_patch(chunk, elements), chunk.box, amax_, findings_, stores_);
        }
        cpu::stream_fence(stores_);
    }

    moeq_status encode()
    {
        return read_chunks(0, chunks_.size(), MOEQ_STAGE_QUANTIZE, true,
                           [this](int64_t index, char* elements) { encode_chunk(chunks_[index], elements); });
    }

    // ---- one scale per column, which all rows are needed for

    moeq_status get_slab(int64_t bytes)
    {
        const int64_t scratch = maximum(source_.scratch_bytes(), 64);
        MOEQ_TRY(buffers_.open(0, scratch, maximum(1, kSlabScratch / scratch), report_));
        return slab_.open(bytes, 0, 1, report_);
    }

    // Rows of a slab, some in each task.
    moeq_status read_slab(const Chunk& chunk, char* slab)
    {
        const int64_t row_bytes = chunk.box.columns() * source_.itemsize();
        const int64_t band = maximum(1, kBandBytes / row_bytes);
        const int64_t bands = ceil_divide(chunk.box.rows(), band);
        return for_each_buffered(engine_.executor, buffers_, bands, report_,
                                 [&](int64_t i, int64_t slot, Report& report) {
                                     Box box = chunk.box;
                                     box.row_begin = i * band;
                                     box.row_end = minimum(box.row_begin + band, chunk.box.row_end);
                                     return source_.read_box(engine_.kernels, box, slab + box.row_begin * row_bytes,
                                                             buffers_.scratch(slot), report);
                                 });
    }

    moeq_status encode_slabs()
    {
        char* const slab = slab_.elements(0);
        for (int64_t i = 0; i < chunks_.size(); ++i) {
            const Chunk& chunk = chunks_[i];
            MOEQ_TRY(read_slab(chunk, slab));
            if (!digests_.empty())
                digests_[i] = digest_of(slab, chunk.elements() * source_.itemsize(), engine_.kernels.digest);
            const Patch patch = box_patch(chunk, slab);
            auto body = [&](int64_t task) {
                Box strip = chunk.box;
                strip.column_begin = chunk.box.column_begin + task * kStripColumns;
                strip.column_end = minimum(strip.column_begin + kStripColumns, chunk.box.column_end);
                encode_box(serial_, out_, patch, strip, nullptr, findings_, stores_);
                cpu::stream_fence(stores_);
            };
            MOEQ_TRY(engine_.executor.for_each(ceil_divide(chunk.box.columns(), kStripColumns), body, report_));
            MOEQ_TRY(tell(MOEQ_STAGE_QUANTIZE, i, i + 1, true));
        }
        return MOEQ_OK;
    }

    // ---- one scale per expert, which all of its elements are needed for

    void gather(int64_t index, char* elements)
    {
        gather_amax(serial_, out_, box_patch(chunks_[index], elements), chunks_[index].box, findings_);
    }
    void encode_known(int64_t index, char* elements)
    {
        if (!findings_.refused())
            encode_gathered(serial_, out_, box_patch(chunks_[index], elements), chunks_[index].box, findings_, stores_);
        cpu::stream_fence(stores_);
    }

    int64_t end_of_expert(int64_t begin) const
    {
        int64_t end = begin;
        while (end < chunks_.size() && chunks_[end].box.expert_begin == chunks_[begin].box.expert_begin)
            ++end;
        return end;
    }

    moeq_status gather_and_encode()
    {
        for (int64_t e = 0; e < g_.experts; ++e)
            *out_.scale_at(e, 0, 0) = 0.0f;
        for (int64_t begin = 0; begin < chunks_.size();) {
            int64_t end = end_of_expert(begin);
            while (end < chunks_.size() && end_of_expert(end) - begin <= buffers_.count())
                end = end_of_expert(end);
            MOEQ_TRY(end - begin <= buffers_.count() ? encode_buffered(begin, end) : encode_twice_read(begin, end));
            for (int64_t i = begin; i < end; ++i)
                if (i + 1 == end || chunks_[i].box.expert_begin != chunks_[i + 1].box.expert_begin)
                    store_gathered_scale(out_, chunks_[i].box.expert_begin);
            begin = end;
        }
        return MOEQ_OK;
    }

    // Experts that the buffers hold whole: read once.
    moeq_status encode_buffered(int64_t begin, int64_t end)
    {
        TaskErrors errors;
        auto read_one = [&](int64_t task) {
            errors.run(begin + task, report_.function(), [&](Report& report) -> moeq_status {
                MOEQ_TRY(read(begin + task, buffers_.elements(task), buffers_.scratch(task), report));
                gather(begin + task, buffers_.elements(task));
                return MOEQ_OK;
            });
        };
        MOEQ_TRY(engine_.executor.for_each(end - begin, read_one, report_));
        MOEQ_TRY(errors.conclude(report_));
        auto encode_one = [&](int64_t task) { encode_known(begin + task, buffers_.elements(task)); };
        MOEQ_TRY(engine_.executor.for_each(end - begin, encode_one, report_));
        return tell(MOEQ_STAGE_QUANTIZE, begin, end, true);
    }

    moeq_status encode_twice_read(int64_t begin, int64_t end)
    {
        MOEQ_TRY(read_chunks(begin, end, MOEQ_STAGE_READ, false,
                             [this](int64_t index, char* elements) { gather(index, elements); }));
        return read_chunks(begin, end, MOEQ_STAGE_QUANTIZE, true,
                           [this](int64_t index, char* elements) { encode_known(index, elements); });
    }

    // ---- the end

    // The place is one of the whole stack, whatever part of it is loaded.
    moeq_status refuse()
    {
        const int64_t flat = findings_.first_bad();
        const Place place =
            source_.to_stack({flat / g_.expert_elements(), flat / g_.columns % g_.rows, flat % g_.columns});
        const uint32_t both = MOEQ_SEEN_NAN | MOEQ_SEEN_INF;
        const char* what = (findings_.seen() & both) == both         ? "NaN or Inf"
                           : (findings_.seen() & MOEQ_SEEN_NAN) != 0 ? "NaN"
                                                                     : "Inf";
        Failure failure = report_.fail(MOEQ_ERROR_VALUE);
        report_.set_place(place);
        report_.set_class("N01");
        (failure << "got " << what << " in ").quoted(source_.stack().name);
        return failure << ", first at expert " << place.expert << ", row " << place.row << ", column " << place.column
                       << "; want finite values; mend the weight or set nonfinite=saturate";
    }

    const Engine& engine_;
    const Executor serial_executor_{nullptr, nullptr, nullptr};
    const Engine serial_;
    Allocator& allocator_;
    const StackSource& source_;
    const TensorView* amax_;
    const EncodedWeight& out_;
    const Geometry& g_;
    Progress& progress_;
    Report& report_;
    Array<Chunk> chunks_;
    Array<Digest> digests_;
    Buffers own_buffers_;
    Buffers& buffers_;
    Buffers slab_;
    float* staging_ = nullptr; // plain statistics of nested ones, until all are there
    Findings findings_;
    const bool gathers_;
    const cpu::Stores stores_;
};

} // namespace

moeq_status load_and_encode(const Engine& engine, Allocator& allocator, const Checkpoint& checkpoint,
                            const Weights& weights, int64_t stack, const StackCut& cut, const TensorView* given_amax,
                            const EncodedWeight& out, Progress& progress, Digest* source_digest, Report& report,
                            bool strict, Buffers* buffers)
{
    StackSource source(checkpoint, weights, stack, strict);
    MOEQ_TRY(source.set_cut(cut, report));
    MOEQ_TRY(source.prepare(report));
    return Loader(engine, allocator, source, given_amax, out, progress, buffers, report).run(source_digest);
}

moeq_status read_rows(const Engine& engine, Allocator& allocator, const Checkpoint& checkpoint, const Weights& weights,
                      int64_t stack, int64_t expert, int64_t row_begin, int64_t row_end, void* out, Report& report)
{
    StackSource source(checkpoint, weights, stack);
    MOEQ_TRY(source.set_cut({expert, expert + 1, 0, 1}, report));
    MOEQ_TRY(source.prepare(report));
    Buffers buffers(allocator);
    MOEQ_TRY(buffers.open(0, source.scratch_bytes(), Buffers::kSlots, report));
    const int64_t band =
        maximum(1, task_elements((row_end - row_begin) * source.columns()) / maximum(1, source.columns()));
    const int64_t bands = ceil_divide(row_end - row_begin, band);
    const int64_t row_bytes = source.columns() * source.itemsize();
    return for_each_buffered(engine.executor, buffers, bands, report, [&](int64_t i, int64_t slot, Report& inner) {
        const int64_t begin = row_begin + i * band;
        const Box box{0, 1, begin, minimum(begin + band, row_end), 0, source.columns()};
        return source.read_box(engine.kernels, box, static_cast<char*>(out) + (begin - row_begin) * row_bytes,
                               buffers.scratch(slot), inner);
    });
}

} // namespace moeq::store
