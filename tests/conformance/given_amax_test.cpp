// Scales that are given, not measured, and the two kinds of scales that are stored.
#include "support/scale_units.h"

#include <algorithm>

namespace moeq_test {
namespace {

TEST(GivenAmax, saturates_what_is_above_and_says_so)
{
    struct Case {
        const char* spec;
        double largest;
    };
    for (const Case& c : {Case{"int8:expert", 127}, Case{"int8:expert,scale=factor", 127}, Case{"fp8_e4m3:expert", 448},
                          Case{"fp8_e4m3:expert,scale=absmax", 448}, Case{"fp8_e5m2:expert", 57344}})
        for (const int32_t tier : {MOEQ_CPU_TIER_SCALAR, MOEQ_CPU_TIER_BEST}) {
            const Context context = make_context(1, tier);
            HostTensor source(MOEQ_DTYPE_FP32, {3, 8, 50});
            source.fill(31);
            double measured[3] = {};
            for (int64_t i = 0; i < 1200; ++i)
                measured[i / 400] = std::max(measured[i / 400], std::fabs(static_cast<double>(source.as<float>()[i])));
            HostTensor amax(MOEQ_DTYPE_FP32, {3});
            amax.as<float>()[0] = 100.0f; // larger than the data
            amax.as<float>()[1] = 0.25f;  // smaller
            amax.as<float>()[2] = 0.0f;   // nothing is left
            uint32_t seen = 0;
            auto options = sized<moeq_quantize_options>();
            options.amax = amax;
            options.status_word = &seen;
            const moeq_spec spec = parse(c.spec);
            const QTensor q = quantize(context, source, spec, &options);
            EXPECT_EQ(seen, uint32_t{MOEQ_SEEN_SATURATED});
            const std::vector<float> got = dequantize(q);
            const Tensor scale = component(q, MOEQ_COMPONENT_SCALE);
            for (int64_t e = 0; e < 3; ++e) {
                const double given = static_cast<double>(amax.as<float>()[e]);
                const bool absmax = resolved(spec, {3, 8, 50}).scale_kind == MOEQ_SCALE_ABSMAX;
                EXPECT_EQ(floats(scale)[e], static_cast<float>(absmax ? given : given / c.largest)) << c.spec;
                for (int64_t i = e * 400; i < (e + 1) * 400; ++i) {
                    const double x = static_cast<double>(source.as<float>()[i]);
                    const double clamped = std::clamp(x, -given, given);
                    ASSERT_NEAR(static_cast<double>(got[static_cast<size_t>(i)]), clamped,
                                error_bound(resolved(spec, {3, 8, 50}), clamped, given) + given * 0x1p-20)
                        << c.spec << " " << x;
                }
            }
            // The amax of the data itself: the bytes of a measured one, and nothing saturates.
            seen = 0;
            for (int64_t e = 0; e < 3; ++e)
                amax.as<float>()[e] = static_cast<float>(measured[e]);
            EXPECT_EQ(stored_bytes(quantize(context, source, spec, &options)),
                      stored_bytes(quantize(context, source, spec)));
            EXPECT_EQ(seen, 0u);
        }
}

TEST(GivenAmax, may_have_any_stride)
{
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_BF16, {3, 8, 50});
    source.fill(31);
    HostTensor packed(MOEQ_DTYPE_FP32, {3});
    HostTensor strided(MOEQ_DTYPE_FP32, {3}, {5});
    for (int64_t e = 0; e < 3; ++e)
        packed.as<float>()[e] = strided.as<float>()[5 * e] = static_cast<float>(1 + e);
    HostTensor backwards(MOEQ_DTYPE_FP32, {3});
    for (int64_t e = 0; e < 3; ++e)
        backwards.as<float>()[2 - e] = static_cast<float>(1 + e);
    int64_t minus = -1;
    backwards.plain().strides = &minus;
    backwards.plain().byte_offset = 8;
    for (const char* text : {"int8:expert", "fp8_e4m3:expert,scale=absmax"}) {
        auto options = sized<moeq_quantize_options>();
        options.amax = packed;
        const Bytes wanted = stored_bytes(quantize(context, source, parse(text), &options));
        for (DLManagedTensorVersioned* amax :
             {static_cast<DLManagedTensorVersioned*>(strided), static_cast<DLManagedTensorVersioned*>(backwards)}) {
            options.amax = amax;
            EXPECT_EQ(stored_bytes(quantize(context, source, parse(text), &options)), wanted) << text;
            // A builder keeps its own copy.
            const moeq_spec spec = parse(text);
            const int64_t shape[3] = {3, 8, 50};
            moeq_builder* builder = nullptr;
            MOEQ_EXPECT_OK(moeq_builder_create(context.get(), &spec, 3, shape, &options, nullptr, &builder, &ok));
            MOEQ_EXPECT_OK(moeq_builder_write(builder, 0, 0, 0, source, nullptr, &ok));
            moeq_qtensor* built = nullptr;
            MOEQ_EXPECT_OK(moeq_builder_finish(builder, nullptr, &built, &ok));
            EXPECT_EQ(stored_bytes(QTensor(built)), wanted) << text;
        }
    }
}

TEST(GivenAmax, is_refused_where_it_is_no_magnitude)
{
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_FP32, {2, 4, 8});
    HostTensor amax(MOEQ_DTYPE_FP32, {2});
    auto options = sized<moeq_quantize_options>();
    options.amax = amax;
    const moeq_spec spec = parse("fp8_e4m3:expert");
    moeq_qtensor* out = nullptr;
    for (const uint32_t bits : {0x7FC00000u, 0x7F800000u, 0xFF800000u, 0xBF800000u, 0x80000001u}) {
        amax.as<float>()[0] = 1.0f;
        amax.as<float>()[1] = float_of(bits);
        Error error;
        EXPECT_EQ(moeq_qtensor_quantize(context.get(), source, &spec, &options, nullptr, &out, &error),
                  MOEQ_ERROR_VALUE)
            << bits;
        EXPECT_EQ(error.expert, 1);
        EXPECT_EQ(out, nullptr);
    }
}

TEST(ScaleKind, factor_and_absmax_have_the_same_codes)
{
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_BF16, {2, 33, 100});
    source.fill(15);
    for (const char* format : {"int8", "fp8_e4m3", "fp8_e5m2"})
        for (const char* cut : {"row", "expert", "block7x30", "axis=-2"}) {
            const std::string text = std::string(format) + ":" + cut + ",scale=";
            const QTensor absmax = quantize(context, source, (text + "absmax").c_str());
            const QTensor factor = quantize(context, source, (text + "factor").c_str());
            EXPECT_EQ(packed_bytes(component(absmax, MOEQ_COMPONENT_CODES).get()),
                      packed_bytes(component(factor, MOEQ_COMPONENT_CODES).get()));
            const Bytes a = packed_bytes(component(absmax, MOEQ_COMPONENT_SCALE).get());
            const Bytes f = packed_bytes(component(factor, MOEQ_COMPONENT_SCALE).get());
            const double largest = std::string(format) == "int8"       ? 127
                                   : std::string(format) == "fp8_e4m3" ? 448
                                                                       : 57344;
            ASSERT_EQ(a.size(), f.size());
            for (size_t i = 0; i < a.size(); i += 4) {
                float amax, stored;
                std::memcpy(&amax, a.data() + i, 4);
                std::memcpy(&stored, f.data() + i, 4);
                ASSERT_EQ(stored, static_cast<float>(static_cast<double>(amax) / largest)) << text;
            }
        }
}

} // namespace
} // namespace moeq_test
