// Doubles as decimal text and back, exactly rounded (nearest even) whatever locale and floating-point modes the host
// has set.
#pragma once

#include <cstdint>

namespace moeq::text {

// text: a number by the grammar of JSON. False where it is larger than any double.
[[nodiscard]] bool parse_double(const char* text, int64_t length, double* out);

// The shortest text that gives the same double again, as Python writes it: "0.1", "1.0", "1e-05", "1.5e+300". Finite
// values. Ended by NUL; returns the length.
constexpr int32_t kDoubleText = 32;
int32_t print_double(double value, char* out);

} // namespace moeq::text
