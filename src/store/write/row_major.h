// The elements of a tensor of any strides in row-major order, some at a time.
#pragma once

#include "core/tensor_view.h"

namespace moeq::store {

class RowMajor {
public:
    explicit RowMajor(const TensorView& view);

    // Elements [begin, begin + count) to `out`.
    void copy(int64_t begin, int64_t count, char* out) const;

private:
    const char* data_;
    int64_t itemsize_;
    int32_t ndim_ = 0; // neighbouring axes that are one in memory are one axis here; at least one
    int64_t shape_[kMaxDims];
    int64_t strides_[kMaxDims]; // in bytes
};

} // namespace moeq::store
