// Transposing by AVX-512.
#include "cpu/transpose.h"

#include "cpu/avx512/elements.h"
#include "cpu/avx512/tier.h"

namespace moeq::cpu::avx512 {

namespace {

struct Ops {
    using Vector = __m512i;

    // Lanes are put in by loads under a mask, which leave the shuffle units to the rest.
    MOEQ_TIER_INLINE static __m512i gather(const char* at, int64_t step)
    {
        __m512i lanes = _mm512_castsi128_si512(lane(at));
        lanes = _mm512_mask_broadcast_i32x4(lanes, 0x00F0, lane(at + step));
        lanes = _mm512_mask_broadcast_i32x4(lanes, 0x0F00, lane(at + 2 * step));
        return _mm512_mask_broadcast_i32x4(lanes, 0xF000, lane(at + 3 * step));
    }
    MOEQ_TIER_INLINE static __m512i get(const char* at) { return _mm512_loadu_si512(at); }
    template <int64_t bytes>
    MOEQ_TIER_INLINE static __m512i low(__m512i a, __m512i b)
    {
        if constexpr (bytes == 2)
            return _mm512_unpacklo_epi16(a, b);
        else if constexpr (bytes == 4)
            return _mm512_unpacklo_epi32(a, b);
        else
            return _mm512_unpacklo_epi64(a, b);
    }
    template <int64_t bytes>
    MOEQ_TIER_INLINE static __m512i high(__m512i a, __m512i b)
    {
        if constexpr (bytes == 2)
            return _mm512_unpackhi_epi16(a, b);
        else if constexpr (bytes == 4)
            return _mm512_unpackhi_epi32(a, b);
        else
            return _mm512_unpackhi_epi64(a, b);
    }
    template <Stores stores>
    MOEQ_TIER_INLINE static void put(char* at, __m512i v)
    {
        store512<stores>(at, v);
    }

private:
    MOEQ_TIER_INLINE static __m128i lane(const char* at)
    {
        return _mm_loadu_si128(static_cast<const __m128i*>(static_cast<const void*>(at)));
    }
};

} // namespace

void overlay_transpose(Kernels* kernels) { overlay_transposition<Ops, kStreamed>(kernels); }

} // namespace moeq::cpu::avx512
