// A conversion that goes wrong: every call on files of it fails in every way, the process is killed at every call, several
// processes share the units and one of them dies. TARGET is never there half, and doing it again gives the undisturbed bytes.
#include <errno.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "file_shim.h"
#include "support/calls_base.h"
#include "support/checkpoint_files.h"

namespace moeq_test {
namespace {

namespace fs = std::filesystem;

const std::string kTiny = MOEQ_SOURCE_DIR "/tests/data/tiny-moe";
constexpr int kFailed = 78; // a child that was told so

// In memory where there is room for files: thousands of conversions are made.
class Folder : public TemporaryFolder {
public:
    Folder() : TemporaryFolder(fs::exists("/dev/shm") ? "/dev/shm" : fs::temp_directory_path()) {}

    std::string target() const { return path("target"); }
    std::string partial() const { return target() + ".partial"; }
    void clear() const
    {
        fs::remove_all(target());
        fs::remove_all(partial());
    }
};

using Tree = std::map<std::string, std::string>;
Tree tree(const std::string& path)
{
    Tree out;
    for (const auto& entry : fs::directory_iterator(path))
        out[entry.path().filename().string()] = contents(entry.path());
    return out;
}

void expect_same(const Tree& got, const Tree& wanted)
{
    for (const auto& [name, bytes] : wanted) {
        EXPECT_EQ(got.count(name), 1u) << name << " is missing";
        EXPECT_TRUE(got.count(name) == 0 || got.at(name) == bytes) << name << " differs";
    }
    for (const auto& [name, bytes] : got)
        EXPECT_EQ(wanted.count(name), 1u) << name << " is there too";
}

// One conversion by a context of its own, serial: the order of calls is always the same.
struct Work {
    std::string source = kTiny;
    std::string target;
    int32_t flags = MOEQ_WRITER_NOT_DURABLE;
    int32_t steps = 0;
    int64_t unit_begin = 0;
    int64_t unit_end = 0;

    moeq_status run(moeq_error* err) const
    {
        auto context_options = sized<moeq_context_options>();
        context_options.thread_limit = 1;
        moeq_context* context = nullptr;
        EXPECT_EQ(moeq_context_create(&context_options, &context, err), MOEQ_OK);
        const moeq_spec spec = parse("nf4");
        auto options = sized<moeq_convert_options>();
        options.spec = &spec;
        options.flags = flags;
        options.steps = steps;
        options.unit_begin = unit_begin;
        options.unit_end = unit_end;
        const moeq_status status = moeq_convert(context, source.c_str(), target.c_str(), &options, err);
        moeq_context_destroy(context);
        return status;
    }
};

// The exit status of a child that does the work; kill_at: it ends at this call on files. 0: it lives.
int run_in_child(const Work& work, int64_t kill_at, bool torn)
{
    const pid_t child = fork();
    if (child == 0) {
        if (kill_at > 0)
            kill_at_file_call(kill_at, torn);
        _exit(work.run(nullptr) == MOEQ_OK ? 0 : kFailed);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    return WEXITSTATUS(status);
}

// A checkpoint of one stack, one other tensor and a small file.
class Small {
public:
    Small()
    {
        HostTensor experts(MOEQ_DTYPE_BF16, {2, 16, 64});
        HostTensor norm(MOEQ_DTYPE_BF16, {64});
        experts.fill(1);
        norm.fill(2);
        ContainerFile file;
        file.add("model.norm.weight", norm);
        file.add("model.layers.0.mlp.experts.down_proj", experts);
        write_sharded(folder_, {file});
        folder_.write("config.json", "{\"model_type\": \"qwen3_moe\"}");
        folder_.write("tokenizer.json", "{}");
    }
    std::string path() const { return folder_.path(); }

private:
    TemporaryFolder folder_;
};

Tree undisturbed(Work work)
{
    const Folder folder;
    work.target = folder.target();
    moeq_error err{};
    EXPECT_EQ(work.run(&err), MOEQ_OK) << err.message;
    EXPECT_FALSE(fs::exists(folder.partial()));
    return tree(folder.target());
}

// TARGET is whole or not there; then what is missing is done.
void expect_recovers(const Work& work, const Folder& folder, const Tree& wanted)
{
    moeq_error err{};
    if (!fs::exists(folder.target())) {
        EXPECT_EQ(work.run(&err), MOEQ_OK) << err.message;
    }
    expect_same(tree(folder.target()), wanted);
    EXPECT_FALSE(fs::exists(folder.partial()));
}

// What was written without waiting for the disk is synced by the durable call that takes it over, whichever steps that has.
TEST(ConvertSync, UnitsOfOthersToo)
{
    const Small source;
    const auto synced = [&](int32_t steps, bool undurable_before) {
        const Folder folder;
        Work work{.source = source.path(), .target = folder.target()};
        moeq_error err{};
        if (undurable_before) {
            work.steps = MOEQ_CONVERT_UNITS;
            EXPECT_EQ(work.run(&err), MOEQ_OK) << err.message;
        }
        work.steps = steps;
        work.flags = 0;
        watch_file_calls();
        const moeq_status status = work.run(&err);
        const FileCalls seen = disarm_file_calls();
        EXPECT_EQ(status, MOEQ_OK) << err.message;
        return seen.of(FileCall::kSync);
    };
    // Plan, records and directories aside: two units, index, config.json, tokenizer.json, report.
    const int64_t alone = synced(0, false);
    EXPECT_GE(alone, 6);
    EXPECT_GE(synced(0, true), 6);
    EXPECT_GE(synced(MOEQ_CONVERT_FINISH, true), 6);
    EXPECT_EQ(synced(0, true), synced(MOEQ_CONVERT_FINISH, true));
}

TEST(ConvertFaults, EveryCallOnFilesFails)
{
    const Small small;
    const Folder folder;
    for (const int32_t flags : {MOEQ_WRITER_NOT_DURABLE, 0}) {
        const Work work{.source = small.path(), .target = folder.target(), .flags = flags};
        const Tree wanted = undisturbed(work);
        moeq_error err{};
        watch_file_calls();
        EXPECT_EQ(work.run(&err), MOEQ_OK) << err.message;
        const FileCalls calls = disarm_file_calls();
        for (const FileCall call : {FileCall::kOpen, FileCall::kStat, FileCall::kRead, FileCall::kWrite,
                                    FileCall::kRename, FileCall::kUnlink, FileCall::kMkdir})
            ASSERT_GE(calls.of(call), 1) << file_call_name(call) << ": the shim is not in between";
        EXPECT_EQ(calls.of(FileCall::kSync) > 0, flags == 0);
        int failed = 0;
        for_each_file_fault(calls, [&](const FileFault& fault) {
            folder.clear();
            const std::vector<int> descriptors = open_descriptors();
            fail_file_call(fault);
            const moeq_status status = work.run(&err);
            const FileCalls seen = disarm_file_calls();
            failed += status != MOEQ_OK ? 1 : 0;
            if (status == MOEQ_OK)
                expect_same(tree(folder.target()), wanted);
            else
                expect_recovers(work, folder, wanted);
            if (fault.error == EINTR || fault.error == kShortCount) {
                EXPECT_EQ(status, MOEQ_OK) << err.message;
            }
            EXPECT_EQ(open_descriptors(), descriptors);
            return seen;
        });
        EXPECT_GE(failed, 100);
        folder.clear();
    }
}

TEST(ConvertFaults, KilledAtEveryCallOnFiles)
{
    const Small small;
    const Folder folder;
    for (const bool torn : {false, true}) {
        const Work work{.source = small.path(), .target = folder.target(), .flags = 0};
        const Tree wanted = undisturbed(work);
        int64_t kills = 0;
        for (;; ++kills) {
            folder.clear();
            SCOPED_TRACE("killed at call " + std::to_string(kills + 1) + (torn ? ", torn" : ""));
            const int status = run_in_child(work, kills + 1, torn);
            if (status == 0)
                break;
            ASSERT_EQ(status, kKilled);
            expect_recovers(work, folder, wanted);
            if (HasFailure())
                return;
        }
        expect_same(tree(folder.target()), wanted);
        EXPECT_GE(kills, 50);
    }
}

// Killed again and again on the way through one conversion.
TEST(ConvertFaults, KilledWhileRecovering)
{
    const Folder folder;
    const Work work{.target = folder.target()};
    const Tree wanted = undisturbed(work);
    int kills = 0;
    int status = kKilled;
    for (int64_t at = 60; status == kKilled && kills < 1000; at += 3) {
        status = run_in_child(work, at, kills % 2 == 0);
        kills += status == kKilled ? 1 : 0;
        if (status == kKilled && fs::exists(folder.target()))
            break;
    }
    EXPECT_GE(kills, 3);
    expect_same(tree(folder.target()), wanted);
}

TEST(ConvertFaults, FourProcessesAndOneDies)
{
    const Folder folder;
    Work work{.target = folder.target()};
    const Tree wanted = undisturbed(work);
    work.steps = MOEQ_CONVERT_UNITS;
    // Most have some units of their own and one that another one has too.
    const int64_t ranges[4][2] = {{0, 3}, {3, 5}, {4, 7}, {6, 9}};
    // What comes before the first unit, in a directory that has been begun: no unit is from 3 to 3.
    work.unit_begin = work.unit_end = 3;
    moeq_error err{};
    EXPECT_EQ(work.run(&err), MOEQ_OK) << err.message;
    watch_file_calls();
    EXPECT_EQ(work.run(&err), MOEQ_OK) << err.message;
    const int64_t before_units = disarm_file_calls().total();
    std::vector<pid_t> children;
    for (int i = 0; i < 4; ++i) {
        const pid_t child = fork();
        if (child == 0) {
            Work own = work;
            own.unit_begin = ranges[i][0];
            own.unit_end = ranges[i][1];
            if (i == 1)
                kill_at_file_call(before_units + 8, true); // inside of its first unit
            _exit(own.run(nullptr) == MOEQ_OK ? 0 : kFailed);
        }
        children.push_back(child);
    }
    for (int i = 0; i < 4; ++i) {
        int status = 0;
        ASSERT_EQ(waitpid(children[static_cast<size_t>(i)], &status, 0), children[static_cast<size_t>(i)]);
        ASSERT_TRUE(WIFEXITED(status));
        EXPECT_EQ(WEXITSTATUS(status), i == 1 ? kKilled : 0);
    }
    work.unit_begin = work.unit_end = 0;
    work.steps = MOEQ_CONVERT_FINISH;
    EXPECT_EQ(work.run(&err), MOEQ_ERROR_INCOMPLETE);
    EXPECT_NE(std::string(err.message).find("not as written: "), std::string::npos) << err.message;
    EXPECT_FALSE(fs::exists(folder.target()));
    work.steps = 0;
    EXPECT_EQ(work.run(&err), MOEQ_OK) << err.message;
    expect_same(tree(folder.target()), wanted);
}

// All do everything, at the same time, and one dies.
TEST(ConvertFaults, TheSameUnitsAtOnce)
{
    const Folder folder;
    Work work{.target = folder.target()};
    const Tree wanted = undisturbed(work);
    work.steps = MOEQ_CONVERT_UNITS;
    for (int64_t kill_at = 60; kill_at < 400; kill_at += 37) {
        folder.clear();
        std::vector<pid_t> children;
        for (int i = 0; i < 4; ++i) {
            const pid_t child = fork();
            if (child == 0) {
                if (i == 2)
                    kill_at_file_call(kill_at);
                _exit(work.run(nullptr) == MOEQ_OK ? 0 : kFailed);
            }
            children.push_back(child);
        }
        for (const pid_t child : children) {
            int status = 0;
            ASSERT_EQ(waitpid(child, &status, 0), child);
            EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) != kFailed);
        }
        Work finish = work;
        finish.steps = MOEQ_CONVERT_FINISH;
        moeq_error err{};
        EXPECT_EQ(finish.run(&err), MOEQ_OK) << err.message;
        expect_same(tree(folder.target()), wanted);
    }
}

} // namespace
} // namespace moeq_test
