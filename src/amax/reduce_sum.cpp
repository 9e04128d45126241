// The sum. Floats: in fp64, in the one order of codec/lane_sum.h over the elements of each output in logical order. Integers: in
// int64, where the order does not matter, wrapping.
#include <cstddef>
#include <utility>

#include "amax/driver.h"
#include "amax/reduce.h"
#include "amax/source.h"
#include "codec/lane_sum.h"

namespace moeq::amax {

namespace {

constexpr int64_t kSumColumns = cpu::kSumColumns;

// `count` times 16 elements, so many `step` and `stride` apart, one of each 16 to each of 16 sums, for what has no kernel. Half of
// the sums at a time, written out one by one, so that each has a register.
template <class Source, size_t... sum>
void add_eights(const typename Source::Stored* first, int64_t count, int64_t step, int64_t stride, double* sums,
                std::index_sequence<sum...>)
{
    double apart[] = {sums[sum]...};
    for (int64_t k = 0; k < count; ++k, first += step)
        ((apart[sum] = codec::add(apart[sum], Source::value(first[static_cast<int64_t>(sum) * stride]))), ...);
    ((sums[sum] = apart[sum]), ...);
}
template <class Source>
void add_sixteens(const typename Source::Stored* first, int64_t count, int64_t step, int64_t stride, double* sums)
{
    constexpr auto kHalf = std::make_index_sequence<codec::kSumLanes / 2>();
    add_eights<Source>(first, count, step, stride, sums, kHalf);
    add_eights<Source>(first + codec::kSumLanes / 2 * stride, count, step, stride, sums + codec::kSumLanes / 2, kHalf);
}

// One output: elements come in order, in runs of any length.
template <class Source>
class OrderedSum {
public:
    using Stored = typename Source::Stored;

    explicit OrderedSum(const cpu::Kernels& kernels) : kernels_(kernels) {}

    void add_run(const Stored* first, int64_t count, int64_t stride)
    {
        int64_t i = 0;
        while (i < count) {
            if (filled_ == 0 && stride == 1 && has_kernels() && count - i >= codec::kLeafElements) {
                i += add_whole_leaves(first + i, (count - i) / codec::kLeafElements);
                continue;
            }
            const int64_t some = minimum(codec::kLeafElements - filled_, count - i);
            add_to_leaf(first + i * stride, some, stride);
            i += some;
            filled_ += some;
            if (filled_ == codec::kLeafElements)
                close_leaf();
        }
    }

    double result()
    {
        if (filled_ > 0)
            close_leaf();
        return tree_.result();
    }

private:
    static constexpr bool has_kernels() { return Source::kKernel != kNoKernel; }

    void add_to_leaf(const Stored* first, int64_t count, int64_t stride)
    {
        const int64_t whole = filled_ % codec::kSumLanes == 0 ? round_down(count, codec::kSumLanes) : 0;
        int64_t i = 0;
        if constexpr (has_kernels())
            if (stride == 1 && whole > 0) {
                kernels_.sum_lanes[Source::kKernel](first, whole / codec::kSumLanes, lanes_);
                i = whole;
            }
        if (i < whole) {
            add_sixteens<Source>(first, whole / codec::kSumLanes, codec::kSumLanes * stride, stride, lanes_);
            i = whole;
        }
        for (; i < count; ++i) {
            double& lane = lanes_[(filled_ + i) % codec::kSumLanes];
            lane = codec::add(lane, Source::value(first[i * stride]));
        }
    }

    // Some of so many; how many elements they have.
    int64_t add_whole_leaves(const Stored* first, int64_t leaves)
    {
        constexpr int64_t kSome = 64;
        double sums[kSome];
        const int64_t some = minimum(kSome, leaves);
        if constexpr (has_kernels())
            kernels_.sum_leaves[Source::kKernel](first, some, sums);
        for (int64_t i = 0; i < some; ++i)
            tree_.add_leaf(sums[i]);
        return some * codec::kLeafElements;
    }

    void close_leaf()
    {
        tree_.add_leaf(codec::join_lanes(lanes_));
        for (double& lane : lanes_)
            lane = 0.0;
        filled_ = 0;
    }

    const cpu::Kernels& kernels_;
    codec::PairwiseSum tree_;
    double lanes_[codec::kSumLanes] = {};
    int64_t filled_ = 0;
};

// Several outputs side by side, each one as OrderedSum does it: their counts of leaves are the same at any time.
template <class Source>
class OrderedSums {
public:
    using Stored = typename Source::Stored;

    OrderedSums(const cpu::Kernels& kernels, int64_t width) : kernels_(kernels), width_(width) {}

    // Rows so many elements apart, of elements `stride` apart.
    void add_rows(const Stored* first, int64_t rows, int64_t pitch, int64_t stride)
    {
        for (int64_t r = 0; r < rows;) {
            const int64_t some = minimum(codec::kLeafElements - filled_, rows - r);
            add_to_leaf(first + r * pitch, some, pitch, stride);
            r += some;
            filled_ += some;
            if (filled_ == codec::kLeafElements)
                close_leaf();
        }
    }

    void result(double* out)
    {
        if (filled_ > 0)
            close_leaf();
        bool empty = true;
        for (int64_t i = 0; i < width_; ++i)
            out[i] = 0.0;
        for (int32_t level = 0; level < kLevels; ++level) {
            if ((leaves_ >> level & 1) == 0)
                continue;
            for (int64_t i = 0; i < width_; ++i)
                out[i] = empty ? waiting_[level][i] : codec::add(waiting_[level][i], out[i]);
            empty = false;
        }
    }

private:
    static constexpr int32_t kLevels = 40; // 2^48 rows

    void add_to_leaf(const Stored* first, int64_t rows, int64_t pitch, int64_t stride)
    {
        if constexpr (Source::kKernel != kNoKernel) {
            if (stride == 1) {
                constexpr int64_t kBytes = sizeof(Stored);
                kernels_.sum_columns[Source::kKernel](first, {rows, width_, pitch * kBytes, 0}, filled_, lanes_[0]);
                return;
            }
        }
        // The rows of a lane are 16 apart.
        for (int64_t r = 0; r < minimum(rows, codec::kSumLanes); ++r) {
            double* lane = lanes_[(filled_ + r) % codec::kSumLanes];
            const Stored* row = first + r * pitch;
            const int64_t count = ceil_divide(rows - r, codec::kSumLanes);
            const int64_t step = codec::kSumLanes * pitch;
            int64_t i = 0;
            for (; i + codec::kSumLanes <= width_; i += codec::kSumLanes)
                add_sixteens<Source>(row + i * stride, count, step, stride, lane + i);
            for (; i < width_; ++i)
                for (int64_t k = 0; k < count; ++k)
                    lane[i] = codec::add(lane[i], Source::value(row[k * step + i * stride]));
        }
    }

    void close_leaf()
    {
        double leaf[kSumColumns];
        for (int64_t i = 0; i < width_; ++i) {
            double lanes[codec::kSumLanes];
            for (int64_t lane = 0; lane < codec::kSumLanes; ++lane) {
                lanes[lane] = lanes_[lane][i];
                lanes_[lane][i] = 0.0;
            }
            leaf[i] = codec::join_lanes(lanes);
        }
        int32_t level = 0;
        for (; (leaves_ >> level & 1) != 0; ++level)
            for (int64_t i = 0; i < width_; ++i)
                leaf[i] = codec::add(waiting_[level][i], leaf[i]);
        for (int64_t i = 0; i < width_; ++i)
            waiting_[level][i] = leaf[i];
        ++leaves_;
        filled_ = 0;
    }

    const cpu::Kernels& kernels_;
    int64_t width_;
    double lanes_[codec::kSumLanes][kSumColumns] = {};
    int64_t filled_ = 0;
    uint64_t leaves_ = 0;
    double waiting_[kLevels][kSumColumns]; // a level is written before it is read
};

template <class Source>
class FloatSum {
public:
    using Value = double;
    static constexpr int64_t kColumns = kSumColumns;
    static constexpr bool kNeighbours = true;

    FloatSum(const Plan& plan, const cpu::Kernels& kernels)
        : source_(reinterpret_cast<const Stored*>(plan.source)), kernels_(kernels)
    {
    }

    void reduce(const Tile& tile, int64_t begin, int64_t end, double* out) const
    {
        RunCursor cursor(tile, begin, end);
        Run run;
        if (tile.width == 1) {
            OrderedSum<Source> sum(kernels_);
            while (cursor.next(&run))
                sum.add_run(source_ + run.offset, run.count, run.stride);
            out[0] = sum.result();
            return;
        }
        OrderedSums<Source> sums(kernels_, tile.width);
        while (cursor.next(&run))
            sums.add_rows(source_ + run.offset, run.count, run.stride, tile.source_stride);
        sums.result(out);
    }

    void reduce_neighbours(const Plan& plan, int64_t first, int64_t count, double* out) const
    {
        for (int64_t i = 0; i < count; ++i) {
            const bool shorter = plan.kept[0].last_block != 0 && first + i + 1 == plan.outputs;
            OrderedSum<Source> sum(kernels_);
            sum.add_run(source_ + (first + i) * plan.elements, shorter ? plan.kept[0].last_block : plan.elements, 1);
            out[i] = sum.result();
        }
    }

    // Chunks are whole subtrees, which join among themselves as leaves do; a last one that is shorter joins by the same
    // additions, from the right.
    static double join(const double* chunks, int64_t count)
    {
        codec::PairwiseSum tree;
        for (int64_t i = 0; i < count; ++i)
            tree.add_leaf(chunks[i]);
        return tree.result();
    }

    static double result(double value) { return value; }

private:
    using Stored = typename Source::Stored;
    const Stored* source_;
    const cpu::Kernels& kernels_;
};

template <class T>
class IntegerSum {
public:
    using Value = uint64_t; // two's complement
    static constexpr int64_t kColumns = kSumColumns;
    static constexpr bool kNeighbours = false;

    explicit IntegerSum(const Plan& plan) : source_(reinterpret_cast<const T*>(plan.source)) {}

    void reduce(const Tile& tile, int64_t begin, int64_t end, Value* out) const
    {
        for (int64_t i = 0; i < tile.width; ++i)
            out[i] = 0;
        RunCursor cursor(tile, begin, end);
        Run run;
        while (cursor.next(&run))
            for (int64_t i = 0; i < run.count; ++i) {
                const T* row = source_ + run.offset + i * run.stride;
                for (int64_t j = 0; j < tile.width; ++j)
                    out[j] += static_cast<uint64_t>(static_cast<int64_t>(row[j * tile.source_stride]));
            }
    }

    static Value join(const Value* chunks, int64_t count)
    {
        Value value = 0;
        for (int64_t i = 0; i < count; ++i)
            value += chunks[i];
        return value;
    }

    static __int128 result(Value value) { return static_cast<int64_t>(value); }

private:
    const T* source_;
};

} // namespace

moeq_status reduce_sum(const Plan& plan, const cpu::Kernels& kernels, const Executor& executor,
                       std::atomic<uint32_t>& seen, Report& report)
{
    const auto floats = [&](auto source) {
        return reduce_with(plan, FloatSum<decltype(source)>(plan, kernels), executor, seen, report);
    };
    const auto integers = [&](auto source) {
        return reduce_with(plan, IntegerSum<typename decltype(source)::Stored>(plan), executor, seen, report);
    };
    return visit_source(plan.source_dtype, floats, integers);
}

} // namespace moeq::amax
