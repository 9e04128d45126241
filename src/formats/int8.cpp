// int8: symmetric, codes -127 to 127, amax maps to 127.
#include "codec/int8.h"

#include "formats/reference_8bit.h"
#include "formats/rows.h"

namespace moeq {

namespace {

struct Code {
    static uint8_t encode(float t) { return static_cast<uint8_t>(codec::int8_round(t)); }
    template <cpu::ScaleKind kind>
    static float decode(uint8_t code, float scale)
    {
        const int8_t q = static_cast<int8_t>(code);
        return kind == cpu::kAbsmax ? codec::int8_decode_absmax(q, scale) : codec::int8_decode_factor(q, scale);
    }
};

codec::Multiplier multiplier(float amax, int32_t profile)
{
    return profile == MOEQ_PROFILE_MOEQ ? codec::int8_multiplier(amax) : codec::int8_multiplier_bnb_cpu(amax);
}

float code_value(uint8_t code) { return static_cast<float>(static_cast<int8_t>(code)); }

constexpr cpu::FormatKernels kReference = Reference8Bit<Code>::kernels();

} // namespace

constinit const Format kInt8Format = {
    .id = MOEQ_FORMAT_INT8,
    .name = "int8",
    .code_dtype = MOEQ_DTYPE_INT8,
    .code_bits = 8,
    .default_granularity = MOEQ_GRANULARITY_ROW,
    .default_scale_kind = MOEQ_SCALE_ABSMAX,
    .default_block_rows = 128,
    .default_block_columns = 128,
    .has_bnb_profile = true,
    .largest = 127.0f,
    .reference = &kReference,
    .multiplier = multiplier,
    .factor = codec::int8_factor,
    .encode_block_bnb_cpu = nullptr,
    .code_value = code_value,
    .code_map = nullptr,
};

} // namespace moeq
