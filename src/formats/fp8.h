// What the FP8 formats have in common: the stored factor is a / max, and codes are multiplied by it.
#pragma once

#include "codec/fp8.h"
#include "formats/reference_8bit.h"

namespace moeq {

template <class Rules>
struct Fp8Code : Rules {
    static constexpr bool kHasBnbProfile = false;

    template <ScaleKind kind>
    static float decode(uint8_t code, float scale)
    {
        return Rules::decode(code, kind == kAbsmax ? factor(scale) : scale);
    }
    static codec::Multiplier multiplier(float amax, int32_t) { return codec::fp8_multiplier(amax, Rules::kMax); }
    static float factor(float amax) { return codec::fp8_factor(amax, Rules::kMax); }
};

template <class Rules>
constexpr Format make_fp8_format(int32_t id, const char* name, int32_t code_dtype)
{
    return make_8bit_format<Fp8Code<Rules>>(id, name, code_dtype, Rules::kMax, MOEQ_SCALE_FACTOR);
}

} // namespace moeq
