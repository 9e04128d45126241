// Data out of an open checkpoint: parts of tensors, and stacks as handles.
#include "api/arguments.h"
#include "api/boundary.h"
#include "api/options.h"
#include "api/qtensor.h"
#include "api/reader.h"
#include "api/spec.h"
#include "formats/given_amax.h"
#include "store/load/load_and_encode.h"
#include "store/load/load_components.h"
#include "store/load/task_errors.h"

using namespace moeq;
using namespace moeq::store;

// ---- parts of tensors

namespace {

constexpr int64_t kReadBytes = 4 << 20; // of a read that one task does

// The bytes of a tensor that a destination asks for.
struct ByteRange {
    int64_t begin, count;
};

moeq_status refuse_range(int64_t begin, int64_t count, int64_t extent, const char* what, Report& report)
{
    return report.fail(MOEQ_ERROR_RANGE, arg::reader_read::begin)
           << "got [" << begin << ", " << begin + count << ") of " << extent << what << "; want a range inside";
}

// Elements along the first axis; all of a tensor without axes.
moeq_status find_elements(const FileEntry& entry, int64_t begin, const TensorView& view, const Wanted& wanted,
                          ByteRange* out, Report& report)
{
    int64_t shape[kMaxDims];
    for (int32_t i = 0; i < entry.ndim; ++i)
        shape[i] = entry.shape[i];
    if (view.ndim == entry.ndim && entry.ndim != 0)
        shape[0] = view.shape[0];
    MOEQ_TRY(check_shape(view, wanted, entry.ndim, shape, report));
    const int64_t extent = entry.ndim == 0 ? 1 : entry.shape[0];
    const int64_t count = entry.ndim == 0 ? 1 : view.shape[0];
    if (begin < 0 || begin > extent - count)
        return refuse_range(begin, count, extent, " along the first axis", report);
    const int64_t each = extent == 0 ? 0 : entry.bytes / extent;
    *out = {begin * each, count * each};
    return MOEQ_OK;
}

moeq_status find_bytes(const FileEntry& entry, int64_t begin, const TensorView& view, ByteRange* out, Report& report)
{
    if (begin < 0 || begin > entry.bytes - view.count)
        return refuse_range(begin, view.count, entry.bytes, " bytes", report);
    *out = {begin, view.count};
    return MOEQ_OK;
}

moeq_status accept_target(const FileEntry& entry, int64_t begin, const DLManagedTensorVersioned* destination,
                          TensorView* view, ByteRange* range, Report& report)
{
    const uint32_t own = dtype_set(entry.dtype);
    const Wanted wanted{.argument = arg::reader_read::destination, .dtypes = own | kSetUint8, .access = Access::kWrite};
    MOEQ_TRY(accept_tensor(destination, wanted, view, report));
    const bool elements = dtype_set(view->dtype) == own && (own != kSetUint8 || view->ndim == entry.ndim);
    if (!elements && view->ndim != 1)
        return report.fail(MOEQ_ERROR_SHAPE, arg::reader_read::destination)
               << "got " << view->ndim << " dimensions of uint8; want bytes in one";
    MOEQ_TRY(elements ? find_elements(entry, begin, *view, wanted, range, report)
                      : find_bytes(entry, begin, *view, range, report));
    if (view->empty() || is_contiguous(*view))
        return MOEQ_OK;
    return (report.fail(MOEQ_ERROR_LAYOUT, arg::reader_read::destination) << "got strides ")
               .shape(view->ndim, view->strides)
           << "; want row-major";
}

} // namespace

extern "C" moeq_status moeq_reader_read(const moeq_reader* reader, int64_t tensor, int64_t begin,
                                        DLManagedTensorVersioned* destination, moeq_error* err)
{
    return guarded("moeq_reader_read", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(reader, arg::reader_read::reader, report));
        const Checkpoint& checkpoint = reader->files->checkpoint;
        if (tensor < 0 || tensor >= checkpoint.tensor_count())
            return report.fail(MOEQ_ERROR_RANGE, arg::reader_read::tensor)
                   << "got " << tensor << " of " << checkpoint.tensor_count() << " tensors; want one of them";
        TensorView view;
        ByteRange range{};
        MOEQ_TRY(accept_target(checkpoint.tensor(tensor).entry, begin, destination, &view, &range, report));
        TaskErrors errors;
        auto body = [&](int64_t task) {
            errors.run(task, report.function(), [&](Report& inner) {
                const int64_t at = task * kReadBytes;
                return checkpoint.read(tensor, range.begin + at, minimum(kReadBytes, range.count - at), view.data + at,
                                       inner);
            });
        };
        const Executor& executor = reader->files->context->executor;
        MOEQ_TRY(executor.for_each(ceil_divide(range.count, kReadBytes), body, report));
        return errors.conclude(report);
    });
}

// ---- stacks

namespace {

// What a load is asked for, checked.
struct Request {
    moeq_load_options options{};
    Geometry geometry;
    bool encodes = false;
    bool has_amax = false;
    TensorView amax;
};

moeq_status read_load_options(const moeq_load_options* given, moeq_load_options* out, Report& report)
{
    MOEQ_TRY(read_struct(given, out, arg::reader_load::options, report));
    return check_zero(out->reserved, "reserved", arg::reader_load::options, report);
}

// The spec that was asked for. What only the checkpoint can know, and the caller left at its default, is filled in.
moeq_status read_spec(const moeq_spec* given, const Stack& stack, moeq_spec* out, Report& report)
{
    MOEQ_TRY(read_struct(given, out, arg::reader_load::options.field("options.spec"), report));
    if (out->layout == MOEQ_LAYOUT_PLAIN)
        out->layout = stack.layout;
    if (out->scale_axis == 0)
        out->scale_axis = stack.scale_axis;
    if (out->logical_dtype == MOEQ_DTYPE_DEFAULT)
        out->logical_dtype = stack.quantized ? stack.spec.logical_dtype : stack.dtype;
    return MOEQ_OK;
}

// The shape that the handle will have: that of the weight itself where it is loaded whole.
moeq_status make_load_geometry(const StackSource& source, const moeq_spec& spec, Geometry* out, Report& report)
{
    const Stack& stack = source.stack();
    const Weight& first = source.piece(0);
    const bool whole = stack.piece_count == 1 && source.part().is_all_of(stack) && (first.ndim != 2 || !stack.expert);
    return make_geometry(spec, arg::reader_load::options, whole ? first.ndim : 3,
                         whole ? first.shape : source.part().shape, arg::reader_load::stack, out, report);
}

// Opens the source too.
moeq_status read_request(const moeq_load_options* given, StackSource* source, Request* request, Report& report)
{
    const Stack& stack = source->stack();
    moeq_load_options& options = request->options;
    MOEQ_TRY(read_load_options(given, &options, report));
    StackPart part;
    MOEQ_TRY(
        cut_stack(stack, {options.expert_begin, options.expert_end, options.tp_rank, options.tp_size}, &part, report));
    moeq_spec spec{};
    moeq_spec own{};
    if (stack.quantized)
        MOEQ_TRY(part_spec(stack, part, &own, report));
    if (options.spec != nullptr) {
        MOEQ_TRY(read_spec(options.spec, stack, &spec, report));
        MOEQ_TRY(resolve_spec(spec, arg::reader_load::options.field("options.spec"), &spec, report));
        request->encodes = !stack.quantized || stack.odd_piece >= 0 || !same_spec(spec, own);
    } else if (stack.quantized) {
        spec = own;
    } else {
        return (report.fail(MOEQ_ERROR_ARGUMENT, arg::reader_load::options.field("options.spec")) << "got none for ")
                   .quoted(stack.name)
               << ", which is dense; want a spec to quantize it by";
    }
    // First of all whether everything is there: what config.json says of experts that are not may be any number.
    MOEQ_TRY(source->open(part, report));
    MOEQ_TRY(make_load_geometry(*source, spec, &request->geometry, report));
    request->has_amax = request->options.amax != nullptr;
    if (!request->has_amax)
        return MOEQ_OK;
    if (!request->encodes)
        return report.fail(MOEQ_ERROR_ARGUMENT, arg::reader_load::options.field("options.amax"))
               << "got an amax for a stack that is quantized already; want none";
    return accept_amax(request->options.amax, request->geometry, arg::reader_load::options, &request->amax, report);
}

// The values of an amax on a device, which encoding needs on the host.
moeq_status fetch_amax(HostCopy& copy, Request& request, Report& report)
{
    if (!request.has_amax || request.amax.device().on_host())
        return MOEQ_OK;
    MOEQ_TRY(copy.fetch({arg::reader_load::options.field("options.amax"), 0}, &request.amax, report));
    return check_given_amax(request.amax, arg::reader_load::options.number, report);
}

// ---- adopting a mapping

// Where a component lies in the mapping, if it lies there as a handle needs it.
bool view_of_mapping(const Checkpoint& checkpoint, const Geometry& geometry, int32_t component, int64_t tensor,
                     TensorView* out)
{
    if (tensor < 0 || !component_layout(geometry, component, out))
        return false;
    const FileEntry& entry = checkpoint.tensor(tensor).entry;
    const char* bytes = checkpoint.mapped(tensor);
    const int64_t item = out->itemsize();
    out->data = const_cast<char*>(bytes);
    out->read_only = true;
    return bytes != nullptr && entry.bytes == out->count * item &&
           (item == 1 ||
            (entry.dtype == out->dtype && reinterpret_cast<uintptr_t>(bytes) % static_cast<uintptr_t>(item) == 0));
}

moeq_status adopt_mapping(ReaderFiles& files, const OpenCall& open, const Weight& weight, const Geometry& geometry,
                          EncodedWeight* out, Storage** storage, bool* adopted, Report& report)
{
    int32_t ids[kComponentLimit];
    const int32_t count = stored_components(geometry, ids);
    EncodedWeight mapped;
    mapped.geometry = geometry;
    for (int32_t i = 0; i < count; ++i)
        if (!view_of_mapping(files.checkpoint, geometry, ids[i], weight.tensors[ids[i]], &mapped.component(ids[i])))
            return MOEQ_OK;
    moeq_component components[kComponentLimit] = {};
    const auto release = [](void* owner) { static_cast<ReaderFiles*>(owner)->release(); };
    moeq_status status = MOEQ_OK;
    int32_t made = 0;
    for (; made < count && status == MOEQ_OK; ++made) {
        components[made].component = ids[made];
        files.retain();
        status = managed_tensor_create(*files.context, mapped.component(ids[made]), &files, release,
                                       &components[made].tensor, report);
        if (status != MOEQ_OK) {
            files.release();
            break;
        }
    }
    if (status == MOEQ_OK)
        status = storage_adopt(*files.context, open, components, count, storage, report);
    if (status != MOEQ_OK) {
        for (int32_t i = 0; i < made; ++i)
            managed_tensor_delete(components[i].tensor);
        return status;
    }
    mapped.prepare();
    *out = mapped;
    *adopted = true;
    return MOEQ_OK;
}

// Codes and scales of one load, on their way into memory.
class Filling {
public:
    Filling(const moeq_context& context, const StackSource& source, const Request& request, const OpenCall& open,
            Report& report)
        : context_(context), source_(source), request_(request), g_(request.geometry), open_(open), report_(report),
          progress_(request.options.progress, request.options.progress_user, bytes())
    {
    }

    moeq_status run(const EncodedWeight& weight)
    {
        MOEQ_TRY(open_.on_host() ? load(source_, given_amax(), weight) : load_to_device(weight));
        return progress_.finish(report_);
    }

private:
    static constexpr int64_t kGroupBytes =
        16 << 20; // of a result, that are on the host at a time, if an expert is not more

    int64_t bytes() const
    {
        return request_.encodes ? g_.count() * dtype_bytes(source_.stack().dtype) : stored_bytes(g_);
    }
    const TensorView* given_amax() const { return request_.has_amax ? &request_.amax : nullptr; }

    // Into host memory.
    moeq_status load(const StackSource& source, const TensorView* amax, const EncodedWeight& weight)
    {
        const LoadJob job{context_.engine, context_.allocator, source, weight, progress_, amax};
        return request_.encodes ? load_and_encode(job, report_) : load_components(job, report_);
    }

    // Some experts at a time are made on the host, and what they became is copied: that is a half or a quarter of the elements,
    // and a processor quantizes faster than files are read. Nested statistics that are made here follow at the end; where
    // experts are not apart in memory the whole weight is one group.
    moeq_status load_to_device(const EncodedWeight& weight)
    {
        if (g_.flat() || g_.experts <= 1 || (g_.nested() && !request_.encodes))
            return load_group(source_, given_amax(), g_,
                              [&](const EncodedWeight& here) { return copy_components(open_, here, weight, report_); });
        void* absmax = nullptr;
        const uint64_t absmax_bytes = g_.nested() ? static_cast<uint64_t>(g_.block_count()) * sizeof(float) : 0;
        if (g_.nested())
            MOEQ_TRY(open_.backend->allocate(open_.call, absmax_bytes, &absmax, report_));
        moeq_status status = load_groups(weight, static_cast<char*>(absmax));
        if (g_.nested()) {
            if (status == MOEQ_OK)
                status = open_.backend->close_nested(open_.call, weight, static_cast<float*>(absmax), report_);
            open_.backend->release(open_.call, absmax, absmax_bytes);
        }
        return status;
    }

    moeq_status load_groups(const EncodedWeight& weight, char* absmax)
    {
        const int64_t some = maximum(1, kGroupBytes / maximum(1, stored_bytes(g_) / g_.experts));
        for (int64_t first = 0; first < g_.experts; first += some) {
            const int64_t count = minimum(some, g_.experts - first);
            moeq_spec spec = g_.spec;
            spec.nested = 0;
            const int64_t shape[3] = {count, g_.rows, g_.columns};
            Geometry group;
            MOEQ_TRY(
                make_geometry(spec, arg::reader_load::options, 3, shape, arg::reader_load::stack, &group, report_));
            TensorView amax = request_.amax;
            if (request_.has_amax && amax.ndim == 1) {
                amax.data += first * amax.strides[0] * amax.itemsize();
                amax.shape[0] = amax.count = count;
            }
            MOEQ_TRY(load_group(source_.of_experts(first, first + count), request_.has_amax ? &amax : nullptr, group,
                                [&](const EncodedWeight& here) { return copy_group(here, first, weight, absmax); }));
        }
        return MOEQ_OK;
    }

    template <class Copy>
    moeq_status load_group(const StackSource& source, const TensorView* amax, const Geometry& geometry, Copy copy)
    {
        EncodedWeight here;
        const uint64_t bytes = static_cast<uint64_t>(here.lay_out(geometry));
        void* memory = context_.allocator.allocate(bytes);
        if (memory == nullptr)
            return report_.out_of_memory(bytes);
        here.place(memory);
        moeq_status status = load(source, amax, here);
        if (status == MOEQ_OK)
            status = copy(here);
        context_.allocator.free(memory, bytes);
        return status;
    }

    // Components lie expert after expert, here and there.
    moeq_status copy_group(const EncodedWeight& here, int64_t first, const EncodedWeight& weight, char* absmax)
    {
        MOEQ_TRY(copy_bytes(here.codes, weight.codes.data, first, here.geometry.experts));
        char* const to = g_.nested() ? absmax : weight.scale.data;
        return copy_bytes(here.scale, to, first, here.geometry.experts);
    }

    moeq_status copy_bytes(const TensorView& here, char* component, int64_t first, int64_t experts)
    {
        TensorView from;
        from.data = here.data;
        from.dtype = MOEQ_DTYPE_UINT8;
        from.ndim = 1;
        from.device_type = MOEQ_DEVICE_CPU;
        from.count = from.shape[0] = here.count * here.itemsize();
        set_contiguous_strides(from);
        TensorView to = from;
        to.data = component + from.count / experts * first;
        to.device_type = open_.call.device.type;
        to.device_id = open_.call.device.id;
        return open_.backend->copy(open_.call, from, to, report_);
    }

    const moeq_context& context_;
    const StackSource& source_;
    const Request& request_;
    const Geometry& g_;
    const OpenCall& open_;
    Report& report_;
    Progress progress_;
};

} // namespace

extern "C" moeq_status moeq_reader_load(const moeq_reader* reader, int64_t stack, const moeq_load_options* options,
                                        void* stream, moeq_qtensor** out, moeq_error* err)
{
    return guarded("moeq_reader_load", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::reader_load::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(reader, arg::reader_load::reader, report));
        if (stack < 0 || stack >= reader->weights.stacks.size())
            return report.fail(MOEQ_ERROR_RANGE, arg::reader_load::stack)
                   << "got " << stack << " of " << reader->weights.stacks.size() << " stacks; want one of them";
        ReaderFiles& files = *reader->files;
        const moeq_context& context = *files.context;
        StackSource source(context.engine.kernels, files.checkpoint, reader->weights, stack,
                           {.strict = (reader->flags & MOEQ_READER_LENIENT) == 0});
        Request request;
        MOEQ_TRY(read_request(options, &source, &request, report));
        Device device;
        OpenCall open;
        MOEQ_TRY(read_device(request.options.device_type, request.options.device_id, {},
                             arg::reader_load::options.field("options.device_type"),
                             arg::reader_load::options.field("options.device_id"), &device, report));
        MOEQ_TRY(open_call(context, device, {arg::reader_load::options.field("options.device_type"), 0}, stream,
                           arg::reader_load::stream, &open, report));
        HostCopy amax(open);
        MOEQ_TRY(fetch_amax(amax, request, report));
        EncodedWeight weight;
        Storage* storage = nullptr;
        bool adopted = false;
        if (open.on_host() && (reader->flags & MOEQ_READER_MMAP) != 0 && !request.encodes &&
            source.stack().odd_piece < 0 && source.is_one_weight(request.geometry))
            MOEQ_TRY(
                adopt_mapping(files, open, source.piece(0), request.geometry, &weight, &storage, &adopted, report));
        if (!adopted)
            MOEQ_TRY(storage_allocate(context, open, request.geometry, &weight, &storage, report));
        moeq_status status = adopted ? MOEQ_OK : Filling(context, source, request, open, report).run(weight);
        if (status == MOEQ_OK)
            status = qtensor_create(weight, storage, false, out, report);
        if (status != MOEQ_OK)
            storage->release();
        return status;
    });
}
