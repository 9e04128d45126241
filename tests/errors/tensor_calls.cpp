// Wrong tensors, in the order in which they are looked at: version, device, element type, rank, extents, memory, and what
// only destinations have to be. One function accepts all tensors, so each fault is tried as a source and as a destination.
#include "wrong_call.h"

namespace moeq_test {

namespace {

using Spoil = std::function<void(Bench&, DLManagedTensorVersioned&)>;

WrongCall source(moeq_status status, std::vector<std::string> says, const Spoil& spoil)
{
    return {"moeq_qtensor_quantize", 2, "source", status, std::move(says), [spoil](Bench& b, moeq_error* err) {
                DLManagedTensorVersioned tensor = *b.source.operator->();
                spoil(b, tensor);
                return moeq_qtensor_quantize(b.context, &tensor, &b.spec, nullptr, nullptr, b.qtensor_out(), err);
            }};
}

WrongCall destination(moeq_status status, std::vector<std::string> says, const Spoil& spoil)
{
    return {"moeq_qtensor_dequantize", 4, "destination", status, std::move(says), [spoil](Bench& b, moeq_error* err) {
                DLManagedTensorVersioned tensor = *b.destination.operator->();
                spoil(b, tensor);
                return moeq_qtensor_dequantize(b.int8, nullptr, nullptr, &tensor, err);
            }};
}

void set_shape(Bench& b, DLManagedTensorVersioned& tensor, const Shape& shape)
{
    std::copy(shape.begin(), shape.end(), b.numbers);
    tensor.dl_tensor.shape = b.numbers;
    tensor.dl_tensor.ndim = static_cast<int32_t>(shape.size());
    tensor.dl_tensor.strides = nullptr;
}

void set_strides(Bench& b, DLManagedTensorVersioned& tensor, const Shape& strides)
{
    std::copy(strides.begin(), strides.end(), b.numbers);
    tensor.dl_tensor.strides = b.numbers;
}

void add_common(std::vector<WrongCall>& all, WrongCall (*wrong)(moeq_status, std::vector<std::string>, const Spoil&),
                const char* want_types)
{
    all.push_back(
        wrong(MOEQ_ERROR_VERSION, {"DLPack version 2.0", "want 1.x"}, [](Bench&, DLManagedTensorVersioned& t) {
            t.version = {2, 0};
        }));
    all.push_back(
        wrong(MOEQ_ERROR_VERSION, {"DLPack version 0.8", "want 1.x"}, [](Bench&, DLManagedTensorVersioned& t) {
            t.version = {0, 8};
        }));
    all.push_back(wrong(MOEQ_ERROR_BACKEND, {"CUDA device 3", "host memory", "no CUDA backend"},
                        [](Bench&, DLManagedTensorVersioned& t) {
                            t.dl_tensor.device = {kDLCUDA, 3};
                        }));
    all.push_back(
        wrong(MOEQ_ERROR_DEVICE, {"device type 10", "id 1", "host memory"}, [](Bench&, DLManagedTensorVersioned& t) {
            t.dl_tensor.device = {kDLROCM, 1};
        }));
    all.push_back(
        wrong(MOEQ_ERROR_DTYPE, {"code 8, bits 8, lanes 1", want_types}, [](Bench&, DLManagedTensorVersioned& t) {
            t.dl_tensor.dtype = {8, 8, 1};
        }));
    all.push_back(
        wrong(MOEQ_ERROR_DTYPE, {"code 2, bits 32, lanes 4", want_types}, [](Bench&, DLManagedTensorVersioned& t) {
            t.dl_tensor.dtype = {kDLFloat, 32, 4};
        }));
    all.push_back(
        wrong(MOEQ_ERROR_DTYPE, {"code 5, bits 64, lanes 1", want_types}, [](Bench&, DLManagedTensorVersioned& t) {
            t.dl_tensor.dtype = {kDLComplex, 64, 1};
        }));
    all.push_back(wrong(MOEQ_ERROR_SHAPE, {"got 9 dimensions", "0 to 8"},
                        [](Bench&, DLManagedTensorVersioned& t) { t.dl_tensor.ndim = 9; }));
    all.push_back(wrong(MOEQ_ERROR_SHAPE, {"got -1 dimensions", "0 to 8"},
                        [](Bench&, DLManagedTensorVersioned& t) { t.dl_tensor.ndim = -1; }));
    all.push_back(wrong(MOEQ_ERROR_SHAPE, {"shape pointer of NULL", "3 dimensions"},
                        [](Bench&, DLManagedTensorVersioned& t) { t.dl_tensor.shape = nullptr; }));
    all.push_back(
        wrong(MOEQ_ERROR_SHAPE, {"extent -4 on axis 1", "0 or more"}, [](Bench& b, DLManagedTensorVersioned& t) {
            set_shape(b, t, {2, -4, 64});
        }));
    all.push_back(wrong(MOEQ_ERROR_SHAPE, {"[4294967296, 4294967296, 1]", "2^63 bytes"},
                        [](Bench& b, DLManagedTensorVersioned& t) {
                            set_shape(b, t, {1LL << 32, 1LL << 32, 1});
                        }));
    // The product wraps to 0, which is not "empty".
    all.push_back(wrong(MOEQ_ERROR_SHAPE, {"[4294967296, 4294967296, 4]", "2^63 bytes"},
                        [](Bench& b, DLManagedTensorVersioned& t) {
                            set_shape(b, t, {1LL << 32, 1LL << 32, 4});
                        }));
    all.push_back(wrong(MOEQ_ERROR_ARGUMENT, {"data pointer of NULL", "512 elements"},
                        [](Bench&, DLManagedTensorVersioned& t) { t.dl_tensor.data = nullptr; }));
    all.push_back(wrong(MOEQ_ERROR_LAYOUT, {"byte_offset 0xfffffffffffffffc", "leave the address space"},
                        [](Bench&, DLManagedTensorVersioned& t) { t.dl_tensor.byte_offset = UINT64_MAX - 3; }));
    all.push_back(wrong(MOEQ_ERROR_LAYOUT, {"multiple of the element's 4 bytes", "natural alignment"},
                        [](Bench&, DLManagedTensorVersioned& t) { t.dl_tensor.byte_offset = 2; }));
}

} // namespace

std::vector<WrongCall> wrong_tensors()
{
    std::vector<WrongCall> all;
    add_common(all, source, "want fp32, fp16 or bf16");
    add_common(all, destination, "want fp32, fp16 or bf16");
    all.push_back({"moeq_qtensor_quantize",
                   2,
                   "source",
                   MOEQ_ERROR_ARGUMENT,
                   {"got NULL", "want a tensor"},
                   [](Bench& b, moeq_error* err) {
                       return moeq_qtensor_quantize(b.context, nullptr, &b.spec, nullptr, nullptr, b.qtensor_out(),
                                                    err);
                   }});
    all.push_back(
        {"moeq_qtensor_dequantize",
         4,
         "destination",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL", "want a tensor"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_dequantize(b.int8, nullptr, nullptr, nullptr, err); }});
    // Strides that leave the address space, in the one direction and in the other.
    all.push_back(source(MOEQ_ERROR_LAYOUT, {"strides [9223372036854775807, 64, 1]", "address space"},
                         [](Bench& b, DLManagedTensorVersioned& t) {
                             set_strides(b, t, {INT64_MAX, 64, 1});
                         }));
    all.push_back(destination(MOEQ_ERROR_LAYOUT, {"strides [-9223372036854775808, 64, 1]", "address space"},
                              [](Bench& b, DLManagedTensorVersioned& t) {
                                  set_strides(b, t, {INT64_MIN, 64, 1});
                              }));
    // Only destinations.
    all.push_back(destination(MOEQ_ERROR_READ_ONLY, {"read-only", "may be written"},
                              [](Bench&, DLManagedTensorVersioned& t) { t.flags = DLPACK_FLAG_BITMASK_READ_ONLY; }));
    all.push_back(destination(MOEQ_ERROR_VERSION, {"flags", "does not know"},
                              [](Bench&, DLManagedTensorVersioned& t) { t.flags = 1ull << 40; }));
    all.push_back(destination(MOEQ_ERROR_LAYOUT, {"strides [256, 0, 1] with shape [2, 4, 64]", "address of its own"},
                              [](Bench& b, DLManagedTensorVersioned& t) {
                                  set_strides(b, t, {256, 0, 1});
                              }));
    all.push_back(destination(MOEQ_ERROR_LAYOUT, {"strides [256, 63, 1] with shape [2, 4, 64]", "address of its own"},
                              [](Bench& b, DLManagedTensorVersioned& t) {
                                  set_strides(b, t, {256, 63, 1});
                              }));
    return all;
}

} // namespace moeq_test
