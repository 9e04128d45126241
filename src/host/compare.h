// How far a quantized weight is from its dense source.
#pragma once

#include "host/decode.h"

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

// Sums in fp64 in an order that depends on the shape alone, so the figures do not depend on threads. Parallel.
[[nodiscard]] moeq_status compare_weight(const Engine& engine, const EncodedWeight& weight, const StackView& source,
                                         const MetricSink& sink, Report& report);

} // namespace moeq
