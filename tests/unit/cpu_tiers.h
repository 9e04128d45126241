// A tier beside the scalar reference, whose bytes it has to give: on this CPU, with both kinds of stores, for all counts
// around the width of a register, bases that are only naturally aligned, all 16-bit inputs, all codes, special values, and
// nothing read or written outside.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cpu/dispatch.h"
#include "formats/elements.h"
#include "formats/format.h"
#include "host/references.h"

namespace moeq {

inline constexpr TileFormat kEightBit[] = {kInt8, kE4m3, kE5m2};
inline constexpr RunFormat kFourBit[] = {kNf4, kFp4};
inline constexpr int32_t kTypes[] = {kFp32, kFp16, kBf16};
inline constexpr const char* kTypeNames[] = {"fp32", "fp16", "bf16"};

// The format that has such kernels.
inline const Format& format_of(Units units, int32_t kernels)
{
    int32_t i = 0;
    while (format_at(i).units != units || format_at(i).kernels() != kernels)
        ++i;
    return format_at(i);
}
inline const Format& tile_format(int32_t kernels) { return format_of(Units::kTiles, kernels); }
inline const Format& run_format(int32_t kernels) { return format_of(Units::kRuns, kernels); }

inline float from_bits(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t to_bits(float value) { return std::bit_cast<uint32_t>(value); }

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
inline constexpr Values kAllValues[] = {Values::kOrdinary,  Values::kAnyBits, Values::kFinite,
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

    // A run is a rectangle of one row.
    static void decode_run(cpu::DecodeRows decode, const uint8_t* codes, int64_t count, float scale, void* destination)
    {
        const cpu::Rectangle row{.rows = 1, .columns = count, .element_pitch = 0, .code_pitch = 0};
        decode(codes, row, &scale, 0, destination);
    }

    cpu::Kernels reference_;
    cpu::Kernels tier_;
    std::mt19937_64 random_{20250101};
    std::normal_distribution<float> normal_;
};

inline auto every_way()
{
    return testing::Values(Way{MOEQ_CPU_TIER_AVX2, cpu::kCached}, Way{MOEQ_CPU_TIER_AVX2, cpu::kStreamed},
                           Way{MOEQ_CPU_TIER_AVX512, cpu::kCached}, Way{MOEQ_CPU_TIER_AVX512, cpu::kStreamed},
                           Way{MOEQ_CPU_TIER_NEON, cpu::kCached}, Way{MOEQ_CPU_TIER_NEON, cpu::kStreamed});
}

inline std::string way_name(const testing::TestParamInfo<Way>& way)
{
    return std::string(cpu::tier_name(way.param.tier)) + (way.param.stores == cpu::kStreamed ? "_streamed" : "_cached");
}

} // namespace moeq
