#include "builder/assembly.h"

#include "builder/parts.h"
#include "host/nested.h"

namespace moeq {

Assembly::~Assembly()
{
    for (int64_t e = 0; coverage != nullptr && e < geometry().experts; ++e)
        coverage[e].~Coverage();
    allocator.free(coverage, coverage_bytes());
    allocator.free(amax.data, amax_bytes());
    allocator.free(nested_absmax, static_cast<uint64_t>(nested_bytes()));
}

moeq_status Assembly::open(const TensorView* given, Report& report)
{
    const Geometry& g = geometry();
    coverage = static_cast<Coverage*>(allocator.allocate(coverage_bytes()));
    if (coverage == nullptr)
        return report.out_of_memory(coverage_bytes());
    for (int64_t e = 0; e < g.experts; ++e)
        ::new (coverage + e) Coverage(allocator);
    if (!staging.create_buckets(unit_count(g)))
        return report.out_of_memory(staging.bucket_bytes());
    if (g.nested()) {
        const uint64_t bytes = static_cast<uint64_t>(g.block_count()) * sizeof(float);
        nested_absmax = static_cast<float*>(allocator.allocate(bytes));
        if (nested_absmax == nullptr)
            return report.out_of_memory(bytes);
    }
    if (given == nullptr)
        return MOEQ_OK;
    TensorView copy = *given;
    const uint64_t bytes = static_cast<uint64_t>(copy.count) * sizeof(float);
    copy.data = static_cast<char*>(allocator.allocate(bytes));
    if (copy.data == nullptr)
        return report.out_of_memory(bytes);
    for (int64_t i = 0; i < copy.count; ++i)
        reinterpret_cast<float*>(copy.data)[i] = *reinterpret_cast<const float*>(
            given->data + i * (given->ndim == 0 ? 0 : given->strides[0]) * given->itemsize());
    set_contiguous_strides(copy);
    amax = copy;
    store_given_scales(weight, amax);
    return MOEQ_OK;
}

moeq_status Assembly::close(Report& report)
{
    if (geometry().count() == 0 && !geometry().in_runs() && amax.data == nullptr)
        store_zero_scales(weight);
    return !geometry().nested()
               ? MOEQ_OK
               : store_nested(engine.executor, engine.kernels.encode_nested, weight, nested_absmax, report);
}

} // namespace moeq
