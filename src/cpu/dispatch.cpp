#include "cpu/dispatch.h"

#include <cstring>

#include "moeq.h"

#if defined(MOEQ_HAVE_AVX2)
#include "cpu/avx2/tier.h"
#endif
#if defined(MOEQ_HAVE_AVX512)
#include "cpu/avx512/tier.h"
#endif
#if defined(MOEQ_HAVE_NEON)
#include "cpu/neon/tier.h"
#endif

namespace moeq::cpu {

namespace {

// The best one last.
constexpr int32_t kRanked[] = {MOEQ_CPU_TIER_SCALAR, MOEQ_CPU_TIER_AVX2, MOEQ_CPU_TIER_AVX512, MOEQ_CPU_TIER_NEON};

// Whether `limit` is `tier` or a tier that includes it.
bool includes(int32_t limit, int32_t tier)
{
    return limit == MOEQ_CPU_TIER_BEST || tier == MOEQ_CPU_TIER_SCALAR || tier == limit ||
           (tier == MOEQ_CPU_TIER_AVX2 && limit == MOEQ_CPU_TIER_AVX512);
}

} // namespace

const char* tier_name(int32_t tier)
{
    switch (tier) {
    case MOEQ_CPU_TIER_BEST:
        return "best";
    case MOEQ_CPU_TIER_SCALAR:
        return "scalar";
    case MOEQ_CPU_TIER_AVX2:
        return "avx2";
    case MOEQ_CPU_TIER_AVX512:
        return "avx512";
    case MOEQ_CPU_TIER_NEON:
        return "neon";
    default:
        return "unknown";
    }
}

// The compiler's check looks at cpuid and at XCR0, so a system that does not save the wide registers counts as without.
const char* tier_missing(int32_t tier)
{
    switch (tier) {
    case MOEQ_CPU_TIER_SCALAR:
        return nullptr;
#if defined(MOEQ_HAVE_AVX2)
    case MOEQ_CPU_TIER_AVX2:
        if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c"))
            return "the CPU lacks AVX2, FMA or F16C";
        return nullptr;
#endif
#if defined(MOEQ_HAVE_AVX512)
    case MOEQ_CPU_TIER_AVX512:
        if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
            !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl") ||
            !__builtin_cpu_supports("avx512vbmi") || !__builtin_cpu_supports("avx512vbmi2"))
            return "the CPU lacks one of AVX-512 F, BW, DQ, VL, VBMI, VBMI2";
        return nullptr;
#endif
#if defined(MOEQ_HAVE_NEON)
    case MOEQ_CPU_TIER_NEON: // every 64-bit ARM processor has it
        return nullptr;
#endif
    default:
        return "this build has no such tier";
    }
}

bool tier_available(int32_t tier) { return tier_missing(tier) == nullptr; }

int32_t best_tier(int32_t limit)
{
    int32_t best = MOEQ_CPU_TIER_SCALAR;
    for (const int32_t tier : kRanked)
        if (includes(limit, tier) && tier_available(tier))
            best = tier;
    return best;
}

int32_t parse_tier(const char* name)
{
    if (name == nullptr || *name == '\0')
        return MOEQ_CPU_TIER_BEST;
    for (int32_t tier = MOEQ_CPU_TIER_BEST; tier <= MOEQ_CPU_TIER_NEON; ++tier)
        if (std::strcmp(name, tier_name(tier)) == 0)
            return tier;
    return -1;
}

TierChoice choose_tier(int32_t asked, const char* variable)
{
    if (asked != MOEQ_CPU_TIER_BEST)
        return {asked, "asked for in the options"};
    const int32_t limit = parse_tier(variable);
    return {best_tier(limit),
            limit != MOEQ_CPU_TIER_BEST ? "the best that MOEQ_CPU_TIER allows" : "the best of this CPU"};
}

void overlay_tier([[maybe_unused]] int32_t tier, [[maybe_unused]] Kernels* kernels)
{
#if defined(MOEQ_HAVE_AVX2)
    if (tier == MOEQ_CPU_TIER_AVX2 || tier == MOEQ_CPU_TIER_AVX512)
        avx2::overlay(kernels);
#endif
#if defined(MOEQ_HAVE_AVX512)
    if (tier == MOEQ_CPU_TIER_AVX512)
        avx512::overlay(kernels);
#endif
#if defined(MOEQ_HAVE_NEON)
    if (tier == MOEQ_CPU_TIER_NEON)
        neon::overlay(kernels);
#endif
}

} // namespace moeq::cpu
