// FP8 E5M2: amax maps to 57344.
#include "formats/fp8.h"
#include "formats/rows.h"

namespace moeq {

namespace {

struct Rules {
    static constexpr float kMax = codec::kE5m2Max;
    static uint8_t encode(float t) { return codec::float_to_e5m2(t); }
    static float decode(uint8_t code, float factor) { return codec::e5m2_decode(code, factor); }
    static float value(uint8_t code) { return codec::e5m2_to_float(code); }
};

} // namespace

constinit const Format kE5m2Format = make_fp8_format<Rules>(MOEQ_FORMAT_FP8_E5M2, "fp8_e5m2", MOEQ_DTYPE_FP8_E5M2);
constinit const cpu::TileKernels kE5m2Reference = Reference8Bit<Fp8Code<Rules>>::kernels();

} // namespace moeq
