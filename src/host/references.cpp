// The scalar references of everything that has kernels: the specification, and what runs where a tier has nothing faster.
#include "host/references.h"

#include "codec/lane_sum.h"
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

template <FloatType type>
void sum_lanes(const void* source, int64_t groups, double* lanes)
{
    const auto* elements = static_cast<const typename Element<type>::Stored*>(source);
    for (int64_t i = 0; i < groups * codec::kSumLanes; ++i)
        lanes[i % codec::kSumLanes] =
            codec::add(lanes[i % codec::kSumLanes], static_cast<double>(Element<type>::load(elements[i])));
}

template <FloatType type>
void sum_leaves(const void* source, int64_t leaves, double* sums)
{
    constexpr int64_t kGroups = codec::kLeafElements / codec::kSumLanes;
    for (int64_t leaf = 0; leaf < leaves; ++leaf) {
        double lanes[codec::kSumLanes] = {};
        const auto* elements = static_cast<const typename Element<type>::Stored*>(source);
        sum_lanes<type>(elements + leaf * codec::kLeafElements, kGroups, lanes);
        sums[leaf] = codec::join_lanes(lanes);
    }
}

template <FloatType type>
void sum_columns(const void* source, const cpu::Rectangle& area, int64_t first, double* lanes)
{
    for (int64_t r = 0; r < area.rows; ++r) {
        const void* row = static_cast<const char*>(source) + r * area.element_pitch;
        const auto* elements = static_cast<const typename Element<type>::Stored*>(row);
        double* lane = lanes + (first + r) % codec::kSumLanes * cpu::kSumColumns;
        for (int64_t c = 0; c < area.columns; ++c)
            lane[c] = codec::add(lane[c], static_cast<double>(Element<type>::load(elements[c])));
    }
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
        .sum_leaves = {sum_leaves<kFp32>, sum_leaves<kFp16>, sum_leaves<kBf16>},
        .sum_lanes = {sum_lanes<kFp32>, sum_lanes<kFp16>, sum_lanes<kBf16>},
        .sum_columns = {sum_columns<kFp32>, sum_columns<kFp16>, sum_columns<kBf16>},
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
