// NF4 by NEON.
#include "codec/nf4.h"

#include "cpu/neon/four_bit.h"
#include "cpu/neon/tier.h"

namespace moeq::cpu::neon {

namespace {

// By the count n of the levels before: the threshold in the middle of what is left.
struct Thresholds {
    uint32_t bits[8];
};
constexpr Thresholds kThird = [] {
    Thresholds table{};
    for (int n = 0; n < 4; ++n)
        table.bits[n] = codec::kNf4Thresholds.bits[1 + 4 * n];
    return table;
}();
constexpr Thresholds kFourth = [] {
    Thresholds table{};
    for (int n = 0; n < 8; ++n)
        table.bits[n] = codec::kNf4Thresholds.bits[2 * n];
    return table;
}();

struct Code {
    static constexpr codec::Nf4Values kValues = codec::kNf4Values;

    // The number of thresholds below t.
    MOEQ_TIER_INLINE static uint32x4_t search(float32x4_t t)
    {
        const uint32x4_t above = vcgtq_f32(t, threshold(codec::kNf4Thresholds.bits[7]));
        const float32x4_t second =
            vbslq_f32(above, threshold(codec::kNf4Thresholds.bits[11]), threshold(codec::kNf4Thresholds.bits[3]));
        uint32x4_t count = next_level(vshrq_n_u32(above, 31), t, second);
        const uint8x16_t third = vqtbl1q_u8(load_bytes(kThird.bits), byte_index(count));
        count = next_level(count, t, vreinterpretq_f32_u8(third));
        const uint8x16x2_t table = {{load_bytes(kFourth.bits), load_bytes(kFourth.bits + 4)}};
        const uint8x16_t fourth = vqtbl2q_u8(table, byte_index(count));
        return next_level(count, t, vreinterpretq_f32_u8(fourth));
    }

    MOEQ_TIER_INLINE static uint8x16_t codes16(const float32x4_t t[4])
    {
        uint32x4_t counts[4];
        for (int part = 0; part < 4; ++part)
            counts[part] = search(t[part]);
        return pack_low_bytes(counts);
    }
};

} // namespace

void overlay_nf4(RunKernels* kernels) { fill_kernels<FourBit<Code>>(kernels); }

} // namespace moeq::cpu::neon
