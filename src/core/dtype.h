// Element types as one number: DLPack's code | bits << 8 | lanes << 16 (MOEQ_DTYPE_ of moeq.h).
#pragma once

#include <cstdint>

#include "moeq.h"

namespace moeq {

constexpr int32_t make_dtype(uint8_t code, uint8_t bits, uint16_t lanes)
{
    return static_cast<int32_t>(code | static_cast<uint32_t>(bits) << 8 | static_cast<uint32_t>(lanes) << 16);
}
constexpr uint8_t dtype_code(int32_t dtype) { return static_cast<uint8_t>(dtype & 0xFF); }
constexpr uint8_t dtype_bits(int32_t dtype) { return static_cast<uint8_t>(dtype >> 8 & 0xFF); }
constexpr uint16_t dtype_lanes(int32_t dtype) { return static_cast<uint16_t>(dtype >> 16 & 0xFFFF); }

// Bytes of one element of a type that moeq names.
constexpr int64_t dtype_bytes(int32_t dtype) { return dtype_bits(dtype) / 8; }

// "bf16", "int8"; "another type" for what moeq does not name.
const char* dtype_name(int32_t dtype);

// The element types of weights, as an index into kernel tables.
enum FloatType : int32_t { kFp32 = 0, kFp16 = 1, kBf16 = 2, kFloatTypes = 3 };

// The type of weights that is called so: MOEQ_DTYPE_ of "fp32", "fp16", "bf16"; 0 for all else.
int32_t float_dtype(const char* name);

// -1 for all else.
constexpr int32_t float_type(int32_t dtype)
{
    return dtype == MOEQ_DTYPE_FP32 ? kFp32 : dtype == MOEQ_DTYPE_FP16 ? kFp16 : dtype == MOEQ_DTYPE_BF16 ? kBf16 : -1;
}

// A set of element types, as bits, for the acceptance of tensors.
enum DtypeSet : uint32_t {
    kSetFp32 = 1u << 0,
    kSetFp16 = 1u << 1,
    kSetBf16 = 1u << 2,
    kSetFp64 = 1u << 3,
    kSetE4m3 = 1u << 4,
    kSetE5m2 = 1u << 5,
    kSetInt8 = 1u << 6,
    kSetUint8 = 1u << 7,
    kSetInt32 = 1u << 8,
    kSetInt64 = 1u << 9,
    kSetInt16 = 1u << 10,
    kSetUint16 = 1u << 11,
    kSetUint32 = 1u << 12,
    kSetUint64 = 1u << 13,
    kSetBool = 1u << 14,
    kSetE8m0 = 1u << 15,
    kSetE4m3fnuz = 1u << 16,
    kSetE5m2fnuz = 1u << 17,
    kSetComplex64 = 1u << 18,
    kSetWeights = kSetFp32 | kSetFp16 | kSetBf16,
    kSetIds = kSetInt32 | kSetInt64,
    kSetIntegers = kSetInt8 | kSetUint8 | kSetInt16 | kSetInt32 | kSetInt64,
    kSetReducible = kSetWeights | kSetFp64 | kSetE4m3 | kSetE5m2 | kSetIntegers,
    kSetStored = (1u << 19) - 1, // in files, whole bytes each
};

// The one bit of a type; 0 where moeq does not know it.
uint32_t dtype_set(int32_t dtype);
constexpr int32_t kDtypeNames = 19;
// Names of a set: "fp32, fp16 or bf16", into a buffer of 128 bytes; kSetStored is "a type that checkpoint files have".
void describe_dtype_set(uint32_t set, char* out);

} // namespace moeq
