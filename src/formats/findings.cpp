#include "formats/findings.h"

namespace moeq {

moeq_status conclude(const Findings& findings, const Geometry& geometry, int32_t argument, const char* name,
                     Report& report)
{
    if (!findings.refused())
        return MOEQ_OK;
    const int64_t flat = findings.first_bad();
    const int64_t column = flat % geometry.columns;
    const int64_t row = flat / geometry.columns % geometry.rows;
    const int64_t expert = flat / geometry.expert_elements();
    const uint32_t both = MOEQ_SEEN_NAN | MOEQ_SEEN_INF;
    const char* what = (findings.seen() & both) == both         ? "NaN or Inf"
                       : (findings.seen() & MOEQ_SEEN_NAN) != 0 ? "NaN"
                                                                : "Inf";
    const moeq_status status = report.fail(MOEQ_ERROR_VALUE, argument, name)
                               << "got " << what << ", first at expert " << expert << ", row " << row << ", column "
                               << column
                               << "; want finite values; mend the weight or set nonfinite to MOEQ_NONFINITE_SATURATE";
    report.set_place({expert, row, column});
    report.set_class("N01");
    return status;
}

} // namespace moeq
