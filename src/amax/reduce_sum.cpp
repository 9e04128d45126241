// The sum. Floats: in fp64, in the one order of codec/sum.h over the elements of each output in logical order. Integers: in
// int64, where the order does not matter, wrapping.
#include <cstddef>
#include <utility>

#include "amax/driver.h"
#include "amax/reduce.h"
#include "amax/source.h"

namespace moeq::amax {

namespace {

constexpr int64_t kSumColumns = 32;
constexpr int64_t kSideBySide = 8; // leaves at a time: one alone would wait for each addition

// One output: elements come in order, in runs of any length.
template <class Source>
class OrderedSum {
public:
    using Stored = typename Source::Stored;

    void add_run(const Stored* first, int64_t count, int64_t stride)
    {
        int64_t i = 0;
        while (i < count) {
            if (filled_ == 0 && count - i >= kSideBySide * codec::kLeafElements) {
                add_whole_leaves(first + i * stride, stride, std::make_index_sequence<kSideBySide>());
                i += kSideBySide * codec::kLeafElements;
                continue;
            }
            const int64_t end = i + minimum(codec::kLeafElements - filled_, count - i);
            filled_ += end - i;
            for (; i < end; ++i)
                leaf_ = codec::add(leaf_, Source::value(first[i * stride]));
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
    // Written out leaf by leaf, so that each sum has a register.
    template <size_t... leaf>
    void add_whole_leaves(const Stored* first, int64_t stride, std::index_sequence<leaf...>)
    {
        const int64_t step = codec::kLeafElements * stride;
        double sums[kSideBySide] = {};
        for (int64_t i = 0; i < codec::kLeafElements; ++i, first += stride)
            ((sums[leaf] = codec::add(sums[leaf], Source::value(first[static_cast<int64_t>(leaf) * step]))), ...);
        (tree_.add_leaf(sums[leaf]), ...);
    }

    void close_leaf()
    {
        tree_.add_leaf(leaf_);
        leaf_ = 0.0;
        filled_ = 0;
    }

    codec::PairwiseSum tree_;
    double leaf_ = 0.0;
    int64_t filled_ = 0;
};

// Several outputs side by side, each one as codec::PairwiseSum does it: their counts of leaves are the same at any time.
template <class Source>
class OrderedSums {
public:
    using Stored = typename Source::Stored;

    explicit OrderedSums(int64_t width) : width_(width) {}

    void add_row(const Stored* first, int64_t stride)
    {
        if (width_ == kSumColumns && stride == 1)
            for (int64_t i = 0; i < kSumColumns; ++i)
                leaf_[i] = codec::add(leaf_[i], Source::value(first[i]));
        else
            for (int64_t i = 0; i < width_; ++i)
                leaf_[i] = codec::add(leaf_[i], Source::value(first[i * stride]));
        if (++filled_ == codec::kLeafElements)
            close_leaf();
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
    static constexpr int32_t kLevels = 56; // as many as codec::PairwiseSum has

    void close_leaf()
    {
        int32_t level = 0;
        for (; (leaves_ >> level & 1) != 0; ++level)
            for (int64_t i = 0; i < width_; ++i)
                leaf_[i] = codec::add(waiting_[level][i], leaf_[i]);
        for (int64_t i = 0; i < width_; ++i) {
            waiting_[level][i] = leaf_[i];
            leaf_[i] = 0.0;
        }
        ++leaves_;
        filled_ = 0;
    }

    int64_t width_;
    double leaf_[kSumColumns] = {};
    int64_t filled_ = 0;
    uint64_t leaves_ = 0;
    double waiting_[kLevels][kSumColumns]; // a level is written before it is read
};

template <class Source>
class FloatSum {
public:
    using Value = double;
    static constexpr int64_t kColumns = kSumColumns;
    static constexpr bool kNeighbours = false;

    explicit FloatSum(const Plan& plan) : source_(reinterpret_cast<const Stored*>(plan.source)) {}

    void reduce(const Tile& tile, int64_t begin, int64_t end, double* out) const
    {
        RunCursor cursor(tile, begin, end);
        Run run;
        if (tile.width == 1) {
            OrderedSum<Source> sum;
            while (cursor.next(&run))
                sum.add_run(source_ + run.offset, run.count, run.stride);
            out[0] = sum.result();
            return;
        }
        OrderedSums<Source> sums(tile.width);
        while (cursor.next(&run))
            for (int64_t i = 0; i < run.count; ++i)
                sums.add_row(source_ + run.offset + i * run.stride, tile.source_stride);
        sums.result(out);
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

moeq_status reduce_sum(const Plan& plan, const Executor& executor, std::atomic<uint32_t>& seen, Report& report)
{
    const auto floats = [&](auto source) {
        return reduce_with(plan, FloatSum<decltype(source)>(plan), executor, seen, report);
    };
    const auto integers = [&](auto source) {
        return reduce_with(plan, IntegerSum<typename decltype(source)::Stored>(plan), executor, seen, report);
    };
    return visit_source(plan.source_dtype, floats, integers);
}

} // namespace moeq::amax
