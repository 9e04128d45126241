// Lives of handles: they may end in any order; a debug build tells use after the end.
#include "support/api.h"

namespace moeq_test {
namespace {

bool handles_are_checked()
{
    const Context context = make_context();
    moeq_blob* blob = nullptr;
    MOEQ_EXPECT_OK(moeq_context_describe(context.get(), &blob, &ok));
    const std::string text = static_cast<const char*>(moeq_blob_data(blob));
    EXPECT_EQ(static_cast<int64_t>(text.size()), moeq_blob_size(blob));
    moeq_blob_destroy(blob);
    EXPECT_NE(text.find("\"handle_checks\": "), std::string::npos) << text;
    return text.find("\"handle_checks\": true") != std::string::npos;
}

TEST(Handles, end_in_any_order)
{
    Context context = make_context();
    HostTensor source(MOEQ_DTYPE_FP32, {2, 8, 64});
    QTensor q = quantize(context, source.fill(), "nf4:nested");
    const std::vector<float> expected = dequantize(q);
    moeq_qtensor* out = nullptr;
    MOEQ_EXPECT_OK(moeq_qtensor_slice(q.get(), 0, 0, 2, &out, &ok));
    QTensor slice(out);
    Tensor codes = component(slice, MOEQ_COMPONENT_CODES);
    moeq_blob* blob = nullptr;
    MOEQ_EXPECT_OK(moeq_context_describe(context.get(), &blob, &ok));
    context.reset();
    q.reset();
    EXPECT_EQ(dequantize(slice), expected);
    slice.reset();
    EXPECT_EQ(packed_bytes(codes.get()).size(), 2u * 8 * 64 / 2);
    EXPECT_GT(moeq_blob_size(blob), 0);
    codes.reset();
    moeq_blob_destroy(blob);
    moeq_context_destroy(nullptr);
    moeq_qtensor_release(nullptr);
    moeq_qtensor_retain(nullptr);
    moeq_builder_destroy(nullptr);
    moeq_blob_destroy(nullptr);
}

TEST(Handles, H01_use_after_the_end_is_told_by_a_debug_build)
{
    if (!handles_are_checked())
        GTEST_SKIP() << "only a build with MOEQ_DEBUG checks handles";
    const Context context = make_context();
    HostTensor source(MOEQ_DTYPE_FP32, {2, 8, 64});
    moeq_qtensor* dead = quantize(context, source.fill(), "int8").release();
    moeq_qtensor_release(dead);
    auto info = sized<moeq_qtensor_info>();
    Error error;
    EXPECT_EQ(moeq_qtensor_get_info(dead, &info, &error), MOEQ_ERROR_ARGUMENT);
    EXPECT_NE(error.text().find("qtensor: got a handle that was released"), std::string::npos) << error.text();
    moeq_qtensor_release(dead); // not a second time
    const auto* never = reinterpret_cast<const moeq_context*>(&info);
    auto memory = sized<moeq_memory>();
    EXPECT_EQ(moeq_context_get_memory(never, &memory, &error), MOEQ_ERROR_ARGUMENT);
}

} // namespace
} // namespace moeq_test
