// The ways into quantized form: a new handle, the caller's own tensors, a handle's storage once more.
#include "api/boundary.h"
#include "api/options.h"
#include "api/qtensor.h"

using namespace moeq;

namespace {

constexpr int64_t kNestedStagingLimit = 32 << 20; // bytes; beyond it nested statistics read the source again

constexpr Wanted kSource{.argument = 2, .name = "source", .dtypes = kSetWeights, .where = Where::kAnyDevice};

// What quantize, quantize_into and requantize have in common: a source, and what is asked of it.
struct Request {
    TensorView source;
    TensorView amax;
    bool has_amax = false;
    uint32_t* status_word = nullptr;
    OpenCall open;

    const TensorView* given_amax() const { return has_amax ? &amax : nullptr; }
};

moeq_status accept_options(const moeq_quantize_options& options, const Geometry& geometry, int32_t argument,
                           Request* request, Report& report)
{
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
                         int32_t stream_argument, bool hot, Request* request, Report& report)
{
    const int32_t options_argument = stream_argument - 1;
    MOEQ_TRY(open_call(context, device, by, stream, stream_argument, &request->open, report));
    Call& call = request->open.call;
    call.status_word = request->status_word;
    call.hot = hot;
    if (hot)
        MOEQ_TRY(check_placed(call, request->source, kSource, report));
    if (!request->has_amax || request->amax.device().on_host())
        return MOEQ_OK;
    return check_placed(call, request->amax, {options_argument, "amax", 0}, report);
}

moeq_status encode(const EncodedWeight& weight, const Request& request, float* absmax_staging, Report& report)
{
    const auto& [call, backend] = request.open;
    Findings findings;
    MOEQ_TRY(backend->prepare(call, weight, request.given_amax(), report));
    MOEQ_TRY(backend->encode(call, weight, StackView(request.source), request.given_amax(), absmax_staging, findings,
                             report));
    return conclude(findings, weight.geometry, kSource.argument, kSource.name, report);
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

// Arguments 2 to 4 of the calls that take a dense source: source, spec, options.
moeq_status accept_request(const DLManagedTensorVersioned* source, const moeq_spec* spec,
                           const moeq_quantize_options* options, Request* request, moeq_quantize_options* known_options,
                           Geometry* geometry, Report& report)
{
    MOEQ_TRY(check_not_null(spec, 3, "spec", report));
    MOEQ_TRY(accept_tensor(source, kSource, &request->source, report));
    moeq_spec known;
    MOEQ_TRY(read_struct(spec, &known, 3, "spec", report));
    if (known.logical_dtype == MOEQ_DTYPE_DEFAULT)
        known.logical_dtype = request->source.dtype;
    MOEQ_TRY(make_geometry(known, 3, request->source.ndim, request->source.shape, 2, "source", geometry, report));
    MOEQ_TRY(read_quantize_options(options, 4, false, known_options, report));
    return accept_options(*known_options, *geometry, 4, request, report);
}

// Where a new handle shall live: where its storage is, where the options say, or where the source is.
moeq_status find_device(const moeq_quantize_options& options, const EncodedWeight& adopted, const Request& request,
                        Device* out, Wanted* by, Report& report)
{
    *by = kSource;
    if (options.storage != nullptr) {
        *out = device_of(adopted);
        *by = {4, "options.storage", 0};
        return MOEQ_OK;
    }
    if (options.device_type != MOEQ_DEVICE_DEFAULT)
        *by = {4, "options.device_type", 0};
    return read_device(options.device_type, options.device_id, request.source.device(), 4, 4, "options.device_type",
                       "options.device_id", out, report);
}

// Calls whose handle or destinations say where to write take no device, but for one that is the same.
moeq_status check_place_given(const moeq_quantize_options& options, const TensorView& source, int32_t argument,
                              Report& report)
{
    Device given;
    MOEQ_TRY(read_device(options.device_type, options.device_id, source.device(), argument, argument,
                         "options.device_type", "options.device_id", &given, report));
    if (given == source.device())
        return MOEQ_OK;
    return report.fail(MOEQ_ERROR_DEVICE, argument, "options.device_type")
           << "got " << options.device_type << "; want 0, or where the source is: memory is given already";
}

} // namespace

extern "C" moeq_status moeq_qtensor_quantize(const moeq_context* context, const DLManagedTensorVersioned* source,
                                             const moeq_spec* spec, const moeq_quantize_options* options, void* stream,
                                             moeq_qtensor** out, moeq_error* err)
{
    return guarded("moeq_qtensor_quantize", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, 6, "out", report));
        *out = nullptr;
        MOEQ_TRY(check_handle(context, 1, "context", report));
        Request request;
        moeq_quantize_options known_options;
        Geometry geometry;
        MOEQ_TRY(accept_request(source, spec, options, &request, &known_options, &geometry, report));
        EncodedWeight weight;
        const bool adopts = known_options.storage != nullptr;
        if (adopts) {
            MOEQ_TRY(accept_components(geometry, known_options.storage, known_options.storage_count, Access::kWrite, 4,
                                       "options.storage", &weight, report));
            MOEQ_TRY(check_apart(weight, request, {4, "options.storage", 0}, report));
        }
        Device device;
        Wanted by;
        MOEQ_TRY(find_device(known_options, weight, request, &device, &by, report));
        MOEQ_TRY(open_request(*context, device, by, stream, 5, false, &request, report));
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
        MOEQ_TRY(check_handle(context, 1, "context", report));
        Request request;
        moeq_quantize_options known_options;
        Geometry geometry;
        MOEQ_TRY(accept_request(source, spec, options, &request, &known_options, &geometry, report));
        MOEQ_TRY(check_place_given(known_options, request.source, 4, report));
        if (known_options.storage != nullptr)
            return report.fail(MOEQ_ERROR_ARGUMENT, 4, "options")
                   << "got storage; want none: destinations say where to write";
        EncodedWeight weight;
        MOEQ_TRY(accept_components(geometry, destinations, destination_count, Access::kWrite, 6, "destinations",
                                   &weight, report));
        MOEQ_TRY(check_apart(weight, request, {6, "destinations", 0}, report));
        MOEQ_TRY(open_request(*context, device_of(weight), {6, "destinations", 0}, stream, 5, true, &request, report));
        return encode(weight, request, nullptr, report);
    });
}

extern "C" moeq_status moeq_qtensor_requantize(moeq_qtensor* qtensor, const DLManagedTensorVersioned* source,
                                               const moeq_quantize_options* options, void* stream, moeq_error* err)
{
    return guarded("moeq_qtensor_requantize", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(qtensor, 1, "qtensor", report));
        const EncodedWeight& weight = qtensor->weight;
        const Geometry& geometry = weight.geometry;
        Request request;
        MOEQ_TRY(accept_tensor(source, kSource, &request.source, report));
        MOEQ_TRY(check_shape(request.source, kSource, geometry.ndim, geometry.shape, report));
        moeq_quantize_options known_options;
        MOEQ_TRY(read_quantize_options(options, 3, false, &known_options, report));
        MOEQ_TRY(check_place_given(known_options, request.source, 3, report));
        if (known_options.storage != nullptr)
            return report.fail(MOEQ_ERROR_ARGUMENT, 3, "options") << "got storage; want none: the handle has its own";
        MOEQ_TRY(accept_options(known_options, geometry, 3, &request, report));
        Storage& storage = *qtensor->storage;
        MOEQ_TRY(open_request(*storage.context, storage.device, {1, "qtensor", 0}, stream, 4, true, &request, report));
        if (qtensor->sliced && geometry.nested())
            return report.fail(MOEQ_ERROR_UNSUPPORTED, 1, "qtensor")
                   << "got a slice with nested statistics, whose offset all of the weight shares; want the whole "
                      "weight";
        MOEQ_TRY(check_components_writable(weight, {1, "qtensor", 0}, report));
        MOEQ_TRY(check_apart(weight, request, {1, "qtensor", 0}, report));
        storage.generation.fetch_add(1, std::memory_order_relaxed);
        return encode(weight, request, nullptr, report);
    });
}
