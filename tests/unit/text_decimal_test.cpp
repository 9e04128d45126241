// Doubles as text and back: against the C library's and the standard library's own, and against what Python writes.
#include "text/decimal.h"

#include <gtest/gtest.h>

#include <bit>
#include <cfenv>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <utility>

namespace {

double parse(const std::string& text)
{
    double value = -1;
    EXPECT_TRUE(moeq::text::parse_double(text.data(), static_cast<int64_t>(text.size()), &value)) << text;
    return value;
}

std::string print(double value)
{
    char text[moeq::text::kDoubleText];
    const int32_t length = moeq::text::print_double(value, text);
    EXPECT_EQ(static_cast<size_t>(length), std::strlen(text));
    return text;
}

TEST(Decimal, prints_as_python_does)
{
    const std::pair<double, const char*> cases[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {100.0, "100.0"},
        {123456.789, "123456.789"},
        {1e15, "1000000000000000.0"},
        {123456789012345680.0, "1.2345678901234568e+17"},
        {9999999999999998.0, "9999999999999998.0"},
        {1e16, "1e+16"},
        {1e22, "1e+22"},
        {1e23, "1e+23"},
        {0.0001, "0.0001"},
        {0.00001, "1e-05"},
        {0.00012345, "0.00012345"},
        {1.0 / 3, "0.3333333333333333"},
        {5e-324, "5e-324"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {static_cast<double>(0.1f), "0.10000000149011612"},
        {static_cast<double>(1e-45f), "1.401298464324817e-45"},
    };
    for (const auto& [value, text] : cases)
        EXPECT_EQ(print(value), text);
}

TEST(Decimal, parses_hard_cases_as_the_c_library_does)
{
    const std::string digits(900, '9');
    const std::string texts[] = {
        "0",
        "-0",
        "0e999999999999",
        "0.000",
        "1e-400",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "2.470328229206232720882843964341106861825299013071623822127928412503377536351043e-324",
        "2.470328229206232720882843964341106861825299013071623822127928412503377536351044e-324",
        "4.9406564584124654e-324",
        "2.2250738585072011e-308",
        "2.2250738585072012e-308",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "179769313486231580792e288",
        "1.7976931348623158079e308",
        "9007199254740993",
        "9007199254740992.9999999999999999999",
        "9007199254740993.0000000000000000001",
        "9007199254740995",
        "1.00000000000000011102230246251565404236316680908203125",
        "1.00000000000000011102230246251565404236316680908203124",
        "1.00000000000000011102230246251565404236316680908203126",
        "0." + digits,
        "0." + std::string(400, '0') + digits + "e500",
        digits + "e-700",
        "1" + std::string(308, '0'),
        "1" + std::string(1500, '0') + "e-1500",
        "100000000000000000000000000000000e-32",
        "8.41e21",
        "2.0919495182368195e19",
        "3.518437208883201171875e13",
    };
    for (const std::string& text : texts) {
        const double wanted = std::strtod(text.c_str(), nullptr);
        const double got = parse(text);
        EXPECT_EQ(std::bit_cast<uint64_t>(got), std::bit_cast<uint64_t>(wanted)) << text;
    }
    double value = 0;
    for (const std::string text : {"1e309", "1.7976931348623159e308", "179769313486231580794e288", "-1e400",
                                   "1e99999999999999999999", "123456e304"})
        EXPECT_FALSE(moeq::text::parse_double(text.data(), static_cast<int64_t>(text.size()), &value)) << text;
}

TEST(Decimal, random_doubles_and_floats_come_back)
{
    std::mt19937_64 random(1);
    for (int i = 0; i < 60'000; ++i) {
        double value = std::bit_cast<double>(random());
        if (i % 3 == 1)
            value = static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(random())));
        if (i % 3 == 2)
            value = static_cast<double>(static_cast<int64_t>(random() % 2'000'000) - 1'000'000) / 1000;
        if (!std::isfinite(value))
            continue;
        const std::string text = print(value);
        ASSERT_EQ(std::bit_cast<uint64_t>(parse(text)), std::bit_cast<uint64_t>(value)) << text;
        ASSERT_EQ(std::bit_cast<uint64_t>(std::strtod(text.c_str(), nullptr)), std::bit_cast<uint64_t>(value)) << text;
        char shortest[40];
        const auto end = std::to_chars(shortest, shortest + sizeof shortest, value, std::chars_format::scientific).ptr;
        const auto digits = [](std::string_view number) {
            std::string found;
            for (const char character : number.substr(0, number.find('e')))
                if (character >= '0' && character <= '9')
                    found += character;
            found.erase(0, found.find_first_not_of('0') == std::string::npos ? 0 : found.find_first_not_of('0'));
            while (found.size() > 1 && found.back() == '0')
                found.pop_back();
            return found;
        };
        ASSERT_EQ(digits(text).size(), digits({shortest, end}).size()) << text;
    }
}

TEST(Decimal, random_decimals_are_those_of_the_c_library)
{
    std::mt19937_64 random(2);
    for (int i = 0; i < 60'000; ++i) {
        std::string text(1, static_cast<char>('1' + random() % 9));
        const uint64_t count = random() % (i % 10 == 0 ? 60 : 20);
        for (uint64_t digit = 0; digit < count; ++digit) {
            if (digit == count / 2)
                text += '.';
            text += static_cast<char>('0' + random() % 10);
        }
        text += text.back() == '.' ? "0e" : "e";
        text += std::to_string(static_cast<int64_t>(random() % 680) - 360);
        const double wanted = std::strtod(text.c_str(), nullptr);
        double got = 0;
        const bool fits = moeq::text::parse_double(text.data(), static_cast<int64_t>(text.size()), &got);
        ASSERT_EQ(fits, std::isfinite(wanted)) << text;
        if (fits) {
            ASSERT_EQ(std::bit_cast<uint64_t>(got), std::bit_cast<uint64_t>(wanted)) << text;
        }
    }
}

TEST(Decimal, ignores_the_rounding_mode_of_the_host)
{
    for (const int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO}) {
        ASSERT_EQ(std::fesetround(mode), 0);
        const std::string text = print(0.1);
        const double value = parse("0.3");
        std::fesetround(FE_TONEAREST);
        EXPECT_EQ(text, "0.1");
        EXPECT_EQ(value, 0.3);
    }
}

} // namespace
