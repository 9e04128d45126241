// FP4: bitsandbytes' 4-bit float (not the OCP one): its 16 values, the code by its CUDA thresholds (moeq's own rule)
// and by its CPU thresholds (compatibility).
#pragma once

#include "codec/host_device.h"

namespace moeq::codec {

// Values as fp32 bits; bit 3 of the code is the sign. Code 8 is -0.0, as in bitsandbytes' CUDA and scalar tables and as
// "sign set" says (its AVX-512 table has +0.0 there): compare decodes of code 8 by value. moeq's own rule never
// produces it.
struct Fp4Values {
    uint32_t bits[16];
};
inline constexpr Fp4Values kFp4Values = {{0x00000000u, 0x3BAAAAABu, 0x3F2AAAABu, 0x3F800000u, 0x3EAAAAABu, 0x3F000000u,
                                          0x3E2AAAABu, 0x3E800000u, 0x80000000u, 0xBBAAAAABu, 0xBF2AAAABu, 0xBF800000u,
                                          0xBEAAAAABu, 0xBF000000u, 0xBE2AAAABu, 0xBE800000u}};

// Codes in ascending magnitude: 0, 1/192, 1/6, 1/4, 1/3, 1/2, 2/3, 1; one nibble each, the smallest lowest.
inline constexpr uint32_t kFp4CodesByMagnitude = 0x32547610u;

// Thresholds on the magnitude between neighbours of that order: the fp32 values of the decimal literals .00260417,
// .0859375, .20833333, .29166667, .4166667, .583333, .8333333 of its CUDA code.
struct Fp4Thresholds {
    uint32_t bits[7];
};
inline constexpr Fp4Thresholds kFp4Thresholds = {
    {0x3B2AAAB9u, 0x3DB00000u, 0x3E555555u, 0x3E955555u, 0x3ED55556u, 0x3F155550u, 0x3F555555u}};

// The code of zero, also of the padding behind an odd count.
inline constexpr uint8_t kFp4ZeroCode = 0;

// The code of a rank: of how many thresholds a magnitude exceeds. What rounds to zero has no sign.
MOEQ_HOST_DEVICE constexpr uint8_t fp4_code_of_rank(uint32_t rank, bool negative)
{
    const uint32_t magnitude = kFp4CodesByMagnitude >> (4 * rank) & 7u;
    return static_cast<uint8_t>(rank == 0 ? uint32_t{kFp4ZeroCode} : magnitude | (negative ? 8u : 0u));
}

// The magnitude is the number of thresholds that |t| exceeds, so ties go to the smaller magnitude; beyond 1 it
// saturates. What rounds to zero gets code 0 for both signs; so does NaN.
MOEQ_HOST_DEVICE inline uint8_t fp4_code(float t)
{
    static constexpr Fp4Thresholds thresholds = kFp4Thresholds;
    const uint32_t bits = float_bits(t);
    const uint32_t magnitude = bits & kMagnitudeMask;
    if (magnitude > kNonfiniteBits) {
        return kFp4ZeroCode;
    }
    uint32_t rank = 0;
    for (uint32_t step = 4; step != 0; step >>= 1) {
        // Magnitude bits of finite numbers order like the numbers.
        rank += magnitude > thresholds.bits[rank + step - 1] ? step : 0u;
    }
    return fp4_code_of_rank(rank, (bits >> 31) != 0);
}

// bitsandbytes' CPU rule: codes in ascending value (the lowest first), -0.0 behind +0.0 as its sort leaves them.
inline constexpr uint64_t kFp4BnbCpuCodesByValue = 0x32547618'09EFCDABull;

// Its thresholds are fl((v[i] + v[i + 1]) / 2) of the values in that order; the one between the two zeros is 0.
struct Fp4BnbCpuThresholds {
    uint32_t bits[15];
};
inline constexpr Fp4BnbCpuThresholds kFp4BnbCpuThresholds = {
    {0xBF555556u, 0xBF155556u, 0xBED55556u, 0xBE955556u, 0xBE555556u, 0xBDB00000u, 0xBB2AAAABu, 0x00000000u,
     0x3B2AAAABu, 0x3DB00000u, 0x3E555556u, 0x3E955556u, 0x3ED55556u, 0x3F155556u, 0x3F555556u}};

// The number of thresholds that t exceeds: ties go down, towards -1, and t in (0, 1/384] gets code 8. NaN gives code 0
// (bitsandbytes gives 3; moeq refuses or zeroes NaN before it gets here).
MOEQ_HOST_DEVICE inline uint8_t fp4_code_bnb_cpu(float t)
{
    static constexpr Fp4BnbCpuThresholds thresholds = kFp4BnbCpuThresholds;
    if (is_nan(t)) {
        return kFp4ZeroCode;
    }
    uint32_t rank = 0;
    for (uint32_t step = 8; step != 0; step >>= 1) {
        rank += t > float_from_bits(thresholds.bits[rank + step - 1]) ? step : 0u;
    }
    return static_cast<uint8_t>((kFp4BnbCpuCodesByValue >> (4 * rank)) & 15u);
}

MOEQ_HOST_DEVICE inline float fp4_value(uint8_t code)
{
    static constexpr Fp4Values values = kFp4Values;
    return float_from_bits(values.bits[code & 15u]);
}

// One fp32 product. The absmax of a foreign file may be any number, negative ones included.
MOEQ_HOST_DEVICE inline float fp4_decode(uint8_t code, float absmax) { return multiply(fp4_value(code), absmax); }

} // namespace moeq::codec
