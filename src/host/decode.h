// From codes and scales to elements: any experts, any rows, straight into the caller's memory of any strides.
#pragma once

#include "formats/expert_list.h"
#include "host/encode.h"

namespace moeq {

// Rows [row_begin, row_end) of the listed experts (all in range) into destination [count, rows, columns]. stores: a
// MOEQ_STORES_ constant. Parallel; allocates nothing.
[[nodiscard]] moeq_status decode_rows(const Engine& engine, const EncodedWeight& weight, const ExpertList& experts,
                                      int64_t row_begin, int64_t row_end, const StackView& destination, int32_t stores,
                                      Report& report);
[[nodiscard]] inline moeq_status decode_rows(const Engine& engine, const EncodedWeight& weight,
                                             const ExpertList& experts, int64_t row_begin, int64_t row_end,
                                             const StackView& destination, Report& report)
{
    return decode_rows(engine, weight, experts, row_begin, row_end, destination, MOEQ_STORES_AUTO, report);
}

// Columns [begin, end) of one row as fp32.
void decode_elements(const Engine& engine, const EncodedWeight& weight, int64_t expert, int64_t row, int64_t begin,
                     int64_t end, float* out);

// The statistics of blocks [first, first + count) of a run: plain ones as they are, nested ones decoded.
void load_block_statistics(const cpu::Kernels& kernels, const EncodedWeight& weight, int64_t run, int64_t first,
                           int64_t count, float* out);

// The number that each code of a row segment is multiplied by, for error figures: columns [begin, end) into out.
void load_factors(const cpu::Kernels& kernels, const EncodedWeight& weight, int64_t expert, int64_t row, int64_t begin,
                  int64_t end, float* out);

} // namespace moeq
