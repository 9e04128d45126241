// The format table. A format is one row: its name, its sizes, its rules and its scalar reference; nothing else in the library
// asks which format it has, but for the dialects of checkpoints, each of which can say some formats only.
#pragma once

#include "codec/statistic.h"
#include "core/checked.h"
#include "core/format_list.h"
#include "moeq.h"

namespace moeq {

// What one statistic belongs to.
enum class Units : int32_t {
    kTiles, // a rectangle of an expert: a row, a column, all of it, or so many rows x columns
    kRuns,  // blocks of so many elements that follow each other in a row, in an expert, or in the whole weight
};

// Which blocks of elements a format may have, in powers of two.
struct BlockLimits {
    int32_t least;
    int32_t most;
    bool rows_only; // they restart at each row, whatever a spec says
};

// Callers ask for the word that they mean: what codes take, what a unit is, what statistics may be. None follows from another.
struct Format {
    int32_t id;         // MOEQ_FORMAT_
    const char* name;   // as the text form of a spec spells it
    int32_t code_dtype; // of one code; uint8 where a byte has two
    int32_t code_bits;  // 8; or 4: two to a byte, the first one in the high nibble
    Units units;
    int32_t statistic_dtype;     // fp32; E8M0: powers of two, which the codes are made for
    bool signed_statistics;      // files may have negative ones
    bool nests;                  // statistics may be 8-bit codes themselves
    int32_t default_granularity; // MOEQ_GRANULARITY_
    int32_t default_scale_kind;  // MOEQ_SCALE_
    int32_t default_block_rows;
    int32_t default_block_columns;
    BlockLimits blocks;   // units that are runs
    bool has_bnb_profile; // bitsandbytes has the format: its profiles apply
    float largest;        // the magnitude that amax is mapped to: 127, 448, 57344, 1

    // Units that are tiles; else NULL. What elements are multiplied by under a MOEQ_PROFILE_, from a finite amax.
    codec::Multiplier (*multiplier)(float amax, int32_t profile);
    // The stored statistic of MOEQ_SCALE_FACTOR: what a code is multiplied by. NULL: there is no such kind.
    float (*factor)(float amax);
    // Units that are runs: one block as bitsandbytes' CPU path does it; returns what it stores as absmax. `partial`: the last
    // block of the run, and shorter than the others. Elements as fp32.
    float (*encode_block_bnb_cpu)(const float* source, int64_t count, bool partial, uint8_t* codes);
    // The decoded value of one code for absmax or factor 1.
    float (*code_value)(uint8_t code);
    // The table of all 16 values of a 4-bit code; else NULL.
    const float* code_map;

    // The byte that a code begins in, and the bytes that so many codes take from the begin of a byte on.
    int64_t code_byte(int64_t element) const { return element * code_bits / 8; }
    int64_t code_bytes(int64_t count) const { return ceil_divide(count * code_bits, 8); }
    // Where its kernels are among those for its units: a TileFormat or a RunFormat.
    int32_t kernels() const { return kKernelIndex[id - 1]; }
};

// NULL: no such format.
const Format* find_format(int32_t id);
const Format* find_format(const char* name, int64_t length);
const Format& format_at(int32_t index);

} // namespace moeq
