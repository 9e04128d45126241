// The kernels for nested statistics of every tier give the bytes of the scalar reference.
#include <algorithm>

#include "codec/dynamic_map.h"
#include "unit/cpu_tiers.h"

namespace moeq {
namespace {

// Statistics of all sizes, on and next to the points where a code of the dynamic map changes.
TEST_P(CpuTiers, EncodeNested)
{
    for (int64_t count = 0; count <= 256; ++count) {
        for (int round = 0; round < 20; ++round) {
            const float offset = round == 0 ? 0.0f : std::abs(normal_(random_)) * (round % 5 == 0 ? 1e-39f : 0.01f);
            const float amax = std::abs(normal_(random_)) * (round % 4 == 0 ? 1e-36f : 1.0f);
            const Fenced absmax(4 * count);
            for (int64_t i = 0; i < count; ++i) {
                const int64_t code = random_below(255);
                const double middle = (double{codec::dynamic_map_value(static_cast<int>(code))} +
                                       double{codec::dynamic_map_value(static_cast<int>(code + 1))}) /
                                      2;
                const uint32_t bits = to_bits(static_cast<float>(middle) * amax + offset);
                absmax.as<float>()[i] = round % 3 == 0   ? random_value(Values::kOrdinary)
                                        : round % 7 == 0 ? 0.0f
                                                         : from_bits(bits + static_cast<uint32_t>(random_below(5)));
                if (i == 0)
                    absmax.as<float>()[0] = amax + offset;
            }
            const Fenced expected(count);
            const Fenced got(count);
            const float scale = reference_.encode_nested(absmax.as<float>(), count, offset, expected.data());
            const float got_scale = tier_.encode_nested(absmax.as<float>(), count, offset, got.data());
            ASSERT_EQ(to_bits(scale), to_bits(got_scale));
            ASSERT_TRUE(same_bytes(expected, got, "nested")) << count << ", round " << round;
        }
    }
}

// Without an offset, and with the largest 1, a statistic is the argument itself: every border and its neighbours.
TEST_P(CpuTiers, EncodeNestedAtEveryBorder)
{
    std::vector<float> arguments;
    for (int code = 0; code < 255; ++code) {
        const float value = codec::dynamic_map_value(code);
        const float middle = (value + codec::dynamic_map_value(code + 1)) * 0.5f;
        for (const float at : {value, middle})
            for (uint32_t d = 0; d < 7; ++d)
                arguments.push_back(from_bits(to_bits(at) + d - 3));
    }
    for (size_t i = 0; i < arguments.size(); i += 255) {
        std::vector<float> some = {1.0f};
        for (size_t j = i; j < std::min(i + 255, arguments.size()); ++j)
            if (std::abs(arguments[j]) <= 1.0f)
                some.push_back(arguments[j]);
        uint8_t expected[256];
        uint8_t got[256];
        const int64_t count = static_cast<int64_t>(some.size());
        reference_.encode_nested(some.data(), count, 0.0f, expected);
        tier_.encode_nested(some.data(), count, 0.0f, got);
        for (size_t j = 0; j < some.size(); ++j)
            ASSERT_EQ(int{expected[j]}, int{got[j]}) << "argument bits " << to_bits(some[j]);
    }
}

TEST_P(CpuTiers, DecodeNested)
{
    for (int64_t count = 0; count <= 256; ++count) {
        const Fenced codes(count);
        const Fenced map(4 * 256);
        fill(map, kFp32, count % 3 == 0 ? Values::kFinite : Values::kOrdinary);
        for (int64_t i = 0; i < count; ++i)
            codes.data()[i] = static_cast<uint8_t>(random_bits());
        const Fenced expected(4 * count);
        const Fenced got(4 * count);
        const float scale = random_value(Values::kOrdinary);
        const float offset = random_value(Values::kOrdinary);
        reference_.decode_nested(codes.data(), count, map.as<float>(), scale, offset, expected.as<float>());
        tier_.decode_nested(codes.data(), count, map.as<float>(), scale, offset, got.as<float>());
        ASSERT_TRUE(same_bytes(expected, got, "nested")) << count;
    }
}

} // namespace
} // namespace moeq
