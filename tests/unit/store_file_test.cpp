// Opening and reading files: what is refused at once, links, files that change, digests, progress.
#include "store/container/file.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <string>
#include <vector>

#include "store/container/digest.h"
#include "store/container/folder.h"
#include "store/container/system_error.h"
#include "store/load/progress.h"
#include "support/store.h"

namespace moeq_test {
namespace {

using moeq::store::Digest;
using moeq::store::Directory;
using moeq::store::File;

moeq_status open_status(const std::string& path, Outcome& outcome)
{
    CountedMemory memory;
    File file(memory.allocator);
    return file.open(AT_FDCWD, path.c_str(), outcome.report);
}

TEST(File, reads_what_is_there)
{
    const TemporaryFolder folder;
    std::string bytes;
    for (int i = 0; i < 100'000; ++i)
        bytes += static_cast<char>(i * 31 >> 3);
    const std::string path = folder.write("data", bytes);
    CountedMemory memory;
    Outcome outcome;
    File file(memory.allocator);
    ASSERT_EQ(file.open(AT_FDCWD, path.c_str(), outcome.report), MOEQ_OK) << outcome.message();
    EXPECT_EQ(file.size(), 100'000);
    EXPECT_EQ(file.name(), path);
    EXPECT_GT(file.modified_ns(), 0);
    EXPECT_EQ(file.mapping(), nullptr);
    std::string got(1000, '\0');
    for (const int64_t offset : {0, 1, 4096, 99'000}) {
        ASSERT_EQ(file.read(offset, got.data(), 1000, outcome.report), MOEQ_OK);
        EXPECT_EQ(got, bytes.substr(static_cast<size_t>(offset), 1000));
    }
    EXPECT_EQ(file.read(100'000, got.data(), 0, outcome.report), MOEQ_OK);
    ASSERT_EQ(file.map(outcome.report), MOEQ_OK);
    EXPECT_EQ(std::string(file.mapping(), bytes.size()), bytes);
    file.close();
    EXPECT_EQ(file.mapping(), nullptr);
    EXPECT_EQ(file.descriptor(), -1);
}

TEST(File, an_empty_file_can_be_read_and_mapped)
{
    const TemporaryFolder folder;
    const std::string path = folder.write("empty", "");
    CountedMemory memory;
    Outcome outcome;
    File file(memory.allocator);
    ASSERT_EQ(file.open(AT_FDCWD, path.c_str(), outcome.report), MOEQ_OK);
    EXPECT_EQ(file.size(), 0);
    EXPECT_EQ(file.map(outcome.report), MOEQ_OK);
    EXPECT_NE(file.mapping(), nullptr);
}

TEST(File, its_descriptor_is_not_inherited)
{
    const TemporaryFolder folder;
    const std::string path = folder.write("data", "x");
    CountedMemory memory;
    Outcome outcome;
    File file(memory.allocator);
    ASSERT_EQ(file.open(AT_FDCWD, path.c_str(), outcome.report), MOEQ_OK);
    EXPECT_NE(fcntl(file.descriptor(), F_GETFD) & FD_CLOEXEC, 0);
    Directory directory;
    ASSERT_EQ(directory.open(AT_FDCWD, folder.path().c_str(), outcome.report), MOEQ_OK);
    EXPECT_NE(fcntl(directory.descriptor(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(File, what_is_not_there_is_not_found)
{
    const TemporaryFolder folder;
    folder.write("file", "x");
    for (const char* name : {"none", "none/file", "file/file"}) {
        Outcome outcome;
        EXPECT_EQ(open_status(folder.path(name), outcome), MOEQ_ERROR_NOT_FOUND) << name;
        EXPECT_NE(outcome.error.os_error, 0);
    }
    Outcome outcome;
    EXPECT_EQ(open_status("", outcome), MOEQ_ERROR_NOT_FOUND);
    const std::string loop = folder.path("loop");
    ASSERT_EQ(symlink("loop", loop.c_str()), 0);
    EXPECT_EQ(open_status(loop, outcome), MOEQ_ERROR_IO);
    EXPECT_EQ(outcome.error.os_error, ELOOP);
    EXPECT_NE(outcome.message().find("errno 40 (ELOOP: too many links)"), std::string::npos) << outcome.message();
}

// People are told what a number means, wherever it comes from.
TEST(Folder, failures_have_words)
{
    const TemporaryFolder folder;
    folder.write("file", "x");
    const auto expect_words = [](moeq_status status, const Outcome& outcome, int code, const std::string& words) {
        EXPECT_EQ(status, MOEQ_ERROR_IO);
        EXPECT_EQ(outcome.error.os_error, code);
        EXPECT_NE(outcome.message().find("errno " + std::to_string(code) + " (" + words + ")"), std::string::npos)
            << outcome.message();
    };
    Outcome made, synced, renamed, removed;
    expect_words(moeq::store::make_folder(AT_FDCWD, folder.path("a/b").c_str(), made.report), made, ENOENT,
                 "ENOENT: no such file or directory");
    expect_words(moeq::store::sync_file(AT_FDCWD, folder.path("file/b").c_str(), synced.report), synced, ENOTDIR,
                 "ENOTDIR: not a directory");
    expect_words(moeq::store::rename_new(AT_FDCWD, folder.path("c").c_str(), folder.path("d").c_str(), renamed.report),
                 renamed, ENOENT, "ENOENT: no such file or directory");
    expect_words(moeq::store::remove_file(AT_FDCWD, folder.path().c_str(), removed.report), removed, EISDIR,
                 "EISDIR: is a directory");
    EXPECT_STREQ(moeq::store::system_error_text(123456), "a system call failed");
}

TEST(File, what_is_no_regular_file_is_refused_at_once)
{
    const TemporaryFolder folder;
    const std::string fifo = folder.path("fifo");
    ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
    const std::string linked = folder.path("link");
    ASSERT_EQ(symlink(fifo.c_str(), linked.c_str()), 0);
    const std::string socket_path = folder.path("socket");
    const int socket_descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket_path.c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(bind(socket_descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);

    for (const std::string& path : {fifo, linked, socket_path, folder.path(), std::string("/dev/zero"),
                                    std::string("/dev/null"), std::string("/")}) {
        const auto begin = std::chrono::steady_clock::now();
        Outcome outcome;
        EXPECT_EQ(open_status(path, outcome), MOEQ_ERROR_FORMAT) << path;
        EXPECT_EQ(outcome.class_id(), "F18") << outcome.message();
        EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1)) << path;
    }
    close(socket_descriptor);
}

TEST(File, links_are_followed)
{
    const TemporaryFolder folder;
    std::filesystem::create_directories(folder.path("blobs"));
    std::filesystem::create_directories(folder.path("snapshots/main"));
    folder.write("blobs/abc", "contents");
    ASSERT_EQ(symlink("../../blobs/abc", folder.path("snapshots/main/file").c_str()), 0);
    Outcome outcome;
    EXPECT_EQ(open_status(folder.path("snapshots/main/file"), outcome), MOEQ_OK) << outcome.message();
}

TEST(File, one_that_has_shrunk_is_truncated)
{
    const TemporaryFolder folder;
    const std::string path = folder.write("data", std::string(10'000, 'x'));
    CountedMemory memory;
    Outcome outcome;
    File file(memory.allocator);
    ASSERT_EQ(file.open(AT_FDCWD, path.c_str(), outcome.report), MOEQ_OK);
    ASSERT_EQ(truncate(path.c_str(), 5'000), 0);
    std::string got(10'000, '\0');
    EXPECT_EQ(file.read(0, got.data(), 5'000, outcome.report), MOEQ_OK);
    EXPECT_EQ(file.read(0, got.data(), 5'001, outcome.report), MOEQ_ERROR_TRUNCATED);
    EXPECT_EQ(outcome.class_id(), "F19");
    EXPECT_NE(outcome.message().find("byte 5000"), std::string::npos) << outcome.message();
    EXPECT_EQ(file.read(9'000, got.data(), 1, outcome.report), MOEQ_ERROR_TRUNCATED);
}

TEST(File, text_is_limited_and_ended)
{
    const TemporaryFolder folder;
    const std::string path = folder.write("text", "12345");
    CountedMemory memory;
    Outcome outcome;
    File file(memory.allocator);
    ASSERT_EQ(file.open(AT_FDCWD, path.c_str(), outcome.report), MOEQ_OK);
    moeq::Array<char> text(memory.allocator);
    EXPECT_EQ(moeq::store::read_text(file, 5, &text, outcome.report), MOEQ_OK);
    EXPECT_EQ(text.size(), 6);
    EXPECT_STREQ(text.data(), "12345");
    EXPECT_EQ(moeq::store::read_text(file, 4, &text, outcome.report), MOEQ_ERROR_LIMIT);
    EXPECT_EQ(outcome.class_id(), "F02");
}

TEST(File, plain_names)
{
    const auto plain = [](const std::string& name) {
        return moeq::store::is_plain_name(name.data(), static_cast<int64_t>(name.size()));
    };
    for (const std::string name :
         {"a", "model-00001-of-00002.safetensors", "...", "..a", ".a", "a b", "\xC3\xA9", "a\\b"})
        EXPECT_TRUE(plain(name)) << name;
    for (const std::string& name :
         {std::string(""), std::string("."), std::string(".."), std::string("a/b"), std::string("/"),
          std::string("/etc/passwd"), std::string("../a"), std::string("a/"), std::string("a\0b", 3),
          std::string("\0", 1), std::string(256, 'a')})
        EXPECT_FALSE(plain(name)) << name;
}

TEST(Directory, tells_directories_from_files)
{
    const TemporaryFolder folder;
    const std::string file = folder.write("file", "x");
    Outcome outcome;
    Directory directory;
    bool found = true;
    EXPECT_EQ(directory.open_if_directory(AT_FDCWD, file.c_str(), &found, outcome.report), MOEQ_OK);
    EXPECT_FALSE(found);
    EXPECT_EQ(directory.open(AT_FDCWD, file.c_str(), outcome.report), MOEQ_ERROR_FORMAT);
    EXPECT_EQ(outcome.class_id(), "F18");
    EXPECT_EQ(directory.open_if_directory(AT_FDCWD, folder.path().c_str(), &found, outcome.report), MOEQ_OK);
    EXPECT_TRUE(found);
    EXPECT_TRUE(directory.has("file"));
    EXPECT_FALSE(directory.has("none"));
    EXPECT_EQ(directory.open(AT_FDCWD, folder.path("none").c_str(), outcome.report), MOEQ_ERROR_NOT_FOUND);
    EXPECT_EQ(directory.descriptor(), -1);
}

// ---- digests

std::string text_of(const Digest& digest)
{
    char text[moeq::store::kDigestText];
    moeq::store::print_digest(digest, text);
    return text;
}

TEST(Digest, is_xxh3_with_128_bits)
{
    // From the specification's own implementation, as xxhsum -H2 prints them.
    EXPECT_EQ(text_of(moeq::store::digest_of("", 0)), "99aa06d3014798d86001c324468d497f");
    EXPECT_EQ(text_of(moeq::store::digest_of("abc", 3)), "06b05ab6733a618578af5f94892f3950");
}

TEST(Digest, text_comes_back)
{
    const Digest digest = moeq::store::digest_of("text", 4);
    Digest parsed;
    ASSERT_TRUE(moeq::store::parse_digest(text_of(digest).c_str(), 32, &parsed));
    EXPECT_EQ(parsed, digest);
    for (const char* text : {"", "0", "0123456789abcdef0123456789abcdeg", "0123456789ABCDEF0123456789ABCDEF"})
        EXPECT_FALSE(moeq::store::parse_digest(text, static_cast<int64_t>(std::strlen(text)), &parsed)) << text;
    EXPECT_FALSE(moeq::store::parse_digest("0123456789abcdef0123456789abcdef0", 33, &parsed));
}

TEST(Digest, of_many_depends_on_order_and_count)
{
    const Digest a = moeq::store::digest_of("a", 1), b = moeq::store::digest_of("b", 1);
    const Digest ab[] = {a, b}, ba[] = {b, a}, aab[] = {a, a, b};
    EXPECT_NE(moeq::store::digest_of_all(ab, 2), moeq::store::digest_of_all(ba, 2));
    EXPECT_NE(moeq::store::digest_of_all(ab, 1), a);
    EXPECT_NE(moeq::store::digest_of_all(ab, 2), moeq::store::digest_of_all(aab, 3));
    EXPECT_EQ(moeq::store::digest_of_all(ab, 0), Digest());
}

// ---- progress

struct Told {
    std::vector<moeq_progress> calls;
    std::vector<std::string> names;
    int32_t answer = MOEQ_CONTINUE;
    static int32_t callback(const moeq_progress* progress, void* user)
    {
        auto* self = static_cast<Told*>(user);
        self->calls.push_back(*progress);
        self->names.push_back(progress->name);
        return self->answer;
    }
};

TEST(Progress, tells_stages_at_once_and_bytes_now_and_then)
{
    Told told;
    Outcome outcome;
    moeq::store::Progress progress(Told::callback, &told, 1'000'000);
    EXPECT_EQ(progress.add(MOEQ_STAGE_READ, "a", 0, outcome.report), MOEQ_OK);
    EXPECT_EQ(progress.add(MOEQ_STAGE_WRITE, "b", 10, outcome.report), MOEQ_OK);
    EXPECT_EQ(told.calls.size(), 2u);
    for (int i = 0; i < 1000; ++i)
        EXPECT_EQ(progress.add(MOEQ_STAGE_WRITE, "b", 10, outcome.report), MOEQ_OK);
    EXPECT_LT(told.calls.size(), 100u);
    EXPECT_EQ(progress.finish(outcome.report), MOEQ_OK);
    EXPECT_EQ(told.names[0], "a");
    EXPECT_EQ(told.calls[0].struct_size, sizeof(moeq_progress));
    EXPECT_EQ(told.calls[1].stage, MOEQ_STAGE_WRITE);
    EXPECT_EQ(told.calls[1].bytes_done, 10);
    EXPECT_EQ(told.calls.back().bytes_done, 1'000'000);
    EXPECT_EQ(told.calls.back().bytes_total, 1'000'000);
}

TEST(Progress, any_other_answer_cancels)
{
    for (const int32_t answer : {0, -1, 2}) {
        Told told;
        told.answer = answer;
        Outcome outcome;
        moeq::store::Progress progress(Told::callback, &told, 1);
        EXPECT_EQ(progress.add(MOEQ_STAGE_READ, "a", 1, outcome.report), MOEQ_ERROR_CANCELLED);
        EXPECT_EQ(progress.finish(outcome.report), MOEQ_ERROR_CANCELLED);
    }
    Outcome outcome;
    moeq::store::Progress nobody(nullptr, nullptr, 1);
    EXPECT_EQ(nobody.add(MOEQ_STAGE_READ, nullptr, 1, outcome.report), MOEQ_OK);
    EXPECT_EQ(nobody.finish(outcome.report), MOEQ_OK);
}

} // namespace
} // namespace moeq_test
