// The promised error bounds of every format, as a function of one value and the amax of its scale unit.
#pragma once

#include "codec/dynamic_map.h"
#include "codec/fp4.h"
#include "codec/fp8.h"
#include "codec/int8.h"
#include "codec/mxfp8.h"
#include "codec/nf4.h"
#include "codec/statistic.h"
#include "codec_oracle.h"

namespace codec_oracle {

// Quantizes and decodes x under every format and returns the name of the first whose bound does not hold, or nullptr.
// 2^-150 is half the smallest subnormal: the rounding of a result or of a statistic that is subnormal.
inline const char* violated_bound(float x, float a)
{
    using namespace moeq::codec;
    const double value = static_cast<double>(x);
    const double magnitude = std::fabs(value);
    const double amax = static_cast<double>(a);
    // Written so that a NaN violates.
    const auto within = [value](float decoded, double bound) {
        return std::fabs(static_cast<double>(decoded) - value) <= bound;
    };

    const int8_t q = int8_round(code_argument(x, int8_multiplier(a)));
    const double int8_bound = amax / 254 + 0x1p-22 * magnitude + 0x1p-150;
    if (!within(int8_decode_absmax(q, a), int8_bound)) {
        return "int8 absmax";
    }
    if (!within(int8_decode_factor(q, int8_factor(a)), int8_bound + 128 * 0x1p-150)) {
        return "int8 factor";
    }
    const float unit = code_argument(x, unit_multiplier(a));
    if (!within(nf4_decode(nf4_code(unit), a), 0.15191 * amax + 0x1p-150)) {
        return "nf4";
    }
    // Half of the largest gap, 1/3, and the roundings.
    if (!within(fp4_decode(fp4_code(unit), a), 0.16667 * amax + 0x1p-150)) {
        return "fp4";
    }
    const float e4m3_scale = fp8_factor(a, kE4m3Max);
    const uint8_t e4m3 = float_to_e4m3(code_argument(x, fp8_multiplier(a, kE4m3Max)));
    const double e4m3_step = std::max(magnitude / 17, static_cast<double>(e4m3_scale) * 0x1p-10);
    if (!within(e4m3_decode(e4m3, e4m3_scale), e4m3_step * (1 + 0x1p-20) + 449 * 0x1p-150)) {
        return "e4m3";
    }
    const float e5m2_scale = fp8_factor(a, kE5m2Max);
    const uint8_t e5m2 = float_to_e5m2(code_argument(x, fp8_multiplier(a, kE5m2Max)));
    const double e5m2_step = std::max(magnitude / 9, static_cast<double>(e5m2_scale) * 0x1p-17);
    if (!within(e5m2_decode(e5m2, e5m2_scale), e5m2_step * (1 + 0x1p-20) + 57345 * 0x1p-150)) {
        return "e5m2";
    }
    const uint8_t power = mxfp8_scale_code(float_bits(a));
    const uint8_t mxfp8 = mxfp8_code(x, power);
    const double mxfp8_step = std::max(magnitude / (amax < 0x1.f8p127 ? 17 : 16), std::ldexp(1.0, power - 137));
    if (!within(e4m3_decode(mxfp8, e8m0_to_float(power)), mxfp8_step + 0x1p-150)) {
        return "mxfp8";
    }
    return nullptr;
}

// A value of either sign with magnitude up to a: mostly uniform, sometimes many octaves down, sometimes next to a tie
// between two codes, where the error is largest.
inline float value_below(RandomFloats& random, float a)
{
    double share = random.unit();
    switch (random.bits() % 4) {
    case 0:
        share = std::ldexp(share, -static_cast<int>(random.bits() % 30));
        break;
    case 1:
        share = (static_cast<double>(random.bits() % 127) + 0.5) / 127.0;
        break;
    case 2: {
        const uint32_t i = random.bits() % 15;
        share = std::fabs(static_cast<double>(kNf4[i]) + static_cast<double>(kNf4[i + 1])) / 2;
        break;
    }
    default:
        break;
    }
    const auto magnitude = static_cast<float>(share * static_cast<double>(a));
    const float capped = magnitude < a ? magnitude : a;
    return random.bits() % 2 == 0 ? capped : -capped;
}

} // namespace codec_oracle
