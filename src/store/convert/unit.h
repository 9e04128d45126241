// Carrying out one unit of a plan: reading what it needs, writing its file, leaving its record.
#pragma once

#include "store/convert/record.h"
#include "store/write/safetensors_writer.h"

namespace moeq::store {

// What is known about the file of a unit.
struct UnitFacts {
    bool whole;
    int64_t bytes;
    Digest digest;
};

// Its file and its record, whole or not at all.
[[nodiscard]] moeq_status write_unit(const Conversion& conversion, int64_t unit, UnitFacts* out, Report& report);
// The digest of the source bytes, as the record has it, without writing.
[[nodiscard]] moeq_status digest_unit_source(const Conversion& conversion, int64_t unit, Digest* out, Report& report);

// ---- the parts of a unit

// Where the bytes of a unit go. writer NULL: nowhere, they are only read.
struct UnitSink {
    const Conversion& conversion;
    SafetensorsWriter* writer;
    Array<Digest>& digests; // of the source bytes, in the unit's order

    [[nodiscard]] moeq_status note(const Digest& digest, Report& report) const;
};

// Tensors as they are: items [first, last).
[[nodiscard]] moeq_status copy_tensors(const UnitSink& sink, int64_t first, int64_t last, Report& report);
// A stack, encoded or as it is.
[[nodiscard]] moeq_status convert_stack(const UnitSink& sink, const PlanItem& item, Report& report);

// The quantized weights of a stack, as dense ones.
[[nodiscard]] moeq_status decode_stack(const UnitSink& sink, const PlanItem& item, Report& report);

// Codes and scales in memory of their own.
class OwnWeight {
public:
    explicit OwnWeight(Allocator& allocator) : allocator_(allocator) {}
    ~OwnWeight() { release(); }
    OwnWeight(const OwnWeight&) = delete;
    OwnWeight& operator=(const OwnWeight&) = delete;

    // Memory that is large enough is kept. with_codes false: the codes get none.
    [[nodiscard]] moeq_status allocate(const Geometry& geometry, bool with_codes, Report& report);
    void release();

    EncodedWeight weight;

private:
    Allocator& allocator_;
    void* memory_ = nullptr;
    uint64_t bytes_ = 0;
};

// One 2-D weight of a stack as views into the stack's codes and plain statistics: [output, input], whatever the stack is.
EncodedWeight part_of_stack(const PlanItem& item, const EncodedWeight& stack, int64_t expert, int64_t part);

} // namespace moeq::store
