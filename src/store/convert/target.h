// The directory that a conversion makes: TARGET.partial while it is being filled, TARGET when it is whole.
#pragma once

#include "store/convert/plan.h"

namespace moeq {

// In TARGET.partial only. The last file that is written is kReportFile.

class ConvertTarget {
public:
    explicit ConvertTarget(Allocator& allocator) : allocator_(allocator), path_(allocator), partial_(allocator) {}

    // DUPLICATE where TARGET is there, or TARGET.partial is no conversion in the making; MISMATCH where TARGET.partial is another plan's.
    [[nodiscard]] moeq_status open(const char* path, const Plan& plan, bool durable, Report& report);
    // STATE where the plan is gone: another process has finished, and what is written from now on is nobody's.
    [[nodiscard]] moeq_status check_open(Report& report) const;
    // Whether the directory has the report of this plan: all is written. false too when there is no directory.
    [[nodiscard]] moeq_status is_ended(const Plan& plan, bool* out, Report& report) const;
    // Whether another process has published what this plan makes.
    [[nodiscard]] moeq_status is_published(const Plan& plan, bool* out, Report& report) const;
    // TARGET.partial becomes TARGET.
    [[nodiscard]] moeq_status publish(bool durable, Report& report);

    int folder() const { return folder_.descriptor(); }

private:
    [[nodiscard]] moeq_status set_paths(const char* path, Report& report);
    [[nodiscard]] moeq_status check_plan(const Plan& plan, bool durable, Report& report);
    [[nodiscard]] moeq_status check_strangers(const Plan& plan, bool* sealed, bool* begun, Report& report);
    [[nodiscard]] moeq_status has_report(int folder, const Plan& plan, bool* out, Report& report) const;
    [[nodiscard]] moeq_status check_free(Report& report) const;
    [[nodiscard]] moeq_status compare_plan(const Plan& plan, bool* found, Report& report);
    [[nodiscard]] moeq_status compare_known_plan(const Plan& plan, Report& report);
    [[nodiscard]] moeq_status refuse_ended(Report& report) const;
    [[nodiscard]] moeq_status claim(const Plan& plan, bool durable, Report& report);
    [[nodiscard]] moeq_status refuse_plan(const JsonValue& other, const Plan& plan, Report& report);

    Allocator& allocator_;
    Array<char> path_; // without slashes at its end
    Array<char> partial_;
    Directory folder_;
    bool renamed_ = false;
};

} // namespace moeq
