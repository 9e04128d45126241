// The ways into quantized form: a new handle, the caller's own tensors, a handle's storage once more.
#include "api/boundary.h"
#include "api/options.h"
#include "api/qtensor.h"

using namespace moeq;

namespace {

constexpr int64_t kNestedStagingLimit = 32 << 20; // bytes; beyond it nested statistics read the source again

// What quantize, quantize_into and requantize have in common: a source, and what is asked of it.
struct Request {
    TensorView source;
    TensorView amax;
    bool has_amax = false;
    uint32_t* status_word = nullptr;

    const TensorView* given_amax() const { return has_amax ? &amax : nullptr; }
};

moeq_status accept_source(const DLManagedTensorVersioned* source, int32_t argument, Request* request, Report& report)
{
    return accept_tensor(source, {.argument = argument, .name = "source", .dtypes = kSetWeights}, &request->source,
                         report);
}

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

moeq_status encode(const moeq_context& context, const EncodedWeight& weight, const Request& request,
                   int32_t source_argument, float* absmax_staging, Report& report)
{
    Findings findings;
    MOEQ_TRY(encode_weight(engine_of(context), weight, StackView(request.source), request.given_amax(), absmax_staging,
                           findings, report));
    return conclude(findings, weight.geometry, source_argument, "source", request.status_word, report);
}

// Encodes with room for nested statistics where that is small; nothing else is allocated.
moeq_status encode_with_staging(const moeq_context& context, const EncodedWeight& weight, const Request& request,
                                int32_t source_argument, Report& report)
{
    const int64_t bytes =
        weight.geometry.nested() ? weight.geometry.block_count() * static_cast<int64_t>(sizeof(float)) : 0;
    float* staging = nullptr;
    if (bytes > 0 && bytes <= kNestedStagingLimit)
        staging = static_cast<float*>(context.allocator.allocate(static_cast<uint64_t>(bytes)));
    const moeq_status status = encode(context, weight, request, source_argument, staging, report);
    context.allocator.free(staging, static_cast<uint64_t>(bytes));
    return status;
}

// Arguments 2 to 5 of the calls that take a dense source: source, spec, options, stream.
moeq_status accept_request(const DLManagedTensorVersioned* source, const moeq_spec* spec,
                           const moeq_quantize_options* options, const void* stream, Request* request,
                           moeq_quantize_options* known_options, Geometry* geometry, Report& report)
{
    MOEQ_TRY(check_not_null(spec, 3, "spec", report));
    MOEQ_TRY(accept_source(source, 2, request, report));
    moeq_spec known;
    MOEQ_TRY(read_struct(spec, &known, 3, "spec", report));
    if (known.logical_dtype == MOEQ_DTYPE_DEFAULT)
        known.logical_dtype = request->source.dtype;
    MOEQ_TRY(make_geometry(known, 3, request->source.ndim, request->source.shape, 2, "source", geometry, report));
    MOEQ_TRY(read_quantize_options(options, 4, false, known_options, report));
    MOEQ_TRY(accept_options(*known_options, *geometry, 4, request, report));
    return check_host_stream(stream, 5, report);
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
        MOEQ_TRY(accept_request(source, spec, options, stream, &request, &known_options, &geometry, report));
        EncodedWeight weight;
        Storage* storage = nullptr;
        const bool adopts = known_options.storage != nullptr;
        if (adopts) {
            MOEQ_TRY(accept_components(geometry, known_options.storage, known_options.storage_count, Access::kWrite, 4,
                                       "options.storage", &weight, report));
            MOEQ_TRY(check_apart(weight, request, {4, "options.storage", 0}, report));
            MOEQ_TRY(storage_adopt(*context, known_options.storage, known_options.storage_count, &storage, report));
        } else {
            MOEQ_TRY(storage_allocate(*context, geometry, &weight, &storage, report));
        }
        moeq_qtensor* qtensor = nullptr;
        moeq_status status = qtensor_create(weight, storage, false, &qtensor, report);
        write_code_map(weight);
        if (status == MOEQ_OK)
            status = encode_with_staging(*context, weight, request, 2, report);
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
        MOEQ_TRY(accept_request(source, spec, options, stream, &request, &known_options, &geometry, report));
        if (known_options.storage != nullptr)
            return report.fail(MOEQ_ERROR_ARGUMENT, 4, "options")
                   << "got storage; want none: destinations say where to write";
        EncodedWeight weight;
        MOEQ_TRY(accept_components(geometry, destinations, destination_count, Access::kWrite, 6, "destinations",
                                   &weight, report));
        MOEQ_TRY(check_apart(weight, request, {6, "destinations", 0}, report));
        write_code_map(weight);
        return encode(*context, weight, request, 2, nullptr, report);
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
        MOEQ_TRY(accept_source(source, 2, &request, report));
        MOEQ_TRY(check_shape(request.source, {2, "source", 0}, geometry.ndim, geometry.shape, report));
        moeq_quantize_options known_options;
        MOEQ_TRY(read_quantize_options(options, 3, false, &known_options, report));
        if (known_options.storage != nullptr)
            return report.fail(MOEQ_ERROR_ARGUMENT, 3, "options") << "got storage; want none: the handle has its own";
        MOEQ_TRY(accept_options(known_options, geometry, 3, &request, report));
        MOEQ_TRY(check_host_stream(stream, 4, report));
        if (qtensor->sliced && geometry.nested())
            return report.fail(MOEQ_ERROR_UNSUPPORTED, 1, "qtensor")
                   << "got a slice with nested statistics, whose offset all of the weight shares; want the whole "
                      "weight";
        MOEQ_TRY(check_components_writable(weight, {1, "qtensor", 0}, report));
        MOEQ_TRY(check_apart(weight, request, {1, "qtensor", 0}, report));
        qtensor->storage->generation.fetch_add(1, std::memory_order_relaxed);
        return encode(*qtensor->storage->context, weight, request, 2, nullptr, report);
    });
}
