// All tensors that a plan writes.
#pragma once

#include "store/convert/plan.h"

namespace moeq::store {

// Where a planned tensor comes from.
struct PlannedOrigin {
    int64_t unit, item;
    int64_t weight; // which of the item's output weights; -1: a copy
    int32_t entry;  // which of the weight's tensors
};

class PlannedTensors {
public:
    explicit PlannedTensors(Allocator& allocator)
        : entries(allocator), origins(allocator), sorted(allocator), text_(allocator), allocator_(allocator)
    {
    }

    // LIMIT: a name would be too long. DUPLICATE: two tensors would have one name.
    [[nodiscard]] moeq_status list(const Plan& plan, const Checkpoint& source, Report& report);

    Array<FileEntry> entries; // in the order of units; without offsets
    Array<PlannedOrigin> origins;
    Array<int64_t> sorted; // indices, by name

private:
    [[nodiscard]] moeq_status list_item(const PlanItem& item, const PlannedOrigin& origin, Report& report);
    [[nodiscard]] moeq_status add(const FileEntry& entry, const PlannedOrigin& origin, Report& report);
    [[nodiscard]] moeq_status sort_names(Report& report);
    [[nodiscard]] moeq_status refuse_pair(int64_t a, int64_t b, Report& report) const;

    const Plan* plan_ = nullptr;
    Array<char> text_; // names of parts of weights
    Allocator& allocator_;
};

} // namespace moeq::store
