// The container's header: what comes out of good ones, the types, the order, and bounds of time and memory. Bad ones
// are in tests/hostile.
#include "store/container/safetensors.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/store.h"

namespace moeq_test {
namespace {

using moeq::store::FileEntry;
using moeq::store::FileHeader;

// A header parsed from memory that ends where the header does.
struct Parsed {
    explicit Parsed(const std::string& bytes, int64_t limit = moeq::store::kHeaderLimit)
    {
        const std::vector<char> copy(bytes.begin(), bytes.end());
        status = moeq::store::parse_header(copy.data(), static_cast<int64_t>(copy.size()),
                                           static_cast<int64_t>(copy.size()), limit, &header, outcome.report);
    }
    std::string names() const
    {
        std::string names;
        for (int64_t i = 0; i < header.entries.size(); ++i)
            names += header.entries[i].name + std::string(i + 1 < header.entries.size() ? " " : "");
        return names;
    }

    CountedMemory memory;
    FileHeader header{memory.allocator};
    Outcome outcome;
    moeq_status status;
};

TEST(Safetensors, tells_names_types_shapes_and_places)
{
    const std::string text = "{\"__metadata__\": {\"format\": \"pt\", \"\": \"x\"}, " +
                             tensor("a.weight", "BF16", "[2, 3]", 0, 12) + ", " + tensor("b", "F32", "[]", 12, 16) +
                             ", " + tensor("c", "I64", "[0, 5]", 16, 16) + "}";
    const Parsed parsed(container(text, std::string(16, 'x')));
    ASSERT_EQ(parsed.status, MOEQ_OK) << parsed.outcome.message();
    ASSERT_EQ(parsed.header.entries.size(), 3);
    const int64_t data = 8 + static_cast<int64_t>(text.size());
    EXPECT_EQ(parsed.header.data_offset, data);
    const FileEntry& a = parsed.header.entries[0];
    EXPECT_STREQ(a.name, "a.weight");
    EXPECT_EQ(a.name_length, 8);
    EXPECT_EQ(a.dtype, MOEQ_DTYPE_BF16);
    EXPECT_EQ(a.ndim, 2);
    EXPECT_EQ(a.shape[0], 2);
    EXPECT_EQ(a.shape[1], 3);
    EXPECT_EQ(a.offset, data);
    EXPECT_EQ(a.bytes, 12);
    const FileEntry& b = parsed.header.entries[1];
    EXPECT_EQ(b.ndim, 0);
    EXPECT_EQ(b.bytes, 4);
    const FileEntry& c = parsed.header.entries[2];
    EXPECT_EQ(c.bytes, 0);
    EXPECT_EQ(c.offset, data + 16);
    EXPECT_TRUE(parsed.header.metadata().find("format").equals("pt"));
    EXPECT_TRUE(parsed.header.metadata().find("").equals("x"));
    EXPECT_EQ(parsed.header.metadata().size(), 2);
}

TEST(Safetensors, files_without_tensors_or_metadata_are_fine)
{
    for (const std::string text : {"{}", "{}        ", "{\"__metadata__\": {}}", "{ }\n"}) {
        const Parsed parsed(container(text));
        ASSERT_EQ(parsed.status, MOEQ_OK) << text << parsed.outcome.message();
        EXPECT_EQ(parsed.header.entries.size(), 0);
    }
    EXPECT_TRUE(Parsed(container("{}")).header.metadata().missing());
    EXPECT_TRUE(Parsed(container("{\"__metadata__\": {}}")).header.metadata().is_object());
}

TEST(Safetensors, tensors_come_in_the_order_of_the_file)
{
    // z, then the empty ones at 4 as they stand in the header and before what begins there, y, x.
    const std::string text = "{" + tensor("x", "U8", "[2]", 8, 10) + "," + tensor("e2", "F32", "[0]", 4, 4) + "," +
                             tensor("y", "F32", "[1]", 4, 8) + "," + tensor("e1", "F32", "[3, 0]", 4, 4) + "," +
                             tensor("z", "F32", "[1]", 0, 4) + "}";
    const Parsed parsed(container(text, std::string(10, 'x')));
    ASSERT_EQ(parsed.status, MOEQ_OK) << parsed.outcome.message();
    EXPECT_EQ(parsed.names(), "z e2 e1 y x");
}

TEST(Safetensors, every_type_has_its_size)
{
    struct Case {
        const char* name;
        int32_t dtype;
        int64_t bytes_of_eight;
    };
    const Case cases[] = {
        {"F4", MOEQ_DTYPE_FP4_E2M1, 4},
        {"F6_E2M3", MOEQ_DTYPE_FP6_E2M3, 6},
        {"F6_E3M2", MOEQ_DTYPE_FP6_E3M2, 6},
        {"BOOL", MOEQ_DTYPE_BOOL, 8},
        {"U8", MOEQ_DTYPE_UINT8, 8},
        {"I8", MOEQ_DTYPE_INT8, 8},
        {"F8_E5M2", MOEQ_DTYPE_FP8_E5M2, 8},
        {"F8_E4M3", MOEQ_DTYPE_FP8_E4M3FN, 8},
        {"F8_E8M0", MOEQ_DTYPE_FP8_E8M0, 8},
        {"F8_E4M3FNUZ", MOEQ_DTYPE_FP8_E4M3FNUZ, 8},
        {"F8_E5M2FNUZ", MOEQ_DTYPE_FP8_E5M2FNUZ, 8},
        {"I16", MOEQ_DTYPE_INT16, 16},
        {"U16", MOEQ_DTYPE_UINT16, 16},
        {"F16", MOEQ_DTYPE_FP16, 16},
        {"BF16", MOEQ_DTYPE_BF16, 16},
        {"I32", MOEQ_DTYPE_INT32, 32},
        {"U32", MOEQ_DTYPE_UINT32, 32},
        {"F32", MOEQ_DTYPE_FP32, 32},
        {"C64", MOEQ_DTYPE_COMPLEX64, 64},
        {"F64", MOEQ_DTYPE_FP64, 64},
        {"I64", MOEQ_DTYPE_INT64, 64},
        {"U64", MOEQ_DTYPE_UINT64, 64},
    };
    for (const Case& type : cases) {
        const int64_t bytes = type.bytes_of_eight;
        const Parsed parsed(container("{" + tensor("t", type.name, "[2, 4]", 0, bytes) + "}",
                                      std::string(static_cast<size_t>(bytes), 'x')));
        ASSERT_EQ(parsed.status, MOEQ_OK) << type.name << ": " << parsed.outcome.message();
        EXPECT_EQ(parsed.header.entries[0].dtype, type.dtype) << type.name;
        EXPECT_STREQ(moeq::store::container_dtype_name(type.dtype), type.name);
        const int64_t shape[] = {2, 4};
        int64_t got = 0;
        EXPECT_TRUE(moeq::store::tensor_bytes(type.dtype, 2, shape, &got));
        EXPECT_EQ(got, bytes);
    }
    EXPECT_EQ(moeq::store::container_dtype_name(0x20801), nullptr); // two lanes
    EXPECT_EQ(moeq::store::container_dtype("bf16", 4), 0);
    EXPECT_EQ(moeq::store::container_dtype("", 0), 0);
}

TEST(Safetensors, an_extent_of_zero_hides_no_overflow)
{
    const int64_t huge = int64_t{1} << 62;
    int64_t bytes = 1;
    const int64_t zero_first[] = {0, huge, 4}, zero_last[] = {huge, 4, 0}, fits[] = {huge / 4, 0, 1},
                  negative[] = {-1, 0, 1}, bits[] = {huge, 1, 0};
    EXPECT_FALSE(moeq::store::tensor_bytes(MOEQ_DTYPE_UINT8, 3, zero_first, &bytes));
    EXPECT_FALSE(moeq::store::tensor_bytes(MOEQ_DTYPE_UINT8, 3, zero_last, &bytes));
    EXPECT_FALSE(moeq::store::tensor_bytes(MOEQ_DTYPE_UINT8, 3, negative, &bytes));
    EXPECT_FALSE(moeq::store::tensor_bytes(MOEQ_DTYPE_UINT8, 3, bits, &bytes));
    EXPECT_FALSE(moeq::store::tensor_bytes(MOEQ_DTYPE_UINT8, 3, fits, &bytes)); // its bits do not
    const int64_t small[] = {huge / 8, 0, 1};
    EXPECT_TRUE(moeq::store::tensor_bytes(MOEQ_DTYPE_UINT8, 3, small, &bytes));
    EXPECT_EQ(bytes, 0);
}

TEST(Safetensors, names_and_fields_may_be_escaped)
{
    const std::string text =
        "{\"\\u0061\\u002f\\ud83d\\ude00\": {\"\\u0064type\": \"\\u0046\\u0033\\u0032\", \"sh\\u0061pe\": [1], "
        "\"data\\u005foffsets\": [0, 4]}, \"\\u005f_metadata__\": {\"\\n\": \"\\t\"}}";
    const Parsed parsed(container(text, "1234"));
    ASSERT_EQ(parsed.status, MOEQ_OK) << parsed.outcome.message();
    EXPECT_STREQ(parsed.header.entries[0].name, "a/\xF0\x9F\x98\x80");
    EXPECT_EQ(parsed.header.entries[0].dtype, MOEQ_DTYPE_FP32);
    EXPECT_TRUE(parsed.header.metadata().find("\n").equals("\t"));
}

TEST(Safetensors, the_digest_is_of_the_bytes)
{
    const std::string text = "{" + tensor("t", "U8", "[1]", 0, 1) + "}";
    const Parsed a(container(text, "x")), b(container(text, "y")), padded(container(text + " ", "x"));
    EXPECT_EQ(a.header.digest, b.header.digest);
    EXPECT_NE(a.header.digest, padded.header.digest);
}

TEST(Safetensors, a_file_and_its_bytes_tell_the_same)
{
    const TemporaryFolder folder;
    const std::string bytes = container("{" + tensor("t", "F16", "[2, 2]", 0, 8) + "}", "12345678");
    const std::string path = folder.write("a.safetensors", bytes);
    CountedMemory memory;
    Outcome outcome;
    moeq::store::File file(memory.allocator);
    ASSERT_EQ(file.open(AT_FDCWD, path.c_str(), outcome.report), MOEQ_OK);
    FileHeader header(memory.allocator);
    ASSERT_EQ(moeq::store::read_header(file, moeq::store::kHeaderLimit, &header, outcome.report), MOEQ_OK)
        << outcome.message();
    const Parsed parsed(bytes);
    EXPECT_EQ(header.digest, parsed.header.digest);
    EXPECT_EQ(header.entries[0].offset, parsed.header.entries[0].offset);

    ASSERT_EQ(truncate(path.c_str(), 20), 0); // the size at open is larger than what is there
    EXPECT_EQ(moeq::store::read_header(file, moeq::store::kHeaderLimit, &header, outcome.report), MOEQ_ERROR_TRUNCATED);
    EXPECT_EQ(outcome.class_id(), "F19");
    EXPECT_EQ(header.entries.size(), 0);
}

TEST(Safetensors, a_header_may_be_used_again_after_a_failure)
{
    const std::string good =
        container("{\"__metadata__\": {\"a\": \"b\"}, " + tensor("t", "U8", "[1]", 0, 1) + "}", "x");
    const std::string bad =
        container("{\"__metadata__\": {\"a\": \"b\"}, " + tensor("t", "U8", "[1]", 0, 1) + "}", "xx");
    CountedMemory memory;
    Outcome outcome;
    FileHeader header(memory.allocator);
    for (int i = 0; i < 2; ++i) {
        EXPECT_EQ(moeq::store::parse_header(good.data(), static_cast<int64_t>(good.size()),
                                            static_cast<int64_t>(good.size()), 1000, &header, outcome.report),
                  MOEQ_OK);
        EXPECT_EQ(header.metadata().size(), 1);
        EXPECT_NE(moeq::store::parse_header(bad.data(), static_cast<int64_t>(bad.size()),
                                            static_cast<int64_t>(bad.size()), 1000, &header, outcome.report),
                  MOEQ_OK);
        EXPECT_EQ(header.entries.size(), 0);
        EXPECT_TRUE(header.metadata().missing());
    }
}

TEST(Safetensors, survives_every_failing_allocation)
{
    std::string text = "{\"__metadata__\": {";
    for (int i = 0; i < 20; ++i)
        text += (i == 0 ? "\"" : ", \"") + std::to_string(i) + "\": \"x\"";
    text += "}";
    for (int i = 0; i < 20; ++i)
        text += ", " + tensor("t" + std::to_string(i), "U8", "[1]", i, i + 1);
    const std::string bytes = container(text + "}", std::string(20, 'x'));
    for (const bool once : {true, false})
        for (int64_t fail_at = 0;; ++fail_at) {
            CountedMemory memory;
            memory.fail_at = fail_at;
            memory.fail_once = once;
            moeq_status status = MOEQ_OK;
            {
                FileHeader header(memory.allocator);
                Outcome outcome;
                status =
                    moeq::store::parse_header(bytes.data(), static_cast<int64_t>(bytes.size()),
                                              static_cast<int64_t>(bytes.size()), 100'000, &header, outcome.report);
                EXPECT_EQ(header.entries.size(), status == MOEQ_OK ? 20 : 0);
            }
            EXPECT_EQ(memory.allocator.live(), 0);
            if (memory.calls <= fail_at) {
                EXPECT_EQ(status, MOEQ_OK);
                EXPECT_GE(fail_at, 4);
                break;
            }
            EXPECT_EQ(status, MOEQ_ERROR_MEMORY);
        }
}

// ---- bounds: 2 s, and four times the header and 1 MiB

struct Bounds {
    const char* what;
    std::string text;
    int64_t data_bytes;
    moeq_status status;
};

std::string short_name(int64_t i)
{
    std::string name;
    for (; i > 0; i /= 64)
        name += "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[i % 64];
    return name;
}

std::string million_tensors(bool reversed, const char* last)
{
    constexpr int64_t kCount = 1'000'000;
    std::string text = "{";
    for (int64_t i = 0; i < kCount; ++i) {
        const std::string at = std::to_string(reversed ? kCount - 1 - i : i);
        const std::string end = std::to_string(reversed ? kCount - i : i + 1);
        text += (i == 0 ? "\"" : ",\"") + short_name(i) + "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[" + at +
                "," + end + "]}";
    }
    return text + last + "}";
}

std::string smallest_tensors()
{
    std::string text = "{";
    for (int64_t i = 0; i < 1'000'000; ++i)
        text += (i == 0 ? "\"" : ",\"") + short_name(i) + "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
    return text + "}";
}

std::string million_metadata(const char* last)
{
    std::string text = "{\"__metadata__\":{";
    for (int64_t i = 0; i < 1'000'000; ++i)
        text += (i == 0 ? "\"" : ",\"") + short_name(i) + "\":\"\"";
    return text + last + "}}";
}

TEST(Safetensors, time_and_memory_are_bounded_by_the_header)
{
    const std::string braces(3'000'000, '{');
    std::string equal_prefix = "{";
    for (int64_t i = 0; i < 20'000; ++i)
        equal_prefix += (i == 0 ? "\"" : ",\"") + std::string(4000, 'n') + short_name(i) +
                        "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}";
    std::string ones = "[1";
    for (int64_t i = 0; i < 1'000'000; ++i)
        ones += ",1";
    const Bounds cases[] = {
        {"a million tensors", million_tensors(false, ""), 1'000'000, MOEQ_OK},
        {"in reverse", million_tensors(true, ""), 1'000'000, MOEQ_OK},
        {"the last one twice",
         million_tensors(false, ",\"A_b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}"), 1'000'000,
         MOEQ_ERROR_FORMAT},
        {"the smallest ones", smallest_tensors(), 0, MOEQ_OK},
        {"a million metadata", million_metadata(""), 0, MOEQ_OK},
        {"the last one twice", million_metadata(",\"A_b\":\"\""), 0, MOEQ_ERROR_FORMAT},
        {"long names that begin alike", equal_prefix + "}", 0, MOEQ_OK},
        {"braces", braces, 0, MOEQ_ERROR_FORMAT},
        {"empty members", "{" + std::string(3'000'000, ','), 0, MOEQ_ERROR_FORMAT},
        {"metadata of braces", "{\"__metadata__\":" + braces, 0, MOEQ_ERROR_FORMAT},
        {"a name of braces", "{\"" + braces + "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0,
         MOEQ_ERROR_LIMIT},
        {"a shape without end", "{\"a\":{\"shape\":[" + std::string(3'000'000, '1'), 0, MOEQ_ERROR_FORMAT},
        {"dimensions without end", "{\"a\":{\"shape\":" + ones + "]", 0, MOEQ_ERROR_LIMIT},
        {"spaces", "{}" + std::string(3'000'000, ' '), 0, MOEQ_OK},
    };
    for (const Bounds& bounds : cases) {
        const std::string bytes = moeq_test::container(bounds.text);
        CountedMemory memory;
        FileHeader header(memory.allocator);
        Outcome outcome;
        const double begin = moeq_test::cpu_seconds();
        const int64_t size = static_cast<int64_t>(bytes.size());
        EXPECT_EQ(moeq::store::parse_header(bytes.data(), size, size + bounds.data_bytes, moeq::store::kHeaderLimit,
                                            &header, outcome.report),
                  bounds.status)
            << bounds.what << ": " << outcome.message();
        EXPECT_LT(moeq_test::cpu_seconds() - begin, 2.0 * kSlower) << bounds.what;
        EXPECT_LE(memory.allocator.peak(), 4 * static_cast<int64_t>(bounds.text.size()) + (1 << 20)) << bounds.what;
    }
}

} // namespace
} // namespace moeq_test
