// Files that appear whole or not at all: what they replace, whose they are, what is refused. Failing system calls and killed
// processes are in tests/faults.
#include "store/container/atomic_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <regex>
#include <vector>

#include "support/store.h"

namespace moeq_test {
namespace {

using moeq::store::AtomicFile;

std::vector<std::string> names_in(const std::string& folder)
{
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

mode_t mode_of(const std::string& path)
{
    struct stat found {};
    EXPECT_EQ(::lstat(path.c_str(), &found), 0) << path;
    return found.st_mode & 07777;
}

class AtomicFiles : public testing::Test {
protected:
    moeq_status create(AtomicFile& file, const std::string& path)
    {
        return file.create(AT_FDCWD, path.c_str(), true, outcome.report);
    }
    moeq_status write(AtomicFile& file, const std::string& bytes)
    {
        return file.write(0, bytes.data(), static_cast<int64_t>(bytes.size()), outcome.report);
    }
    moeq_status save(const std::string& path, const std::string& bytes)
    {
        return moeq::store::write_file(memory.allocator, AT_FDCWD, path.c_str(), bytes.data(),
                                       static_cast<int64_t>(bytes.size()), true, outcome.report);
    }
    void refused(const std::string& path, moeq_status status, const char* class_id, const char* says)
    {
        outcome.error = {};
        moeq::Report report("test", &outcome.error);
        EXPECT_EQ(moeq::store::write_file(memory.allocator, AT_FDCWD, path.c_str(), "x", 1, true, report), status)
            << path;
        EXPECT_NE(outcome.message().find(says), std::string::npos) << outcome.message();
        EXPECT_EQ(outcome.class_id(), class_id) << outcome.message();
    }

    CountedMemory memory;
    Outcome outcome;
    TemporaryFolder folder;
};

TEST_F(AtomicFiles, appear_at_commit)
{
    const std::string path = folder.path("model.safetensors");
    {
        AtomicFile file(memory.allocator);
        ASSERT_EQ(create(file, path), MOEQ_OK) << outcome.message();
        ASSERT_EQ(write(file, "hello"), MOEQ_OK);
        const std::vector<std::string> names = names_in(folder.path());
        ASSERT_EQ(names.size(), 1u);
        EXPECT_TRUE(std::regex_match(names[0], std::regex("\\.model\\.safetensors\\.moeq-tmp-[0-9a-f]{16}")))
            << names[0];
        char back[5];
        EXPECT_EQ(file.read(0, back, 5, outcome.report), MOEQ_OK);
        EXPECT_EQ(std::string(back, 5), "hello");
        EXPECT_EQ(file.commit(outcome.report), MOEQ_OK) << outcome.message();
        EXPECT_FALSE(file.is_open());
    }
    EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"model.safetensors"});
    EXPECT_EQ(contents(path), "hello");
}

TEST_F(AtomicFiles, leave_no_trace_without_commit)
{
    const std::string path = folder.write("old", "old bytes");
    {
        AtomicFile file(memory.allocator);
        ASSERT_EQ(create(file, path), MOEQ_OK);
        ASSERT_EQ(write(file, "new"), MOEQ_OK);
        EXPECT_EQ(names_in(folder.path()).size(), 2u);
    }
    EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"old"});
    EXPECT_EQ(contents(path), "old bytes");
}

TEST_F(AtomicFiles, are_done_after_commit)
{
    AtomicFile file(memory.allocator);
    ASSERT_EQ(create(file, folder.path("a")), MOEQ_OK);
    ASSERT_EQ(file.commit(outcome.report), MOEQ_OK);
    EXPECT_EQ(write(file, "x"), MOEQ_ERROR_STATE);
    EXPECT_EQ(file.commit(outcome.report), MOEQ_ERROR_STATE);
    EXPECT_EQ(file.reserve(1, outcome.report), MOEQ_ERROR_STATE);
    char byte;
    EXPECT_EQ(file.read(0, &byte, 1, outcome.report), MOEQ_ERROR_STATE);
    ASSERT_EQ(create(file, folder.path("b")), MOEQ_OK) << "the object may be used again";
    EXPECT_EQ(file.commit(outcome.report), MOEQ_OK);
}

TEST_F(AtomicFiles, keep_the_mode_of_what_they_replace)
{
    for (const mode_t mode : {mode_t{0600}, mode_t{0640}, mode_t{0444}, mode_t{0755}, mode_t{04755}}) {
        const std::string path = folder.write("file", "old");
        ASSERT_EQ(::chmod(path.c_str(), mode), 0);
        ASSERT_EQ(save(path, "new"), MOEQ_OK) << outcome.message();
        EXPECT_EQ(mode_of(path), mode & 0777) << std::oct << mode;
        EXPECT_EQ(contents(path), "new");
        ::unlink(path.c_str());
    }
}

TEST_F(AtomicFiles, that_replace_are_private_until_then)
{
    const std::string path = folder.write("secret", "old");
    ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
    AtomicFile file(memory.allocator);
    ASSERT_EQ(create(file, path), MOEQ_OK);
    for (const std::string& name : names_in(folder.path()))
        EXPECT_EQ(mode_of(folder.path(name)), 0600u) << name;
}

TEST_F(AtomicFiles, that_are_new_get_what_the_umask_leaves)
{
    const mode_t before = ::umask(027);
    const moeq_status status = save(folder.path("file"), "new");
    ::umask(before);
    ASSERT_EQ(status, MOEQ_OK);
    EXPECT_EQ(mode_of(folder.path("file")), 0640u);
}

TEST_F(AtomicFiles, keep_owner_and_group_where_they_may)
{
    if (::geteuid() != 0)
        GTEST_SKIP() << "needs root";
    const std::string path = folder.write("file", "old");
    ASSERT_EQ(::chown(path.c_str(), 12345, 54321), 0);
    ASSERT_EQ(::chmod(path.c_str(), 0664), 0);
    ASSERT_EQ(save(path, "new"), MOEQ_OK);
    struct stat found {};
    ASSERT_EQ(::stat(path.c_str(), &found), 0);
    EXPECT_EQ(found.st_uid, 12345u);
    EXPECT_EQ(found.st_gid, 54321u);
    EXPECT_EQ(mode_of(path), 0664u);
}

// Somebody else's group may not get more than everybody: in a child that is no longer root. It stands in the folder, as only
// root may get there where $TMPDIR is root's own.
TEST_F(AtomicFiles, give_a_strange_group_nothing)
{
    if (::geteuid() != 0)
        GTEST_SKIP() << "needs root";
    const std::string path = folder.write("file", "old");
    ASSERT_EQ(::chown(path.c_str(), 12345, 54321), 0);
    ASSERT_EQ(::chmod(path.c_str(), 0664), 0);
    ASSERT_EQ(::chmod(folder.path().c_str(), 0777), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        if (::chdir(folder.path().c_str()) != 0 || ::setgid(777) != 0 || ::setuid(777) != 0)
            ::_exit(2);
        ::_exit(save("file", "new") == MOEQ_OK ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
    struct stat found {};
    ASSERT_EQ(::stat(path.c_str(), &found), 0);
    EXPECT_EQ(found.st_uid, 777u);
    EXPECT_EQ(mode_of(path), 0644u);
}

TEST_F(AtomicFiles, replace_a_link_not_its_target)
{
    const std::string blob = folder.write("blob", "of a cache");
    ASSERT_EQ(::symlink("blob", folder.path("link").c_str()), 0);
    ASSERT_EQ(save(folder.path("link"), "new"), MOEQ_OK);
    EXPECT_EQ(contents(blob), "of a cache");
    EXPECT_EQ(contents(folder.path("link")), "new");
    EXPECT_FALSE(std::filesystem::is_symlink(folder.path("link")));
}

// F20: the reader of the old file goes on reading the old file.
TEST_F(AtomicFiles, may_replace_what_is_being_read)
{
    const std::string path = folder.write("file", "old bytes");
    const int reader = ::open(path.c_str(), O_RDONLY);
    ASSERT_GE(reader, 0);
    ASSERT_EQ(save(path, "new"), MOEQ_OK);
    char bytes[16] = {};
    EXPECT_EQ(::read(reader, bytes, sizeof bytes), 9);
    EXPECT_STREQ(bytes, "old bytes");
    ::close(reader);
    EXPECT_EQ(contents(path), "new");
}

TEST_F(AtomicFiles, know_relative_paths)
{
    const int directory = ::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY);
    ASSERT_EQ(::mkdir(folder.path("sub").c_str(), 0777), 0);
    for (const char* path : {"plain", "sub/nested", "./dotted", "sub/../up", "sub//twice"}) {
        EXPECT_EQ(moeq::store::write_file(memory.allocator, directory, path, path, 3, false, outcome.report), MOEQ_OK)
            << outcome.message();
        EXPECT_EQ(contents(folder.path(path)), std::string(path, 3));
    }
    ::close(directory);
}

TEST_F(AtomicFiles, take_long_names)
{
    const std::string utf8 = "\xE2\x82\xAC";
    std::string longest = "x";
    while (longest.size() + utf8.size() <= 255)
        longest += utf8;
    AtomicFile file(memory.allocator);
    ASSERT_EQ(create(file, folder.path(longest)), MOEQ_OK) << outcome.message();
    const std::string temporary = names_in(folder.path()).at(0);
    EXPECT_LE(temporary.size(), 255u);
    EXPECT_EQ(temporary.substr(0, 1 + 199), "." + longest.substr(0, 199)) << "199: no character is cut in two";
    EXPECT_EQ(temporary.substr(200, 10), ".moeq-tmp-");
    ASSERT_EQ(file.commit(outcome.report), MOEQ_OK);
    EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{longest});
    refused(folder.path(std::string(256, 'x')), MOEQ_ERROR_IO, "F22", "ENAMETOOLONG");
}

TEST_F(AtomicFiles, refuse_what_is_no_file)
{
    ASSERT_EQ(::mkdir(folder.path("folder").c_str(), 0777), 0);
    ASSERT_EQ(::mkfifo(folder.path("pipe").c_str(), 0666), 0);
    refused(folder.path("folder"), MOEQ_ERROR_FORMAT, "F18", "a directory");
    refused(folder.path("pipe"), MOEQ_ERROR_FORMAT, "F18", "pipe");
    refused("/dev/null", MOEQ_ERROR_FORMAT, "F18", "device");
    refused(folder.path("folder/"), MOEQ_ERROR_ARGUMENT, "", "a name");
    refused(folder.path("folder/."), MOEQ_ERROR_ARGUMENT, "", "a name");
    refused(folder.path("folder/.."), MOEQ_ERROR_ARGUMENT, "", "a name");
    refused("", MOEQ_ERROR_ARGUMENT, "", "a name");
    refused(folder.path("none/file"), MOEQ_ERROR_NOT_FOUND, "F22", "none/file");
    folder.write("plain", "x");
    refused(folder.path("plain/file"), MOEQ_ERROR_NOT_FOUND, "F22", "ENOTDIR");
    EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"folder", "pipe", "plain"}));
}

// The kernel would send SIGXFSZ, which ends the process.
TEST_F(AtomicFiles, respect_the_limit_of_the_process)
{
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    rlimit small = before;
    small.rlim_cur = 1000;
    AtomicFile file(memory.allocator);
    ASSERT_EQ(create(file, folder.path("file")), MOEQ_OK);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const std::string bytes(600, 'x');
    EXPECT_EQ(file.write(0, bytes.data(), 600, outcome.report), MOEQ_OK);
    Outcome second, third;
    EXPECT_EQ(file.write(401, bytes.data(), 600, second.report), MOEQ_ERROR_IO);
    EXPECT_EQ(file.reserve(1001, third.report), MOEQ_ERROR_IO);
    EXPECT_EQ(file.write(400, bytes.data(), 600, outcome.report), MOEQ_OK) << "exactly the limit";
    ::setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_EQ(second.error.os_error, EFBIG);
    EXPECT_EQ(second.class_id(), "F21");
    EXPECT_EQ(third.error.os_error, EFBIG);
}

TEST_F(AtomicFiles, of_the_parent_outlive_a_forked_child)
{
    AtomicFile file(memory.allocator);
    ASSERT_EQ(create(file, folder.path("file")), MOEQ_OK);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        file.abandon();
        ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(names_in(folder.path()).size(), 1u);
    EXPECT_EQ(write(file, "here"), MOEQ_OK);
    EXPECT_EQ(file.commit(outcome.report), MOEQ_OK) << outcome.message();
    EXPECT_EQ(contents(folder.path("file")), "here");
}

// A host that has closed its standard streams and then prints must not print into the file.
TEST_F(AtomicFiles, stay_away_from_standard_streams)
{
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        for (int stream = 0; stream < 3; ++stream)
            ::close(stream);
        AtomicFile file(memory.allocator);
        if (create(file, folder.path("file")) != MOEQ_OK || write(file, "data") != MOEQ_OK)
            ::_exit(1);
        for (int stream = 0; stream < 3; ++stream)
            if (::write(stream, "noise", 5) != -1)
                ::_exit(2);
        ::_exit(file.commit(outcome.report) == MOEQ_OK ? 0 : 3);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 0);
    EXPECT_EQ(contents(folder.path("file")), "data");
}

TEST_F(AtomicFiles, take_their_space_at_once)
{
    AtomicFile file(memory.allocator);
    ASSERT_EQ(create(file, folder.path("file")), MOEQ_OK);
    ASSERT_EQ(file.reserve(0, outcome.report), MOEQ_OK);
    ASSERT_EQ(file.reserve(3 << 20, outcome.report), MOEQ_OK);
    struct stat found {};
    ASSERT_EQ(::stat(folder.path(names_in(folder.path()).at(0)).c_str(), &found), 0);
    if (found.st_blocks == 0)
        GTEST_SKIP() << "this file system cannot";
    EXPECT_GE(found.st_blocks * 512, 3 << 20);
    EXPECT_EQ(found.st_size, 3 << 20);
    Outcome too_large;
    EXPECT_EQ(file.reserve(INT64_MAX - 4096, too_large.report), MOEQ_ERROR_IO);
    EXPECT_EQ(too_large.class_id(), "F21") << too_large.message();
}

TEST_F(AtomicFiles, tell_when_another_process_has_cut_them)
{
    AtomicFile file(memory.allocator);
    ASSERT_EQ(create(file, folder.path("file")), MOEQ_OK);
    ASSERT_EQ(write(file, "0123456789"), MOEQ_OK);
    ASSERT_EQ(::truncate(folder.path(names_in(folder.path()).at(0)).c_str(), 4), 0);
    char bytes[10];
    EXPECT_EQ(file.read(0, bytes, 4, outcome.report), MOEQ_OK);
    EXPECT_EQ(file.read(0, bytes, 10, outcome.report), MOEQ_ERROR_TRUNCATED);
    EXPECT_EQ(outcome.class_id(), "F19");
}

TEST_F(AtomicFiles, without_memory_are_not_created)
{
    int64_t calls = 0;
    for (memory.fail_at = 0;; ++memory.fail_at) {
        memory.calls = 0;
        AtomicFile file(memory.allocator);
        const moeq_status status = create(file, folder.path("file"));
        if (status == MOEQ_OK)
            break;
        EXPECT_EQ(status, MOEQ_ERROR_MEMORY);
        EXPECT_TRUE(names_in(folder.path()).empty());
        ASSERT_LT(++calls, 10);
    }
    EXPECT_GE(calls, 1);
}

} // namespace
} // namespace moeq_test
