// Tells the caller how far a long call is, and whether to go on.
#pragma once

#include <cstdint>

#include "core/report.h"

namespace moeq::store {

class Progress {
public:
    // callback NULL: tells nobody.
    Progress(moeq_progress_fn callback, void* user, int64_t bytes_total)
        : callback_(callback), user_(user), bytes_total_(bytes_total)
    {
    }

    // From one thread at a time. Calls back at every new stage, else some tens of times a second at most. name: what
    // the bytes are of, needed during the call only. CANCELLED when the callback says stop.
    [[nodiscard]] moeq_status add(int32_t stage, const char* name, int64_t bytes, Report& report);
    // The last call, with bytes_done == bytes_total and no name.
    [[nodiscard]] moeq_status finish(Report& report);

private:
    [[nodiscard]] moeq_status tell(const char* name, Report& report);

    moeq_progress_fn callback_;
    void* user_;
    int64_t bytes_done_ = 0;
    int64_t bytes_total_;
    int64_t last_ns_ = 0;
    int32_t stage_ = 0;
};

} // namespace moeq::store
