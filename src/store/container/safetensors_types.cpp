// Element types and sizes of tensors in the container.
#include <cstring>

#include "core/checked.h"
#include "core/dtype.h"
#include "store/container/safetensors.h"

namespace moeq::store {

namespace {

struct Named {
    const char* name;
    int32_t dtype;
};
constexpr Named kTypes[] = {
    {"BF16", MOEQ_DTYPE_BF16},
    {"F32", MOEQ_DTYPE_FP32},
    {"F16", MOEQ_DTYPE_FP16},
    {"U8", MOEQ_DTYPE_UINT8},
    {"I8", MOEQ_DTYPE_INT8},
    {"F8_E4M3", MOEQ_DTYPE_FP8_E4M3FN},
    {"F8_E5M2", MOEQ_DTYPE_FP8_E5M2},
    {"F8_E8M0", MOEQ_DTYPE_FP8_E8M0},
    {"F8_E4M3FNUZ", MOEQ_DTYPE_FP8_E4M3FNUZ},
    {"F8_E5M2FNUZ", MOEQ_DTYPE_FP8_E5M2FNUZ},
    {"F6_E2M3", MOEQ_DTYPE_FP6_E2M3},
    {"F6_E3M2", MOEQ_DTYPE_FP6_E3M2},
    {"F4", MOEQ_DTYPE_FP4_E2M1},
    {"BOOL", MOEQ_DTYPE_BOOL},
    {"I16", MOEQ_DTYPE_INT16},
    {"U16", MOEQ_DTYPE_UINT16},
    {"I32", MOEQ_DTYPE_INT32},
    {"U32", MOEQ_DTYPE_UINT32},
    {"I64", MOEQ_DTYPE_INT64},
    {"U64", MOEQ_DTYPE_UINT64},
    {"F64", MOEQ_DTYPE_FP64},
    {"C64", MOEQ_DTYPE_COMPLEX64},
};

} // namespace

const char* container_dtype_name(int32_t dtype)
{
    for (const Named& type : kTypes)
        if (type.dtype == dtype)
            return type.name;
    return nullptr;
}

int32_t container_dtype(const char* name, int64_t length)
{
    for (const Named& type : kTypes)
        if (length == static_cast<int64_t>(std::strlen(type.name)) &&
            std::memcmp(name, type.name, static_cast<uint64_t>(length)) == 0)
            return type.dtype;
    return 0;
}

TensorSize tensor_size(int32_t dtype, int32_t ndim, const int64_t* shape, int64_t* out)
{
    int64_t elements = 1; // without the extents of 0
    bool empty = false;
    for (int32_t i = 0; i < ndim; ++i) {
        empty = empty || shape[i] == 0;
        if (shape[i] < 0 || (shape[i] != 0 && !checked_multiply(elements, shape[i], &elements)))
            return TensorSize::kOverflows;
    }
    int64_t bits = 0;
    if (!checked_multiply(elements, dtype_bits(dtype), &bits))
        return TensorSize::kOverflows;
    if (!empty && bits % 8 != 0)
        return TensorSize::kHalfByte;
    *out = empty ? 0 : bits / 8;
    return TensorSize::kFits;
}

bool tensor_bytes(int32_t dtype, int32_t ndim, const int64_t* shape, int64_t* out)
{
    return tensor_size(dtype, ndim, shape, out) == TensorSize::kFits;
}

} // namespace moeq::store
