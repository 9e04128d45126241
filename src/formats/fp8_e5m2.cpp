// FP8 E5M2: amax maps to 57344.
#include "codec/fp8.h"

#include "formats/reference_8bit.h"
#include "formats/rows.h"

namespace moeq {

namespace {

struct Code {
    static uint8_t encode(float t) { return codec::float_to_e5m2(t); }
    template <cpu::ScaleKind kind>
    static float decode(uint8_t code, float scale)
    {
        return codec::e5m2_decode(code, kind == cpu::kAbsmax ? codec::fp8_factor(scale, codec::kE5m2Max) : scale);
    }
};

codec::Multiplier multiplier(float amax, int32_t) { return codec::fp8_multiplier(amax, codec::kE5m2Max); }

float factor(float amax) { return codec::fp8_factor(amax, codec::kE5m2Max); }

constexpr cpu::FormatKernels kReference = Reference8Bit<Code>::kernels();

} // namespace

constinit const Format kE5m2Format = {
    .id = MOEQ_FORMAT_FP8_E5M2,
    .name = "fp8_e5m2",
    .code_dtype = MOEQ_DTYPE_FP8_E5M2,
    .code_bits = 8,
    .default_granularity = MOEQ_GRANULARITY_ROW,
    .default_scale_kind = MOEQ_SCALE_FACTOR,
    .default_block_rows = 128,
    .default_block_columns = 128,
    .has_bnb_profile = false,
    .largest = codec::kE5m2Max,
    .reference = &kReference,
    .multiplier = multiplier,
    .factor = factor,
    .encode_block_bnb_cpu = nullptr,
    .code_value = codec::e5m2_to_float,
    .code_map = nullptr,
};

} // namespace moeq
