// A tensor seen as [experts, rows, columns]: any number of leading axes folded into one, with any strides.
#pragma once

#include "core/tensor_view.h"

namespace moeq {

// Element offsets of the folded leading axes. Axes that one stride describes are merged, so that the usual case is one
// multiplication.
class LeadAxes {
public:
    LeadAxes()
    {
        std::memset(shape_, 0, sizeof shape_); // as in TensorView
        std::memset(strides_, 0, sizeof strides_);
    }
    // The first `lead` axes of a view.
    LeadAxes(const TensorView& view, int32_t lead) : LeadAxes()
    {
        for (int32_t i = 0; i < lead; ++i) {
            if (view.shape[i] == 1)
                continue;
            if (axes_ > 0 && strides_[axes_ - 1] == view.strides[i] * view.shape[i]) {
                shape_[axes_ - 1] *= view.shape[i];
                strides_[axes_ - 1] = view.strides[i];
            } else {
                shape_[axes_] = view.shape[i];
                strides_[axes_++] = view.strides[i];
            }
        }
    }

    int64_t offset(int64_t expert) const
    {
        if (axes_ <= 1)
            return expert * strides_[0];
        int64_t offset = 0;
        for (int32_t i = axes_ - 1; i >= 0; --i) {
            offset += expert % shape_[i] * strides_[i];
            expert /= shape_[i];
        }
        return offset;
    }
    // True when expert i lies at i * stride().
    bool single_stride() const { return axes_ <= 1; }
    int64_t stride() const { return strides_[0]; }

private:
    int32_t axes_ = 0;
    int64_t shape_[kMaxDims];
    int64_t strides_[kMaxDims];
};

struct StackView {
    char* data = nullptr;
    int32_t dtype = 0;
    int64_t itemsize = 0;
    LeadAxes lead;
    int64_t row_stride = 0; // in elements
    int64_t column_stride = 0;

    StackView() = default;
    // view: [leading axes ..., rows, columns], at least 2-D.
    explicit StackView(const TensorView& view)
        : data(view.data), dtype(view.dtype), itemsize(view.itemsize()), lead(view, view.ndim - 2),
          row_stride(view.strides[view.ndim - 2]), column_stride(view.strides[view.ndim - 1])
    {
        // The view says 0 for an axis of one element; a row of one column is as good as contiguous.
        if (view.shape[view.ndim - 1] == 1)
            column_stride = 1;
    }

    char* at(int64_t expert, int64_t row, int64_t column) const
    {
        return data + (lead.offset(expert) + row * row_stride + column * column_stride) * itemsize;
    }
};

} // namespace moeq
