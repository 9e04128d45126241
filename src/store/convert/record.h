// What a finished unit leaves behind besides its file: a record of what it read and wrote, by which others see that it is done.
#pragma once

#include "store/convert/conversion.h"

namespace moeq::store {

struct SourceStamp {
    int64_t file; // of the checkpoint
    int64_t modified_ns;
};

struct UnitRecord {
    explicit UnitRecord(Allocator& allocator) : stamps(allocator) {}

    Array<SourceStamp> stamps; // of the files that were read
    Digest source;             // of the bytes that were read, in the unit's order
    int64_t bytes = 0;         // of the file that was written
    Digest digest;             // of it, as digest_of_file gives it
};

constexpr int64_t kRecordNameLimit = 32;
const char* record_name(int64_t unit, char* out); // kRecordNameLimit bytes

[[nodiscard]] moeq_status write_record(const Conversion& conversion, int64_t unit, const UnitRecord& record,
                                       Report& report);
// *found: whether there is a record of this unit and plan. One that is torn, or another plan's, is none. Also for who only looks
// at what a conversion has done.
[[nodiscard]] moeq_status read_record(Allocator& allocator, int folder, const Plan& plan, const Checkpoint& checkpoint,
                                      int64_t unit, UnitRecord* out, bool* found, Report& report);
// A record, and the file that it tells of: whether its bytes are those that were written.
[[nodiscard]] moeq_status verify_unit(const Conversion& conversion, int64_t unit, UnitRecord* out, bool* whole,
                                      Report& report);

} // namespace moeq::store
