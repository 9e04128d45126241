// What was quantized comes out dense: for every dialect, format, form and type the bits that a judge of its own rounds the
// decoded values to, under the names and in the shapes of the source.
#include "conformance/convert_dense_cases.h"

namespace moeq_test {
namespace {

// ---- all of them

struct DenseCase {
    Form form;
    int32_t dialect;
    const char* spec;
};

// Rows of a transposed weight are no outputs, which some files have the scales of and some blocks run along; and FP8 loaders take
// none.
bool has_transposed(int32_t dialect, const std::string& spec)
{
    return dialect != MOEQ_DIALECT_HF_FP8 && spec != "nf4:blocking=row" && spec != "mxfp8" &&
           (dialect != MOEQ_DIALECT_BITSANDBYTES || spec != "int8");
}

std::vector<DenseCase> all_cases()
{
    const std::map<int32_t, std::vector<const char*>> specs = {
        {MOEQ_DIALECT_NATIVE,
         {"int8", "int8:expert,scale=factor", "int8:block32x48", "fp8_e4m3", "fp8_e4m3:block128x128", "fp8_e5m2:expert",
          "mxfp8", "nf4", "nf4:nested", "nf4:blocking=flat", "nf4:blocking=row", "fp4:128"}},
        {MOEQ_DIALECT_BITSANDBYTES, {"nf4", "nf4:nested", "fp4:32", "nf4:4096", "int8"}},
        {MOEQ_DIALECT_COMPRESSED_TENSORS, {"int8", "int8:expert", "fp8_e4m3", "fp8_e4m3:expert", "fp8_e4m3:block"}},
        {MOEQ_DIALECT_HF_FP8, {"fp8_e4m3", "fp8_e4m3:block32x64"}},
    };
    std::vector<DenseCase> cases;
    for (const Form form : {Form::kPerExpert, Form::kFused, Form::kTransposed})
        for (const auto& [dialect, texts] : specs)
            for (const char* text : texts)
                if (form != Form::kTransposed || has_transposed(dialect, text))
                    cases.push_back({form, dialect, text});
    return cases;
}

std::string case_name(const testing::TestParamInfo<DenseCase>& info)
{
    constexpr const char* kNames[] = {"native", "bitsandbytes", "compressed_tensors", "hf_fp8"};
    std::string name =
        std::string(form_name(info.param.form)) + "_" + kNames[info.param.dialect] + "_" + info.param.spec;
    for (char& c : name)
        c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
    return name;
}

class ConvertDense : public testing::TestWithParam<DenseCase> {};

TEST_P(ConvertDense, IsTheDecodedValueRoundedOnce)
{
    const Context context = make_context(2);
    ExpertLayer layer(GetParam().form, MOEQ_DTYPE_BF16, 3, 128, 192);
    const TemporaryFolder source, folder;
    layer.write(source);
    convert(context, source.path(), folder.path("quantized"), ConvertOptions(GetParam().dialect, GetParam().spec));
    const Reader quantized = open_reader(context, folder.path("quantized"));
    for (const int32_t dtype : {MOEQ_DTYPE_BF16, MOEQ_DTYPE_FP16, MOEQ_DTYPE_FP32}) {
        SCOPED_TRACE(type_name(dtype));
        const std::string target = folder.path(type_name(dtype));
        convert(context, folder.path("quantized"), target, DenseOptions(dtype, GetParam().dialect));
        const Reader dense = open_reader(context, target);
        expect_decoded(dense, quantized, dtype);
        // Nothing else is there but what was dense.
        for (int64_t t = 0; t < tensor_count(dense); ++t) {
            const moeq_tensor_info info = tensor_info(dense, t);
            const moeq_tensor_info before = tensor_info(quantized, find_tensor(quantized, info.name));
            EXPECT_TRUE(before.component == MOEQ_COMPONENT_CODES || before.component == 0) << info.name;
            if (before.component == 0) {
                EXPECT_EQ(read_all(dense, t), read_all(quantized, find_tensor(quantized, info.name))) << info.name;
            }
        }
        auto info = sized<moeq_reader_info>();
        MOEQ_EXPECT_OK(moeq_reader_get_info(dense.get(), &info, &ok));
        EXPECT_EQ(info.dialect, MOEQ_DIALECT_NONE);
        EXPECT_FALSE(contains(read_file(target + "/config.json"), "quantization_config"));
        EXPECT_TRUE(contains(read_file(target + "/moeq_report.json"), "\"dialect\": \"none\""));
    }
}

INSTANTIATE_TEST_SUITE_P(Convert, ConvertDense, testing::ValuesIn(all_cases()), case_name);

// The shapes and names of the source's own dense form, where the dialect keeps weights as they were.
TEST(ConvertDenseForm, IsThatOfTheOriginal)
{
    const Context context = make_context(2);
    for (const Form form : {Form::kPerExpert, Form::kFused, Form::kTransposed})
        for (const int32_t dialect : {MOEQ_DIALECT_BITSANDBYTES, MOEQ_DIALECT_HF_FP8}) {
            if (dialect == MOEQ_DIALECT_HF_FP8 && form != Form::kPerExpert)
                continue; // which become linears, or are refused
            SCOPED_TRACE(std::string(form_name(form)) + " " + std::to_string(dialect));
            ExpertLayer layer(form, MOEQ_DTYPE_BF16, 2, 128, 128);
            const TemporaryFolder source, folder;
            layer.write(source);
            const char* spec = dialect == MOEQ_DIALECT_HF_FP8 ? "fp8_e4m3" : "nf4";
            convert(context, source.path(), folder.path("q"), ConvertOptions(dialect, spec));
            convert(context, folder.path("q"), folder.path("d"), DenseOptions(MOEQ_DTYPE_BF16));
            const Reader before = open_reader(context, source.path());
            const Reader after = open_reader(context, folder.path("d"));
            ASSERT_EQ(tensor_count(after), tensor_count(before));
            for (int64_t t = 0; t < tensor_count(before); ++t) {
                const moeq_tensor_info a = tensor_info(before, t);
                const moeq_tensor_info b = tensor_info(after, find_tensor(after, a.name));
                EXPECT_EQ(a.dtype, b.dtype) << a.name;
                EXPECT_EQ(Shape(a.shape, a.shape + a.ndim), Shape(b.shape, b.shape + b.ndim)) << a.name;
            }
        }
}

// ---- every code, and scales at which values are ties

class DenseCodes : public testing::Test {
protected:
    static constexpr int64_t kSide = 16; // 256 codes
    const Context context_ = make_context(2);
    TemporaryFolder source_;
    TemporaryFolder folder_;

    // Linears of all codes of E4M3, one scale each.
    void write(const std::vector<float>& scales)
    {
        Bytes codes(kSide * kSide);
        for (size_t i = 0; i < codes.size(); ++i)
            codes[i] = static_cast<uint8_t>(i);
        ContainerFile file;
        for (size_t s = 0; s < scales.size(); ++s) {
            const std::string name = "model.layers." + std::to_string(s) + ".self_attn.q_proj.weight";
            file.add(name, MOEQ_DTYPE_FP8_E4M3FN, {kSide, kSide}, codes);
            file.add(name + "_scale_inv", MOEQ_DTYPE_FP32, {1, 1}, &scales[s], sizeof(float));
        }
        write_sharded(source_, {file});
        source_.write("config.json", R"({"model_type": "qwen3_moe", "quantization_config": )"
                                     R"({"quant_method": "fp8", "weight_block_size": [128, 128]}})");
    }
};

TEST_F(DenseCodes, EveryCodeWithEveryTie)
{
    // Odd multiples of a half of the last place of 8, 11 and 24 bits, and ordinary numbers.
    const std::vector<float> scales = {1.0f,      1.0f + 0x1p-8f, 1.0f + 3 * 0x1p-8f, 1.0f + 0x1p-11f, 1.0f + 0x1p-23f,
                                       0.0f,      0x1p-20f,       0x1p-14f,           3 * 0x1p-26f,    0.0123f,
                                       0x1p-126f, 0x1p-149f};
    write(scales);
    for (const int32_t dtype : {MOEQ_DTYPE_BF16, MOEQ_DTYPE_FP16, MOEQ_DTYPE_FP32}) {
        SCOPED_TRACE(type_name(dtype));
        convert(context_, source_.path(), folder_.path(type_name(dtype)), DenseOptions(dtype));
        const Reader dense = open_reader(context_, folder_.path(type_name(dtype)));
        ASSERT_EQ(tensor_count(dense), static_cast<int64_t>(scales.size()));
        for (size_t s = 0; s < scales.size(); ++s) {
            SCOPED_TRACE(scales[s]);
            const Bytes bytes =
                read_all(dense, find_tensor(dense, "model.layers." + std::to_string(s) + ".self_attn.q_proj.weight"));
            int64_t ties = 0;
            for (uint32_t code = 0; code < 256; ++code) {
                const uint32_t got = element(bytes, dtype, code);
                if ((code & 0x7F) == 0x7F) {
                    EXPECT_TRUE(is_nan(dtype, got)) << code;
                    continue;
                }
                const double magnitude = codec_oracle::small_float_value(code & 0x7F, 3, 7);
                const double value = (code & 0x80) != 0 ? -magnitude : magnitude;
                const float product = static_cast<float>(value * static_cast<double>(scales[s]));
                EXPECT_EQ(got, nearest(dtype, static_cast<double>(product))) << code;
                ties += dtype == MOEQ_DTYPE_BF16 && (std::bit_cast<uint32_t>(product) & 0xFFFF) == 0x8000 ? 1 : 0;
            }
            EXPECT_TRUE(s != 1 || dtype != MOEQ_DTYPE_BF16 || ties >= 8) << ties;
        }
    }
}

// A value that the type cannot hold is refused, with its place; a type with more exponents takes it.
TEST_F(DenseCodes, WhatTheTypeCannotHold)
{
    write({1.0f, 200.0f}); // 448 * 200 > 65504
    const Error error =
        refused(context_, source_.path(), folder_.path("t"), DenseOptions(MOEQ_DTYPE_FP16), MOEQ_ERROR_VALUE);
    EXPECT_TRUE(contains(error.text(), "model.layers.1.self_attn.q_proj.weight")) << error.text();
    EXPECT_TRUE(contains(error.text(), "too large for fp16, at row 7, column 11; want bf16 or fp32")) << error.text();
    EXPECT_EQ(error.row, 7);
    EXPECT_EQ(error.column, 11); // code 0x7B: 352
    EXPECT_EQ(error.expert, -1);
    EXPECT_FALSE(fs::exists(folder_.path("t")));
    convert(context_, source_.path(), folder_.path("b"), DenseOptions(MOEQ_DTYPE_BF16));
    write({1.0f, 0x1.ffffffp126f}); // an Inf of fp32 itself is what the codes mean
    convert(context_, source_.path(), folder_.path("i"), DenseOptions(MOEQ_DTYPE_FP32));
}

TEST_F(DenseCodes, BadScalesAreRefused)
{
    for (const float scale : {NAN, INFINITY, -1.0f}) {
        write({1.0f, scale});
        const Error error =
            refused(context_, source_.path(), folder_.path("t"), DenseOptions(MOEQ_DTYPE_BF16), MOEQ_ERROR_VALUE);
        EXPECT_TRUE(contains(error.text(), "model.layers.1.self_attn.q_proj.weight")) << error.text();
        fs::remove_all(folder_.path("t.partial"));
    }
}

// Inf codes of E5M2 mean Inf in every type.
TEST(ConvertDenseInf, CodesOfInfStay)
{
    const Context context = make_context(2);
    const TemporaryFolder folder;
    ContainerFile file;
    Bytes all(256);
    for (size_t i = 0; i < all.size(); ++i)
        all[i] = static_cast<uint8_t>(i);
    const float one = 1.0f;
    file.add("a.weight", MOEQ_DTYPE_FP8_E5M2, {4, 64}, all);
    file.add("a.weight.moeq.scale", MOEQ_DTYPE_FP32, {}, &one, sizeof one);
    file.set_metadata(R"({"moeq.version": "1", "moeq.weight.a.weight": )"
                      R"("{\"spec\": \"fp8_e5m2:expert,scale=factor\", \"shape\": [4, 64]}"})");
    folder.write("model.safetensors", file.text());
    for (const int32_t dtype : {MOEQ_DTYPE_BF16, MOEQ_DTYPE_FP16, MOEQ_DTYPE_FP32}) {
        convert(context, folder.path("model.safetensors"), folder.path(type_name(dtype)), DenseOptions(dtype));
        const Reader dense = open_reader(context, folder.path(type_name(dtype)));
        const Bytes bytes = read_all(dense, find_tensor(dense, "a.weight"));
        const uint32_t inf = dtype == MOEQ_DTYPE_FP32 ? 0x7F800000u : dtype == MOEQ_DTYPE_FP16 ? 0x7C00u : 0x7F80u;
        EXPECT_EQ(element(bytes, dtype, 0x7C), inf);
        EXPECT_EQ(element(bytes, dtype, 0xFC), inf | (dtype == MOEQ_DTYPE_FP32 ? 0x80000000u : 0x8000u));
        EXPECT_TRUE(is_nan(dtype, element(bytes, dtype, 0x7D)));
    }
}

} // namespace
} // namespace moeq_test
