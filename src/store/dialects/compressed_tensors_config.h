// The quantization_config of compressed-tensors: groups of modules, and the scheme of each.
#pragma once

#include "store/dialects/dialect.h"

namespace moeq::store {

// What a group of config.json says about weights, as far as it decides what codes and scales mean.
struct CompressedScheme {
    int32_t format = 0; // MOEQ_FORMAT_
    int32_t granularity = 0;
    int32_t block_rows = 0;
    int32_t block_columns = 0;

    bool operator==(const CompressedScheme& other) const
    {
        return format == other.format && granularity == other.granularity && block_rows == other.block_rows &&
               block_columns == other.block_columns;
    }
    bool is_int() const { return format == MOEQ_FORMAT_INT8; }
    bool is_block() const { return granularity == MOEQ_GRANULARITY_BLOCK; }
    const char* storage() const { return is_int() ? "int-quantized" : "float-quantized"; }
};

// Where weights of the source are kept its groups stay as they are, behind those of new weights, which name their modules.
[[nodiscard]] moeq_status write_compressed_tensors_config(const WrittenModel& model, text::JsonWriter& out,
                                                          Report& report);

} // namespace moeq::store
