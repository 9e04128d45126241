// FP8 E4M3 (FN): amax maps to 448.
#include "codec/fp8.h"

#include "formats/reference_8bit.h"
#include "formats/rows.h"

namespace moeq {

namespace {

struct Code {
    static uint8_t encode(float t) { return codec::float_to_e4m3(t); }
    template <cpu::ScaleKind kind>
    static float decode(uint8_t code, float scale)
    {
        return codec::e4m3_decode(code, kind == cpu::kAbsmax ? codec::fp8_factor(scale, codec::kE4m3Max) : scale);
    }
};

codec::Multiplier multiplier(float amax, int32_t) { return codec::fp8_multiplier(amax, codec::kE4m3Max); }

float factor(float amax) { return codec::fp8_factor(amax, codec::kE4m3Max); }

constexpr cpu::FormatKernels kReference = Reference8Bit<Code>::kernels();

} // namespace

constinit const Format kE4m3Format = {
    .id = MOEQ_FORMAT_FP8_E4M3,
    .name = "fp8_e4m3",
    .code_dtype = MOEQ_DTYPE_FP8_E4M3FN,
    .code_bits = 8,
    .default_granularity = MOEQ_GRANULARITY_ROW,
    .default_scale_kind = MOEQ_SCALE_FACTOR,
    .default_block_rows = 128,
    .default_block_columns = 128,
    .has_bnb_profile = false,
    .largest = codec::kE4m3Max,
    .reference = &kReference,
    .multiplier = multiplier,
    .factor = factor,
    .encode_block_bnb_cpu = nullptr,
    .code_value = codec::e4m3_to_float,
    .code_map = nullptr,
};

} // namespace moeq
