// Transposing by NEON.
#include "cpu/transpose.h"

#include "cpu/neon/elements.h"
#include "cpu/neon/tier.h"

namespace moeq::cpu::neon {

namespace {

struct Ops {
    using Vector = uint8x16_t;
    static constexpr int64_t kSides = 1;

    MOEQ_TIER_INLINE static uint8x16_t gather(const char* at, int64_t) { return load_bytes(at); }
    MOEQ_TIER_INLINE static uint8x16_t get(const char* at) { return load_bytes(at); }
    template <int64_t bytes>
    MOEQ_TIER_INLINE static uint8x16_t low(uint8x16_t a, uint8x16_t b)
    {
        if constexpr (bytes == 2)
            return vreinterpretq_u8_u16(vzip1q_u16(vreinterpretq_u16_u8(a), vreinterpretq_u16_u8(b)));
        else if constexpr (bytes == 4)
            return vreinterpretq_u8_u32(vzip1q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
        else
            return vreinterpretq_u8_u64(vzip1q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
    }
    template <int64_t bytes>
    MOEQ_TIER_INLINE static uint8x16_t high(uint8x16_t a, uint8x16_t b)
    {
        if constexpr (bytes == 2)
            return vreinterpretq_u8_u16(vzip2q_u16(vreinterpretq_u16_u8(a), vreinterpretq_u16_u8(b)));
        else if constexpr (bytes == 4)
            return vreinterpretq_u8_u32(vzip2q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
        else
            return vreinterpretq_u8_u64(vzip2q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
    }
    template <Stores>
    MOEQ_TIER_INLINE static void put(char* at, uint8x16_t v)
    {
        store_bytes(at, v);
    }
};

} // namespace

void overlay_transpose(Kernels* kernels) { overlay_transposition<Ops, kCached>(kernels); }

} // namespace moeq::cpu::neon
