// Elements from one tensor of the host's into another.
#pragma once

#include "core/tensor_view.h"

namespace moeq {

// Both of one shape and element type; strides may be any. No overlap.
void copy_view(const TensorView& from, const TensorView& to);

} // namespace moeq
