// Conversions of checkpoints: src/store does the work.
#include <cerrno>

#include "api/blob.h"
#include "api/boundary.h"
#include "api/qtensor.h"
#include "store/convert/finish.h"

using namespace moeq;

namespace {

constexpr int32_t kAllSteps = MOEQ_CONVERT_UNITS | MOEQ_CONVERT_FINISH;

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
    return report.fail(MOEQ_ERROR_ARGUMENT, 4, "options") << "got " << field << " " << got << "; want " << want;
}

moeq_status read_options(const moeq_convert_options* given, Opened* out, Report& report)
{
    moeq_convert_options& options = out->options;
    MOEQ_TRY(read_struct(given, &options, 4, "options", report));
    out->request.dialect = find_dialect(options.dialect);
    if (out->request.dialect == nullptr)
        return refuse_option(report, "dialect", options.dialect, "a MOEQ_DIALECT_ constant that is 0 or more");
    if ((options.steps & ~kAllSteps) != 0)
        return refuse_option(report, "steps", options.steps, "0 or an OR of MOEQ_CONVERT_ constants");
    if ((options.flags & ~MOEQ_WRITER_NOT_DURABLE) != 0)
        return refuse_option(report, "flags", options.flags, "0 or MOEQ_WRITER_NOT_DURABLE");
    if (options.unit_begin < 0)
        return refuse_option(report, "unit_begin", options.unit_begin, "0 or more");
    if (options.unit_end != 0 && options.unit_end < options.unit_begin)
        return refuse_option(report, "unit_end", options.unit_end, "0, or unit_begin or more");
    out->request.rules = options.rules;
    out->request.patterns = options.patterns;
    out->request.has_spec = options.spec != nullptr;
    if (options.spec == nullptr)
        return MOEQ_OK;
    moeq_spec resolved;
    MOEQ_TRY(read_struct(options.spec, &out->request.spec, 4, "options.spec", report));
    return resolve_spec(out->request.spec, 4, "options.spec", &resolved, report);
}

moeq_status open_source(const char* source, const char* target, const moeq_convert_options* options, Opened* out,
                        Report& report)
{
    MOEQ_TRY(check_not_null(source, 2, "source", report));
    MOEQ_TRY(check_not_null(target, 3, "target", report));
    MOEQ_TRY(read_options(options, out, report));
    MOEQ_TRY(out->checkpoint.open(source, kHeaderLimit, false, report));
    MOEQ_TRY(out->weights.recognise(out->checkpoint, out->request.patterns, report, 4));
    return out->plan.make(out->checkpoint, out->weights, out->request, report);
}

// The steps of one call.
class Run {
public:
    Run(const Conversion& conversion, const moeq_convert_options& options, ConvertTarget& target, Report& report)
        : c_(conversion), options_(options), target_(target), report_(report), facts_(conversion.allocator)
    {
    }

    static int32_t steps_of(const moeq_convert_options& options)
    {
        return options.steps == 0 ? kAllSteps : options.steps;
    }
    static int64_t end_of(const moeq_convert_options& options, const Plan& plan)
    {
        return options.unit_end == 0 ? plan.units.size() : options.unit_end;
    }
    // Bytes of the source whose units the call does or checks; what it has done is not checked once more.
    static int64_t bytes_of(const moeq_convert_options& options, const Plan& plan)
    {
        int64_t bytes = 0;
        for (int64_t u = 0; u < plan.units.size(); ++u) {
            const bool wanted = u >= options.unit_begin && u < end_of(options, plan);
            const bool done = wanted && (steps_of(options) & MOEQ_CONVERT_UNITS) != 0;
            bytes += done || (steps_of(options) & MOEQ_CONVERT_FINISH) != 0 ? plan.units[u].bytes_in : 0;
        }
        return bytes;
    }

    moeq_status run()
    {
        const int64_t units = c_.plan.units.size();
        if (!facts_.resize(units, UnitFacts{}))
            return report_.out_of_memory(static_cast<uint64_t>(units) * sizeof(UnitFacts));
        bool sealed = false;
        MOEQ_TRY(is_sealed(c_, &sealed, report_));
        if ((steps_of(options_) & MOEQ_CONVERT_UNITS) != 0 && !sealed)
            for (int64_t u = options_.unit_begin; u < end_of(options_, c_.plan); ++u)
                MOEQ_TRY(run_unit(u));
        if ((steps_of(options_) & MOEQ_CONVERT_FINISH) == 0)
            return c_.progress.finish(report_);
        if (!sealed)
            MOEQ_TRY(seal_conversion(c_, facts_, report_));
        // The last word of the caller's comes before the directory gets its name.
        MOEQ_TRY(c_.progress.finish(report_));
        return publish_conversion(c_, target_, report_);
    }

private:
    // One that is done already is checked only; one that is not as it should be is done again.
    moeq_status run_unit(int64_t unit)
    {
        int64_t stale = -1;
        MOEQ_TRY(target_.check_open(report_));
        MOEQ_TRY(check_unit(c_, unit, &facts_[unit], &stale, report_));
        if (!facts_[unit].whole)
            return write_unit(c_, unit, &facts_[unit], report_);
        char name[Plan::kFileNameLimit];
        return c_.progress.add(MOEQ_STAGE_VERIFY, c_.plan.file_name(unit, name), c_.plan.units[unit].bytes_in, report_);
    }

    const Conversion& c_;
    const moeq_convert_options& options_;
    ConvertTarget& target_;
    Report& report_;
    Array<UnitFacts> facts_;
};

// What a call fails with when another process finishes the same conversion meanwhile: the plan, records and temporary files
// go, and the directory gets its name.
bool may_be_overtaken(moeq_status status, const moeq_error& error)
{
    return status == MOEQ_ERROR_STATE || status == MOEQ_ERROR_INCOMPLETE || status == MOEQ_ERROR_DUPLICATE ||
           (status == MOEQ_ERROR_IO && error.os_error == ENOENT);
}

// All is done by another process, but for the name perhaps.
moeq_status join_end(const Conversion& conversion, ConvertTarget& target, Report& report)
{
    moeq_error error{};
    Report inner(report.function(), &error);
    if (publish_conversion(conversion, target, inner) == MOEQ_OK)
        return MOEQ_OK;
    bool published = false;
    MOEQ_TRY(target.is_published(conversion.plan, &published, report));
    return published ? MOEQ_OK : report.take_over(error);
}

moeq_status convert(const moeq_context& context, const Opened& opened, const char* target_path, Report& report)
{
    const moeq_convert_options& options = opened.options;
    const int64_t units = opened.plan.units.size();
    if (options.unit_begin > units || options.unit_end > units)
        return report.fail(MOEQ_ERROR_RANGE, 4, "options")
               << "got units [" << options.unit_begin << ", " << options.unit_end << "); want them inside [0, " << units
               << "), as the plan has them";
    const bool durable = (options.flags & MOEQ_WRITER_NOT_DURABLE) == 0;
    ConvertTarget target(context.allocator);
    Progress progress(options.progress, options.progress_user, Run::bytes_of(options, opened.plan));
    const Engine engine = engine_of(context);
    const Conversion conversion{
        engine, context.allocator, opened.checkpoint, opened.weights, opened.plan, progress, target, durable};
    moeq_error error{};
    Report inner(report.function(), &error);
    moeq_status status = target.open(target_path, opened.plan, durable, inner);
    if (status == MOEQ_OK)
        status = Run(conversion, options, target, inner).run();
    if (status == MOEQ_OK)
        return MOEQ_OK;
    bool ended = false;
    if (may_be_overtaken(status, error))
        MOEQ_TRY(target.is_ended(opened.plan, &ended, report));
    if (!ended)
        return report.take_over(error);
    return (Run::steps_of(options) & MOEQ_CONVERT_FINISH) == 0 ? MOEQ_OK : join_end(conversion, target, report);
}

} // namespace

extern "C" moeq_status moeq_convert_plan(const moeq_context* context, const char* source, const char* target,
                                         const moeq_convert_options* options, moeq_blob** out, moeq_error* err)
{
    return guarded("moeq_convert_plan", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, 5, "out", report));
        *out = nullptr;
        MOEQ_TRY(check_handle(context, 1, "context", report));
        Opened opened(*context);
        MOEQ_TRY(open_source(source, target, options, &opened, report));
        Array<char> text(context->allocator);
        MOEQ_TRY(opened.plan.print(opened.checkpoint, opened.weights, &text, report));
        return blob_create(*context, text.data(), text.size(), out, report);
    });
}

extern "C" moeq_status moeq_convert(const moeq_context* context, const char* source, const char* target,
                                    const moeq_convert_options* options, moeq_error* err)
{
    return guarded("moeq_convert", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(context, 1, "context", report));
        Opened opened(*context);
        MOEQ_TRY(open_source(source, target, options, &opened, report));
        return convert(*context, opened, target, report);
    });
}
