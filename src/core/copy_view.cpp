#include "core/copy_view.h"

namespace moeq {

// Element by element over the outer axes, whole rows of the last one where both have a stride of 1.
void copy_view(const TensorView& from, const TensorView& to)
{
    if (from.empty())
        return;
    const int64_t itemsize = from.itemsize();
    const int32_t last = from.ndim - 1;
    const bool rows = last >= 0 && ((from.strides[last] == 1 && to.strides[last] == 1) || from.shape[last] == 1);
    const int64_t run = rows ? from.shape[last] : 1;
    const int32_t outer = rows ? last : from.ndim;
    int64_t index[kMaxDims] = {};
    for (int64_t done = 0; done < from.count; done += run) {
        int64_t read = 0;
        int64_t written = 0;
        for (int32_t i = 0; i < outer; ++i) {
            read += index[i] * from.strides[i];
            written += index[i] * to.strides[i];
        }
        std::memcpy(to.data + written * itemsize, from.data + read * itemsize, static_cast<uint64_t>(run * itemsize));
        for (int32_t i = outer - 1; i >= 0 && ++index[i] == from.shape[i]; --i)
            index[i] = 0;
    }
}

} // namespace moeq
