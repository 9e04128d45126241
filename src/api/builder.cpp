// A weight that arrives in pieces.
//
// A write goes through four steps. Claim: under the lock, nothing of the piece may be there or be on its way. Encode: scale
// units that the piece holds whole go straight into the storage. Commit: under the lock, the piece is marked as written and
// room for its remaining parts is set up; memory for both is got outside of the lock beforehand. Stage: the parts are copied,
// and units that became whole are encoded. Whatever fails, fails before the commit, and then the piece was never there.
#include "api/boundary.h"
#include "api/options.h"
#include "api/qtensor.h"
#include "builder/coverage.h"
#include "builder/parts.h"
#include "builder/staging.h"
#include "core/mutex.h"
#include "core/status_word.h"

using namespace moeq;

namespace moeq {

namespace {

// A piece that some thread is writing right now.
struct Pending {
    Box box;
    Pending* next = nullptr;
};

bool overlap(const Box& a, const Box& b, Place* first)
{
    *first = {maximum(a.expert_begin, b.expert_begin), maximum(a.row_begin, b.row_begin),
              maximum(a.column_begin, b.column_begin)};
    return first->expert < minimum(a.expert_end, b.expert_end) && first->row < minimum(a.row_end, b.row_end) &&
           first->column < minimum(a.column_end, b.column_end);
}

Rectangle rectangle_of(const Box& box) { return {box.row_begin, box.row_end, box.column_begin, box.column_end}; }

} // namespace
} // namespace moeq

struct moeq_builder {
    explicit moeq_builder(const moeq_context& of) : context(&of), allocator(of.allocator), staging(of.allocator)
    {
        of.retain();
    }
    ~moeq_builder();

    const moeq_context* context;
    Allocator& allocator;
    Storage* storage = nullptr;
    EncodedWeight weight;
    TensorView amax;           // over own memory; data NULL: none was given
    float* nested_absmax = nullptr; // of every block, until finish
    int64_t staging_limit = 0;
    uint32_t* status_word = nullptr;

    mutable Mutex mutex; // guards all below
    Coverage* coverage = nullptr; // of each expert
    Staging staging;
    Pending* pending = nullptr;
    int32_t dtype = 0; // of the pieces; 0: none yet
    int64_t covered = 0;
    int64_t complete_experts = 0;

    const Geometry& geometry() const { return weight.geometry; }
    const TensorView* given_amax() const { return amax.data == nullptr ? nullptr : &amax; }
    int64_t nested_bytes() const
    {
        return nested_absmax == nullptr ? 0 : geometry().block_count() * static_cast<int64_t>(sizeof(float));
    }
    uint64_t coverage_bytes() const { return static_cast<uint64_t>(geometry().experts) * sizeof(Coverage); }
    uint64_t amax_bytes() const { return static_cast<uint64_t>(amax.count) * sizeof(float); }
};

moeq_builder::~moeq_builder()
{
    for (int64_t e = 0; coverage != nullptr && e < geometry().experts; ++e)
        coverage[e].~Coverage();
    allocator.free(coverage, coverage_bytes());
    allocator.free(amax.data, amax_bytes());
    allocator.free(nested_absmax, static_cast<uint64_t>(nested_bytes()));
    if (storage != nullptr)
        storage->release();
}

namespace {

void builder_free(moeq_builder* builder)
{
    const moeq_context* context = builder->context;
    destroy(context->allocator, builder);
    context->release();
}

// Own copies of what the builder needs later.
moeq_status allocate_books(moeq_builder& builder, const TensorView* amax, Report& report)
{
    Allocator& allocator = builder.allocator;
    const Geometry& g = builder.geometry();
    auto* coverage = static_cast<Coverage*>(allocator.allocate(builder.coverage_bytes()));
    if (coverage == nullptr)
        return report.out_of_memory(builder.coverage_bytes());
    for (int64_t e = 0; e < g.experts; ++e)
        ::new (coverage + e) Coverage(allocator);
    builder.coverage = coverage;
    if (!builder.staging.create_buckets())
        return report.out_of_memory(0);
    if (g.nested()) {
        const uint64_t bytes = static_cast<uint64_t>(g.block_count()) * sizeof(float);
        builder.nested_absmax = static_cast<float*>(allocator.allocate(bytes));
        if (builder.nested_absmax == nullptr)
            return report.out_of_memory(bytes);
    }
    if (amax == nullptr)
        return MOEQ_OK;
    TensorView copy = *amax;
    copy.data = static_cast<char*>(allocator.allocate(static_cast<uint64_t>(copy.count) * sizeof(float)));
    if (copy.data == nullptr)
        return report.out_of_memory(static_cast<uint64_t>(copy.count) * sizeof(float));
    for (int64_t i = 0; i < copy.count; ++i)
        reinterpret_cast<float*>(copy.data)[i] =
            *reinterpret_cast<const float*>(amax->data + i * (amax->ndim == 0 ? 0 : amax->strides[0]) * amax->itemsize());
    set_contiguous_strides(copy);
    builder.amax = copy;
    return MOEQ_OK;
}

moeq_status set_storage(moeq_builder& builder, const Geometry& geometry, const moeq_quantize_options& options, Report& report)
{
    const moeq_context& context = *builder.context;
    if (options.storage == nullptr)
        return storage_allocate(context, geometry, &builder.weight, &builder.storage, report);
    MOEQ_TRY(accept_components(geometry, options.storage, options.storage_count, Access::kWrite, 5, "options.storage",
                               &builder.weight, report));
    return storage_adopt(context, options.storage, options.storage_count, &builder.storage, report);
}

} // namespace

extern "C" moeq_status moeq_builder_create(const moeq_context* context, const moeq_spec* spec, int32_t ndim,
                                           const int64_t* shape, const moeq_quantize_options* options, void* stream,
                                           moeq_builder** out, moeq_error* err)
{
    return guarded("moeq_builder_create", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, 7, "out", report));
        *out = nullptr;
        MOEQ_TRY(check_not_null(context, 1, "context", report));
        MOEQ_TRY(check_not_null(spec, 2, "spec", report));
        moeq_spec known;
        moeq_quantize_options known_options;
        Geometry geometry;
        TensorView amax;
        MOEQ_TRY(read_struct(spec, &known, 2, "spec", report));
        MOEQ_TRY(make_geometry(known, 2, ndim, shape, 4, "shape", &geometry, report));
        MOEQ_TRY(read_quantize_options(options, 5, &known_options, report));
        const bool has_amax = known_options.amax != nullptr;
        if (has_amax)
            MOEQ_TRY(accept_amax(known_options.amax, geometry, 5, &amax, report));
        MOEQ_TRY(check_host_stream(stream, 6, report));
        auto* builder = create<moeq_builder>(context->allocator, *context);
        if (builder == nullptr)
            return report.out_of_memory(sizeof(moeq_builder));
        moeq_status status = set_storage(*builder, geometry, known_options, report);
        if (status == MOEQ_OK)
            status = allocate_books(*builder, has_amax ? &amax : nullptr, report);
        if (status != MOEQ_OK) {
            if (known_options.storage != nullptr && builder->storage != nullptr) {
                storage_disown(builder->storage);
                builder->storage = nullptr;
            }
            builder_free(builder);
            return status;
        }
        builder->staging_limit = known_options.staging_limit;
        builder->status_word = known_options.status_word;
        if (has_amax)
            store_given_scales(builder->weight, builder->amax);
        *out = builder;
        return MOEQ_OK;
    });
}

namespace {

// One call of moeq_builder_write.
class Write {
public:
    Write(moeq_builder& builder, Report& report) : b_(builder), g_(builder.geometry()), report_(report) {}
    ~Write()
    {
        while (StagedUnit* spare = spares_) {
            spares_ = spare->next;
            spare->destroy(b_.allocator);
        }
    }
    Write(const Write&) = delete;
    Write& operator=(const Write&) = delete;

    moeq_status run(int64_t expert, int64_t row, int64_t column, const DLManagedTensorVersioned* piece)
    {
        MOEQ_TRY(accept(expert, row, column, piece));
        if (piece_.empty())
            return MOEQ_OK;
        MOEQ_TRY(claim());
        moeq_status status = encode();
        if (status == MOEQ_OK)
            status = commit();
        if (status != MOEQ_OK) {
            const Lock lock(b_.mutex);
            unlink();
            return status;
        }
        stage();
        return MOEQ_OK;
    }

private:
    moeq_status accept(int64_t expert, int64_t row, int64_t column, const DLManagedTensorVersioned* piece)
    {
        const Wanted wanted{.argument = 5, .name = "piece", .dtypes = kSetWeights};
        MOEQ_TRY(accept_tensor(piece, wanted, &piece_, report_));
        if (piece_.ndim != 2 && piece_.ndim != 3)
            return (report_.fail(MOEQ_ERROR_SHAPE, 5, "piece") << "got shape ").shape(piece_.ndim, piece_.shape)
                   << "; want [rows, columns] or [experts, rows, columns]";
        const int64_t* extents = piece_.shape + piece_.ndim - 2;
        const int64_t experts = piece_.ndim == 3 ? piece_.shape[0] : 1;
        MOEQ_TRY(check_range(2, "expert", expert, experts, g_.experts));
        MOEQ_TRY(check_range(3, "row", row, extents[0], g_.rows));
        MOEQ_TRY(check_range(4, "column", column, extents[1], g_.columns));
        int32_t ids[kComponentLimit];
        const int32_t count = stored_components(g_, ids);
        for (int32_t i = 0; i < count; ++i)
            MOEQ_TRY(check_no_overlap(b_.weight.component(ids[i]), {5, component_name(ids[i]), 0}, piece_, "the piece", report_));
        patch_ = {StackView(piece_), {expert, expert + experts, row, row + extents[0], column, column + extents[1]}};
        pending_.box = patch_.box;
        return MOEQ_OK;
    }

    moeq_status check_range(int32_t argument, const char* name, int64_t begin, int64_t count, int64_t extent)
    {
        if (begin >= 0 && count <= extent && begin <= extent - count)
            return MOEQ_OK;
        const moeq_status status = report_.fail(MOEQ_ERROR_RANGE, argument, name)
                                   << "got a piece of " << count << " at " << begin << "; want it inside [0, " << extent
                                   << "); the weight ends there";
        Place place;
        (argument == 2 ? place.expert : argument == 3 ? place.row : place.column) = begin;
        report_.set_place(place);
        report_.set_class("H08");
        return status;
    }

    moeq_status refuse_overlap(const Place& place)
    {
        const moeq_status status = report_.fail(MOEQ_ERROR_DUPLICATE, 5, "piece")
                                   << "got an element that was written before, first at expert " << place.expert << ", row "
                                   << place.row << ", column " << place.column << "; want every element once";
        report_.set_place(place);
        report_.set_class("H08");
        return status;
    }

    moeq_status check_dtype()
    {
        if (b_.dtype == 0 || b_.dtype == piece_.dtype)
            return MOEQ_OK;
        const moeq_status status = report_.fail(MOEQ_ERROR_DTYPE, 5, "piece")
                                   << "got " << dtype_name(piece_.dtype) << " after pieces of " << dtype_name(b_.dtype)
                                   << "; want one element type for all pieces";
        report_.set_class("H08");
        return status;
    }

    moeq_status claim()
    {
        const Lock lock(b_.mutex);
        MOEQ_TRY(check_dtype());
        Place place;
        for (const Pending* other = b_.pending; other != nullptr; other = other->next)
            if (overlap(other->box, pending_.box, &place))
                return refuse_overlap(place);
        for (int64_t e = patch_.box.expert_begin; e < patch_.box.expert_end; ++e) {
            place.expert = e;
            if (b_.coverage[e].find_overlap(rectangle_of(patch_.box), &place.row, &place.column))
                return refuse_overlap(place);
        }
        pending_.next = b_.pending;
        b_.pending = &pending_;
        return MOEQ_OK;
    }

    void unlink()
    {
        Pending** link = &b_.pending;
        while (*link != &pending_)
            link = &(*link)->next;
        *link = pending_.next;
    }

    bool stages() const
    {
        bool any = false;
        if (b_.given_amax() == nullptr)
            for_each_part(g_, patch_.box, [&](const Part&) { any = true; });
        return any;
    }

    moeq_status encode()
    {
        const Engine engine = engine_of(*b_.context);
        stages_ = stages();
        Findings findings;
        // What is staged is encoded by a later write, which must not fail for it.
        if (stages_)
            find_nonfinite(engine, g_, patch_, patch_.box, findings);
        if (!findings.refused())
            MOEQ_TRY(encode_whole_units(engine, b_.weight, patch_, b_.given_amax(), b_.nested_absmax, findings, report_));
        seen_ = findings.seen();
        return conclude(findings, g_, 5, "piece", nullptr, report_);
    }

    // Memory is got outside of the lock, so what is needed may have changed when the lock is taken again.
    moeq_status commit()
    {
        for (;;) {
            int64_t expert = -1;
            int64_t room = 0;
            int64_t unit = -1;
            {
                const Lock lock(b_.mutex);
                MOEQ_TRY(check_dtype());
                MOEQ_TRY(check_limit());
                if (!lacks_room(&expert, &room) && !lacks_spares(&unit)) {
                    mark_as_written();
                    return MOEQ_OK;
                }
            }
            MOEQ_TRY(expert >= 0 ? get_room(expert, room) : get_spares());
        }
    }

    bool lacks_room(int64_t* expert, int64_t* room) const
    {
        for (int64_t e = patch_.box.expert_begin; e < patch_.box.expert_end; ++e) {
            const int64_t needed = b_.coverage[e].room_for(rectangle_of(patch_.box));
            if (b_.coverage[e].has_room(needed))
                continue;
            *expert = e;
            *room = needed;
            return true;
        }
        return false;
    }

    moeq_status get_room(int64_t expert, int64_t room)
    {
        Array<CoverageSpan> larger(b_.allocator);
        if (!larger.reserve(2 * room))
            return report_.out_of_memory(static_cast<uint64_t>(2 * room) * sizeof(CoverageSpan));
        {
            const Lock lock(b_.mutex);
            if (b_.coverage[expert].has_room(2 * room))
                return MOEQ_OK;
            b_.coverage[expert].move_into(larger);
        }
        return MOEQ_OK; // the old memory goes back here, outside of the lock
    }

    // for each unit of the piece that has to be staged, once per group of parts
    template <class Visit>
    void for_each_staged_unit(Visit visit) const
    {
        if (!stages_)
            return;
        int64_t last = -1;
        for_each_part(g_, patch_.box, [&](const Part& part) {
            if (part.unit != last)
                visit(part.unit);
            last = part.unit;
        });
    }

    // Spares were got for units in order; one that is not at the head any more has been used or is not needed.
    bool lacks_spares(int64_t* unit) const
    {
        const StagedUnit* spare = spares_;
        bool lacks = false;
        for_each_staged_unit([&](int64_t wanted) {
            if (lacks || b_.staging.find(wanted) != nullptr)
                return;
            while (spare != nullptr && spare->unit != wanted)
                spare = spare->next;
            if (spare == nullptr) {
                *unit = wanted;
                lacks = true;
            }
        });
        return lacks;
    }

    moeq_status get_spares()
    {
        while (StagedUnit* spare = spares_) {
            spares_ = spare->next;
            spare->destroy(b_.allocator);
        }
        StagedUnit** tail = &spares_;
        bool failed = false;
        int64_t bytes = 0;
        for_each_staged_unit([&](int64_t unit) {
            if (failed)
                return;
            {
                const Lock lock(b_.mutex);
                if (b_.staging.find(unit) != nullptr)
                    return;
            }
            const int64_t elements = unit_at(g_, unit).elements;
            StagedUnit* spare = StagedUnit::create(b_.allocator, unit, elements, piece_.itemsize());
            failed = spare == nullptr;
            bytes = elements * piece_.itemsize();
            if (failed)
                return;
            *tail = spare;
            tail = &spare->next;
        });
        return failed ? report_.out_of_memory(static_cast<uint64_t>(bytes)) : MOEQ_OK;
    }

    moeq_status check_limit()
    {
        if (b_.staging_limit == 0 || !stages_)
            return MOEQ_OK;
        int64_t more = 0;
        for_each_staged_unit([&](int64_t unit) {
            if (b_.staging.find(unit) == nullptr)
                more += unit_at(g_, unit).elements * piece_.itemsize();
        });
        if (b_.staging.bytes() + b_.nested_bytes() + more <= b_.staging_limit)
            return MOEQ_OK;
        return report_.fail(MOEQ_ERROR_LIMIT, 5, "piece")
               << "got a piece that would stage " << more << " bytes besides " << b_.staging.bytes() + b_.nested_bytes()
               << "; want at most " << b_.staging_limit << " (staging_limit); write whole rows or blocks, or give amax";
    }

    void mark_as_written()
    {
        b_.dtype = piece_.dtype;
        const Rectangle rectangle = rectangle_of(patch_.box);
        for (int64_t e = patch_.box.expert_begin; e < patch_.box.expert_end; ++e) {
            b_.coverage[e].add(rectangle);
            b_.complete_experts += b_.coverage[e].covered() == g_.expert_elements() ? 1 : 0;
        }
        b_.covered += patch_.box.experts() * rectangle.elements();
        for_each_staged_unit([&](int64_t unit) {
            if (b_.staging.find(unit) != nullptr)
                return;
            StagedUnit** link = &spares_;
            while ((*link)->unit != unit)
                link = &(*link)->next;
            StagedUnit* staged = *link;
            *link = staged->next;
            b_.staging.insert(staged);
        });
        see(b_.status_word, seen_);
        unlink();
    }

    // Cannot fail: memory is there, and values were looked at.
    void stage()
    {
        if (!stages_)
            return;
        for_each_part(g_, patch_.box, [&](const Part& part) {
            StagedUnit* staged;
            {
                const Lock lock(b_.mutex);
                staged = b_.staging.find(part.unit);
            }
            copy_part(part, *staged);
            if (staged->remaining.fetch_sub(part.count, std::memory_order_acq_rel) == part.count)
                encode_staged(staged);
        });
    }

    void copy_part(const Part& part, StagedUnit& staged) const
    {
        const int64_t itemsize = piece_.itemsize();
        const int64_t stride = patch_.view.column_stride * itemsize;
        const char* from = patch_.at(part.at.expert, part.at.row, part.at.column);
        char* to = staged.elements() + part.position * itemsize;
        if (stride == itemsize) {
            std::memcpy(to, from, static_cast<uint64_t>(part.count * itemsize));
            return;
        }
        for (int64_t i = 0; i < part.count; ++i)
            std::memcpy(to + i * itemsize, from + i * stride, static_cast<uint64_t>(itemsize));
    }

    void encode_staged(StagedUnit* staged)
    {
        const Unit unit = unit_at(g_, staged->unit);
        const Engine engine = engine_of(*b_.context);
        Findings findings; // were told when the pieces were written
        if (g_.packed()) {
            float* absmax = b_.nested_absmax != nullptr ? b_.nested_absmax + staged->unit
                                                        : b_.weight.run_absmax(unit.run) + unit.begin / g_.block;
            encode_lone_block(engine, b_.weight, piece_.dtype, staged->elements(), unit.run, unit.begin, unit.elements, absmax,
                              findings);
        } else {
            TensorView view = piece_;
            view.data = staged->elements();
            view.ndim = 2;
            view.count = unit.elements;
            view.shape[0] = unit.box.rows();
            view.shape[1] = unit.box.columns();
            set_contiguous_strides(view);
            encode_box(engine, b_.weight, {StackView(view), unit.box}, unit.box, nullptr, findings);
        }
        {
            const Lock lock(b_.mutex);
            b_.staging.remove(staged);
        }
        staged->destroy(b_.allocator);
    }

    moeq_builder& b_;
    const Geometry& g_;
    Report& report_;
    TensorView piece_;
    Patch patch_;
    Pending pending_;
    StagedUnit* spares_ = nullptr;
    bool stages_ = false;
    uint32_t seen_ = 0;
};

} // namespace

extern "C" moeq_status moeq_builder_write(moeq_builder* builder, int64_t expert, int64_t row, int64_t column,
                                          const DLManagedTensorVersioned* piece, void* stream, moeq_error* err)
{
    return guarded("moeq_builder_write", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(builder, 1, "builder", report));
        MOEQ_TRY(check_host_stream(stream, 6, report));
        return Write(*builder, report).run(expert, row, column, piece);
    });
}

extern "C" moeq_status moeq_builder_get_state(const moeq_builder* builder, moeq_builder_state* out, moeq_error* err)
{
    return guarded("moeq_builder_get_state", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(builder, 1, "builder", report));
        MOEQ_TRY(check_not_null(out, 2, "out", report));
        MOEQ_TRY(check_struct_size<moeq_builder_state>(out->struct_size, 2, "out", report));
        moeq_builder_state state{};
        {
            const Lock lock(builder->mutex);
            const Geometry& g = builder->geometry();
            state.missing_elements = g.count() - builder->covered;
            state.staged_bytes = builder->staging.bytes() + builder->nested_bytes();
            state.complete_experts = g.expert_elements() == 0 ? g.experts : builder->complete_experts;
        }
        write_struct(state, out);
        return MOEQ_OK;
    });
}

namespace {

// visit(moeq_block) for each missing box, in order of place, until it returns false. Experts of which nothing is there follow
// each other as one.
template <class Visit>
void for_each_missing(const moeq_builder& builder, Visit visit)
{
    const Geometry& g = builder.geometry();
    if (g.count() == 0)
        return;
    int64_t e = 0;
    while (e < g.experts) {
        int64_t untouched = e;
        while (untouched < g.experts && builder.coverage[untouched].covered() == 0)
            ++untouched;
        if (untouched > e) {
            if (!visit(moeq_block{e, untouched, 0, g.rows, 0, g.columns}))
                return;
            e = untouched;
            continue;
        }
        const bool go_on = builder.coverage[e].for_each_gap(g.rows, g.columns, [&](const Rectangle& gap) {
            return visit(moeq_block{e, e + 1, gap.row_begin, gap.row_end, gap.column_begin, gap.column_end});
        });
        if (!go_on)
            return;
        ++e;
    }
}

} // namespace

extern "C" moeq_status moeq_builder_get_missing(const moeq_builder* builder, moeq_block* blocks, int64_t capacity,
                                                int64_t* out_count, moeq_error* err)
{
    return guarded("moeq_builder_get_missing", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(builder, 1, "builder", report));
        if (capacity < 0)
            return report.fail(MOEQ_ERROR_ARGUMENT, 3, "capacity") << "got " << capacity << "; want 0 or more";
        if (capacity > 0)
            MOEQ_TRY(check_not_null(blocks, 2, "blocks", report));
        MOEQ_TRY(check_not_null(out_count, 4, "out_count", report));
        int64_t count = 0;
        {
            const Lock lock(builder->mutex);
            for_each_missing(*builder, [&](const moeq_block& block) {
                if (count < capacity)
                    blocks[count] = block;
                ++count;
                return true;
            });
        }
        *out_count = count;
        return MOEQ_OK;
    });
}

namespace {

moeq_status refuse_gaps(const moeq_builder& builder, Report& report)
{
    moeq_block first{};
    for_each_missing(builder, [&](const moeq_block& block) {
        first = block;
        return false;
    });
    const moeq_status status = report.fail(MOEQ_ERROR_INCOMPLETE, 1, "builder")
                               << "got " << builder.covered << " of " << builder.geometry().count()
                               << " elements; the first gap is experts [" << first.expert_begin << ", " << first.expert_end
                               << "), rows [" << first.row_begin << ", " << first.row_end << "), columns ["
                               << first.column_begin << ", " << first.column_end
                               << "); want all; moeq_builder_get_missing lists the rest";
    report.set_place({first.expert_begin, first.row_begin, first.column_begin});
    report.set_class("H09");
    return status;
}

} // namespace

extern "C" moeq_status moeq_builder_finish(moeq_builder* builder, void* stream, moeq_qtensor** out, moeq_error* err)
{
    return guarded("moeq_builder_finish", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, 3, "out", report));
        *out = nullptr;
        MOEQ_TRY(check_not_null(builder, 1, "builder", report));
        MOEQ_TRY(check_host_stream(stream, 2, report));
        const Geometry& g = builder->geometry();
        if (builder->covered != g.count())
            return refuse_gaps(*builder, report);
        EncodedWeight weight = builder->weight;
        if (weight.geometry.spec.logical_dtype == MOEQ_DTYPE_DEFAULT)
            weight.geometry.spec.logical_dtype = builder->dtype == 0 ? MOEQ_DTYPE_BF16 : builder->dtype;
        MOEQ_TRY(qtensor_create(weight, builder->storage, false, out, report));
        if (g.count() == 0 && !g.packed())
            store_zero_scales(weight);
        if (g.nested())
            encode_nested(weight, [&](int64_t first, int64_t count, float* absmax) {
                std::memcpy(absmax, builder->nested_absmax + first, static_cast<uint64_t>(count) * sizeof(float));
            });
        builder->storage = nullptr; // its share is the handle's now
        builder_free(builder);
        return MOEQ_OK;
    });
}

extern "C" void moeq_builder_destroy(moeq_builder* builder)
{
    if (builder != nullptr)
        builder_free(builder);
}
