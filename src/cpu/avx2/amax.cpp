// Largest magnitudes by AVX2.
#include "cpu/avx2/amax.h"

#include "cpu/avx2/tier.h"
#include "cpu/rectangles.h"

namespace moeq::cpu::avx2 {

namespace {

template <FloatType type>
uint32_t amax(const void* source, int64_t count)
{
    return amax_run<type, true>(source, count);
}

template <FloatType type>
MOEQ_TIER_INLINE void columns8(const void* source, void* bits)
{
    const __m256i magnitude = _mm256_and_si256(_mm256_castps_si256(load8<type>(source)), _mm256_set1_epi32(0x7FFFFFFF));
    store256(bits, _mm256_max_epu32(load256(bits), magnitude));
}

template <FloatType type>
void amax_columns(const void* source, int64_t count, uint32_t* bits)
{
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        columns8<type>(element_at<type>(source, i), bits + i);
    if (i < count) {
        Padded<kElementBytes<type>> elements;
        Padded<4> results;
        elements.fill(element_at<type>(source, i), count - i);
        results.fill(bits + i, count - i);
        columns8<type>(elements.at, results.at);
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

} // namespace moeq::cpu::avx2
