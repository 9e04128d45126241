#include "host/decode.h"

#include <cstring>

#include "codec/e8m0.h"
#include "cpu/stores.h"
#include "formats/elements.h"
#include "host/band_decoder.h"

namespace moeq {

namespace {

constexpr int64_t kSegment = 2048;   // elements decoded to the stack when the destination's columns are not contiguous
constexpr int64_t kStatistics = 256; // block statistics decoded at a time
constexpr int64_t kLongTask = 4; // times as many elements as other tasks: of bands, each of which fetches the next ...
constexpr int64_t kLongTasks = 64; // ... where so many tasks remain

// Decodes rows of one weight into one destination; one per task.
class RowDecoder {
public:
    RowDecoder(const Engine& engine, const EncodedWeight& weight, const StackView& destination, cpu::Stores stores)
        : g_(weight.geometry), weight_(weight), destination_(destination), type_(float_type(destination.dtype)),
          stores_(stores), kernels_(engine.kernels)
    {
    }

    // Rows [begin, end) of an expert to rows [to, ...) of element `slot` of the destination.
    void run(int64_t expert, int64_t begin, int64_t end, int64_t slot, int64_t to)
    {
        if (g_.in_runs() && !g_.run_per_row() && destination_.column_stride == 1 &&
            (destination_.row_stride == g_.columns || end - begin == 1)) {
            // Rows that follow each other in codes and destination are one range.
            const auto [run, first] = g_.run_place(expert, begin);
            decode_range(run, first, first + (end - begin) * g_.columns, destination_.at(slot, to, 0));
            return;
        }
        if (destination_.column_stride == 1) {
            decode_band(expert, begin, end, 0, g_.columns, destination_.at(slot, to, 0));
            return;
        }
        for (int64_t r = begin; r < end; ++r)
            decode_row(expert, r, slot, to + r - begin);
    }

    void decode_segment(int64_t expert, int64_t row, int64_t begin, int64_t end, char* to)
    {
        if (g_.in_runs()) {
            const auto [run, first] = g_.run_place(expert, row);
            decode_range(run, first + begin, first + end, to);
        } else {
            g_.scale_per_column() ? decode_columns(expert, row, begin, end, to)
                                  : decode_tiles(expert, row, begin, end, to);
        }
    }

    // Columns [first, last) of rows [begin, end), to rows as far apart as the destination's.
    void decode_band(int64_t expert, int64_t begin, int64_t end, int64_t first, int64_t last, char* to)
    {
        if (g_.scale_per_column()) {
            decode_column_rows(expert, begin, end, first, last, to);
        } else if (!g_.in_runs() && g_.column_tiling.size < g_.columns && g_.column_tiling.border == 0 &&
                   first % g_.column_tiling.size == 0) {
            decode_tile_rows(expert, begin, end, first, last, to);
        } else {
            decode_band_rows(expert, begin, end, first, last, to);
        }
    }

private:
    const cpu::TileKernels& tiles() const { return kernels_.tiles[g_.format->kernels()]; }
    const cpu::RunKernels& runs() const { return kernels_.runs[g_.format->kernels()]; }

    void decode_band_rows(int64_t expert, int64_t begin, int64_t end, int64_t first, int64_t last, char* to)
    {
        const int64_t pitch = destination_.row_stride * destination_.itemsize;
        if (g_.in_runs() && !g_.run_per_row() && weight_.statistics_are_floats()) {
            const cpu::DecodeBlocks decode = runs().decode_blocks[stores_][type_];
            const auto [run, base] = g_.run_place(expert, begin);
            const uint8_t* codes = weight_.run_codes(run);
            const float* absmax = weight_.run_absmax(run);
            for (int64_t r = 0; r < end - begin; ++r)
                decode(codes, base + r * g_.columns + first, base + r * g_.columns + last, absmax, g_.block,
                       to + r * pitch);
            return;
        }
        if (!g_.in_runs() && g_.column_tiling.size >= g_.columns && g_.column_tiling.border == 0) {
            decode_whole_rows(expert, begin, end, first, last, to);
            return;
        }
        for (int64_t r = begin; r < end; ++r, to += pitch)
            decode_segment(expert, r, first, last, to);
    }

    // Columns [first, last) of rows that have one scale each, or share it with the rows around them.
    void decode_whole_rows(int64_t expert, int64_t begin, int64_t end, int64_t first, int64_t last, char* to)
    {
        const cpu::DecodeRows decode = tiles().decode_rows[stores_][g_.scale_kind()][type_];
        cpu::Rectangle area = rectangle(expert, end - begin);
        area.columns = last - first;
        if (g_.row_tiling.size == 1) {
            const float* scales = weight_.scale_at(expert, begin, 0);
            decode(weight_.codes_at(expert, begin, first), area, scales,
                   weight_.scale_at(expert, begin + 1, 0) - scales, to);
            return;
        }
        for (int64_t r = begin; r < end; r += area.rows, to += area.rows * area.element_pitch) {
            const int64_t i = g_.row_tiling.index_of(r);
            area.rows = minimum(end, g_.row_tiling.end(i)) - r;
            decode(weight_.codes_at(expert, r, first), area, weight_.scale_at(expert, i, 0), 0, to);
        }
    }

    cpu::Rectangle rectangle(int64_t expert, int64_t rows) const
    {
        return {.rows = rows,
                .columns = g_.columns,
                .element_pitch = destination_.row_stride * destination_.itemsize,
                .code_pitch = weight_.codes_at(expert, 1, 0) - weight_.codes_at(expert, 0, 0)};
    }

    // Scales [first, first + count) of a row of scale units, as many as lie one behind the other or fit in `gathered`.
    const float* side_by_side(int64_t expert, int64_t row_tile, int64_t first, int64_t* count, float* gathered) const
    {
        if (weight_.scale_column_stride() == 1)
            return weight_.scale_at(expert, row_tile, first);
        *count = minimum(*count, kStatistics);
        for (int64_t j = 0; j < *count; ++j)
            gathered[j] = *weight_.scale_at(expert, row_tile, first + j);
        return gathered;
    }

    // Columns [first, last) of rows [begin, end) whose columns have a scale each.
    void decode_column_rows(int64_t expert, int64_t begin, int64_t end, int64_t first, int64_t last, char* to)
    {
        const cpu::DecodeColumns decode = tiles().decode_columns[stores_][g_.scale_kind()][type_];
        cpu::Rectangle area = rectangle(expert, end - begin);
        float gathered[kStatistics];
        for (int64_t c = first; c < last; c += area.columns) {
            area.columns = last - c;
            const float* scales = side_by_side(expert, 0, c, &area.columns, gathered);
            decode(weight_.codes_at(expert, begin, c), area, scales, to + (c - first) * destination_.itemsize);
        }
    }

    // Columns [first, last) of rows [begin, end) of several tiles each, one of which begins at `first`.
    void decode_tile_rows(int64_t expert, int64_t begin, int64_t end, int64_t first, int64_t last, char* to)
    {
        const cpu::DecodeTiles decode = tiles().decode_tiles[stores_][g_.scale_kind()][type_];
        const int64_t tile = g_.column_tiling.size;
        const int64_t tiles = ceil_divide(last, tile);
        float gathered[kStatistics];
        int64_t rows;
        for (int64_t r = begin; r < end; r += rows) {
            const int64_t i = g_.row_tiling.index_of(r);
            rows = minimum(end, g_.row_tiling.end(i)) - r;
            cpu::Rectangle area = rectangle(expert, rows);
            int64_t count;
            for (int64_t j = first / tile; j < tiles; j += count) {
                count = tiles - j;
                const float* scales = side_by_side(expert, i, j, &count, gathered);
                area.columns = minimum(count * tile, last - j * tile);
                decode(weight_.codes_at(expert, r, j * tile), area, tile, scales,
                       to + (r - begin) * area.element_pitch + (j * tile - first) * destination_.itemsize);
            }
        }
    }

    // To columns that lie apart.
    void decode_row(int64_t expert, int64_t row, int64_t slot, int64_t to)
    {
        alignas(64) char buffer[kSegment * 4];
        for (int64_t c = 0; c < g_.columns; c += kSegment) {
            const int64_t count = minimum(kSegment, g_.columns - c);
            decode_segment(expert, row, c, c + count, buffer);
            scatter(buffer, count, destination_.at(slot, to, c));
        }
    }

    void scatter(const char* from, int64_t count, char* to) const
    {
        const int64_t stride = destination_.column_stride * destination_.itemsize;
        if (destination_.itemsize == 4)
            for (int64_t i = 0; i < count; ++i)
                reinterpret_cast<uint32_t&>(to[i * stride]) = reinterpret_cast<const uint32_t*>(from)[i];
        else
            for (int64_t i = 0; i < count; ++i)
                reinterpret_cast<uint16_t&>(to[i * stride]) = reinterpret_cast<const uint16_t*>(from)[i];
    }

    void decode_tiles(int64_t expert, int64_t row, int64_t begin, int64_t end, char* to)
    {
        const cpu::DecodeRows decode = tiles().decode_rows[stores_][g_.scale_kind()][type_];
        const int64_t i = g_.row_tiling.index_of(row);
        int64_t j = g_.column_tiling.index_of(begin);
        for (int64_t c = begin; c < end; ++j) {
            const int64_t stop = minimum(end, g_.column_tiling.end(j));
            const cpu::Rectangle area{.rows = 1, .columns = stop - c, .element_pitch = 0, .code_pitch = 0};
            decode(weight_.codes_at(expert, row, c), area, weight_.scale_at(expert, i, j), 0,
                   to + (c - begin) * destination_.itemsize);
            c = stop;
        }
    }

    void decode_columns(int64_t expert, int64_t row, int64_t begin, int64_t end, char* to)
    {
        const cpu::DecodeColumns decode = tiles().decode_columns[stores_][g_.scale_kind()][type_];
        float gathered[kStatistics];
        for (int64_t c = begin; c < end;) {
            int64_t count = end - c;
            const float* scales = side_by_side(expert, 0, c, &count, gathered);
            const cpu::Rectangle area{.rows = 1, .columns = count, .element_pitch = 0, .code_pitch = 0};
            decode(weight_.codes_at(expert, row, c), area, scales, to + (c - begin) * destination_.itemsize);
            c += count;
        }
    }

    // Elements [begin, end) of a run of blocks.
    void decode_range(int64_t run, int64_t begin, int64_t end, char* to)
    {
        const cpu::DecodeBlocks decode = runs().decode_blocks[stores_][type_];
        const uint8_t* codes = weight_.run_codes(run);
        if (weight_.statistics_are_floats()) {
            decode(codes, begin, end, weight_.run_absmax(run), g_.block, to);
            return;
        }
        float absmax[kStatistics];
        for (int64_t f = begin; f < end;) {
            const int64_t first = f / g_.block;
            const int64_t stop = minimum(end, (first + kStatistics) * g_.block);
            load_block_statistics(kernels_, weight_, run, first, ceil_divide(stop, g_.block) - first, absmax);
            fetch_statistics(run, first + kStatistics);
            decode(codes + g_.format->code_byte(first * g_.block), f - first * g_.block, stop - first * g_.block,
                   absmax, g_.block, to + (f - begin) * destination_.itemsize);
            f = stop;
        }
    }

    // Those of the blocks that come next, while others are decoded: so few bytes of them are read at a time that no
    // processor sees a pattern, and each cache line would be waited for. The address need not be one.
    void fetch_statistics(int64_t run, int64_t first) const
    {
        constexpr int64_t kLine = 64;
        const auto next = reinterpret_cast<uintptr_t>(weight_.run_statistics(run)) + static_cast<uintptr_t>(first);
        for (int64_t i = 0; i < kStatistics; i += kLine)
            __builtin_prefetch(reinterpret_cast<const void*>(next + static_cast<uintptr_t>(i)));
    }

    const Geometry& g_;
    const EncodedWeight& weight_;
    const StackView& destination_;
    int32_t type_;
    cpu::Stores stores_;
    const cpu::Kernels& kernels_;
};

moeq_status decode_bands(const Engine& engine, const EncodedWeight& weight, const ExpertList& experts,
                         int64_t row_begin, int64_t row_end, const StackView& destination, cpu::Stores stores,
                         Report& report)
{
    const Geometry& g = weight.geometry;
    const RowBands bands(destination, row_end - row_begin);
    const int64_t elements = experts.count * bands.rows * g.columns;
    const int64_t total = experts.count * bands.count;
    const int64_t long_task = kLongTask * task_elements(elements) / (kBandRows * g.columns);
    const int64_t per_task = maximum(1, minimum(long_task, total / kLongTasks));
    const auto expert_of = [&](int64_t band) { return experts[band / bands.count]; };
    auto body = [&](int64_t task) {
        BandDecoder<RowDecoder> decoder(engine, weight, destination, stores);
        const int64_t last = minimum((task + 1) * per_task, total);
        for (int64_t at = task * per_task; at < last; ++at) {
            const int64_t expert = expert_of(at);
            if (expert < 0 || expert >= g.experts) // the caller changed the list during the call
                continue;
            const int64_t begin = bands.begin(at % bands.count);
            const int64_t end = bands.end(at % bands.count);
            BandSource next;
            const int64_t then = at + 1 < last ? expert_of(at + 1) : -1;
            if (then >= 0 && then < g.experts)
                next = {weight, then, row_begin + bands.begin((at + 1) % bands.count),
                        row_begin + bands.end((at + 1) % bands.count)};
            decoder.run(expert, row_begin + begin, row_begin + end, at / bands.count, begin, next);
        }
        decoder.finish();
        cpu::stream_fence(stores);
    };
    return engine.executor.for_each(ceil_divide(total, per_task), elements, body, report);
}

} // namespace

moeq_status decode_rows(const Engine& engine, const EncodedWeight& weight, const ExpertList& experts, int64_t row_begin,
                        int64_t row_end, const StackView& destination, int32_t stores, Report& report)
{
    const Geometry& g = weight.geometry;
    const int64_t rows = row_end - row_begin;
    if (experts.count == 0 || rows == 0 || g.columns == 0)
        return MOEQ_OK;
    const int64_t total = experts.count * rows; // rows
    const int64_t band = maximum(1, task_elements(total * g.columns) / g.columns);
    const int64_t bytes = total * g.columns * destination.itemsize;
    const cpu::Stores wanted = stores == MOEQ_STORES_CACHED     ? cpu::kCached
                               : stores == MOEQ_STORES_STREAMED ? cpu::kStreamed
                                                                : cpu::stores_for(bytes);
    if (by_row_bands(destination, rows, g.columns))
        return decode_bands(engine, weight, experts, row_begin, row_end, destination, wanted, report);
    // Elements that are scattered come from a buffer.
    const cpu::Stores kind = destination.column_stride != 1 ? cpu::kCached : wanted;
    auto body = [&](int64_t task) {
        RowDecoder decoder(engine, weight, destination, kind);
        const int64_t last = minimum((task + 1) * band, total);
        for (int64_t at = task * band; at < last;) {
            const int64_t slot = at / rows;
            const int64_t begin = at - slot * rows;
            const int64_t end = minimum(rows, last - slot * rows);
            const int64_t expert = experts[slot];
            if (expert >= 0 && expert < g.experts) // else the caller changed the list during the call
                decoder.run(expert, row_begin + begin, row_begin + end, slot, begin);
            at += end - begin;
        }
        cpu::stream_fence(kind);
    };
    return engine.executor.for_each(ceil_divide(total, band), total * g.columns, body, report);
}

void decode_elements(const Engine& engine, const EncodedWeight& weight, int64_t expert, int64_t row, int64_t begin,
                     int64_t end, float* out)
{
    StackView unused;
    unused.dtype = MOEQ_DTYPE_FP32;
    unused.itemsize = sizeof(float);
    RowDecoder(engine, weight, unused, cpu::kCached)
        .decode_segment(expert, row, begin, end, reinterpret_cast<char*>(out));
}

void load_block_statistics(const cpu::Kernels& kernels, const EncodedWeight& weight, int64_t run, int64_t first,
                           int64_t count, float* out)
{
    const Geometry& g = weight.geometry;
    if (weight.statistics_are_floats()) {
        std::memcpy(out, weight.run_absmax(run) + first, static_cast<uint64_t>(count) * sizeof(float));
        return;
    }
    const uint8_t* codes = weight.run_statistics(run) + first;
    if (!g.nested()) {
        for (int64_t i = 0; i < count; ++i)
            out[i] = codec::e8m0_to_float(codes[i]);
        return;
    }
    const auto* map = reinterpret_cast<const float*>(weight.nested_map.data);
    const auto* scales = reinterpret_cast<const float*>(weight.nested_scale.data);
    const float offset = weight.nested_offset_value();
    int64_t global = run * g.run_blocks() + first;
    for (int64_t i = 0; i < count;) {
        const int64_t nested = global / kNestedBlock;
        const int64_t some = minimum(count - i, (nested + 1) * kNestedBlock - global);
        kernels.decode_nested(codes + i, some, map, scales[nested], offset, out + i);
        i += some;
        global += some;
    }
}

void load_factors(const cpu::Kernels& kernels, const EncodedWeight& weight, int64_t expert, int64_t row, int64_t begin,
                  int64_t end, float* out)
{
    const Geometry& g = weight.geometry;
    if (!g.in_runs()) {
        const int64_t i = g.row_tiling.index_of(row);
        for (int64_t c = begin; c < end; ++c) {
            const float scale = *weight.scale_at(expert, i, g.column_tiling.index_of(c));
            out[c - begin] = g.scale_kind() == kFactor ? scale : g.format->factor(scale);
        }
        return;
    }
    const auto [run, base] = g.run_place(expert, row);
    int64_t block = -1;
    float absmax = 0.0f;
    for (int64_t c = begin; c < end; ++c) {
        if ((base + c) / g.block != block) {
            block = (base + c) / g.block;
            load_block_statistics(kernels, weight, run, block, 1, &absmax);
        }
        out[c - begin] = absmax;
    }
}

} // namespace moeq
