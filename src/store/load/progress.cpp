#include "store/load/progress.h"

#include <time.h>

namespace moeq::store {

namespace {

constexpr int64_t kInterval = 40'000'000; // ns between two calls of one stage

int64_t now_ns()
{
    struct timespec now = {};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

} // namespace

moeq_status Progress::add(int32_t stage, const char* name, int64_t bytes, Report& report)
{
    bytes_done_ += bytes;
    if (callback_ == nullptr)
        return MOEQ_OK;
    const int64_t now = now_ns();
    if (stage == stage_ && now - last_ns_ < kInterval)
        return MOEQ_OK;
    stage_ = stage;
    last_ns_ = now;
    return tell(name, report);
}

moeq_status Progress::finish(Report& report)
{
    bytes_done_ = bytes_total_;
    return callback_ == nullptr ? MOEQ_OK : tell("", report);
}

moeq_status Progress::tell(const char* name, Report& report)
{
    moeq_progress progress = {};
    progress.struct_size = sizeof progress;
    progress.stage = stage_;
    progress.name = name == nullptr ? "" : name;
    progress.bytes_done = bytes_done_ < bytes_total_ ? bytes_done_ : bytes_total_;
    progress.bytes_total = bytes_total_;
    const int32_t answer = callback_(&progress, user_);
    if (answer == MOEQ_CONTINUE)
        return MOEQ_OK;
    return report.fail(MOEQ_ERROR_CANCELLED)
           << "the progress callback returned " << answer << "; want MOEQ_CONTINUE to go on";
}

} // namespace moeq::store
