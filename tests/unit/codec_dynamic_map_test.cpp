// The dynamic map: its values against wide arithmetic, and the code of a value against distances and against the binary
// search that defines the tie rule.
#include <gtest/gtest.h>

#include <algorithm>

#include "codec/dynamic_map.h"
#include "codec_oracle.h"

namespace {

using namespace moeq::codec;
using namespace codec_oracle;

// The map as its definition builds it: midpoints of linearly spaced points per decade, both signs, 0 and 1, sorted.
std::vector<long double> exact_map()
{
    std::vector<long double> values = {0.0L, 1.0L};
    for (int decade = 0; decade < 7; ++decade) {
        const int parts = 1 << decade;
        for (int k = 0; k < parts; ++k) {
            const long double low = 0.1L + 0.9L * k / parts;
            const long double high = 0.1L + 0.9L * (k + 1) / parts;
            const long double value = (low + high) / 2 * std::pow(10.0L, decade - 6);
            values.push_back(value);
            values.push_back(-value);
        }
    }
    std::sort(values.begin(), values.end());
    return values;
}

TEST(CodecDynamicMap, ValuesAreTheExactOnesRoundedOnce)
{
    const std::vector<long double> exact = exact_map();
    ASSERT_EQ(exact.size(), 256u);
    for (uint32_t i = 0; i < 256; ++i) {
        const float value = dynamic_decode(static_cast<uint8_t>(i));
        const long double error = std::fabs(static_cast<long double>(value) - exact[i]);
        for (const float neighbour : {std::nextafterf(value, 2.0f), std::nextafterf(value, -2.0f)}) {
            // Strictly nearer than both neighbours: correctly rounded (the 2^-60 covers long double's own error).
            ASSERT_LT(error - 0x1p-60L * std::fabs(exact[i]), std::fabs(static_cast<long double>(neighbour) - exact[i]))
                << i;
        }
        ASSERT_LE(error, 0x1.000001p-25L * std::max(std::fabs(exact[i]) * 2, 0x1p-120L)) << i;
        if (i > 0) {
            ASSERT_LT(dynamic_decode(static_cast<uint8_t>(i - 1)), value);
        }
    }
}

TEST(CodecDynamicMap, Landmarks)
{
    EXPECT_EQ(to_bits(dynamic_decode(kDynamicZeroCode)), 0u);
    EXPECT_EQ(dynamic_decode(255), 1.0f);
    EXPECT_EQ(dynamic_decode(0), -0.99296875f);
    EXPECT_EQ(dynamic_decode(254), 0.99296875f);
    EXPECT_EQ(dynamic_decode(128), 5.5e-7f);
    for (int p = 1; p <= 127; ++p) {
        EXPECT_EQ(dynamic_decode(static_cast<uint8_t>(127 + p)), -dynamic_decode(static_cast<uint8_t>(127 - p)));
    }
}

// A bisection from index 127 with steps 64, 32, ... 1 that ends on a pivot (always an even index), then one test
// against the midpoint with the neighbour on x's side; equality stays on the pivot.
uint8_t bisect(float x, const float* map)
{
    int pivot = 127;
    int below = 0;
    int above = 255;
    for (int step = 64; step != 0; step /= 2) {
        if (x > map[pivot]) {
            below = pivot;
            pivot += step;
        } else {
            above = pivot;
            pivot -= step;
        }
    }
    if (x > map[pivot]) {
        return static_cast<uint8_t>(x > (map[pivot] + map[above]) * 0.5f ? above : pivot);
    }
    return static_cast<uint8_t>(x < (map[pivot] + map[below]) * 0.5f ? below : pivot);
}

TEST(CodecDynamicMap, CodeFollowsTheBisection)
{
    std::vector<float> inputs = {0.0f, -0.0f, 1.0f, -1.0f, 1e30f, -1e30f, from_bits(1), from_bits(0x80000001u)};
    for (int i = 0; i < 256; ++i) {
        const float value = kDynamicMap.values[i];
        const float middle = (value + kDynamicMap.values[std::min(i + 1, 255)]) * 0.5f;
        for (const float x : {value, middle}) {
            inputs.insert(inputs.end(), {x, std::nextafterf(x, 2.0f), std::nextafterf(x, -2.0f)});
        }
    }
    RandomFloats random(8);
    for (int i = 0; i < 500000; ++i) {
        inputs.push_back(static_cast<float>(random.unit() * 2.2 - 1.1));
        inputs.push_back(
            static_cast<float>((random.unit() - 0.5) * std::pow(10.0, -static_cast<int>(random.bits() % 9))));
    }
    // A second map, as a file could bring it: other last bits.
    float other[256];
    for (int i = 0; i < 256; ++i) {
        other[i] = std::nextafterf(kDynamicMap.values[i], 0.0f);
    }
    for (const float x : inputs) {
        ASSERT_EQ(dynamic_code(x), bisect(x, kDynamicMap.values)) << x;
        ASSERT_EQ(dynamic_code(x, other), bisect(x, other)) << x;
    }
}

TEST(CodecDynamicMap, CodeIsTheNearestValue)
{
    std::vector<double> values;
    for (const float value : kDynamicMap.values) {
        values.push_back(static_cast<double>(value));
    }
    for (uint32_t i = 0; i < 256; ++i) {
        ASSERT_EQ(dynamic_code(kDynamicMap.values[i]), i);
    }
    RandomFloats random(9);
    for (int i = 0; i < 100000; ++i) {
        const double x = (random.unit() * 2 - 1) * std::pow(10.0, -static_cast<int>(random.bits() % 8));
        const auto t = static_cast<float>(x);
        const double best = std::fabs(values[nearest_even(values, static_cast<double>(t))] - static_cast<double>(t));
        const double taken = std::fabs(values[dynamic_code(t)] - static_cast<double>(t));
        ASSERT_LE(taken, best + 0x1p-24 * std::fabs(static_cast<double>(t))) << t;
    }
    EXPECT_EQ(dynamic_code(from_bits(0x7FC00000u)), kDynamicZeroCode);
}

TEST(CodecDynamicMap, NestedAbsmaxRoundsTwice)
{
    RandomFloats random(10);
    int fused_differs = 0;
    for (int i = 0; i < 100000; ++i) {
        const float map_value = kDynamicMap.values[random.bits() & 255u];
        const auto absmax2 = static_cast<float>(random.unit());
        const auto offset = static_cast<float>(random.unit());
        const auto product = static_cast<float>(static_cast<double>(map_value) * static_cast<double>(absmax2));
        const float sum = static_cast<float>(static_cast<double>(product) + static_cast<double>(offset));
        ASSERT_EQ(nested_absmax(map_value, absmax2, offset), sum);
        fused_differs += std::fmaf(map_value, absmax2, offset) != sum ? 1 : 0;
    }
    EXPECT_GT(fused_differs, 0) << "the inputs could not tell a fused operation from two roundings";
}

} // namespace
