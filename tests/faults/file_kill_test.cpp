// Processes that are killed while they save, at every call and at random, and disks that are really full: the file is the old
// one or the new one, whole, and what else is left can be told by its name.
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <chrono>
#include <random>
#include <thread>

#include "file_save.h"
#include "file_shim.h"

namespace moeq_test {
namespace {

// Runs in a child, which must not return; its exit status, or minus the signal.
template <class Body>
int in_child(Body&& body)
{
    const pid_t child = fork();
    EXPECT_GE(child, 0);
    if (child == 0) {
        body();
        _exit(0);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

class KilledSaves : public testing::TestWithParam<Case> {};

TEST_P(KilledSaves, AtEveryCall)
{
    World world;
    Save save(world);
    const Folder folder;
    const std::string fresh = save.bytes();
    const std::string old = GetParam().old == nullptr ? "" : GetParam().old;
    for (const bool torn : {false, true}) {
        int olds = 0, news = 0;
        for (int64_t nth = 1;; ++nth) {
            SCOPED_TRACE("call " + std::to_string(nth) + (torn ? ", torn" : ""));
            ASSERT_LT(nth, 1000);
            folder.set(old);
            const int code = in_child([&] {
                kill_at_file_call(nth, torn);
                if (save.run(folder.target(), GetParam().flags, nullptr) != MOEQ_OK)
                    _exit(1);
            });
            const std::string found = contents(folder.target());
            EXPECT_TRUE(found == old || found == fresh) << found.size() << " bytes";
            (found == fresh ? news : olds) += 1;
            EXPECT_LE(folder.others().size(), 1u);
            folder.remove_leftovers();
            if (code == 0) {
                EXPECT_TRUE(found == fresh);
                break;
            }
            ASSERT_EQ(code, kKilled);
        }
        EXPECT_GE(olds, 5);
        EXPECT_GE(news, 2);
    }
}

INSTANTIATE_TEST_SUITE_P(Saves, KilledSaves, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

// One file over the other, again and again, until a signal that nobody can catch comes at any time.
TEST(KilledProcesses, AtRandom)
{
    constexpr int kRounds = 300;
    World world;
    Save first(world, 1, 200'000), second(world, 2, 150'000);
    const std::string one = first.bytes(), other = second.bytes();
    ASSERT_TRUE(one != other);
    const Folder folder;
    folder.set(one);
    // Signals come within the life of a child of four saves, however long that is on this machine or under a sanitizer.
    const auto start = std::chrono::steady_clock::now();
    ASSERT_EQ(in_child([&] {
                  for (Save* save : {&second, &first, &second, &first})
                      if (save->run(folder.target(), 0, nullptr) != MOEQ_OK)
                          _exit(1);
              }),
              0);
    const auto life = std::chrono::steady_clock::now() - start;
    std::uniform_int_distribution<int64_t> moment(0,
                                                  std::chrono::duration_cast<std::chrono::microseconds>(life).count());
    std::mt19937 random(static_cast<unsigned>(getpid()));
    int left = 0, changed = 0;
    std::string before = one;
    for (int round = 0; round < kRounds; ++round) {
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            for (;;)
                for (Save* save : {&second, &first})
                    if (save->run(folder.target(), round % 4 == 0 ? 0 : MOEQ_WRITER_NOT_DURABLE, nullptr) != MOEQ_OK)
                        _exit(1);
        }
        std::this_thread::sleep_for(std::chrono::microseconds(moment(random)));
        kill(child, SIGKILL);
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status)) << "the save failed by itself";
        const std::string found = contents(folder.target());
        ASSERT_TRUE(found == one || found == other) << "round " << round << ": " << found.size() << " bytes";
        changed += found != before;
        before = found;
        left += static_cast<int>(folder.others().size());
        ASSERT_LE(folder.others().size(), 1u);
        folder.remove_leftovers();
    }
    EXPECT_GE(left, kRounds / 20) << "most came too early or too late to mean anything";
    EXPECT_GE(changed, kRounds / 20);
}

// Who reads while somebody saves sees one whole file or the other.
TEST(KilledProcesses, ReadersBesideAWriter)
{
    World world;
    Save first(world, 1, 200'000), second(world, 2, 150'000);
    const std::string one = first.bytes(), other = second.bytes();
    const Folder folder;
    folder.set(one);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        for (;;)
            for (Save* save : {&second, &first})
                if (save->run(folder.target(), MOEQ_WRITER_NOT_DURABLE, nullptr) != MOEQ_OK)
                    _exit(1);
    }
    int ones = 0, others = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(700);
    while (std::chrono::steady_clock::now() < end) {
        const std::string found = contents(folder.target());
        if (found != one && found != other) {
            ADD_FAILURE() << found.size() << " bytes";
            break;
        }
        (found == one ? ones : others) += 1;
    }
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    EXPECT_GT(ones, 0);
    EXPECT_GT(others, 0);
}

// ---- a disk that is really full

constexpr int kCannotMount = 99;

// In a mount namespace of its own, which goes with the process.
void mount_small_disk(const std::string& folder, const char* size)
{
    const std::string options = std::string("mode=0777,size=") + size;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", folder.c_str(), "tmpfs", 0, options.c_str()) != 0)
        _exit(kCannotMount);
}

class FullDisk : public testing::TestWithParam<bool> {};

// The parameter: the space can be reserved, so that it is the first put that fails; else it is whichever meets the end.
TEST_P(FullDisk, KeepsTheOldFile)
{
    World world;
    Save small(world, 1, 10'000), large(world, 2, 200'000);
    const std::string bytes = small.bytes();
    const Folder folder;
    const int code = in_child([&] {
        mount_small_disk(folder.path(), "300k");
        if (small.run(folder.target(), 0, nullptr) != MOEQ_OK || contents(folder.target()) != bytes)
            _exit(1);
        moeq_error err{};
        if (GetParam())
            watch_file_calls();
        else
            fail_file_call({FileCall::kAllocate, 1, EOPNOTSUPP, true});
        const moeq_status status = large.run(folder.target(), 0, &err);
        const FileCalls seen = disarm_file_calls();
        if (status != MOEQ_ERROR_IO || err.os_error != ENOSPC || std::string(err.class_id) != "F21")
            _exit(2);
        if (GetParam() != (seen.of(FileCall::kWrite) == 0))
            _exit(3);
        if (contents(folder.target()) != bytes || !folder.others().empty())
            _exit(4);
        for (int i = 0; i < 5; ++i) // the space came back
            if (small.run(folder.target(), 0, nullptr) != MOEQ_OK || contents(folder.target()) != bytes)
                _exit(5);
    });
    if (code == kCannotMount)
        GTEST_SKIP() << "mounting a small file system needs more rights than there are here";
    EXPECT_EQ(code, 0);
}

INSTANTIATE_TEST_SUITE_P(Reserving, FullDisk, testing::Bool(),
                         [](const auto& info) { return info.param ? "Can" : "Cannot"; });

} // namespace
} // namespace moeq_test
