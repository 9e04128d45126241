// The dynamic map as thresholds: a code is the number of those that a value is above.
#pragma once

#include "codec/dynamic_map.h"

namespace moeq::codec {

struct DynamicThresholds {
    float values[256]; // ascending; the last one, Inf, is no threshold
};

// Between codes i and i + 1 lies fl(fl(a + b) * 0.5). A tie goes to the even code, so behind an odd one the threshold is the
// number before, which the midpoint itself is above.
consteval DynamicThresholds make_dynamic_thresholds()
{
    DynamicThresholds thresholds{};
    for (int i = 0; i < 255; ++i) {
        const float midpoint = (dynamic_map_value(i) + dynamic_map_value(i + 1)) * 0.5f;
        const uint32_t bits = __builtin_bit_cast(uint32_t, midpoint);
        const uint32_t before = midpoint > 0.0f ? bits - 1 : bits + 1;
        thresholds.values[i] = __builtin_bit_cast(float, i % 2 == 0 ? bits : before);
    }
    thresholds.values[255] = __builtin_bit_cast(float, kNonfiniteBits);
    return thresholds;
}

inline constexpr DynamicThresholds kDynamicThresholds = make_dynamic_thresholds();

} // namespace moeq::codec
