// From the exact result to the destination's type: one rounding, also where two would differ.
#include <gtest/gtest.h>

#include "amax/result.h"
#include "reduce_oracle.h"

namespace {

using namespace reduce_oracle;
using moeq::amax::Plan;

constexpr std::array<int32_t, 4> kNarrow = {MOEQ_DTYPE_FP16, MOEQ_DTYPE_BF16, MOEQ_DTYPE_FP8_E4M3FN,
                                            MOEQ_DTYPE_FP8_E5M2};

uint32_t store(const Plan& plan, double value, char* element)
{
    return moeq::amax::store_results(plan, &value, 1, element, 1);
}

uint32_t stored(int32_t dtype, double value)
{
    Plan plan{};
    plan.operation = MOEQ_REDUCE_SUM;
    plan.destination_dtype = dtype;
    alignas(8) char element[8] = {};
    store(plan, value, element);
    return moeq::dtype_bits(dtype) == 16 ? read_as<uint16_t>(element) : read_as<uint8_t>(element);
}

TEST(ReduceResult, RoundsFp64ToNarrowTypesOnce)
{
    for (const int32_t dtype : kNarrow) {
        const NarrowType type = narrow_type(dtype);
        for (uint32_t code = 0; code < type.infinity; ++code) {
            const double below = plain_value(type, code);
            const double half = below / 2 + plain_value(type, code + 1) / 2;
            // The last two round to the tie when they pass through fp32 first.
            const double around[] = {below,
                                     half,
                                     std::nextafter(half, 0),
                                     std::nextafter(half, kInf),
                                     half * (1 - 0x1p-30),
                                     half * (1 + 0x1p-30)};
            for (const double value : around) {
                ASSERT_EQ(stored(dtype, value), narrow_code(dtype, value)) << moeq::dtype_name(dtype) << " " << value;
                ASSERT_EQ(stored(dtype, -value), narrow_code(dtype, -value))
                    << moeq::dtype_name(dtype) << " " << -value;
            }
        }
        for (const double value : {1e39, 3.4028236e38, 1e300, kInf, 1e-40, 1e-300, 4.9e-324, 0.0}) {
            ASSERT_EQ(stored(dtype, value), narrow_code(dtype, value)) << moeq::dtype_name(dtype) << " " << value;
            ASSERT_EQ(stored(dtype, -value), narrow_code(dtype, -value)) << moeq::dtype_name(dtype) << " " << -value;
        }
        EXPECT_EQ(stored(dtype, kNaN), type.nan);
        EXPECT_EQ(stored(dtype, -kNaN), type.nan); // every NaN is the positive quiet one
    }
}

TEST(ReduceResult, RandomDoublesToNarrowTypes)
{
    std::mt19937_64 random(11);
    for (const int32_t dtype : kNarrow)
        for (int i = 0; i < 200000; ++i) {
            const double value =
                std::ldexp(static_cast<double>(static_cast<int64_t>(random())), static_cast<int>(random() % 300) - 200);
            ASSERT_EQ(stored(dtype, value), narrow_code(dtype, value)) << moeq::dtype_name(dtype) << " " << value;
        }
}

// By way of fp64 this one would be rounded twice, down instead of up.
TEST(ReduceResult, IntegersRoundToFp32Once)
{
    Plan plan{};
    plan.operation = MOEQ_REDUCE_SUM;
    plan.destination_dtype = MOEQ_DTYPE_FP32;
    const __int128 value = (int64_t{1} << 60) + (int64_t{1} << 36) + 1; // just above a tie, which fp64 cannot say
    alignas(8) char element[8] = {};
    moeq::amax::store_results(plan, &value, 1, element, 1);
    EXPECT_EQ(read_as<float>(element), 0x1p60f + 0x1p37f);
    EXPECT_EQ(static_cast<float>(static_cast<double>(value)), 0x1p60f); // what it would be
}

TEST(ReduceResult, SeenBitsTellOfTheResultNotOfTheRounding)
{
    Plan plan{};
    plan.operation = MOEQ_REDUCE_SUM;
    plan.destination_dtype = MOEQ_DTYPE_FP16;
    alignas(8) char element[8] = {};
    EXPECT_EQ(store(plan, 1e9, element), 0u); // Inf in fp16 only
    EXPECT_EQ(read_as<uint16_t>(element), 0x7C00);
    EXPECT_EQ(store(plan, -kInf, element), uint32_t{MOEQ_SEEN_INF});
    EXPECT_EQ(store(plan, kNaN, element), uint32_t{MOEQ_SEEN_NAN});
}

} // namespace
