// Specs as values: every combination of fields is either refused with a message or resolves, prints and parses back; the sizes
// that a spec promises are those of the components.
#include "support/api.h"

#include <set>

namespace moeq_test {
namespace {

const int64_t kShape[3] = {2, 12, 130};

std::string print(const moeq_spec& spec)
{
    char text[MOEQ_SPEC_TEXT + 16];
    std::memset(text, 0x5A, sizeof text);
    MOEQ_EXPECT_OK(moeq_spec_print(&spec, text, &ok));
    for (size_t i = MOEQ_SPEC_TEXT; i < sizeof text; ++i)
        EXPECT_EQ(text[i], 0x5A);
    return text;
}

bool equal(const moeq_spec& a, const moeq_spec& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

std::string describe(const moeq_spec& s)
{
    std::string text;
    for (const int32_t field : {s.format, s.granularity, s.block_rows, s.block_columns, s.blocking, s.scale_axis,
                                s.scale_kind, s.nested, s.layout, s.nonfinite, s.profile, s.logical_dtype})
        text += std::to_string(field) + " ";
    return text;
}

// visit(spec) for the product of what every field may be, and a little more.
template <class Visit>
void for_each_spec(Visit visit)
{
    const int32_t sizes[][2] = {{0, 0},    {0, 64},  {1, 32}, {128, 0}, {2147483647, 2147483647},
                                {1, 4096}, {-1, 64}, {0, 48}};
    auto s = sized<moeq_spec>();
    for (s.format = MOEQ_FORMAT_INT8; s.format <= MOEQ_FORMAT_MXFP8; ++s.format)
        for (s.granularity = 0; s.granularity <= MOEQ_GRANULARITY_BLOCK; ++s.granularity)
            for (const auto& size : sizes)
                for (s.blocking = 0; s.blocking <= MOEQ_BLOCKING_FLAT; ++s.blocking)
                    for (s.scale_axis = -2; s.scale_axis <= 0; ++s.scale_axis)
                        for (s.scale_kind = 0; s.scale_kind <= MOEQ_SCALE_FACTOR; ++s.scale_kind)
                            for (s.nested = 0; s.nested <= 1; ++s.nested)
                                for (s.layout = 0; s.layout <= MOEQ_LAYOUT_GATE_UP_INTERLEAVED; ++s.layout)
                                    for (s.nonfinite = 0; s.nonfinite <= 1; ++s.nonfinite)
                                        for (s.profile = 0; s.profile <= MOEQ_PROFILE_BNB_CPU_FP16; ++s.profile)
                                            for (const int32_t dtype : {0, MOEQ_DTYPE_FP32, MOEQ_DTYPE_BF16}) {
                                                s.block_rows = size[0];
                                                s.block_columns = size[1];
                                                s.logical_dtype = dtype;
                                                visit(s);
                                            }
}

TEST(Spec, every_combination_prints_and_parses_back_or_says_why_not)
{
    int64_t valid = 0;
    size_t longest = 0;
    std::set<std::string> refusals;
    std::set<std::string> texts;
    std::set<std::string> meanings;
    for_each_spec([&](const moeq_spec& s) {
        auto resolved = sized<moeq_spec>();
        Error error;
        const moeq_status status = moeq_spec_resolve(&s, 3, kShape, &resolved, &error);
        if (status != MOEQ_OK) {
            ASSERT_TRUE(status == MOEQ_ERROR_ARGUMENT || status == MOEQ_ERROR_UNSUPPORTED) << error.message;
            refusals.insert(error.message);
            char text[MOEQ_SPEC_TEXT];
            ASSERT_EQ(moeq_spec_print(&s, text, nullptr), status);
            return;
        }
        ++valid;
        // Resolving again changes nothing; no default is left but a dtype that only a source can give.
        auto again = sized<moeq_spec>();
        ASSERT_EQ(moeq_spec_resolve(&resolved, 3, kShape, &again, nullptr), MOEQ_OK) << describe(s);
        ASSERT_TRUE(equal(again, resolved)) << describe(s);
        ASSERT_NE(resolved.granularity, 0);
        ASSERT_NE(resolved.scale_axis, 0);
        ASSERT_NE(resolved.scale_kind, 0);
        if (resolved.granularity == MOEQ_GRANULARITY_BLOCK) {
            ASSERT_GT(resolved.block_rows, 0);
            ASSERT_GT(resolved.block_columns, 0);
        }
        // One text for given and resolved, and it means the same.
        const std::string text = print(s);
        ASSERT_EQ(print(resolved), text) << describe(s);
        longest = std::max(longest, text.size());
        auto parsed = sized<moeq_spec>();
        ASSERT_EQ(moeq_spec_parse(text.c_str(), &parsed, &error), MOEQ_OK) << error.message;
        ASSERT_EQ(moeq_spec_resolve(&parsed, 3, kShape, &again, nullptr), MOEQ_OK) << text;
        ASSERT_TRUE(equal(again, resolved)) << text << ": " << describe(again) << "; want " << describe(resolved);
        texts.insert(text);
        meanings.insert(describe(resolved));
    });
    EXPECT_GT(valid, 1000);
    EXPECT_EQ(texts.size(), meanings.size()); // different specs, different texts
    EXPECT_LT(longest, size_t{MOEQ_SPEC_TEXT});
    EXPECT_GT(longest, 60u); // else the combinations above are not what they should be
    for (const std::string& message : refusals) {
        EXPECT_EQ(message.rfind("moeq_spec_resolve: spec: got ", 0), 0u) << message;
        EXPECT_NE(message.find("; want "), std::string::npos) << message;
        bool named = false;
        for (const char* field : {"granularity ", "block_rows ", "block_columns ", "block size ", "blocking ",
                                  "scale_axis ", "scale_kind ", "nested ", "profile "})
            named = named || message.find(std::string("got ") + field) != std::string::npos;
        EXPECT_TRUE(named) << message;
    }
}

TEST(Spec, constants_out_of_range_are_named)
{
    struct Case {
        int32_t moeq_spec::*field;
        const char* name;
        std::vector<int32_t> values;
        moeq_status status;
    };
    const std::vector<Case> cases = {
        {&moeq_spec::format, "format", {0, -1, MOEQ_FORMAT_MXFP8 + 1, 100}, MOEQ_ERROR_ARGUMENT},
        {&moeq_spec::granularity, "granularity", {-1, 4}, MOEQ_ERROR_ARGUMENT},
        {&moeq_spec::blocking, "blocking", {-1, 3}, MOEQ_ERROR_ARGUMENT},
        {&moeq_spec::scale_axis, "scale_axis", {1, -3}, MOEQ_ERROR_ARGUMENT},
        {&moeq_spec::scale_kind, "scale_kind", {-1, 3}, MOEQ_ERROR_ARGUMENT},
        {&moeq_spec::nested, "nested", {-1, 2}, MOEQ_ERROR_ARGUMENT},
        {&moeq_spec::layout, "layout", {-1, 4}, MOEQ_ERROR_ARGUMENT},
        {&moeq_spec::nonfinite, "nonfinite", {-1, 2}, MOEQ_ERROR_ARGUMENT},
        {&moeq_spec::profile, "profile", {-1, 3}, MOEQ_ERROR_ARGUMENT},
        {&moeq_spec::logical_dtype, "logical_dtype", {1, MOEQ_DTYPE_FP64, MOEQ_DTYPE_INT8}, MOEQ_ERROR_DTYPE},
    };
    for (const char* text : {"int8", "nf4", "fp8_e4m3:block128x128"})
        for (const Case& c : cases)
            for (const int32_t value : c.values) {
                moeq_spec spec = parse(text);
                spec.*c.field = value;
                Error error;
                moeq_spec out = parse("fp4");
                const moeq_spec before = out;
                EXPECT_EQ(moeq_spec_resolve(&spec, 3, kShape, &out, &error), c.status) << c.name << value;
                EXPECT_NE(error.text().find(std::string("got ") + c.name + " " + std::to_string(value)),
                          std::string::npos)
                    << error.message;
                EXPECT_NE(error.text().find("; want "), std::string::npos) << error.message;
                EXPECT_EQ(error.argument, 1);
                EXPECT_TRUE(equal(out, before));
            }
    // Packed blocks are powers of two from 32 to 4096.
    for (int32_t block = -1; block <= 8192; ++block) {
        moeq_spec spec = parse("nf4");
        spec.block_columns = block;
        const bool valid = block == 0 || block == 32 || block == 64 || block == 128 || block == 256 || block == 512 ||
                           block == 1024 || block == 2048 || block == 4096;
        auto out = sized<moeq_spec>();
        ASSERT_EQ(moeq_spec_resolve(&spec, 3, kShape, &out, nullptr), valid ? MOEQ_OK : MOEQ_ERROR_ARGUMENT) << block;
    }
}

// Only what differs from a format's defaults is printed, in one order.
TEST(Spec, texts_are_short)
{
    const char* const texts[][2] = {
        {"nf4", "nf4"},
        {"nf4:64", "nf4"},
        {"nf4:blocking=expert,axis=-1,scale=absmax,layout=plain,nonfinite=refuse,profile=moeq", "nf4"},
        {"nf4:nested,128", "nf4:128,nested"},
        {"nf4:dtype=bf16,blocking=row,32", "nf4:32,blocking=row,dtype=bf16"},
        {"int8:row", "int8"},
        {"int8:scale=factor", "int8:scale=factor"},
        {"int8:block", "int8:block128x128"},
        {"fp8_e4m3:scale=factor", "fp8_e4m3"},
        {"fp8_e4m3:scale=absmax", "fp8_e4m3:scale=absmax"},
        {"fp8_e4m3:block", "fp8_e4m3:block128x128"},
        {"fp8_e5m2:layout=gate_up_interleaved,expert", "fp8_e5m2:expert,layout=gate_up_interleaved"},
        {"int8:profile=bnb_cpu_fp16,axis=-2,nonfinite=saturate",
         "int8:axis=-2,nonfinite=saturate,profile=bnb_cpu_fp16"},
    };
    for (const auto& [given, wanted] : texts)
        EXPECT_EQ(print(parse(given)), wanted);
}

TEST(Spec, what_a_format_cannot_do_is_unsupported)
{
    const auto status_of = [](const char* text) {
        auto out = sized<moeq_spec>();
        Error error;
        return moeq_spec_parse(text, &out, &error);
    };
    for (const char* text : {"nf4:blocking=row,axis=-2", "nf4:scale=factor", "int8:nested", "fp8_e5m2:nested",
                             "int8:blocking=flat", "fp8_e4m3:profile=bnb_cpu", "nf4:profile=bnb_cpu_fp16"})
        EXPECT_EQ(status_of(text), MOEQ_ERROR_UNSUPPORTED) << text;
    EXPECT_EQ(status_of("int8:profile=bnb_cpu,scale=factor"), MOEQ_ERROR_ARGUMENT); // contradictory
    for (const char* text : {"nf4:blocking=flat,axis=-2", "fp4:axis=-2", "int8:expert,axis=-2,profile=bnb_cpu_fp16"})
        EXPECT_EQ(status_of(text), MOEQ_OK) << text;
    moeq_spec tall = parse("nf4");
    tall.block_rows = 2;
    auto out = sized<moeq_spec>();
    EXPECT_EQ(moeq_spec_resolve(&tall, 3, kShape, &out, nullptr), MOEQ_ERROR_UNSUPPORTED);
    moeq_spec row = parse("nf4");
    row.granularity = MOEQ_GRANULARITY_ROW;
    EXPECT_EQ(moeq_spec_resolve(&row, 3, kShape, &out, nullptr), MOEQ_ERROR_UNSUPPORTED);
    moeq_spec sized_row = parse("int8");
    sized_row.block_columns = 64;
    EXPECT_EQ(moeq_spec_resolve(&sized_row, 3, kShape, &out, nullptr), MOEQ_ERROR_ARGUMENT);
}

TEST(Spec, texts_that_mean_nothing_are_refused)
{
    for (const char* text : {"",
                             ":",
                             "nf",
                             "nf44",
                             "NF4",
                             " nf4",
                             "nf4 ",
                             "nf4:",
                             "nf4:,",
                             "nf4:64,",
                             "nf4:,64",
                             "nf4:048x",
                             "nf4:0",
                             "nf4:-64",
                             "nf4:+64",
                             "nf4:4294967360",
                             "nf4:99999999999999999999",
                             "nf4:block64",
                             "nf4:row",
                             "nf4:expert",
                             "nf4:nested=1",
                             "nf4:blocking",
                             "nf4:blocking=",
                             "nf4:blocking=ROW",
                             "nf4:axis=0",
                             "nf4:axis=1",
                             "nf4:scale=factor",
                             "nf4:48",
                             "int8:64",
                             "int8:nested",
                             "int8:block",
                             "int8:block1",
                             "int8:blockx",
                             "int8:block0x1",
                             "int8:block1x0",
                             "int8:block1x2x3",
                             "int8:block1x-2",
                             "int8:blocking=row",
                             "int8:dtype=fp64",
                             "fp8_e4m3:profile=bnb_cpu",
                             "fp8",
                             "fp8_e4m3;row",
                             "int8::row",
                             "nf4:64\n",
                             "nf4:profile=bnb_cpu_fp16"}) {
        auto out = sized<moeq_spec>();
        out.format = 77;
        Error error;
        const moeq_status status = moeq_spec_parse(text, &out, &error);
        if (std::string(text) == "int8:block") {
            EXPECT_EQ(status, MOEQ_OK); // the format's own tile
            continue;
        }
        EXPECT_TRUE(status == MOEQ_ERROR_ARGUMENT || status == MOEQ_ERROR_UNSUPPORTED) << text;
        EXPECT_NE(error.text().find("; want "), std::string::npos) << text << ": " << error.message;
        EXPECT_EQ(out.format, 77) << text;
    }
    EXPECT_EQ(parse("nf4:64").block_columns, 64);
    EXPECT_EQ(parse("fp8_e4m3:block128x64").block_rows, 128);
}

TEST(Spec, component_sizes_add_up)
{
    const Shape shapes[] = {{2, 12, 130}, {12, 130}, {2, 3, 6, 64}, {1, 1, 1},
                            {0, 4, 8},    {3, 0, 8}, {3, 4, 0},     {5, 7, 33}};
    for (const char* text : {"int8", "int8:axis=-2", "int8:expert", "int8:block5x7", "fp8_e4m3", "fp8_e5m2:expert",
                             "mxfp8", "fp8_e4m3:block128x128", "nf4", "nf4:32,nested", "nf4:blocking=row",
                             "nf4:blocking=flat", "fp4:nested,blocking=row", "fp4:4096,nested,blocking=flat"})
        for (const Shape& shape : shapes) {
            const moeq_spec spec = parse(text);
            const int32_t ndim = static_cast<int32_t>(shape.size());
            int64_t bytes = -1, staging = -1, sum = 0;
            MOEQ_EXPECT_OK(moeq_spec_get_bytes(&spec, ndim, shape.data(), &bytes, &staging, &ok));
            for (int32_t id = 0; id <= 9; ++id) {
                auto info = sized<moeq_component_info>();
                Error error;
                const moeq_status status = moeq_spec_get_component(&spec, ndim, shape.data(), id, &info, &error);
                const bool nested_part = id >= MOEQ_COMPONENT_NESTED_SCALE && id <= MOEQ_COMPONENT_NESTED_OFFSET;
                const bool packed = spec.format == MOEQ_FORMAT_NF4 || spec.format == MOEQ_FORMAT_FP4;
                const bool there = id == MOEQ_COMPONENT_CODES || id == MOEQ_COMPONENT_SCALE ||
                                   (nested_part && spec.nested != 0) || (id == MOEQ_COMPONENT_CODE_MAP && packed);
                ASSERT_EQ(status, there ? MOEQ_OK : MOEQ_ERROR_NOT_FOUND) << text << " " << id;
                if (!there)
                    continue;
                EXPECT_EQ(info.component, id);
                int64_t count = 1;
                for (int32_t i = 0; i < 8; ++i) {
                    count *= i < info.ndim ? info.shape[i] : 1;
                    EXPECT_TRUE(i < info.ndim || info.shape[i] == 0);
                }
                EXPECT_EQ(info.bytes, count * bytes_of(info.dtype)) << text << " " << id;
                if (id != MOEQ_COMPONENT_CODE_MAP)
                    sum += info.bytes;
                if (id == MOEQ_COMPONENT_CODES) {
                    // Codes of every element, at most one nibble of padding to a run.
                    EXPECT_GE(count * (packed ? 2 : 1), count_of(shape));
                }
            }
            EXPECT_EQ(bytes, sum) << text;
            EXPECT_GE(staging, count_of(shape) * 4);
            if (count_of(shape) == 0)
                continue;
            // And they are what a handle has.
            const Context context = make_context();
            HostTensor source(MOEQ_DTYPE_FP32, shape);
            const QTensor q = quantize(context, source.fill(), spec);
            EXPECT_EQ(static_cast<int64_t>(stored_bytes(q).size()), sum) << text;
            auto info = sized<moeq_qtensor_info>();
            MOEQ_EXPECT_OK(moeq_qtensor_get_info(q.get(), &info, &ok));
            EXPECT_EQ(info.bytes, sum);
        }
}

TEST(Spec, shapes_that_no_weight_has_are_refused)
{
    const moeq_spec spec = parse("nf4");
    auto out = sized<moeq_spec>();
    Error error;
    const int64_t shape[9] = {1, 1, 1, 1, 1, 1, 1, 4, 64};
    for (const int32_t ndim : {-1, 0, 1, 9, INT32_MAX})
        EXPECT_EQ(moeq_spec_resolve(&spec, ndim, shape, &out, &error), MOEQ_ERROR_SHAPE) << ndim;
    MOEQ_EXPECT_OK(moeq_spec_resolve(&spec, 8, shape + 1, &out, &ok));
    EXPECT_EQ(moeq_spec_resolve(&spec, 2, nullptr, &out, &error), MOEQ_ERROR_ARGUMENT);
    const int64_t negative[3] = {2, -1, 4};
    EXPECT_EQ(moeq_spec_resolve(&spec, 3, negative, &out, &error), MOEQ_ERROR_SHAPE);
    EXPECT_NE(error.text().find("-1 on axis 1"), std::string::npos) << error.message;
    // Sizes that overflow, also behind a zero.
    for (const Shape& huge :
         {Shape{INT64_MAX, INT64_MAX, INT64_MAX}, Shape{int64_t{1} << 39, int64_t{1} << 10, int64_t{1} << 10},
          Shape{0, INT64_MAX, INT64_MAX}})
        EXPECT_EQ(moeq_spec_resolve(&spec, 3, huge.data(), &out, &error), MOEQ_ERROR_SHAPE);
    const int64_t large[3] = {int64_t{1} << 38, 1 << 10, 1 << 10};
    int64_t bytes = 0;
    MOEQ_EXPECT_OK(moeq_spec_get_bytes(&spec, 3, large, &bytes, nullptr, &ok));
    EXPECT_EQ(bytes, (int64_t{1} << 57) + (int64_t{1} << 54));
    // Gate and up are halves of the output axis.
    const int64_t odd_rows[3] = {2, 7, 8};
    const int64_t odd_columns[3] = {2, 8, 7};
    for (const char* layout : {"layout=gate_up", "layout=up_gate", "layout=gate_up_interleaved"}) {
        const moeq_spec plain = parse((std::string("int8:") + layout).c_str());
        const moeq_spec transposed = parse((std::string("int8:axis=-2,") + layout).c_str());
        EXPECT_EQ(moeq_spec_resolve(&plain, 3, odd_rows, &out, &error), MOEQ_ERROR_SHAPE);
        EXPECT_EQ(moeq_spec_resolve(&plain, 3, odd_columns, &out, &error), MOEQ_OK);
        EXPECT_EQ(moeq_spec_resolve(&transposed, 3, odd_columns, &out, &error), MOEQ_ERROR_SHAPE);
        EXPECT_EQ(moeq_spec_resolve(&transposed, 3, odd_rows, &out, &error), MOEQ_OK);
    }
}

} // namespace
} // namespace moeq_test
