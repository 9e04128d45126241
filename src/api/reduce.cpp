// Reductions: amax and sum over axes, the helpers around them, and scales from amax.
#include "api/arguments.h"
#include "api/boundary.h"
#include "api/call.h"
#include "api/spec.h"
#include "core/text.h"
#include "formats/geometry.h"

using namespace moeq;
using amax::Axes;

namespace {

constexpr int32_t kManyFlags = MOEQ_REDUCE_ACCUMULATE | MOEQ_REDUCE_WRAP_INTEGERS;
constexpr int64_t kBigSource = int64_t{1} << 21; // elements; of many sources, those above are shared among threads

moeq_status open_hot_call(const moeq_context& context, const Device& device, const Wanted& by, void* stream,
                          const Argument& stream_argument, uint32_t* status_word, OpenCall* out, Report& report)
{
    out->call.status_word = status_word;
    out->call.hot = true;
    return open_call(context, device, by, stream, stream_argument, out, report);
}

// An empty source has a sum, 0, but no amax, unless there is one already to accumulate into, which then stays.
bool is_amax_of_nothing(const TensorView& source, const Axes& axes)
{
    return source.empty() && axes.operation == MOEQ_REDUCE_AMAX;
}

moeq_status refuse_amax_of_nothing(const TensorView& source, const Argument& argument, Report& report)
{
    Failure failure = report.fail(MOEQ_ERROR_SHAPE, argument);
    failure << "got shape ";
    return failure.shape(source.ndim, source.shape)
           << ", of which there is no amax; want at least one element for each result, or MOEQ_REDUCE_ACCUMULATE";
}

moeq_status check_extents(int32_t ndim, const int64_t* shape, Report& report)
{
    if (ndim < 0 || ndim > kMaxDims)
        return report.fail(MOEQ_ERROR_SHAPE, arg::reduce_shape::ndim) << "got " << ndim << "; want 0 to " << kMaxDims;
    if (ndim > 0)
        MOEQ_TRY(check_not_null(shape, arg::reduce_shape::shape, report));
    for (int32_t i = 0; i < ndim; ++i)
        if (shape[i] < 0)
            return report.fail(MOEQ_ERROR_SHAPE, arg::reduce_shape::shape)
                   << "got extent " << shape[i] << " on axis " << i << "; want 0 or more";
    return MOEQ_OK;
}

} // namespace

extern "C" moeq_status moeq_reduce(const moeq_context* context, const struct DLManagedTensorVersioned* source,
                                   const moeq_reduce_options* options, void* stream,
                                   struct DLManagedTensorVersioned* destination, moeq_error* err)
{
    return guarded("moeq_reduce", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(context, arg::reduce::context, report));
        moeq_reduce_options known;
        MOEQ_TRY(read_struct(options, &known, arg::reduce::options, report));
        TensorView from;
        const Wanted source_wanted{
            .argument = arg::reduce::source, .dtypes = kSetReducible, .where = Where::kAnyDevice};
        MOEQ_TRY(accept_tensor(source, source_wanted, &from, report));
        OpenCall open;
        MOEQ_TRY(open_hot_call(*context, from.device(), source_wanted, stream, arg::reduce::stream, known.status_word,
                               &open, report));
        Axes axes;
        MOEQ_TRY(amax::read_axes(known, from.ndim, arg::reduce::options.number, &axes, report));
        const Wanted wanted{arg::reduce::destination, amax::result_dtypes(from.dtype), Access::kWrite,
                            Where::kAnyDevice};
        TensorView to;
        MOEQ_TRY(accept_tensor(destination, wanted, &to, report));
        MOEQ_TRY(check_placed(open.call, to, wanted, report));
        int32_t ndim = 0;
        int64_t shape[kMaxDims];
        amax::result_shape(axes, from.shape, &ndim, shape);
        MOEQ_TRY(check_shape(to, wanted, ndim, shape, report));
        MOEQ_TRY(check_no_overlap(to, wanted, from, "source", report));
        if (to.empty())
            return MOEQ_OK;
        if (is_amax_of_nothing(from, axes))
            return axes.has(MOEQ_REDUCE_ACCUMULATE) ? MOEQ_OK
                                                    : refuse_amax_of_nothing(from, arg::reduce::source, report);
        return open.backend->reduce(open.call, amax::make_plan(from, axes, to), report);
    });
}

namespace {

// A reduction of many sources. There is no memory to keep what was found out about each, so a source is accepted twice: by
// check(), which tells what is wrong, and when its turn comes.
struct Many {
    const moeq_context& context;
    const OpenCall& open;
    const DLManagedTensorVersioned* const* sources;
    int64_t count;
    const moeq_reduce_options& options;
    const TensorView& destination;
    bool any_big = false;

    moeq_status accept(int64_t i, TensorView* view, Axes* axes, Report& report) const
    {
        char name[40];
        Text(name, sizeof name).add("sources[").add(i).add(']');
        const Wanted wanted{arg::reduce_many::sources.field(name), kSetReducible, Access::kRead, Where::kAnyDevice};
        MOEQ_TRY(accept_tensor(sources[i], wanted, view, report));
        MOEQ_TRY(check_placed(open.call, *view, wanted, report));
        MOEQ_TRY(amax::read_axes(options, view->ndim, arg::reduce_many::options.number, axes, report));
        if ((amax::result_dtypes(view->dtype) & dtype_set(destination.dtype)) == 0) {
            char names[128];
            describe_dtype_set(amax::result_dtypes(view->dtype), names);
            return report.fail(MOEQ_ERROR_DTYPE, arg::reduce_many::destination)
                   << "got " << dtype_name(destination.dtype) << " for " << name << " of " << dtype_name(view->dtype)
                   << "; want " << names;
        }
        MOEQ_TRY(
            check_no_overlap(destination, {arg::reduce_many::destination, 0, Access::kWrite}, *view, name, report));
        if (is_amax_of_nothing(*view, *axes) && !axes->has(MOEQ_REDUCE_ACCUMULATE))
            return refuse_amax_of_nothing(*view, wanted.argument, report);
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

    moeq_status run_one(const Call& call, const TensorView& view, const Axes& axes, int64_t i, Report& report)
    {
        if (is_amax_of_nothing(view, axes))
            return MOEQ_OK;
        TensorView slot = destination;
        slot.ndim = 0;
        slot.count = 1;
        slot.data += i * destination.strides[0] * destination.itemsize();
        return open.backend->reduce(call, amax::make_plan(view, axes, slot), report);
    }

    // On the host small sources are a task each, big ones are shared. On a device all follow each other on the stream.
    moeq_status run(Report& report)
    {
        const bool on_host = open.call.device.on_host();
        const Executor serial(nullptr, nullptr, nullptr);
        const Engine alone{serial, context.kernels};
        Call call = open.call;
        call.engine = &alone;
        auto small = [&](int64_t i) {
            Report silent("", nullptr);
            TensorView view;
            Axes axes;
            if (accept(i, &view, &axes, silent) == MOEQ_OK && view.count <= kBigSource)
                static_cast<void>(run_one(call, view, axes, i, silent));
        };
        if (on_host)
            MOEQ_TRY(context.executor.for_each(count, small, report));
        TensorView view;
        Axes axes;
        for (int64_t i = 0; (any_big || !on_host) && i < count; ++i) {
            MOEQ_TRY(accept(i, &view, &axes, report));
            if (view.count > kBigSource || !on_host)
                MOEQ_TRY(run_one(open.call, view, axes, i, report));
        }
        return MOEQ_OK;
    }
};

moeq_status check_many_options(const moeq_reduce_options& options, Report& report)
{
    if (options.axes != nullptr || options.blocks != nullptr)
        return report.fail(MOEQ_ERROR_ARGUMENT, arg::reduce_many::options)
               << "got " << (options.axes != nullptr ? "axes" : "blocks")
               << "; want NULL: each source becomes one number";
    if ((options.flags & ~kManyFlags) != 0)
        return report.fail(MOEQ_ERROR_ARGUMENT, arg::reduce_many::options)
               << "got flags " << options.flags
               << "; want none but ACCUMULATE and WRAP_INTEGERS: each source becomes one number";
    Axes unused;
    return amax::read_axes(options, 0, arg::reduce_many::options.number, &unused, report);
}

} // namespace

extern "C" moeq_status moeq_reduce_many(const moeq_context* context,
                                        const struct DLManagedTensorVersioned* const* sources, int64_t count,
                                        const moeq_reduce_options* options, void* stream,
                                        struct DLManagedTensorVersioned* destination, moeq_error* err)
{
    return guarded("moeq_reduce_many", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(context, arg::reduce_many::context, report));
        if (count < 0)
            return report.fail(MOEQ_ERROR_ARGUMENT, arg::reduce_many::count) << "got " << count << "; want 0 or more";
        if (count > 0)
            MOEQ_TRY(check_not_null(sources, arg::reduce_many::sources, report));
        moeq_reduce_options known;
        MOEQ_TRY(read_struct(options, &known, arg::reduce_many::options, report));
        MOEQ_TRY(check_many_options(known, report));
        const Wanted wanted{arg::reduce_many::destination, kSetReducible, Access::kWrite, Where::kAnyDevice};
        TensorView to;
        MOEQ_TRY(accept_tensor(destination, wanted, &to, report));
        OpenCall open;
        MOEQ_TRY(open_hot_call(*context, to.device(), wanted, stream, arg::reduce_many::stream, known.status_word,
                               &open, report));
        MOEQ_TRY(check_shape(to, wanted, 1, &count, report));
        Many many{*context, open, sources, count, known, to};
        MOEQ_TRY(many.check(report));
        return many.run(report);
    });
}

extern "C" moeq_status moeq_reduce_shape(int32_t ndim, const int64_t* shape, const moeq_reduce_options* options,
                                         int32_t* out_ndim, int64_t* out_shape, moeq_error* err)
{
    return guarded("moeq_reduce_shape", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_extents(ndim, shape, report));
        moeq_reduce_options known;
        MOEQ_TRY(read_struct(options, &known, arg::reduce_shape::options, report));
        MOEQ_TRY(check_not_null(out_ndim, arg::reduce_shape::out_ndim, report));
        if (ndim > 0)
            MOEQ_TRY(check_not_null(out_shape, arg::reduce_shape::out_shape, report));
        Axes axes;
        MOEQ_TRY(amax::read_axes(known, ndim, arg::reduce_shape::options.number, &axes, report));
        amax::result_shape(axes, shape, out_ndim, out_shape);
        return MOEQ_OK;
    });
}

extern "C" moeq_status moeq_reduce_axes(int32_t ndim, const int32_t* quant_axes, int32_t quant_axis_count,
                                        int32_t* out_axes, int32_t* out_count, moeq_error* err)
{
    return guarded("moeq_reduce_axes", err, [&](Report& report) -> moeq_status {
        if (ndim < 0 || ndim > kMaxDims)
            return report.fail(MOEQ_ERROR_SHAPE, arg::reduce_axes::ndim)
                   << "got " << ndim << "; want 0 to " << kMaxDims;
        if (quant_axis_count < 0 || (quant_axes == nullptr && quant_axis_count != 0))
            return report.fail(MOEQ_ERROR_ARGUMENT, arg::reduce_axes::quant_axis_count)
                   << "got " << quant_axis_count << "; want the length of quant_axes, and 0 with NULL";
        if (ndim > 0)
            MOEQ_TRY(check_not_null(out_axes, arg::reduce_axes::out_axes, report));
        MOEQ_TRY(check_not_null(out_count, arg::reduce_axes::out_count, report));
        bool kept[kMaxDims] = {};
        for (int32_t i = 0; i < quant_axis_count; ++i) {
            int32_t axis = 0;
            MOEQ_TRY(amax::read_axis(quant_axes[i], ndim, arg::reduce_axes::quant_axes.number,
                                     arg::reduce_axes::quant_axes.name, &axis, report));
            if (kept[axis])
                return report.fail(MOEQ_ERROR_ARGUMENT, arg::reduce_axes::quant_axes)
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
        MOEQ_TRY(check_handle(context, arg::scale_from_amax::context, report));
        MOEQ_TRY(check_not_null(spec, arg::scale_from_amax::spec, report));
        moeq_spec known;
        MOEQ_TRY(read_struct(spec, &known, arg::scale_from_amax::spec, report));
        MOEQ_TRY(resolve_spec(known, arg::scale_from_amax::spec, &known, report));
        TensorView from;
        const Wanted amax_wanted{
            .argument = arg::scale_from_amax::amax, .dtypes = kSetFp32, .where = Where::kAnyDevice};
        MOEQ_TRY(accept_tensor(amax, amax_wanted, &from, report));
        OpenCall open;
        MOEQ_TRY(open_hot_call(*context, from.device(), amax_wanted, stream, arg::scale_from_amax::stream, nullptr,
                               &open, report));
        const Wanted wanted{arg::scale_from_amax::destination, kSetWeights, Access::kWrite, Where::kAnyDevice};
        TensorView to;
        MOEQ_TRY(accept_tensor(destination, wanted, &to, report));
        MOEQ_TRY(check_placed(open.call, to, wanted, report));
        MOEQ_TRY(check_shape(to, wanted, from.ndim, from.shape, report));
        MOEQ_TRY(check_no_overlap(to, wanted, from, "amax", report));
        if (to.empty())
            return MOEQ_OK;
        return open.backend->scale_from_amax(open.call, from, known.format, to, report);
    });
}
