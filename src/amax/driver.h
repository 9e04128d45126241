// Shares a reduction among tasks. Either tiles of outputs are the tasks, or, where there are too few of them, chunks of the
// reduced elements too: each chunk leaves one partial value per output on the stack, and these are joined in order at the
// end. The result does not depend on which of the two is done, nor on the size of chunks.
//
// An Operation has
//     Value                                                a partial result of one output
//     kColumns                                             the most outputs that it takes side by side
//     void reduce(tile, begin, end, Value *out)            elements [begin, end) of each output of the tile
//     kNeighbours                                          whether it has reduce_neighbours(plan, first, count, Value *): the
//                                                          outputs of a plan whose are_neighbours() is true
//     static Value join(const Value *chunks, count)        in order; all but the last have the same power of two of leaves
//     result(Value)                                        exact: a double, or an __int128
#pragma once

#include <atomic>
#include <cstdint>

#include "amax/result.h"
#include "amax/walker.h"
#include "codec/sum.h"
#include "core/parallel.h"

namespace moeq::amax {

constexpr int64_t kTaskElements = int64_t{1} << 18; // some tens of microseconds
constexpr int64_t kEnoughTiles = 256;               // tasks for any machine
constexpr int64_t kPartialBytes = 32768;            // of the caller's stack

struct Schedule {
    int64_t tiles;
    int64_t tiles_per_task;
    int64_t chunks;         // per tile
    int64_t chunk_elements; // kLeafElements times a power of two
};

inline Schedule make_schedule(const Plan& plan, int64_t columns, int64_t partials)
{
    Schedule schedule{TileCursor::count(plan, columns), 1, 1, codec::kLeafElements};
    const int64_t width = minimum(columns, plan.across.extent);
    schedule.tiles_per_task = maximum(1, kTaskElements / maximum(1, width * minimum(plan.elements, kTaskElements)));
    if (schedule.tiles >= kEnoughTiles || plan.elements == 0 || plan.outputs > partials)
        return schedule;
    const auto chunks = [&] { return ceil_divide(plan.elements, schedule.chunk_elements); };
    while (chunks() > 1 && (schedule.chunk_elements * width < kTaskElements || chunks() > partials / plan.outputs))
        schedule.chunk_elements *= 2;
    schedule.chunks = chunks();
    if (schedule.chunks > 1)
        schedule.tiles_per_task = 1;
    return schedule;
}

// Results to elements of the destination, `stride` elements from one to the next.
template <class Operation>
uint32_t store_values(const Plan& plan, const Operation& operation, const typename Operation::Value* values,
                      int64_t count, int64_t offset, int64_t stride)
{
    constexpr int64_t kSome = 64;
    const int64_t itemsize = dtype_bytes(plan.destination_dtype);
    decltype(operation.result(*values)) exact[kSome];
    uint32_t seen = 0;
    for (int64_t begin = 0; begin < count; begin += kSome) {
        const int64_t some = minimum(kSome, count - begin);
        for (int64_t i = 0; i < some; ++i)
            exact[i] = operation.result(values[begin + i]);
        seen |= store_results(plan, exact, some, plan.destination + (offset + begin * stride) * itemsize, stride);
    }
    return seen;
}

template <class Operation>
uint32_t store_tile(const Plan& plan, const Operation& operation, const Tile& tile,
                    const typename Operation::Value* values)
{
    return store_values(plan, operation, values, tile.width, tile.destination_offset, tile.destination_stride);
}

// Tiles [first, first + count) of a plan of neighbours, each of which is one output.
template <class Operation>
uint32_t reduce_neighbours(const Plan& plan, const Operation& operation, int64_t first, int64_t count)
{
    const int64_t stride = plan.kept[0].destination_stride;
    uint32_t seen = 0;
    for (int64_t done = 0; done < count; done += Operation::kColumns) {
        typename Operation::Value values[Operation::kColumns];
        const int64_t some = minimum(Operation::kColumns, count - done);
        operation.reduce_neighbours(plan, first + done, some, values);
        seen |= store_values(plan, operation, values, some, (first + done) * stride, stride);
    }
    return seen;
}

template <class Operation>
uint32_t reduce_some_tiles(const Plan& plan, const Operation& operation, int64_t first, int64_t count)
{
    if constexpr (Operation::kNeighbours)
        if (plan.are_neighbours())
            return reduce_neighbours(plan, operation, first, count);
    TileCursor cursor(plan, Operation::kColumns, first);
    uint32_t seen = 0;
    for (int64_t i = 0; i < count; ++i, cursor.advance()) {
        typename Operation::Value values[Operation::kColumns];
        operation.reduce(cursor.tile(), 0, cursor.tile().elements, values);
        seen |= store_tile(plan, operation, cursor.tile(), values);
    }
    return seen;
}

// Tasks of whole tiles.
template <class Operation>
moeq_status reduce_tiles(const Plan& plan, const Operation& operation, const Schedule& schedule,
                         const Executor& executor, std::atomic<uint32_t>& seen, Report& report)
{
    auto body = [&](int64_t task) {
        const int64_t first = task * schedule.tiles_per_task;
        const int64_t count = minimum(schedule.tiles_per_task, schedule.tiles - first);
        seen.fetch_or(reduce_some_tiles(plan, operation, first, count), std::memory_order_relaxed);
    };
    return executor.for_each(ceil_divide(schedule.tiles, schedule.tiles_per_task), body, report);
}

// Tasks of one chunk of one tile.
template <class Operation>
moeq_status reduce_chunks(const Plan& plan, const Operation& operation, const Schedule& schedule,
                          const Executor& executor, std::atomic<uint32_t>& seen, Report& report)
{
    using Value = typename Operation::Value;
    Value partials[kPartialBytes / sizeof(Value)]; // [output][chunk]
    auto body = [&](int64_t task) {
        const TileCursor cursor(plan, Operation::kColumns, task / schedule.chunks);
        const Tile& tile = cursor.tile();
        const int64_t chunk = task % schedule.chunks;
        const int64_t begin = minimum(chunk * schedule.chunk_elements, tile.elements);
        const int64_t end = minimum(begin + schedule.chunk_elements, tile.elements);
        Value values[Operation::kColumns];
        operation.reduce(tile, begin, end, values);
        for (int64_t i = 0; i < tile.width; ++i)
            partials[(tile.first_output + i) * schedule.chunks + chunk] = values[i];
    };
    const moeq_status status = executor.for_each(schedule.tiles * schedule.chunks, body, report);
    if (status != MOEQ_OK)
        return status;
    uint32_t bits = 0;
    TileCursor cursor(plan, Operation::kColumns, 0);
    for (int64_t i = 0; i < schedule.tiles; ++i, cursor.advance()) {
        const Tile& tile = cursor.tile();
        const int64_t chunks = ceil_divide(tile.elements, schedule.chunk_elements); // a shorter block has fewer
        Value values[Operation::kColumns];
        for (int64_t j = 0; j < tile.width; ++j)
            values[j] = Operation::join(partials + (tile.first_output + j) * schedule.chunks, chunks);
        bits |= store_tile(plan, operation, tile, values);
    }
    seen.fetch_or(bits, std::memory_order_relaxed);
    return MOEQ_OK;
}

template <class Operation>
moeq_status reduce_with(const Plan& plan, const Operation& operation, const Executor& executor,
                        std::atomic<uint32_t>& seen, Report& report)
{
    constexpr int64_t kPartials = kPartialBytes / static_cast<int64_t>(sizeof(typename Operation::Value));
    const Schedule schedule = make_schedule(plan, Operation::kColumns, kPartials);
    return schedule.chunks == 1 ? reduce_tiles(plan, operation, schedule, executor, seen, report)
                                : reduce_chunks(plan, operation, schedule, executor, seen, report);
}

} // namespace moeq::amax
