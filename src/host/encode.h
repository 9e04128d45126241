// From source elements to codes and scales. The whole weight, or any part of it that consists of whole scale units, through
// the same functions, so that pieces give the bytes of the whole.
#pragma once

#include "cpu/stores.h"
#include "formats/findings.h"
#include "formats/patch.h"
#include "host/engine.h"

namespace moeq {

// The elements of a box as ranges of runs, as few and as long as they can be; all of one length.
struct RunSegments {
    RunSegments(const Geometry& geometry, const Box& box);

    struct Segment {
        int64_t run, begin, end;
        Place first; // of the weight, at `begin`
    };
    Segment operator[](int64_t i) const;

    int64_t count;
    int64_t length;

private:
    const Geometry& g_;
    Box box_;
    int64_t rows_; // segments of one expert: 1 where its rows follow each other
};

// Whole blocks of a segment: [begin, end), empty when begin >= end.
inline void whole_blocks(const Geometry& g, const RunSegments::Segment& segment, int64_t* begin, int64_t* end)
{
    *begin = ceil_divide(segment.begin, g.block) * g.block;
    *end = segment.end == g.run_length ? segment.end : round_down(segment.end, g.block);
}

// The whole weight. amax: NULL, or a finite amax >= 0 for each expert (EXPERT granularity). absmax_staging: for nested
// statistics, room for one fp32 per block; NULL: the source is read again instead. Parallel; allocates nothing.
[[nodiscard]] moeq_status encode_weight(const Engine& engine, const EncodedWeight& weight, const StackView& source,
                                        const TensorView* amax, float* absmax_staging, Findings& findings,
                                        Report& report);

// The scale units that lie wholly inside a box of a patch; what is not whole is left out. With amax: the whole box.
// absmax_staging as above, but where nested statistics have none they are dropped. Parallel; allocates nothing.
[[nodiscard]] moeq_status encode_whole_units(const Engine& engine, const EncodedWeight& weight, const Patch& patch,
                                             const TensorView* amax, float* absmax_staging, Findings& findings,
                                             Report& report);

// Units that are tiles: columns of a task where each has a scale. So few that a last-level cache may keep them between the
// two passes over them, but not so few that memory is read in short stretches, which costs more.
constexpr int64_t kColumnBand = 1536;

// Units that are tiles: a box that ends where scale units end (with amax: any box). Serial. `amax` as above.
void encode_box(const Engine& engine, const EncodedWeight& weight, const Patch& patch, const Box& box,
                const TensorView* amax, Findings& findings, cpu::Stores stores = cpu::kCached);

// The same where every column has a scale: all rows of some columns.
void encode_columns_of_box(const Engine& engine, const EncodedWeight& weight, const Patch& patch, const Box& box,
                           Findings& findings, cpu::Stores stores);

// Units that are tiles, one scale per expert, in two passes whose parts may be done in any order: first the magnitudes of
// every part of an expert, gathered as bits where its scale will be, then the codes of every part. store_gathered_scale turns
// the bits into the scale at the end.
void gather_amax(const Engine& engine, const EncodedWeight& weight, const Patch& patch, const Box& box,
                 Findings& findings);
void encode_gathered(const Engine& engine, const EncodedWeight& weight, const Patch& patch, const Box& box,
                     Findings& findings, cpu::Stores stores);
void store_gathered_scale(const EncodedWeight& weight, int64_t expert);

// Units that are runs: elements [begin, end) of a run, begin on a block's border, end too or the run's end, all inside the
// patch. absmax: where the statistics go, that of the block at `begin` first. Serial.
void encode_run(const Engine& engine, const EncodedWeight& weight, const Patch& patch, int64_t run, int64_t begin,
                int64_t end, float* absmax, Findings& findings, cpu::Stores stores = cpu::kCached);

// The same, with the statistics to where they belong: in the weight, or in absmax_staging, for all blocks of it, where they will
// be nested. Nested without staging: they are dropped.
void encode_run_part(const Engine& engine, const EncodedWeight& weight, const Patch& patch, int64_t run, int64_t begin,
                     int64_t end, float* absmax_staging, Findings& findings, cpu::Stores stores = cpu::kCached);

// Statistics of blocks [first, first + count) of a run into a weight that is not nested, as it stores them.
void store_block_statistics(const EncodedWeight& weight, int64_t run, int64_t first, int64_t count,
                            const float* statistics);

// Units that are runs: one block from `count` contiguous elements of a type, for the run's element `begin` on. Serial.
void encode_lone_block(const Engine& engine, const EncodedWeight& weight, int32_t dtype, const void* elements,
                       int64_t run, int64_t begin, int64_t count, float* absmax, Findings& findings);

// Units that are runs: the statistics of blocks [first, first + count) of all runs in order, computed anew from the source.
// Serial.
void read_block_statistics(const Engine& engine, const EncodedWeight& weight, const Patch& patch, int64_t first,
                           int64_t count, float* absmax);

// Writes the factor or absmax of every expert from given amax values.
void store_given_scales(const EncodedWeight& weight, const TensorView& amax);

// Units that are tiles: the statistics of a weight without elements, whose scale units (rows of no columns) are still
// there.
void store_zero_scales(const EncodedWeight& weight);

// Looks for NaN and Inf in a box of a patch; for the refusing policy before anything is touched. Serial.
void find_nonfinite(const Engine& engine, const Geometry& geometry, const Patch& patch, const Box& box,
                    Findings& findings);

} // namespace moeq
