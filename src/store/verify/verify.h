// Reads a whole checkpoint and says what is wrong with it. Problems are findings, not errors.
#pragma once

#include "host/encode.h"
#include "store/load/progress.h"
#include "store/model/weights.h"

namespace moeq::store {

// JSON: {"checked": {...}, "problems": [{"kind", "name", ...}]}.
[[nodiscard]] moeq_status verify_checkpoint(const Engine& engine, Allocator& allocator, const Checkpoint& checkpoint,
                                            const Weights& weights, Progress& progress, Array<char>* out,
                                            Report& report);

} // namespace moeq::store
