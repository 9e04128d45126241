// What the writer is made of, against plain and slow versions of the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "store/container/name_table.h"
#include "store/write/row_major.h"
#include "store/write/written_ranges.h"
#include "support/store.h"

namespace moeq_test {
namespace {

using moeq::TensorView;
using moeq::store::NameTable;
using moeq::store::RowMajor;
using moeq::store::WrittenRanges;

// Against one flag for each byte.
TEST(WrittenRanges, random_claims)
{
    constexpr int64_t kBytes = 300;
    std::mt19937 random(1);
    for (int round = 0; round < 200; ++round) {
        CountedMemory memory;
        WrittenRanges ranges(memory.allocator);
        std::vector<int> state(kBytes, 0); // 1: claimed, 2: there
        std::vector<std::pair<int64_t, int64_t>> open;
        for (int step = 0; step < 120; ++step) {
            const auto pick = [&](int64_t low, int64_t high) {
                return std::uniform_int_distribution<int64_t>(low, high)(random);
            };
            const int64_t begin = pick(0, kBytes - 1);
            const int64_t end = pick(begin + 1, std::min(kBytes, begin + 20));
            const auto first = std::find_if(state.begin() + begin, state.begin() + end, [](int s) { return s != 0; });
            int64_t taken = -1;
            const auto result = ranges.claim(begin, end, &taken);
            if (first == state.begin() + end) {
                ASSERT_EQ(result, WrittenRanges::kClaimed);
                std::fill(state.begin() + begin, state.begin() + end, 1);
                open.emplace_back(begin, end);
            } else {
                ASSERT_EQ(result, WrittenRanges::kTaken);
                ASSERT_EQ(taken, first - state.begin());
            }
            if (!open.empty() && pick(0, 2) != 0) {
                const size_t which = static_cast<size_t>(pick(0, static_cast<int64_t>(open.size()) - 1));
                const auto [from, to] = open[which];
                const bool done = pick(0, 3) != 0;
                done ? ranges.finish(from) : ranges.release(from);
                std::fill(state.begin() + from, state.begin() + to, done ? 2 : 0);
                open.erase(open.begin() + static_cast<int64_t>(which));
            }
            const int64_t low = pick(0, kBytes), high = pick(low, kBytes);
            ASSERT_EQ(ranges.count(low, high), std::count(state.begin() + low, state.begin() + high, 2));
        }
    }
}

// Neighbours become one, so that memory does not grow with the number of puts.
TEST(WrittenRanges, stay_small)
{
    CountedMemory memory;
    WrittenRanges ranges(memory.allocator);
    int64_t taken = 0;
    for (int64_t i = 0; i < 100'000; ++i) {
        ASSERT_EQ(ranges.claim(i * 10, i * 10 + 10, &taken), WrittenRanges::kClaimed);
        ranges.finish(i * 10);
    }
    EXPECT_EQ(ranges.count(0, 1'000'000), 1'000'000);
    EXPECT_LE(memory.calls, 2);
}

TEST(WrittenRanges, from_many_threads)
{
    constexpr int64_t kThreads = 8, kEach = 2000;
    moeq::Allocator allocator(nullptr, nullptr, nullptr);
    WrittenRanges ranges(allocator);
    std::vector<std::thread> threads;
    std::vector<int64_t> claimed(kThreads);
    for (int64_t t = 0; t < kThreads; ++t)
        threads.emplace_back([&, t] {
            std::mt19937_64 random(static_cast<uint64_t>(t));
            for (int64_t i = 0; i < kEach; ++i) {
                const int64_t begin = static_cast<int64_t>(random() % 8000) * 3; // each thread wants the same ones
                int64_t taken = 0;
                if (ranges.claim(begin, begin + 3, &taken) != WrittenRanges::kClaimed)
                    continue;
                if (random() % 4 == 0) {
                    ranges.release(begin);
                } else {
                    ranges.finish(begin);
                    claimed[static_cast<size_t>(t)] += 3;
                }
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    int64_t sum = 0;
    for (const int64_t one : claimed)
        sum += one;
    EXPECT_EQ(ranges.count(0, 24'000), sum);
}

TEST(WrittenRanges, without_memory)
{
    CountedMemory memory;
    WrittenRanges ranges(memory.allocator);
    memory.fail_at = 0;
    int64_t taken = 0;
    EXPECT_EQ(ranges.claim(0, 1, &taken), WrittenRanges::kNoMemory);
    EXPECT_FALSE(ranges.reserve(1));
    EXPECT_EQ(ranges.count(0, 1), 0);
    memory.fail_at = -1;
    EXPECT_TRUE(ranges.reserve(3));
    memory.fail_at = 0;
    for (const int64_t begin : {0, 10, 20})
        EXPECT_EQ(ranges.claim(begin, begin + 1, &taken), WrittenRanges::kClaimed) << "room was reserved";
}

TEST(NameTable, finds_what_was_added)
{
    CountedMemory memory;
    NameTable table(memory.allocator);
    std::map<std::string, int64_t> known;
    std::vector<std::string> in_order;
    std::mt19937 random(2);
    for (int step = 0; step < 20'000; ++step) {
        const std::string name = "n" + std::to_string(random() % 3000);
        const auto length = static_cast<int64_t>(name.size());
        const auto found = known.find(name);
        ASSERT_EQ(table.find(name.c_str(), length), found == known.end() ? -1 : found->second);
        if (random() % 3 == 0 && !in_order.empty()) {
            table.remove_last();
            known.erase(in_order.back());
            in_order.pop_back();
        } else if (found == known.end()) {
            ASSERT_TRUE(table.add(name.c_str(), length));
            known[name] = table.size() - 1;
            in_order.push_back(name);
        }
        ASSERT_EQ(table.size(), static_cast<int64_t>(in_order.size()));
    }
    for (size_t i = 0; i < in_order.size(); ++i) {
        EXPECT_STREQ(table.name(static_cast<int64_t>(i)), in_order[i].c_str());
        EXPECT_EQ(table.length(static_cast<int64_t>(i)), static_cast<int64_t>(in_order[i].size()));
    }
    EXPECT_EQ(table.find("", 0), -1);
    EXPECT_TRUE(table.add("", 0));
    EXPECT_EQ(table.find("", 0), table.size() - 1);
}

TEST(NameTable, without_memory_stays_as_it_was)
{
    for (int64_t fail_at = 0; fail_at < 3; ++fail_at) {
        CountedMemory memory;
        NameTable table(memory.allocator);
        memory.fail_at = fail_at;
        memory.fail_once = true;
        EXPECT_FALSE(table.add("name", 4));
        EXPECT_EQ(table.size(), 0);
        EXPECT_EQ(table.find("name", 4), -1);
        EXPECT_TRUE(table.add("name", 4));
        EXPECT_EQ(table.find("name", 4), 0);
    }
}

// Every element by its index.
std::string slow_copy(const TensorView& view)
{
    std::string out;
    for (int64_t n = 0; n < view.count; ++n) {
        int64_t rest = n, offset = 0;
        for (int32_t i = view.ndim - 1; i >= 0; --i) {
            offset += rest % view.shape[i] * view.strides[i];
            rest /= view.shape[i];
        }
        out.append(view.data + offset * view.itemsize(), static_cast<size_t>(view.itemsize()));
    }
    return out;
}

TEST(RowMajor, any_strides)
{
    std::mt19937 random(3);
    std::vector<char> memory(1 << 16);
    for (char& byte : memory)
        byte = static_cast<char>(random());
    for (const int32_t dtype : {MOEQ_DTYPE_UINT8, MOEQ_DTYPE_BF16, MOEQ_DTYPE_FP32, MOEQ_DTYPE_INT64}) {
        for (int round = 0; round < 300; ++round) {
            TensorView view;
            view.dtype = dtype;
            view.ndim = static_cast<int32_t>(random() % 5);
            view.count = 1;
            for (int32_t i = 0; i < view.ndim; ++i) {
                view.shape[i] = 1 + static_cast<int64_t>(random() % 5);
                view.count *= view.shape[i];
            }
            // A permutation of axes, some of them with gaps, some reversed, some broadcast.
            std::vector<int32_t> axes(static_cast<size_t>(view.ndim));
            for (int32_t i = 0; i < view.ndim; ++i)
                axes[static_cast<size_t>(i)] = i;
            if (random() % 2 != 0)
                std::shuffle(axes.begin(), axes.end(), random);
            int64_t stride = 1;
            view.data = memory.data() + memory.size() / 2;
            for (size_t k = axes.size(); k-- > 0;) {
                const int32_t axis = axes[k];
                view.strides[axis] = view.shape[axis] > 1 ? stride : 0;
                if (random() % 8 == 0)
                    view.strides[axis] = -view.strides[axis];
                if (random() % 8 == 0)
                    view.strides[axis] = 0;
                stride *= view.shape[axis] + (random() % 4 == 0 ? 1 : 0);
            }
            const std::string wanted = slow_copy(view);
            const RowMajor elements(view);
            const int64_t begin = static_cast<int64_t>(random()) % view.count;
            for (const int64_t from : {int64_t{0}, begin}) {
                const int64_t count = from == 0 ? view.count : 1 + static_cast<int64_t>(random()) % (view.count - from);
                std::string out(static_cast<size_t>(count * view.itemsize()), '\0');
                elements.copy(from, count, out.data());
                ASSERT_EQ(out, wanted.substr(static_cast<size_t>(from * view.itemsize()), out.size()));
            }
        }
    }
}

} // namespace
} // namespace moeq_test
