#include "device/host_backend.h"

#include "amax/reduce.h"
#include "amax/scale.h"
#include "core/copy_view.h"
#include "core/memory.h"
#include "core/status_word.h"
#include "host/compare.h"
#include "host/nested.h"

namespace moeq {

namespace {

moeq_status open_device(const Device&, Report&) { return MOEQ_OK; }

moeq_status allocate(const Call& call, uint64_t bytes, void** out, Report& report)
{
    *out = call.allocator->allocate(bytes);
    return *out != nullptr ? MOEQ_OK : report.out_of_memory(bytes);
}

void release(const Call& call, void* memory, uint64_t bytes) { call.allocator->free(memory, bytes); }

moeq_status copy(const Call&, const TensorView& from, const TensorView& to, Report&)
{
    copy_view(from, to);
    return MOEQ_OK;
}

void write_code_map(const EncodedWeight& weight)
{
    const TensorView& view = weight.code_map;
    for (int64_t i = 0; i < view.count; ++i)
        *reinterpret_cast<float*>(view.data + i * view.strides[0] * view.itemsize()) =
            weight.geometry.format->code_map[i];
}

moeq_status prepare(const Call&, const EncodedWeight& weight, const TensorView* amax, Report&)
{
    write_code_map(weight);
    if (!weight.geometry.in_runs() && weight.geometry.count() == 0)
        store_zero_scales(weight);
    else if (amax != nullptr)
        store_given_scales(weight, *amax);
    return MOEQ_OK;
}

moeq_status encode(const Call& call, const EncodedWeight& weight, const StackView& source, const TensorView* amax,
                   float* absmax, Findings& findings, Report& report)
{
    const moeq_status status = encode_weight(*call.engine, weight, source, amax, absmax, findings, report);
    see(call.status_word, findings.seen());
    return status;
}

moeq_status encode_part(const Call& call, const EncodedWeight& weight, const Patch& patch, const TensorView* amax,
                        float* absmax, Findings& findings, Report& report)
{
    const moeq_status status = encode_whole_units(*call.engine, weight, patch, amax, absmax, findings, report);
    see(call.status_word, findings.seen());
    return status;
}

moeq_status encode_elements(const Call& call, const EncodedWeight& weight, int32_t dtype, const void* elements,
                            int64_t run, int64_t begin, int64_t end, float* absmax, Findings& findings, Report&)
{
    const int64_t block = weight.geometry.block;
    const char* at = static_cast<const char*>(elements);
    for (int64_t first = begin; first < end; first += block) {
        const int64_t count = minimum(block, end - first);
        float statistic;
        encode_lone_block(*call.engine, weight, dtype, at, run, first, count, &statistic, findings);
        if (absmax == nullptr)
            store_block_statistics(weight, run, first / block, 1, &statistic);
        else
            absmax[(first - begin) / block] = statistic;
        at += count * dtype_bytes(dtype);
    }
    return MOEQ_OK;
}

moeq_status close_nested(const Call& call, const EncodedWeight& weight, const float* absmax, Report& report)
{
    return store_nested(call.engine->executor, call.engine->kernels.encode_nested, weight, absmax, report);
}

moeq_status decode(const Call& call, const EncodedWeight& weight, const ExpertList& experts, int64_t row_begin,
                   int64_t row_end, const StackView& destination, int32_t stores, Report& report)
{
    return decode_rows(*call.engine, weight, experts, row_begin, row_end, destination, stores, report);
}

moeq_status compare(const Call& call, const EncodedWeight& weight, const StackView& source, const MetricSink& sink,
                    Report& report)
{
    return compare_weight(*call.engine, weight, source, sink, report);
}

moeq_status reduce(const Call& call, const amax::Plan& plan, Report& report)
{
    std::atomic<uint32_t> seen{0};
    MOEQ_TRY(amax::reduce(plan, call.engine->kernels, call.engine->executor, seen, report));
    see(call.status_word, seen.load(std::memory_order_relaxed));
    return MOEQ_OK;
}

moeq_status scale_from_amax(const Call& call, const TensorView& amax, int32_t format, const TensorView& destination,
                            Report& report)
{
    return amax::scale_from_amax(amax, find_format(format)->factor, destination, call.engine->executor, report);
}

} // namespace

constinit const Backend kHostBackend{
    .version = kBackendVersion,
    .backend_bytes = sizeof(Backend),
    .call_bytes = sizeof(Call),
    .weight_bytes = sizeof(EncodedWeight),
    .plan_bytes = sizeof(amax::Plan),
    .device_type = MOEQ_DEVICE_CPU,
    .name = "host",
    .open_device = open_device,
    .allocate = allocate,
    .release = release,
    .copy = copy,
    .prepare = prepare,
    .encode = encode,
    .encode_part = encode_part,
    .encode_run = encode_elements,
    .close_nested = close_nested,
    .decode = decode,
    .compare = compare,
    .reduce = reduce,
    .scale_from_amax = scale_from_amax,
};

} // namespace moeq
