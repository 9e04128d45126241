// Nested statistics by NEON, which has no gather: tables are read one element at a time, eight searches side by side.
#include "codec/dynamic_thresholds.h"

#include "cpu/neon/elements.h"
#include "cpu/neon/tier.h"

namespace moeq::cpu::neon {

namespace {

constexpr int64_t kMost = 256; // values of one call
constexpr int kSide = 8;

// codec::dynamic_code of kSide numbers.
MOEQ_TIER_INLINE void dynamic_codes(const float* t, uint8_t* codes)
{
    uint32_t found[kSide] = {};
    for (uint32_t step = 128; step != 0; step /= 2)
        for (int i = 0; i < kSide; ++i)
            found[i] += t[i] > codec::kDynamicThresholds.values[found[i] + step - 1] ? step : 0u;
    for (int i = 0; i < kSide; ++i)
        codes[i] = static_cast<uint8_t>(found[i]);
}

float encode_nested(const float* absmax, int64_t count, float offset, uint8_t* codes)
{
    alignas(16) float shifted[kMost];
    alignas(16) uint8_t found[kMost];
    const int64_t whole = (count + kSide - 1) / kSide * kSide;
    for (int64_t i = 0; i < count; ++i)
        shifted[i] = codec::subtract(absmax[i], offset);
    for (int64_t i = count; i < whole; ++i)
        shifted[i] = 0.0f;
    uint32x4_t most = vdupq_n_u32(0);
    for (int64_t i = 0; i < whole; i += 4)
        most = vmaxq_u32(most, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(shifted + i))));
    const float amax = codec::float_from_bits(vmaxvq_u32(most));
    const codec::Multiplier multiplier = codec::unit_multiplier(amax);
    if (multiplier.value == 0.0f) {
        __builtin_memset(codes, codec::kDynamicZeroCode, static_cast<uint64_t>(count));
        return amax;
    }
    const float32x4_t prescale = vdupq_n_f32(multiplier.prescale);
    const float32x4_t value = vdupq_n_f32(multiplier.value);
    for (int64_t i = 0; i < whole; i += kSide) {
        alignas(16) float t[kSide];
        for (int part = 0; part < kSide; part += 4)
            vst1q_f32(t + part, scaled<true>(vld1q_f32(shifted + i + part), prescale, value));
        dynamic_codes(t, found + i);
    }
    __builtin_memcpy(codes, found, static_cast<uint64_t>(count));
    return amax;
}

void decode_nested(const uint8_t* codes, int64_t count, const float* map, float scale, float offset, float* absmax)
{
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const float values[4] = {map[codes[i]], map[codes[i + 1]], map[codes[i + 2]], map[codes[i + 3]]};
        vst1q_f32(absmax + i, vaddq_f32(vmulq_f32(vld1q_f32(values), vdupq_n_f32(scale)), vdupq_n_f32(offset)));
    }
    for (; i < count; ++i)
        absmax[i] = codec::nested_absmax(map[codes[i]], scale, offset);
}

} // namespace

void overlay_nested(Kernels* kernels)
{
    kernels->encode_nested = encode_nested;
    kernels->decode_nested = decode_nested;
}

} // namespace moeq::cpu::neon
