// FP4 by NEON.
#include "codec/fp4.h"

#include "cpu/neon/four_bit.h"
#include "cpu/neon/tier.h"

namespace moeq::cpu::neon {

namespace {

// By the count n of the levels before: the threshold in the middle of what is left.
struct Thresholds {
    uint32_t bits[4];
};
constexpr Thresholds kThird = [] {
    Thresholds table{};
    for (int n = 0; n < 4; ++n)
        table.bits[n] = codec::kFp4Thresholds.bits[2 * n];
    return table;
}();

struct Codes16 {
    uint8_t at[16];
};
// By rank, with 8 more for a negative number.
constexpr Codes16 kCodes = [] {
    Codes16 codes{};
    for (uint32_t i = 0; i < 16; ++i)
        codes.at[i] = codec::fp4_code_of_rank(i % 8, i >= 8);
    return codes;
}();

struct Code {
    static constexpr codec::Fp4Values kValues = codec::kFp4Values;

    // The number of thresholds below |t|.
    MOEQ_TIER_INLINE static uint32x4_t search(float32x4_t t)
    {
        const float32x4_t magnitude = vabsq_f32(t);
        const uint32x4_t above = vcgtq_f32(magnitude, threshold(codec::kFp4Thresholds.bits[3]));
        const float32x4_t second =
            vbslq_f32(above, threshold(codec::kFp4Thresholds.bits[5]), threshold(codec::kFp4Thresholds.bits[1]));
        const uint32x4_t count = next_level(vshrq_n_u32(above, 31), magnitude, second);
        const uint8x16_t third = vqtbl1q_u8(load_bytes(kThird.bits), byte_index(count));
        return next_level(count, magnitude, vreinterpretq_f32_u8(third));
    }

    MOEQ_TIER_INLINE static uint8x16_t codes16(const float32x4_t t[4])
    {
        uint32x4_t counts[4];
        for (int part = 0; part < 4; ++part)
            counts[part] = search(t[part]);
        const uint8x16_t sign = vandq_u8(vshrq_n_u8(pack_high_bytes(t), 4), vdupq_n_u8(8));
        return vqtbl1q_u8(load_bytes(kCodes.at), vorrq_u8(pack_low_bytes(counts), sign));
    }
};

} // namespace

void overlay_fp4(RunKernels* kernels) { fill_kernels<FourBit<Code>>(kernels); }

} // namespace moeq::cpu::neon
