// The 4-bit kernels of every tier give the bytes of the scalar reference.
#include <algorithm>

#include "unit/cpu_tiers.h"

namespace moeq {
namespace {

// Finite blocks: codes and statistics; others: the returned magnitude alone.
TEST_P(CpuTiers, EncodeFourBit)
{
    for (const int32_t index : kFourBit) {
        for (const int32_t type : kTypes) {
            for (const Values values : kAllValues) {
                for (const int64_t count : counts()) {
                    constexpr int64_t kBlocks[] = {2, 32, 64, 66, 128, 256, 4096};
                    // A third of all pairs, chosen at random.
                    for (const int64_t block : kBlocks) {
                        if (random_below(3) != 0)
                            continue;
                        const Fenced source(count * float_type_bytes(type));
                        fill(source, type, values);
                        const int64_t blocks = (count + block - 1) / block;
                        const Fenced expected((count + 1) / 2);
                        const Fenced got((count + 1) / 2);
                        const Fenced expected_absmax(4 * blocks);
                        const Fenced got_absmax(4 * blocks);
                        const uint32_t largest = reference_.runs[index].encode_blocks[cpu::kCached][type](
                            source.data(), count, block, expected_absmax.as<float>(), expected.data());
                        const uint32_t got_largest = tier_.runs[index].encode_blocks[stores()][type](
                            source.data(), count, block, got_absmax.as<float>(), got.data());
                        ASSERT_EQ(largest, got_largest) << kTypeNames[type] << " x " << count << ", block " << block;
                        if (largest >= codec::kNonfiniteBits)
                            continue;
                        ASSERT_TRUE(same_bytes(expected, got, run_format(index).name))
                            << kTypeNames[type] << " x " << count << ", block " << block << ", values "
                            << static_cast<int>(values);
                        ASSERT_TRUE(expected_absmax.same(got_absmax)) << kTypeNames[type] << " x " << count;
                    }
                }
            }
        }
    }
}

// Every 16-bit value below the largest of its block, for largest values of every exponent.
TEST_P(CpuTiers, EncodeFourBitOfEvery16BitInput)
{
    for (const int32_t index : kFourBit) {
        for (const int32_t type : {kFp16, kBf16}) {
            const uint32_t infinity = type == kFp16 ? 0x7C00u : 0x7F80u;
            const uint32_t step = type == kFp16 ? 0x0123u : 0x00A5u;
            for (uint32_t largest = 1; largest < infinity; largest += step) {
                std::vector<uint16_t> source;
                for (uint32_t magnitude = 0; magnitude <= largest; ++magnitude) {
                    if (source.size() % 64 == 0)
                        source.push_back(static_cast<uint16_t>(largest));
                    source.push_back(static_cast<uint16_t>(magnitude));
                    if (source.size() % 64 == 0)
                        source.push_back(static_cast<uint16_t>(largest | 0x8000u));
                    source.push_back(static_cast<uint16_t>(magnitude | 0x8000u));
                }
                const int64_t count = static_cast<int64_t>(source.size());
                const Fenced expected((count + 1) / 2);
                const Fenced got((count + 1) / 2);
                std::vector<float> absmax(static_cast<size_t>(count / 64 + 1));
                reference_.runs[index].encode_blocks[cpu::kCached][type](source.data(), count, 64, absmax.data(),
                                                                         expected.data());
                tier_.runs[index].encode_blocks[stores()][type](source.data(), count, 64, absmax.data(), got.data());
                ASSERT_TRUE(same_bytes(expected, got, run_format(index).name))
                    << kTypeNames[type] << ", largest " << largest;
            }
        }
    }
}

// bf16: where the codes change depends on the mantissa of the block's largest magnitude. All 128 of them, with exponents at
// the ends of what is encoded by the elements' bits alone and outside, and every magnitude down to 2^-9 of the largest.
TEST_P(CpuTiers, EncodeFourBitUnderEveryMantissa)
{
    constexpr uint32_t kExponents[] = {26, 27, 28, 127, 250, 251, 252, 254};
    for (const int32_t index : kFourBit) {
        for (const uint32_t exponent : kExponents) {
            for (uint32_t largest = exponent << 7; largest < (exponent + 1) << 7; ++largest) {
                const uint32_t least = largest - (9u << 7);
                const int64_t block = largest % 3 == 0 ? 32 : largest % 3 == 1 ? 64 : 192;
                std::vector<uint16_t> source;
                for (uint32_t magnitude = least; magnitude <= largest; ++magnitude) {
                    if (source.size() % static_cast<size_t>(block) == 0)
                        source.push_back(static_cast<uint16_t>(largest | (magnitude & 1) << 15));
                    source.push_back(static_cast<uint16_t>(magnitude));
                    if (source.size() % static_cast<size_t>(block) == 0)
                        source.push_back(static_cast<uint16_t>(largest));
                    source.push_back(static_cast<uint16_t>(magnitude | 0x8000u));
                }
                const int64_t count = static_cast<int64_t>(source.size());
                const Fenced expected((count + 1) / 2);
                const Fenced got((count + 1) / 2);
                std::vector<float> absmax(static_cast<size_t>(count / block + 1));
                reference_.runs[index].encode_blocks[cpu::kCached][kBf16](source.data(), count, block, absmax.data(),
                                                                          expected.data());
                tier_.runs[index].encode_blocks[stores()][kBf16](source.data(), count, block, absmax.data(),
                                                                 got.data());
                ASSERT_TRUE(same_bytes(expected, got, run_format(index).name))
                    << "largest " << largest << ", block " << block;
            }
        }
    }
}

// fp32 elements whose arguments lie on and next to the borders between codes, for largest values of all sizes.
TEST_P(CpuTiers, EncodeFourBitAtEveryBorder)
{
    const int64_t block = 4096;
    for (const int32_t index : kFourBit) {
        const Format& format = run_format(index);
        std::vector<float> ascending(format.code_map, format.code_map + 16);
        std::sort(ascending.begin(), ascending.end());
        for (int round = 0; round < 300; ++round) {
            const uint32_t amax_bits = round < 40   ? static_cast<uint32_t>(round + 1)
                                       : round < 80 ? 0x7F7FFFFFu - static_cast<uint32_t>(round - 40) * 0x10001u
                                                    : random_bits() % 0x7F800000u;
            const float amax = from_bits(amax_bits);
            std::vector<float> source = {-amax};
            while (source.size() < static_cast<size_t>(block)) {
                const size_t i = static_cast<size_t>(random_below(15));
                const double border = (double{ascending[i]} + double{ascending[i + 1]}) / 2;
                const uint32_t bits = to_bits(static_cast<float>(border * amax));
                const uint32_t near = bits + static_cast<uint32_t>(random_below(9)) - 4u;
                if ((near & 0x7FFFFFFFu) <= amax_bits)
                    source.push_back(from_bits(near));
                else
                    source.push_back(amax * static_cast<float>(random_below(2)));
            }
            const Fenced expected(block / 2);
            const Fenced got(block / 2);
            float absmax[2];
            reference_.runs[index].encode_blocks[cpu::kCached][kFp32](source.data(), block, block, &absmax[0],
                                                                      expected.data());
            tier_.runs[index].encode_blocks[stores()][kFp32](source.data(), block, block, &absmax[1], got.data());
            ASSERT_TRUE(same_bytes(expected, got, format.name)) << "amax bits " << amax_bits;
            ASSERT_EQ(to_bits(absmax[0]), to_bits(absmax[1]));
        }
    }
}

TEST_P(CpuTiers, DecodeFourBit)
{
    const std::vector<float> special = scales();
    for (const int32_t index : kFourBit) {
        for (const int32_t type : kTypes) {
            for (const int64_t block : {2, 6, 32, 64, 66, 128, 4096}) {
                for (const int64_t length : counts()) {
                    const int64_t begin = random_below(3) == 0 ? 0 : random_below(2 * block + 3);
                    const int64_t end = begin + length;
                    const Fenced codes((end + 1) / 2);
                    for (size_t i = 0; i < codes.size(); ++i)
                        codes.data()[i] = static_cast<uint8_t>(random_bits());
                    const Fenced absmax(4 * ((end + block - 1) / block));
                    const bool finite = random_below(2) == 0;
                    for (size_t i = 0; i < absmax.size() / 4; ++i) {
                        const float other = special[static_cast<size_t>(random_bits()) % special.size()];
                        absmax.as<float>()[i] = random_below(2) == 0 && !(finite && !std::isfinite(other))
                                                    ? other
                                                    : random_value(Values::kOrdinary);
                    }
                    const Fenced expected(length * float_type_bytes(type));
                    const Fenced got(length * float_type_bytes(type));
                    reference_.runs[index].decode_blocks[cpu::kCached][type](
                        codes.data(), begin, end, absmax.as<float>(), block, expected.data());
                    tier_.runs[index].decode_blocks[stores()][type](codes.data(), begin, end, absmax.as<float>(), block,
                                                                    got.data());
                    ASSERT_TRUE(same_bytes(expected, got, run_format(index).name))
                        << kTypeNames[type] << ", [" << begin << ", " << end << "), block " << block;
                }
            }
        }
    }
}

TEST_P(CpuTiers, DecodeFourBitOfEveryByte)
{
    std::vector<float> all = scales();
    for (int i = 0; i < 3000; ++i)
        all.push_back(from_bits(random_bits()));
    for (const int64_t block : {32, 64, 512}) {
        const int64_t count = block * static_cast<int64_t>(all.size());
        const Fenced codes(count / 2);
        for (size_t i = 0; i < codes.size(); ++i)
            codes.data()[i] = static_cast<uint8_t>(i * 151);
        for (const int32_t index : kFourBit) {
            for (const int32_t type : kTypes) {
                const Fenced expected(count * float_type_bytes(type));
                const Fenced got(count * float_type_bytes(type));
                reference_.runs[index].decode_blocks[cpu::kCached][type](codes.data(), 0, count, all.data(), block,
                                                                         expected.data());
                tier_.runs[index].decode_blocks[stores()][type](codes.data(), 0, count, all.data(), block, got.data());
                ASSERT_TRUE(same_bytes(expected, got, run_format(index).name)) << kTypeNames[type] << ", " << block;
            }
        }
    }
}

} // namespace
} // namespace moeq
