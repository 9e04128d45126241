// The signed dynamic map of 256 values in which nested (double) quantization stores block statistics.
#pragma once

#include "codec/host_device.h"

namespace moeq::codec {

// Index 127 is 0 and 255 is 1. For p = 1..127 let e = floor(log2 p) and k = p - 2^e: index 127 + p holds
// (0.1 + 0.9 * (2k + 1) / 2^(e + 1)) * 10^(e - 6), the k-th midpoint of 2^e equal parts of [0.1, 1] in decade e; index
// 127 - p holds its negative. Both terms of the fraction below are integers that fp32 holds exactly (the divisor is
// 2^8 * 5^(7 - e)), so one division rounds the exact value correctly. bitsandbytes builds its map with a framework's
// linspace, whose last bits depend on the host's vector width; files carry their map, and a reader uses the stored one.
MOEQ_HOST_DEVICE constexpr float dynamic_map_value(int index)
{
    if (index == 127) {
        return 0.0f;
    }
    if (index == 255) {
        return 1.0f;
    }
    const int p = index > 127 ? index - 127 : 127 - index;
    int e = 0;
    while ((p >> (e + 1)) != 0) {
        ++e;
    }
    int divisor = 256;
    for (int i = e; i < 7; ++i) {
        divisor *= 5;
    }
    const int k = p - (1 << e);
    const int numerator = (2 << e) + 9 * (2 * k + 1);
    // A compile-time division is correctly rounded by both compilers; the table below is made at compile time only.
    const float value = static_cast<float>(numerator) / static_cast<float>(divisor);
    return index > 127 ? value : -value;
}

struct DynamicMap {
    float values[256];
};

consteval DynamicMap make_dynamic_map()
{
    DynamicMap map{};
    for (int i = 0; i < 256; ++i) {
        map.values[i] = dynamic_map_value(i);
    }
    return map;
}

inline constexpr DynamicMap kDynamicMap = make_dynamic_map();
inline constexpr uint8_t kDynamicZeroCode = 127;

// The index of the value nearest to t in the ascending map `values` of 256 entries. The two candidates around t are an
// even and an odd index; the odd one is taken exactly when t lies strictly beyond their midpoint fl(fl(a + b) * 0.5),
// so a tie goes to the even index (what the binary search of bitsandbytes' CUDA code amounts to). Outside the map it
// saturates; NaN gives the index of 0.
MOEQ_HOST_DEVICE inline uint8_t dynamic_code(float t, const float* values)
{
    if (is_nan(t)) {
        return kDynamicZeroCode;
    }
    // The largest index in 0..254 whose value is below t, or 0.
    uint32_t below = 0;
    for (uint32_t step = 128; step != 0; step >>= 1) {
        const uint32_t candidate = below + step;
        below = candidate < 255 && t > values[candidate] ? candidate : below;
    }
    const float midpoint = multiply(add(values[below], values[below + 1]), 0.5f);
    const bool even_below = (below & 1u) == 0;
    const bool up = even_below ? t > midpoint : t >= midpoint;
    return static_cast<uint8_t>(below + (up ? 1u : 0u));
}

MOEQ_HOST_DEVICE inline uint8_t dynamic_code(float t)
{
    static constexpr DynamicMap map = kDynamicMap;
    return dynamic_code(t, map.values);
}

MOEQ_HOST_DEVICE inline float dynamic_decode(uint8_t code)
{
    static constexpr DynamicMap map = kDynamicMap;
    return map.values[code];
}

// A block statistic from its nested form: fl(fl(map[u8] * absmax2) + offset), two roundings (never fused).
MOEQ_HOST_DEVICE inline float nested_absmax(float map_value, float absmax2, float offset)
{
    return add(multiply(map_value, absmax2), offset);
}

} // namespace moeq::codec
