// NF4: blocks of 16 table values, amax maps to 1.
#include "codec/nf4.h"

#include "formats/reference_4bit.h"
#include "formats/rows.h"

namespace moeq {

namespace {

struct Code {
    static constexpr auto kValues = codec::kNf4Values;
    static uint8_t encode(float t) { return codec::nf4_code(t); }
    static uint8_t encode_bnb_cpu(float t) { return codec::nf4_code(t); }
    static float value(uint8_t code) { return codec::nf4_value(code); }
};

} // namespace

constinit const Format kNf4Format = make_4bit_format<Code>(MOEQ_FORMAT_NF4, "nf4");
constinit const cpu::RunKernels kNf4Reference = Reference4Bit<Code>::kernels();

} // namespace moeq
