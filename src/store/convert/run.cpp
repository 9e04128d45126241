#include "store/convert/run.h"

#include <cerrno>

namespace moeq::store {

namespace {

class Run {
public:
    Run(const Conversion& conversion, const ConvertSteps& steps, Report& report)
        : c_(conversion), steps_(steps), report_(report), facts_(conversion.allocator)
    {
    }

    moeq_status run()
    {
        const int64_t units = c_.plan.units.size();
        if (!facts_.resize(units, UnitFacts{}))
            return report_.out_of_memory(static_cast<uint64_t>(units) * sizeof(UnitFacts));
        bool sealed = false;
        MOEQ_TRY(find_sealed(&sealed));
        for (int64_t u = 0; u < units && !sealed; ++u)
            if (steps_.does(u))
                MOEQ_TRY(run_unit(u));
        if (steps_.finish && !sealed)
            MOEQ_TRY(seal_conversion(c_, facts_, report_));
        // The last word of the caller's comes before the directory gets its name.
        MOEQ_TRY(c_.progress.finish(report_));
        return steps_.finish ? publish_conversion(c_, report_) : MOEQ_OK;
    }

private:
    // A plan that is gone: a process has come to the last step and goes on, or was stopped there. Files may have suffered
    // since, and are then made anew.
    moeq_status find_sealed(bool* sealed)
    {
        bool open = false;
        MOEQ_TRY(c_.target.find_plan(c_.plan, &open, report_));
        if (open)
            return MOEQ_OK;
        MOEQ_TRY(is_sealed(c_, sealed, report_));
        return *sealed ? MOEQ_OK : c_.target.reopen(c_.plan, c_.durable, report_);
    }

    // One that is done already is checked only; one that is not as it should be is done again.
    moeq_status run_unit(int64_t unit)
    {
        int64_t stale = -1;
        MOEQ_TRY(c_.target.check_open(c_.plan, report_));
        MOEQ_TRY(check_unit(c_, unit, &facts_[unit], &stale, report_));
        if (!facts_[unit].whole)
            return write_unit(c_, unit, &facts_[unit], report_);
        char name[Plan::kFileNameLimit];
        return c_.progress.add(MOEQ_STAGE_VERIFY, c_.plan.file_name(unit, name), c_.plan.units[unit].bytes_in, report_);
    }

    const Conversion& c_;
    const ConvertSteps& steps_;
    Report& report_;
    Array<UnitFacts> facts_;
};

// What a call fails with when another process ends the same conversion meanwhile: plan, records and temporary files go, and the
// directory gets its name.
bool may_be_overtaken(moeq_status status, const moeq_error& error)
{
    return status == MOEQ_ERROR_STATE || status == MOEQ_ERROR_INCOMPLETE || status == MOEQ_ERROR_DUPLICATE ||
           (status == MOEQ_ERROR_IO && error.os_error == ENOENT) || status == MOEQ_ERROR_NOT_FOUND;
}

// After such a failure: whether all that the call is for has been done. Published by another process; or whole but for the
// name, which is given here then.
moeq_status join_end(const Conversion& c, const ConvertSteps& steps, bool* done, Report& report)
{
    // A call that was to make TARGET, and found it, is refused whoever made it.
    const bool welcome = c.target.was_free() || !steps.finish;
    MOEQ_TRY(c.target.is_published(c.plan, done, report));
    *done = *done && welcome;
    if (*done || c.target.folder() < 0)
        return MOEQ_OK;
    MOEQ_TRY(is_sealed(c, done, report));
    if (!*done || !steps.finish)
        return MOEQ_OK;
    moeq_error error{};
    Report inner(report.function(), &error);
    if (publish_conversion(c, inner) == MOEQ_OK)
        return MOEQ_OK;
    MOEQ_TRY(c.target.is_published(c.plan, done, report));
    return *done ? MOEQ_OK : report.take_over(error);
}

} // namespace

int64_t bytes_of(const ConvertSteps& steps, const Plan& plan)
{
    int64_t bytes = 0;
    for (int64_t u = 0; u < plan.units.size(); ++u)
        bytes += steps.finish || steps.does(u) ? plan.units[u].bytes_in : 0;
    return bytes;
}

moeq_status run_conversion(const Conversion& c, const ConvertSteps& steps, const char* target, Report& report)
{
    moeq_error error{};
    Report inner(report.function(), &error);
    moeq_status status = c.target.open(target, c.plan, c.durable, inner);
    if (status == MOEQ_OK)
        status = Run(c, steps, inner).run();
    bool done = status == MOEQ_OK;
    if (may_be_overtaken(status, error))
        MOEQ_TRY(join_end(c, steps, &done, report));
    return done ? MOEQ_OK : report.take_over(error);
}

} // namespace moeq::store
