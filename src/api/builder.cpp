// A weight that arrives in pieces: the entry points; src/builder/ does the work.
#include "api/boundary.h"
#include "api/options.h"
#include "api/qtensor.h"
#include "builder/assembly.h"

using namespace moeq;

struct moeq_builder : LiveHandle {
    explicit moeq_builder(const moeq_context& of) : context(&of), assembly(of.allocator, engine_of(of)) { of.retain(); }
    ~moeq_builder()
    {
        if (storage != nullptr)
            storage->release();
    }

    const moeq_context* context;
    Storage* storage = nullptr; // of assembly.weight
    Assembly assembly;
};

namespace {

void builder_free(moeq_builder* builder)
{
    const moeq_context* context = builder->context;
    destroy(context->allocator, builder);
    context->release();
}

moeq_status set_storage(moeq_builder& builder, const Geometry& geometry, const moeq_quantize_options& options,
                        const TensorView* amax, Report& report)
{
    const moeq_context& context = *builder.context;
    EncodedWeight& weight = builder.assembly.weight;
    if (options.storage == nullptr)
        return storage_allocate(context, geometry, &weight, &builder.storage, report);
    MOEQ_TRY(accept_components(geometry, options.storage, options.storage_count, Access::kWrite, 5, "options.storage",
                               &weight, report));
    if (amax != nullptr)
        MOEQ_TRY(check_components_apart(weight, *amax, {5, "options.storage", 0}, "amax", report));
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
        MOEQ_TRY(check_handle(context, 1, "context", report));
        MOEQ_TRY(check_not_null(spec, 2, "spec", report));
        moeq_spec known;
        moeq_quantize_options known_options;
        Geometry geometry;
        TensorView amax;
        MOEQ_TRY(read_struct(spec, &known, 2, "spec", report));
        MOEQ_TRY(make_geometry(known, 2, ndim, shape, 4, "shape", &geometry, report));
        MOEQ_TRY(read_quantize_options(options, 5, true, &known_options, report));
        const bool has_amax = known_options.amax != nullptr;
        if (has_amax)
            MOEQ_TRY(accept_amax(known_options.amax, geometry, 5, &amax, report));
        MOEQ_TRY(check_host_stream(stream, 6, report));
        auto* builder = create<moeq_builder>(context->allocator, *context);
        if (builder == nullptr)
            return report.out_of_memory(sizeof(moeq_builder));
        const TensorView* given = has_amax ? &amax : nullptr;
        moeq_status status = set_storage(*builder, geometry, known_options, given, report);
        if (status == MOEQ_OK)
            status = builder->assembly.open(given, report);
        if (status != MOEQ_OK) {
            if (known_options.storage != nullptr && builder->storage != nullptr) {
                storage_disown(builder->storage);
                builder->storage = nullptr;
            }
            builder_free(builder);
            return status;
        }
        builder->assembly.staging_limit = known_options.staging_limit;
        builder->assembly.status_word = known_options.status_word;
        write_code_map(builder->assembly.weight);
        *out = builder;
        return MOEQ_OK;
    });
}

namespace {

// A range of one axis that a piece asks for.
moeq_status check_range(int32_t argument, const char* name, int64_t begin, int64_t count, int64_t extent,
                        Report& report)
{
    if (begin >= 0 && count <= extent && begin <= extent - count)
        return MOEQ_OK;
    const moeq_status status = report.fail(MOEQ_ERROR_RANGE, argument, name)
                               << "got a piece of " << count << " at " << begin << "; want it inside [0, " << extent
                               << "); the weight ends there";
    Place place;
    (argument == 2 ? place.expert : argument == 3 ? place.row : place.column) = begin;
    report.set_place(place);
    report.set_class("H08");
    return status;
}

moeq_status accept_piece(const EncodedWeight& weight, int64_t expert, int64_t row, int64_t column,
                         const DLManagedTensorVersioned* tensor, TensorView* piece, Box* box, Report& report)
{
    const Geometry& g = weight.geometry;
    const Wanted wanted{.argument = 5, .name = "piece", .dtypes = kSetWeights};
    MOEQ_TRY(accept_tensor(tensor, wanted, piece, report));
    if (piece->ndim != 2 && piece->ndim != 3)
        return (report.fail(MOEQ_ERROR_SHAPE, 5, "piece") << "got shape ").shape(piece->ndim, piece->shape)
               << "; want [rows, columns] or [experts, rows, columns]";
    const int64_t* extents = piece->shape + piece->ndim - 2;
    const int64_t experts = piece->ndim == 3 ? piece->shape[0] : 1;
    MOEQ_TRY(check_range(2, "expert", expert, experts, g.experts, report));
    MOEQ_TRY(check_range(3, "row", row, extents[0], g.rows, report));
    MOEQ_TRY(check_range(4, "column", column, extents[1], g.columns, report));
    *box = {expert, expert + experts, row, row + extents[0], column, column + extents[1]};
    return check_components_apart(weight, *piece, wanted, "the builder's storage", report);
}

} // namespace

extern "C" moeq_status moeq_builder_write(moeq_builder* builder, int64_t expert, int64_t row, int64_t column,
                                          const DLManagedTensorVersioned* piece, void* stream, moeq_error* err)
{
    return guarded("moeq_builder_write", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(builder, 1, "builder", report));
        MOEQ_TRY(check_host_stream(stream, 6, report));
        TensorView view;
        Box box;
        MOEQ_TRY(accept_piece(builder->assembly.weight, expert, row, column, piece, &view, &box, report));
        return view.empty() ? MOEQ_OK : builder->assembly.write(view, box, report);
    });
}

extern "C" moeq_status moeq_builder_get_state(const moeq_builder* builder, moeq_builder_state* out, moeq_error* err)
{
    return guarded("moeq_builder_get_state", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(builder, 1, "builder", report));
        MOEQ_TRY(check_not_null(out, 2, "out", report));
        MOEQ_TRY(check_struct_size<moeq_builder_state>(out->struct_size, 2, "out", report));
        const Assembly& assembly = builder->assembly;
        const Geometry& g = assembly.geometry();
        moeq_builder_state state{};
        {
            const Lock lock(assembly.mutex);
            state.missing_elements = assembly.missing_elements();
            state.staged_bytes = assembly.staged_bytes();
            state.complete_experts = g.expert_elements() == 0 ? g.experts : assembly.complete_experts;
        }
        write_struct(state, out);
        return MOEQ_OK;
    });
}

namespace {

moeq_block block_of(const Box& box)
{
    return {box.expert_begin, box.expert_end, box.row_begin, box.row_end, box.column_begin, box.column_end};
}

} // namespace

extern "C" moeq_status moeq_builder_get_missing(const moeq_builder* builder, moeq_block* blocks, int64_t capacity,
                                                int64_t* out_count, moeq_error* err)
{
    return guarded("moeq_builder_get_missing", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(builder, 1, "builder", report));
        if (capacity < 0)
            return report.fail(MOEQ_ERROR_ARGUMENT, 3, "capacity") << "got " << capacity << "; want 0 or more";
        if (capacity > 0)
            MOEQ_TRY(check_not_null(blocks, 2, "blocks", report));
        MOEQ_TRY(check_not_null(out_count, 4, "out_count", report));
        int64_t count = 0;
        {
            const Lock lock(builder->assembly.mutex);
            builder->assembly.for_each_missing([&](const Box& box) {
                if (count < capacity)
                    blocks[count] = block_of(box);
                ++count;
                return true;
            });
        }
        *out_count = count;
        return MOEQ_OK;
    });
}

namespace {

moeq_status refuse_gaps(const Assembly& assembly, Report& report)
{
    Box first;
    assembly.for_each_missing([&](const Box& box) {
        first = box;
        return false;
    });
    const moeq_status status = report.fail(MOEQ_ERROR_INCOMPLETE, 1, "builder")
                               << "got " << assembly.covered << " of " << assembly.geometry().count()
                               << " elements; the first gap is experts [" << first.expert_begin << ", "
                               << first.expert_end << "), rows [" << first.row_begin << ", " << first.row_end
                               << "), columns [" << first.column_begin << ", " << first.column_end
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
        MOEQ_TRY(check_handle(builder, 1, "builder", report));
        MOEQ_TRY(check_host_stream(stream, 2, report));
        Assembly& assembly = builder->assembly;
        if (assembly.missing_elements() != 0)
            return refuse_gaps(assembly, report);
        EncodedWeight weight = assembly.weight;
        if (weight.geometry.spec.logical_dtype == MOEQ_DTYPE_DEFAULT)
            weight.geometry.spec.logical_dtype = assembly.dtype == 0 ? MOEQ_DTYPE_BF16 : assembly.dtype;
        MOEQ_TRY(assembly.close(report));
        MOEQ_TRY(qtensor_create(weight, builder->storage, false, out, report));
        builder->storage = nullptr; // its share is the handle's now
        builder_free(builder);
        return MOEQ_OK;
    });
}

extern "C" void moeq_builder_destroy(moeq_builder* builder)
{
    if (builder != nullptr && LiveHandle::is_alive(builder))
        builder_free(builder);
}
