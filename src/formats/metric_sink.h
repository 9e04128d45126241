// Where the figures of a comparison go.
#pragma once

#include <cstdint>

namespace moeq {

constexpr int32_t kMetrics = 7;

// Where the figures go: metric MOEQ_METRIC_j of expert e, for j below `count`.
struct MetricSink {
    char* data;
    int64_t expert_stride; // in bytes
    int64_t metric_stride;
    int32_t count;

    void store(int64_t expert, int32_t metric, double value) const
    {
        if (metric < count)
            *reinterpret_cast<double*>(data + expert * expert_stride + metric * metric_stride) = value;
    }
};

} // namespace moeq
