// Tasks between those of another loop: each of both runs once, whatever the counts, and failures of either are told.
#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "store/load/side_tasks.h"
#include "support/store.h"

namespace moeq_test {
namespace {

using moeq::Executor;
using moeq::Report;
using moeq::store::SideTasks;

const Executor kSerial(nullptr, nullptr, nullptr);

TEST(SideTasks, EachRunsOnce)
{
    for (int64_t count = 0; count < 12; ++count)
        for (int64_t side = 0; side < 12; ++side) {
            std::vector<int> ran(12, 0), side_ran(12, 0), order;
            auto write = [&](int64_t i, Report&) -> moeq_status {
                ++side_ran[static_cast<size_t>(i)];
                return MOEQ_OK;
            };
            Outcome outcome;
            SideTasks tasks(kSerial, "test", write);
            tasks.set(side);
            auto body = [&](int64_t i) { ++ran[static_cast<size_t>(i)]; };
            ASSERT_EQ(tasks.finish(tasks.executor().for_each(count, body, outcome.report), outcome.report), MOEQ_OK);
            ASSERT_EQ(tasks.finish(MOEQ_OK, outcome.report), MOEQ_OK); // nothing is left to do
            for (size_t i = 0; i < 12; ++i) {
                ASSERT_EQ(ran[i], static_cast<int64_t>(i) < count ? 1 : 0) << count << " " << side;
                ASSERT_EQ(side_ran[i], static_cast<int64_t>(i) < side ? 1 : 0) << count << " " << side;
            }
        }
}

// Only the next loop takes them along, and they stand between its tasks.
TEST(SideTasks, StandBetween)
{
    std::vector<int> order;
    auto write = [&](int64_t i, Report&) -> moeq_status {
        order.push_back(100 + static_cast<int>(i));
        return MOEQ_OK;
    };
    Outcome outcome;
    SideTasks tasks(kSerial, "test", write);
    tasks.set(2);
    auto body = [&](int64_t i) { order.push_back(static_cast<int>(i)); };
    const Executor executor = tasks.executor();
    ASSERT_EQ(executor.for_each(4, body, outcome.report), MOEQ_OK);
    EXPECT_EQ(order, (std::vector<int>{0, 1, 100, 2, 3, 101}));
    ASSERT_EQ(executor.for_each(2, body, outcome.report), MOEQ_OK);
    EXPECT_EQ(order.size(), 8u);
}

TEST(SideTasks, FailuresAreTold)
{
    auto write = [](int64_t i, Report& report) -> moeq_status {
        return i < 1 ? moeq_status{MOEQ_OK} : report.fail(MOEQ_ERROR_IO) << "task " << i;
    };
    auto body = [](int64_t) {};
    for (const int64_t count : {0, 5}) {
        Outcome outcome;
        SideTasks tasks(kSerial, "test", write);
        tasks.set(3);
        const moeq_status loop = tasks.executor().for_each(count, body, outcome.report);
        EXPECT_EQ(tasks.finish(loop, outcome.report), MOEQ_ERROR_IO);
        EXPECT_NE(outcome.message().find("task 1"), std::string::npos) << outcome.message();
    }
    Outcome outcome;
    SideTasks tasks(kSerial, "test", write);
    tasks.set(1);
    const moeq_status loop = outcome.report.fail(MOEQ_ERROR_CANCELLED) << "stopped";
    EXPECT_EQ(tasks.finish(loop, outcome.report), MOEQ_ERROR_CANCELLED);
}

// The caller's executor breaks its promise: its own error is told, not that of the executor around it.
TEST(SideTasks, AnExecutorThatFails)
{
    const Executor broken([](moeq_task_fn, void*, int64_t, void*) -> int32_t { return 0; }, nullptr, nullptr);
    auto write = [](int64_t, Report&) -> moeq_status { return MOEQ_OK; };
    auto body = [](int64_t) {};
    Outcome outcome;
    SideTasks tasks(broken, "test", write);
    tasks.set(2);
    const moeq_status loop = tasks.executor().for_each(4, body, outcome.report);
    EXPECT_EQ(tasks.finish(loop, outcome.report), MOEQ_ERROR_CALLBACK);
    EXPECT_NE(outcome.message().find("after all 6 tasks"), std::string::npos) << outcome.message();
}

} // namespace
} // namespace moeq_test
