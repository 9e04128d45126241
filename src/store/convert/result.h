// What a conversion makes, with the eyes of a reader: whether it finds the weights that the plan says, and no others.
#pragma once

#include "store/convert/plan.h"

namespace moeq::store {

struct Conversion;

// Before anything is written. config: config.json of the target, changed here; empty: there is none. UNSUPPORTED: names or
// config.json would mean something else to a reader; DUPLICATE, LIMIT as PlannedTensors has them.
[[nodiscard]] moeq_status check_foreseen(Allocator& allocator, const Plan& plan, const Checkpoint& source,
                                         const Weights& weights, Array<char>* config, Report& report);
// The directory of a conversion that has all but its name and its report; headers only. MISMATCH.
[[nodiscard]] moeq_status check_written(const Conversion& conversion, Report& report);

} // namespace moeq::store
