// Sums of leaves and of columns in the order of codec/lane_sum.h, over a tier's registers of doubles:
//   Vector, kRegisters      how many of them hold 16
//   zero(), add(a, b), load(at), store(at, v)
//   widen<type>(at, v)      16 elements in their order
//   widen_any<type>(at, v)  16 elements in an order that is cheaper to have
//   join<type>(v)           codec::join_lanes of sums in that order
//   fetch(at)               asks for a cache line
// Everything here has internal linkage, as tiers are compiled for different processors.
#pragma once

#include "codec/lane_sum.h"
#include "cpu/elements.h"

namespace moeq::cpu {

namespace {

// So far ahead elements are asked for, in bytes.
constexpr int64_t kSumAhead = 2048;

// `side_by_side` leaves, whose additions need not wait for each other.
template <FloatType type, class Ops, uint64_t side_by_side>
MOEQ_TIER_INLINE void sum_some_leaves(const char* at, double* sums)
{
    typename Ops::Vector lanes[side_by_side][Ops::kRegisters];
    for (uint64_t leaf = 0; leaf < side_by_side; ++leaf)
        for (int part = 0; part < Ops::kRegisters; ++part)
            lanes[leaf][part] = Ops::zero();
    constexpr int64_t kStep = codec::kSumLanes * kElementBytes<type>;
    for (int64_t i = 0; i < codec::kLeafElements; i += codec::kSumLanes, at += kStep)
        for (uint64_t leaf = 0; leaf < side_by_side; ++leaf) {
            const char* from = at + static_cast<int64_t>(leaf) * codec::kLeafElements * kElementBytes<type>;
            Ops::fetch(from + kSumAhead);
            typename Ops::Vector x[Ops::kRegisters];
            Ops::template widen_any<type>(from, x);
            for (int part = 0; part < Ops::kRegisters; ++part)
                lanes[leaf][part] = Ops::add(lanes[leaf][part], x[part]);
        }
    for (uint64_t leaf = 0; leaf < side_by_side; ++leaf)
        sums[leaf] = Ops::template join<type>(lanes[leaf]);
}

template <FloatType type, class Ops>
void sum_leaves(const void* source, int64_t leaves, double* sums)
{
    constexpr int64_t kBytes = codec::kLeafElements * kElementBytes<type>;
    const char* at = static_cast<const char*>(source);
    int64_t i = 0;
    for (; i + 2 <= leaves; i += 2)
        sum_some_leaves<type, Ops, 2>(at + i * kBytes, sums + i);
    if (i < leaves)
        sum_some_leaves<type, Ops, 1>(at + i * kBytes, sums + i);
}

template <FloatType type, class Ops>
void sum_lanes(const void* source, int64_t groups, double* lanes)
{
    constexpr int kLanes = static_cast<int>(codec::kSumLanes) / Ops::kRegisters;
    typename Ops::Vector sums[Ops::kRegisters];
    for (int part = 0; part < Ops::kRegisters; ++part)
        sums[part] = Ops::load(lanes + part * kLanes);
    for (int64_t i = 0; i < groups; ++i) {
        typename Ops::Vector x[Ops::kRegisters];
        Ops::template widen<type>(element_at<type>(source, i * codec::kSumLanes), x);
        for (int part = 0; part < Ops::kRegisters; ++part)
            sums[part] = Ops::add(sums[part], x[part]);
    }
    for (int part = 0; part < Ops::kRegisters; ++part)
        Ops::store(lanes + part * kLanes, sums[part]);
}

// 16 columns of so many rows, one lane of each: `step` bytes from one row to the next.
template <FloatType type, class Ops, int rows>
MOEQ_TIER_INLINE void sum_columns16(const char* at, int64_t step, double* lane)
{
    typename Ops::Vector sums[Ops::kRegisters];
    constexpr int kLanes = static_cast<int>(codec::kSumLanes) / Ops::kRegisters;
    for (int part = 0; part < Ops::kRegisters; ++part)
        sums[part] = Ops::load(lane + part * kLanes);
    for (int row = 0; row < rows; ++row, at += step) {
        typename Ops::Vector x[Ops::kRegisters];
        Ops::template widen<type>(at, x);
        for (int part = 0; part < Ops::kRegisters; ++part)
            sums[part] = Ops::add(sums[part], x[part]);
    }
    for (int part = 0; part < Ops::kRegisters; ++part)
        Ops::store(lane + part * kLanes, sums[part]);
}

template <FloatType type, class Ops, int rows>
MOEQ_TIER_INLINE void sum_lane(const char* at, int64_t step, int64_t columns, double* lane)
{
    int64_t c = 0;
    for (; c + codec::kSumLanes <= columns; c += codec::kSumLanes)
        sum_columns16<type, Ops, rows>(at + c * kElementBytes<type>, step, lane + c);
    if (c == columns)
        return;
    for (int row = 0; row < rows; ++row) {
        Padded<kElementBytes<type>> rest; // zeros change nothing of what columns beyond have
        rest.fill(at + row * step + c * kElementBytes<type>, columns - c);
        sum_columns16<type, Ops, 1>(reinterpret_cast<const char*>(rest.at), 0, lane + c);
    }
}

template <FloatType type, class Ops>
void sum_columns(const void* source, const Rectangle& area, int64_t first, double* lanes)
{
    constexpr int kRows = 4; // of one lane at a time: so the sums are loaded and stored less often
    constexpr int64_t kTurn = kRows * codec::kSumLanes;
    const char* at = static_cast<const char*>(source);
    const int64_t pitch = area.element_pitch;
    int64_t r = 0;
    while (r < area.rows) {
        const int64_t lane = (first + r) % codec::kSumLanes;
        if (lane != 0 || area.rows - r < kTurn) {
            sum_lane<type, Ops, 1>(at + r * pitch, 0, area.columns, lanes + lane * kSumColumns);
            ++r;
            continue;
        }
        for (int64_t i = 0; i < codec::kSumLanes; ++i) {
            const char* row = at + (r + i) * pitch;
            for (int64_t j = 1; j <= kRows; ++j) // what comes two turns of this loop later
                for (int64_t line = 0; line < area.columns * kElementBytes<type>; line += 64)
                    Ops::fetch(row + 2 * pitch + (j - 1) * codec::kSumLanes * pitch + line);
            sum_lane<type, Ops, kRows>(row, codec::kSumLanes * pitch, area.columns, lanes + i * kSumColumns);
        }
        r += kTurn;
    }
}

template <class Ops>
void fill_sums(Kernels* kernels)
{
    kernels->sum_leaves[kFp32] = sum_leaves<kFp32, Ops>;
    kernels->sum_leaves[kFp16] = sum_leaves<kFp16, Ops>;
    kernels->sum_leaves[kBf16] = sum_leaves<kBf16, Ops>;
    kernels->sum_lanes[kFp32] = sum_lanes<kFp32, Ops>;
    kernels->sum_lanes[kFp16] = sum_lanes<kFp16, Ops>;
    kernels->sum_lanes[kBf16] = sum_lanes<kBf16, Ops>;
    kernels->sum_columns[kFp32] = sum_columns<kFp32, Ops>;
    kernels->sum_columns[kFp16] = sum_columns<kFp16, Ops>;
    kernels->sum_columns[kBf16] = sum_columns<kBf16, Ops>;
}

} // namespace

} // namespace moeq::cpu
