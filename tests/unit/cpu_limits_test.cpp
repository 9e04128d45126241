// How many threads make sense: control groups of both versions, the affinity mask, the environment.
#include "core/cpu_limits.h"

#include <errno.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/pool.h"

namespace moeq {
namespace {

// A machine of files: /proc/self/cgroup and what is below /sys/fs/cgroup.
class Cgroups : public testing::Test {
protected:
    void SetUp() override
    {
        std::string name = testing::TempDir() + "moeq-cgroup-XXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        root_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(root_); }
    void file(const std::string& path, const std::string& text)
    {
        const std::filesystem::path full = root_ + path;
        std::filesystem::create_directories(full.parent_path());
        std::ofstream(full) << text;
    }
    int32_t limit() const { return cgroup_limit(root_.c_str()); }

    std::string root_;
};

TEST_F(Cgroups, NoneAtAll) { EXPECT_EQ(limit(), kNoLimit); }

TEST_F(Cgroups, Version2)
{
    file("/proc/self/cgroup", "0::/\n");
    EXPECT_EQ(limit(), kNoLimit);
    file("/sys/fs/cgroup/cpu.max", "max 100000\n");
    EXPECT_EQ(limit(), kNoLimit);
    file("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    EXPECT_EQ(limit(), 2);
    file("/sys/fs/cgroup/cpu.max", "200001 100000\n");
    EXPECT_EQ(limit(), 3) << "rounded up";
    file("/sys/fs/cgroup/cpu.max", "1000 100000\n");
    EXPECT_EQ(limit(), 1);
}

TEST_F(Cgroups, Version2TheTightestAncestorCounts)
{
    file("/proc/self/cgroup", "0::/a/b/c\n");
    file("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
    file("/sys/fs/cgroup/a/b/cpu.max", "300000 100000\n");
    file("/sys/fs/cgroup/a/cpu.max", "800000 100000\n");
    EXPECT_EQ(limit(), 3);
}

TEST_F(Cgroups, Version2PathOfTheMachineOutside)
{
    file("/proc/self/cgroup", "0::/system.slice/some.scope\n");
    file("/sys/fs/cgroup/cpu.max", "400000 100000\n");
    EXPECT_EQ(limit(), 4);
}

TEST_F(Cgroups, Version1)
{
    file("/proc/self/cgroup", "9:memory:/m\n4:cpu,cpuacct:/box\n3:cpuset:/c\n0::/\n");
    file("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "250000\n");
    file("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(limit(), 3);
    file("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "-1\n");
    EXPECT_EQ(limit(), kNoLimit);
    file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
    file("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(limit(), 1);
}

TEST_F(Cgroups, OnlyTheCpuController)
{
    file("/proc/self/cgroup", "2:cpuacct:/\n3:cpuset:/\n");
    file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
    file("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(limit(), kNoLimit);
}

TEST_F(Cgroups, Nonsense)
{
    for (const char* groups :
         {"", "\n\n", ":", "::", "0::", "0::x", "a:cpu:", "4:cpu:/", "0::/\n0::/\n", "4:,,cpu,,:/\n"}) {
        file("/proc/self/cgroup", groups);
        for (const char* text :
             {"", "max", "0 0", "-1 100000", "100000 0", "99999999999999999999 1", "x", "100000", " "}) {
            file("/sys/fs/cgroup/cpu.max", text);
            file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text);
            file("/sys/fs/cgroup/cpu/cpu.cfs_period_us", text);
            EXPECT_GE(limit(), 1) << groups << text;
        }
    }
    file("/proc/self/cgroup", "0::/\n");
    file("/sys/fs/cgroup/cpu.max", std::string(100'000, '1'));
    EXPECT_EQ(limit(), kNoLimit);
    file("/proc/self/cgroup", "0::/" + std::string(3000, 'x') + "\n");
    EXPECT_EQ(limit(), kNoLimit);
    file("/proc/self/cgroup", "0::/" + std::string(300'000, 'x') + "\n");
    EXPECT_EQ(limit(), kNoLimit);
}

TEST(ThreadLimit, OnlyPositiveNumbers)
{
    EXPECT_EQ(parse_thread_limit("1"), 1);
    EXPECT_EQ(parse_thread_limit("64"), 64);
    for (const char* text :
         {"", "0", "-1", "+3", " 3", "3 ", "3x", "0x3", "two", "99999999999999999999", "2147483648", "1e3"})
        EXPECT_EQ(parse_thread_limit(text), kNoLimit) << '"' << text << '"';
    EXPECT_EQ(parse_thread_limit(nullptr), kNoLimit);
}

TEST(ThreadLimit, AffinityAndEnvironment)
{
    unsetenv("MOEQ_NUM_THREADS");
    errno = EDOM;
    const int32_t usable = usable_threads();
    EXPECT_EQ(errno, EDOM);
    EXPECT_GE(usable, 1);
    EXPECT_LE(usable, affinity_limit());
    setenv("MOEQ_NUM_THREADS", "1", 1);
    EXPECT_EQ(usable_threads(), 1);
    setenv("MOEQ_NUM_THREADS", "1000000", 1);
    EXPECT_EQ(usable_threads(), usable) << "it lowers, it does not raise";
    setenv("MOEQ_NUM_THREADS", "many", 1);
    EXPECT_EQ(usable_threads(), usable);
    unsetenv("MOEQ_NUM_THREADS");

    cpu_set_t before;
    ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int core = 0; CPU_COUNT(&one) == 0; ++core)
        if (CPU_ISSET(core, &before))
            CPU_SET(core, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(usable_threads(), 1);
    ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

} // namespace
} // namespace moeq
