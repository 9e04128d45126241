// NF4: the 16 values of the QLoRA paper as bitsandbytes stores them, and the code of a value in [-1, 1].
#pragma once

#include "codec/host_device.h"

namespace moeq::codec {

// Values in ascending order, as fp32 bits; code 7 is zero.
struct Nf4Values {
    uint32_t bits[16];
};
inline constexpr Nf4Values kNf4Values = {{0xBF800000u, 0xBF3239B1u, 0xBF066B30u, 0xBECA32A0u, 0xBE91A24Du, 0xBE3D353Fu,
                                          0xBDBA7871u, 0x00000000u, 0x3DA2FAFFu, 0x3E24CAE3u, 0x3E7C04DDu, 0x3EAD033Au,
                                          0x3EE1A4B8u, 0x3F1007ABu, 0x3F3913B3u, 0x3F800000u}};

// Threshold i separates codes i and i + 1. They are fl((value[i] + value[i + 1]) / 2), which a test recomputes.
struct Nf4Thresholds {
    uint32_t bits[15];
};
inline constexpr Nf4Thresholds kNf4Thresholds = {{0xBF591CD8u, 0xBF1C5270u, 0xBEEB8480u, 0xBEADEA76u, 0xBE703CECu,
                                                  0xBE0D38BCu, 0xBD3A7871u, 0x3D22FAFFu, 0x3DF64862u, 0x3E5067E0u,
                                                  0x3E9582D4u, 0x3EC753F9u, 0x3F006D04u, 0x3F248DAFu, 0x3F5C89DAu}};

// The code of zero, also of the padding behind an odd count.
inline constexpr uint8_t kNf4ZeroCode = 7;

// code = number of thresholds that t exceeds, so a tie goes to the lower value; beyond +-1 it saturates. NaN gives the
// code of zero.
MOEQ_HOST_DEVICE inline uint8_t nf4_code(float t)
{
    static constexpr Nf4Thresholds thresholds = kNf4Thresholds;
    if (is_nan(t)) {
        return kNf4ZeroCode;
    }
    uint32_t code = 0;
    for (uint32_t step = 8; step != 0; step >>= 1) {
        code += t > float_from_bits(thresholds.bits[code + step - 1]) ? step : 0u;
    }
    return static_cast<uint8_t>(code);
}

MOEQ_HOST_DEVICE inline float nf4_value(uint8_t code)
{
    static constexpr Nf4Values values = kNf4Values;
    return float_from_bits(values.bits[code & 15u]);
}

// One fp32 product. The absmax of a foreign file may be any number, negative ones included.
MOEQ_HOST_DEVICE inline float nf4_decode(uint8_t code, float absmax) { return multiply(nf4_value(code), absmax); }

} // namespace moeq::codec
