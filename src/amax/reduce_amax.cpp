// The largest magnitude. Floats: the maximum of magnitude bits, exact and independent of order; NaN is larger than Inf.
// Integers: from the smallest and the largest element, so that |-128| is 128, or wraps where that is asked for.
#include <cstring>
#include <limits>
#include <type_traits>

#include "amax/driver.h"
#include "amax/reduce.h"
#include "amax/source.h"

namespace moeq::amax {

namespace {

template <class T>
constexpr T larger(T a, T b)
{
    return a > b ? a : b;
}
template <class T>
constexpr T smaller(T a, T b)
{
    return a < b ? a : b;
}

constexpr int64_t kAmaxColumns = 1024;

template <class Source>
class FloatAmax {
public:
    using Value = typename Source::Magnitude;
    static constexpr int64_t kColumns = kAmaxColumns;
    static constexpr bool kNeighbours = Source::kKernel != kNoKernel;

    FloatAmax(const Plan& plan, const cpu::Kernels& kernels)
        : source_(reinterpret_cast<const Stored*>(plan.source)), kernels_(kernels)
    {
    }

    void reduce(const Tile& tile, int64_t begin, int64_t end, Value* out) const
    {
        for (int64_t i = 0; i < tile.width; ++i)
            out[i] = 0;
        if (tile.width == 1 && rectangle(tile, begin, end, out))
            return;
        RunCursor cursor(tile, begin, end);
        Run run;
        while (cursor.next(&run)) {
            if (tile.width == 1)
                out[0] = larger(out[0], along(source_ + run.offset, run.count, run.stride));
            else
                side_by_side(tile, run, out);
        }
    }

    void reduce_neighbours(const Plan& plan, int64_t first, int64_t count, Value* out) const
    {
        const int64_t block = plan.elements;
        const bool shorter = plan.kept[0].last_block != 0 && first + count == plan.outputs;
        const int64_t elements = count * block - (shorter ? block - plan.kept[0].last_block : 0);
        float magnitudes[kColumns];
        kernels_.amax_blocks[Source::kKernel](source_ + first * block, elements, block, magnitudes);
        std::memcpy(out, magnitudes, static_cast<uint64_t>(count) * sizeof *out);
    }

    static Value join(const Value* chunks, int64_t count)
    {
        Value value = 0;
        for (int64_t i = 0; i < count; ++i)
            value = larger(value, chunks[i]);
        return value;
    }

    static double result(Value value) { return Source::magnitude_value(value); }

private:
    using Stored = typename Source::Stored;

    Value along(const Stored* first, int64_t count, int64_t stride) const
    {
        if (stride == 1)
            return contiguous(first, count);
        Value value = 0;
        for (int64_t i = 0; i < count; ++i)
            value = larger(value, Source::magnitude(first[i * stride]));
        return value;
    }

    Value contiguous(const Stored* first, int64_t count) const
    {
        if constexpr (Source::kKernel != kNoKernel) {
            return kernels_.amax[Source::kKernel](first, count);
        } else {
            constexpr uint64_t kLanes = 32 / sizeof(Stored); // a fixed count, which compilers turn into vectors
            constexpr int64_t kStep = kLanes;
            Value lanes[kLanes] = {};
            int64_t i = 0;
            for (; i + kStep <= count; i += kStep) {
                const Stored* group = first + i;
                for (uint64_t lane = 0; lane < kLanes; ++lane)
                    lanes[lane] = larger(lanes[lane], Source::magnitude(group[lane]));
            }
            Value value = join(lanes, kStep);
            for (; i < count; ++i)
                value = larger(value, Source::magnitude(first[i]));
            return value;
        }
    }

    // One output whose elements are rows of some that follow each other: true where this was done.
    bool rectangle(const Tile& tile, int64_t begin, int64_t end, Value* out) const
    {
        if constexpr (Source::kKernel == kNoKernel) {
            return false;
        } else {
            if (tile.reduced_count != 2 || tile.strides[1] != 1 || begin % tile.extents[1] != 0 ||
                end % tile.extents[1] != 0)
                return false;
            const int64_t columns = tile.extents[1];
            const Stored* first = source_ + tile.source_offset + begin / columns * tile.strides[0];
            out[0] = kernels_.amax_rectangle[Source::kKernel](
                first, {(end - begin) / columns, columns, tile.strides[0] * kBytes, 0});
            return true;
        }
    }

    void side_by_side(const Tile& tile, const Run& run, Value* out) const
    {
        const Stored* first = source_ + run.offset;
        if constexpr (Source::kKernel != kNoKernel) {
            if (tile.source_stride == 1) {
                kernels_.amax_columns[Source::kKernel](first, {run.count, tile.width, run.stride * kBytes, 0}, out);
                return;
            }
        }
        for (int64_t r = 0; r < run.count; ++r)
            for (int64_t i = 0; i < tile.width; ++i)
                out[i] = larger(out[i], Source::magnitude(first[r * run.stride + i * tile.source_stride]));
    }

    static constexpr int64_t kBytes = sizeof(Stored);

    const Stored* source_;
    const cpu::Kernels& kernels_;
};

template <class T>
struct Extremes {
    T low;
    T high;

    static constexpr Extremes none() { return {std::numeric_limits<T>::max(), std::numeric_limits<T>::min()}; }
    void add(T value) { *this = {smaller(low, value), larger(high, value)}; }
    void add(const Extremes& other) { *this = {smaller(low, other.low), larger(high, other.high)}; }
};

template <class T>
class IntegerAmax {
public:
    using Value = Extremes<T>;
    static constexpr int64_t kColumns = kAmaxColumns;
    static constexpr bool kNeighbours = false;

    explicit IntegerAmax(const Plan& plan) : source_(reinterpret_cast<const T*>(plan.source)), wrap_(plan.wrap) {}

    void reduce(const Tile& tile, int64_t begin, int64_t end, Value* out) const
    {
        for (int64_t i = 0; i < tile.width; ++i)
            out[i] = Value::none();
        RunCursor cursor(tile, begin, end);
        Run run;
        while (cursor.next(&run)) {
            if (tile.width == 1)
                out[0].add(along(source_ + run.offset, run.count, run.stride));
            else
                for (int64_t i = 0; i < run.count; ++i)
                    side_by_side(source_ + run.offset + i * run.stride, tile.width, tile.source_stride, out);
        }
    }

    static Value join(const Value* chunks, int64_t count)
    {
        Value value = Value::none();
        for (int64_t i = 0; i < count; ++i)
            value.add(chunks[i]);
        return value;
    }

    __int128 result(const Value& value) const { return larger(absolute(value.low), absolute(value.high)); }

private:
    // Wrapping: the magnitude as the type itself computes it, which leaves its most negative number as it is.
    __int128 absolute(T value) const
    {
        const __int128 wide = value;
        const bool stays = wrap_ && std::is_signed_v<T> && value == std::numeric_limits<T>::min();
        return wide < 0 && !stays ? -wide : wide;
    }

    static Value along(const T* first, int64_t count, int64_t stride)
    {
        Value value = Value::none();
        int64_t i = 0;
        if (stride == 1) {
            constexpr uint64_t kLanes = 32 / sizeof(T);
            constexpr int64_t kStep = kLanes;
            T low[kLanes];
            T high[kLanes];
            for (uint64_t lane = 0; lane < kLanes; ++lane) {
                low[lane] = value.low;
                high[lane] = value.high;
            }
            for (; i + kStep <= count; i += kStep) {
                const T* group = first + i;
                for (uint64_t lane = 0; lane < kLanes; ++lane) {
                    low[lane] = smaller(low[lane], group[lane]);
                    high[lane] = larger(high[lane], group[lane]);
                }
            }
            for (uint64_t lane = 0; lane < kLanes; ++lane)
                value.add(Value{low[lane], high[lane]});
        }
        for (; i < count; ++i)
            value.add(first[i * stride]);
        return value;
    }

    static void side_by_side(const T* first, int64_t width, int64_t stride, Value* out)
    {
        for (int64_t i = 0; i < width; ++i)
            out[i].add(first[i * stride]);
    }

    const T* source_;
    bool wrap_;
};

} // namespace

moeq_status reduce_amax(const Plan& plan, const cpu::Kernels& kernels, const Executor& executor,
                        std::atomic<uint32_t>& seen, Report& report)
{
    const auto floats = [&](auto source) {
        return reduce_with(plan, FloatAmax<decltype(source)>(plan, kernels), executor, seen, report);
    };
    const auto integers = [&](auto source) {
        return reduce_with(plan, IntegerAmax<typename decltype(source)::Stored>(plan), executor, seen, report);
    };
    return visit_source(plan.source_dtype, floats, integers);
}

} // namespace moeq::amax
