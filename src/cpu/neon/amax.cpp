// Largest magnitudes by NEON.
#include "cpu/neon/amax.h"

#include "cpu/neon/tier.h"
#include "cpu/rectangles.h"

namespace moeq::cpu::neon {

namespace {

template <FloatType type>
uint32_t amax(const void* source, int64_t count)
{
    return amax_run<type>(source, count);
}

template <FloatType type>
MOEQ_TIER_INLINE void columns16(const void* source, uint8_t* bits)
{
    float32x4_t x[4];
    load16<type>(source, x);
    for (int part = 0; part < 4; ++part) {
        const uint32x4_t magnitude = vandq_u32(vreinterpretq_u32_f32(x[part]), vdupq_n_u32(0x7FFFFFFF));
        uint8_t* at = bits + 16 * part;
        store_bytes(at, vreinterpretq_u8_u32(vmaxq_u32(load_dwords(at), magnitude)));
    }
}

template <FloatType type>
void amax_columns(const void* source, int64_t count, uint32_t* bits)
{
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        columns16<type>(element_at<type>(source, i), reinterpret_cast<uint8_t*>(bits + i));
    if (i < count) {
        Padded<kElementBytes<type>> elements;
        Padded<4> results;
        elements.fill(element_at<type>(source, i), count - i);
        results.fill(bits + i, count - i);
        columns16<type>(elements.at, results.at);
        results.drain(bits + i, count - i);
    }
}

template <FloatType type>
struct Amax {
    static constexpr auto run = amax<type>;
    static constexpr auto blocks = amax_blocks_by_runs<type, amax_run<type>>;
    static constexpr auto rectangle = amax_by_rows<amax<type>>;
    static constexpr auto columns = amax_columns_by_rows<amax_columns<type>>;
};

} // namespace

void overlay_amax(Kernels* kernels) { fill_amax<Amax>(kernels); }

} // namespace moeq::cpu::neon
