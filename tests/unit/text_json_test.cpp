// JSON: what is accepted and what is not, values as they come out, and times that nobody can make quadratic.
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "support/store.h"
#include "text/json.h"

namespace moeq_test {
namespace {

using moeq::text::JsonDocument;
using moeq::text::JsonMember;
using moeq::text::JsonRules;
using moeq::text::JsonValue;
using moeq::text::JsonWriter;

// A document with all that it needs. The text has nothing behind it that could be read.
struct Parsed {
    explicit Parsed(const std::string& source, const JsonRules& rules = {}) : text(source.begin(), source.end())
    {
        status = document.parse(text.data(), static_cast<int64_t>(text.size()), rules, outcome.report);
    }
    std::string written()
    {
        moeq::Array<char> out(memory.allocator);
        JsonWriter writer(out);
        writer.copy(document.root());
        EXPECT_TRUE(writer.ok());
        return {out.data(), static_cast<size_t>(out.size())};
    }

    CountedMemory memory;
    std::vector<char> text;
    JsonDocument document{memory.allocator};
    Outcome outcome;
    moeq_status status;
};

TEST(Json, accepts_what_the_standard_accepts)
{
    const char* const texts[] = {
        "{}",
        "[]",
        "null",
        " true ",
        "false",
        "0",
        "-0",
        "1",
        "-1",
        "10",
        "1.5",
        "-0.0",
        "1e3",
        "1E+3",
        "1.25e-7",
        "123456789012345678901234567890",
        "1e999",
        "\"\"",
        "\"a\"",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\u0000\\u00e9\\u20AC\\uD834\\uDd1E\"",
        "\"\xC2\x80 \xDF\xBF \xE0\xA0\x80 \xED\x9F\xBF \xEE\x80\x80 \xEF\xBF\xBF \xF0\x90\x80\x80 \xF4\x8F\xBF\xBF\"",
        "\"\x7F\"",
        "[1, [2, [3, {}]], \"x\", null]",
        "{\"a\": {\"b\": [true, false, {\"c\": 1}]}, \"b\": {}}",
        "\t\r\n [ 1 ,\t2\r\n]\n",
        "{\"\": 0}",
        "{\"a\": 1, \"A\": 1, \"\\u0000\": 1, \"\": 1, \"a\\u0000\": 1}",
        "[\"a\", \"a\"]",
    };
    for (const char* text : texts) {
        Parsed parsed(text);
        EXPECT_EQ(parsed.status, MOEQ_OK) << text << ": " << parsed.outcome.message();
    }
}

TEST(Json, refuses_what_the_standard_refuses)
{
    const std::string texts[] = {
        "",
        " ",
        "{",
        "[",
        "}",
        "]",
        "{]",
        "[}",
        "{} {}",
        "[] x",
        "1 2",
        "nul",
        "nulll",
        "True",
        "NaN",
        "Infinity",
        "-Infinity",
        "-",
        "+1",
        "01",
        "-01",
        "00",
        "1.",
        ".5",
        "1e",
        "1e+",
        "1.e3",
        "0x10",
        "1_000",
        "'a'",
        "\"",
        "\"a",
        "\"\\\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u\"",
        "\"\\u12\"",
        "\"\\u123g\"",
        "\"\\U0041\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\ud800\"",
        "\"\\ud800x\"",
        "\"\\ud800\\n\"",
        "\"\\udc00\\ud800\"",
        "\"\\ud834\\u\"",
        "\"\\ud834\\udd1\"",
        std::string("\"\0\"", 3),
        "\"\n\"",
        "\"\t\"",
        "\"\x1F\"",
        "\"\x80\"",
        "\"\xC0\x80\"",
        "\"\xC1\xBF\"",
        "\"\xC3\"",
        "\"\xC3(\"",
        "\"\xE0\x9F\xBF\"",
        "\"\xED\xA0\x80\"",
        "\"\xED\xBF\xBF\"",
        "\"\xE2\x82\"",
        "\"\xF0\x8F\xBF\xBF\"",
        "\"\xF4\x90\x80\x80\"",
        "\"\xF5\x80\x80\x80\"",
        "\"\xFF\"",
        "\xEF\xBB\xBF{}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[,]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,\"a\":1}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{a:1}",
        "{1:1}",
        "{\"a\":1]",
        "// x\n{}",
        "{} // x",
        "/* */ {}",
        std::string("{}\0", 3),
        std::string("\0{}", 3),
        "\v{}",
        "\f{}",
        "[\"a\": 1]",
        "{\"a\", \"b\"}",
    };
    for (const std::string& text : texts) {
        Parsed parsed(text);
        EXPECT_EQ(parsed.status, MOEQ_ERROR_FORMAT) << text;
        EXPECT_EQ(parsed.outcome.class_id(), "F12") << text << ": " << parsed.outcome.message();
        EXPECT_TRUE(parsed.document.root().missing());
    }
}

TEST(Json, names_are_compared_after_unescaping_at_every_level)
{
    const char* const texts[] = {
        "{\"a\": 1, \"a\": 1}",
        "{\"a\": 1, \"\\u0061\": 2}",
        "{\"\": 1, \"\": 1}",
        "{\"\\u0000\": 1, \"\\u0000\": 1}",
        "{\"\\/\": 1, \"/\": 1}",
        "{\"\xF0\x9D\x84\x9E\": 1, \"\\ud834\\udd1e\": 1}",
        "[1, {\"x\": [{\"b\": 1, \"c\": {}, \"b\": 2}]}]",
        "{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0,\"10\":0,\"11\":0,\"12\":0,\"13\":0,"
        "\"14\":0,\"15\":0,\"16\":0,\"17\":[{}, [1]],\"18\":0,\"\\u0034\":0}",
    };
    for (const char* text : texts) {
        Parsed parsed(text);
        EXPECT_EQ(parsed.status, MOEQ_ERROR_FORMAT) << text;
        EXPECT_EQ(parsed.outcome.class_id(), "F11") << text << ": " << parsed.outcome.message();
    }
}

TEST(Json, finds_the_one_repeated_name_among_many)
{
    for (const int64_t count : {2, 15, 16, 17, 18, 100, 3000})
        for (const int64_t twin : {int64_t{0}, count / 2, count - 1}) {
            std::string text = "{";
            for (int64_t i = 0; i < count; ++i)
                text += "\"name" + std::to_string(i) + "\": {\"x\": [1, 2]}, ";
            Parsed fine(text + "\"name\": 0}");
            EXPECT_EQ(fine.status, MOEQ_OK) << count;
            Parsed twice(text + "\"name" + std::to_string(twin) + "\": 0}");
            EXPECT_EQ(twice.outcome.class_id(), "F11") << count << " " << twin;
            EXPECT_NE(twice.outcome.message().find("\"name" + std::to_string(twin) + "\""), std::string::npos);
        }
}

TEST(Json, depth_is_limited)
{
    const auto nested = [](int64_t depth, const char* open, const char* close) {
        std::string text;
        for (int64_t i = 0; i < depth; ++i)
            text += open;
        text += "1";
        for (int64_t i = 0; i < depth; ++i)
            text += close;
        return text;
    };
    for (const int32_t depth : {1, 4, 63, 64, 1000}) {
        const int32_t limit = depth > 64 ? 64 : depth;
        const JsonRules rules = {.depth = depth};
        EXPECT_EQ(Parsed(nested(limit, "[", "]"), rules).status, MOEQ_OK) << depth;
        EXPECT_EQ(Parsed(nested(limit + 1, "[", "]"), rules).status, MOEQ_ERROR_FORMAT) << depth;
        EXPECT_EQ(Parsed(nested(limit, "{\"a\":", "}"), rules).status, MOEQ_OK) << depth;
        EXPECT_EQ(Parsed(nested(limit + 1, "{\"a\":", "}"), rules).outcome.class_id(), "F12") << depth;
    }
    EXPECT_EQ(Parsed(std::string(1'000'000, '[')).status, MOEQ_ERROR_FORMAT);
    const std::string written = Parsed(nested(64, "[", "]")).written();
    EXPECT_EQ(written, nested(64, "[", "]"));
}

TEST(Json, integers_only_takes_no_other_number)
{
    const JsonRules rules = {.integers_only = true};
    for (const char* text : {"0", "1", "9223372036854775807", "[1, 2]"})
        EXPECT_EQ(Parsed(text, rules).status, MOEQ_OK) << text;
    for (const char* text :
         {"-0", "-1", "1.0", "1e3", "0.0", "9223372036854775808", "18446744073709551616", "100000000000000000000"})
        EXPECT_EQ(Parsed(text, rules).outcome.class_id(), "F12") << text;
}

TEST(Json, words_of_python_are_taken_where_allowed)
{
    const JsonRules rules = {.python_words = true};
    Parsed parsed("{\"a\": [0.0, Infinity], \"b\": -Infinity, \"c\": NaN, \"d\": -1}", rules);
    ASSERT_EQ(parsed.status, MOEQ_OK) << parsed.outcome.message();
    double number = 0;
    EXPECT_FALSE(parsed.document.root().find("b").get_number(&number));
    EXPECT_TRUE(parsed.document.root().find("d").get_number(&number));
    EXPECT_EQ(parsed.written(), "{\"a\": [0.0, Infinity], \"b\": -Infinity, \"c\": NaN, \"d\": -1}");
    for (const char* text : {"[NaNs]", "[Inf]", "[-NaN]", "[nan]", "[+Infinity]"})
        EXPECT_EQ(Parsed(text, rules).status, MOEQ_ERROR_FORMAT) << text;
}

TEST(Json, values_come_out_as_they_are)
{
    Parsed parsed(
        "{\"s\": \"a\\u0000b\\n\", \"i\": -9223372036854775808, \"j\": 9223372036854775807, \"k\": "
        "9223372036854775808, "
        "\"x\": 1.5, \"t\": true, \"f\": false, \"n\": null, \"a\": [10, [20], {\"deep\": 30}, 40], \"o\": {}}");
    ASSERT_EQ(parsed.status, MOEQ_OK) << parsed.outcome.message();
    const JsonValue root = parsed.document.root();
    EXPECT_EQ(root.size(), 10);
    EXPECT_EQ(std::string(root.find("s").text(), static_cast<size_t>(root.find("s").length())),
              std::string("a\0b\n", 4));
    EXPECT_FALSE(root.find("s").equals("a"));
    int64_t integer = 0;
    EXPECT_TRUE(root.find("i").get_integer(&integer));
    EXPECT_EQ(integer, std::numeric_limits<int64_t>::min());
    EXPECT_TRUE(root.find("j").get_integer(&integer));
    EXPECT_EQ(integer, std::numeric_limits<int64_t>::max());
    EXPECT_FALSE(root.find("k").get_integer(&integer));
    EXPECT_FALSE(root.find("x").get_integer(&integer));
    double number = 0;
    EXPECT_TRUE(root.find("k").get_number(&number));
    EXPECT_EQ(number, 9223372036854775808.0);
    EXPECT_TRUE(root.find("x").get_number(&number));
    EXPECT_EQ(number, 1.5);
    EXPECT_FALSE(root.find("s").get_number(&number));
    bool truth = false;
    EXPECT_TRUE(root.find("t").get_bool(&truth));
    EXPECT_TRUE(truth);
    EXPECT_TRUE(root.find("f").get_bool(&truth));
    EXPECT_FALSE(truth);
    EXPECT_FALSE(root.find("n").get_bool(&truth));
    EXPECT_TRUE(root.find("n").is(moeq::text::JsonKind::kNull));
    EXPECT_TRUE(root.find("none").missing());
    EXPECT_TRUE(root.find("s").find("x").missing());
    EXPECT_EQ(root.find("none").size(), 0);
    EXPECT_STREQ(root.find("x").text(), "");
    EXPECT_TRUE(root.find("o").is_object());
    EXPECT_TRUE(root.find("o").first().done());

    std::vector<int64_t> integers;
    for (JsonMember m = root.find("a").first(); !m.done(); m = m.next()) {
        EXPECT_TRUE(m.name().missing());
        integers.push_back(m.value().get_integer(&integer) ? integer : -1);
    }
    EXPECT_EQ(integers, (std::vector<int64_t>{10, -1, -1, 40}));
    std::string names;
    for (JsonMember m = root.first(); !m.done(); m = m.next())
        names += m.name().text();
    EXPECT_EQ(names, "sijkxtfnao");
}

TEST(Json, writes_what_it_reads)
{
    const std::string texts[] = {
        "null",
        "[]",
        "{}",
        "[1, -2.50, 1e3, true, false, null, \"\", [], {}, [[]], {\"a\": {}}]",
        "{\"a\": [1, 2], \"b\": {\"c\": \"d\", \"e\": [{}, {}]}, \"f\": 0}",
        "\"\xC3\xA9\xF0\x9D\x84\x9E\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7F\"",
    };
    for (const std::string& text : texts) {
        Parsed parsed(text);
        ASSERT_EQ(parsed.status, MOEQ_OK) << text;
        EXPECT_EQ(parsed.written(), text);
    }

    CountedMemory memory;
    moeq::Array<char> out(memory.allocator);
    JsonWriter writer(out);
    writer.begin_object().key("a").integer(-1).key("b").begin_array().number(0.1).number(1).string("x").end_array();
    writer.key("c")
        .boolean(true)
        .key("d")
        .null()
        .key("e")
        .begin_object()
        .end_object()
        .key("f")
        .raw("[1]", 3)
        .end_object();
    EXPECT_TRUE(writer.ok());
    EXPECT_EQ(std::string(out.data(), static_cast<size_t>(out.size())),
              "{\"a\": -1, \"b\": [0.1, 1.0, \"x\"], \"c\": true, \"d\": null, \"e\": {}, \"f\": [1]}");
}

TEST(Json, no_beginning_of_a_text_is_a_text)
{
    const std::string text =
        "{\"a\": [1.5e3, true, null, \"x\\u00e9\\ud834\\udd1e\xE2\x82\xAC\"], \"b\": {\"c\": -12}}";
    for (size_t length = 0; length < text.size(); ++length)
        EXPECT_EQ(Parsed(text.substr(0, length)).status, MOEQ_ERROR_FORMAT) << length;
}

TEST(Json, survives_every_failing_allocation)
{
    std::string text = "{\"x\": {\"y\": [1, 2, 3]}";
    for (int i = 0; i < 100; ++i)
        text += ", \"n" + std::to_string(i) + "\": [" + std::to_string(i) + "]";
    text += "}";
    for (const bool once : {true, false})
        for (int64_t fail_at = 0;; ++fail_at) {
            CountedMemory memory;
            memory.fail_at = fail_at;
            memory.fail_once = once;
            moeq_status status = MOEQ_OK;
            {
                std::string copy = text;
                JsonDocument document(memory.allocator);
                Outcome outcome;
                status = document.parse(copy.data(), static_cast<int64_t>(copy.size()), {}, outcome.report);
                EXPECT_EQ(document.root().missing(), status != MOEQ_OK);
            }
            EXPECT_EQ(memory.allocator.live(), 0);
            if (memory.calls <= fail_at) {
                EXPECT_EQ(status, MOEQ_OK);
                EXPECT_GT(fail_at, 1);
                break;
            }
            EXPECT_EQ(status, MOEQ_ERROR_MEMORY);
        }
}

TEST(Json, a_million_members_take_less_than_two_seconds)
{
    std::string text = "{\"m\": {";
    for (int64_t i = 0; i < 1'000'000; ++i)
        text += (i == 0 ? "\"" : ", \"") + std::to_string(i * 7919 % 1'000'003) + ".weight\": {\"a\": [], \"b\": \"\"}";
    text += "}}";
    const double begin = cpu_seconds();
    Parsed parsed(text);
    const double took = cpu_seconds() - begin;
    EXPECT_EQ(parsed.status, MOEQ_OK) << parsed.outcome.message();
    EXPECT_EQ(parsed.document.root().find("m").size(), 1'000'000);
    EXPECT_LT(took, 2.0 * kSlower);
}

} // namespace
} // namespace moeq_test
