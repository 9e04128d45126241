// How a part of a stack is read: in chunks of whole scale units, in file order. The same for every number of threads.
#pragma once

#include "store/load/stack_source.h"

namespace moeq::store {

struct Chunk {
    int64_t tensor, offset; // of its first element: where files have it
    Box box;                // of one expert; chunks that are ranges have none
    int64_t begin, end;     // elements in storage order; equal: it is a box

    bool is_range() const { return end > begin; }
    int64_t elements() const { return is_range() ? end - begin : box.rows() * box.columns(); }
};

struct ChunkOrder {
    bool any_rows;  // scales are known, or gathered: rows need not be kept together
    bool by_expert; // all chunks of an expert follow each other
};

// LIMIT where one scale unit is larger than all buffers may be.
[[nodiscard]] moeq_status cut_into_chunks(const StackSource& source, const Geometry& geometry, const ChunkOrder& order,
                                          Array<Chunk>* out, Report& report);

} // namespace moeq::store
