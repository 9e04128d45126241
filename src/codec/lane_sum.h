// The order in which reductions add: leaves of 256 elements (codec/sum.h), in each of them element i to lane i % 16, every lane
// front to back in fp64 from +0; then neighbouring lanes in pairs, and what comes of those by halves. Vectors can follow it along
// memory, where a register has several lanes, and across outputs, where it has one lane of several of them. Leaves are
// joined by the tree of codec/sum.h.
#pragma once

#include "codec/host_device.h"
#include "codec/sum.h"

namespace moeq::codec {

inline constexpr int64_t kSumLanes = 16;

MOEQ_HOST_DEVICE inline double join_lanes(const double* lanes)
{
    double sums[kSumLanes / 2];
    for (int i = 0; i < kSumLanes / 2; ++i)
        sums[i] = add(lanes[2 * i], lanes[2 * i + 1]);
    for (int half = kSumLanes / 4; half != 0; half /= 2)
        for (int i = 0; i < half; ++i)
            sums[i] = add(sums[i], sums[i + half]);
    return sums[0];
}

} // namespace moeq::codec
