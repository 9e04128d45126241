// Every kernel of every tier that this CPU can run gives the bytes of the scalar reference: all counts around the width of a
// register, bases that are only naturally aligned, all 16-bit inputs, all codes, special values, and nothing read or
// written outside.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "codec/dynamic_map.h"
#include "core/cpu_limits.h"
#include "cpu/dispatch.h"
#include "cpu/stores.h"
#include "formats/elements.h"
#include "formats/format.h"

namespace moeq {
namespace {

constexpr int32_t kEightBit[] = {cpu::kInt8, cpu::kE4m3, cpu::kE5m2};
constexpr int32_t kFourBit[] = {cpu::kNf4, cpu::kFp4};
constexpr int32_t kTypes[] = {kFp32, kFp16, kBf16};
const char* const kTypeNames[] = {"fp32", "fp16", "bf16"};

float from_bits(uint32_t bits) { return std::bit_cast<float>(bits); }
uint32_t to_bits(float value) { return std::bit_cast<uint32_t>(value); }

// Bytes that end where an unmapped page begins, behind a margin of known bytes.
class Fenced {
public:
    explicit Fenced(int64_t bytes) : bytes_(static_cast<size_t>(bytes))
    {
        const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
        mapped_ = (bytes_ + kMargin + page - 1) / page * page;
        base_ = static_cast<uint8_t*>(
            mmap(nullptr, mapped_ + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (base_ == MAP_FAILED || mprotect(base_ + mapped_, page, PROT_NONE) != 0)
            std::abort();
        total_ = mapped_ + page;
        std::memset(data() - kMargin, 0xA5, kMargin + bytes_);
    }
    Fenced(const Fenced& other) : Fenced(static_cast<int64_t>(other.bytes_))
    {
        std::memcpy(data(), other.data(), bytes_);
    }
    Fenced& operator=(const Fenced&) = delete;
    ~Fenced() { munmap(base_, total_); }

    uint8_t* data() const { return base_ + mapped_ - bytes_; }
    template <class T>
    T* as() const
    {
        return static_cast<T*>(static_cast<void*>(data()));
    }
    bool same(const Fenced& other) const
    {
        return std::memcmp(data() - kMargin, other.data() - kMargin, kMargin + bytes_) == 0;
    }
    size_t size() const { return bytes_; }

private:
    static constexpr size_t kMargin = 64;
    size_t bytes_;
    size_t mapped_ = 0;
    size_t total_ = 0;
    uint8_t* base_ = nullptr;
};

enum class Values { kOrdinary, kAnyBits, kFinite, kSubnormal, kZeros, kSparse };
constexpr Values kAllValues[] = {Values::kOrdinary,  Values::kAnyBits, Values::kFinite,
                                 Values::kSubnormal, Values::kZeros,   Values::kSparse};

// A tier, and how its kernels store.
struct Way {
    int32_t tier;
    cpu::Stores stores;
};

class CpuTiers : public testing::TestWithParam<Way> {
protected:
    void SetUp() override
    {
        const char* missing = cpu::tier_missing(GetParam().tier);
        if (missing != nullptr)
            GTEST_SKIP() << cpu::tier_name(GetParam().tier) << ": " << missing;
        fill_reference_kernels(&reference_);
        fill_reference_kernels(&tier_);
        cpu::overlay_tier(GetParam().tier, &tier_);
    }

    static cpu::Stores stores() { return GetParam().stores; }

    uint32_t random_bits() { return static_cast<uint32_t>(random_()); }
    int64_t random_below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }

    float random_value(Values values)
    {
        switch (values) {
        case Values::kAnyBits:
            return from_bits(random_bits());
        case Values::kFinite: {
            const uint32_t bits = random_bits();
            return (bits & 0x7F800000u) == 0x7F800000u ? from_bits(bits & 0x807FFFFFu) : from_bits(bits);
        }
        case Values::kSubnormal:
            return from_bits((random_bits() & 0x807FFFFFu) >> (random_bits() % 8));
        case Values::kZeros:
            return from_bits(random_bits() & 0x80000000u);
        case Values::kSparse:
            return random_bits() % 4 != 0 ? from_bits(random_bits() & 0x80000000u) : normal_(random_);
        default:
            return normal_(random_);
        }
    }

    // 16-bit types draw their bits too where any bits are wanted, so that all their NaNs come up.
    void fill(const Fenced& to, int32_t type, Values values)
    {
        const bool raw = values == Values::kAnyBits || values == Values::kSubnormal;
        if (type == kFp32) {
            for (size_t i = 0; i < to.size() / 4; ++i)
                to.as<float>()[i] = random_value(values);
        } else {
            const uint32_t exponent = type == kFp16 ? 0x7C00u : 0x7F80u;
            for (size_t i = 0; i < to.size() / 2; ++i) {
                const uint32_t bits = values == Values::kSubnormal ? random_bits() & ~exponent : random_bits();
                const float value = random_value(values);
                to.as<uint16_t>()[i] = raw             ? static_cast<uint16_t>(bits)
                                       : type == kFp16 ? Element<kFp16>::store(value)
                                                       : Element<kBf16>::store(value);
                if (values == Values::kFinite && (to.as<uint16_t>()[i] & exponent) == exponent)
                    to.as<uint16_t>()[i] = static_cast<uint16_t>(to.as<uint16_t>()[i] & ~exponent);
            }
        }
    }

    static std::vector<int64_t> counts()
    {
        std::vector<int64_t> counts;
        for (int64_t i = 0; i <= 200; ++i)
            counts.push_back(i);
        for (const int64_t large : {255, 511, 512, 513, 577, 1024, 2047, 4099})
            counts.push_back(large);
        return counts;
    }

    static std::vector<float> scales()
    {
        std::vector<float> scales;
        for (const uint32_t bits :
             {0x00000000u, 0x80000000u, 0x00000001u, 0x80000001u, 0x00000203u, 0x007FFFFFu, 0x00800000u, 0x01000000u,
              0x0D7FFFFFu, 0x0D800000u, 0x33800000u, 0x38D1B717u, 0x3C010204u, 0x3C812345u, 0xBC812345u, 0x3F800000u,
              0xBF800000u, 0x3FAAAAABu, 0x40490FDBu, 0x437F0000u, 0x477FE000u, 0x477FF000u, 0x7B7FFFFFu, 0x7B800000u,
              0xFB800000u, 0x7C000001u, 0x7E800000u, 0x7F000000u, 0x7F7FFFFFu, 0xFF7FFFFFu, 0x7F800000u, 0xFF800000u,
              0x7F800001u, 0x7FC00000u, 0xFFC00000u, 0x7FC12345u, 0xFFD54321u, 0x7FFFFFFFu, 0xFFFFFFFFu, 0x7FC1A345u})
            scales.push_back(from_bits(bits));
        return scales;
    }

    std::vector<codec::Multiplier> multipliers(const Format& format)
    {
        std::vector<codec::Multiplier> all;
        for (const float amax : scales())
            if (amax >= 0.0f && std::isfinite(amax))
                for (const int32_t profile : {MOEQ_PROFILE_MOEQ, MOEQ_PROFILE_BNB_CPU})
                    all.push_back(format.multiplier(amax, profile));
        for (const float value : scales())
            all.push_back({1.0f, value});
        all.push_back({from_bits(codec::kTinyPrescaleBits), -0.0f});
        for (int i = 0; i < 20; ++i)
            all.push_back(format.multiplier(
                std::abs(normal_(random_)) * std::exp2(static_cast<float>(random_below(200)) - 100.0f),
                MOEQ_PROFILE_MOEQ));
        return all;
    }

    static testing::AssertionResult same_bytes(const Fenced& expected, const Fenced& got, const std::string& what)
    {
        if (expected.same(got))
            return testing::AssertionSuccess();
        size_t i = 0;
        while (i < expected.size() && expected.data()[i] == got.data()[i])
            ++i;
        testing::AssertionResult result = testing::AssertionFailure() << what;
        if (i == expected.size())
            return result << ": written in front of the destination";
        return result << ": byte " << i << " of " << expected.size() << " is " << int{got.data()[i]} << ", not "
                      << int{expected.data()[i]};
    }

    // With a NaN for a code and another for its scale, which one comes out is the processor's choice of operand.
    static testing::AssertionResult same_or_two_nans(const Fenced& expected, const Fenced& got, int32_t type,
                                                     const float* scales, int64_t stride, const std::string& what)
    {
        const int64_t bytes = float_type_bytes(type);
        for (int64_t i = 0; i < static_cast<int64_t>(expected.size()) / bytes; ++i) {
            const float one = load_element(type, expected.data(), i);
            const float other = load_element(type, got.data(), i);
            if (std::isnan(one) && std::isnan(other) && std::isnan(scales[i * stride]))
                std::memcpy(got.data() + i * bytes, expected.data() + i * bytes, static_cast<size_t>(bytes));
        }
        return same_bytes(expected, got, what);
    }

    cpu::Kernels reference_;
    cpu::Kernels tier_;
    std::mt19937_64 random_{20250101};
    std::normal_distribution<float> normal_;
};

// A tier that forgot to put in a kernel would pass everything below.
TEST_P(CpuTiers, HasKernelsOfItsOwn)
{
    const auto* reference = reinterpret_cast<void* const*>(&reference_);
    const auto* tier = reinterpret_cast<void* const*>(&tier_);
    for (size_t i = 0; i < sizeof(cpu::Kernels) / sizeof(void*); ++i) {
        if (reference[i] == nullptr)
            EXPECT_EQ(tier[i], nullptr) << "entry " << i;
        else
            EXPECT_NE(tier[i], reference[i]) << "entry " << i;
    }
}

TEST_P(CpuTiers, Amax)
{
    for (const int32_t type : kTypes) {
        for (const Values values : kAllValues) {
            for (const int64_t count : counts()) {
                const Fenced source(count * float_type_bytes(type));
                fill(source, type, values);
                ASSERT_EQ(tier_.amax[type](source.data(), count), reference_.amax[type](source.data(), count))
                    << kTypeNames[type] << " x " << count;

                const Fenced expected(count * 4);
                for (int64_t i = 0; i < count; ++i)
                    expected.as<uint32_t>()[i] = random_bits() & 0x7FFFFFFFu;
                const Fenced got(expected);
                reference_.amax_columns[type](source.data(), count, expected.as<uint32_t>());
                tier_.amax_columns[type](source.data(), count, got.as<uint32_t>());
                ASSERT_TRUE(expected.same(got)) << kTypeNames[type] << " columns x " << count;
            }
        }
    }
}

TEST_P(CpuTiers, AmaxOfBlocks)
{
    for (const int32_t type : kTypes) {
        for (const Values values : kAllValues) {
            for (const int64_t block : {1, 2, 31, 32, 64, 65, 128, 4096}) {
                for (const int64_t count : counts()) {
                    if (random_below(3) != 0)
                        continue;
                    const Fenced source(count * float_type_bytes(type));
                    fill(source, type, values);
                    const Fenced expected(4 * ((count + block - 1) / block));
                    const Fenced got(expected);
                    ASSERT_EQ(tier_.amax_blocks[type](source.data(), count, block, got.as<float>()),
                              reference_.amax_blocks[type](source.data(), count, block, expected.as<float>()));
                    ASSERT_TRUE(same_bytes(expected, got, kTypeNames[type])) << count << ", block " << block;
                }
            }
        }
    }
}

// One large element anywhere in a run is found, whatever its bits.
TEST_P(CpuTiers, AmaxFindsEveryPlace)
{
    const int64_t count = 300;
    for (const int32_t type : kTypes) {
        for (int64_t place = 0; place < count; ++place) {
            const Fenced source(count * float_type_bytes(type));
            fill(source, type, Values::kSubnormal);
            const uint32_t bits = random_bits() | 0x40004000u;
            if (type == kFp32)
                source.as<uint32_t>()[place] = bits;
            else
                source.as<uint16_t>()[place] = static_cast<uint16_t>(bits);
            ASSERT_EQ(tier_.amax[type](source.data(), count), reference_.amax[type](source.data(), count)) << place;
        }
    }
}

TEST_P(CpuTiers, AmaxOfEvery16BitPair)
{
    for (const int32_t type : {kFp16, kBf16}) {
        for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
            const uint16_t pair[2] = {static_cast<uint16_t>(bits), static_cast<uint16_t>(random_bits() | 0x7800u)};
            ASSERT_EQ(tier_.amax[type](pair, 2), reference_.amax[type](pair, 2)) << kTypeNames[type] << " " << bits;
        }
    }
}

TEST_P(CpuTiers, EncodeEightBit)
{
    for (const int32_t index : kEightBit) {
        const Format& format = format_at(index);
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
                    reference_.formats[index].encode[cpu::kCached][type](source.data(), count, multiplier, nullptr,
                                                                         expected.data());
                    tier_.formats[index].encode[stores()][type](source.data(), count, multiplier, nullptr, got.data());
                    ASSERT_TRUE(same_bytes(expected, got, std::string(format.name) + " from " + kTypeNames[type]))
                        << "count " << count << ", multiplier " << multiplier.prescale << " * " << multiplier.value;

                    const Fenced columns(count * 8);
                    for (int64_t i = 0; i < count; ++i)
                        columns.as<codec::Multiplier>()[i] = all[static_cast<size_t>(random_bits()) % all.size()];
                    const auto* each = columns.as<codec::Multiplier>();
                    reference_.formats[index].encode_columns[cpu::kCached][type](source.data(), count, each,
                                                                                 expected.data());
                    tier_.formats[index].encode_columns[stores()][type](source.data(), count, each, got.data());
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
        const Format& format = format_at(index);
        for (const codec::Multiplier multiplier : multipliers(format)) {
            for (const int32_t type : {kFp16, kBf16}) {
                const Fenced expected(count);
                const Fenced got(count);
                reference_.formats[index].encode[cpu::kCached][type](source.data(), count, multiplier, nullptr,
                                                                     expected.data());
                tier_.formats[index].encode[stores()][type](source.data(), count, multiplier, nullptr, got.data());
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
        const std::vector<codec::Multiplier> all = multipliers(format_at(index));
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
                    const uint32_t largest = reference_.formats[index].encode[cpu::kCached][type](
                        source.data(), count, multiplier, next.data(), expected.data());
                    ASSERT_EQ(largest, reference_.amax[type](next.data(), count));
                    ASSERT_EQ(tier_.formats[index].encode[stores()][type](source.data(), count, multiplier, next.data(),
                                                                          got.data()),
                              largest)
                        << kTypeNames[type] << " x " << count;
                    ASSERT_TRUE(same_bytes(expected, got, format_at(index).name)) << kTypeNames[type] << " x " << count;
                }
            }
        }
    }
}

// Destinations at every distance from a border of cache lines, runs of many lines.
TEST_P(CpuTiers, EveryAlignment)
{
    const int64_t count = 3000;
    for (int64_t shift = 0; shift < 64; ++shift) {
        for (const int32_t type : kTypes) {
            const int64_t bytes = float_type_bytes(type);
            const Fenced source(count * bytes);
            fill(source, type, Values::kOrdinary);
            for (const int32_t index : kEightBit) {
                const Fenced expected(count + shift);
                const Fenced got(count + shift);
                const codec::Multiplier multiplier = format_at(index).multiplier(4.0f, MOEQ_PROFILE_MOEQ);
                reference_.formats[index].encode[cpu::kCached][type](source.data(), count, multiplier, nullptr,
                                                                     expected.data());
                tier_.formats[index].encode[stores()][type](source.data(), count, multiplier, nullptr, got.data());
                ASSERT_TRUE(same_bytes(expected, got, format_at(index).name)) << shift;
                const Fenced dense((count + shift) * bytes);
                const Fenced got_dense((count + shift) * bytes);
                reference_.formats[index].decode[cpu::kCached][cpu::kAbsmax][type](expected.data(), count, 0.125f,
                                                                                   dense.data());
                tier_.formats[index].decode[stores()][cpu::kAbsmax][type](expected.data(), count, 0.125f,
                                                                          got_dense.data());
                ASSERT_TRUE(same_bytes(dense, got_dense, format_at(index).name)) << shift;
            }
            for (const int32_t index : kFourBit) {
                const Fenced expected(count + shift);
                const Fenced got(count + shift);
                const Fenced absmax(4 * count);
                const int64_t block = shift % 2 == 0 ? 64 : 128;
                reference_.formats[index].encode_blocks[cpu::kCached][type](source.data(), count, block,
                                                                            absmax.as<float>(), expected.data());
                tier_.formats[index].encode_blocks[stores()][type](source.data(), count, block, absmax.as<float>(),
                                                                   got.data());
                ASSERT_TRUE(same_bytes(expected, got, format_at(index).name)) << shift;
                const Fenced dense((count + shift) * bytes);
                const Fenced got_dense((count + shift) * bytes);
                for (const int64_t begin : {int64_t{0}, shift, 32 * shift}) {
                    reference_.formats[index].decode_blocks[cpu::kCached][type](expected.data(), begin, count,
                                                                                absmax.as<float>(), 64, dense.data());
                    tier_.formats[index].decode_blocks[stores()][type](expected.data(), begin, count,
                                                                       absmax.as<float>(), 64, got_dense.data());
                    ASSERT_TRUE(same_bytes(dense, got_dense, format_at(index).name)) << shift << ", from " << begin;
                }
            }
        }
    }
}

// The arguments around every point where a code changes, and both sides of every end of a range.
TEST_P(CpuTiers, EncodeEightBitAtEveryBorder)
{
    for (const int32_t index : kEightBit) {
        const Format& format = format_at(index);
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
        reference_.formats[index].encode[cpu::kCached][kFp32](arguments.data(), count, {1.0f, 1.0f}, nullptr,
                                                              expected.data());
        tier_.formats[index].encode[stores()][kFp32](arguments.data(), count, {1.0f, 1.0f}, nullptr, got.data());
        ASSERT_TRUE(same_bytes(expected, got, format.name));
    }
}

TEST_P(CpuTiers, DecodeEightBit)
{
    for (const int32_t index : kEightBit) {
        const std::vector<float> all = scales();
        size_t next = 0;
        for (const int32_t kind : {cpu::kAbsmax, cpu::kFactor}) {
            for (const int32_t type : kTypes) {
                for (const int64_t count : counts()) {
                    const Fenced codes(count);
                    for (int64_t i = 0; i < count; ++i)
                        codes.data()[i] = static_cast<uint8_t>(random_bits());
                    const Fenced expected(count * float_type_bytes(type));
                    const Fenced got(count * float_type_bytes(type));
                    const float scale = all[next++ % all.size()];
                    reference_.formats[index].decode[cpu::kCached][kind][type](codes.data(), count, scale,
                                                                               expected.data());
                    tier_.formats[index].decode[stores()][kind][type](codes.data(), count, scale, got.data());
                    ASSERT_TRUE(same_or_two_nans(expected, got, type, &scale, 0, format_at(index).name))
                        << kTypeNames[type] << " x " << count << ", scale " << scale << ", kind " << kind;

                    const Fenced columns(count * 4);
                    for (int64_t i = 0; i < count; ++i)
                        columns.as<float>()[i] = all[static_cast<size_t>(random_bits()) % all.size()];
                    const float* each = columns.as<float>();
                    reference_.formats[index].decode_columns[cpu::kCached][kind][type](codes.data(), count, each,
                                                                                       expected.data());
                    tier_.formats[index].decode_columns[stores()][kind][type](codes.data(), count, each, got.data());
                    ASSERT_TRUE(same_or_two_nans(expected, got, type, each, 1, format_at(index).name))
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
                    for (const int32_t kind : {cpu::kAbsmax, cpu::kFactor}) {
                        reference_.formats[index].decode[cpu::kCached][kind][type](codes.data(), count, scale,
                                                                                   expected.data());
                        tier_.formats[index].decode[stores()][kind][type](codes.data(), count, scale, got.data());
                        ASSERT_TRUE(same_or_two_nans(expected, got, type, &scale, 0, format_at(index).name))
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
                reference_.formats[index].encode[cpu::kCached][kFp32](
                    source.data(), count, format_at(index).multiplier(4.0f, MOEQ_PROFILE_MOEQ), nullptr, codes.data());
                const Fenced expected(count * float_type_bytes(type));
                const Fenced got(count * float_type_bytes(type));
                for (const int32_t kind : {cpu::kAbsmax, cpu::kFactor}) {
                    reference_.formats[index].decode[cpu::kCached][kind][type](codes.data(), count, scale,
                                                                               expected.data());
                    tier_.formats[index].decode[stores()][kind][type](codes.data(), count, scale, got.data());
                    ASSERT_TRUE(same_bytes(expected, got, format_at(index).name)) << scale;
                }
            }
        }
    }
}

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
                        const uint32_t largest = reference_.formats[index].encode_blocks[cpu::kCached][type](
                            source.data(), count, block, expected_absmax.as<float>(), expected.data());
                        const uint32_t got_largest = tier_.formats[index].encode_blocks[stores()][type](
                            source.data(), count, block, got_absmax.as<float>(), got.data());
                        ASSERT_EQ(largest, got_largest) << kTypeNames[type] << " x " << count << ", block " << block;
                        if (largest >= codec::kNonfiniteBits)
                            continue;
                        ASSERT_TRUE(same_bytes(expected, got, format_at(index).name))
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
                reference_.formats[index].encode_blocks[cpu::kCached][type](source.data(), count, 64, absmax.data(),
                                                                            expected.data());
                tier_.formats[index].encode_blocks[stores()][type](source.data(), count, 64, absmax.data(), got.data());
                ASSERT_TRUE(same_bytes(expected, got, format_at(index).name))
                    << kTypeNames[type] << ", largest " << largest;
            }
        }
    }
}

// fp32 elements whose arguments lie on and next to the borders between codes, for largest values of all sizes.
TEST_P(CpuTiers, EncodeFourBitAtEveryBorder)
{
    const int64_t block = 4096;
    for (const int32_t index : kFourBit) {
        const Format& format = format_at(index);
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
            reference_.formats[index].encode_blocks[cpu::kCached][kFp32](source.data(), block, block, &absmax[0],
                                                                         expected.data());
            tier_.formats[index].encode_blocks[stores()][kFp32](source.data(), block, block, &absmax[1], got.data());
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
                    for (size_t i = 0; i < absmax.size() / 4; ++i)
                        absmax.as<float>()[i] = random_below(2) == 0
                                                    ? special[static_cast<size_t>(random_bits()) % special.size()]
                                                    : random_value(Values::kOrdinary);
                    const Fenced expected(length * float_type_bytes(type));
                    const Fenced got(length * float_type_bytes(type));
                    reference_.formats[index].decode_blocks[cpu::kCached][type](
                        codes.data(), begin, end, absmax.as<float>(), block, expected.data());
                    tier_.formats[index].decode_blocks[stores()][type](codes.data(), begin, end, absmax.as<float>(),
                                                                       block, got.data());
                    ASSERT_TRUE(same_bytes(expected, got, format_at(index).name))
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
    const int64_t block = 512;
    const int64_t count = block * static_cast<int64_t>(all.size());
    const Fenced codes(count / 2);
    for (size_t i = 0; i < codes.size(); ++i)
        codes.data()[i] = static_cast<uint8_t>(i * 151);
    for (const int32_t index : kFourBit) {
        for (const int32_t type : kTypes) {
            const Fenced expected(count * float_type_bytes(type));
            const Fenced got(count * float_type_bytes(type));
            reference_.formats[index].decode_blocks[cpu::kCached][type](codes.data(), 0, count, all.data(), block,
                                                                        expected.data());
            tier_.formats[index].decode_blocks[stores()][type](codes.data(), 0, count, all.data(), block, got.data());
            ASSERT_TRUE(same_bytes(expected, got, format_at(index).name)) << kTypeNames[type];
        }
    }
}

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

// A limit is kept, and what the CPU lacks is never chosen.
TEST(CpuDispatch, AtMostTheLimit)
{
    for (const int32_t tier : {MOEQ_CPU_TIER_SCALAR, MOEQ_CPU_TIER_AVX2, MOEQ_CPU_TIER_AVX512, MOEQ_CPU_TIER_NEON}) {
        EXPECT_TRUE(cpu::tier_available(cpu::best_tier(tier)));
        if (cpu::tier_available(tier)) {
            EXPECT_EQ(cpu::best_tier(tier), tier);
        }
    }
    // A tier of another kind of processor allows none of this one's.
    const int32_t other = cpu::tier_available(MOEQ_CPU_TIER_NEON) ? MOEQ_CPU_TIER_AVX512 : MOEQ_CPU_TIER_NEON;
    EXPECT_EQ(cpu::best_tier(other), MOEQ_CPU_TIER_SCALAR);
}

TEST(CpuDispatch, ANameIsATierOrWrong)
{
    for (const int32_t tier :
         {MOEQ_CPU_TIER_BEST, MOEQ_CPU_TIER_SCALAR, MOEQ_CPU_TIER_AVX2, MOEQ_CPU_TIER_AVX512, MOEQ_CPU_TIER_NEON})
        EXPECT_EQ(cpu::parse_tier(cpu::tier_name(tier)), tier);
    EXPECT_EQ(cpu::parse_tier("sse9"), -1);
    EXPECT_EQ(cpu::parse_tier(""), MOEQ_CPU_TIER_BEST);
    EXPECT_EQ(cpu::parse_tier(nullptr), MOEQ_CPU_TIER_BEST);
}

TEST(CpuStores, GoAroundTheCacheWhenItCannotHoldThem)
{
    EXPECT_EQ(cpu::stores_for(0), cpu::kCached);
    EXPECT_EQ(cpu::stores_for(1 << 16), cpu::kCached);
    EXPECT_EQ(cpu::stores_for(int64_t{1} << 40), cpu::kStreamed);
    EXPECT_GE(last_level_cache(), 0);
}

INSTANTIATE_TEST_SUITE_P(Tiers, CpuTiers,
                         testing::Values(Way{MOEQ_CPU_TIER_AVX2, cpu::kCached}, Way{MOEQ_CPU_TIER_AVX2, cpu::kStreamed},
                                         Way{MOEQ_CPU_TIER_AVX512, cpu::kCached},
                                         Way{MOEQ_CPU_TIER_AVX512, cpu::kStreamed},
                                         Way{MOEQ_CPU_TIER_NEON, cpu::kCached},
                                         Way{MOEQ_CPU_TIER_NEON, cpu::kStreamed}),
                         [](const testing::TestParamInfo<Way>& way) {
                             return std::string(cpu::tier_name(way.param.tier)) +
                                    (way.param.stores == cpu::kStreamed ? "_streamed" : "_cached");
                         });

} // namespace
} // namespace moeq
