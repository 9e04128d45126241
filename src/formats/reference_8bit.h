// The scalar reference of the 8-bit formats, and the rows of the table that they share,
// over a format's rules: Code::encode(t), Code::decode<kind>(code, scale), Code::value(code), Code::multiplier(amax, profile)
// and Code::factor(amax).
#pragma once

#include "cpu/fill.h"
#include "cpu/rectangles.h"
#include "formats/elements.h"
#include "formats/format.h"

namespace moeq {

template <class Code>
struct Reference8Bit {
    template <FloatType type>
    static uint32_t encode(const void* source, int64_t count, codec::Multiplier multiplier, const void* next,
                           uint8_t* codes)
    {
        const auto* elements = static_cast<const typename Element<type>::Stored*>(source);
        for (int64_t i = 0; i < count; ++i)
            codes[i] = Code::encode(codec::code_argument(Element<type>::load(elements[i]), multiplier));
        return next == nullptr ? 0 : largest_magnitude<type>(next, count);
    }

    template <FloatType type>
    static void encode_columns(const void* source, int64_t count, const codec::Multiplier* multipliers, uint8_t* codes)
    {
        const auto* elements = static_cast<const typename Element<type>::Stored*>(source);
        for (int64_t i = 0; i < count; ++i)
            codes[i] = Code::encode(codec::code_argument(Element<type>::load(elements[i]), multipliers[i]));
    }

    template <ScaleKind kind, FloatType type>
    static void decode(const uint8_t* codes, int64_t count, float scale, void* destination)
    {
        auto* elements = static_cast<typename Element<type>::Stored*>(destination);
        for (int64_t i = 0; i < count; ++i)
            elements[i] = Element<type>::store(Code::template decode<kind>(codes[i], scale));
    }

    template <ScaleKind kind, FloatType type>
    static void decode_columns(const uint8_t* codes, int64_t count, const float* scales, void* destination)
    {
        auto* elements = static_cast<typename Element<type>::Stored*>(destination);
        for (int64_t i = 0; i < count; ++i)
            elements[i] = Element<type>::store(Code::template decode<kind>(codes[i], scales[i]));
    }

    static constexpr cpu::TileKernels kernels()
    {
        cpu::TileKernels table{};
        cpu::fill_kernels<Kernel>(&table);
        return table;
    }

private:
    struct Kernel {
        template <FloatType type, cpu::Stores>
        static constexpr cpu::EncodeRun encode = Reference8Bit::encode<type>;
        template <FloatType type, cpu::Stores>
        static constexpr cpu::EncodeColumns encode_columns =
            cpu::encode_columns_by_rows<Reference8Bit::encode_columns<type>>;
        template <FloatType type, cpu::Stores>
        static constexpr cpu::EncodeTiles encode_tiles = cpu::encode_tiles_by_runs<type, Reference8Bit::encode<type>>;
        template <ScaleKind kind, FloatType type, cpu::Stores>
        static constexpr cpu::DecodeRows decode_rows = cpu::decode_rows_by_runs<decode<kind, type>>;
        template <ScaleKind kind, FloatType type, cpu::Stores>
        static constexpr cpu::DecodeColumns decode_columns =
            cpu::decode_columns_by_rows<Reference8Bit::decode_columns<kind, type>>;
        template <ScaleKind kind, FloatType type, cpu::Stores>
        static constexpr cpu::DecodeTiles decode_tiles = cpu::decode_tiles_by_runs<type, decode<kind, type>>;
    };
};

// largest: the magnitude that amax is mapped to.
template <class Code>
constexpr Format make_8bit_format(int32_t id, const char* name, int32_t code_dtype, float largest, int32_t scale_kind)
{
    return {
        .id = id,
        .name = name,
        .code_dtype = code_dtype,
        .code_bits = 8,
        .units = Units::kTiles,
        .statistic_dtype = MOEQ_DTYPE_FP32,
        .signed_statistics = false,
        .nests = false,
        .default_granularity = MOEQ_GRANULARITY_ROW,
        .default_scale_kind = scale_kind,
        .default_block_rows = 128,
        .default_block_columns = 128,
        .blocks = {},
        .has_bnb_profile = Code::kHasBnbProfile,
        .largest = largest,
        .multiplier = Code::multiplier,
        .factor = Code::factor,
        .encode_block_bnb_cpu = nullptr,
        .code_value = Code::value,
        .code_map = nullptr,
    };
}

} // namespace moeq
