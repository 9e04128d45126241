#include "random/look.h"

#include <cmath>

namespace moeq_random {

namespace {

float widen(int32_t dtype, const char* bytes, int64_t index)
{
    if (dtype == MOEQ_DTYPE_FP32) {
        float value;
        std::memcpy(&value, bytes + 4 * index, sizeof value);
        return value;
    }
    uint16_t half;
    std::memcpy(&half, bytes + 2 * index, sizeof half);
    const uint32_t sign = half & 0x8000u, rest = half & 0x7FFFu;
    uint32_t bits = uint32_t{half} << 16;
    if (dtype == MOEQ_DTYPE_FP16) // normal ones, and NaN: others are not made
        bits = sign << 16 | (rest >= 0x7C00u ? 0x7FC00000u : (rest << 13) + 0x38000000u);
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Where output `o` lies along the output axis of a layout; an odd number of them has no halves, whatever the model says.
int64_t place_of(int32_t layout, int64_t outputs, int64_t o)
{
    const int64_t half = outputs / 2;
    if (outputs % 2 != 0)
        return o;
    if (layout == MOEQ_LAYOUT_UP_GATE)
        return o < half ? half + o : o - half;
    if (layout == MOEQ_LAYOUT_GATE_UP_INTERLEAVED)
        return o < half ? 2 * o : 2 * (o - half) + 1;
    return o;
}

} // namespace

Look::Look(const moeq_reader* reader, Problem& problem) : reader_(reader), problem_(problem)
{
    auto info = sized<moeq_reader_info>();
    succeeds("moeq_reader_get_info", problem, [&](moeq_error* e) { return moeq_reader_get_info(reader, &info, e); });
    for (int64_t i = 0; i < info.tensor_count; ++i) {
        tensors_.push_back(sized<moeq_tensor_info>());
        succeeds("moeq_reader_get_tensor", problem,
                 [&](moeq_error* e) { return moeq_reader_get_tensor(reader, i, &tensors_.back(), e); });
    }
    for (int64_t i = 0; i < info.stack_count; ++i) {
        stacks_.push_back(sized<moeq_stack_info>());
        succeeds("moeq_reader_get_stack", problem,
                 [&](moeq_error* e) { return moeq_reader_get_stack(reader, i, &stacks_.back(), e); });
    }
}

std::string Look::bytes(int64_t tensor) const
{
    const int64_t count = tensors_[static_cast<size_t>(tensor)].bytes;
    moeq_test::HostTensor out(MOEQ_DTYPE_UINT8, {count});
    succeeds("moeq_reader_read", problem_, [&](moeq_error* e) { return moeq_reader_read(reader_, tensor, 0, out, e); });
    return {reinterpret_cast<const char*>(out.memory().data()), out.memory().size()};
}

std::vector<float> Look::load(int64_t stack, const moeq_load_options& options, std::vector<int64_t>* shape) const
{
    moeq_qtensor* made = nullptr;
    const moeq_status status = checked("moeq_reader_load", problem_, nullptr, [&](moeq_error* e) {
        return moeq_reader_load(reader_, stack, &options, nullptr, &made, e);
    });
    const QTensor owner(made);
    if (status != MOEQ_OK)
        return {};
    auto info = sized<moeq_qtensor_info>();
    succeeds("moeq_qtensor_get_info", problem_, [&](moeq_error* e) { return moeq_qtensor_get_info(made, &info, e); });
    shape->assign(info.shape, info.shape + info.ndim);
    moeq_test::HostTensor out(MOEQ_DTYPE_FP32, *shape);
    succeeds("moeq_qtensor_dequantize", problem_,
             [&](moeq_error* e) { return moeq_qtensor_dequantize(made, nullptr, nullptr, out, e); });
    const auto* values = out.as<float>();
    return {values, values + out.memory().size() / sizeof(float)};
}

// From the tensors that the reader says are its pieces.
std::vector<float> Look::dense(int64_t stack) const
{
    const moeq_stack_info& info = stacks_[static_cast<size_t>(stack)];
    const int64_t rows = info.shape[1], columns = info.shape[2];
    if (info.shape[0] == 0 || rows == 0 || columns == 0)
        return {};                                                                      // the others may be of any size
    std::vector<float> out(static_cast<size_t>(info.shape[0] * rows * columns), 1e30f); // what has no piece differs
    for (size_t t = 0; t < tensors_.size(); ++t) {
        const moeq_tensor_info& tensor = tensors_[t];
        if (tensor.stack != stack || tensor.ndim < 2)
            continue;
        const std::string raw = bytes(static_cast<int64_t>(t));
        const int64_t experts = tensor.experts < 1 ? 1 : tensor.experts;
        const int64_t width = tensor.shape[tensor.ndim - 1];
        const int64_t height = tensor.ndim == 2 ? tensor.shape[0] / experts : tensor.shape[tensor.ndim - 2];
        for (int64_t e = 0; e < experts; ++e)
            for (int64_t r = 0; r < height; ++r)
                for (int64_t c = 0; c < width; ++c)
                    out[static_cast<size_t>(((tensor.expert + e) * rows + tensor.row + r) * columns + tensor.column +
                                            c)] = widen(tensor.dtype, raw.data(), (e * height + r) * width + c);
    }
    return out;
}

Decoded Look::decode(int64_t stack) const
{
    Decoded out;
    out.info = stacks_[static_cast<size_t>(stack)];
    const moeq_stack_info& info = out.info;
    std::vector<int64_t> shape;
    out.raw = info.quantized != 0 ? load(stack, sized<moeq_load_options>(), &shape) : dense(stack);
    const std::vector<float>& raw = out.raw;
    const bool turned = info.scale_axis == -2;
    out.experts = info.shape[0];
    out.outputs = turned ? info.shape[2] : info.shape[1];
    out.inputs = turned ? info.shape[1] : info.shape[2];
    if (raw.empty() || raw.size() != static_cast<size_t>(out.experts * out.outputs * out.inputs))
        return out; // refused, or of other axes
    for (const float value : raw)
        out.largest = std::isfinite(value) && std::fabs(value) > out.largest ? std::fabs(value) : out.largest;
    out.values.resize(raw.size());
    float* to = out.values.data();
    for (int64_t e = 0; e < out.experts; ++e)
        for (int64_t o = 0; o < out.outputs; ++o) {
            const int64_t place = place_of(info.layout, out.outputs, o);
            const float* from = raw.data() + e * out.outputs * out.inputs + (turned ? place : place * out.inputs);
            for (int64_t i = 0; i < out.inputs; ++i)
                *to++ = from[turned ? i * out.outputs : i];
        }
    return out;
}

} // namespace moeq_random
