// Files made to break a reader, by class of trouble; then every byte of good headers changed to everything else, and
// every beginning of them.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/header_oracle.h"
#include "support/open_reader.h"

namespace moeq_test {
namespace {

struct Case {
    const char* what;
    std::string bytes;
    moeq_status status;
    const char* class_id;
};

std::string one(const std::string& fields, const std::string& data = "1234")
{
    return container("{\"t\": {" + fields + "}}", data);
}
// A tensor of that shape, with a range that fits 4 bytes.
std::string shaped(const std::string& dtype, const std::string& shape, int64_t end = 4)
{
    return container("{" + tensor("t", dtype, shape, 0, end) + "}", std::string(static_cast<size_t>(end), 'x'));
}
std::string ranges(std::vector<std::pair<int64_t, int64_t>> list, int64_t data_bytes)
{
    std::string text;
    for (size_t i = 0; i < list.size(); ++i) {
        const auto [begin, end] = list[i];
        text += (i == 0 ? "" : ", ") +
                tensor("t" + std::to_string(i), "U8", "[" + std::to_string(end - begin) + "]", begin, end);
    }
    return container("{" + text + "}", std::string(static_cast<size_t>(data_bytes), 'x'));
}
std::string nested(int64_t depth)
{
    std::string text;
    for (int64_t i = 0; i < depth; ++i)
        text += "{\"a\": ";
    return text + "1" + std::string(static_cast<size_t>(depth), '}');
}

const moeq_status kFormat = MOEQ_ERROR_FORMAT, kTruncated = MOEQ_ERROR_TRUNCATED, kLimit = MOEQ_ERROR_LIMIT,
                  kUnsupported = MOEQ_ERROR_UNSUPPORTED;
const std::string kU8 = "\"dtype\": \"U8\", ", kShape4 = "\"shape\": [4], ", kOffsets4 = "\"data_offsets\": [0, 4]";

void expect_refused(const std::vector<Case>& cases)
{
    const TemporaryFolder folder;
    for (const Case& hostile : cases) {
        const int64_t size = static_cast<int64_t>(hostile.bytes.size());
        const std::vector<char> copy(hostile.bytes.begin(), hostile.bytes.end()); // so that reading beyond is seen
        const Judged judged = judge_header(copy.data(), size, size, 20'000);
        EXPECT_EQ(judged.status, hostile.status) << hostile.what << ": " << judged.message;
        EXPECT_EQ(judged.class_id, hostile.class_id) << hostile.what << ": " << judged.message;
        EXPECT_EQ(judged.problem, "") << hostile.what;
        EXPECT_EQ(judged.message.find("test: "), 0u) << hostile.what;
        EXPECT_NE(judged.message.find("header"), std::string::npos) << hostile.what << ": the file is not named";
        const ReaderOutcome opened = open_reader(folder.write("hostile", hostile.bytes), 20'000);
        EXPECT_EQ(opened.status, hostile.status) << hostile.what << ": " << opened.message;
        EXPECT_EQ(opened.class_id, hostile.class_id) << hostile.what << ": " << opened.message;
        EXPECT_FALSE(opened.made) << hostile.what;
    }
}

TEST(HostileHeader, F01_lengths_beyond_the_file)
{
    expect_refused({
        {"nothing", "", kTruncated, "F01"},
        {"less than a length", std::string(7, '\0'), kTruncated, "F01"},
        {"a length alone", length_prefix(1), kTruncated, "F01"},
        {"one byte short", length_prefix(3) + "{}", kTruncated, "F01"},
        {"cut inside the header", container("{" + tensor("t", "U8", "[4]", 0, 4) + "}").substr(0, 30), kTruncated,
         "F01"},
        {"2^63", length_prefix(uint64_t{1} << 63) + "{}", kFormat, "F01"},
        {"2^64 - 1", length_prefix(~uint64_t{0}) + "{}", kFormat, "F01"},
        {"2^64 - 8, which wraps to 0", length_prefix(~uint64_t{0} - 7) + "{}", kFormat, "F01"},
        {"2^63 - 1", length_prefix(~uint64_t{0} >> 1) + "{}", kFormat, "F01"},
        {"a text file", "{\"hello\": \"world\"}", kFormat, "F01"},
        {"a zip of pickles", "PK\x03\x04" + std::string(100, 'x'), kFormat, "F01"},
        {"GGUF", std::string("GGUF\3\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 16), kFormat, "F01"},
    });
}

TEST(HostileHeader, F02_headers_beyond_the_limit)
{
    expect_refused({
        {"one byte more", container("{" + std::string(19'999, ' ') + "}"), kLimit, "F02"},
        {"far more", container("{" + std::string(1'000'000, ' ') + "}"), kLimit, "F02"},
        {"of zeros", container(std::string(20'001, '\0')), kLimit, "F02"},
    });
    const std::string fits = container("{" + std::string(19'998, ' ') + "}");
    EXPECT_EQ(
        judge_header(fits.data(), static_cast<int64_t>(fits.size()), static_cast<int64_t>(fits.size()), 20'000).status,
        MOEQ_OK);
}

TEST(HostileHeader, F03_shapes_that_overflow)
{
    expect_refused({
        {"2^63 bytes", shaped("U8", "[4294967296, 2147483648]"), kFormat, "F03"},
        {"2^64 is 0", shaped("U8", "[4294967296, 4294967296]"), kFormat, "F03"},
        {"2^64 + 4 is 4", shaped("U8", "[4, 4611686018427387905]"), kFormat, "F03"},
        {"the largest", shaped("F32", "[9223372036854775807]"), kFormat, "F03"},
        {"bits that overflow, bytes that do not", shaped("U8", "[2305843009213693952]"), kFormat, "F03"},
        {"eight large ones", shaped("U8", "[65536, 65536, 65536, 65536, 65536, 65536, 65536, 65536]"), kFormat, "F03"},
        {"narrowed to 32 bits it is 4", shaped("U8", "[4294967300]"), kFormat, "F08"},
    });
}

TEST(HostileHeader, F04_zeros_that_hide_an_overflow)
{
    expect_refused({
        {"zero first", shaped("U8", "[0, 4611686018427387904, 4]", 0), kFormat, "F04"},
        {"zero last", shaped("U8", "[4611686018427387904, 4, 0]", 0), kFormat, "F04"},
        {"zero in between", shaped("F32", "[9223372036854775807, 0, 2]", 0), kFormat, "F04"},
        {"a product of zero without a zero", shaped("U8", "[4294967296, 4294967296]", 0), kFormat, "F03"},
        {"an empty tensor with bytes", shaped("U8", "[0]", 4), kFormat, "F08"},
    });
}

TEST(HostileHeader, F05_sums_that_overflow)
{
    expect_refused({
        {"an end at the largest integer",
         one(kU8 + "\"shape\": [9223372036854775807], \"data_offsets\": [0, 9223372036854775807]"), kTruncated, "F07"},
        {"both there", one(kU8 + "\"shape\": [0], \"data_offsets\": [9223372036854775807, 9223372036854775807]"),
         kTruncated, "F07"},
        {"the header's length on top of it wraps",
         one(kU8 + "\"shape\": [4], \"data_offsets\": [9223372036854775800, 9223372036854775804]"), kTruncated, "F07"},
    });
}

TEST(HostileHeader, F06_ranges_turned_round_or_negative)
{
    expect_refused({
        {"end before begin", one(kU8 + kShape4 + "\"data_offsets\": [4, 0]"), kFormat, "F06"},
        {"an end below zero", one(kU8 + kShape4 + "\"data_offsets\": [0, -4]"), kFormat, "F06"},
        {"a begin below zero", one(kU8 + kShape4 + "\"data_offsets\": [-4, 0]"), kFormat, "F06"},
        {"minus zero", one(kU8 + kShape4 + "\"data_offsets\": [-0, 4]"), kFormat, "F06"},
        {"as 64 bits without a sign", one(kU8 + kShape4 + "\"data_offsets\": [18446744073709551612, 0]"), kFormat,
         "F12"},
        {"end before begin beyond the file", one(kU8 + kShape4 + "\"data_offsets\": [9223372036854775807, 4]"), kFormat,
         "F06"},
    });
}

TEST(HostileHeader, F07_ranges_beyond_the_file)
{
    expect_refused({
        {"one byte", ranges({{0, 5}}, 4), kTruncated, "F07"},
        {"all of it", ranges({{0, 4}}, 0), kTruncated, "F07"},
        {"the second of two", ranges({{0, 4}, {4, 8}}, 7), kTruncated, "F07"},
        {"far away", one(kU8 + kShape4 + "\"data_offsets\": [1000000000000, 1000000000004]"), kTruncated, "F07"},
    });
}

TEST(HostileHeader, F08_ranges_of_another_size)
{
    expect_refused({
        {"larger than the shape", shaped("U8", "[3]"), kFormat, "F08"},
        {"smaller than the shape", shaped("U8", "[5]"), kFormat, "F08"},
        {"of another type", shaped("F16", "[4]"), kFormat, "F08"},
        {"empty, of a scalar", shaped("U8", "[]", 0), kFormat, "F08"},
        {"two codes to a byte counted as one", shaped("F4", "[4]"), kFormat, "F08"},
    });
}

TEST(HostileHeader, F09_overlaps_gaps_and_tails)
{
    expect_refused({
        {"a tail", ranges({{0, 4}}, 5), kFormat, "F09"},
        {"a tail and no tensors", container("{}", "x"), kFormat, "F09"},
        {"a gap in front", ranges({{1, 4}}, 4), kFormat, "F09"},
        {"a gap in between", ranges({{0, 2}, {3, 4}}, 4), kFormat, "F09"},
        {"an overlap", ranges({{0, 3}, {2, 4}}, 4), kFormat, "F09"},
        {"the same twice", ranges({{0, 4}, {0, 4}}, 4), kFormat, "F09"},
        {"one inside another", ranges({{0, 4}, {1, 2}}, 4), kFormat, "F09"},
        {"an empty one inside another", ranges({{0, 4}, {2, 2}}, 4), kFormat, "F09"},
        {"a zip behind it", ranges({{0, 4}}, 4) + "PK\x05\x06" + std::string(18, '\0'), kFormat, "F09"},
        {"an overlap in another order", ranges({{2, 4}, {0, 3}}, 4), kFormat, "F09"},
    });
}

TEST(HostileHeader, F10_types_that_nobody_knows)
{
    expect_refused({
        {"another one", shaped("F128", "[4]"), kUnsupported, "F10"},
        {"small letters", shaped("u8", "[4]"), kUnsupported, "F10"},
        {"none", shaped("", "[4]"), kUnsupported, "F10"},
        {"a longer name", shaped("U8 ", "[4]"), kUnsupported, "F10"},
        {"a NUL behind it", shaped("U8\\u0000", "[4]"), kUnsupported, "F10"},
        {"of an empty tensor", shaped("XX", "[0]", 0), kUnsupported, "F10"},
        {"very long", shaped(std::string(5000, 'F'), "[4]"), kUnsupported, "F10"},
    });
}

TEST(HostileHeader, F11_names_twice)
{
    const std::string t = tensor("t", "U8", "[4]", 0, 4), empty = tensor("t", "U8", "[0]", 4, 4);
    expect_refused({
        {"a tensor", container("{" + t + ", " + empty + "}", "1234"), kFormat, "F11"},
        {"a tensor, escaped", container("{" + t + ", " + tensor("\\u0074", "U8", "[0]", 4, 4) + "}", "1234"), kFormat,
         "F11"},
        {"metadata", container("{\"__metadata__\": {}, " + t + ", \"__metadata__\": {}}", "1234"), kFormat, "F11"},
        {"metadata, escaped", container("{\"__metadata__\": {}, \"\\u005f_metadata__\": {}}"), kFormat, "F11"},
        {"in metadata", container("{\"__metadata__\": {\"a\": \"1\", \"b\": \"2\", \"a\": \"1\"}}"), kFormat, "F11"},
        {"in metadata, escaped", container("{\"__metadata__\": {\"a\": \"1\", \"\\u0061\": \"2\"}}"), kFormat, "F11"},
        {"dtype", one(kU8 + kU8 + kShape4 + kOffsets4), kFormat, "F11"},
        {"shape", one(kU8 + kShape4 + kShape4 + kOffsets4), kFormat, "F11"},
        {"data_offsets", one(kU8 + kShape4 + kOffsets4 + ", " + kOffsets4), kFormat, "F11"},
        {"a field, escaped", one(kU8 + "\"\\u0064type\": \"U8\", " + kShape4 + kOffsets4), kFormat, "F11"},
    });
}

TEST(HostileHeader, F12_what_is_no_json_or_not_in_the_way_it_must_be)
{
    const auto with_metadata = [](const std::string& text) { return container("{\"__metadata__\": " + text + "}"); };
    const auto named = [](const std::string& name) {
        return container("{" + tensor(name, "U8", "[4]", 0, 4) + "}", "1234");
    };
    expect_refused({
        {"no header", container(""), kFormat, "F12"},
        {"an array", container("[]"), kFormat, "F12"},
        {"a space in front", container(" {}"), kFormat, "F12"},
        {"a byte order mark", container("\xEF\xBB\xBF{}"), kFormat, "F12"},
        {"two objects", container("{}{}"), kFormat, "F12"},
        {"NUL as padding", container(std::string("{}\0\0", 4)), kFormat, "F12"},
        {"deep", container(nested(1000)), kFormat, "F12"},
        {"deep metadata", with_metadata(nested(3)), kFormat, "F12"},
        {"deep shape", one(kU8 + "\"shape\": [[4]], " + kOffsets4), kFormat, "F12"},
        {"bad UTF-8 in a name", named("\xC3("), kFormat, "F12"},
        {"an overlong NUL", named("\xC0\x80"), kFormat, "F12"},
        {"a surrogate in UTF-8", named("\xED\xA0\x80"), kFormat, "F12"},
        {"half a surrogate pair", named("\\ud800"), kFormat, "F12"},
        {"a NUL in a name", named("a\\u0000b"), kFormat, "F12"},
        {"a control character", named("a\nb"), kFormat, "F12"},
        {"a number as 4.0", one(kU8 + "\"shape\": [4.0], " + kOffsets4), kFormat, "F12"},
        {"a number as 4e0", one(kU8 + "\"shape\": [4e0], " + kOffsets4), kFormat, "F12"},
        {"2^63", one(kU8 + "\"shape\": [9223372036854775808], " + kOffsets4), kFormat, "F12"},
        {"zeros in front", one(kU8 + "\"shape\": [04], " + kOffsets4), kFormat, "F12"},
        {"a shape of text", one(kU8 + "\"shape\": [\"4\"], " + kOffsets4), kFormat, "F12"},
        {"a shape of one number", one(kU8 + "\"shape\": 4, " + kOffsets4), kFormat, "F12"},
        {"no shape", one(kU8 + kOffsets4), kFormat, "F12"},
        {"no dtype", one(kShape4 + kOffsets4), kFormat, "F12"},
        {"no data_offsets", one(kU8 + "\"shape\": [4]"), kFormat, "F12"},
        {"nothing", one(""), kFormat, "F12"},
        {"an unknown field", one(kU8 + kShape4 + kOffsets4 + ", \"codec\": 1"), kFormat, "F12"},
        {"one offset", one(kU8 + kShape4 + "\"data_offsets\": [4]"), kFormat, "F12"},
        {"three offsets", one(kU8 + kShape4 + "\"data_offsets\": [0, 4, 4]"), kFormat, "F12"},
        {"no offsets", one(kU8 + kShape4 + "\"data_offsets\": []"), kFormat, "F12"},
        {"a tensor of null", container("{\"t\": null}"), kFormat, "F12"},
        {"a tensor of text", container("{\"t\": \"U8\"}"), kFormat, "F12"},
        {"a dtype of null", one("\"dtype\": null, " + kShape4 + kOffsets4), kFormat, "F12"},
        {"metadata of null", with_metadata("null"), kFormat, "F12"},
        {"metadata of text", with_metadata("\"x\""), kFormat, "F12"},
        {"metadata with a number", with_metadata("{\"a\": 1}"), kFormat, "F12"},
        {"metadata with null", with_metadata("{\"a\": null}"), kFormat, "F12"},
        {"NaN", one(kU8 + "\"shape\": [NaN], " + kOffsets4), kFormat, "F12"},
    });
}

TEST(HostileHeader, F13_names_too_long)
{
    const auto named = [](const std::string& name) {
        return container("{" + tensor(name, "U8", "[4]", 0, 4) + "}", "1234");
    };
    expect_refused({
        {"4097 bytes", named(std::string(4097, 'n')), kLimit, "F13"},
        {"4097 bytes of 3-byte characters",
         named("nn" +
               [] {
                   std::string text;
                   for (int i = 0; i < 1365; ++i)
                       text += "\xE2\x82\xAC";
                   return text;
               }()),
         kLimit, "F13"},
        {"10000 bytes", named(std::string(10'000, 'n')), kLimit, "F13"},
    });
    for (const std::string& name : {std::string(4096, 'n'), std::string("")}) {
        const std::string fits = named(name);
        EXPECT_EQ(
            judge_header(fits.data(), static_cast<int64_t>(fits.size()), static_cast<int64_t>(fits.size())).status,
            MOEQ_OK);
    }
}

TEST(HostileHeader, F14_too_many_dimensions_and_parts_of_bytes)
{
    std::string many = "[4";
    for (int i = 0; i < 5000; ++i)
        many += ", 1";
    expect_refused({
        {"nine dimensions", shaped("U8", "[1, 1, 1, 1, 1, 1, 1, 1, 4]"), kLimit, "F14"},
        {"thousands", shaped("U8", many + "]"), kLimit, "F14"},
        {"nine empty ones", shaped("U8", "[0, 0, 0, 0, 0, 0, 0, 0, 0]", 0), kLimit, "F14"},
        {"half a byte", shaped("F4", "[7]"), kFormat, "F14"},
        {"three quarters of one", shaped("F6_E2M3", "[5]"), kFormat, "F14"},
        {"a scalar of half a byte", shaped("F4", "[]", 1), kFormat, "F14"},
    });
    const std::string eight = shaped("U8", "[1, 1, 1, 1, 1, 1, 1, 4]");
    EXPECT_EQ(judge_header(eight.data(), static_cast<int64_t>(eight.size()), static_cast<int64_t>(eight.size())).status,
              MOEQ_OK);
}

TEST(HostileHeader, F25_negative_extents)
{
    expect_refused({
        {"minus one", shaped("U8", "[-1]"), kFormat, "F25"},
        {"two that make four", shaped("U8", "[-2, -2]"), kFormat, "F25"},
        {"minus zero", shaped("U8", "[-0]", 0), kFormat, "F25"},
        {"the smallest", shaped("U8", "[-9223372036854775808]"), kFormat, "F25"},
    });
}

// ---- every byte, every length

std::vector<std::string> good_files()
{
    std::string experts = "{\"__metadata__\":{\"format\":\"pt\",\"moeq.version\":\"1\"}";
    int64_t at = 0;
    for (const char* name : {"down_proj", "gate_proj", "up_proj"})
        for (int expert = 0; expert < 2; ++expert) {
            experts += "," + tensor("model.layers.0.mlp.experts." + std::to_string(expert) + "." + name + ".weight",
                                    "BF16", "[2, 4]", at, at + 16);
            at += 16;
        }
    const std::string escapes =
        "{\"a\\u00e9\\ud83d\\ude00\\\\\": {\"shape\": [2, 0], \"dtype\": \"F4\", \"data_offsets\": [0, 0]}, "
        "\"b\xE2\x82\xAC\": "
        "{\"data_offsets\": [0, 3], \"dtype\": \"F6_E3M2\", \"shape\": [2, 2]}}   ";
    return {
        container(experts + "}", std::string(static_cast<size_t>(at), 'x')),
        container(escapes, "xyz"),
        container("{\"__metadata__\":{\"k\":\"v\\n\"},\"z\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}",
                  "12345678"),
    };
}

TEST(HostileHeader, every_byte_as_every_other)
{
    int64_t accepted = 0;
    for (const std::string& good : good_files()) {
        const int64_t size = static_cast<int64_t>(good.size());
        ASSERT_EQ(judge_header(good.data(), size, size).status, MOEQ_OK);
        const uint64_t header = static_cast<unsigned char>(good[0]) + 256u * static_cast<unsigned char>(good[1]);
        std::vector<char> bytes(good.begin(), good.end());
        for (size_t i = 0; i < 8 + header; ++i) {
            for (int value = 0; value < 256; ++value) {
                bytes[i] = static_cast<char>(value);
                const Judged judged = judge_header(bytes.data(), size, size);
                ASSERT_EQ(judged.problem, "") << "byte " << i << " as " << value << ": " << judged.message;
                accepted += judged.status == MOEQ_OK ? 1 : 0;
            }
            bytes[i] = good[i];
        }
    }
    EXPECT_GT(accepted, 10'000); // most changes of a name make another name
}

TEST(HostileHeader, every_beginning)
{
    for (const std::string& good : good_files())
        for (size_t length = 0; length < good.size(); ++length) {
            const std::vector<char> bytes(good.begin(), good.begin() + static_cast<int64_t>(length));
            const Judged judged =
                judge_header(bytes.data(), static_cast<int64_t>(length), static_cast<int64_t>(length));
            ASSERT_EQ(judged.status, MOEQ_ERROR_TRUNCATED) << length << ": " << judged.message;
            ASSERT_EQ(judged.problem, "") << length;
        }
}

} // namespace
} // namespace moeq_test
