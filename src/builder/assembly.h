// A weight in the making: what is there, what is staged, and how a piece comes in.
//
// A piece goes through four steps. Claim: under the lock, nothing of it may be there or be on its way. Encode: scale units that
// the piece holds whole go straight into the codes and scales. Commit: under the lock, the piece is marked as written and room
// for its remaining parts is set up; memory for both is got outside of the lock beforehand. Stage: the parts are copied, and
// units that became whole are encoded. Whatever fails, fails before the commit, and then the piece was never there.
#pragma once

#include "builder/coverage.h"
#include "builder/staging.h"
#include "core/mutex.h"
#include "device/place.h"

namespace moeq::builder {

// A piece that some thread is writing right now.
struct Pending {
    Box box;
    Pending* next = nullptr;
};

class Assembly {
public:
    Assembly(Allocator& memory, const OpenCall& with) : allocator(memory), open_call(with), staging(memory) {}
    ~Assembly();
    Assembly(const Assembly&) = delete;
    Assembly& operator=(const Assembly&) = delete;

    // What is needed besides `weight`, which must be set: memory for the books, and a copy of amax (on the host; NULL: none is
    // given).
    [[nodiscard]] moeq_status open(const TensorView* given_amax, Report& report);

    // piece: accepted, at a place inside the weight. May run in several threads at once.
    [[nodiscard]] moeq_status write(const TensorView& piece, const Box& box, void* stream, Report& report);

    // Units that a device had no room for when they were whole, and nested statistics; to be called when nothing is missing;
    // again does no harm.
    [[nodiscard]] moeq_status close(void* stream, Report& report);

    // A unit all of whose elements are staged, in the type of the pieces.
    [[nodiscard]] moeq_status encode_staged(StagedUnit* staged, int32_t element_dtype, void* stream, Report& report);

    // What works on the weight, on a stream.
    OpenCall on_stream(void* stream) const
    {
        OpenCall with = open_call;
        with.call.stream = stream;
        return with;
    }

    // visit(Box) for each missing box, in order of place, until it returns false. Experts of which nothing is there follow
    // each other as one. Under the lock.
    template <class Visit>
    void for_each_missing(Visit visit) const;

    const Geometry& geometry() const { return weight.geometry; }
    const TensorView* given_amax() const { return amax.data == nullptr ? nullptr : &amax; }
    int64_t missing_elements() const { return geometry().count() - covered; }
    int64_t staged_bytes() const { return staging.bytes() + nested_bytes(); }
    int64_t nested_bytes() const
    {
        return nested_absmax == nullptr ? 0 : geometry().block_count() * static_cast<int64_t>(sizeof(float));
    }

    Allocator& allocator;
    OpenCall open_call; // for memory, on the stream that the builder was created with
    EncodedWeight weight;
    TensorView amax;                // over own memory of the host; data NULL: none was given
    float* nested_absmax = nullptr; // of every block, until the end; where the weight is
    int64_t staging_limit = 0;      // bytes; 0: none
    uint32_t* status_word = nullptr;

    mutable Mutex mutex;          // guards all below
    Coverage* coverage = nullptr; // of each expert
    Staging staging;
    Pending* pending = nullptr;
    int32_t dtype = 0; // of the pieces; 0: none yet
    int64_t covered = 0;
    int64_t complete_experts = 0;

private:
    uint64_t coverage_bytes() const { return static_cast<uint64_t>(geometry().experts) * sizeof(Coverage); }
    uint64_t amax_bytes() const { return static_cast<uint64_t>(amax.count) * sizeof(float); }
};

template <class Visit>
void Assembly::for_each_missing(Visit visit) const
{
    const Geometry& g = geometry();
    if (g.count() == 0)
        return;
    for (int64_t e = 0; e < g.experts;) {
        int64_t untouched = e;
        while (untouched < g.experts && coverage[untouched].covered() == 0)
            ++untouched;
        bool go_on = true;
        if (untouched > e) {
            go_on = visit(Box{e, untouched, 0, g.rows, 0, g.columns});
            e = untouched;
        } else {
            go_on = coverage[e].for_each_gap(g.rows, g.columns, [&](const Rectangle& gap) {
                return visit(Box{e, e + 1, gap.row_begin, gap.row_end, gap.column_begin, gap.column_end});
            });
            ++e;
        }
        if (!go_on)
            return;
    }
}

} // namespace moeq::builder
