// The caller's executor: what it does wrong is told, and nothing but destinations has changed; what it may do, in any order
// and from any threads, changes no byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <thread>

#include "support/calls.h"

namespace moeq_test {
namespace {

struct Misdeed {
    const char* name;
    HostExecutor::How how;
};

const std::vector<Misdeed>& misdeeds()
{
    static const std::vector<Misdeed> all = {
        {"answers 0 after all tasks",
         [](moeq_task_fn run, void* task, int64_t count) {
             HostExecutor::one_after_the_other(run, task, count);
             return 0;
         }},
        {"answers 0 and does nothing", [](moeq_task_fn, void*, int64_t) { return 0; }},
        {"answers 2",
         [](moeq_task_fn run, void* task, int64_t count) {
             HostExecutor::one_after_the_other(run, task, count);
             return 2;
         }},
        {"does nothing", [](moeq_task_fn, void*, int64_t) { return MOEQ_CONTINUE; }},
        {"leaves out the last task",
         [](moeq_task_fn run, void* task, int64_t count) {
             return HostExecutor::one_after_the_other(run, task, count - 1);
         }},
        {"runs every task twice",
         [](moeq_task_fn run, void* task, int64_t count) {
             HostExecutor::one_after_the_other(run, task, count);
             return HostExecutor::one_after_the_other(run, task, count);
         }},
        {"runs the first task twice and the last one never",
         [](moeq_task_fn run, void* task, int64_t count) {
             run(0, task);
             return HostExecutor::one_after_the_other(run, task, count - 1);
         }},
        {"runs an index behind the last one",
         [](moeq_task_fn run, void* task, int64_t count) {
             run(count, task);
             return HostExecutor::one_after_the_other(run, task, count);
         }},
        {"runs indices that are far outside",
         [](moeq_task_fn run, void* task, int64_t count) {
             for (const int64_t index : {int64_t{-1}, INT64_MIN, INT64_MAX, count + 1})
                 run(index, task);
             return HostExecutor::one_after_the_other(run, task, count);
         }},
    };
    return all;
}

class Executors : public testing::TestWithParam<CallKind> {};

Bytes result_with(World::Threads threads, const CallKind& kind)
{
    World world(threads);
    const std::unique_ptr<Call> call = kind.in(world, kLarge);
    EXPECT_EQ(call->run(nullptr), MOEQ_OK);
    return call->result();
}

TEST_P(Executors, MisdeedsAreTold)
{
    Bytes wanted;
    for (const Misdeed& misdeed : misdeeds()) {
        SCOPED_TRACE(misdeed.name);
        World world(World::Threads::kExecutor);
        const std::unique_ptr<Call> call = GetParam().in(world, kLarge);
        const Bytes before = call->state();
        const int64_t live = world.hooks.live_bytes();
        const int64_t uses = world.hooks.uses;
        world.hooks.how = misdeed.how;
        moeq_error err{};
        const moeq_status status = call->run(&err);
        world.hooks.how = HostExecutor::one_after_the_other;
        if (world.hooks.uses == uses)
            return; // this call does not split its work
        EXPECT_EQ(status, MOEQ_ERROR_CALLBACK) << err.message;
        EXPECT_EQ(err.status, status);
        EXPECT_NE(std::string(err.message).find("parallel_for"), std::string::npos) << err.message;
        EXPECT_TRUE(call->outs_are_null());
        EXPECT_EQ(call->deleted(), 0);
        EXPECT_EQ(world.hooks.live_bytes(), live);
        EXPECT_EQ(call->state(), before);
        err = {};
        EXPECT_EQ(call->run(&err), MOEQ_OK) << "the same call again: " << err.message;
        if (wanted.empty())
            wanted = result_with(World::Threads::kExecutor, GetParam());
        EXPECT_EQ(call->result(), wanted);
        call->release();
        EXPECT_EQ(call->deleted(), call->adopted());
        if (HasFailure())
            return;
    }
}

TEST_P(Executors, OrderAndThreadsDoNotMatter)
{
    if (GetParam().function == "moeq_context_describe")
        return; // tells which of the three it is
    const Bytes wanted = result_with(World::Threads::kSerial, GetParam());
    const auto backwards = [](moeq_task_fn run, void* task, int64_t count) {
        for (int64_t i = count; i-- > 0;)
            run(i, task);
        return MOEQ_CONTINUE;
    };
    const auto threads = [](moeq_task_fn run, void* task, int64_t count) {
        std::vector<std::thread> all;
        for (int64_t t = 0; t < 3; ++t)
            all.emplace_back([=] {
                for (int64_t i = t; i < count; i += 3)
                    run(i, task);
            });
        for (std::thread& thread : all)
            thread.join();
        return MOEQ_CONTINUE;
    };
    for (const HostExecutor::How& how : {HostExecutor::How(backwards), HostExecutor::How(threads)}) {
        World world(World::Threads::kExecutor);
        world.hooks.how = how;
        const std::unique_ptr<Call> call = GetParam().in(world, kLarge);
        EXPECT_EQ(call->run(nullptr), MOEQ_OK);
        EXPECT_EQ(call->result(), wanted);
    }
    World world(World::Threads::kPool);
    const std::unique_ptr<Call> call = GetParam().in(world, kLarge);
    EXPECT_EQ(call->run(nullptr), MOEQ_OK);
    EXPECT_EQ(call->result(), wanted);
}

INSTANTIATE_TEST_SUITE_P(Every, Executors, testing::ValuesIn(all_calls()), test_name);

// Were nothing ever split, the tests above would pass without having tried anything.
TEST(ExecutorUse, LargeWorkIsSplit)
{
    std::set<std::string> split;
    for (const CallKind& kind : all_calls()) {
        World world(World::Threads::kExecutor);
        const std::unique_ptr<Call> call = kind.in(world, kLarge);
        const int64_t before = world.hooks.uses;
        EXPECT_EQ(call->run(nullptr), MOEQ_OK) << kind.name;
        if (world.hooks.uses != before)
            split.insert(kind.function);
    }
    for (const char* function : {"moeq_qtensor_quantize", "moeq_qtensor_dequantize", "moeq_qtensor_requantize",
                                 "moeq_quantize_into", "moeq_builder_write", "moeq_reduce"})
        EXPECT_EQ(split.count(function), 1u) << function;
}

} // namespace
} // namespace moeq_test
