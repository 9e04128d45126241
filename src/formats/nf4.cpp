// NF4: blocks of 16 table values, amax maps to 1.
#include "codec/nf4.h"

#include "formats/reference_4bit.h"
#include "formats/rows.h"

namespace moeq {

namespace {

struct Code {
    static uint8_t encode(float t) { return codec::nf4_code(t); }
    static float value(uint8_t code) { return codec::nf4_value(code); }
};

constexpr cpu::FormatKernels kReference = Reference4Bit<Code>::kernels();

constexpr int kCodes = 16;
struct CodeMap {
    float values[kCodes];
};
constexpr CodeMap make_code_map()
{
    CodeMap map{};
    for (int i = 0; i < kCodes; ++i)
        map.values[i] = codec::float_from_bits(codec::kNf4Values.bits[i]);
    return map;
}
constexpr CodeMap kCodeMap = make_code_map();

} // namespace

constinit const Format kNf4Format = {
    .id = MOEQ_FORMAT_NF4,
    .name = "nf4",
    .code_dtype = MOEQ_DTYPE_UINT8,
    .code_bits = 4,
    .default_granularity = MOEQ_GRANULARITY_BLOCK,
    .default_scale_kind = MOEQ_SCALE_ABSMAX,
    .default_block_rows = 1,
    .default_block_columns = 64,
    .has_bnb_profile = true,
    .largest = 1.0f,
    .reference = &kReference,
    .multiplier = nullptr,
    .factor = nullptr,
    .encode_block_bnb_cpu = Reference4Bit<Code>::encode_block_bnb_cpu<codec::nf4_code>,
    .code_value = codec::nf4_value,
    .code_map = kCodeMap.values,
};

} // namespace moeq
