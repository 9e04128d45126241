// Largest magnitudes by AVX-512.
#include "cpu/avx512/amax.h"

#include "cpu/avx512/tier.h"

namespace moeq::cpu::avx512 {

namespace {

template <FloatType type>
uint32_t amax(const void* source, int64_t count)
{
    return amax_run<type, true>(source, count);
}

template <FloatType type>
uint32_t amax_blocks(const void* source, int64_t count, int64_t block, float* absmax)
{
    __m512i most = _mm512_setzero_si512();
    for (int64_t first = 0; first < count; first += BlockGroup<type>::kMost * block) {
        BlockGroup<type> group;
        group.template measure_next<true>(source, first, count, block, group.kMost);
        most = _mm512_max_epu32(most, group.amax);
        _mm512_mask_storeu_epi32(absmax, static_cast<__mmask16>(low_bits(group.blocks)), group.amax);
        absmax += group.blocks;
    }
    return largest_dword(most);
}

constexpr int64_t kRowsAhead = 8; // of a rectangle: what a step asks for

template <FloatType type>
uint32_t amax_rectangle(const void* source, const Rectangle& area)
{
    constexpr int64_t kStep = kLanes<type>;
    __m512i most[4] = {};
    const char* row = static_cast<const char*>(source);
    for (int64_t r = 0; r < area.rows; ++r, row += area.element_pitch) {
        const char* ahead = row + (r + kRowsAhead < area.rows ? kRowsAhead : 0) * area.element_pitch;
        int64_t i = 0;
        for (; i + 4 * kStep <= area.columns; i += 4 * kStep)
            for (int64_t part = 0; part < 4; ++part) {
                const int64_t at = i * kElementBytes<type> + 64 * part;
                _mm_prefetch(ahead + at, _MM_HINT_T0);
                most[part] = larger<type>(most[part], magnitudes<type>(_mm512_loadu_si512(row + at)));
            }
        for (; i < area.columns; i += kStep)
            most[0] = larger<type>(
                most[0], magnitudes<type>(load_masked<type>(element_at<type>(row, i), low_bits(area.columns - i))));
    }
    const __m512i all = larger<type>(larger<type>(most[0], most[1]), larger<type>(most[2], most[3]));
    const uint32_t stored = type == kFp32 ? largest_dword(all) : largest_word(all);
    if (type != kFp16 || stored <= 0x7C00u) [[likely]]
        return widened<type>(stored, nullptr, 0);
    uint32_t largest = 0;
    row = static_cast<const char*>(source);
    for (int64_t r = 0; r < area.rows; ++r, row += area.element_pitch) {
        const uint32_t bits = amax_run<type>(row, area.columns);
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

template <FloatType type, bool kFull>
MOEQ_TIER_INLINE void columns16(const void* source, int64_t i, __mmask16 mask, uint32_t* bits)
{
    const __m512i magnitude =
        _mm512_and_si512(_mm512_castps_si512(load16<type, kFull>(source, i, mask)), _mm512_set1_epi32(0x7FFFFFFF));
    if constexpr (kFull) {
        _mm512_storeu_si512(bits + i, _mm512_max_epu32(_mm512_loadu_si512(bits + i), magnitude));
    } else {
        const __m512i before = _mm512_maskz_loadu_epi32(mask, bits + i);
        _mm512_mask_storeu_epi32(bits + i, mask, _mm512_max_epu32(before, magnitude));
    }
}

template <FloatType type>
MOEQ_TIER_INLINE void columns(const void* source, int64_t begin, int64_t end, uint32_t* bits)
{
    int64_t i = begin;
    for (; i + 16 <= end; i += 16)
        columns16<type, true>(source, i, 0, bits);
    if (i < end)
        columns16<type, false>(source, i, static_cast<__mmask16>(low_bits(end - i)), bits);
}

// Joins the magnitudes of 64 columns to what was found before.
template <FloatType type>
MOEQ_TIER_INLINE void join_columns(const __m512i most[64 / kLanes<type>], uint32_t* bits)
{
    for (int part = 0; part < 4; ++part, bits += 16) {
        __m512i magnitude = most[part * 16 / kLanes<type>];
        if constexpr (type != kFp32) {
            const __m512i half = part % 2 == 0 ? magnitude : _mm512_shuffle_i64x2(magnitude, magnitude, 0xEE);
            const __m256i words = _mm512_castsi512_si256(half);
            magnitude = type == kBf16 ? _mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16)
                                      : _mm512_castps_si512(_mm512_cvtph_ps(words));
        }
        _mm512_storeu_si512(bits, _mm512_max_epu32(_mm512_loadu_si512(bits), magnitude));
    }
}

constexpr int64_t kColumnRows = 8;     // that are read side by side
constexpr int64_t kColumnAhead = 1024; // bytes of a row that are asked for ahead

// 64 columns of some rows; false: there is a NaN of fp16, whose order widening changes.
template <FloatType type>
MOEQ_TIER_INLINE bool columns64(const char* at, int64_t rows, int64_t pitch, uint32_t* bits)
{
    constexpr int kParts = 64 / kLanes<type>;
    __m512i most[static_cast<uint64_t>(kParts)] = {};
    for (int64_t r = 0; r < rows; ++r, at += pitch)
        for (int part = 0; part < kParts; ++part) {
            _mm_prefetch(at + kColumnAhead + 64 * part, _MM_HINT_T0);
            most[part] = larger<type>(most[part], magnitudes<type>(_mm512_loadu_si512(at + 64 * part)));
        }
    if constexpr (type == kFp16) {
        const __m512i all = larger<type>(most[0], most[kParts - 1]);
        if (_mm512_cmpgt_epu16_mask(all, _mm512_set1_epi16(0x7C00)) != 0) [[unlikely]]
            return false;
    }
    join_columns<type>(most, bits);
    return true;
}

template <FloatType type>
void amax_columns(const void* source, const Rectangle& area, uint32_t* bits)
{
    const int64_t whole = area.rows > 1 ? area.columns & ~int64_t{63} : 0;
    const char* row = static_cast<const char*>(source);
    int64_t rows;
    for (int64_t left = area.rows; left > 0; left -= rows, row += rows * area.element_pitch) {
        rows = left < kColumnRows ? left : kColumnRows;
        for (int64_t i = 0; i < whole; i += 64)
            if (!columns64<type>(row + i * kElementBytes<type>, rows, area.element_pitch, bits + i)) [[unlikely]]
                for (int64_t r = 0; r < rows; ++r)
                    columns<type>(row + r * area.element_pitch, i, i + 64, bits);
        for (int64_t r = 0; r < rows; ++r)
            columns<type>(row + r * area.element_pitch, whole, area.columns, bits);
    }
}

template <FloatType type>
struct Amax {
    static constexpr auto run = amax<type>;
    static constexpr auto blocks = amax_blocks<type>;
    static constexpr auto rectangle = amax_rectangle<type>;
    static constexpr auto columns = amax_columns<type>;
};

} // namespace

void overlay_amax(Kernels* kernels) { fill_amax<Amax>(kernels); }

} // namespace moeq::cpu::avx512
