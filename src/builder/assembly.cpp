#include "builder/assembly.h"

#include "builder/parts.h"
#include "device/transfer.h"
#include "host/engine.h"

namespace moeq::builder {

Assembly::~Assembly()
{
    for (int64_t e = 0; coverage != nullptr && e < geometry().experts; ++e)
        coverage[e].~Coverage();
    allocator.free(coverage, coverage_bytes());
    allocator.free(amax.data, amax_bytes());
    if (nested_absmax != nullptr)
        open_call.backend->release(open_call.call, nested_absmax, static_cast<uint64_t>(nested_bytes()));
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
        void* memory = nullptr;
        const uint64_t bytes = static_cast<uint64_t>(g.block_count()) * sizeof(float);
        MOEQ_TRY(open_call.backend->allocate(open_call.call, bytes, &memory, report));
        nested_absmax = static_cast<float*>(memory);
    }
    if (given == nullptr)
        return open_call.backend->prepare(open_call.call, weight, nullptr, report);
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
    return open_call.backend->prepare(open_call.call, weight, &amax, report);
}

namespace {

constexpr Wanted kStaged{.argument = {0, nullptr}, .dtypes = 0};

// The elements of a staged unit, as a row of a run or as the box that they fill.
TensorView view_of_unit(const Unit& unit, StagedUnit& staged, int32_t dtype, bool in_runs)
{
    TensorView view;
    view.data = staged.elements();
    view.dtype = dtype;
    view.device_type = MOEQ_DEVICE_CPU;
    view.ndim = 2;
    view.count = unit.elements;
    view.shape[0] = in_runs ? 1 : unit.box.rows();
    view.shape[1] = in_runs ? unit.elements : unit.box.columns();
    set_contiguous_strides(view);
    return view;
}

} // namespace

moeq_status Assembly::encode_staged(StagedUnit* staged, int32_t element_dtype, void* stream, Report& report)
{
    const Geometry& g = geometry();
    const Unit unit = unit_at(g, staged->unit);
    // On the host it was told what the elements are when they were written, and no executor may stop this.
    const Executor serial(nullptr, nullptr, nullptr);
    const Engine alone{serial, open_call.call.engine->kernels};
    OpenCall with = on_stream(stream);
    if (with.on_host())
        with.call.engine = &alone;
    else
        with.call.status_word = status_word;
    Findings findings;
    {
        TensorView view = view_of_unit(unit, *staged, element_dtype, g.in_runs());
        Input input(with);
        MOEQ_TRY(input.bring(kStaged, &view, report));
        float* absmax = nested_absmax == nullptr ? nullptr : nested_absmax + staged->unit;
        MOEQ_TRY(g.in_runs() ? with.backend->encode_run(with.call, weight, element_dtype, view.data,
                                                        {unit.run, unit.begin, unit.begin + unit.elements}, absmax,
                                                        findings, report)
                             : with.backend->encode_part(with.call, weight, {StackView(view), unit.box}, nullptr,
                                                         nullptr, findings, report));
    }
    {
        const Lock lock(mutex);
        staging.remove(staged);
    }
    staged->destroy(allocator);
    return MOEQ_OK;
}

moeq_status Assembly::close(void* stream, Report& report)
{
    while (StagedUnit* staged = staging.first())
        MOEQ_TRY(encode_staged(staged, dtype, stream, report));
    if (!geometry().nested())
        return MOEQ_OK;
    const OpenCall with = on_stream(stream);
    return with.backend->close_nested(with.call, weight, nested_absmax, report);
}

} // namespace moeq::builder
