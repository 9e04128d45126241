#include "amax/scale.h"

#include <atomic>

#include "codec/amax.h"
#include "codec/float16.h"
#include "core/checked.h"

namespace moeq::amax {

namespace {

constexpr int64_t kTaskElements = int64_t{1} << 15;

// The elements of two tensors of one shape, in logical order.
class PairCursor {
public:
    PairCursor(const TensorView& a, const TensorView& b, int64_t first) : a_(a), b_(b)
    {
        for (int32_t i = a.ndim - 1; i >= 0; --i) {
            index_[i] = first % a.shape[i];
            first /= a.shape[i];
            offset_a_ += index_[i] * a.strides[i];
            offset_b_ += index_[i] * b.strides[i];
        }
    }

    int64_t offset_a() const { return offset_a_; }
    int64_t offset_b() const { return offset_b_; }

    void advance()
    {
        for (int32_t i = a_.ndim - 1; i >= 0; --i) {
            if (++index_[i] < a_.shape[i]) {
                offset_a_ += a_.strides[i];
                offset_b_ += b_.strides[i];
                return;
            }
            index_[i] = 0;
            offset_a_ -= (a_.shape[i] - 1) * a_.strides[i];
            offset_b_ -= (b_.shape[i] - 1) * b_.strides[i];
        }
    }

private:
    const TensorView& a_;
    const TensorView& b_;
    int64_t index_[kMaxDims] = {};
    int64_t offset_a_ = 0;
    int64_t offset_b_ = 0;
};

bool is_amax(float value) { return codec::magnitude_bits_fp32(value) < codec::kNonfiniteBits && value >= 0.0f; }

void store(int32_t dtype, char* data, int64_t offset, float value)
{
    switch (dtype) {
    case MOEQ_DTYPE_FP32:
        reinterpret_cast<float*>(data)[offset] = value;
        break;
    case MOEQ_DTYPE_FP16:
        reinterpret_cast<uint16_t*>(data)[offset] = codec::float_to_fp16(value);
        break;
    default:
        reinterpret_cast<uint16_t*>(data)[offset] = codec::float_to_bf16(value);
        break;
    }
}

void lower_to(std::atomic<int64_t>& least, int64_t value)
{
    int64_t seen = least.load(std::memory_order_relaxed);
    while (value < seen && !least.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
    }
}

// The place as an index, and in the error's fields where there are at most three axes.
moeq_status refuse(const TensorView& amax, int64_t bad, Report& report)
{
    int64_t index[kMaxDims] = {};
    int64_t offset = 0;
    for (int32_t i = amax.ndim - 1; i >= 0; --i) {
        index[i] = bad % amax.shape[i];
        bad /= amax.shape[i];
        offset += index[i] * amax.strides[i];
    }
    const float value = reinterpret_cast<const float*>(amax.data)[offset];
    const uint32_t bits = codec::magnitude_bits_fp32(value);
    Failure failure = report.fail(MOEQ_ERROR_VALUE, 2, "amax");
    failure << "got "
            << (bits > codec::kNonfiniteBits    ? "NaN"
                : bits == codec::kNonfiniteBits ? "Inf"
                                                : "a negative number")
            << " at index ";
    failure.shape(amax.ndim, index) << "; want finite values of 0 or more";
    if (amax.ndim >= 1 && amax.ndim <= 3)
        report.set_place({index[0], amax.ndim > 1 ? index[1] : -1, amax.ndim > 2 ? index[2] : -1});
    return failure;
}

} // namespace

moeq_status scale_from_amax(const TensorView& amax, float (*factor)(float), const TensorView& destination,
                            const Executor& executor, Report& report)
{
    std::atomic<int64_t> first_bad{amax.count};
    auto body = [&](int64_t task) {
        const int64_t begin = task * kTaskElements;
        const int64_t end = minimum(begin + kTaskElements, amax.count);
        PairCursor cursor(amax, destination, begin);
        for (int64_t i = begin; i < end; ++i, cursor.advance()) {
            const float value = reinterpret_cast<const float*>(amax.data)[cursor.offset_a()];
            if (!is_amax(value)) {
                lower_to(first_bad, i);
                return;
            }
            const float magnitude = codec::float_from_bits(codec::magnitude_bits_fp32(value)); // -0 is 0
            store(destination.dtype, destination.data, cursor.offset_b(),
                  factor == nullptr ? magnitude : factor(magnitude));
        }
    };
    const moeq_status status = executor.for_each(ceil_divide(amax.count, kTaskElements), body, report);
    if (status != MOEQ_OK || first_bad.load(std::memory_order_relaxed) == amax.count)
        return status;
    return refuse(amax, first_bad.load(std::memory_order_relaxed), report);
}

} // namespace moeq::amax
