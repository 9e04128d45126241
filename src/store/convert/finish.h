// The end of a conversion: all units are there and true; then what surrounds them is written, and the directory gets its name.
#pragma once

#include "store/convert/target.h"
#include "store/convert/unit.h"

namespace moeq::store {

// Whether a unit is done and true: its record and file verify, and the source still has the bytes that it read. *stale: a
// file of the checkpoint that has changed since, which makes it untrue; -1: none. Durable then where the conversion is.
[[nodiscard]] moeq_status check_unit(const Conversion& conversion, int64_t unit, UnitFacts* out, int64_t* stale,
                                     Report& report);

// Whether the report has been written and is true, so that only the name is missing. Durable where the conversion is.
[[nodiscard]] moeq_status is_sealed(const Conversion& conversion, bool* out, Report& report);

// All units are whole; index, config.json, small files and, last, the report are written. facts: of each unit, as far as this
// call knows them. INCOMPLETE, MISMATCH. May be repeated wherever it was stopped, as the next one may.
[[nodiscard]] moeq_status seal_conversion(const Conversion& conversion, Array<UnitFacts>& facts, Report& report);
// A sealed directory gets its name.
[[nodiscard]] moeq_status publish_conversion(const Conversion& conversion, Report& report);

} // namespace moeq::store
