// FP4: bitsandbytes' 4-bit float, amax maps to 1.
#include "codec/fp4.h"

#include "formats/reference_4bit.h"
#include "formats/rows.h"

namespace moeq {

namespace {

struct Code {
    static constexpr auto kValues = codec::kFp4Values;
    static uint8_t encode(float t) { return codec::fp4_code(t); }
    static uint8_t encode_bnb_cpu(float t) { return codec::fp4_code_bnb_cpu(t); }
    static float value(uint8_t code) { return codec::fp4_value(code); }
};

} // namespace

constinit const Format kFp4Format = make_4bit_format<Code>(MOEQ_FORMAT_FP4, "fp4");
constinit const cpu::RunKernels kFp4Reference = Reference4Bit<Code>::kernels();

} // namespace moeq
