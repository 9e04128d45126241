// A weight that arrives in pieces: the entry points; src/builder/ does the work.
#include "api/arguments.h"
#include "api/boundary.h"
#include "api/options.h"
#include "api/qtensor.h"
#include "api/spec.h"
#include "builder/assembly.h"
#include "formats/given_amax.h"

using namespace moeq;
using namespace moeq::builder;

struct moeq_builder : LiveHandle {
    moeq_builder(const moeq_context& of, const OpenCall& open) : context(&of), assembly(of.allocator, open)
    {
        of.retain();
    }
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

// What a builder is created with, checked.
struct Request {
    moeq_quantize_options options{};
    Geometry geometry;
    TensorView amax;
    EncodedWeight adopted; // over options.storage, where that is given

    const TensorView* given_amax() const { return options.amax != nullptr ? &amax : nullptr; }
};

constexpr Argument kStorageOption = arg::builder_create::options.field("options.storage");
constexpr Argument kTypeOption = arg::builder_create::options.field("options.device_type");

moeq_status read_request(const moeq_spec* spec, int32_t ndim, const int64_t* shape,
                         const moeq_quantize_options* options, Request* out, Report& report)
{
    moeq_spec known;
    MOEQ_TRY(read_struct(spec, &known, arg::builder_create::spec, report));
    MOEQ_TRY(make_geometry(known, arg::builder_create::spec, ndim, shape, arg::builder_create::shape, &out->geometry,
                           report));
    MOEQ_TRY(read_quantize_options(options, arg::builder_create::options, true, &out->options, report));
    if (out->options.amax != nullptr)
        MOEQ_TRY(accept_amax(out->options.amax, out->geometry, arg::builder_create::options, &out->amax, report));
    if (out->options.storage == nullptr)
        return MOEQ_OK;
    return accept_components(out->geometry, out->options.storage, out->options.storage_count, Access::kWrite,
                             kStorageOption, &out->adopted, report);
}

moeq_status open_builder(const moeq_context& context, const Request& request, void* stream, OpenCall* out,
                         Report& report)
{
    const moeq_quantize_options& options = request.options;
    if (options.storage != nullptr)
        return open_call(context, device_of(request.adopted), {kStorageOption, 0}, stream, arg::builder_create::stream,
                         out, report);
    Device device;
    MOEQ_TRY(read_device(options.device_type, options.device_id, {}, kTypeOption,
                         arg::builder_create::options.field("options.device_id"), &device, report));
    return open_call(context, device, {kTypeOption, 0}, stream, arg::builder_create::stream, out, report);
}

// On failure the storage that was given is still the caller's.
moeq_status fill_builder(moeq_builder& builder, const OpenCall& open, Request& request, Report& report)
{
    const moeq_context& context = *builder.context;
    const moeq_quantize_options& options = request.options;
    Assembly& assembly = builder.assembly;
    HostCopy amax(open);
    if (options.amax != nullptr && !request.amax.device().on_host()) {
        MOEQ_TRY(amax.fetch({arg::builder_create::options.field("amax"), 0}, &request.amax, report));
        MOEQ_TRY(check_given_amax(request.amax, arg::builder_create::options.number, report));
    }
    if (options.storage == nullptr) {
        MOEQ_TRY(storage_allocate(context, open, request.geometry, &assembly.weight, &builder.storage, report));
    } else {
        if (options.amax != nullptr)
            MOEQ_TRY(check_components_apart(request.adopted, request.amax, {kStorageOption, 0}, "amax", report));
        assembly.weight = request.adopted;
        MOEQ_TRY(storage_adopt(context, open, options.storage, options.storage_count, &builder.storage, report));
    }
    assembly.staging_limit = options.staging_limit;
    assembly.status_word = options.status_word;
    return assembly.open(request.given_amax(), report);
}

} // namespace

extern "C" moeq_status moeq_builder_create(const moeq_context* context, const moeq_spec* spec, int32_t ndim,
                                           const int64_t* shape, const moeq_quantize_options* options, void* stream,
                                           moeq_builder** out, moeq_error* err)
{
    return guarded("moeq_builder_create", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::builder_create::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(context, arg::builder_create::context, report));
        MOEQ_TRY(check_not_null(spec, arg::builder_create::spec, report));
        Request request;
        OpenCall open;
        MOEQ_TRY(read_request(spec, ndim, shape, options, &request, report));
        MOEQ_TRY(open_builder(*context, request, stream, &open, report));
        auto* builder = create<moeq_builder>(context->allocator, *context, open);
        if (builder == nullptr)
            return report.out_of_memory(sizeof(moeq_builder));
        const moeq_status status = fill_builder(*builder, open, request, report);
        if (status == MOEQ_OK) {
            *out = builder;
            return MOEQ_OK;
        }
        if (request.options.storage != nullptr && builder->storage != nullptr) {
            storage_disown(builder->storage);
            builder->storage = nullptr;
        }
        builder_free(builder);
        return status;
    });
}

namespace {

moeq_status check_stream(const moeq_builder& builder, void* stream, const Argument& argument, Report& report)
{
    OpenCall unused;
    return open_call(*builder.context, builder.assembly.open_call.call.device, {arg::builder_write::builder, 0}, stream,
                     argument, &unused, report);
}

// A range of one axis that a piece asks for.
moeq_status check_range(const Argument& argument, int64_t begin, int64_t count, int64_t extent, Report& report)
{
    if (begin >= 0 && count <= extent && begin <= extent - count)
        return MOEQ_OK;
    const moeq_status status = report.fail(MOEQ_ERROR_RANGE, argument)
                               << "got a piece of " << count << " at " << begin << "; want it inside [0, " << extent
                               << "); the weight ends there";
    Place place;
    (argument.number == arg::builder_write::expert.number ? place.expert
     : argument.number == arg::builder_write::row.number  ? place.row
                                                          : place.column) = begin;
    report.set_place(place);
    report.set_class("H08");
    return status;
}

moeq_status accept_piece(const EncodedWeight& weight, int64_t expert, int64_t row, int64_t column,
                         const DLManagedTensorVersioned* tensor, TensorView* piece, Box* box, Report& report)
{
    const Geometry& g = weight.geometry;
    const Wanted wanted{.argument = arg::builder_write::piece, .dtypes = kSetWeights, .where = Where::kAnyDevice};
    MOEQ_TRY(accept_tensor(tensor, wanted, piece, report));
    if (piece->ndim != 2 && piece->ndim != 3)
        return (report.fail(MOEQ_ERROR_SHAPE, arg::builder_write::piece) << "got shape ")
                   .shape(piece->ndim, piece->shape)
               << "; want [rows, columns] or [experts, rows, columns]";
    const int64_t* extents = piece->shape + piece->ndim - 2;
    const int64_t experts = piece->ndim == 3 ? piece->shape[0] : 1;
    MOEQ_TRY(check_range(arg::builder_write::expert, expert, experts, g.experts, report));
    MOEQ_TRY(check_range(arg::builder_write::row, row, extents[0], g.rows, report));
    MOEQ_TRY(check_range(arg::builder_write::column, column, extents[1], g.columns, report));
    *box = {expert, expert + experts, row, row + extents[0], column, column + extents[1]};
    return check_components_apart(weight, *piece, wanted, "the builder's storage", report);
}

} // namespace

extern "C" moeq_status moeq_builder_write(moeq_builder* builder, int64_t expert, int64_t row, int64_t column,
                                          const DLManagedTensorVersioned* piece, void* stream, moeq_error* err)
{
    return guarded("moeq_builder_write", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(builder, arg::builder_write::builder, report));
        MOEQ_TRY(check_stream(*builder, stream, arg::builder_write::stream, report));
        TensorView view;
        Box box;
        MOEQ_TRY(accept_piece(builder->assembly.weight, expert, row, column, piece, &view, &box, report));
        if (!view.device().on_host())
            MOEQ_TRY(check_placed(builder->assembly.open_call.call, view, {arg::builder_write::piece, 0}, report));
        return view.empty() ? MOEQ_OK : builder->assembly.write(view, box, stream, report);
    });
}

extern "C" moeq_status moeq_builder_get_state(const moeq_builder* builder, moeq_builder_state* out, moeq_error* err)
{
    return guarded("moeq_builder_get_state", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(builder, arg::builder_get_state::builder, report));
        MOEQ_TRY(check_not_null(out, arg::builder_get_state::out, report));
        MOEQ_TRY(check_struct_size<moeq_builder_state>(out->struct_size, arg::builder_get_state::out, report));
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
        MOEQ_TRY(check_handle(builder, arg::builder_get_missing::builder, report));
        if (capacity < 0)
            return report.fail(MOEQ_ERROR_ARGUMENT, arg::builder_get_missing::capacity)
                   << "got " << capacity << "; want 0 or more";
        if (capacity > 0)
            MOEQ_TRY(check_not_null(blocks, arg::builder_get_missing::blocks, report));
        MOEQ_TRY(check_not_null(out_count, arg::builder_get_missing::out_count, report));
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
    const moeq_status status = report.fail(MOEQ_ERROR_INCOMPLETE, arg::builder_write::builder)
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
        MOEQ_TRY(check_not_null(out, arg::builder_finish::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(builder, arg::builder_finish::builder, report));
        MOEQ_TRY(check_stream(*builder, stream, arg::builder_finish::stream, report));
        Assembly& assembly = builder->assembly;
        if (assembly.missing_elements() != 0)
            return refuse_gaps(assembly, report);
        EncodedWeight weight = assembly.weight;
        if (weight.geometry.spec.logical_dtype == MOEQ_DTYPE_DEFAULT)
            weight.geometry.spec.logical_dtype = assembly.dtype == 0 ? MOEQ_DTYPE_BF16 : assembly.dtype;
        MOEQ_TRY(assembly.close(stream, report));
        builder->storage->home_stream = stream;
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
