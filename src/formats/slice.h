// Views of a part of an encoded weight: the same codes and scales, other extents and strides; no copy.
#pragma once

#include "formats/encoded_weight.h"

namespace moeq {

// axis 0: experts, 1: rows, 2: columns. ARGUMENT where scale units would be cut, UNSUPPORTED where the format cannot.
[[nodiscard]] moeq_status slice_weight(const EncodedWeight& weight, int32_t axis, int64_t begin, int64_t end,
                                       EncodedWeight* out, Report& report);

} // namespace moeq
