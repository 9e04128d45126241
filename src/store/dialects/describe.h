// What a checkpoint says of itself.
#pragma once

#include "store/model/weights.h"

namespace moeq::store {

// JSON: {"model_type", "dialect", "files": [{"name", "bytes", "tensors", "metadata"}]}.
[[nodiscard]] moeq_status describe_checkpoint(const Checkpoint& checkpoint, const Weights& weights, Array<char>* out,
                                              Report& report);

} // namespace moeq::store
