// What is in a converted checkpoint: for every dialect, format and form of the source, the bytes that quantizing the same
// weights at once gives.
#include "conformance/convert_cases.h"

namespace moeq_test {
namespace {

struct BytesCase {
    Form form;
    int32_t dialect;
    const char* spec;
};

std::string case_name(const testing::TestParamInfo<BytesCase>& info)
{
    constexpr const char* kNames[] = {"native", "bitsandbytes", "compressed_tensors", "hf_fp8"};
    std::string name =
        std::string(form_name(info.param.form)) + "_" + kNames[info.param.dialect] + "_" + info.param.spec;
    for (char& c : name)
        c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
    return name;
}

std::vector<BytesCase> all_cases()
{
    const std::map<int32_t, std::vector<const char*>> specs = {
        {MOEQ_DIALECT_NATIVE,
         {"int8", "int8:expert", "int8:block32x48", "fp8_e4m3", "fp8_e4m3:block128x128", "fp8_e5m2:expert", "mxfp8",
          "nf4", "nf4:nested", "nf4:blocking=flat", "fp4:128"}},
        {MOEQ_DIALECT_BITSANDBYTES, {"nf4", "nf4:nested", "fp4:32", "nf4:4096", "int8"}},
        {MOEQ_DIALECT_COMPRESSED_TENSORS, {"int8", "fp8_e4m3", "fp8_e4m3:expert", "fp8_e4m3:block"}},
        {MOEQ_DIALECT_HF_FP8, {"fp8_e4m3"}},
    };
    std::vector<BytesCase> cases;
    for (const Form form : {Form::kPerExpert, Form::kFused, Form::kTransposed})
        for (const auto& [dialect, texts] : specs)
            for (const char* text : texts)
                // Rows of a transposed weight are no outputs, of which that file has the scales, or along which blocks run; and no
                // loader turns them.
                if (form != Form::kTransposed ||
                    (dialect != MOEQ_DIALECT_HF_FP8 && std::string(text) != "mxfp8" &&
                     (dialect != MOEQ_DIALECT_BITSANDBYTES || std::string(text) != "int8")))
                    cases.push_back({form, dialect, text});
    return cases;
}

// One 2-D weight of a layer, [output, input]: expert `e`, half `part` of `parts`.
std::unique_ptr<HostTensor> matrix_of(HostTensor& stack, Form form, int64_t e, int64_t part, int64_t parts)
{
    const Shape& shape = stack.shape();
    const bool transposed = form == Form::kTransposed;
    const int64_t output = (transposed ? shape[2] : shape[1]) / parts;
    const int64_t input = transposed ? shape[1] : shape[2];
    auto out = std::make_unique<HostTensor>(MOEQ_DTYPE_BF16, Shape{output, input});
    const int64_t size = bytes_of(MOEQ_DTYPE_BF16);
    for (int64_t o = 0; o < output; ++o)
        for (int64_t i = 0; i < input; ++i) {
            const int64_t row = transposed ? o * parts + part : part * output + o;
            const int64_t at = e * shape[1] * shape[2] + (transposed ? i * shape[2] + row : row * shape[2] + i);
            std::memcpy(out->memory().data() + (o * input + i) * size, stack.memory().data() + at * size,
                        static_cast<size_t>(size));
        }
    return out;
}

class ConvertBytes : public testing::TestWithParam<BytesCase> {
protected:
    static constexpr int64_t kExperts = 3;
    const Context context_ = make_context(2);
    ExpertLayer layer_{GetParam().form, MOEQ_DTYPE_BF16, kExperts, 128, 192};
    TemporaryFolder source_;
    TemporaryFolder folder_;

    std::string target() const { return folder_.path("target"); }

    void convert_layer()
    {
        layer_.write(source_);
        convert(context_, source_.path(), target(), ConvertOptions(GetParam().dialect, GetParam().spec));
    }

    moeq_spec stack_spec(const Reader& reader, int64_t stack) const
    {
        auto spec = sized<moeq_spec>();
        MOEQ_EXPECT_OK(moeq_reader_get_stack_spec(reader.get(), stack, &spec, &ok));
        return spec;
    }
    bool is(const char* text) const { return contains(GetParam().spec, text); }
};

// The stack as the target has it, against the whole of the source quantized by the target's spec.
TEST_P(ConvertBytes, AreThoseOfQuantizing)
{
    ASSERT_NO_FATAL_FAILURE(convert_layer());
    const Reader reader = open_reader(context_, target());
    const bool turned = GetParam().dialect == MOEQ_DIALECT_COMPRESSED_TENSORS && GetParam().form != Form::kPerExpert;
    const bool each_nested = is("nested") && GetParam().form == Form::kPerExpert && GetParam().dialect != 0;
    if (turned || each_nested || (is("expert") && GetParam().dialect == MOEQ_DIALECT_COMPRESSED_TENSORS))
        return; // the next test
    for (const char* name : {kGateUp, kDown}) {
        SCOPED_TRACE(name);
        const int64_t stack = stack_index(reader, name);
        ASSERT_GE(stack, 0);
        HostTensor& source = name == kGateUp ? layer_.gate_up : layer_.down;
        EXPECT_EQ(stored_bytes(load(reader, stack)),
                  stored_bytes(quantize(context_, source, stack_spec(reader, stack))));
        const moeq_spec spec = stack_spec(reader, stack);
        EXPECT_EQ(spec.layout, name == kGateUp ? layer_.layout() : MOEQ_LAYOUT_PLAIN);
        EXPECT_EQ(spec.scale_axis, layer_.axis());
    }
}

// Every expert's weight by itself, as other projects would quantize it.
TEST_P(ConvertBytes, OfEachExpert)
{
    if (GetParam().dialect == MOEQ_DIALECT_NATIVE ||
        (GetParam().form != Form::kPerExpert && GetParam().dialect != MOEQ_DIALECT_COMPRESSED_TENSORS))
        return; // fused: the test above
    ASSERT_NO_FATAL_FAILURE(convert_layer());
    const Reader reader = open_reader(context_, target());
    const bool shared = is("expert");
    for (int64_t part = 0; part < 3; ++part) {
        const std::string stem = "model.layers.0.mlp.experts.";
        const char* names[] = {"gate_proj", "up_proj", "down_proj"};
        HostTensor& source = part == 2 ? layer_.down : layer_.gate_up;
        int64_t tensor = -1;
        int64_t stack = -1;
        if (moeq_reader_find(reader.get(), (stem + names[part]).c_str(), &tensor, &stack, nullptr) != MOEQ_OK)
            stack = stack_index(reader, kGateUp);
        ASSERT_GE(stack, 0) << names[part];
        const QTensor loaded = load(reader, stack);
        const Shape shape = shape_of(loaded);
        const std::vector<float> values = dequantize(loaded);
        for (int64_t e = 0; e < kExperts; ++e) {
            const auto matrix = matrix_of(source, GetParam().form, e, part == 2 ? 0 : part, part == 2 ? 1 : 2);
            moeq_spec spec = parse(GetParam().spec);
            if (GetParam().dialect == MOEQ_DIALECT_COMPRESSED_TENSORS)
                spec.scale_kind = MOEQ_SCALE_FACTOR;
            if (GetParam().dialect == MOEQ_DIALECT_HF_FP8)
                spec.granularity = MOEQ_GRANULARITY_BLOCK;
            HostTensor amax(MOEQ_DTYPE_FP32, {1});
            auto options = sized<moeq_quantize_options>();
            if (shared) {
                const int64_t halves = part == 2 ? 1 : 2;
                for (int64_t p = 0; p < halves; ++p) {
                    const QTensor own = quantize(context_, *matrix_of(source, GetParam().form, e, p, halves),
                                                 "int8:expert"); // its statistic is amax
                    const Bytes scale = packed_bytes(component(own, MOEQ_COMPONENT_SCALE).get());
                    float value = 0;
                    std::memcpy(&value, scale.data(), sizeof value);
                    amax.as<float>()[0] = std::max(amax.as<float>()[0], value);
                }
                options.amax = amax;
            }
            const std::vector<float> wanted = dequantize(quantize(context_, *matrix, spec, &options));
            const bool half = shape[1] != matrix->shape()[0];
            const int64_t begin = e * shape[1] * shape[2] + (half && part == 1 ? shape[1] / 2 * shape[2] : 0);
            const std::vector<float> got(values.begin() + begin,
                                         values.begin() + begin + static_cast<int64_t>(wanted.size()));
            EXPECT_EQ(got, wanted) << names[part] << " of expert " << e;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Convert, ConvertBytes, testing::ValuesIn(all_cases()), case_name);

// ---- blocks that would run from gate into up: each weight is quantized by itself

TEST(ConvertEach, WhereBlocksCross)
{
    const Context context = make_context(2);
    ExpertLayer layer(Form::kPerExpert, MOEQ_DTYPE_BF16, 2, 37, 90);
    const TemporaryFolder source, folder;
    layer.write(source);
    for (const char* text : {"nf4", "nf4:nested", "fp4:128"}) {
        SCOPED_TRACE(text);
        const std::string target = folder.path(std::string("target ") + text);
        convert(context, source.path(), target, ConvertOptions(MOEQ_DIALECT_BITSANDBYTES, text));
        const Reader reader = open_reader(context, target);
        for (int64_t part = 0; part < 2; ++part) {
            const int64_t stack =
                stack_index(reader, std::string("model.layers.0.mlp.experts.") + (part == 0 ? "gate_proj" : "up_proj"));
            ASSERT_GE(stack, 0);
            const std::vector<float> values = dequantize(load(reader, stack));
            for (int64_t e = 0; e < 2; ++e) {
                const auto matrix = matrix_of(layer.gate_up, Form::kPerExpert, e, part, 2);
                const std::vector<float> wanted = dequantize(quantize(context, *matrix, text));
                EXPECT_EQ(std::vector<float>(values.begin() + e * 37 * 90, values.begin() + (e + 1) * 37 * 90), wanted);
            }
        }
    }
}

// ---- from one dialect into another without loss, and back

struct Relabelled {
    int32_t from;
    const char* spec;
    int32_t to;
};

class ConvertRelabel : public testing::TestWithParam<Relabelled> {};

TEST_P(ConvertRelabel, AndBack)
{
    const Context context = make_context(2);
    ExpertLayer layer(Form::kPerExpert, MOEQ_DTYPE_BF16, 3, 128, 256);
    const TemporaryFolder source, folder;
    layer.write(source);
    convert(context, source.path(), folder.path("first"), ConvertOptions(GetParam().from, GetParam().spec));
    convert(context, folder.path("first"), folder.path("second"), ConvertOptions(GetParam().to, nullptr));
    const Reader first = open_reader(context, folder.path("first"));
    const Reader second = open_reader(context, folder.path("second"));
    auto info = sized<moeq_reader_info>();
    MOEQ_EXPECT_OK(moeq_reader_get_info(second.get(), &info, &ok));
    EXPECT_EQ(info.dialect, GetParam().to);
    for (const char* name : {kGateUp, kDown}) {
        const int64_t stack = stack_index(first, name);
        ASSERT_GE(stack, 0);
        EXPECT_EQ(stored_bytes(load(first, stack)), stored_bytes(load(second, stack_index(second, name)))) << name;
    }
    // Kept as it is.
    convert(context, folder.path("second"), folder.path("third"), ConvertOptions(GetParam().to, nullptr));
    const Reader third = open_reader(context, folder.path("third"));
    for (const char* name : {kGateUp, kDown})
        EXPECT_EQ(stored_bytes(load(second, stack_index(second, name))),
                  stored_bytes(load(third, stack_index(third, name))))
            << name;
}

INSTANTIATE_TEST_SUITE_P(
    Convert, ConvertRelabel,
    testing::Values(Relabelled{MOEQ_DIALECT_BITSANDBYTES, "nf4", MOEQ_DIALECT_NATIVE},
                    Relabelled{MOEQ_DIALECT_NATIVE, "nf4", MOEQ_DIALECT_BITSANDBYTES},
                    Relabelled{MOEQ_DIALECT_COMPRESSED_TENSORS, "int8", MOEQ_DIALECT_NATIVE},
                    Relabelled{MOEQ_DIALECT_NATIVE, "int8:scale=factor", MOEQ_DIALECT_COMPRESSED_TENSORS},
                    Relabelled{MOEQ_DIALECT_HF_FP8, "fp8_e4m3", MOEQ_DIALECT_COMPRESSED_TENSORS},
                    Relabelled{MOEQ_DIALECT_COMPRESSED_TENSORS, "fp8_e4m3:block", MOEQ_DIALECT_HF_FP8},
                    Relabelled{MOEQ_DIALECT_BITSANDBYTES, "int8", MOEQ_DIALECT_NATIVE}));

// Codes stay where only the kind of the statistics is another: a factor is the absmax / 127, rounded once, and back.
struct Restated {
    int32_t from;
    const char* spec;
    int32_t to;
    const char* asked;
    bool to_factor;
};

class ConvertRestate : public testing::TestWithParam<Restated> {};

TEST_P(ConvertRestate, CodesStay)
{
    const Context context = make_context(2);
    for (const Form form : {Form::kPerExpert, Form::kFused}) {
        ExpertLayer layer(form, MOEQ_DTYPE_BF16, 3, 64, 128);
        const TemporaryFolder source, folder;
        layer.write(source);
        convert(context, source.path(), folder.path("first"), ConvertOptions(GetParam().from, GetParam().spec));
        const ConvertOptions options(GetParam().to, GetParam().asked);
        EXPECT_FALSE(contains(plan(context, folder.path("first"), folder.path("second"), options), "requantized"));
        convert(context, folder.path("first"), folder.path("second"), options);
        const Reader first = open_reader(context, folder.path("first"));
        const Reader second = open_reader(context, folder.path("second"));
        std::vector<const char*> names = {kDown};
        if (!contains(GetParam().spec, "expert")) // else the target has gate and up apart
            names.push_back(kGateUp);
        for (const char* name : names) {
            const QTensor before = load(first, stack_index(first, name));
            const QTensor after = load(second, stack_index(second, name));
            EXPECT_EQ(packed_bytes(component(before, MOEQ_COMPONENT_CODES).get()),
                      packed_bytes(component(after, MOEQ_COMPONENT_CODES).get()));
            const Bytes from = packed_bytes(component(before, MOEQ_COMPONENT_SCALE).get());
            const Bytes to = packed_bytes(component(after, MOEQ_COMPONENT_SCALE).get());
            ASSERT_EQ(from.size(), to.size());
            for (size_t i = 0; i < from.size(); i += sizeof(float)) {
                float was, is;
                std::memcpy(&was, &from[i], sizeof was);
                std::memcpy(&is, &to[i], sizeof is);
                ASSERT_EQ(is, GetParam().to_factor ? was / 127.0f : was * 127.0f) << name << " " << i;
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(
    Convert, ConvertRestate,
    testing::Values(Restated{MOEQ_DIALECT_BITSANDBYTES, "int8", MOEQ_DIALECT_COMPRESSED_TENSORS, nullptr, true},
                    Restated{MOEQ_DIALECT_NATIVE, "int8", MOEQ_DIALECT_COMPRESSED_TENSORS, "int8", true},
                    Restated{MOEQ_DIALECT_NATIVE, "int8:expert", MOEQ_DIALECT_COMPRESSED_TENSORS, nullptr, true},
                    Restated{MOEQ_DIALECT_COMPRESSED_TENSORS, "int8", MOEQ_DIALECT_BITSANDBYTES, nullptr, false},
                    Restated{MOEQ_DIALECT_NATIVE, "int8", MOEQ_DIALECT_NATIVE, "int8:scale=factor", true},
                    Restated{MOEQ_DIALECT_NATIVE, "int8:scale=factor", MOEQ_DIALECT_NATIVE, "int8:scale=absmax",
                             false}));

TEST(ConvertRefusals, WhatADialectCannotHoldIsRefused)
{
    const Context context = make_context();
    ExpertLayer layer(Form::kFused, MOEQ_DTYPE_BF16, 2, 64, 64);
    const TemporaryFolder source, folder;
    layer.write(source);
    const Error error = refused(context, source.path(), folder.path("no"), ConvertOptions(MOEQ_DIALECT_HF_FP8, "nf4"),
                                MOEQ_ERROR_UNSUPPORTED);
    EXPECT_TRUE(contains(error.text(), "hf-fp8")) << error.text();
    EXPECT_FALSE(std::filesystem::exists(folder.path("no")));
    convert(context, source.path(), folder.path("nf4"), ConvertOptions(MOEQ_DIALECT_NATIVE, "nf4"));
    refused(context, folder.path("nf4"), folder.path("no"), ConvertOptions(MOEQ_DIALECT_COMPRESSED_TENSORS, nullptr),
            MOEQ_ERROR_UNSUPPORTED);
    // Other numbers were asked for: decoded and quantized anew.
    const ConvertOptions int8(MOEQ_DIALECT_COMPRESSED_TENSORS, "int8");
    EXPECT_TRUE(contains(plan(context, folder.path("nf4"), folder.path("t"), int8), "\"requantized_from\": \"nf4"));
    convert(context, folder.path("nf4"), folder.path("int8"), int8);
    const Reader from = open_reader(context, folder.path("nf4"));
    const Reader to = open_reader(context, folder.path("int8"));
    const std::vector<float> values = dequantize(load(from, stack_index(from, kDown)));
    HostTensor dense(MOEQ_DTYPE_BF16, {2, 64, 64});
    for (size_t i = 0; i < values.size(); ++i) {
        uint32_t bits = 0;
        std::memcpy(&bits, &values[i], sizeof bits);
        const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
        dense.as<uint16_t>()[i] = static_cast<uint16_t>(rounded);
    }
    const int64_t stack = stack_index(to, kDown);
    auto spec = sized<moeq_spec>();
    MOEQ_EXPECT_OK(moeq_reader_get_stack_spec(to.get(), stack, &spec, &ok));
    EXPECT_EQ(stored_bytes(load(to, stack)), stored_bytes(quantize(context, dense, spec)));
}

} // namespace
} // namespace moeq_test
