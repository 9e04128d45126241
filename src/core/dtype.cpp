#include "core/dtype.h"

#include <cstring>

#include "core/text.h"

namespace moeq {

namespace {

struct Named {
    int32_t dtype;
    const char* name;
};

// In the order of the bits of DtypeSet.
constexpr Named kNamed[kDtypeNames] = {
    {MOEQ_DTYPE_FP32, "fp32"},
    {MOEQ_DTYPE_FP16, "fp16"},
    {MOEQ_DTYPE_BF16, "bf16"},
    {MOEQ_DTYPE_FP64, "fp64"},
    {MOEQ_DTYPE_FP8_E4M3FN, "fp8_e4m3fn"},
    {MOEQ_DTYPE_FP8_E5M2, "fp8_e5m2"},
    {MOEQ_DTYPE_INT8, "int8"},
    {MOEQ_DTYPE_UINT8, "uint8"},
    {MOEQ_DTYPE_INT32, "int32"},
    {MOEQ_DTYPE_INT64, "int64"},
    {MOEQ_DTYPE_INT16, "int16"},
    {MOEQ_DTYPE_UINT16, "uint16"},
    {MOEQ_DTYPE_UINT32, "uint32"},
    {MOEQ_DTYPE_UINT64, "uint64"},
    {MOEQ_DTYPE_BOOL, "bool"},
    {MOEQ_DTYPE_FP8_E8M0, "fp8_e8m0"},
    {MOEQ_DTYPE_FP8_E4M3FNUZ, "fp8_e4m3fnuz"},
    {MOEQ_DTYPE_FP8_E5M2FNUZ, "fp8_e5m2fnuz"},
    {MOEQ_DTYPE_COMPLEX64, "complex64"},
};

} // namespace

const char* dtype_name(int32_t dtype)
{
    for (const Named& named : kNamed)
        if (named.dtype == dtype)
            return named.name;
    return "another type";
}

int32_t float_dtype(const char* name)
{
    for (const Named& named : kNamed)
        if (float_type(named.dtype) >= 0 && std::strcmp(named.name, name) == 0)
            return named.dtype;
    return 0;
}

uint32_t dtype_set(int32_t dtype)
{
    for (uint32_t i = 0; i < kDtypeNames; ++i)
        if (kNamed[i].dtype == dtype)
            return 1u << i;
    return 0;
}

void describe_dtype_set(uint32_t set, char* out)
{
    Text text(out, 128);
    if (set == kSetStored) {
        text.add("a type that checkpoint files have");
        return;
    }
    uint32_t left = 0;
    for (uint32_t i = 0; i < kDtypeNames; ++i)
        left += set >> i & 1;
    for (uint32_t i = 0; i < kDtypeNames; ++i) {
        if ((set >> i & 1) == 0)
            continue;
        text.add(kNamed[i].name);
        --left;
        if (left > 0)
            text.add(left == 1 ? " or " : ", ");
    }
}

} // namespace moeq
