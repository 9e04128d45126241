// What the 4-bit formats share on NEON, over a format's rules:
//   kValues            the 16 values, as fp32 bits
//   codes16(t)         the codes of 16 arguments, one to a byte
#pragma once

#include "cpu/fill.h"
#include "cpu/kernels.h"
#include "cpu/neon/amax.h"
#include "cpu/neon/elements.h"

namespace moeq::cpu::neon {

namespace {

// ---- Decode ----

struct Values16 {
    float32x4_t parts[4];
};

// A compiler that sees that FP4's last 8 values are the first 8 negated multiplies once and negates the products, which
// turns the sign of a NaN.
MOEQ_TIER_INLINE Values16 opaque_values(const uint32_t* bits)
{
    Values16 values;
    for (int part = 0; part < 4; ++part) {
        values.parts[part] = load_floats(bits + 4 * part);
        asm("" : "+w"(values.parts[part]));
    }
    return values;
}

// All 16 results of a block: their lowest bytes first, the highest last, and in between those of fp32.
template <FloatType type>
struct BlockTable {
    uint8x16_t planes[kElementBytes<type>];
};

template <FloatType type>
MOEQ_TIER_INLINE BlockTable<type> make_table(const Values16& values, float absmax)
{
    float32x4_t v[4];
    for (int part = 0; part < 4; ++part)
        v[part] = vmulq_f32(values.parts[part], vdupq_n_f32(absmax));
    uint8x16_t words[4]; // 8 results in the first two; fp32: their lower halves, and in the others the upper ones
    for (int half = 0; half < 2; ++half) {
        const float32x4_t first = v[2 * half];
        const float32x4_t second = v[2 * half + 1];
        if constexpr (type == kFp32) {
            const uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_f32(first), vreinterpretq_u16_f32(second));
            const uint16x8_t high = vuzp2q_u16(vreinterpretq_u16_f32(first), vreinterpretq_u16_f32(second));
            words[half] = vreinterpretq_u8_u16(low);
            words[2 + half] = vreinterpretq_u8_u16(high);
        } else {
            words[half] =
                vreinterpretq_u8_u16(type == kFp16 ? narrow_fp16(first, second) : narrow_bf16<true>(first, second));
        }
    }
    BlockTable<type> table;
    for (int half = 0; half < kElementBytes<type> / 2; ++half) {
        table.planes[2 * half] = vuzp1q_u8(words[2 * half], words[2 * half + 1]);
        table.planes[2 * half + 1] = vuzp2q_u8(words[2 * half], words[2 * half + 1]);
    }
    return table;
}

// 16 elements, whose codes have a byte each.
template <FloatType type>
MOEQ_TIER_INLINE void look_up16(uint8x16_t index, const BlockTable<type>& table, void* destination)
{
    uint8_t* at = static_cast<uint8_t*>(destination);
    uint16x8_t words[kElementBytes<type>]; // pairs of registers, as the planes
    for (int half = 0; half < kElementBytes<type> / 2; ++half) {
        const uint8x16_t low = vqtbl1q_u8(table.planes[2 * half], index);
        const uint8x16_t high = vqtbl1q_u8(table.planes[2 * half + 1], index);
        words[2 * half] = vreinterpretq_u16_u8(vzip1q_u8(low, high));
        words[2 * half + 1] = vreinterpretq_u16_u8(vzip2q_u8(low, high));
    }
    for (int part = 0; part < 2; ++part) {
        if constexpr (type == kFp32) {
            store_bytes(at + 32 * part, vreinterpretq_u8_u16(vzip1q_u16(words[part], words[2 + part])));
            store_bytes(at + 32 * part + 16, vreinterpretq_u8_u16(vzip2q_u16(words[part], words[2 + part])));
        } else {
            store_bytes(at + 16 * part, vreinterpretq_u8_u16(words[part]));
        }
    }
}

// 32 elements from 16 bytes of codes.
template <FloatType type>
MOEQ_TIER_INLINE void decode32(const void* codes, const BlockTable<type>& table, void* destination)
{
    const uint8x16_t bytes = load_bytes(codes);
    const uint8x16_t even = vshrq_n_u8(bytes, 4);
    const uint8x16_t odd = vandq_u8(bytes, vdupq_n_u8(15));
    look_up16<type>(vzip1q_u8(even, odd), table, destination);
    look_up16<type>(vzip2q_u8(even, odd), table, element_at<type>(destination, 16));
}

template <class Code, FloatType type>
void decode_blocks(const uint8_t* codes, int64_t begin, int64_t end, const float* absmax, int64_t block,
                   void* destination)
{
    const Values16 values = opaque_values(Code::kValues.bits);
    char* at = static_cast<char*>(destination);
    int64_t i = begin;
    int64_t left = begin < end ? block - begin % block : 0; // of the block
    absmax += begin / block;
    while (i < end) {
        const int64_t rest = end - i;
        int64_t count = left < rest ? left : rest;
        const BlockTable<type> table = make_table<type>(values, *absmax++);
        left = block;
        if ((i & 1) != 0) {
            // Blocks are even, so only the first element of all can be the second one of a byte.
            const uint8_t code[16] = {static_cast<uint8_t>(codes[i / 2] << 4)};
            Padded<kElementBytes<type>> results;
            decode32<type>(code, table, results.at);
            results.drain(at, 1);
            at += kElementBytes<type>;
            ++i;
            --count;
        }
        for (; count >= 32; count -= 32, i += 32, at += 32 * kElementBytes<type>)
            decode32<type>(codes + i / 2, table, at);
        if (count > 0) {
            Padded<1> last;
            Padded<kElementBytes<type>> results;
            last.fill(codes + i / 2, (count + 1) / 2);
            decode32<type>(last.at, table, results.at);
            results.drain(at, count);
            at += count * kElementBytes<type>;
            i += count;
        }
    }
}

// ---- Encode ----

template <class Code, FloatType type, bool kPrescale>
MOEQ_TIER_INLINE uint8x16_t codes16(const void* source, float32x4_t prescale, float32x4_t value)
{
    float32x4_t t[4];
    load16<type>(source, t);
    for (int part = 0; part < 4; ++part)
        t[part] = scaled<kPrescale>(t[part], prescale, value);
    return Code::codes16(t);
}

// The 16 bytes of 32 elements.
template <class Code, FloatType type, bool kPrescale>
MOEQ_TIER_INLINE void encode32(const void* source, float32x4_t prescale, float32x4_t value, uint8_t* codes)
{
    const uint8x16_t first = codes16<Code, type, kPrescale>(source, prescale, value);
    const uint8x16_t last = codes16<Code, type, kPrescale>(element_at<type>(source, 16), prescale, value);
    store_bytes(codes, vsliq_n_u8(vuzp2q_u8(first, last), vuzp1q_u8(first, last), 4)); // 16 * even + odd
}

template <class Code, FloatType type, bool kPrescale>
MOEQ_TIER_INLINE void encode_block(const void* source, int64_t count, float prescale, float value, uint8_t* codes)
{
    const float32x4_t prescales = vdupq_n_f32(prescale);
    const float32x4_t values = vdupq_n_f32(value);
    int64_t i = 0;
    for (; i + kGroup <= count; i += kGroup)
        encode32<Code, type, kPrescale>(element_at<type>(source, i), prescales, values, codes + i / 2);
    if (i < count) {
        Padded<kElementBytes<type>> rest;
        Padded<1> results;
        rest.fill(element_at<type>(source, i), count - i);
        encode32<Code, type, kPrescale>(rest.at, prescales, values, results.at);
        results.drain(codes + i / 2, (count - i + 1) / 2);
    }
}

// codec::unit_multiplier for 4 blocks of statistics `bits`; the prescale of each too.
MOEQ_TIER_INLINE void store_multipliers(const uint32_t* bits, float* prescales, float* values)
{
    const uint32x4_t statistics = vld1q_u32(bits);
    const float32x4_t absmax = vreinterpretq_f32_u32(statistics);
    const float32x4_t one = vdupq_n_f32(1.0f);
    const uint32x4_t nonzero = vtstq_u32(statistics, statistics);
    const uint32x4_t tiny = vandq_u32(nonzero, vcltq_u32(statistics, vdupq_n_u32(codec::kTinyAmaxBits)));
    const float32x4_t power = vreinterpretq_f32_u32(vdupq_n_u32(codec::kTinyPrescaleBits));
    const float32x4_t prescale = vbslq_f32(tiny, power, one);
    vst1q_f32(prescales, prescale);
    vst1q_f32(values, where(nonzero, vdivq_f32(one, vmulq_f32(absmax, prescale))));
}

template <class Code, FloatType type>
uint32_t encode_blocks(const void* source, int64_t count, int64_t block, float* absmax, uint8_t* codes)
{
    constexpr int kBlocks = 4;
    uint32_t largest = 0;
    // 4 blocks at a time: first their statistics, then their codes.
    for (int64_t begin = 0; begin < count;) {
        uint32_t bits[kBlocks] = {};
        float prescales[kBlocks];
        float values[kBlocks];
        int blocks = 0;
        for (int64_t i = begin; blocks < kBlocks && i < count; i += block, ++blocks) {
            bits[blocks] = amax_run<type>(element_at<type>(source, i), count - i < block ? count - i : block);
            largest = largest > bits[blocks] ? largest : bits[blocks];
            *absmax++ = codec::float_from_bits(bits[blocks]);
        }
        store_multipliers(bits, prescales, values);
        for (int b = 0; b < blocks; ++b) {
            const int64_t size = count - begin < block ? count - begin : block;
            const void* elements = element_at<type>(source, begin);
            if (prescales[b] == 1.0f) [[likely]]
                encode_block<Code, type, false>(elements, size, 1.0f, values[b], codes + begin / 2);
            else
                encode_block<Code, type, true>(elements, size, prescales[b], values[b], codes + begin / 2);
            begin += size;
        }
    }
    return largest;
}

// What fill_kernels enters. Streamed results leave like the others, as in eight_bit.h.
template <class Code>
struct FourBit {
    template <FloatType type, Stores>
    static constexpr EncodeBlocks encode_blocks = neon::encode_blocks<Code, type>;
    template <FloatType type, Stores>
    static constexpr DecodeBlocks decode_blocks = neon::decode_blocks<Code, type>;
};

// ---- Binary search among thresholds ----

// One more level: the count of thresholds below t so far doubled, and one more where t is above this threshold.
MOEQ_TIER_INLINE uint32x4_t next_level(uint32x4_t count, float32x4_t t, float32x4_t threshold)
{
    return vsubq_u32(vaddq_u32(count, count), vcgtq_f32(t, threshold));
}

MOEQ_TIER_INLINE float32x4_t threshold(uint32_t bits) { return vreinterpretq_f32_u32(vdupq_n_u32(bits)); }

// Where a dword's 4 bytes lie in a table of dwords.
MOEQ_TIER_INLINE uint8x16_t byte_index(uint32x4_t i)
{
    return vreinterpretq_u8_u32(vmlaq_u32(vdupq_n_u32(0x03020100), i, vdupq_n_u32(0x04040404)));
}

} // namespace

} // namespace moeq::cpu::neon
