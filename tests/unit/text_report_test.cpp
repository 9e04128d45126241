// Texts and error reports: cut where the room ends, always ended by NUL, foreign bytes escaped.
#include "core/report.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace {

using moeq::Report;
using moeq::Text;

// A buffer with bytes around it that nobody may touch.
struct Guarded {
    explicit Guarded(size_t size) : bytes(size + 32, '\x5A'), capacity(size) {}
    char* data() { return bytes.data() + 16; }
    bool untouched() const
    {
        for (size_t i = 0; i < 16; ++i)
            if (bytes[i] != '\x5A' || bytes[bytes.size() - 1 - i] != '\x5A')
                return false;
        return true;
    }

    std::vector<char> bytes;
    size_t capacity;
};

TEST(Text, is_cut_at_every_capacity)
{
    const int64_t shape[3] = {-2, 30, INT64_MAX};
    const std::string whole =
        "name: -9223372036854775808 0xdeadbeef \"a\\x0a\\xc3\\x22\" [-2, 30, 9223372036854775807]!";
    for (size_t capacity = 1; capacity <= whole.size() + 3; ++capacity) {
        Guarded buffer(capacity);
        Text text(buffer.data(), capacity);
        text.add("name: ").add(INT64_MIN).add(' ').add_hex(0xDEADBEEFu).add(" ").add_quoted("a\n\xC3\"").add(" ");
        text.add_shape(3, shape).add('!');
        ASSERT_TRUE(buffer.untouched()) << capacity;
        ASSERT_EQ(std::string(text.c_str()), whole.substr(0, capacity - 1));
        ASSERT_EQ(text.size(), std::strlen(text.c_str()));
        text.add("more").add(7).add_hex(0).add_quoted("x");
        ASSERT_TRUE(buffer.untouched()) << capacity;
    }
}

std::string integer(int64_t value)
{
    char buffer[32];
    return Text(buffer, sizeof buffer).add(value).c_str();
}
std::string hexadecimal(uint64_t value)
{
    char buffer[32];
    return Text(buffer, sizeof buffer).add_hex(value).c_str();
}
std::string quoted(const std::string& value)
{
    char buffer[1024];
    return Text(buffer, sizeof buffer).add_quoted(value.c_str()).c_str();
}

TEST(Text, writes_numbers)
{
    for (const int64_t value :
         {int64_t{0}, int64_t{-1}, int64_t{9}, int64_t{10}, int64_t{-100}, INT64_MAX, INT64_MIN, int64_t{1} << 40})
        EXPECT_EQ(integer(value), std::to_string(value));
    char buffer[64];
    EXPECT_STREQ(Text(buffer, sizeof buffer).add(UINT32_MAX).add(' ').add(INT32_MIN).c_str(), "4294967295 -2147483648");
    EXPECT_EQ(hexadecimal(0), "0x0");
    EXPECT_EQ(hexadecimal(0x10), "0x10");
    EXPECT_EQ(hexadecimal(UINT64_MAX), "0xffffffffffffffff");
    EXPECT_EQ(hexadecimal(uint64_t{1} << 60), "0x1000000000000000");
}

TEST(Text, escapes_every_byte_that_is_not_plain)
{
    for (int byte = 1; byte < 256; ++byte) {
        const std::string text(1, static_cast<char>(byte));
        const bool plain = byte >= 0x20 && byte < 0x7F && byte != '"' && byte != '\\';
        char escaped[8];
        std::snprintf(escaped, sizeof escaped, "\\x%02x", byte);
        EXPECT_EQ(quoted(text), "\"" + (plain ? text : std::string(escaped)) + "\"");
    }
}

TEST(Text, cuts_long_names_at_96_bytes)
{
    EXPECT_EQ(quoted(std::string(96, 'a')), "\"" + std::string(96, 'a') + "\"");
    EXPECT_EQ(quoted(std::string(97, 'a')), "\"" + std::string(96, 'a') + "...\"");
    EXPECT_EQ(quoted(std::string(5000, '\n')).size(), 96u * 4 + 5);
    EXPECT_EQ(quoted(""), "\"\"");
}

TEST(Text, shapes)
{
    const int64_t shape[2] = {5, 0};
    char buffer[64];
    EXPECT_STREQ(Text(buffer, sizeof buffer).add_shape(2, shape).add_shape(1, shape).add_shape(0, nullptr).c_str(),
                 "[5, 0][5][]");
}

TEST(Report, fills_an_error_whole)
{
    moeq_error error;
    std::memset(&error, 0xAB, sizeof error);
    Report report("moeq_something", &error);
    const int64_t shape[2] = {2, 3};
    const moeq_status status = (report.fail(MOEQ_ERROR_SHAPE, 3, "weight") << "got ").shape(2, shape)
                               << "; want " << 7u << " of " << uint64_t{9};
    EXPECT_EQ(status, MOEQ_ERROR_SHAPE);
    EXPECT_EQ(error.status, MOEQ_ERROR_SHAPE);
    EXPECT_EQ(error.argument, 3);
    EXPECT_EQ(error.os_error, 0);
    EXPECT_EQ(error.reserved, 0);
    EXPECT_EQ(error.expert, -1);
    EXPECT_EQ(error.row, -1);
    EXPECT_EQ(error.column, -1);
    EXPECT_STREQ(error.class_id, "");
    EXPECT_STREQ(error.message, "moeq_something: weight: got [2, 3]; want 7 of 9");
    for (size_t i = std::strlen(error.message); i < sizeof error.message; ++i)
        ASSERT_EQ(error.message[i], 0) << i; // nothing of what was there before leaks out
    report.set_place({1, 2, 3});
    report.set_class("N01");
    report.set_os_error(12);
    EXPECT_EQ(error.expert, 1);
    EXPECT_EQ(error.row, 2);
    EXPECT_EQ(error.column, 3);
    EXPECT_EQ(error.os_error, 12);
    EXPECT_STREQ(error.class_id, "N01");
}

TEST(Report, the_message_is_cut_and_the_error_keeps_its_512_bytes)
{
    struct {
        moeq_error error;
        char behind[64];
    } place;
    std::memset(&place, 0x5A, sizeof place);
    Report report("moeq_something", &place.error);
    {
        moeq::Failure failure = report.fail(MOEQ_ERROR_INTERNAL, 1, "name");
        for (int i = 0; i < 100; ++i)
            failure << "0123456789" << i << int64_t{-1};
        failure.quoted(std::string(500, '\xFF').c_str()).hex(UINT64_MAX);
    }
    EXPECT_EQ(std::strlen(place.error.message), sizeof place.error.message - 1);
    report.set_class("much too long");
    EXPECT_STREQ(place.error.class_id, "much to");
    EXPECT_EQ(place.error.expert, -1);
    for (const char byte : place.behind)
        ASSERT_EQ(byte, 0x5A);
}

TEST(Report, tells_only_the_status_without_an_error)
{
    Report report("moeq_something", nullptr);
    const moeq_status status = report.fail(MOEQ_ERROR_DTYPE, 2, "x") << "got " << 1 << "; want " << int64_t{2};
    EXPECT_EQ(status, MOEQ_ERROR_DTYPE);
    EXPECT_EQ(report.out_of_memory(7), MOEQ_ERROR_MEMORY);
    EXPECT_EQ(report.internal("x"), MOEQ_ERROR_INTERNAL);
    report.set_place({});
    report.set_class("N01");
    report.set_os_error(1);
}

TEST(Report, a_second_failure_replaces_the_first)
{
    moeq_error error{};
    Report report("f", &error);
    (void)(report.fail(MOEQ_ERROR_SHAPE, 1, "a") << "long text that must go away");
    report.set_place({4, 5, 6});
    EXPECT_EQ(report.out_of_memory(10), MOEQ_ERROR_MEMORY);
    EXPECT_EQ(error.expert, -1);
    EXPECT_STREQ(error.message, "f: the allocator has no 10 bytes; free memory or use smaller pieces");
}

} // namespace
