// Files that the writer makes: their bytes, and what it refuses. Another implementation reads them in tests/python; failing
// system calls and killed processes are in tests/faults.
#include <algorithm>
#include <thread>

#include "store_writer_files.h"

namespace moeq_test {
namespace {

TEST(Writer, writes_these_bytes)
{
    Making making(MOEQ_DIALECT_HF_FP8, "{\"who\": \"test\"}");
    making.declare("norm", MOEQ_DTYPE_FP32, {3});
    making.declare("weight", MOEQ_DTYPE_BF16, {4, 8});
    making.declare("scalar", MOEQ_DTYPE_INT64, {});
    making.declare("empty", MOEQ_DTYPE_UINT8, {0, 5});
    const std::string weight = random_bytes(64, 1), norm = random_bytes(12, 2), scalar = random_bytes(8, 3);
    making.put("norm", norm);
    making.put("scalar", scalar);
    making.put("weight", weight);
    std::string header =
        "{\"__metadata__\": {\"who\": \"test\", \"format\": \"pt\"}, "
        "\"weight\": {\"dtype\": \"BF16\", \"shape\": [4, 8], \"data_offsets\": [0, 64]}, "
        "\"empty\": {\"dtype\": \"U8\", \"shape\": [0, 5], \"data_offsets\": [64, 64]}, "
        "\"scalar\": {\"dtype\": \"I64\", \"shape\": [], \"data_offsets\": [64, 72]}, "
        "\"norm\": {\"dtype\": \"F32\", \"shape\": [3], \"data_offsets\": [72, 84]}}";
    header.resize((header.size() + 8 + 63) / 64 * 64 - 8, ' ');
    EXPECT_EQ(making.commit(), container(header, weight + scalar + norm));
}

TEST(Writer, writes_an_empty_file)
{
    Making making;
    const std::string file = making.commit();
    EXPECT_EQ(file.size() % 64, 0u);
    EXPECT_EQ(Parsed(file).header.entries.size(), 0);
}

TEST(Writer, aligns_by_order)
{
    std::mt19937 random(4);
    for (int round = 0; round < 100; ++round) {
        Making making;
        const int32_t types[] = {MOEQ_DTYPE_UINT8, MOEQ_DTYPE_BF16, MOEQ_DTYPE_FP32, MOEQ_DTYPE_FP64};
        std::vector<int64_t> sizes;
        const int count = 1 + static_cast<int>(random() % 20);
        for (int i = 0; i < count; ++i) {
            const int32_t dtype = types[random() % 4];
            const int64_t extent = static_cast<int64_t>(random() % 2 == 0 ? random() % 5 * 64 : random() % 100);
            making.declare("t" + std::to_string(i), dtype, {extent});
            sizes.push_back(extent * (dtype >> 8 & 0xFF) / 8);
        }
        for (int i = 0; i < count; ++i)
            making.put("t" + std::to_string(i), random_bytes(sizes[static_cast<size_t>(i)]));
        const std::string file = making.commit();
        const Parsed parsed(file);
        EXPECT_EQ(parsed.header.data_offset % 64, 0);
        for (const FileEntry& entry : parsed.header.entries) {
            EXPECT_EQ(entry.offset % ((entry.dtype >> 8 & 0xFF) / 8), 0) << "the alignment of its elements";
            EXPECT_EQ(entry.bytes % 64 == 0 ? entry.offset % 64 : 0, 0);
        }
    }
}

// Pieces in any order, from one thread or many, give the same file.
TEST(Writer, does_not_care_about_the_order_of_puts)
{
    struct Piece {
        std::string name;
        int64_t begin, count;
    };
    const std::vector<std::pair<std::string, int64_t>> tensors = {{"a", 3 * moeq::store::kDigestBytes},
                                                                  {"b", 2 * moeq::store::kDigestBytes + 12345},
                                                                  {"c", 100},
                                                                  {"d", 1},
                                                                  {"e", 0},
                                                                  {"f", moeq::store::kDigestBytes}};
    std::vector<std::string> data;
    for (size_t i = 0; i < tensors.size(); ++i)
        data.push_back(random_bytes(tensors[i].second, static_cast<uint32_t>(i)));
    std::string first;
    std::mt19937 random(5);
    for (int round = 0; round < 12; ++round) {
        Making making;
        std::vector<Piece> pieces;
        for (const auto& [name, bytes] : tensors) {
            making.declare(name, MOEQ_DTYPE_UINT8, {bytes});
            for (int64_t begin = 0; begin < bytes;) {
                const int64_t count = round == 0   ? bytes
                                      : round == 1 ? std::min(bytes - begin, moeq::store::kDigestBytes)
                                                   : 1 + static_cast<int64_t>(random()) % (bytes - begin);
                pieces.push_back({name, begin, count});
                begin += count;
            }
        }
        std::shuffle(pieces.begin(), pieces.end(), random);
        Outcome outcome;
        ASSERT_EQ(making.writer.start(outcome.report), MOEQ_OK);
        const auto put_share = [&](size_t share, size_t shares) {
            for (size_t i = share; i < pieces.size(); i += shares) {
                const Piece& piece = pieces[i];
                const std::string& bytes = data[static_cast<size_t>(piece.name[0] - 'a')];
                making.put(piece.name, bytes.substr(static_cast<size_t>(piece.begin), static_cast<size_t>(piece.count)),
                           piece.begin);
            }
        };
        if (round < 6) {
            put_share(0, 1);
        } else {
            std::vector<std::thread> threads;
            for (size_t t = 0; t < 4; ++t)
                threads.emplace_back(put_share, t, 4);
            for (std::thread& thread : threads)
                thread.join();
        }
        const std::string file = making.commit();
        if (first.empty())
            first = file;
        ASSERT_TRUE(file == first) << "round " << round;
        const Parsed parsed(file);
        for (size_t i = 0; i < tensors.size(); ++i)
            ASSERT_TRUE(parsed.bytes(file, tensors[i].first) == data[i]) << tensors[i].first;
    }
}

TEST(Writer, keeps_bits_of_nan)
{
    Making making;
    const uint32_t bits[] = {0x7FC00001, 0xFF800001, 0x7F812345, 0xFFFFFFFF};
    const std::string bytes(reinterpret_cast<const char*>(bits), sizeof bits);
    making.declare("x", MOEQ_DTYPE_FP32, {4});
    making.put("x", bytes);
    const std::string file = making.commit();
    EXPECT_EQ(Parsed(file).bytes(file, "x"), bytes);
}

TEST(Writer, refuses_bytes_that_are_there)
{
    Making making;
    making.declare("x", MOEQ_DTYPE_UINT8, {100});
    making.declare("y", MOEQ_DTYPE_UINT8, {100});
    making.put("x", random_bytes(10), 20);
    const auto refused = [&](int64_t begin, int64_t count, const char* says) {
        Outcome outcome;
        const std::string bytes = random_bytes(count);
        EXPECT_EQ(making.writer.put("x", begin, bytes.data(), count, outcome.report), MOEQ_ERROR_DUPLICATE);
        EXPECT_NE(outcome.message().find(says), std::string::npos) << outcome.message();
    };
    refused(20, 10, "\"x\" with byte 20 again");
    refused(25, 1, "byte 25");
    refused(0, 21, "byte 20");
    refused(0, 100, "byte 20");
    refused(29, 5, "byte 29");
    making.put("x", random_bytes(20), 0);
    making.put("x", random_bytes(70), 30);
    refused(99, 1, "byte 99");
    refused(0, 100, "byte 0");
    making.put("x", "", 50);
    making.put("y", random_bytes(100));
    making.commit();
}

TEST(Writer, refuses_bytes_outside)
{
    Making making;
    making.declare("x", MOEQ_DTYPE_BF16, {4});
    for (const auto& [begin, count] :
         {std::pair<int64_t, int64_t>{0, 9}, {8, 1}, {-1, 1}, {9, 0}, {INT64_MAX, 1}, {0, -1}}) {
        Outcome outcome;
        EXPECT_EQ(making.writer.put("x", begin, "12345678", count, outcome.report), MOEQ_ERROR_RANGE) << begin;
    }
    Outcome outcome;
    EXPECT_EQ(making.writer.put("z", 0, "1", 1, outcome.report), MOEQ_ERROR_NOT_FOUND);
    EXPECT_NE(outcome.message().find("\"z\""), std::string::npos);
    making.put("x", "12345678");
    making.commit();
}

TEST(Writer, names_what_is_missing)
{
    Making making;
    making.declare("first", MOEQ_DTYPE_UINT8, {10});
    making.declare("second", MOEQ_DTYPE_UINT8, {64});
    making.declare("nothing", MOEQ_DTYPE_UINT8, {0});
    const auto missing = [&](const char* says) {
        Outcome outcome;
        EXPECT_EQ(making.writer.commit(outcome.report), MOEQ_ERROR_INCOMPLETE);
        EXPECT_EQ(outcome.class_id(), "F28");
        EXPECT_NE(outcome.message().find(says), std::string::npos) << outcome.message();
        EXPECT_FALSE(std::filesystem::exists(making.path()));
    };
    missing("0 of 10 bytes of \"first\"");
    making.put("second", random_bytes(64));
    making.put("first", random_bytes(4), 3);
    missing("4 of 10 bytes of \"first\"");
    making.put("first", random_bytes(3), 0);
    making.put("first", random_bytes(3), 7);
    making.commit();
}

TEST(Writer, is_done_after_commit)
{
    Making making;
    making.declare("x", MOEQ_DTYPE_UINT8, {1});
    making.put("x", "1");
    making.commit();
    const auto done = [](moeq_status status, const Outcome& outcome) {
        EXPECT_EQ(status, MOEQ_ERROR_STATE);
        EXPECT_NE(outcome.message().find("committed"), std::string::npos) << outcome.message();
    };
    Outcome a, b, c, d;
    done(making.writer.commit(a.report), a);
    done(making.writer.put("x", 0, "1", 1, b.report), b);
    done(making.writer.declare("y", MOEQ_DTYPE_UINT8, 0, nullptr, c.report), c);
    done(making.writer.start(d.report), d);
}

TEST(Writer, refuses_declarations)
{
    Making making;
    making.declare("x", MOEQ_DTYPE_UINT8, {2});
    const auto refused = [&](const std::string& name, int32_t dtype, const Shape& shape, moeq_status status,
                             const char* class_id, const char* says) {
        Outcome outcome;
        EXPECT_EQ(making.writer.declare(name.c_str(), dtype, static_cast<int32_t>(shape.size()), shape.data(),
                                        outcome.report),
                  status)
            << outcome.message();
        EXPECT_EQ(outcome.class_id(), class_id);
        EXPECT_NE(outcome.message().find(says), std::string::npos) << outcome.message();
    };
    refused("x", MOEQ_DTYPE_UINT8, {2}, MOEQ_ERROR_DUPLICATE, "", "\"x\"");
    refused("__metadata__", MOEQ_DTYPE_UINT8, {2}, MOEQ_ERROR_ARGUMENT, "", "__metadata__");
    refused("a\xff", MOEQ_DTYPE_UINT8, {2}, MOEQ_ERROR_ARGUMENT, "", "UTF-8");
    refused(std::string(4097, 'n'), MOEQ_DTYPE_UINT8, {2}, MOEQ_ERROR_LIMIT, "", "4097 bytes; want at most 4096");
    refused("y", 0x12345, {2}, MOEQ_ERROR_DTYPE, "", "another type");
    refused("y", MOEQ_DTYPE_UINT8, {2, -1}, MOEQ_ERROR_SHAPE, "F03", "[2, -1]");
    refused("y", MOEQ_DTYPE_FP32, {INT64_MAX}, MOEQ_ERROR_SHAPE, "F03", "2^63");
    refused("y", MOEQ_DTYPE_UINT8, {INT64_MAX}, MOEQ_ERROR_SHAPE, "F03", "2^63");
    refused("y", MOEQ_DTYPE_FP4_E2M1, {3}, MOEQ_ERROR_SHAPE, "F03", "whole bytes");
    refused("y", MOEQ_DTYPE_UINT8, Shape(9, 1), MOEQ_ERROR_SHAPE, "", "want 0 to 8");
    making.declare(std::string(4096, 'n'), MOEQ_DTYPE_UINT8, {0});
    making.declare("", MOEQ_DTYPE_UINT8, {0});
    making.declare("quote \" backslash \\ newline \n \xE2\x82\xAC", MOEQ_DTYPE_FP4_E2M1, {2});
    making.put("x", "12");
    refused("y", MOEQ_DTYPE_UINT8, {2}, MOEQ_ERROR_STATE, "", "before the first put");
    making.put("quote \" backslash \\ newline \n \xE2\x82\xAC", "4");
    const std::string file = making.commit();
    EXPECT_EQ(Parsed(file).bytes(file, "quote \" backslash \\ newline \n \xE2\x82\xAC"), "4");
}

// F24: many long names make a header that every reader would refuse.
TEST(Writer, refuses_a_header_that_is_too_large)
{
    Making making;
    std::string name(4000, 'n');
    for (int i = 0; i < 25'000; ++i) {
        std::snprintf(name.data(), 9, "%08u", static_cast<unsigned>(i) % 100000000u);
        name[8] = 'n';
        making.declare(name, MOEQ_DTYPE_UINT8, {0});
    }
    Outcome outcome;
    EXPECT_EQ(making.writer.start(outcome.report), MOEQ_ERROR_LIMIT);
    EXPECT_EQ(outcome.class_id(), "F24");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(making.folder.path()), {}), 1);
    for (const auto& entry : std::filesystem::directory_iterator(making.folder.path()))
        EXPECT_EQ(entry.file_size(), 0u) << "not a byte was written";
}

TEST(Writer, metadata)
{
    Making making(MOEQ_DIALECT_HF_FP8, "{\"format\": \"np\", \"text\": \"\\u20ac \\\"\\n\\u0001\"}");
    const std::string file = making.commit();
    const Parsed parsed(file);
    const moeq::text::JsonValue metadata = parsed.header.metadata();
    EXPECT_EQ(metadata.size(), 2);
    EXPECT_TRUE(metadata.find("format").equals("np")) << "the caller's word counts";
    EXPECT_TRUE(metadata.find("text").equals("\xE2\x82\xAC \"\n\x01"));
}

TEST(Writer, refuses_metadata)
{
    for (const char* text :
         {"", "[]", "1", "{", "{\"a\": 1}", "{\"a\": {\"b\": \"c\"}}", "{\"a\": \"b\", \"a\": \"c\"}",
          "{\"a\": \"\xff\"}", "{\"moeq.version\": \"1\"}", "{\"a\": null}", "{} {}"}) {
        const TemporaryFolder folder;
        CountedMemory memory;
        SafetensorsWriter writer(memory.allocator);
        Outcome outcome;
        EXPECT_EQ(writer.create(AT_FDCWD, folder.path("x").c_str(), *moeq::store::find_dialect(MOEQ_DIALECT_NATIVE),
                                text, true, outcome.report),
                  MOEQ_ERROR_ARGUMENT)
            << text;
        EXPECT_EQ(outcome.error.argument, 3);
        EXPECT_NE(outcome.message().find("options.metadata: got "), std::string::npos) << outcome.message();
        EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    }
}

TEST(DigestOfFile, changes_with_every_byte)
{
    Making making;
    making.declare("x", MOEQ_DTYPE_UINT8, {moeq::store::kDigestBytes + 100});
    making.put("x", random_bytes(moeq::store::kDigestBytes + 100));
    const std::string file = making.commit();
    const Digest digest = making.writer.digest();
    std::mt19937 random(6);
    for (int i = 0; i < 50; ++i) {
        std::string changed = file;
        const size_t data = file.size() - static_cast<size_t>(moeq::store::kDigestBytes) - 100;
        changed[data + random() % (file.size() - data)] ^= static_cast<char>(1 << random() % 8);
        making.folder.write("changed", changed);
        Digest other;
        Outcome outcome;
        ASSERT_EQ(digest_of_file(making.memory.allocator, AT_FDCWD, making.folder.path("changed").c_str(), &other,
                                 outcome.report),
                  MOEQ_OK);
        EXPECT_TRUE(other != digest);
    }
}

} // namespace
} // namespace moeq_test
