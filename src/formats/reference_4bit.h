// The scalar reference of the 4-bit block formats, and the rows of the table that they share,
// over a format's rules: Code::encode(t), Code::encode_bnb_cpu(t), Code::value(code) and the bits of its 16 values.
#pragma once

#include "cpu/fill.h"
#include "formats/elements.h"
#include "formats/format.h"

namespace moeq {

template <class Code>
struct Reference4Bit {
    template <FloatType type>
    static uint32_t encode_blocks(const void* source, int64_t count, int64_t block, float* absmax, uint8_t* codes)
    {
        const auto* elements = static_cast<const typename Element<type>::Stored*>(source);
        uint32_t largest = 0;
        for (int64_t begin = 0; begin < count; begin += block) {
            const int64_t end = count - begin < block ? count : begin + block;
            uint32_t bits = 0;
            for (int64_t i = begin; i < end; ++i)
                bits = bits > Element<type>::magnitude(elements[i]) ? bits : Element<type>::magnitude(elements[i]);
            largest = largest > bits ? largest : bits;
            const float amax = codec::float_from_bits(bits);
            absmax[begin / block] = amax;
            const codec::Multiplier multiplier = codec::unit_multiplier(amax);
            const auto code = [&](int64_t i) {
                const float t = i < end ? codec::code_argument(Element<type>::load(elements[i]), multiplier) : 0.0f;
                return static_cast<uint32_t>(Code::encode(t));
            };
            for (int64_t i = begin; i < end; i += 2)
                codes[i / 2] = static_cast<uint8_t>(code(i) << 4 | code(i + 1));
        }
        return largest;
    }

    template <FloatType type>
    static void decode_blocks(const uint8_t* codes, int64_t begin, int64_t end, const float* absmax, int64_t block,
                              void* destination)
    {
        auto* elements = static_cast<typename Element<type>::Stored*>(destination);
        for (int64_t i = begin; i < end; ++i) {
            const uint8_t code = i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15;
            elements[i - begin] = Element<type>::store(codec::multiply(Code::value(code), absmax[i / block]));
        }
    }

    // By the rules of bitsandbytes' CPU path.
    static float encode_block_bnb_cpu(const float* source, int64_t count, bool partial, uint8_t* codes)
    {
        uint32_t bits = 0;
        for (int64_t i = 0; i < count; ++i)
            bits = bits > codec::magnitude_bits_fp32(source[i]) ? bits : codec::magnitude_bits_fp32(source[i]);
        const float amax = codec::float_from_bits(bits);
        const float multiplier = codec::block_multiplier_bnb_cpu(amax);
        const auto code = [&](int64_t i) {
            if (i >= count)
                return static_cast<uint32_t>(Code::encode_bnb_cpu(0.0f));
            const float t = partial ? codec::partial_block_argument_bnb_cpu(source[i], amax)
                                    : codec::block_argument_bnb_cpu(source[i], multiplier);
            return static_cast<uint32_t>(Code::encode_bnb_cpu(t));
        };
        for (int64_t i = 0; i < count; i += 2)
            codes[i / 2] = static_cast<uint8_t>(code(i) << 4 | code(i + 1));
        return codec::stored_absmax_bnb_cpu(amax, partial);
    }

    static constexpr cpu::RunKernels kernels()
    {
        cpu::RunKernels table{};
        cpu::fill_kernels<Kernel>(&table);
        return table;
    }

private:
    struct Kernel {
        template <FloatType type, cpu::Stores>
        static constexpr cpu::EncodeBlocks encode_blocks = Reference4Bit::encode_blocks<type>;
        template <FloatType type, cpu::Stores>
        static constexpr cpu::DecodeBlocks decode_blocks = Reference4Bit::decode_blocks<type>;
    };
};

// The 16 decoded values for an absmax of 1: MOEQ_COMPONENT_CODE_MAP.
struct CodeMap {
    float values[16];

    template <class Bits>
    static constexpr CodeMap from(const Bits& table)
    {
        CodeMap map{};
        for (int i = 0; i < 16; ++i)
            map.values[i] = codec::float_from_bits(table.bits[i]);
        return map;
    }
};
template <class Code>
inline constexpr CodeMap kCodeMap = CodeMap::from(Code::kValues);

template <class Code>
constexpr Format make_4bit_format(int32_t id, const char* name)
{
    return {
        .id = id,
        .name = name,
        .code_dtype = MOEQ_DTYPE_UINT8,
        .code_bits = 4,
        .units = Units::kRuns,
        .statistic_dtype = MOEQ_DTYPE_FP32,
        .signed_statistics = true,
        .nests = true,
        .default_granularity = MOEQ_GRANULARITY_BLOCK,
        .default_scale_kind = MOEQ_SCALE_ABSMAX,
        .default_block_rows = 1,
        .default_block_columns = 64,
        .blocks = {.least = 32, .most = 4096, .rows_only = false}, // as bitsandbytes
        .has_bnb_profile = true,
        .largest = 1.0f,
        .multiplier = nullptr,
        .factor = nullptr,
        .encode_block_bnb_cpu = Reference4Bit<Code>::encode_block_bnb_cpu,
        .code_value = Code::value,
        .code_map = kCodeMap<Code>.values,
    };
}

} // namespace moeq
