// One seed: a checkpoint, and all that is done with it.
#pragma once

#include <string>

#include "random/calls.h"

namespace moeq_random {

struct TrialResult {
    std::string problem;  // empty: none
    std::string done;     // what was tried, for a report
    bool opened = false;  // the source
    bool planned = false; // and a conversion of it
    bool converted = false;
};

// folder: an empty directory, which is left as it is.
TrialResult run_trial(uint64_t seed, const std::string& folder, const moeq_context* context);

} // namespace moeq_random
