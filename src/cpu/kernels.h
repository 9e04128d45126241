// The table of CPU kernels: what a tier (scalar, AVX2, AVX-512, NEON) provides. All are pure: no allocation, no threads, no
// global state. Sources and destinations are contiguous and naturally aligned; drivers in formats/ gather what is not.
// Every kernel gives the bytes of the scalar reference, which is the specification.
#pragma once

#include <cstdint>

#include "codec/statistic.h"
#include "core/dtype.h"
#include "core/format_list.h"

namespace moeq::cpu {

// The largest magnitude of `count` elements, as fp32 bits without sign. At or above 0x7F800000: Inf or NaN is among them.
using AmaxRun = uint32_t (*)(const void* source, int64_t count);
// The same of each block of `count` elements, the last of which may be shorter: their magnitudes into absmax. Returns the
// largest of all.
using AmaxBlocks = uint32_t (*)(const void* source, int64_t count, int64_t block, float* absmax);

// Rows that lie so many bytes apart, with as many elements each: those of a weight, or the codes of some.
struct Rectangle {
    int64_t rows;
    int64_t columns;
    int64_t element_pitch;
    int64_t code_pitch;
};

using AmaxRectangle = uint32_t (*)(const void* source, const Rectangle& area);
// bits[i] = max(bits[i], magnitude bits of the elements of column i).
using AmaxColumns = void (*)(const void* source, const Rectangle& area, uint32_t* bits);

// Units that are tiles, codes of 8 bits. One scale for `count` elements, or for each row of a rectangle.
// next: NULL, or the `count` elements that will be encoded after these. They are fetched meanwhile, and their largest
// magnitude is returned as AmaxRun does: then every element comes from memory once.
using EncodeRun = uint32_t (*)(const void* source, int64_t count, codec::Multiplier multiplier, const void* next,
                               uint8_t* codes);
// scale_pitch: from a row's scale to the next one's, in floats; 0 where all rows have the same.
using DecodeRows = void (*)(const uint8_t* codes, const Rectangle& area, const float* scales, int64_t scale_pitch,
                            void* destination);

// A scale for each column of a rectangle.
using EncodeColumns = void (*)(const void* source, const Rectangle& area, const codec::Multiplier* multipliers,
                               uint8_t* codes);
using DecodeColumns = void (*)(const uint8_t* codes, const Rectangle& area, const float* scales, void* destination);

// A scale for every `tile` columns of a rectangle, of which the last ones may be fewer.
// next: NULL, or the elements of the rectangle that comes after, of this pitch and, but for the last ones of a row, of this
// size: they are fetched meanwhile.
using EncodeTiles = void (*)(const void* source, const Rectangle& area, int64_t tile,
                             const codec::Multiplier* multipliers, const void* next, uint8_t* codes);
using DecodeTiles = void (*)(const uint8_t* codes, const Rectangle& area, int64_t tile, const float* scales,
                             void* destination);

// Units that are runs. Block b holds elements [b * block, (b + 1) * block), the last one may be shorter; `block` is even. Codes
// of 4 bits: element 0 is the high nibble of codes[0], an odd count fills its last low nibble with the code of 0.
// absmax: the statistic of each block, in fp32 whatever it is stored as (a factor where the format has those).
// Returns the largest magnitude as AmaxRun does; at or above 0x7F800000 codes and absmax of such blocks are unspecified.
using EncodeBlocks = uint32_t (*)(const void* source, int64_t count, int64_t block, float* absmax, uint8_t* codes);
// Elements [begin, end), of which `codes` and `absmax` hold all from element 0 on.
using DecodeBlocks = void (*)(const uint8_t* codes, int64_t begin, int64_t end, const float* absmax, int64_t block,
                              void* destination);

// Nested statistics: absmax less an offset as codes of the dynamic map (codec/dynamic_map.h), with one scale for all of
// `count` <= 256. Decoding takes the map that the weight came with, of 256 values.
using EncodeNested = float (*)(const float* absmax, int64_t count, float offset, uint8_t* codes);
using DecodeNested = void (*)(const uint8_t* codes, int64_t count, const float* map, float scale, float offset,
                              float* absmax);

// XXH3-128 of bytes: low half, high half.
using DigestRun = void (*)(const void* bytes, int64_t count, uint64_t* out);

// Elements whose rows become columns: element (r, c) of a source, with rows so many bytes apart, is element (c, r) of a
// destination.
struct Transposition {
    int64_t rows;
    int64_t columns;
    int64_t source_pitch;
    int64_t destination_pitch;
};

using Transpose = void (*)(const void* source, const Transposition& area, void* destination);

// What elements take, where nothing else about them matters.
enum ElementSize : int32_t { kTwoBytes = 0, kFourBytes = 1, kElementSizes = 2 };

// How results leave a kernel: through the cache, or around it where they will not be read soon. Streamed ones may be seen
// by another thread only after a fence, stream_fence of cpu/stores.h. A kernel streams what it can: whole cache lines.
enum Stores : int32_t { kCached = 0, kStreamed = 1, kStoreKinds = 2 };

// What a format whose units are tiles has. Indexed by FloatType: of the source to encode, of the destination to decode.
struct TileKernels {
    EncodeRun encode[kStoreKinds][kFloatTypes];
    EncodeColumns encode_columns[kStoreKinds][kFloatTypes];
    EncodeTiles encode_tiles[kStoreKinds][kFloatTypes];
    DecodeRows decode_rows[kStoreKinds][kScaleKinds][kFloatTypes];
    DecodeColumns decode_columns[kStoreKinds][kScaleKinds][kFloatTypes];
    DecodeTiles decode_tiles[kStoreKinds][kScaleKinds][kFloatTypes];
};

// ... and one whose units are runs.
struct RunKernels {
    EncodeBlocks encode_blocks[kStoreKinds][kFloatTypes];
    DecodeBlocks decode_blocks[kStoreKinds][kFloatTypes];
};

struct Kernels {
    AmaxRun amax[kFloatTypes];
    AmaxBlocks amax_blocks[kFloatTypes];
    AmaxRectangle amax_rectangle[kFloatTypes];
    AmaxColumns amax_columns[kFloatTypes];
    EncodeNested encode_nested;
    DecodeNested decode_nested;
    DigestRun digest;
    Transpose transpose[kStoreKinds][kElementSizes];
    TileKernels tiles[kTileFormats];
    RunKernels runs[kRunFormats];
};

} // namespace moeq::cpu
