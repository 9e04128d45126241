// How far a quantized weight is from its dense source.
#pragma once

#include "formats/metric_sink.h"
#include "host/decode.h"

namespace moeq {

// Sums in fp64 in an order that depends on the shape alone, so the figures do not depend on threads. Parallel.
[[nodiscard]] moeq_status compare_weight(const Engine& engine, const EncodedWeight& weight, const StackView& source,
                                         const MetricSink& sink, Report& report);

} // namespace moeq
