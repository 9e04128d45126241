// Cuts a whole weight into tasks for the executor, and says what the data told.
#include "host/encode.h"

#include <cstring>

#include "codec/e8m0.h"
#include "host/nested.h"
#include "host/segment_reader.h"

namespace moeq {

namespace {

// Experts with one scale each are tasks of their own where there are so many of them; then they also stay in a cache between
// the two passes over them. Else each is shared by all threads.
constexpr int64_t kManyExperts = 32;

// Codes of a box, in bytes.
int64_t code_bytes(const Geometry& g, const Box& box)
{
    return box.experts() * box.rows() * box.columns() * g.format->code_bits / 8;
}

// Tasks of units that are tiles: bands of row tiles of a box, or of its columns where those have the scales.
struct Bands {
    int64_t per_expert;
    int64_t size; // tiles, rows or columns of one band
    bool by_row;  // rows need not wait for each other

    Bands(const Geometry& geometry, const Box& whole, bool rows_alone) : by_row(rows_alone), g(geometry), box(whole)
    {
        const int64_t unit_elements = g.scale_per_column() ? box.rows()
                                      : by_row             ? box.columns()
                                                           : box.columns() * minimum(g.row_tiling.size, box.rows());
        const int64_t elements = box.experts() * box.rows() * box.columns();
        size = maximum(1, task_elements(elements) / maximum(unit_elements, 1));
        if (g.scale_per_column())
            size = kColumnBand;
        per_expert = ceil_divide(units(), size);
    }

    int64_t count() const { return box.experts() * per_expert; }

    int64_t units() const
    {
        if (g.scale_per_column())
            return box.columns();
        return by_row ? box.rows() : g.row_tiling.index_of(box.row_end - 1) + 1 - g.row_tiling.index_of(box.row_begin);
    }

    Box operator[](int64_t task) const
    {
        const int64_t expert = box.expert_begin + task / per_expert;
        const int64_t begin = task % per_expert * size;
        const int64_t end = minimum(begin + size, units());
        Box band = box;
        band.expert_begin = expert;
        band.expert_end = expert + 1;
        if (g.scale_per_column()) {
            band.column_begin = box.column_begin + begin;
            band.column_end = box.column_begin + end;
        } else if (by_row) {
            band.row_begin = box.row_begin + begin;
            band.row_end = box.row_begin + end;
        } else {
            const int64_t first = g.row_tiling.index_of(box.row_begin);
            band.row_begin = g.row_tiling.begin(first + begin);
            band.row_end = g.row_tiling.end(first + end - 1);
        }
        return band;
    }

private:
    const Geometry& g;
    Box box;
};

// Narrows [begin, end) of an axis to whole tiles.
void to_whole_tiles(const Tiling& tiling, int64_t* begin, int64_t* end)
{
    const int64_t first = tiling.index_of(*begin);
    const int64_t last = tiling.index_of(*end - 1);
    if (tiling.begin(first) != *begin)
        *begin = tiling.end(first);
    if (tiling.end(last) != *end)
        *end = tiling.begin(last);
}

// One scale for each expert of a box, all threads at one expert: its amax first, then its codes.
moeq_status encode_shared_experts(const Engine& engine, const EncodedWeight& weight, const Patch& patch, const Box& box,
                                  Findings& findings, Report& report)
{
    const cpu::Stores stores = cpu::stores_for(code_bytes(weight.geometry, box));
    for (int64_t e = box.expert_begin; e < box.expert_end; ++e) {
        Box expert = box;
        expert.expert_begin = e;
        expert.expert_end = e + 1;
        const Bands bands(weight.geometry, expert, true);
        const int64_t elements = box.rows() * box.columns();
        *weight.scale_at(e, 0, 0) = 0.0f;
        auto gather = [&](int64_t task) { gather_amax(engine, weight, patch, bands[task], findings); };
        MOEQ_TRY(engine.executor.for_each(bands.count(), elements, gather, report));
        if (findings.refused())
            continue; // only the first bad place is looked for
        auto encode = [&](int64_t task) {
            encode_gathered(engine, weight, patch, bands[task], findings, stores);
            cpu::stream_fence(stores);
        };
        MOEQ_TRY(engine.executor.for_each(bands.count(), elements, encode, report));
        store_gathered_scale(weight, e);
    }
    return MOEQ_OK;
}

moeq_status encode_whole_tiles(const Engine& engine, const EncodedWeight& weight, const Patch& patch,
                               const TensorView* amax, Findings& findings, Report& report)
{
    const Geometry& g = weight.geometry;
    Box box = patch.box;
    if (box.empty())
        return MOEQ_OK;
    if (amax == nullptr) {
        to_whole_tiles(g.row_tiling, &box.row_begin, &box.row_end);
        to_whole_tiles(g.column_tiling, &box.column_begin, &box.column_end);
        if (box.empty())
            return MOEQ_OK;
    }
    if (amax == nullptr && g.spec.granularity == MOEQ_GRANULARITY_EXPERT && box.experts() < kManyExperts)
        return encode_shared_experts(engine, weight, patch, box, findings, report);
    const Bands bands(g, box, amax != nullptr);
    const cpu::Stores stores = cpu::stores_for(code_bytes(g, box));
    auto body = [&](int64_t task) {
        encode_box(engine, weight, patch, bands[task], amax, findings, stores);
        cpu::stream_fence(stores);
    };
    return engine.executor.for_each(bands.count(), box.experts() * box.rows() * box.columns(), body, report);
}

// Tasks of units that are runs: several short segments, or a part of a long one.
struct SegmentParts {
    int64_t segments_per_task; // 1 where a segment has several parts
    int64_t parts;             // of one segment
    int64_t part;              // elements
    int64_t tasks;

    SegmentParts(const Geometry& g, const RunSegments& segments)
    {
        const int64_t wanted = task_elements(segments.count * segments.length);
        // Whole rows where blocks end with them, some at a time: what is not row-major is read in bands of these.
        constexpr int64_t kSomeRows = 16;
        const int64_t rows = kSomeRows * g.columns <= wanted ? kSomeRows * g.columns : g.columns;
        const int64_t unit = g.columns % g.block == 0 && rows <= wanted ? rows : g.block;
        part = round_down(maximum(wanted, unit), unit);
        parts = maximum(1, ceil_divide(segments.length, part));
        segments_per_task = parts > 1 ? 1 : maximum(1, wanted / maximum(segments.length, 1));
        tasks = parts > 1 ? segments.count * parts : ceil_divide(segments.count, segments_per_task);
    }
};

moeq_status encode_whole_blocks(const Engine& engine, const EncodedWeight& weight, const Patch& patch,
                                float* absmax_staging, Findings& findings, Report& report)
{
    const Geometry& g = weight.geometry;
    if (patch.box.empty())
        return MOEQ_OK;
    const RunSegments segments(g, patch.box);
    const SegmentParts parts(g, segments);
    const cpu::Stores stores = cpu::stores_for(code_bytes(g, patch.box));
    auto body = [&](int64_t task) {
        const int64_t first = parts.parts > 1 ? task / parts.parts : task * parts.segments_per_task;
        const int64_t last = parts.parts > 1 ? first + 1 : minimum(first + parts.segments_per_task, segments.count);
        for (int64_t i = first; i < last; ++i) {
            const RunSegments::Segment segment = segments[i];
            int64_t begin;
            int64_t end;
            whole_blocks(g, segment, &begin, &end);
            if (parts.parts > 1) {
                begin += task % parts.parts * parts.part;
                end = minimum(end, begin + parts.part);
            }
            if (begin < end)
                encode_run_part(engine, weight, patch, segment.run, begin, end, absmax_staging, findings, stores);
        }
        cpu::stream_fence(stores);
    };
    return engine.executor.for_each(parts.tasks, segments.count * segments.length, body, report);
}

// Nested statistics of a whole weight. The mean of all comes before any of their codes, so blocks are encoded and summed
// first; then their statistics are looked up where they were kept, or computed from the source again.
class NestedEncoder {
public:
    NestedEncoder(const Engine& engine, const EncodedWeight& weight, const Patch& patch, float* staging,
                  Findings& findings)
        : engine_(engine), weight_(weight), g_(weight.geometry), patch_(patch), staging_(staging), findings_(findings),
          stores_(cpu::stores_for(code_bytes(g_, patch.box))), blocks_(g_.block_count()),
          mean_(blocks_, task_elements(g_.count()) / g_.block)
    {
    }

    moeq_status run(Report& report)
    {
        auto encode = [this](int64_t subtree) {
            float kept[kNestedBlock];
            mean_.add_subtree(subtree, [&](int64_t first, int64_t count) {
                float* absmax = staging_ != nullptr ? staging_ + first : kept;
                encode_blocks(first, count, absmax);
                return static_cast<const float*>(absmax);
            });
            cpu::stream_fence(stores_);
        };
        MOEQ_TRY(engine_.executor.for_each(mean_.subtrees(), g_.count(), encode, report));
        if (findings_.refused())
            return MOEQ_OK;
        store_nested_frame(weight_, mean_.mean());
        auto store = [this](int64_t subtree) { store_statistics(subtree); };
        const int64_t work = staging_ != nullptr ? blocks_ : g_.count();
        return engine_.executor.for_each(mean_.subtrees(), work, store, report);
    }

private:
    // Blocks [first, first + count) of all runs in order.
    void encode_blocks(int64_t first, int64_t count, float* absmax)
    {
        const int64_t per_run = g_.run_blocks();
        for (int64_t at = first; at < first + count;) {
            const int64_t run = at / per_run;
            const int64_t stop = minimum(first + count, (run + 1) * per_run);
            const int64_t begin = (at - run * per_run) * g_.block;
            const int64_t end = minimum((stop - run * per_run) * g_.block, g_.run_length);
            encode_run(engine_, weight_, patch_, run, begin, end, absmax + (at - first), findings_, stores_);
            at = stop;
        }
    }

    void store_statistics(int64_t subtree) const
    {
        const int64_t begin = subtree * mean_.subtree_blocks();
        const int64_t end = minimum(begin + mean_.subtree_blocks(), blocks_);
        float read[kNestedBlock];
        for (int64_t first = begin; first < end; first += kNestedBlock) {
            const int64_t count = minimum(kNestedBlock, end - first);
            if (staging_ == nullptr)
                read_block_statistics(engine_, weight_, patch_, first, count, read);
            const float* absmax = staging_ != nullptr ? staging_ + first : read;
            store_nested_block(engine_.kernels.encode_nested, weight_, first, count, absmax);
        }
    }

    const Engine& engine_;
    const EncodedWeight& weight_;
    const Geometry& g_;
    const Patch& patch_;
    float* staging_;
    Findings& findings_;
    cpu::Stores stores_;
    int64_t blocks_;
    NestedMean mean_;
};

} // namespace

RunSegments::RunSegments(const Geometry& geometry, const Box& box) : g_(geometry), box_(box), rows_(box.rows())
{
    const bool rows_follow = !g_.run_per_row() && box.columns() == g_.columns;
    length = rows_follow ? box.rows() * g_.columns : box.columns();
    rows_ = rows_follow ? 1 : box.rows();
    count = box.experts() * rows_;
    if (g_.flat() && rows_follow && box.rows() == g_.rows) {
        length *= box.experts();
        count = 1;
    }
}

RunSegments::Segment RunSegments::operator[](int64_t i) const
{
    const int64_t expert = box_.expert_begin + i / rows_;
    const int64_t row = box_.row_begin + i % rows_;
    const int64_t column = box_.column_begin;
    const auto [run, begin] = g_.run_place(expert, row, column);
    return {run, begin, begin + length, {expert, row, column}};
}

moeq_status encode_whole_units(const Engine& engine, const EncodedWeight& weight, const Patch& patch,
                               const TensorView* amax, float* absmax_staging, Findings& findings, Report& report)
{
    return weight.geometry.in_runs() ? encode_whole_blocks(engine, weight, patch, absmax_staging, findings, report)
                                     : encode_whole_tiles(engine, weight, patch, amax, findings, report);
}

void store_block_statistics(const EncodedWeight& weight, int64_t run, int64_t first, int64_t count,
                            const float* statistics)
{
    if (weight.statistics_are_floats()) {
        std::memcpy(weight.run_absmax(run) + first, statistics, static_cast<uint64_t>(count) * sizeof(float));
        return;
    }
    uint8_t* codes = weight.run_statistics(run) + first;
    for (int64_t i = 0; i < count; ++i)
        codes[i] = codec::float_to_e8m0(statistics[i]);
}

void encode_run_part(const Engine& engine, const EncodedWeight& weight, const Patch& patch, int64_t run, int64_t begin,
                     int64_t end, float* absmax_staging, Findings& findings, cpu::Stores stores)
{
    const Geometry& g = weight.geometry;
    const int64_t first = begin / g.block;
    if (weight.statistics_are_floats() || absmax_staging != nullptr) {
        float* to = absmax_staging != nullptr ? absmax_staging + run * g.run_blocks() : weight.run_absmax(run);
        encode_run(engine, weight, patch, run, begin, end, to + first, findings, stores);
        return;
    }
    float some[kNestedBlock];
    for (int64_t f = begin; f < end; f += kNestedBlock * g.block) {
        const int64_t stop = minimum(end, f + kNestedBlock * g.block);
        encode_run(engine, weight, patch, run, f, stop, some, findings, stores);
        if (!g.nested())
            store_block_statistics(weight, run, f / g.block, ceil_divide(stop - f, g.block), some);
    }
}

void store_zero_scales(const EncodedWeight& weight)
{
    const Geometry& g = weight.geometry;
    for (int64_t e = 0; e < g.experts; ++e)
        for (int64_t i = 0; i < g.row_tiling.count(); ++i)
            for (int64_t j = 0; j < g.column_tiling.count(); ++j)
                *weight.scale_at(e, i, j) = 0.0f;
}

moeq_status encode_weight(const Engine& engine, const EncodedWeight& weight, const StackView& source,
                          const TensorView* amax, float* absmax_staging, Findings& findings, Report& report)
{
    const Geometry& g = weight.geometry;
    const Patch patch{source, {0, g.experts, 0, g.rows, 0, g.columns}};
    if (!g.in_runs() && g.count() == 0)
        store_zero_scales(weight);
    else if (amax != nullptr)
        store_given_scales(weight, *amax);
    if (g.nested())
        return NestedEncoder(engine, weight, patch, absmax_staging, findings).run(report);
    return encode_whole_units(engine, weight, patch, amax, absmax_staging, findings, report);
}

void find_nonfinite(const Engine& engine, const Geometry& geometry, const Patch& patch, const Box& box,
                    Findings& findings)
{
    SegmentReader reader(engine, patch, geometry.spec.profile == MOEQ_PROFILE_BNB_CPU_FP16);
    const bool refuse = geometry.spec.nonfinite == MOEQ_NONFINITE_REFUSE;
    for (int64_t e = box.expert_begin; e < box.expert_end; ++e)
        for (int64_t r = box.row_begin; r < box.row_end; ++r)
            for (int64_t c = box.column_begin; c < box.column_end;) {
                const int64_t count = minimum(box.column_end - c, reader.limit());
                const void* elements = reader.read(e, r, c, count);
                if (engine.kernels.amax[reader.type()](elements, count) >= codec::kNonfiniteBits)
                    note_nonfinite(reader.type(), elements, count, (e * geometry.rows + r) * geometry.columns + c,
                                   refuse, findings);
                c += count;
            }
}

} // namespace moeq
