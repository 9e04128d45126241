#include "host/compare.h"

#include <cmath>

#include "formats/elements.h"

namespace moeq {

namespace {

constexpr int64_t kChunk = 512;

constexpr int64_t kLeafElements = 1 << 16; // about so many are summed in row order
constexpr int64_t kMostLeaves = 256;       // of one expert
constexpr int64_t kManyExperts = 32;       // so many are tasks of their own

// The sums of a part of an expert.
struct Sums {
    double source_squares = 0.0;
    double error_squares = 0.0;
    double relative_squares = 0.0; // of the error in units of each code's factor
    double max_error = 0.0;
    double amax = 0.0;
    bool nan = false;
    int64_t saturated = 0;
    int64_t zero = 0;

    void add(float source, float decoded, float factor)
    {
        const double error = static_cast<double>(source) - static_cast<double>(decoded);
        const double magnitude = std::fabs(error);
        const double relative = factor == 0.0f ? 0.0 : error / static_cast<double>(factor);
        source_squares += static_cast<double>(source) * static_cast<double>(source);
        error_squares += error * error;
        relative_squares += relative * relative;
        max_error = magnitude > max_error ? magnitude : max_error;
        nan = nan || magnitude != magnitude;
        const double size = std::fabs(static_cast<double>(source));
        amax = size > amax || size != size ? size : amax;
    }
    void add_code(float value, float largest)
    {
        saturated += std::fabs(value) >= largest ? 1 : 0;
        zero += value == 0.0f ? 1 : 0;
    }
    void join(const Sums& other)
    {
        source_squares += other.source_squares;
        error_squares += other.error_squares;
        relative_squares += other.relative_squares;
        max_error = other.max_error > max_error ? other.max_error : max_error;
        amax = other.amax > amax || other.amax != other.amax ? other.amax : amax;
        nan = nan || other.nan;
        saturated += other.saturated;
        zero += other.zero;
    }
};

uint8_t code_at(const EncodedWeight& weight, int64_t expert, int64_t row, int64_t column)
{
    const Geometry& g = weight.geometry;
    if (!g.in_runs())
        return *weight.codes_at(expert, row, column);
    const auto [run, element] = g.run_place(expert, row, column);
    const uint8_t byte = weight.run_codes(run)[g.format->code_byte(element)];
    if (g.format->code_bits == 8)
        return byte;
    return element % 2 == 0 ? static_cast<uint8_t>(byte >> 4) : static_cast<uint8_t>(byte & 15);
}

void add_segment(const Engine& engine, const EncodedWeight& weight, const StackView& source, int64_t e, int64_t r,
                 int64_t c, int64_t count, Sums& sums)
{
    const Geometry& g = weight.geometry;
    float decoded[kChunk];
    float factors[kChunk];
    decode_elements(engine, weight, e, r, c, c + count, decoded);
    load_factors(engine.kernels, weight, e, r, c, c + count, factors);
    const int32_t type = float_type(source.dtype);
    for (int64_t i = 0; i < count; ++i) {
        sums.add(load_element(type, source.at(e, r, c + i), 0), decoded[i], factors[i]);
        sums.add_code(g.format->code_value(code_at(weight, e, r, c + i)), g.format->largest);
    }
}

void store(const Sums& sums, int64_t elements, int64_t expert, const MetricSink& sink)
{
    const double count = elements == 0 ? 1.0 : static_cast<double>(elements);
    const double sqnr =
        sums.error_squares == 0.0 ? HUGE_VAL : 10.0 * std::log10(sums.source_squares / sums.error_squares);
    sink.store(expert, MOEQ_METRIC_MAX_ERROR, sums.nan ? std::nan("") : sums.max_error);
    sink.store(expert, MOEQ_METRIC_RMSE, std::sqrt(sums.error_squares / count));
    sink.store(expert, MOEQ_METRIC_RMSE_OVER_SCALE, std::sqrt(sums.relative_squares / count));
    sink.store(expert, MOEQ_METRIC_SQNR_DB, sqnr);
    sink.store(expert, MOEQ_METRIC_SATURATED, static_cast<double>(sums.saturated) / count);
    sink.store(expert, MOEQ_METRIC_ZERO, static_cast<double>(sums.zero) / count);
    sink.store(expert, MOEQ_METRIC_AMAX, sums.amax);
}

} // namespace

moeq_status compare_weight(const Engine& engine, const EncodedWeight& weight, const StackView& source,
                           const MetricSink& sink, Report& report)
{
    const Geometry& g = weight.geometry;
    // Leaves of whole rows, joined by a tree that depends on the shape alone: the same figures for any number of threads.
    const int64_t rows = maximum(maximum(1, kLeafElements / maximum(1, g.columns)), ceil_divide(g.rows, kMostLeaves));
    const int64_t leaves = ceil_divide(g.rows, rows);
    const auto sum_leaf = [&](int64_t e, int64_t leaf) {
        Sums sums;
        for (int64_t r = leaf * rows; r < minimum((leaf + 1) * rows, g.rows); ++r)
            for (int64_t c = 0; c < g.columns; c += kChunk)
                add_segment(engine, weight, source, e, r, c, minimum(kChunk, g.columns - c), sums);
        return sums;
    };
    const auto join_all = [&](Sums* sums, int64_t e) {
        for (int64_t step = 1; step < leaves; step *= 2)
            for (int64_t i = 0; i + step < leaves; i += 2 * step)
                sums[i].join(sums[i + step]);
        store(sums[0], g.expert_elements(), e, sink);
    };
    if (g.experts >= kManyExperts) {
        auto body = [&](int64_t e) {
            Sums sums[kMostLeaves];
            for (int64_t leaf = 0; leaf < leaves; ++leaf)
                sums[leaf] = sum_leaf(e, leaf);
            join_all(sums, e);
        };
        return engine.executor.for_each(g.experts, body, report);
    }
    for (int64_t e = 0; e < g.experts; ++e) {
        Sums sums[kMostLeaves];
        auto body = [&](int64_t leaf) { sums[leaf] = sum_leaf(e, leaf); };
        MOEQ_TRY(engine.executor.for_each(leaves, body, report));
        join_all(sums, e);
    }
    return MOEQ_OK;
}

} // namespace moeq
