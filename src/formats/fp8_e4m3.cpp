// FP8 E4M3 (FN): amax maps to 448.
#include "formats/fp8.h"
#include "formats/rows.h"

namespace moeq {

namespace {

struct Rules {
    static constexpr float kMax = codec::kE4m3Max;
    static uint8_t encode(float t) { return codec::float_to_e4m3(t); }
    static float decode(uint8_t code, float factor) { return codec::e4m3_decode(code, factor); }
    static float value(uint8_t code) { return codec::e4m3_to_float(code); }
};

} // namespace

constinit const Format kE4m3Format = make_fp8_format<Rules>(MOEQ_FORMAT_FP8_E4M3, "fp8_e4m3", MOEQ_DTYPE_FP8_E4M3FN);
constinit const cpu::TileKernels kE4m3Reference = Reference8Bit<Fp8Code<Rules>>::kernels();

} // namespace moeq
