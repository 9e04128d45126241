// MXFP8: E4M3 codes in blocks of 32 of a row, each with a power of two that they are multiplied by.
#include "codec/mxfp8.h"
#include "cpu/fill.h"
#include "formats/elements.h"
#include "formats/rows.h"

namespace moeq {

namespace {

float factor(float amax) { return codec::e8m0_to_float(codec::mxfp8_scale_code(codec::float_bits(amax))); }

template <FloatType type>
uint32_t encode_blocks(const void* source, int64_t count, int64_t block, float* factors, uint8_t* codes)
{
    const auto* elements = static_cast<const typename Element<type>::Stored*>(source);
    uint32_t largest = 0;
    for (int64_t begin = 0; begin < count; begin += block) {
        const int64_t some = count - begin < block ? count - begin : block;
        const uint32_t bits = largest_magnitude<type>(elements + begin, some);
        largest = largest > bits ? largest : bits;
        if (bits >= codec::kNonfiniteBits)
            continue;
        const uint8_t scale = codec::mxfp8_scale_code(bits);
        factors[begin / block] = codec::e8m0_to_float(scale);
        for (int64_t i = begin; i < begin + some; ++i)
            codes[i] = codec::mxfp8_code(Element<type>::load(elements[i]), scale);
    }
    return largest;
}

template <FloatType type>
void decode_blocks(const uint8_t* codes, int64_t begin, int64_t end, const float* factors, int64_t block,
                   void* destination)
{
    auto* elements = static_cast<typename Element<type>::Stored*>(destination);
    for (int64_t i = begin; i < end; ++i)
        elements[i - begin] = Element<type>::store(codec::e4m3_decode(codes[i], factors[i / block]));
}

struct Kernel {
    template <FloatType type, cpu::Stores>
    static constexpr cpu::EncodeBlocks encode_blocks = moeq::encode_blocks<type>;
    template <FloatType type, cpu::Stores>
    static constexpr cpu::DecodeBlocks decode_blocks = moeq::decode_blocks<type>;
};

constexpr cpu::RunKernels reference()
{
    cpu::RunKernels table{};
    cpu::fill_kernels<Kernel>(&table);
    return table;
}

} // namespace

constinit const Format kMxfp8Format{
    .id = MOEQ_FORMAT_MXFP8,
    .name = "mxfp8",
    .code_dtype = MOEQ_DTYPE_FP8_E4M3FN,
    .code_bits = 8,
    .units = Units::kRuns,
    .statistic_dtype = MOEQ_DTYPE_FP8_E8M0,
    .signed_statistics = false,
    .nests = false,
    .default_granularity = MOEQ_GRANULARITY_BLOCK,
    .default_scale_kind = MOEQ_SCALE_FACTOR,
    .default_block_rows = 1,
    .default_block_columns = 32,
    .blocks = {.least = 32, .most = 32, .rows_only = true},
    .has_bnb_profile = false,
    .largest = codec::kE4m3Max,
    .multiplier = nullptr,
    .factor = factor,
    .encode_block_bnb_cpu = nullptr,
    .code_value = codec::e4m3_to_float,
    .code_map = nullptr,
};
constinit const cpu::RunKernels kMxfp8Reference = reference();

} // namespace moeq
