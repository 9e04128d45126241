// The ways into quantized form: a new handle, the caller's own tensors, a handle's storage once more.
#include "api/arguments.h"
#include "api/boundary.h"
#include "api/options.h"
#include "api/qtensor.h"
#include "api/spec.h"

using namespace moeq;

namespace {

constexpr int64_t kNestedStagingLimit = 32 << 20; // bytes; beyond it nested statistics read the source again

constexpr Wanted kSource{.argument = arg::qtensor_quantize::source, .dtypes = kSetWeights, .where = Where::kAnyDevice};

// What quantize, quantize_into and requantize have in common: a source, and what is asked of it.
struct Request {
    TensorView source;
    TensorView amax;
    bool has_amax = false;
    uint32_t* status_word = nullptr;
    Argument options{};
    OpenCall open;

    const TensorView* given_amax() const { return has_amax ? &amax : nullptr; }
};

moeq_status accept_options(const moeq_quantize_options& options, const Geometry& geometry, const Argument& argument,
                           Request* request, Report& report)
{
    request->options = argument;
    request->status_word = options.status_word;
    request->has_amax = options.amax != nullptr;
    return request->has_amax ? accept_amax(options.amax, geometry, argument, &request->amax, report) : MOEQ_OK;
}

// No component may share memory with what is read.
moeq_status check_apart(const EncodedWeight& weight, const Request& request, const Wanted& written, Report& report)
{
    MOEQ_TRY(check_components_apart(weight, request.source, written, "source", report));
    return request.has_amax ? check_components_apart(weight, request.amax, written, "amax", report) : MOEQ_OK;
}

// Where a call works, and what it is asked besides. Tensors of a HOT call are where it works, and an amax is there or on the
// host.
moeq_status open_request(const moeq_context& context, const Device& device, const Wanted& by, void* stream,
                         const Argument& stream_argument, bool hot, Request* request, Report& report)
{
    MOEQ_TRY(open_call(context, device, by, stream, stream_argument, &request->open, report));
    Call& call = request->open.call;
    call.status_word = request->status_word;
    call.hot = hot;
    if (hot)
        MOEQ_TRY(check_placed(call, request->source, kSource, report));
    if (!request->has_amax || request->amax.device().on_host())
        return MOEQ_OK;
    return check_placed(call, request->amax, {request->options.field("amax"), 0}, report);
}

moeq_status encode(const EncodedWeight& weight, const Request& request, float* absmax_staging, Report& report)
{
    const auto& [call, backend] = request.open;
    Findings findings;
    MOEQ_TRY(backend->prepare(call, weight, request.given_amax(), report));
    MOEQ_TRY(backend->encode(call, weight, StackView(request.source), request.given_amax(), absmax_staging, findings,
                             report));
    return conclude(findings, weight.geometry, kSource.argument.number, kSource.argument.name, report);
}

// Encodes with room for nested statistics where that is small; nothing else is allocated.
moeq_status encode_with_staging(const EncodedWeight& weight, const Request& request, Report& report)
{
    const auto& [call, backend] = request.open;
    const int64_t bytes =
        weight.geometry.nested() ? weight.geometry.block_count() * static_cast<int64_t>(sizeof(float)) : 0;
    void* staging = nullptr;
    Report silent("", nullptr); // it does without
    if (bytes > 0 && bytes <= kNestedStagingLimit &&
        backend->allocate(call, static_cast<uint64_t>(bytes), &staging, silent) != MOEQ_OK)
        staging = nullptr;
    const moeq_status status = encode(weight, request, static_cast<float*>(staging), report);
    if (staging != nullptr)
        backend->release(call, staging, static_cast<uint64_t>(bytes));
    return status;
}

static_assert(arg::quantize_into::source.number == arg::qtensor_quantize::source.number &&
              arg::quantize_into::options.number == arg::qtensor_quantize::options.number &&
              arg::qtensor_requantize::source.number == arg::qtensor_quantize::source.number);

// Arguments 2 to 4 of the calls that take a dense source: source, spec, options.
moeq_status accept_request(const DLManagedTensorVersioned* source, const moeq_spec* spec,
                           const moeq_quantize_options* options, Request* request, moeq_quantize_options* known_options,
                           Geometry* geometry, Report& report)
{
    MOEQ_TRY(check_not_null(spec, arg::qtensor_quantize::spec, report));
    MOEQ_TRY(accept_tensor(source, kSource, &request->source, report));
    moeq_spec known;
    MOEQ_TRY(read_struct(spec, &known, arg::qtensor_quantize::spec, report));
    if (known.logical_dtype == MOEQ_DTYPE_DEFAULT)
        known.logical_dtype = request->source.dtype;
    MOEQ_TRY(make_geometry(known, arg::qtensor_quantize::spec, request->source.ndim, request->source.shape,
                           arg::qtensor_quantize::source, geometry, report));
    MOEQ_TRY(read_quantize_options(options, arg::qtensor_quantize::options, false, known_options, report));
    return accept_options(*known_options, *geometry, arg::qtensor_quantize::options, request, report);
}

// Where a new handle shall live: where its storage is, where the options say, or where the source is.
moeq_status find_device(const moeq_quantize_options& options, const EncodedWeight& adopted, const Request& request,
                        Device* out, Wanted* by, Report& report)
{
    *by = kSource;
    if (options.storage != nullptr) {
        *out = device_of(adopted);
        *by = {arg::qtensor_quantize::options.field("options.storage"), 0};
        return MOEQ_OK;
    }
    if (options.device_type != MOEQ_DEVICE_DEFAULT)
        *by = {arg::qtensor_quantize::options.field("options.device_type"), 0};
    return read_device(options.device_type, options.device_id, request.source.device(),
                       arg::qtensor_quantize::options.field("options.device_type"),
                       arg::qtensor_quantize::options.field("options.device_id"), out, report);
}

// Calls whose handle or destinations say where to write take no device, but for one that is the same.
moeq_status check_place_given(const moeq_quantize_options& options, const TensorView& source, const Argument& argument,
                              Report& report)
{
    Device given;
    MOEQ_TRY(read_device(options.device_type, options.device_id, source.device(), argument.field("options.device_type"),
                         argument.field("options.device_id"), &given, report));
    if (given == source.device())
        return MOEQ_OK;
    return report.fail(MOEQ_ERROR_DEVICE, argument.field("options.device_type"))
           << "got " << options.device_type << "; want 0, or where the source is: memory is given already";
}

} // namespace

extern "C" moeq_status moeq_qtensor_quantize(const moeq_context* context, const DLManagedTensorVersioned* source,
                                             const moeq_spec* spec, const moeq_quantize_options* options, void* stream,
                                             moeq_qtensor** out, moeq_error* err)
{
    return guarded("moeq_qtensor_quantize", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::qtensor_quantize::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(context, arg::qtensor_quantize::context, report));
        Request request;
        moeq_quantize_options known_options;
        Geometry geometry;
        MOEQ_TRY(accept_request(source, spec, options, &request, &known_options, &geometry, report));
        EncodedWeight weight;
        const bool adopts = known_options.storage != nullptr;
        if (adopts) {
            MOEQ_TRY(accept_components(geometry, known_options.storage, known_options.storage_count, Access::kWrite,
                                       arg::qtensor_quantize::options.field("options.storage"), &weight, report));
            MOEQ_TRY(
                check_apart(weight, request, {arg::qtensor_quantize::options.field("options.storage"), 0}, report));
        }
        Device device;
        Wanted by;
        MOEQ_TRY(find_device(known_options, weight, request, &device, &by, report));
        MOEQ_TRY(open_request(*context, device, by, stream, arg::qtensor_quantize::stream, false, &request, report));
        Input input(request.open);
        MOEQ_TRY(input.bring(kSource, &request.source, report));
        Storage* storage = nullptr;
        MOEQ_TRY(adopts ? storage_adopt(*context, request.open, known_options.storage, known_options.storage_count,
                                        &storage, report)
                        : storage_allocate(*context, request.open, geometry, &weight, &storage, report));
        moeq_qtensor* qtensor = nullptr;
        moeq_status status = qtensor_create(weight, storage, false, &qtensor, report);
        if (status == MOEQ_OK)
            status = encode_with_staging(weight, request, report);
        if (status == MOEQ_OK) {
            *out = qtensor;
            return MOEQ_OK;
        }
        destroy(context->allocator, qtensor);
        adopts ? storage_disown(storage) : storage->release();
        return status;
    });
}

extern "C" moeq_status moeq_quantize_into(const moeq_context* context, const DLManagedTensorVersioned* source,
                                          const moeq_spec* spec, const moeq_quantize_options* options, void* stream,
                                          const moeq_component* destinations, int64_t destination_count,
                                          moeq_error* err)
{
    return guarded("moeq_quantize_into", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(context, arg::quantize_into::context, report));
        Request request;
        moeq_quantize_options known_options;
        Geometry geometry;
        MOEQ_TRY(accept_request(source, spec, options, &request, &known_options, &geometry, report));
        MOEQ_TRY(check_place_given(known_options, request.source, arg::quantize_into::options, report));
        if (known_options.storage != nullptr)
            return report.fail(MOEQ_ERROR_ARGUMENT, arg::quantize_into::options)
                   << "got storage; want none: destinations say where to write";
        EncodedWeight weight;
        MOEQ_TRY(accept_components(geometry, destinations, destination_count, Access::kWrite,
                                   arg::quantize_into::destinations, &weight, report));
        MOEQ_TRY(check_apart(weight, request, {arg::quantize_into::destinations, 0}, report));
        MOEQ_TRY(open_request(*context, device_of(weight), {arg::quantize_into::destinations, 0}, stream,
                              arg::quantize_into::stream, true, &request, report));
        return encode(weight, request, nullptr, report);
    });
}

extern "C" moeq_status moeq_qtensor_requantize(moeq_qtensor* qtensor, const DLManagedTensorVersioned* source,
                                               const moeq_quantize_options* options, void* stream, moeq_error* err)
{
    return guarded("moeq_qtensor_requantize", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(qtensor, arg::qtensor_requantize::qtensor, report));
        const EncodedWeight& weight = qtensor->weight;
        const Geometry& geometry = weight.geometry;
        Request request;
        MOEQ_TRY(accept_tensor(source, kSource, &request.source, report));
        MOEQ_TRY(check_shape(request.source, kSource, geometry.ndim, geometry.shape, report));
        moeq_quantize_options known_options;
        MOEQ_TRY(read_quantize_options(options, arg::qtensor_requantize::options, false, &known_options, report));
        MOEQ_TRY(check_place_given(known_options, request.source, arg::qtensor_requantize::options, report));
        if (known_options.storage != nullptr)
            return report.fail(MOEQ_ERROR_ARGUMENT, arg::qtensor_requantize::options)
                   << "got storage; want none: the handle has its own";
        MOEQ_TRY(accept_options(known_options, geometry, arg::qtensor_requantize::options, &request, report));
        Storage& storage = *qtensor->storage;
        MOEQ_TRY(open_request(*storage.context, storage.device, {arg::qtensor_requantize::qtensor, 0}, stream,
                              arg::qtensor_requantize::stream, true, &request, report));
        if (qtensor->sliced && geometry.nested())
            return report.fail(MOEQ_ERROR_UNSUPPORTED, arg::qtensor_requantize::qtensor)
                   << "got a slice with nested statistics, whose offset all of the weight shares; want the whole "
                      "weight";
        MOEQ_TRY(check_components_writable(weight, {arg::qtensor_requantize::qtensor, 0}, report));
        MOEQ_TRY(check_apart(weight, request, {arg::qtensor_requantize::qtensor, 0}, report));
        storage.generation.fetch_add(1, std::memory_order_relaxed);
        return encode(weight, request, nullptr, report);
    });
}
