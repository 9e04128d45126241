// The directory that a conversion makes: TARGET.partial while it is being filled, TARGET when it is whole.
#pragma once

#include "store/convert/plan.h"

namespace moeq::store {

class ConvertTarget {
public:
    explicit ConvertTarget(Allocator& allocator) : allocator_(allocator), path_(allocator), partial_(allocator) {}

    // DUPLICATE where TARGET is there, or TARGET.partial is no conversion in the making; MISMATCH where TARGET.partial is another
    // plan's.
    [[nodiscard]] moeq_status open(const char* path, const Plan& plan, bool durable, Report& report);
    // Whether TARGET was free when this began.
    bool was_free() const { return was_free_; }
    // The plan is there until the directory is published. MISMATCH: another one.
    [[nodiscard]] moeq_status find_plan(const Plan& plan, bool* found, Report& report) const;
    // STATE where it is gone: another process has finished, and what is written from now on is nobody's.
    [[nodiscard]] moeq_status check_open(const Plan& plan, Report& report) const;
    // From the beginning, as the report and what it tells of are not true. STATE where TARGET.partial is another directory now.
    [[nodiscard]] moeq_status reopen(const Plan& plan, bool durable, Report& report);
    // Whether another process has published what this plan makes.
    [[nodiscard]] moeq_status is_published(const Plan& plan, bool* out, Report& report) const;
    // TARGET.partial becomes TARGET. STATE as above.
    [[nodiscard]] moeq_status publish(bool durable, Report& report);

    // The units that TARGET.partial has records of: how far this plan is, wherever it is worked on. Opens nothing that they wrote.
    [[nodiscard]] moeq_status list_finished(const char* path, const Plan& plan, const Checkpoint& checkpoint,
                                            Array<int64_t>* out, Report& report);

    int folder() const { return folder_.descriptor(); }

private:
    [[nodiscard]] moeq_status set_paths(const char* path, Report& report);
    [[nodiscard]] moeq_status check_free(Report& report) const;
    [[nodiscard]] moeq_status check_same(Report& report) const;
    [[nodiscard]] moeq_status check_strangers(const Plan& plan, bool* own, Report& report);
    [[nodiscard]] moeq_status claim(const Plan& plan, bool durable, Report& report);
    [[nodiscard]] moeq_status refuse_plan(const text::JsonValue& other, const Plan& plan, Report& report) const;
    [[nodiscard]] moeq_status refuse_ended(Report& report) const;

    Allocator& allocator_;
    Array<char> path_; // without slashes at its end
    Array<char> partial_;
    Directory folder_;
    bool was_free_ = false;
    bool renamed_ = false;
};

} // namespace moeq::store
