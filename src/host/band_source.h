// What decoding of a band of rows will read, and how it is fetched while another band is decoded: it is read in pieces too short
// for what the processor fetches by itself.
#pragma once

#include "formats/encoded_weight.h"

namespace moeq {

// Bytes that are wanted soon.
struct Span {
    const uint8_t* data = nullptr;
    int64_t bytes = 0;
};

// Of rows so many bytes apart, those that are wanted; none where most of what lies between them is not.
inline Span span_of(const uint8_t* first, const uint8_t* last, int64_t rows, int64_t row_bytes)
{
    const int64_t bytes = last - first + row_bytes;
    return bytes > 0 && bytes <= 2 * rows * row_bytes ? Span{first, bytes} : Span{};
}

// What decoding of rows [begin, end) of an expert reads, where that is much.
struct BandSource {
    Span codes;
    Span statistics;

    BandSource() = default;
    BandSource(const EncodedWeight& weight, int64_t expert, int64_t begin, int64_t end)
    {
        const Geometry& g = weight.geometry;
        const int64_t rows = end - begin;
        if (!g.in_runs()) {
            codes = span_of(weight.codes_at(expert, begin, 0), weight.codes_at(expert, end - 1, 0), rows, g.columns);
            return;
        }
        const int64_t size = weight.scale.itemsize();
        const auto statistic = [&](int64_t run) { return weight.run_statistics(run); };
        if (g.run_per_row()) {
            const int64_t first = expert * g.rows + begin;
            const int64_t last = expert * g.rows + end - 1;
            codes = span_of(weight.run_codes(first), weight.run_codes(last), rows, g.run_bytes());
            statistics = span_of(statistic(first), statistic(last), rows, g.run_blocks() * size);
            return;
        }
        const auto [run, first] = g.run_place(expert, begin);
        codes = {weight.run_codes(run) + g.format->code_byte(first), g.format->code_byte(rows * g.columns)};
        statistics = {statistic(run) + first / g.block * size, rows * g.columns / g.block * size};
    }
};

// Asks for the lines of a span, a few at each of so many steps.
class Fetcher {
public:
    Fetcher(const Span& span, int64_t steps)
        : at_(span.data), end_(span.data + span.bytes),
          share_(ceil_divide(ceil_divide(span.bytes, kLine), steps) * kLine)
    {
    }
    void step()
    {
        const uint8_t* const stop = end_ - at_ > share_ ? at_ + share_ : end_;
        for (; at_ < stop; at_ += kLine)
            __builtin_prefetch(at_);
    }

private:
    static constexpr int64_t kLine = 64;

    const uint8_t* at_;
    const uint8_t* end_;
    int64_t share_;
};

} // namespace moeq
