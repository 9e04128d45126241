#include "store/write/row_major.h"

#include "core/checked.h"

namespace moeq::store {

namespace {

template <class T>
void copy_elements(const char* from, int64_t stride, int64_t count, char* out)
{
    for (int64_t i = 0; i < count; ++i)
        std::memcpy(out + i * static_cast<int64_t>(sizeof(T)), from + i * stride, sizeof(T));
}

// Elements along one axis.
void copy_run(const char* from, int64_t stride, int64_t count, int64_t itemsize, char* out)
{
    if (stride == itemsize) {
        std::memcpy(out, from, static_cast<uint64_t>(count * itemsize));
        return;
    }
    switch (itemsize) {
    case 1:
        return copy_elements<uint8_t>(from, stride, count, out);
    case 2:
        return copy_elements<uint16_t>(from, stride, count, out);
    case 4:
        return copy_elements<uint32_t>(from, stride, count, out);
    default:
        for (int64_t i = 0; i < count; ++i)
            std::memcpy(out + i * itemsize, from + i * stride, static_cast<uint64_t>(itemsize));
    }
}

} // namespace

RowMajor::RowMajor(const TensorView& view) : data_(view.data), itemsize_(view.itemsize())
{
    for (int32_t i = 0; i < view.ndim; ++i) {
        if (view.shape[i] == 1)
            continue;
        const int64_t stride = view.strides[i] * itemsize_;
        if (ndim_ > 0 && strides_[ndim_ - 1] == stride * view.shape[i]) {
            shape_[ndim_ - 1] *= view.shape[i];
            strides_[ndim_ - 1] = stride;
            continue;
        }
        shape_[ndim_] = view.shape[i];
        strides_[ndim_++] = stride;
    }
    if (ndim_ == 0) {
        shape_[0] = 1;
        strides_[0] = itemsize_;
        ndim_ = 1;
    }
}

void RowMajor::copy(int64_t begin, int64_t count, char* out) const
{
    const int32_t last = ndim_ - 1;
    int64_t index[kMaxDims];
    const char* from = data_;
    for (int32_t i = last; i >= 0; --i) {
        index[i] = begin % shape_[i];
        begin /= shape_[i];
        from += index[i] * strides_[i];
    }
    while (count > 0) {
        const int64_t run = minimum(count, shape_[last] - index[last]);
        copy_run(from, strides_[last], run, itemsize_, out);
        out += run * itemsize_;
        count -= run;
        from -= index[last] * strides_[last];
        index[last] = 0;
        for (int32_t i = last - 1; i >= 0; --i) {
            from += strides_[i];
            if (++index[i] < shape_[i])
                break;
            from -= shape_[i] * strides_[i];
            index[i] = 0;
        }
    }
}

} // namespace moeq::store
