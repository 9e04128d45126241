// Conversions of checkpoints: src/store does the work.
#include "api/arguments.h"
#include "api/blob.h"
#include "api/boundary.h"
#include "api/qtensor.h"
#include "api/spec.h"
#include "store/convert/run.h"
#include "store/dialects/recognise.h"

using namespace moeq;
using namespace moeq::store;

namespace {

static_assert(arg::convert::options.number == arg::convert_plan::options.number);

constexpr int32_t kAllSteps = MOEQ_CONVERT_UNITS | MOEQ_CONVERT_FINISH;
constexpr int32_t kAllFlags =
    MOEQ_WRITER_NOT_DURABLE | MOEQ_CONVERT_KEEP_FOREIGN | MOEQ_CONVERT_WEIGHTS_ONLY | MOEQ_CONVERT_ALL_FILES;

// Source and plan of a call.
struct Opened {
    explicit Opened(const moeq_context& context)
        : checkpoint(context.allocator), weights(context.allocator), plan(context.allocator)
    {
    }

    moeq_convert_options options{};
    ConvertRequest request;
    Checkpoint checkpoint;
    Weights weights;
    Plan plan;
};

moeq_status refuse_option(Report& report, const char* field, int64_t got, const char* want)
{
    return report.fail(MOEQ_ERROR_ARGUMENT, arg::convert_plan::options)
           << "got " << field << " " << got << "; want " << want;
}

moeq_status read_dense_dtype(const moeq_convert_options& options, ConvertRequest* out, Report& report)
{
    if (options.dense_dtype != 0 && float_type(options.dense_dtype) < 0)
        return refuse_option(report, "dense_dtype", options.dense_dtype,
                             "0, MOEQ_DTYPE_FP32, MOEQ_DTYPE_FP16 or MOEQ_DTYPE_BF16");
    if (options.dense_dtype != 0 && options.spec != nullptr)
        return report.fail(MOEQ_ERROR_ARGUMENT, arg::convert_plan::options)
               << "got spec and dense_dtype; want one of them";
    if (options.reserved != 0)
        return refuse_option(report, "reserved", options.reserved, "0");
    out->dense_dtype = options.dense_dtype;
    return MOEQ_OK;
}

moeq_status read_options(const moeq_convert_options* given, Opened* out, Report& report)
{
    moeq_convert_options& options = out->options;
    MOEQ_TRY(read_struct(given, &options, arg::convert_plan::options, report));
    out->request.dialect = find_dialect(options.dialect);
    if (out->request.dialect == nullptr)
        return refuse_option(report, "dialect", options.dialect, "a MOEQ_DIALECT_ constant that is 0 or more");
    if ((options.steps & ~kAllSteps) != 0)
        return refuse_option(report, "steps", options.steps, "0 or an OR of MOEQ_CONVERT_ constants");
    if ((options.flags & ~kAllFlags) != 0)
        return refuse_option(report, "flags", options.flags,
                             "0 or an OR of MOEQ_WRITER_NOT_DURABLE and the MOEQ_CONVERT_ flags");
    if (options.unit_begin < 0)
        return refuse_option(report, "unit_begin", options.unit_begin, "0 or more");
    if (options.unit_end != 0 && options.unit_end < options.unit_begin)
        return refuse_option(report, "unit_end", options.unit_end, "0, or unit_begin or more");
    MOEQ_TRY(read_dense_dtype(options, &out->request, report));
    out->request.rules = options.rules;
    out->request.patterns = options.patterns;
    out->request.keep_foreign = (options.flags & MOEQ_CONVERT_KEEP_FOREIGN) != 0;
    out->request.weights_only = (options.flags & MOEQ_CONVERT_WEIGHTS_ONLY) != 0;
    out->request.has_spec = options.spec != nullptr;
    if (options.spec == nullptr)
        return MOEQ_OK;
    moeq_spec resolved;
    MOEQ_TRY(read_struct(options.spec, &out->request.spec, arg::convert_plan::options.field("options.spec"), report));
    return resolve_spec(out->request.spec, arg::convert_plan::options.field("options.spec"), &resolved, report);
}

moeq_status open_source(const char* source, const char* target, const moeq_convert_options* options, Opened* out,
                        Report& report)
{
    MOEQ_TRY(check_not_null(source, arg::convert_plan::source, report));
    MOEQ_TRY(check_not_null(target, arg::convert_plan::target, report));
    MOEQ_TRY(read_options(options, out, report));
    const FileRules rules{.all = (out->options.flags & MOEQ_CONVERT_ALL_FILES) != 0};
    MOEQ_TRY(out->checkpoint.open(source, kHeaderLimit, false, report, rules));
    MOEQ_TRY(recognise_weights(out->checkpoint, out->request.patterns, arg::convert_plan::options.number, &out->weights,
                               report));
    return out->plan.make(out->checkpoint, out->weights, out->request, report);
}

moeq_status convert(const moeq_context& context, const Opened& opened, const char* target_path, Report& report)
{
    const moeq_convert_options& options = opened.options;
    const int64_t units = opened.plan.units.size();
    if (options.unit_begin > units || options.unit_end > units)
        return report.fail(MOEQ_ERROR_RANGE, arg::convert_plan::options)
               << "got units [" << options.unit_begin << ", " << options.unit_end << "); want them inside [0, " << units
               << "), as the plan has them";
    const int32_t chosen = options.steps == 0 ? kAllSteps : options.steps;
    const ConvertSteps steps{(chosen & MOEQ_CONVERT_UNITS) != 0, (chosen & MOEQ_CONVERT_FINISH) != 0,
                             options.unit_begin, options.unit_end == 0 ? units : options.unit_end};
    ConvertTarget target(context.allocator);
    Progress progress(options.progress, options.progress_user, bytes_of(steps, opened.plan));
    const Engine engine = context.engine;
    const Conversion conversion{engine,
                                context.allocator,
                                opened.checkpoint,
                                opened.weights,
                                opened.plan,
                                progress,
                                target,
                                (options.flags & MOEQ_WRITER_NOT_DURABLE) == 0};
    return run_conversion(conversion, steps, target_path, report);
}

} // namespace

extern "C" moeq_status moeq_convert_plan(const moeq_context* context, const char* source, const char* target,
                                         const moeq_convert_options* options, moeq_blob** out, moeq_error* err)
{
    return guarded("moeq_convert_plan", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::convert_plan::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(context, arg::convert_plan::context, report));
        Opened opened(*context);
        MOEQ_TRY(open_source(source, target, options, &opened, report));
        Array<int64_t> finished(context->allocator);
        ConvertTarget place(context->allocator);
        MOEQ_TRY(place.list_finished(target, opened.plan, opened.checkpoint, &finished, report));
        Array<char> text(context->allocator);
        MOEQ_TRY(opened.plan.print(opened.checkpoint, opened.weights, finished, &text, report));
        return blob_create(*context, text.data(), text.size(), out, report);
    });
}

extern "C" moeq_status moeq_convert(const moeq_context* context, const char* source, const char* target,
                                    const moeq_convert_options* options, moeq_error* err)
{
    return guarded("moeq_convert", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(context, arg::convert::context, report));
        Opened opened(*context);
        MOEQ_TRY(open_source(source, target, options, &opened, report));
        return convert(*context, opened, target, report);
    });
}
