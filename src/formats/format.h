// The format table. A format is one row: its name, its sizes, its rules and its scalar reference; nothing else in the library
// asks which format it has.
#pragma once

#include "cpu/kernels.h"
#include "moeq.h"

namespace moeq {

struct Format {
    int32_t id;                  // MOEQ_FORMAT_
    const char* name;            // as the text form of a spec spells it
    int32_t code_dtype;          // of one code; 4-bit formats: uint8, two codes to a byte
    int32_t code_bits;           // 8 or 4
    int32_t default_granularity; // MOEQ_GRANULARITY_
    int32_t default_scale_kind;  // MOEQ_SCALE_
    int32_t default_block_rows;
    int32_t default_block_columns;
    bool has_bnb_profile; // bitsandbytes has the format: its profiles apply
    float largest;        // the magnitude that amax is mapped to: 127, 448, 57344, 1
    const cpu::FormatKernels* reference;

    // 8-bit formats; NULL for 4-bit ones. What elements are multiplied by under a MOEQ_PROFILE_, from a finite amax.
    codec::Multiplier (*multiplier)(float amax, int32_t profile);
    // The stored statistic of MOEQ_SCALE_FACTOR: what a code is multiplied by.
    float (*factor)(float amax);
    // 4-bit formats: one block as bitsandbytes' CPU path does it; returns what it stores as absmax. `partial`: the last block
    // of the run, and shorter than the others. Elements as fp32.
    float (*encode_block_bnb_cpu)(const float* source, int64_t count, bool partial, uint8_t* codes);
    // The decoded value of one code for absmax or factor 1.
    float (*code_value)(uint8_t code);
    // 4-bit formats: the table of all 16 values; else NULL.
    const float* code_map;

    bool packed() const { return code_bits == 4; }
    cpu::FormatIndex index() const { return static_cast<cpu::FormatIndex>(id - 1); }
};

// NULL: no such format.
const Format* find_format(int32_t id);
const Format* find_format(const char* name, int64_t length);
constexpr int32_t kFormatCount = cpu::kFormats;
const Format& format_at(int32_t index);

// The scalar references of every format.
void fill_reference_kernels(cpu::Kernels* kernels);

} // namespace moeq
