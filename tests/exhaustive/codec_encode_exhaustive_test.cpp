// Slow (minutes): all 2^32 fp32 values through every encoder, against rules that walk the values in ascending order and
// step to the next code where the next midpoint is passed.
#include <gtest/gtest.h>

#include <vector>

#include "../unit/codec_oracle.h"
#include "codec/dynamic_map.h"
#include "codec/float16.h"
#include "codec/fp4.h"
#include "codec/fp8.h"
#include "codec/int8.h"
#include "codec/nf4.h"

namespace {

using namespace moeq::codec;
using namespace codec_oracle;

constexpr uint32_t kInfBits = 0x7F800000u;

// A boundary between consecutive codes: what lies beyond `at` (or on it, where `tie_up`) belongs to the next.
struct Boundary {
    double at;
    bool tie_up;
};

// Midpoints of ascending values, ties to the even index.
std::vector<Boundary> even_boundaries(const std::vector<double>& values)
{
    std::vector<Boundary> boundaries;
    for (size_t i = 0; i + 1 < values.size(); ++i) {
        boundaries.push_back({(values[i] + values[i + 1]) / 2, i % 2 == 1});
    }
    return boundaries;
}

// Walks the magnitudes 0 .. Inf upwards; encode(x) must give expected(index, negative). Returns the number of
// mismatches.
template <typename Encode, typename Expected>
uint64_t walk_magnitudes(const std::vector<Boundary>& boundaries, Encode encode, Expected expected)
{
    uint64_t wrong = 0;
    size_t index = 0;
    for (uint32_t bits = 0; bits <= kInfBits; ++bits) {
        const float x = from_bits(bits);
        const auto value = static_cast<double>(x);
        while (index < boundaries.size() &&
               (value > boundaries[index].at || (value == boundaries[index].at && boundaries[index].tie_up))) {
            ++index;
        }
        wrong += encode(x) != expected(index, false) ? 1u : 0u;
        wrong += encode(-x) != expected(index, true) ? 1u : 0u;
    }
    return wrong;
}

// Walks all values from -Inf to +Inf.
template <typename Encode, typename Expected>
uint64_t walk_line(const std::vector<Boundary>& boundaries, Encode encode, Expected expected)
{
    uint64_t wrong = 0;
    size_t index = 0;
    const auto visit = [&](uint32_t bits) {
        const float x = from_bits(bits);
        const auto value = static_cast<double>(x);
        while (index < boundaries.size() &&
               (value > boundaries[index].at || (value == boundaries[index].at && boundaries[index].tie_up))) {
            ++index;
        }
        wrong += encode(x) != expected(index) ? 1u : 0u;
    };
    for (uint32_t magnitude = kInfBits + 1; magnitude-- != 0;) {
        visit(0x80000000u | magnitude);
    }
    for (uint32_t magnitude = 0; magnitude <= kInfBits; ++magnitude) {
        visit(magnitude);
    }
    return wrong;
}

// The number of NaN patterns of both signs whose code is not `wanted`.
template <typename Encode, typename Code>
uint64_t wrong_nans(Encode encode, Code wanted)
{
    uint64_t wrong = 0;
    for (uint32_t magnitude = kInfBits + 1; magnitude <= 0x7FFFFFFFu; ++magnitude) {
        wrong += encode(from_bits(magnitude)) != wanted ? 1u : 0u;
        wrong += encode(from_bits(0x80000000u | magnitude)) != wanted ? 1u : 0u;
    }
    return wrong;
}

TEST(ExhaustiveEncode, E4m3)
{
    const auto encode = [](float x) { return float_to_e4m3(x); };
    const auto expected = [](size_t index, bool negative) {
        return static_cast<uint8_t>(index | (negative ? 0x80u : 0u));
    };
    EXPECT_EQ(walk_magnitudes(even_boundaries(small_float_values(0x7E, 3, 7)), encode, expected), 0u);
    EXPECT_EQ(wrong_nans(encode, 0), 0u);
}

TEST(ExhaustiveEncode, E5m2)
{
    const auto encode = [](float x) { return float_to_e5m2(x); };
    const auto expected = [](size_t index, bool negative) {
        return static_cast<uint8_t>(index | (negative ? 0x80u : 0u));
    };
    EXPECT_EQ(walk_magnitudes(even_boundaries(small_float_values(0x7B, 2, 15)), encode, expected), 0u);
    EXPECT_EQ(wrong_nans(encode, 0), 0u);
}

TEST(ExhaustiveEncode, Fp16)
{
    const auto encode = [](float x) { return float_to_fp16(x); };
    const auto expected = [](size_t index, bool negative) {
        return static_cast<uint16_t>(index | (negative ? 0x8000u : 0u));
    };
    // The value of code 0x7C00, if it were not Inf, is where rounding up from the largest finite one leads.
    EXPECT_EQ(walk_magnitudes(even_boundaries(small_float_values(0x7C00, 10, 15)), encode, expected), 0u);
}

TEST(ExhaustiveEncode, Bf16)
{
    const auto encode = [](float x) { return float_to_bf16(x); };
    const auto expected = [](size_t index, bool negative) {
        return static_cast<uint16_t>(index | (negative ? 0x8000u : 0u));
    };
    EXPECT_EQ(walk_magnitudes(even_boundaries(small_float_values(0x7F80, 7, 127)), encode, expected), 0u);
}

TEST(ExhaustiveEncode, Nf4)
{
    std::vector<Boundary> boundaries;
    for (int i = 0; i < 15; ++i) {
        const double middle = (static_cast<double>(kNf4[i]) + static_cast<double>(kNf4[i + 1])) / 2;
        boundaries.push_back({static_cast<double>(static_cast<float>(middle)), false});
    }
    const auto encode = [](float x) { return nf4_code(x); };
    EXPECT_EQ(walk_line(boundaries, encode, [](size_t index) { return static_cast<uint8_t>(index); }), 0u);
    EXPECT_EQ(wrong_nans(encode, kNf4ZeroCode), 0u);
}

TEST(ExhaustiveEncode, Fp4)
{
    std::vector<Boundary> boundaries;
    for (const float cut : kFp4Cuts) {
        boundaries.push_back({static_cast<double>(cut), false});
    }
    const auto encode = [](float x) { return fp4_code(x); };
    const auto expected = [](size_t index, bool negative) {
        return static_cast<uint8_t>(kFp4Order[index] | (negative && index != 0 ? 8u : 0u));
    };
    EXPECT_EQ(walk_magnitudes(boundaries, encode, expected), 0u);
    EXPECT_EQ(wrong_nans(encode, kFp4ZeroCode), 0u);
}

TEST(ExhaustiveEncode, Fp4OfBitsandbytesCpu)
{
    // Descending negatives, the two zeros, ascending positives.
    std::vector<uint8_t> order;
    std::vector<float> values;
    for (int i = 7; i >= 1; --i) {
        order.push_back(kFp4Order[i] | 8u);
        values.push_back(-kFp4Magnitudes[kFp4Order[i]]);
    }
    order.insert(order.end(), {0, 8});
    values.insert(values.end(), {0.0f, 0.0f});
    for (int i = 1; i < 8; ++i) {
        order.push_back(kFp4Order[i]);
        values.push_back(kFp4Magnitudes[kFp4Order[i]]);
    }
    std::vector<Boundary> boundaries;
    for (size_t i = 0; i < 15; ++i) {
        boundaries.push_back({static_cast<double>((values[i] + values[i + 1]) / 2.0f), false});
    }
    const auto encode = [](float x) { return fp4_code_bnb_cpu(x); };
    EXPECT_EQ(walk_line(boundaries, encode, [&](size_t index) { return order[index]; }), 0u);
    EXPECT_EQ(wrong_nans(encode, kFp4ZeroCode), 0u);
}

TEST(ExhaustiveEncode, Int8)
{
    std::vector<double> values;
    for (int q = 0; q <= 127; ++q) {
        values.push_back(q);
    }
    const auto encode = [](float x) { return int8_round(x); };
    const auto expected = [](size_t index, bool negative) {
        return static_cast<int8_t>(negative ? -static_cast<int>(index) : static_cast<int>(index));
    };
    EXPECT_EQ(walk_magnitudes(even_boundaries(values), encode, expected), 0u);
    EXPECT_EQ(wrong_nans(encode, 0), 0u);
}

TEST(ExhaustiveEncode, DynamicMap)
{
    // Ties at the midpoint that fp32 arithmetic finds go to the even index.
    std::vector<Boundary> boundaries;
    for (uint32_t i = 0; i < 255; ++i) {
        const float middle = (kDynamicMap.values[i] + kDynamicMap.values[i + 1]) * 0.5f;
        boundaries.push_back({static_cast<double>(middle), i % 2 == 1});
    }
    const auto encode = [](float x) { return dynamic_code(x); };
    EXPECT_EQ(walk_line(boundaries, encode, [](size_t index) { return static_cast<uint8_t>(index); }), 0u);
    EXPECT_EQ(wrong_nans(encode, kDynamicZeroCode), 0u);
}

} // namespace
