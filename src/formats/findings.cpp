#include "formats/findings.h"

namespace moeq {

Place first_bad_place(const Findings& findings, const Geometry& geometry)
{
    const int64_t flat = findings.first_bad();
    return {flat / geometry.expert_elements(), flat / geometry.columns % geometry.rows, flat % geometry.columns};
}

moeq_status refuse_nonfinite(const Findings& findings, const Place& place, int32_t argument, const char* name,
                             const char* weight, Report& report)
{
    const uint32_t both = MOEQ_SEEN_NAN | MOEQ_SEEN_INF;
    const char* what = (findings.seen() & both) == both         ? "NaN or Inf"
                       : (findings.seen() & MOEQ_SEEN_NAN) != 0 ? "NaN"
                                                                : "Inf";
    Failure failure = report.fail(MOEQ_ERROR_VALUE, argument, name);
    report.set_place(place);
    report.set_class("N01");
    failure << "got " << what;
    if (weight != nullptr)
        (failure << " in ").quoted(weight);
    return failure << ", first at expert " << place.expert << ", row " << place.row << ", column " << place.column
                   << "; want finite values; mend the weight or set nonfinite=saturate (MOEQ_NONFINITE_SATURATE)";
}

moeq_status conclude(const Findings& findings, const Geometry& geometry, int32_t argument, const char* name,
                     Report& report)
{
    if (!findings.refused())
        return MOEQ_OK;
    return refuse_nonfinite(findings, first_bad_place(findings, geometry), argument, name, nullptr, report);
}

} // namespace moeq
