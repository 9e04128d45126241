// Slow (a minute, 5 GB of disk): a file with an entry beyond 2^32 bytes, written in parts without keeping any, and one call that
// writes more than the kernel takes at once.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "store/write/file_digest.h"
#include "store/write/safetensors_writer.h"
#include "support/store.h"

namespace moeq_test {
namespace {

constexpr int64_t kBeyond = (int64_t{1} << 32) + 12345;
constexpr int64_t kMegabyte = int64_t{1} << 20;

bool has_room(const TemporaryFolder& folder)
{
    struct statvfs disk {};
    return ::statvfs(folder.path().c_str(), &disk) == 0 &&
           static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize) > 8e9;
}

// The most memory that the process ever had, in bytes.
int64_t peak_memory()
{
    std::ifstream status("/proc/self/status");
    std::string word;
    while (status >> word)
        if (word == "VmHWM:") {
            int64_t kilobytes = 0;
            status >> kilobytes;
            return kilobytes * 1024;
        }
    return 0;
}

// Bytes [begin, begin + count) of the entry: each one depends on its place.
void fill(int64_t begin, int64_t count, char* out)
{
    for (int64_t i = 0; i < count; ++i) {
        const uint64_t at = static_cast<uint64_t>(begin + i);
        out[i] = static_cast<char>(at ^ at >> 8 ^ at >> 16 ^ at >> 24 ^ at >> 32);
    }
}

TEST(LargeFiles, EntryBeyond32Bits)
{
    const TemporaryFolder folder;
    if (!has_room(folder))
        GTEST_SKIP() << "needs 8 GB of disk";
    const std::string path = folder.path("large.safetensors");
    CountedMemory memory;
    Outcome outcome;
    const int64_t before = peak_memory();
    moeq::store::Digest digest, of_file;
    {
        moeq::store::SafetensorsWriter writer(memory.allocator);
        const int64_t small = 7;
        ASSERT_EQ(writer.create(AT_FDCWD, path.c_str(), *moeq::store::find_dialect(MOEQ_DIALECT_NATIVE), nullptr, false,
                                outcome.report),
                  MOEQ_OK);
        ASSERT_EQ(writer.declare("large", MOEQ_DTYPE_UINT8, 1, &kBeyond, outcome.report), MOEQ_OK);
        ASSERT_EQ(writer.declare("small", MOEQ_DTYPE_UINT8, 1, &small, outcome.report), MOEQ_OK);
        std::vector<char> part(16 * kMegabyte);
        // From the end, so that nothing can depend on the order.
        for (int64_t end = kBeyond; end > 0;) {
            const int64_t count = std::min<int64_t>(end, static_cast<int64_t>(part.size()));
            fill(end - count, count, part.data());
            ASSERT_EQ(writer.put("large", end - count, part.data(), count, outcome.report), MOEQ_OK)
                << outcome.message();
            end -= count;
        }
        ASSERT_EQ(writer.put("small", 0, "small!!", small, outcome.report), MOEQ_OK);
        ASSERT_EQ(writer.commit(outcome.report), MOEQ_OK) << outcome.message();
        digest = writer.digest();
        EXPECT_EQ(writer.bytes(), static_cast<int64_t>(std::filesystem::file_size(path)));
    }
    ASSERT_EQ(digest_of_file(memory.allocator, AT_FDCWD, path.c_str(), &of_file, outcome.report), MOEQ_OK);
    EXPECT_TRUE(digest == of_file);
    EXPECT_LT(peak_memory() - before, 64 * kMegabyte);

    moeq::store::File file(memory.allocator);
    moeq::store::FileHeader header(memory.allocator);
    ASSERT_EQ(file.open(AT_FDCWD, path.c_str(), outcome.report), MOEQ_OK);
    ASSERT_EQ(read_header(file, moeq::store::kHeaderLimit, &header, outcome.report), MOEQ_OK) << outcome.message();
    ASSERT_EQ(header.entries.size(), 2);
    EXPECT_EQ(header.entries[0].bytes, kBeyond);
    for (const int64_t at : {int64_t{0}, (int64_t{1} << 31) - 50, (int64_t{1} << 32) - 50, kBeyond - 100}) {
        char found[100], wanted[100];
        fill(at, 100, wanted);
        ASSERT_EQ(file.read(header.entries[0].offset + at, found, 100, outcome.report), MOEQ_OK);
        EXPECT_EQ(std::memcmp(found, wanted, 100), 0) << at;
    }
    char found[7];
    ASSERT_EQ(file.read(header.entries[1].offset, found, 7, outcome.report), MOEQ_OK);
    EXPECT_EQ(std::string(found, 7), "small!!");
}

// F23: Linux moves at most 0x7FFFF000 bytes in one call.
TEST(LargeFiles, WriteBeyond31Bits)
{
    constexpr int64_t kBytes = (int64_t{1} << 31) + (int64_t{1} << 28) + 5;
    const TemporaryFolder folder;
    if (!has_room(folder))
        GTEST_SKIP() << "needs 8 GB of disk";
    // Zeros that take no memory, but for the last page.
    char* bytes = static_cast<char*>(
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    ASSERT_NE(bytes, MAP_FAILED);
    std::memcpy(bytes + kBytes - 5, "tail!", 5);
    CountedMemory memory;
    Outcome outcome;
    const std::string path = folder.path("large");
    EXPECT_EQ(moeq::store::write_file(memory.allocator, AT_FDCWD, path.c_str(), bytes, kBytes, false, outcome.report),
              MOEQ_OK)
        << outcome.message();
    ::munmap(bytes, kBytes);
    ASSERT_EQ(std::filesystem::file_size(path), static_cast<uintmax_t>(kBytes));
    std::ifstream file(path, std::ios::binary);
    file.seekg(kBytes - 6);
    char tail[6];
    file.read(tail, 6);
    EXPECT_EQ(std::string(tail, 6), std::string("\0tail!", 6));
}

} // namespace
} // namespace moeq_test
