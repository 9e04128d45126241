// Codes and statistics of some rows of a quantized weight, read into a buffer so that they can be decoded where they lie.
#pragma once

#include "formats/encoded_weight.h"
#include "store/model/weights.h"

namespace moeq::store {

// A range of the elements of one component, in storage order.
struct ComponentRange {
    int64_t begin, end;
    int64_t count() const { return end - begin; }
};

// Rows [begin, end) of one expert of a weight.
struct WeightRows {
    int64_t expert, begin, end;
    int64_t count() const { return end - begin; }
};

// What rows need of the codes (in bytes), and of the statistics (in scale units).
ComponentRange codes_of_rows(const Geometry& geometry, const WeightRows& rows);
ComponentRange scales_of_rows(const Geometry& geometry, const WeightRows& rows);

// Statistics [range) of a weight as fp32, plain where the file has them nested. scratch: statistics_scratch bytes.
[[nodiscard]] moeq_status read_statistics(const cpu::Kernels& kernels, const Checkpoint& checkpoint,
                                          const Weight& weight, const ComponentRange& range, float* out, void* scratch,
                                          Report& report);
int64_t statistics_scratch(int64_t count);

// Finite, and not negative but where signs are allowed: of some formats they may be.
bool is_good_statistic(float value, bool signs);
// VALUE, F16: about a statistic that is not. expert: of the stack; -1: not known.
moeq_status refuse_statistic(const Weight& weight, float value, bool signs, int64_t expert, Report& report);
// The expert of a weight of several that a statistic of the file is of, or begins in.
int64_t expert_of_statistic(const Geometry& geometry, int64_t index);

// The geometry of a weight of a file with its statistics un-nested.
[[nodiscard]] moeq_status plain_geometry(const Weight& weight, Geometry* out, Report& report);

// Rows of a weight, in scratch memory of encoded_part_bytes: `out` has the whole weight's geometry, and only
// those rows may be looked at.
int64_t encoded_part_bytes(const Geometry& geometry, int64_t rows);
[[nodiscard]] moeq_status read_encoded_part(const cpu::Kernels& kernels, const Checkpoint& checkpoint,
                                            const Weight& weight, const Geometry& geometry, const WeightRows& rows,
                                            void* scratch, EncodedWeight* out, Report& report);

} // namespace moeq::store
