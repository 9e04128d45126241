// One call of a conversion: its units, the end of all, and what happens when another process comes first.
#pragma once

#include "store/convert/finish.h"

namespace moeq::store {

struct ConvertSteps {
    bool units;  // does units [unit_begin, unit_end)
    bool finish; // then the end, for which all units have to be there
    int64_t unit_begin, unit_end;

    bool does(int64_t unit) const { return units && unit >= unit_begin && unit < unit_end; }
};

// Bytes of the source whose units the call does or checks; what it has done is not checked once more.
int64_t bytes_of(const ConvertSteps& steps, const Plan& plan);

// conversion.target: not yet open. OK also when another process does the same and is done first.
[[nodiscard]] moeq_status run_conversion(const Conversion& conversion, const ConvertSteps& steps, const char* target,
                                         Report& report);

} // namespace moeq::store
