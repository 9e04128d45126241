// Which tier runs: decided here and nowhere else.
#pragma once

#include <cstdint>

#include "cpu/kernels.h"

namespace moeq::cpu {

// True when this build has the tier and this CPU and its operating system can run it.
bool tier_available(int32_t tier);
// The best available one that `limit`, a MOEQ_CPU_TIER_ constant, is or includes (BEST: no limit).
int32_t best_tier(int32_t limit);
// The tier of a name; BEST for NULL and "", -1 where it is not the name of one.
int32_t parse_tier(const char* name);
// "avx512"; "unknown" for all else.
const char* tier_name(int32_t tier);
// Why a tier cannot run here; NULL when it can.
const char* tier_missing(int32_t tier);

// What a context works with: the tier that its options ask for, else the best one that MOEQ_CPU_TIER (`variable`, checked)
// allows. reason: why, a constant.
struct TierChoice {
    int32_t tier;
    const char* reason;
};
TierChoice choose_tier(int32_t asked, const char* variable);

// Writes the kernels of a tier, and of the tiers below it, over `kernels`, which holds the scalar references.
void overlay_tier(int32_t tier, Kernels* kernels);

} // namespace moeq::cpu
