// A save whose system calls fail, each of them in every way. The file is the old one or the new one, whole; the caller is told;
// nothing else stays behind.
#include <errno.h>

#include "file_save.h"
#include "file_shim.h"

namespace moeq_test {
namespace {

class FileFaults : public testing::TestWithParam<Case> {};

// What must come of one fault: whether the save succeeds all the same, and which file is there.
struct Wanted {
    bool succeeds;
    bool new_file;
};

Wanted wanted_of(const FileFault& fault, bool durable)
{
    const bool harmless =
        fault.error == EINTR || fault.error == kShortCount || fault.call == FileCall::kRandom; // another source is used
    const bool directory_closed = fault.call == FileCall::kClose && fault.nth == 2; // after everything is done
    const bool directory_synced = fault.call == FileCall::kSync && fault.nth == 2 && durable;
    if (harmless || directory_closed)
        return {true, true};
    return {false, directory_synced};
}

TEST_P(FileFaults, AreToldAndLeaveAWholeFile)
{
    World world;
    Save save(world);
    const Folder folder;
    const std::string fresh = save.bytes();
    const std::string old = GetParam().old == nullptr ? "" : GetParam().old;
    const bool durable = GetParam().flags == 0;

    folder.set(old);
    watch_file_calls();
    EXPECT_DONE(save.run(folder.target(), GetParam().flags, &err));
    const FileCalls undisturbed = disarm_file_calls();
    for (const FileCall call : {FileCall::kOpen, FileCall::kStat, FileCall::kWrite, FileCall::kRename, FileCall::kClose,
                                FileCall::kAllocate, FileCall::kRandom})
        ASSERT_GE(undisturbed.of(call), 1) << file_call_name(call) << ": the shim is not in between";
    ASSERT_EQ(undisturbed.of(FileCall::kSync), durable ? 2 : 0);
    ASSERT_EQ(undisturbed.of(FileCall::kUnlink), 0);

    for_each_file_fault(undisturbed, [&](const FileFault& fault) {
        folder.set(old);
        const int64_t live = world.hooks.live_bytes();
        const std::vector<int> descriptors = open_descriptors();
        moeq_error err{};
        errno = 0;
        fail_file_call(fault);
        const moeq_status status = save.run(folder.target(), GetParam().flags, &err);
        const FileCalls seen = disarm_file_calls();
        const Wanted wanted = wanted_of(fault, durable);
        EXPECT_EQ(errno, 0) << "the caller's errno";
        EXPECT_EQ(status, wanted.succeeds ? MOEQ_OK : MOEQ_ERROR_IO) << err.message;
        if (!wanted.succeeds) {
            EXPECT_EQ(err.status, status);
            EXPECT_EQ(err.os_error, fault.error) << err.message;
            EXPECT_EQ(std::string(err.class_id).substr(0, 2), "F2") << err.message;
            EXPECT_NE(std::string(err.message).find("model.safetensors"), std::string::npos) << err.message;
        }
        EXPECT_TRUE(contents(folder.target()) == (wanted.new_file ? fresh : old));
        EXPECT_EQ(fs::exists(folder.target()), wanted.new_file || !old.empty());
        EXPECT_EQ(folder.others(), std::vector<std::string>()) << "a temporary file stays";
        EXPECT_EQ(open_descriptors(), descriptors);
        EXPECT_EQ(world.hooks.live_bytes(), live);
        return seen;
    });
}

// The directory cannot be made durable: the one failure after which the new file is there.
TEST(FileFaults, DirectoryThatCannotBeSynced)
{
    World world;
    Save save(world);
    const Folder folder;
    moeq_error err{};
    fail_file_call({FileCall::kSync, 2, EIO, false});
    EXPECT_EQ(save.run(folder.target(), 0, &err), MOEQ_ERROR_IO);
    disarm_file_calls();
    EXPECT_NE(std::string(err.message).find("the new file is in place"), std::string::npos) << err.message;
    for (const int no_meaning : {EINVAL, EOPNOTSUPP, ENOSYS}) {
        fail_file_call({FileCall::kSync, 2, no_meaning, false});
        EXPECT_DONE(save.run(folder.target(), 0, &err));
        EXPECT_TRUE(disarm_file_calls().met);
    }
}

// Linux tells a lost page once: a second fsync would lie, so there is none.
TEST(FileFaults, FailedSyncIsFinal)
{
    World world;
    const Folder folder;
    moeq_writer* writer = nullptr;
    EXPECT_DONE(moeq_writer_create(world.context, folder.target().c_str(), nullptr, &writer, &err));
    fail_file_call({FileCall::kSync, 1, EIO, false});
    EXPECT_EQ(moeq_writer_commit(writer, nullptr), MOEQ_ERROR_IO);
    EXPECT_EQ(folder.others(), std::vector<std::string>());
    EXPECT_EQ(moeq_writer_commit(writer, nullptr), MOEQ_ERROR_STATE);
    EXPECT_EQ(disarm_file_calls().of(FileCall::kSync), 1);
    moeq_writer_destroy(writer);
    EXPECT_FALSE(fs::exists(folder.target()));
}

// Space that cannot be had at once is found while writing; nobody is told that the file system cannot promise it.
TEST(FileFaults, FileSystemsThatCannotReserve)
{
    World world;
    Save save(world);
    const std::string fresh = save.bytes();
    for (const int error : {EOPNOTSUPP, ENOSYS, EINVAL, EINTR}) {
        const Folder folder;
        fail_file_call({FileCall::kAllocate, 1, error, true});
        EXPECT_DONE(save.run(folder.target(), 0, &err));
        EXPECT_TRUE(disarm_file_calls().met);
        EXPECT_TRUE(contents(folder.target()) == fresh);
    }
}

// Even then the leftover can be told by its name.
TEST(FileFaults, TemporaryFileThatCannotBeRemoved)
{
    World world;
    const Folder folder;
    moeq_writer* writer = nullptr;
    EXPECT_DONE(moeq_writer_create(world.context, folder.target().c_str(), nullptr, &writer, &err));
    fail_file_call({FileCall::kUnlink, 1, EIO, true});
    moeq_writer_destroy(writer);
    EXPECT_TRUE(disarm_file_calls().met);
    EXPECT_EQ(folder.others().size(), 1u);
    folder.remove_leftovers();
}

// A put that fails counts as not put: when there is room again it may be repeated.
TEST(FileFaults, PutMayBeRepeated)
{
    World world;
    const Folder folder;
    const Shape shape = {300'000};
    HostTensor tensor(MOEQ_DTYPE_UINT8, shape);
    moeq_writer* writer = nullptr;
    EXPECT_DONE(moeq_writer_create(world.context, folder.target().c_str(), nullptr, &writer, &err));
    EXPECT_DONE(moeq_writer_declare(writer, "x", nullptr, MOEQ_DTYPE_UINT8, 1, shape.data(), &err));
    for (const char* what : {"the header", "the tensor"}) {
        moeq_error err{};
        fail_file_call({FileCall::kWrite, 1, ENOSPC, false});
        EXPECT_EQ(moeq_writer_put(writer, "x", tensor, nullptr, &err), MOEQ_ERROR_IO);
        EXPECT_TRUE(disarm_file_calls().met) << what;
        EXPECT_EQ(err.os_error, ENOSPC);
        EXPECT_EQ(moeq_writer_commit(writer, nullptr), MOEQ_ERROR_INCOMPLETE); // the header is there now
    }
    EXPECT_DONE(moeq_writer_put(writer, "x", tensor, nullptr, &err));
    EXPECT_DONE(moeq_writer_commit(writer, &err));
    moeq_writer_destroy(writer);
    EXPECT_TRUE(fs::exists(folder.target()));
}

INSTANTIATE_TEST_SUITE_P(Saves, FileFaults, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

} // namespace
} // namespace moeq_test
