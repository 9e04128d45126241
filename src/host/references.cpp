// The scalar references of everything that has kernels: the specification, and what runs where a tier has nothing faster.
#include "host/references.h"

#include "cpu/digest.h"
#include "cpu/rectangles.h"
#include "formats/elements.h"
#include "formats/reference_nested.h"
#include "formats/rows.h"

namespace moeq {

namespace {

template <FloatType type>
uint32_t amax_blocks(const void* source, int64_t count, int64_t block, float* absmax)
{
    const auto* elements = static_cast<const typename Element<type>::Stored*>(source);
    uint32_t largest = 0;
    for (int64_t i = 0; i < count; i += block) {
        const uint32_t bits = largest_magnitude<type>(elements + i, minimum(block, count - i));
        absmax[i / block] = codec::float_from_bits(bits);
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

template <FloatType type>
void amax_columns(const void* source, int64_t count, uint32_t* bits)
{
    const auto* elements = static_cast<const typename Element<type>::Stored*>(source);
    for (int64_t i = 0; i < count; ++i)
        bits[i] = bits[i] > Element<type>::magnitude(elements[i]) ? bits[i] : Element<type>::magnitude(elements[i]);
}

template <class Word>
void transpose(const void* source, const cpu::Transposition& area, void* destination)
{
    for (int64_t c = 0; c < area.columns; ++c)
        for (int64_t r = 0; r < area.rows; ++r) {
            const void* from = static_cast<const char*>(source) + r * area.source_pitch;
            void* to = static_cast<char*>(destination) + c * area.destination_pitch;
            static_cast<Word*>(to)[r] = static_cast<const Word*>(from)[c];
        }
}

} // namespace

void fill_reference_kernels(cpu::Kernels* kernels)
{
    *kernels = {
        .amax = {largest_magnitude<kFp32>, largest_magnitude<kFp16>, largest_magnitude<kBf16>},
        .amax_blocks = {amax_blocks<kFp32>, amax_blocks<kFp16>, amax_blocks<kBf16>},
        .amax_rectangle = {cpu::amax_by_rows<largest_magnitude<kFp32>>, cpu::amax_by_rows<largest_magnitude<kFp16>>,
                           cpu::amax_by_rows<largest_magnitude<kBf16>>},
        .amax_columns = {cpu::amax_columns_by_rows<amax_columns<kFp32>>, cpu::amax_columns_by_rows<amax_columns<kFp16>>,
                         cpu::amax_columns_by_rows<amax_columns<kBf16>>},
        .encode_nested = encode_nested_block,
        .decode_nested = decode_nested_block,
        .digest = cpu::digest_plain,
        .transpose = {{transpose<uint16_t>, transpose<uint32_t>}, {transpose<uint16_t>, transpose<uint32_t>}},
        .tiles = {},
        .runs = {}};
#define MOEQ_TILE_REFERENCE(name, id) kernels->tiles[k##name] = k##name##Reference;
#define MOEQ_RUN_REFERENCE(name, id) kernels->runs[k##name] = k##name##Reference;
    MOEQ_FORMAT_LIST(MOEQ_TILE_REFERENCE, MOEQ_RUN_REFERENCE)
#undef MOEQ_RUN_REFERENCE
#undef MOEQ_TILE_REFERENCE
}

} // namespace moeq
