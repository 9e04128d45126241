// Decoding into memory whose rows lie closer together than its columns.
#pragma once

#include "host/band_source.h"
#include "host/encode.h"
#include "host/row_bands.h"

namespace moeq {

// Decodes bands of rows into a destination whose rows lie closer together than its columns; one per task. While some columns
// of a band are decoded, those before them leave: so the processor computes while it stores. Rows: what decodes rows into
// a row-major destination.
template <class Rows>
class BandDecoder {
public:
    BandDecoder(const Engine& engine, const EncodedWeight& weight, const StackView& destination, cpu::Stores stores)
        : g_(weight.geometry), destination_(destination), kernels_(engine.kernels), stores_(stores),
          pitch_(buffer_pitch(kSegmentBytes)), rows_view_(view_of_rows(destination)),
          rows_(engine, weight, rows_view_, cpu::kCached), segment_(kSegmentBytes / destination.itemsize)
    {
        const Tiling& tiling = g_.column_tiling;
        if (!g_.in_runs() && tiling.size < segment_)
            segment_ = round_down(segment_, tiling.size); // tiles are quicker whole
    }

    // Rows [begin, end) of an expert to rows [to, ...) of element `slot` of the destination. next: what is read after them,
    // which is fetched meanwhile.
    void run(int64_t expert, int64_t begin, int64_t end, int64_t slot, int64_t to, const BandSource& next)
    {
        const int64_t steps = ceil_divide(end - begin, kStep) * ceil_divide(g_.columns, segment_);
        Fetcher codes(next.codes, steps);
        Fetcher statistics(next.statistics, steps);
        for (int64_t c = 0; c < g_.columns; c += segment_) {
            const int64_t stop = minimum(g_.columns, c + segment_);
            char* const buffer = buffers_[current_].data;
            const int64_t share = round_up(ceil_divide(waiting_.columns * kStep, end - begin), kColumns);
            int64_t left = waiting_.columns;
            for (int64_t r = begin; r < end; r += kStep) {
                const int64_t some = minimum(kStep, end - r);
                codes.step();
                statistics.step();
                rows_.decode_band(expert, r, r + some, c, stop, buffer + (r - begin) * pitch_);
                left -= scatter(waiting_.columns - left, minimum(left, share));
            }
            scatter(waiting_.columns - left, left);
            waiting_ = {.data = destination_.at(slot, to, c),
                        .rows = end - begin,
                        .columns = stop - c,
                        .row_stride = destination_.row_stride * destination_.itemsize,
                        .column_stride = destination_.column_stride * destination_.itemsize,
                        .itemsize = destination_.itemsize};
            current_ = 1 - current_;
        }
    }

    // To be called at the end.
    void finish() { scatter(0, waiting_.columns); }

private:
    static constexpr int64_t kStep = 8;     // rows that are decoded before some columns leave ...
    static constexpr int64_t kColumns = 16; // ... a multiple of so many

    StackView view_of_rows(const StackView& destination) const
    {
        StackView view;
        view.dtype = destination.dtype;
        view.itemsize = destination.itemsize;
        view.row_stride = pitch_ / destination.itemsize;
        view.column_stride = 1;
        return view;
    }

    // So many of the columns that wait, from one of them on; returns their number.
    int64_t scatter(int64_t first, int64_t count)
    {
        if (count > 0) {
            StridedBand part = waiting_;
            part.data += first * part.column_stride;
            part.columns = count;
            scatter_band(kernels_, stores_, buffers_[1 - current_].data + first * part.itemsize, pitch_, part);
        }
        return count;
    }

    const Geometry& g_;
    const StackView& destination_;
    const cpu::Kernels& kernels_;
    cpu::Stores stores_;
    int64_t pitch_;
    StackView rows_view_;
    Rows rows_;
    int64_t segment_;
    StridedBand waiting_{}; // what the other buffer holds
    int32_t current_ = 0;
    BandBuffer buffers_[2];
};

} // namespace moeq
