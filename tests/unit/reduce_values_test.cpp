// amax and sum of every type, layout, choice of axes and destination against brute force, bit for bit; and the same bytes
// from every executor, chunking and CPU tier.
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <thread>

#include "cpu/dispatch.h"
#include "host/references.h"
#include "reduce_oracle.h"

namespace {

using namespace reduce_oracle;
using moeq::Executor;
using moeq::Report;

moeq::cpu::Kernels kernels_of(int32_t tier)
{
    moeq::cpu::Kernels kernels;
    moeq::fill_reference_kernels(&kernels);
    moeq::cpu::overlay_tier(tier, &kernels);
    return kernels;
}

// Executors with orders of their own.
int32_t backwards(moeq_task_fn run, void* task, int64_t count, void*)
{
    for (int64_t i = count; i-- > 0;)
        run(i, task);
    return MOEQ_CONTINUE;
}
int32_t shuffled(moeq_task_fn run, void* task, int64_t count, void* user)
{
    std::vector<int64_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), *static_cast<std::mt19937_64*>(user));
    std::vector<std::thread> threads;
    for (size_t part = 0; part < 4; ++part)
        threads.emplace_back([&, part] {
            for (size_t i = part; i < order.size(); i += 4)
                run(order[i], task);
        });
    for (std::thread& thread : threads)
        thread.join();
    return MOEQ_CONTINUE;
}

struct Case {
    Axes axes;
    Tensor source;
    Tensor destination; // and its content before
};

int64_t pick(std::mt19937_64& random, int64_t low, int64_t high)
{
    return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
}

// Axes in any order in memory, some turned round, some with gaps; broadcast ones only where that is allowed.
std::vector<int64_t> any_strides(std::mt19937_64& random, const std::vector<int64_t>& shape, bool broadcast)
{
    std::vector<size_t> order(shape.size());
    std::iota(order.begin(), order.end(), size_t{0});
    if (random() % 2 == 0)
        std::shuffle(order.begin(), order.end(), random);
    std::vector<int64_t> strides(shape.size());
    int64_t step = random() % 4 == 0 ? 2 : 1;
    for (size_t i = order.size(); i-- > 0;) {
        strides[order[i]] = random() % 8 == 0 ? -step : step;
        step *= std::max<int64_t>(shape[order[i]], 1);
        step += random() % 6 == 0 ? 3 : 0;
        if (broadcast && random() % 12 == 0)
            strides[order[i]] = 0;
    }
    return strides;
}

Axes any_axes(std::mt19937_64& random, const std::vector<int64_t>& shape)
{
    Axes axes;
    axes.ndim = static_cast<int32_t>(shape.size());
    axes.operation = random() % 2 == 0 ? MOEQ_REDUCE_AMAX : MOEQ_REDUCE_SUM;
    axes.flags = static_cast<int32_t>(random() % 32) & ~MOEQ_REDUCE_EMPTY_IS_ALL;
    const bool blocks = random() % 3 == 0;
    for (size_t i = 0; i < shape.size(); ++i) {
        axes.reduced[i] = random() % 2 == 0;
        if (blocks && random() % 2 == 0)
            axes.blocks[i] = pick(random, 1, shape[i] + 2);
    }
    return axes;
}

int32_t any_destination_type(std::mt19937_64& random, int32_t source)
{
    std::vector<int32_t> types;
    for (const int32_t dtype : kAllTypes)
        if ((moeq::dtype_set(dtype) & moeq::amax::result_dtypes(source)) != 0)
            types.push_back(dtype);
    return types[random() % types.size()];
}

Case any_case(std::mt19937_64& random, const std::vector<int64_t>& shape, const Axes& axes, int32_t dtype)
{
    Case result;
    result.axes = axes;
    result.source = make_tensor(dtype, shape, any_strides(random, shape, true));
    fill(result.source, random, random() % 4 == 0);
    const std::vector<int64_t> out = expected_shape(axes, result.source.view);
    result.destination = make_tensor(any_destination_type(random, dtype), out, any_strides(random, out, false));
    fill(result.destination, random, random() % 8 == 0);
    return result;
}

std::string describe(const Case& c)
{
    std::string text = "operation " + std::to_string(c.axes.operation) + " flags " + std::to_string(c.axes.flags) +
                       " " + moeq::dtype_name(c.source.view.dtype) + " to " +
                       moeq::dtype_name(c.destination.view.dtype) + ":";
    for (int32_t i = 0; i < c.source.view.ndim; ++i)
        text += " " + std::to_string(c.source.view.shape[i]) + "(stride " + std::to_string(c.source.view.strides[i]) +
                (c.axes.reduced[i] ? ", reduced" : "") + ", block " + std::to_string(c.axes.blocks[i]) + ")";
    return text;
}

// The destination's memory, gaps included, after the reduction; and the bits that were seen.
struct Outcome {
    std::vector<char> memory;
    uint32_t seen = 0;
    bool operator==(const Outcome&) const = default;
};

Outcome expected_outcome(const Case& c)
{
    Outcome outcome;
    Tensor copy = make_tensor(c.destination.view.dtype, {}, {});
    copy = c.destination;
    copy.view.data = copy.memory.data() + (c.destination.view.data - c.destination.memory.data());
    const Lists lists = lists_of(c.axes, c.source);
    std::vector<int64_t> index(static_cast<size_t>(copy.view.ndim), 0);
    size_t output = 0;
    if (!copy.view.empty())
        do {
            const Number number = expected_number(c.axes, c.source.view.dtype, lists[output++]);
            expected_store(c.axes, number, copy.view.dtype, copy.at(index));
            outcome.seen |= expected_seen(number);
        } while (next_index(copy.view, index));
    outcome.memory = copy.memory;
    return outcome;
}

Outcome outcome(const Case& c, const moeq::cpu::Kernels& kernels, const Executor& executor)
{
    Tensor copy = c.destination;
    copy.view.data = copy.memory.data() + (c.destination.view.data - c.destination.memory.data());
    moeq_error error{};
    Report report("test", &error);
    std::atomic<uint32_t> seen{0};
    const moeq::amax::Plan plan = moeq::amax::make_plan(c.source.view, c.axes, copy.view);
    EXPECT_EQ(moeq::amax::reduce(plan, kernels, executor, seen, report), MOEQ_OK) << error.message;
    return {copy.memory, seen.load()};
}

void check(const Case& c, std::mt19937_64& random)
{
    const Outcome expected = expected_outcome(c);
    static const moeq::cpu::Kernels scalar = kernels_of(MOEQ_CPU_TIER_SCALAR);
    static const moeq::cpu::Kernels best = kernels_of(moeq::cpu::best_tier(MOEQ_CPU_TIER_BEST));
    ASSERT_TRUE(outcome(c, scalar, Executor(nullptr, nullptr, nullptr)) == expected) << describe(c);
    ASSERT_TRUE(outcome(c, best, Executor(backwards, nullptr, nullptr)) == expected) << describe(c);
    if (c.source.view.count > 10000) {
        ASSERT_TRUE(outcome(c, best, Executor(shuffled, &random, nullptr)) == expected) << describe(c);
    }
}

// amax of nothing never gets as far as a plan, nor does an empty destination.
bool is_possible(const Case& c)
{
    return !c.destination.view.empty() && !(c.source.view.empty() && c.axes.operation == MOEQ_REDUCE_AMAX);
}

TEST(ReduceValues, SmallTensorsOfEveryKind)
{
    std::mt19937_64 random(1);
    int checked = 0;
    for (int i = 0; i < 12000; ++i) {
        std::vector<int64_t> shape(random() % 6);
        for (int64_t& extent : shape)
            extent = random() % 40 == 0 ? 0 : pick(random, 1, 6);
        const Case c = any_case(random, shape, any_axes(random, shape), kAllTypes[random() % kAllTypes.size()]);
        if (!is_possible(c))
            continue;
        ++checked;
        check(c, random);
        ASSERT_FALSE(HasFatalFailure());
    }
    EXPECT_GT(checked, 10000);
}

TEST(ReduceValues, LongRunsAndManyColumns)
{
    std::mt19937_64 random(2);
    for (int i = 0; i < 300; ++i) {
        std::vector<int64_t> shape(1 + random() % 3);
        for (int64_t& extent : shape)
            extent = pick(random, 1, 12);
        shape[random() % shape.size()] = pick(random, 200, 3000);
        const Case c = any_case(random, shape, any_axes(random, shape), kAllTypes[random() % kAllTypes.size()]);
        check(c, random);
        ASSERT_FALSE(HasFatalFailure());
    }
}

// Shapes that are shared in chunks: one output, few outputs along or across memory, blocks with a shorter last one.
TEST(ReduceValues, ChunksJoinAsOneThreadWould)
{
    struct Big {
        std::vector<int64_t> shape;
        std::vector<int64_t> blocks;
        std::vector<bool> reduced;
    };
    const std::vector<Big> cases = {
        {{900003}, {0}, {true}},
        {{3, 300001}, {0, 0}, {false, true}},
        {{300001, 3}, {0, 0}, {true, false}},
        {{9011, 70}, {0, 0}, {true, false}},
        {{700003}, {300000}, {false}},
        {{200001, 3}, {90000, 0}, {false, false}},
        {{2, 200001, 2}, {0, 90000, 1}, {true, false, false}},
        {{600, 700}, {0, 0}, {true, true}},
    };
    std::mt19937_64 random(3);
    for (const int32_t dtype : {MOEQ_DTYPE_FP32, MOEQ_DTYPE_BF16, MOEQ_DTYPE_INT16})
        for (const Big& big : cases)
            for (const int32_t operation : {MOEQ_REDUCE_AMAX, MOEQ_REDUCE_SUM}) {
                Axes axes;
                axes.ndim = static_cast<int32_t>(big.shape.size());
                axes.operation = operation;
                for (size_t i = 0; i < big.shape.size(); ++i) {
                    axes.reduced[i] = big.reduced[i];
                    axes.blocks[i] = big.blocks[i];
                }
                const Case c = any_case(random, big.shape, axes, dtype);
                check(c, random);
                ASSERT_FALSE(HasFatalFailure());
            }
}

// Against arithmetic that has no order at all: exact integers scaled by a power of two.
TEST(ReduceValues, SumsOfExactlySummableValuesAreExact)
{
    std::mt19937_64 random(4);
    Tensor source = make_tensor(MOEQ_DTYPE_FP32, {1000, 517}, {517, 1});
    std::vector<double> expected(517, 0.0);
    std::vector<int64_t> index(2, 0);
    do {
        const int64_t value = pick(random, -4000000, 4000000);
        write_as(source.at(index), static_cast<float>(std::ldexp(static_cast<double>(value), -20)));
        expected[static_cast<size_t>(index[1])] += std::ldexp(static_cast<double>(value), -20);
    } while (next_index(source.view, index));
    Axes axes;
    axes.operation = MOEQ_REDUCE_SUM;
    axes.ndim = 2;
    axes.reduced[0] = true;
    Case c{axes, source, make_tensor(MOEQ_DTYPE_FP64, {517}, {1})};
    c.source.view.data = c.source.memory.data();
    c.destination.view.data = c.destination.memory.data();
    const Outcome result = outcome(c, kernels_of(MOEQ_CPU_TIER_SCALAR), Executor(nullptr, nullptr, nullptr));
    for (size_t i = 0; i < expected.size(); ++i)
        ASSERT_EQ(read_as<double>(result.memory.data() + 8 * i), expected[i]) << i;
}

// An order-free bound on the sum, from a sum of twice the precision.
TEST(ReduceValues, SumsAreWithinTheBoundOfPairwiseSummation)
{
    std::mt19937_64 random(5);
    Tensor source = make_tensor(MOEQ_DTYPE_FP64, {400000}, {1});
    fill(source, random, false);
    long double exact = 0;
    long double absolute = 0;
    std::vector<int64_t> index(1, 0);
    do {
        const double value = read_as<double>(source.at(index));
        exact += static_cast<long double>(value);
        absolute += std::fabs(static_cast<long double>(value));
    } while (next_index(source.view, index));
    Axes axes;
    axes.operation = MOEQ_REDUCE_SUM;
    axes.ndim = 1;
    axes.reduced[0] = true;
    Case c{axes, source, make_tensor(MOEQ_DTYPE_FP64, {}, {})};
    c.source.view.data = c.source.memory.data();
    c.destination.view.data = c.destination.memory.data();
    const Outcome result = outcome(c, kernels_of(MOEQ_CPU_TIER_SCALAR), Executor(nullptr, nullptr, nullptr));
    const double steps = 256 + 11; // additions that a value goes through: its leaf, then the levels of the tree
    EXPECT_LE(std::fabs(static_cast<double>(static_cast<long double>(read_as<double>(result.memory.data())) - exact)),
              steps * 0x1p-53 * static_cast<double>(absolute) * 1.001);
}

} // namespace
