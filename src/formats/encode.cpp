// Cuts a whole weight into tasks for the executor, and says what the data told.
#include "formats/encode.h"

#include "core/status_word.h"
#include "formats/segment_reader.h"

namespace moeq {

namespace {

constexpr int64_t kTaskElements = 1 << 16; // enough work that handing it out costs nothing

// Tasks of the 8-bit formats: bands of row tiles of a box, or of its columns where those have the scales.
struct Bands {
    int64_t per_expert;
    int64_t size; // tiles, rows or columns of one band
    bool by_row;  // a given amax: rows need not wait for each other

    Bands(const Geometry& geometry, const Box& whole, bool has_amax) : by_row(has_amax), g(geometry), box(whole)
    {
        const int64_t unit_elements = g.scale_per_column() ? box.rows()
                                      : by_row             ? box.columns()
                                                           : box.columns() * minimum(g.row_tiling.size, box.rows());
        size = maximum(1, kTaskElements / maximum(unit_elements, 1));
        if (g.scale_per_column())
            size = maximum(size, 64); // a cache line of every row at least
        per_expert = ceil_divide(units(), size);
    }

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
    const Bands bands(g, box, amax != nullptr);
    auto body = [&](int64_t task) { encode_box(engine, weight, patch, bands[task], amax, findings); };
    return engine.executor.for_each(box.experts() * bands.per_expert, body, report);
}

// Tasks of the 4-bit formats: several short segments, or a part of a long one.
struct SegmentParts {
    int64_t segments_per_task; // 1 where a segment has several parts
    int64_t parts;             // of one segment
    int64_t part;              // elements
    int64_t tasks;

    SegmentParts(const Geometry& g, const RunSegments& segments)
    {
        part = round_down(maximum(kTaskElements, g.block), g.block);
        parts = maximum(1, ceil_divide(segments.length, part));
        segments_per_task = parts > 1 ? 1 : maximum(1, kTaskElements / maximum(segments.length, 1));
        tasks = parts > 1 ? segments.count * parts : ceil_divide(segments.count, segments_per_task);
    }
};

// absmax_staging NULL with nested statistics: they are dropped.
void encode_range(const Engine& engine, const EncodedWeight& weight, const Patch& patch, int64_t run, int64_t begin,
                  int64_t end, float* absmax_staging, Findings& findings)
{
    const Geometry& g = weight.geometry;
    const int64_t first_block = begin / g.block;
    if (!g.nested()) {
        encode_run(engine, weight, patch, run, begin, end, weight.run_absmax(run) + first_block, findings);
    } else if (absmax_staging != nullptr) {
        encode_run(engine, weight, patch, run, begin, end, absmax_staging + run * g.run_blocks() + first_block,
                   findings);
    } else {
        float dropped[kNestedBlock];
        for (int64_t f = begin; f < end; f += kNestedBlock * g.block)
            encode_run(engine, weight, patch, run, f, minimum(end, f + kNestedBlock * g.block), dropped, findings);
    }
}

moeq_status encode_whole_blocks(const Engine& engine, const EncodedWeight& weight, const Patch& patch,
                                float* absmax_staging, Findings& findings, Report& report)
{
    const Geometry& g = weight.geometry;
    if (patch.box.empty())
        return MOEQ_OK;
    const RunSegments segments(g, patch.box);
    const SegmentParts parts(g, segments);
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
                encode_range(engine, weight, patch, segment.run, begin, end, absmax_staging, findings);
        }
    };
    return engine.executor.for_each(parts.tasks, body, report);
}

} // namespace

RunSegments::RunSegments(const Geometry& geometry, const Box& box) : g_(geometry), box_(box), rows_(box.rows())
{
    const bool rows_follow = g_.spec.blocking != MOEQ_BLOCKING_ROW && box.columns() == g_.columns;
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
    Segment segment{0, 0, 0, {expert, row, column}};
    if (g_.spec.blocking == MOEQ_BLOCKING_ROW) {
        segment.run = expert * g_.rows + row;
        segment.begin = column;
    } else {
        segment.run = g_.flat() ? 0 : expert;
        segment.begin = (g_.flat() ? expert * g_.expert_elements() : 0) + row * g_.columns + column;
    }
    segment.end = segment.begin + length;
    return segment;
}

moeq_status encode_whole_units(const Engine& engine, const EncodedWeight& weight, const Patch& patch,
                               const TensorView* amax, float* absmax_staging, Findings& findings, Report& report)
{
    return weight.geometry.packed() ? encode_whole_blocks(engine, weight, patch, absmax_staging, findings, report)
                                    : encode_whole_tiles(engine, weight, patch, amax, findings, report);
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
    if (!g.packed() && g.count() == 0)
        store_zero_scales(weight);
    else if (amax != nullptr)
        store_given_scales(weight, *amax);
    const moeq_status status = encode_whole_units(engine, weight, patch, amax, absmax_staging, findings, report);
    if (status != MOEQ_OK || !g.nested() || findings.refused())
        return status;
    encode_nested(weight, [&](int64_t first, int64_t count, float* absmax) {
        if (absmax_staging != nullptr)
            std::memcpy(absmax, absmax_staging + first, static_cast<uint64_t>(count) * sizeof(float));
        else
            read_block_statistics(engine, weight, patch, first, count, absmax);
    });
    return MOEQ_OK;
}

void find_nonfinite(const Engine& engine, const Geometry& geometry, const Patch& patch, const Box& box,
                    Findings& findings)
{
    SegmentReader reader(patch, geometry.spec.profile == MOEQ_PROFILE_BNB_CPU_FP16);
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

moeq_status conclude(const Findings& findings, const Geometry& geometry, int32_t argument, const char* name,
                     uint32_t* status_word, Report& report)
{
    see(status_word, findings.seen());
    if (!findings.refused())
        return MOEQ_OK;
    const int64_t flat = findings.first_bad();
    const int64_t column = flat % geometry.columns;
    const int64_t row = flat / geometry.columns % geometry.rows;
    const int64_t expert = flat / geometry.expert_elements();
    const uint32_t both = MOEQ_SEEN_NAN | MOEQ_SEEN_INF;
    const char* what = (findings.seen() & both) == both         ? "NaN or Inf"
                       : (findings.seen() & MOEQ_SEEN_NAN) != 0 ? "NaN"
                                                                : "Inf";
    const moeq_status status = report.fail(MOEQ_ERROR_VALUE, argument, name)
                               << "got " << what << ", first at expert " << expert << ", row " << row << ", column "
                               << column
                               << "; want finite values; mend the weight or set nonfinite to MOEQ_NONFINITE_SATURATE";
    report.set_place({expert, row, column});
    report.set_class("N01");
    return status;
}

} // namespace moeq
