// The host's floating-point modes and errno: they change no result, and no call changes them; nor inside the threads of a
// caller's executor.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cfenv>
#include <clocale>
#include <csignal>
#include <thread>

#include "support/calls.h"
#include "support/float_modes.h"

namespace moeq_test {
namespace {

class HostState : public testing::TestWithParam<CallKind> {
protected:
    // In the default modes.
    static Bytes wanted(const Size& size, World::Threads threads = World::Threads::kSerial)
    {
        World world(threads);
        const std::unique_ptr<Call> call = GetParam().in(world, size);
        EXPECT_EQ(call->run(nullptr), MOEQ_OK);
        return call->result();
    }
};

TEST_P(HostState, ErrnoStays)
{
    for (const auto threads : {World::Threads::kSerial, World::Threads::kPool}) {
        World world(threads);
        const std::unique_ptr<Call> call = GetParam().in(world, threads == World::Threads::kPool ? kLarge : kSmall);
        world.hooks.fail_at(1, false);
        errno = EDOM;
        const moeq_status failed = call->run(nullptr);
        EXPECT_EQ(errno, EDOM);
        world.hooks.fail_no_more();
        if (failed != MOEQ_OK) {
            EXPECT_EQ(call->run(nullptr), MOEQ_OK);
            EXPECT_EQ(errno, EDOM);
        }
        call->release();
        world.close();
        EXPECT_EQ(errno, EDOM);
    }
}

TEST_P(HostState, RoundingModeDoesNotMatter)
{
    const Bytes bytes = wanted(kSmall);
    for (const int mode : {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO}) {
        World world;
        const std::unique_ptr<Call> call = GetParam().in(world, kSmall);
        std::fesetround(mode);
        const moeq_status status = call->run(nullptr);
        const int after = std::fegetround();
        std::fesetround(FE_TONEAREST);
        EXPECT_EQ(status, MOEQ_OK);
        EXPECT_EQ(after, mode);
        EXPECT_EQ(call->result(), bytes) << "rounding mode " << mode;
    }
}

#if defined(MOEQ_TEST_FLOAT_MODES)

TEST_P(HostState, FlushToZeroDoesNotMatter)
{
    for (const auto threads : {World::Threads::kSerial, World::Threads::kPool}) {
        const Size size = threads == World::Threads::kPool ? kLarge : kSmall;
        const Bytes bytes = wanted(size, threads);
        for (const FloatModes modes : kHostModes) {
            World world(threads);
            const std::unique_ptr<Call> call = GetParam().in(world, size);
            moeq_status status;
            FloatModes after;
            {
                const ScopedFloatModes set(modes);
                status = call->run(nullptr);
                after = float_modes();
            }
            EXPECT_EQ(status, MOEQ_OK);
            EXPECT_EQ(after, modes) << "not even a sticky flag";
            EXPECT_EQ(call->result(), bytes) << std::hex << modes;
            if (threads == World::Threads::kPool)
                break; // one of them tells whether workers have modes of their own
        }
    }
}

// Threads of the caller's, each with other modes, which it has still after every task.
TEST_P(HostState, ModesOfExecutorThreads)
{
    const Bytes bytes = wanted(kLarge, World::Threads::kExecutor);
    World world(World::Threads::kExecutor);
    std::atomic<int> changed{0};
    world.hooks.how = [&](moeq_task_fn run, void* task, int64_t count) {
        std::vector<std::thread> all;
        for (int64_t t = 0; t < 3; ++t)
            all.emplace_back([&, t] {
                const FloatModes modes = kHostModes[t + 2];
                const ScopedFloatModes set(modes);
                for (int64_t i = t; i < count; i += 3) {
                    errno = EDOM;
                    run(i, task);
                    changed += float_modes() != modes || errno != EDOM ? 1 : 0;
                }
            });
        for (std::thread& thread : all)
            thread.join();
        return MOEQ_CONTINUE;
    };
    const std::unique_ptr<Call> call = GetParam().in(world, kLarge);
    {
        const ScopedFloatModes set(kHostModes[0]);
        EXPECT_EQ(call->run(nullptr), MOEQ_OK);
        EXPECT_EQ(float_modes(), kHostModes[0]);
    }
    EXPECT_EQ(call->result(), bytes);
    EXPECT_EQ(changed, 0);
}

#endif

INSTANTIATE_TEST_SUITE_P(Every, HostState, testing::ValuesIn(all_calls()), test_name);

} // namespace
} // namespace moeq_test
