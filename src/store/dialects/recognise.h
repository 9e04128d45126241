// All that is known about a checkpoint's weights: what its dialect says of quantized ones, then the dense ones, then stacks.
#pragma once

#include "store/model/weights.h"

namespace moeq::store {

// patterns: JSON of the user's, or NULL; argument: the one that they came with. Into weights that are empty still.
[[nodiscard]] moeq_status recognise_weights(const Checkpoint& checkpoint, const char* patterns, int32_t argument,
                                            Weights* out, Report& report);

} // namespace moeq::store
