// Reductions: amax and sum over axes, the helpers around them, and scales from amax.
#include "amax/reduce.h"
#include "amax/scale.h"
#include "api/boundary.h"
#include "api/context.h"
#include "core/status_word.h"
#include "core/text.h"
#include "formats/geometry.h"

using namespace moeq;
using amax::Axes;

namespace {

constexpr int32_t kManyFlags = MOEQ_REDUCE_ACCUMULATE | MOEQ_REDUCE_WRAP_INTEGERS;
constexpr int64_t kBigSource = int64_t{1} << 21; // elements; of many sources, those above are shared among threads

// An empty source has a sum, 0, but no amax, unless there is one already to accumulate into, which then stays.
bool is_amax_of_nothing(const TensorView& source, const Axes& axes)
{
    return source.empty() && axes.operation == MOEQ_REDUCE_AMAX;
}

moeq_status refuse_amax_of_nothing(const TensorView& source, int32_t argument, const char* name, Report& report)
{
    Failure failure = report.fail(MOEQ_ERROR_SHAPE, argument, name);
    failure << "got shape ";
    return failure.shape(source.ndim, source.shape)
           << ", of which there is no amax; want at least one element for each result, or MOEQ_REDUCE_ACCUMULATE";
}

moeq_status check_extents(int32_t ndim, const int64_t* shape, Report& report)
{
    if (ndim < 0 || ndim > kMaxDims)
        return report.fail(MOEQ_ERROR_SHAPE, 1, "ndim") << "got " << ndim << "; want 0 to " << kMaxDims;
    if (ndim > 0)
        MOEQ_TRY(check_not_null(shape, 2, "shape", report));
    for (int32_t i = 0; i < ndim; ++i)
        if (shape[i] < 0)
            return report.fail(MOEQ_ERROR_SHAPE, 2, "shape")
                   << "got extent " << shape[i] << " on axis " << i << "; want 0 or more";
    return MOEQ_OK;
}

} // namespace

extern "C" moeq_status moeq_reduce(const moeq_context* context, const struct DLManagedTensorVersioned* source,
                                   const moeq_reduce_options* options, void* stream,
                                   struct DLManagedTensorVersioned* destination, moeq_error* err)
{
    return guarded("moeq_reduce", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(context, 1, "context", report));
        moeq_reduce_options known;
        MOEQ_TRY(read_struct(options, &known, 3, "options", report));
        TensorView from;
        MOEQ_TRY(accept_tensor(source, {2, "source", kSetReducible}, &from, report));
        MOEQ_TRY(check_host_stream(stream, 4, report));
        Axes axes;
        MOEQ_TRY(amax::read_axes(known, from.ndim, 3, &axes, report));
        const Wanted wanted{5, "destination", amax::result_dtypes(from.dtype), Access::kWrite};
        TensorView to;
        MOEQ_TRY(accept_tensor(destination, wanted, &to, report));
        int32_t ndim = 0;
        int64_t shape[kMaxDims];
        amax::result_shape(axes, from.shape, &ndim, shape);
        MOEQ_TRY(check_shape(to, wanted, ndim, shape, report));
        MOEQ_TRY(check_no_overlap(to, wanted, from, "source", report));
        if (to.empty())
            return MOEQ_OK;
        if (is_amax_of_nothing(from, axes))
            return axes.has(MOEQ_REDUCE_ACCUMULATE) ? MOEQ_OK : refuse_amax_of_nothing(from, 2, "source", report);
        std::atomic<uint32_t> seen{0};
        MOEQ_TRY(amax::reduce(amax::make_plan(from, axes, to), context->kernels, context->executor, seen, report));
        see(known.status_word, seen.load(std::memory_order_relaxed));
        return MOEQ_OK;
    });
}

namespace {

// A reduction of many sources. There is no memory to keep what was found out about each, so a source is accepted twice: by
// check(), which tells what is wrong, and when its turn comes.
struct Many {
    const moeq_context& context;
    const DLManagedTensorVersioned* const* sources;
    int64_t count;
    const moeq_reduce_options& options;
    TensorView destination{};
    bool any_big = false;
    std::atomic<uint32_t> seen{0};

    moeq_status accept(int64_t i, TensorView* view, Axes* axes, Report& report) const
    {
        char name[40];
        Text(name, sizeof name).add("sources[").add(i).add(']');
        MOEQ_TRY(accept_tensor(sources[i], {2, name, kSetReducible}, view, report));
        MOEQ_TRY(amax::read_axes(options, view->ndim, 4, axes, report));
        if ((amax::result_dtypes(view->dtype) & dtype_set(destination.dtype)) == 0) {
            char names[128];
            describe_dtype_set(amax::result_dtypes(view->dtype), names);
            return report.fail(MOEQ_ERROR_DTYPE, 6, "destination")
                   << "got " << dtype_name(destination.dtype) << " for " << name << " of " << dtype_name(view->dtype)
                   << "; want " << names;
        }
        MOEQ_TRY(check_no_overlap(destination, {6, "destination", 0, Access::kWrite}, *view, name, report));
        if (is_amax_of_nothing(*view, *axes) && !axes->has(MOEQ_REDUCE_ACCUMULATE))
            return refuse_amax_of_nothing(*view, 2, name, report);
        return MOEQ_OK;
    }

    moeq_status check(Report& report)
    {
        TensorView view;
        Axes axes;
        for (int64_t i = 0; i < count; ++i) {
            MOEQ_TRY(accept(i, &view, &axes, report));
            any_big = any_big || view.count > kBigSource;
        }
        return MOEQ_OK;
    }

    moeq_status run_one(const TensorView& view, const Axes& axes, int64_t i, const Executor& executor, Report& report)
    {
        if (is_amax_of_nothing(view, axes))
            return MOEQ_OK;
        TensorView slot = destination;
        slot.ndim = 0;
        slot.count = 1;
        slot.data += i * destination.strides[0] * destination.itemsize();
        return amax::reduce(amax::make_plan(view, axes, slot), context.kernels, executor, seen, report);
    }

    // Small sources are a task each, big ones are shared.
    moeq_status run(Report& report)
    {
        auto small = [&](int64_t i) {
            Report silent("", nullptr);
            TensorView view;
            Axes axes;
            if (accept(i, &view, &axes, silent) == MOEQ_OK && view.count <= kBigSource)
                static_cast<void>(run_one(view, axes, i, Executor(nullptr, nullptr, nullptr), silent));
        };
        MOEQ_TRY(context.executor.for_each(count, small, report));
        TensorView view;
        Axes axes;
        for (int64_t i = 0; any_big && i < count; ++i) {
            MOEQ_TRY(accept(i, &view, &axes, report));
            if (view.count > kBigSource)
                MOEQ_TRY(run_one(view, axes, i, context.executor, report));
        }
        return MOEQ_OK;
    }
};

moeq_status check_many_options(const moeq_reduce_options& options, Report& report)
{
    if (options.axes != nullptr || options.blocks != nullptr)
        return report.fail(MOEQ_ERROR_ARGUMENT, 4, "options") << "got " << (options.axes != nullptr ? "axes" : "blocks")
                                                              << "; want NULL: each source becomes one number";
    if ((options.flags & ~kManyFlags) != 0)
        return report.fail(MOEQ_ERROR_ARGUMENT, 4, "options")
               << "got flags " << options.flags
               << "; want none but ACCUMULATE and WRAP_INTEGERS: each source becomes one number";
    Axes unused;
    return amax::read_axes(options, 0, 4, &unused, report);
}

} // namespace

extern "C" moeq_status moeq_reduce_many(const moeq_context* context,
                                        const struct DLManagedTensorVersioned* const* sources, int64_t count,
                                        const moeq_reduce_options* options, void* stream,
                                        struct DLManagedTensorVersioned* destination, moeq_error* err)
{
    return guarded("moeq_reduce_many", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(context, 1, "context", report));
        if (count < 0)
            return report.fail(MOEQ_ERROR_ARGUMENT, 3, "count") << "got " << count << "; want 0 or more";
        if (count > 0)
            MOEQ_TRY(check_not_null(sources, 2, "sources", report));
        moeq_reduce_options known;
        MOEQ_TRY(read_struct(options, &known, 4, "options", report));
        MOEQ_TRY(check_many_options(known, report));
        MOEQ_TRY(check_host_stream(stream, 5, report));
        const Wanted wanted{6, "destination", kSetReducible, Access::kWrite};
        Many many{*context, sources, count, known};
        MOEQ_TRY(accept_tensor(destination, wanted, &many.destination, report));
        MOEQ_TRY(check_shape(many.destination, wanted, 1, &count, report));
        MOEQ_TRY(many.check(report));
        MOEQ_TRY(many.run(report));
        see(known.status_word, many.seen.load(std::memory_order_relaxed));
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_reduce_shape(int32_t ndim, const int64_t* shape, const moeq_reduce_options* options,
                                         int32_t* out_ndim, int64_t* out_shape, moeq_error* err)
{
    return guarded("moeq_reduce_shape", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_extents(ndim, shape, report));
        moeq_reduce_options known;
        MOEQ_TRY(read_struct(options, &known, 3, "options", report));
        MOEQ_TRY(check_not_null(out_ndim, 4, "out_ndim", report));
        if (ndim > 0)
            MOEQ_TRY(check_not_null(out_shape, 5, "out_shape", report));
        Axes axes;
        MOEQ_TRY(amax::read_axes(known, ndim, 3, &axes, report));
        amax::result_shape(axes, shape, out_ndim, out_shape);
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_reduce_axes(int32_t ndim, const int32_t* quant_axes, int32_t quant_axis_count,
                                        int32_t* out_axes, int32_t* out_count, moeq_error* err)
{
    return guarded("moeq_reduce_axes", err, [&](Report& report) -> moeq_status {
        if (ndim < 0 || ndim > kMaxDims)
            return report.fail(MOEQ_ERROR_SHAPE, 1, "ndim") << "got " << ndim << "; want 0 to " << kMaxDims;
        if (quant_axis_count < 0 || (quant_axes == nullptr && quant_axis_count != 0))
            return report.fail(MOEQ_ERROR_ARGUMENT, 3, "quant_axis_count")
                   << "got " << quant_axis_count << "; want the length of quant_axes, and 0 with NULL";
        if (ndim > 0)
            MOEQ_TRY(check_not_null(out_axes, 4, "out_axes", report));
        MOEQ_TRY(check_not_null(out_count, 5, "out_count", report));
        bool kept[kMaxDims] = {};
        for (int32_t i = 0; i < quant_axis_count; ++i) {
            int32_t axis = 0;
            MOEQ_TRY(amax::read_axis(quant_axes[i], ndim, 2, "quant_axes", &axis, report));
            if (kept[axis])
                return report.fail(MOEQ_ERROR_ARGUMENT, 2, "quant_axes")
                       << "got axis " << quant_axes[i] << " (" << axis << ") twice; want each axis once";
            kept[axis] = true;
        }
        *out_count = 0;
        for (int32_t axis = 0; axis < ndim; ++axis)
            if (!kept[axis])
                out_axes[(*out_count)++] = axis;
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_scale_from_amax(const moeq_context* context, const struct DLManagedTensorVersioned* amax,
                                            const moeq_spec* spec, void* stream,
                                            struct DLManagedTensorVersioned* destination, moeq_error* err)
{
    return guarded("moeq_scale_from_amax", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(context, 1, "context", report));
        MOEQ_TRY(check_not_null(spec, 3, "spec", report));
        moeq_spec known;
        MOEQ_TRY(read_struct(spec, &known, 3, "spec", report));
        MOEQ_TRY(resolve_spec(known, 3, "spec", &known, report));
        TensorView from;
        MOEQ_TRY(accept_tensor(amax, {2, "amax", kSetFp32}, &from, report));
        MOEQ_TRY(check_host_stream(stream, 4, report));
        const Wanted wanted{5, "destination", kSetWeights, Access::kWrite};
        TensorView to;
        MOEQ_TRY(accept_tensor(destination, wanted, &to, report));
        MOEQ_TRY(check_shape(to, wanted, from.ndim, from.shape, report));
        MOEQ_TRY(check_no_overlap(to, wanted, from, "amax", report));
        if (to.empty())
            return MOEQ_OK;
        return amax::scale_from_amax(from, find_format(known.format)->factor, to, context->executor, report);
    });
}
