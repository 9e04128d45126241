// int8: symmetric, codes -127 to 127, amax maps to 127.
#include "codec/int8.h"

#include "formats/reference_8bit.h"
#include "formats/rows.h"

namespace moeq {

namespace {

struct Code {
    static constexpr bool kHasBnbProfile = true;

    static uint8_t encode(float t) { return static_cast<uint8_t>(codec::int8_round(t)); }
    template <ScaleKind kind>
    static float decode(uint8_t code, float scale)
    {
        const int8_t q = static_cast<int8_t>(code);
        return kind == kAbsmax ? codec::int8_decode_absmax(q, scale) : codec::int8_decode_factor(q, scale);
    }
    static float value(uint8_t code) { return static_cast<float>(static_cast<int8_t>(code)); }
    static codec::Multiplier multiplier(float amax, int32_t profile)
    {
        return profile == MOEQ_PROFILE_MOEQ ? codec::int8_multiplier(amax) : codec::int8_multiplier_bnb_cpu(amax);
    }
    static float factor(float amax) { return codec::int8_factor(amax); }
};

} // namespace

constinit const Format kInt8Format =
    make_8bit_format<Code>(MOEQ_FORMAT_INT8, "int8", MOEQ_DTYPE_INT8, 127.0f, MOEQ_SCALE_ABSMAX);
constinit const cpu::TileKernels kInt8Reference = Reference8Bit<Code>::kernels();

} // namespace moeq
