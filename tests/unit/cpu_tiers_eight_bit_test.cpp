// The 8-bit kernels of every tier give the bytes of the scalar reference.
#include "unit/cpu_tiers.h"

namespace moeq {
namespace {

TEST_P(CpuTiers, EncodeEightBit)
{
    for (const int32_t index : kEightBit) {
        const Format& format = tile_format(index);
        const std::vector<codec::Multiplier> all = multipliers(format);
        size_t next = 0;
        for (const int32_t type : kTypes) {
            for (const Values values : kAllValues) {
                for (const int64_t count : counts()) {
                    const Fenced source(count * float_type_bytes(type));
                    fill(source, type, values);
                    const Fenced expected(count);
                    const Fenced got(count);
                    const codec::Multiplier multiplier = all[next++ % all.size()];
                    reference_.tiles[index].encode[cpu::kCached][type](source.data(), count, multiplier, nullptr,
                                                                       expected.data());
                    tier_.tiles[index].encode[stores()][type](source.data(), count, multiplier, nullptr, got.data());
                    ASSERT_TRUE(same_bytes(expected, got, std::string(format.name) + " from " + kTypeNames[type]))
                        << "count " << count << ", multiplier " << multiplier.prescale << " * " << multiplier.value;

                    const Fenced columns(count * 8);
                    for (int64_t i = 0; i < count; ++i)
                        columns.as<codec::Multiplier>()[i] = all[static_cast<size_t>(random_bits()) % all.size()];
                    const auto* each = columns.as<codec::Multiplier>();
                    const cpu::Rectangle row{.rows = 1, .columns = count, .element_pitch = 0, .code_pitch = 0};
                    reference_.tiles[index].encode_columns[cpu::kCached][type](source.data(), row, each,
                                                                               expected.data());
                    tier_.tiles[index].encode_columns[stores()][type](source.data(), row, each, got.data());
                    ASSERT_TRUE(
                        same_bytes(expected, got, std::string(format.name) + " columns from " + kTypeNames[type]))
                        << "count " << count;
                }
            }
        }
    }
}

TEST_P(CpuTiers, EncodeEightBitOfEvery16BitInput)
{
    const int64_t count = 65536;
    const Fenced source(2 * count);
    for (int64_t i = 0; i < count; ++i)
        source.as<uint16_t>()[i] = static_cast<uint16_t>(i);
    for (const int32_t index : kEightBit) {
        const Format& format = tile_format(index);
        for (const codec::Multiplier multiplier : multipliers(format)) {
            for (const int32_t type : {kFp16, kBf16}) {
                const Fenced expected(count);
                const Fenced got(count);
                reference_.tiles[index].encode[cpu::kCached][type](source.data(), count, multiplier, nullptr,
                                                                   expected.data());
                tier_.tiles[index].encode[stores()][type](source.data(), count, multiplier, nullptr, got.data());
                ASSERT_TRUE(same_bytes(expected, got, std::string(format.name) + " from " + kTypeNames[type]))
                    << multiplier.prescale << " * " << multiplier.value;
            }
        }
    }
}

// What comes after a run is looked at, and only that.
TEST_P(CpuTiers, EncodeEightBitFindsTheNextAmax)
{
    for (const int32_t index : kEightBit) {
        const std::vector<codec::Multiplier> all = multipliers(tile_format(index));
        for (const int32_t type : kTypes) {
            for (const Values values : kAllValues) {
                for (const int64_t count : counts()) {
                    const Fenced source(count * float_type_bytes(type));
                    const Fenced next(count * float_type_bytes(type));
                    fill(source, type, Values::kOrdinary);
                    fill(next, type, values);
                    const Fenced expected(count);
                    const Fenced got(count);
                    const codec::Multiplier multiplier = all[static_cast<size_t>(random_bits()) % all.size()];
                    const uint32_t largest = reference_.tiles[index].encode[cpu::kCached][type](
                        source.data(), count, multiplier, next.data(), expected.data());
                    ASSERT_EQ(largest, reference_.amax[type](next.data(), count));
                    ASSERT_EQ(tier_.tiles[index].encode[stores()][type](source.data(), count, multiplier, next.data(),
                                                                        got.data()),
                              largest)
                        << kTypeNames[type] << " x " << count;
                    ASSERT_TRUE(same_bytes(expected, got, tile_format(index).name))
                        << kTypeNames[type] << " x " << count;
                }
            }
        }
    }
}

// The arguments around every point where a code changes, and both sides of every end of a range.
TEST_P(CpuTiers, EncodeEightBitAtEveryBorder)
{
    for (const int32_t index : kEightBit) {
        const Format& format = tile_format(index);
        std::vector<float> arguments;
        const auto around = [&](float value) {
            const int64_t bits = to_bits(std::abs(value));
            for (int64_t d = -3; d <= 3; ++d)
                if (bits + d >= 0 && bits + d <= 0x7FFFFFFF)
                    for (const uint32_t sign : {0u, 0x80000000u})
                        arguments.push_back(from_bits(static_cast<uint32_t>(bits + d) | sign));
        };
        for (int code = 0; code < 127; ++code) {
            const float value = format.code_value(static_cast<uint8_t>(code));
            const float next = format.code_value(static_cast<uint8_t>(code + 1));
            around(value);
            around((value + next) / 2);
        }
        for (int exponent = 0; exponent < 256; ++exponent)
            around(from_bits(static_cast<uint32_t>(exponent) << 23));
        for (const float value : {126.5f, 127.5f, 128.5f, 464.0f, 480.0f, 61440.0f, 2147483648.0f, 4294967296.0f})
            around(value);
        const int64_t count = static_cast<int64_t>(arguments.size());
        const Fenced expected(count);
        const Fenced got(count);
        reference_.tiles[index].encode[cpu::kCached][kFp32](arguments.data(), count, {1.0f, 1.0f}, nullptr,
                                                            expected.data());
        tier_.tiles[index].encode[stores()][kFp32](arguments.data(), count, {1.0f, 1.0f}, nullptr, got.data());
        ASSERT_TRUE(same_bytes(expected, got, format.name));
    }
}

TEST_P(CpuTiers, DecodeEightBit)
{
    for (const int32_t index : kEightBit) {
        const std::vector<float> all = scales();
        size_t next = 0;
        for (const int32_t kind : {kAbsmax, kFactor}) {
            for (const int32_t type : kTypes) {
                for (const int64_t count : counts()) {
                    const Fenced codes(count);
                    for (int64_t i = 0; i < count; ++i)
                        codes.data()[i] = static_cast<uint8_t>(random_bits());
                    const Fenced expected(count * float_type_bytes(type));
                    const Fenced got(count * float_type_bytes(type));
                    const float scale = all[next++ % all.size()];
                    decode_run(reference_.tiles[index].decode_rows[cpu::kCached][kind][type], codes.data(), count,
                               scale, expected.data());
                    decode_run(tier_.tiles[index].decode_rows[stores()][kind][type], codes.data(), count, scale,
                               got.data());
                    ASSERT_TRUE(same_or_two_nans(expected, got, type, &scale, 0, tile_format(index).name))
                        << kTypeNames[type] << " x " << count << ", scale " << scale << ", kind " << kind;

                    const Fenced columns(count * 4);
                    for (int64_t i = 0; i < count; ++i)
                        columns.as<float>()[i] = all[static_cast<size_t>(random_bits()) % all.size()];
                    const float* each = columns.as<float>();
                    const cpu::Rectangle row{.rows = 1, .columns = count, .element_pitch = 0, .code_pitch = 0};
                    reference_.tiles[index].decode_columns[cpu::kCached][kind][type](codes.data(), row, each,
                                                                                     expected.data());
                    tier_.tiles[index].decode_columns[stores()][kind][type](codes.data(), row, each, got.data());
                    ASSERT_TRUE(same_or_two_nans(expected, got, type, each, 1, tile_format(index).name))
                        << kTypeNames[type] << " columns x " << count << ", kind " << kind;
                }
            }
        }
    }
}

// All codes with all scales of the list and many random ones; long and short runs, which may work differently.
TEST_P(CpuTiers, DecodeEightBitOfEveryCode)
{
    std::vector<float> all = scales();
    for (int i = 0; i < 3000; ++i)
        all.push_back(from_bits(random_bits()));
    const int64_t most = 1024 + 17;
    std::vector<uint8_t> codes(static_cast<size_t>(most));
    for (int64_t i = 0; i < most; ++i)
        codes[static_cast<size_t>(i)] = static_cast<uint8_t>(i * 37);
    for (const int32_t type : kTypes) {
        for (const int64_t count : {int64_t{256}, most}) {
            const Fenced expected(count * float_type_bytes(type));
            const Fenced got(count * float_type_bytes(type));
            for (const int32_t index : kEightBit) {
                for (const float scale : all) {
                    for (const int32_t kind : {kAbsmax, kFactor}) {
                        decode_run(reference_.tiles[index].decode_rows[cpu::kCached][kind][type], codes.data(), count,
                                   scale, expected.data());
                        decode_run(tier_.tiles[index].decode_rows[stores()][kind][type], codes.data(), count, scale,
                                   got.data());
                        ASSERT_TRUE(same_or_two_nans(expected, got, type, &scale, 0, tile_format(index).name))
                            << kTypeNames[type] << ", scale bits " << to_bits(scale) << ", kind " << kind;
                    }
                }
            }
        }
    }
}

// Long runs without -128 and without NaN codes, as the library itself writes them.
TEST_P(CpuTiers, DecodeEightBitOfOwnCodes)
{
    const int64_t count = 2048;
    for (const int32_t index : kEightBit) {
        for (const int32_t type : kTypes) {
            for (const float scale : scales()) {
                const Fenced source(count * 4);
                fill(source, kFp32, Values::kOrdinary);
                const Fenced codes(count);
                reference_.tiles[index].encode[cpu::kCached][kFp32](
                    source.data(), count, tile_format(index).multiplier(4.0f, MOEQ_PROFILE_MOEQ), nullptr,
                    codes.data());
                const Fenced expected(count * float_type_bytes(type));
                const Fenced got(count * float_type_bytes(type));
                for (const int32_t kind : {kAbsmax, kFactor}) {
                    decode_run(reference_.tiles[index].decode_rows[cpu::kCached][kind][type], codes.data(), count,
                               scale, expected.data());
                    decode_run(tier_.tiles[index].decode_rows[stores()][kind][type], codes.data(), count, scale,
                               got.data());
                    ASSERT_TRUE(same_bytes(expected, got, tile_format(index).name)) << scale;
                }
            }
        }
    }
}

} // namespace
} // namespace moeq
