// Every allocation of every fallible function fails, once and for good. What must hold: a status, outs that are NULL, all
// handles as before, nothing lost, nothing given back that was not taken, and the same call then succeeds.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "support/calls.h"

namespace moeq_test {
namespace {

constexpr int64_t kMostAllocations = 500; // of one call; more would be a loop that never passes

TEST(Calls, CoverEveryFallibleFunction)
{
    const std::vector<std::string> declared = fallible_functions();
    EXPECT_GE(declared.size(), 31u);
    std::set<std::string> called;
    for (const CallKind& kind : all_calls())
        called.insert(kind.function);
    EXPECT_EQ(std::vector<std::string>(called.begin(), called.end()), declared);
}

class Allocations : public testing::TestWithParam<CallKind> {};

// What the call makes when nothing fails.
Bytes undisturbed(const CallKind& kind, World::Threads threads)
{
    World world(threads);
    const std::unique_ptr<Call> call = kind.in(world, kSmall);
    moeq_error err{};
    EXPECT_EQ(call->run(&err), MOEQ_OK) << err.message;
    EXPECT_EQ(call->deleted(), 0);
    const Bytes bytes = call->result();
    call->release();
    EXPECT_EQ(call->deleted(), call->adopted());
    return bytes;
}

void check_failed_call(const CallKind& kind, const moeq_error& err, moeq_status status, Call& call)
{
    EXPECT_EQ(status, MOEQ_ERROR_MEMORY) << err.message;
    EXPECT_EQ(err.status, status);
    EXPECT_EQ(std::string(err.message).rfind(kind.function + ": ", 0), 0u) << err.message;
    EXPECT_TRUE(call.outs_are_null());
    EXPECT_EQ(call.deleted(), 0);
}

// What a failed call may leave in use: nothing; but builders and writers may keep room for their books, once.
int64_t blocks_of_books(const std::string& function)
{
    const bool writes = function.rfind("moeq_writer_", 0) == 0 && function != "moeq_writer_create";
    return function == "moeq_builder_write" ? 1 : writes ? 8 : 0;
}

struct Usage {
    explicit Usage(const Hooks& hooks) : bytes(hooks.live_bytes()), blocks(hooks.live_blocks()) {}
    bool operator==(const Usage& other) const { return bytes == other.bytes && blocks == other.blocks; }

    int64_t bytes;
    int64_t blocks;
};

// The nth allocation fails; false: the call has fewer.
bool fail_one(const CallKind& kind, int64_t nth, bool forever, const Bytes& wanted)
{
    World world;
    const std::unique_ptr<Call> call = kind.in(world, kSmall);
    const Bytes before = call->state();
    const Usage used(world.hooks);
    moeq_error err{};
    world.hooks.fail_at(nth, forever);
    const moeq_status status = call->run(&err);
    world.hooks.fail_no_more();
    const bool met = world.hooks.refused() != 0;
    if (met && !(kind.absorbs && status == MOEQ_OK)) {
        check_failed_call(kind, err, status, *call);
        EXPECT_EQ(call->state(), before);
        const Usage after(world.hooks);
        const int64_t books = blocks_of_books(kind.function);
        if (books != 0)
            EXPECT_LE(after.blocks, used.blocks + books);
        else
            EXPECT_TRUE(after == used) << after.blocks - used.blocks << " blocks more, " << after.bytes - used.bytes
                                       << " bytes";
        world.hooks.fail_at(1, true);
        EXPECT_EQ(call->run(nullptr), MOEQ_ERROR_MEMORY);
        world.hooks.fail_no_more();
        EXPECT_TRUE(Usage(world.hooks) == after) << "more with every failure";
        err = {};
        EXPECT_EQ(call->run(&err), MOEQ_OK) << "the same call again: " << err.message;
    } else {
        EXPECT_EQ(status, MOEQ_OK) << err.message;
    }
    EXPECT_EQ(call->result(), wanted);
    call->release();
    EXPECT_EQ(call->deleted(), call->adopted());
    return met;
}

void fail_each(const CallKind& kind, bool forever)
{
    const Bytes wanted = undisturbed(kind, World::Threads::kSerial);
    int64_t nth = 1;
    while (nth < kMostAllocations && !testing::Test::HasFailure()) {
        SCOPED_TRACE("allocation " + std::to_string(nth));
        if (!fail_one(kind, nth, forever, wanted))
            break;
        ++nth;
    }
    EXPECT_LT(nth, kMostAllocations);
}

TEST_P(Allocations, FailOnce) { fail_each(GetParam(), false); }

TEST_P(Allocations, FailFromThereOn) { fail_each(GetParam(), true); }

// Abandoned after a failure, without a second try.
TEST_P(Allocations, FailAndLeave)
{
    for (int64_t nth = 1; nth < kMostAllocations; ++nth) {
        World world;
        const std::unique_ptr<Call> call = GetParam().in(world, kSmall);
        world.hooks.fail_at(nth, true);
        const moeq_status status = call->run(nullptr);
        const bool met = world.hooks.refused() != 0;
        EXPECT_TRUE(status == MOEQ_OK ? !met || GetParam().absorbs : status == MOEQ_ERROR_MEMORY);
        call->release(); // needs no memory, so it works while there is none
        EXPECT_EQ(call->deleted(), status == MOEQ_OK ? call->adopted() : 0);
        if (!met || HasFailure())
            break;
    }
}

TEST_P(Allocations, HotCallsHaveNone)
{
    if (!GetParam().hot)
        return;
    for (const Size& size : {kSmall, kLarge}) {
        World world(World::Threads::kPool);
        const std::unique_ptr<Call> call = GetParam().in(world, size);
        const int64_t before = world.hooks.allocations();
        EXPECT_EQ(call->run(nullptr), MOEQ_OK);
        EXPECT_EQ(world.hooks.allocations(), before);
        call->release();
    }
}

// The context goes first; handles, tensors and blobs keep what they need of it.
TEST_P(Allocations, ContextMayGoFirst)
{
    World world;
    const std::unique_ptr<Call> call = GetParam().in(world, kSmall);
    EXPECT_EQ(call->run(nullptr), MOEQ_OK);
    world.close();
    if (call->adopted() != 0) {
        EXPECT_EQ(call->deleted(), 0);
    }
    EXPECT_FALSE(call->result().empty());
    call->release();
}

INSTANTIATE_TEST_SUITE_P(Every, Allocations, testing::ValuesIn(all_calls()), test_name);

// A pool is the context's own; without memory for it there is no context.
TEST(ContextAllocations, WithPool)
{
    for (const bool forever : {false, true}) {
        for (int64_t nth = 1; nth < 20; ++nth) {
            Hooks hooks;
            const moeq_context_options options = hooks.options(4);
            moeq_context* context = nullptr;
            hooks.fail_at(nth, forever);
            const moeq_status status = moeq_context_create(&options, &context, nullptr);
            if (hooks.refused() == 0) {
                EXPECT_EQ(status, MOEQ_OK);
                EXPECT_GT(nth, 1);
                moeq_context_destroy(context);
                expect_all_returned(hooks);
                break;
            }
            EXPECT_EQ(status, MOEQ_ERROR_MEMORY);
            EXPECT_EQ(context, nullptr);
            EXPECT_EQ(hooks.live_bytes(), 0);
            EXPECT_EQ(hooks.destroyed, 0) << "what `user` points at stays the caller's";
            ASSERT_LT(nth, 19);
        }
    }
}

// The bytes that the context counts are those that went through the hooks.
TEST(ContextAllocations, MemoryIsCounted)
{
    World world;
    const CallKind& kind = *std::find_if(all_calls().begin(), all_calls().end(),
                                         [](const CallKind& one) { return one.function == "moeq_qtensor_quantize"; });
    const std::unique_ptr<Call> call = kind.in(world, kSmall);
    const auto memory = [&] {
        moeq_memory out{};
        out.struct_size = sizeof out;
        EXPECT_EQ(moeq_context_get_memory(world.context, &out, nullptr), MOEQ_OK);
        return out;
    };
    const moeq_memory before = memory();
    EXPECT_EQ(before.host_live, world.hooks.live_bytes());
    ASSERT_EQ(call->run(nullptr), MOEQ_OK);
    const moeq_memory during = memory();
    EXPECT_GT(during.host_live, before.host_live);
    EXPECT_EQ(during.host_live, world.hooks.live_bytes());
    EXPECT_GE(during.host_peak, during.host_live);
    call->release();
    const moeq_memory after = memory();
    EXPECT_EQ(after.host_live, before.host_live);
    EXPECT_EQ(after.host_peak, during.host_peak);
}

} // namespace
} // namespace moeq_test
