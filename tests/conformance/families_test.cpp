// Every layout that a family of models has on disk: found, loaded whole and in parts, converted and read again; compared with
// experts that the test laid out itself.
#include "conformance/family_layers.h"

#include "conformance/convert_cases.h"

namespace moeq_test {
namespace {

class FamilyLayout : public testing::TestWithParam<FamilyCase> {
protected:
    FamilyLayout()
    {
        uint64_t seed = 11;
        for (const auto& sizes : GetParam().experts)
            experts_.emplace_back(sizes[0], sizes[1], sizes[2], seed += 3);
        ContainerFile file;
        GetParam().write(file, experts_);
        names_ = file.names;
        std::filesystem::create_directory(folder_.path("source"));
        folder_.write("source/model.safetensors", file.text());
        folder_.write("source/config.json", GetParam().config);
    }

    const Experts& of(const StackCase& stack) const { return experts_[static_cast<size_t>(stack.of)]; }
    Reader open(const std::string& name) const
    {
        return open_reader(context_, folder_.path(name), 0, GetParam().patterns);
    }
    std::unique_ptr<HostTensor> wanted(const StackCase& stack, const Part& part)
    {
        return lay_out(of(stack), stack.what, stack.layout, stack.axis, part);
    }
    // What the stack is by nature is copied into the spec.
    static moeq_spec spec_of(const char* text, const StackCase& stack)
    {
        moeq_spec spec = parse(text);
        spec.layout = stack.layout;
        spec.scale_axis = stack.axis;
        return spec;
    }
    void check_info(const Reader& reader, const StackCase& stack, bool fused)
    {
        auto info = sized<moeq_stack_info>();
        MOEQ_EXPECT_OK(moeq_reader_get_stack(reader.get(), stack_index(reader, stack.name), &info, &ok));
        const auto whole = wanted(stack, all_of(of(stack)));
        EXPECT_EQ(Shape(info.shape, info.shape + 3), whole->shape());
        EXPECT_EQ(info.layout, stack.layout);
        EXPECT_EQ(info.scale_axis, stack.axis);
        EXPECT_EQ(info.fused, fused ? 1 : 0);
    }
    // A rank of a tensor-parallel group of two has half of the width of each expert.
    void check_ranks(const Reader& reader, const StackCase& stack, const moeq_spec& spec)
    {
        for (int32_t rank = 0; rank < 2; ++rank) {
            auto options = sized<moeq_load_options>();
            options.spec = &spec;
            options.tp_rank = rank;
            options.tp_size = 2;
            options.expert_begin = 1;
            options.expert_end = of(stack).count;
            const int64_t half = of(stack).inner / 2;
            const auto cut = wanted(stack, {1, of(stack).count, rank * half, (rank + 1) * half});
            EXPECT_EQ(stored_bytes(load(reader, stack_index(reader, stack.name), options)),
                      stored_bytes(quantize(context_, *cut, spec)))
                << "rank " << rank;
        }
    }
    // All of a stack in fp32; gate and up may be stacks of their own there.
    std::vector<float> decoded(const Reader& reader, const StackCase& stack)
    {
        int64_t tensor = -1;
        int64_t index = -1;
        Error error;
        if (moeq_reader_find(reader.get(), stack.name.c_str(), &tensor, &index, &error) == MOEQ_OK && index >= 0)
            return dequantize(load(reader, index));
        const std::string holder = stack.name.substr(0, stack.name.rfind("gate_up_proj"));
        const std::vector<float> gate = dequantize(load(reader, stack_index(reader, holder + "gate_proj")));
        const std::vector<float> up = dequantize(load(reader, stack_index(reader, holder + "up_proj")));
        std::vector<float> both;
        const auto each = static_cast<ptrdiff_t>(gate.size()) / of(stack).count;
        for (int64_t e = 0; e < of(stack).count; ++e)
            for (const auto* half : {&gate, &up})
                both.insert(both.end(), half->begin() + e * each, half->begin() + (e + 1) * each);
        return both;
    }
    // As linears, gate before up, have it.
    void check_linears(const Reader& reader, const StackCase& stack, const char* text)
    {
        SCOPED_TRACE(stack.name);
        moeq_spec spec = parse(text);
        spec.layout = stack.what == What::kGateUp ? MOEQ_LAYOUT_GATE_UP : MOEQ_LAYOUT_PLAIN;
        const auto whole = lay_out(of(stack), stack.what, spec.layout, -1);
        EXPECT_EQ(decoded(reader, stack), dequantize(quantize(context_, *whole, spec)));
    }
    void check_verified(const Reader& reader)
    {
        moeq_blob* out = nullptr;
        MOEQ_EXPECT_OK(moeq_reader_verify(reader.get(), nullptr, nullptr, &out, &ok));
        const Blob owner(out);
        EXPECT_NE(std::string(static_cast<const char*>(moeq_blob_data(out))).find("\"problems\": []"),
                  std::string::npos);
    }
    bool refuses(const char* target, int32_t dialect, const char* spec, const char* source = "source")
    {
        ConvertOptions options(dialect, spec);
        options.value.patterns = GetParam().patterns;
        Error error;
        const moeq_status status = moeq_convert(context_.get(), folder_.path(source).c_str(),
                                                folder_.path(target).c_str(), &options.value, &error);
        EXPECT_TRUE(status == MOEQ_OK || status == MOEQ_ERROR_UNSUPPORTED) << error.message;
        EXPECT_EQ(std::filesystem::exists(folder_.path(target)), status == MOEQ_OK);
        return status != MOEQ_OK;
    }

    const Context context_ = make_context(2);
    TemporaryFolder folder_;
    std::vector<Experts> experts_;
    std::vector<std::string> names_;
};

TEST_P(FamilyLayout, IsLoaded)
{
    const Reader reader = open("source");
    auto info = sized<moeq_reader_info>();
    MOEQ_EXPECT_OK(moeq_reader_get_info(reader.get(), &info, &ok));
    EXPECT_EQ(info.stack_count, static_cast<int64_t>(GetParam().stacks.size()));
    for (const StackCase& stack : GetParam().stacks) {
        SCOPED_TRACE(stack.name);
        check_info(reader, stack, stack.fused);
        const auto whole = wanted(stack, all_of(of(stack)));
        for (const char* text : {"int8", "fp8_e4m3:expert", "int8:block8x8", "nf4:32"}) {
            SCOPED_TRACE(text);
            const moeq_spec spec = spec_of(text, stack);
            EXPECT_EQ(stored_bytes(load(reader, stack_index(reader, stack.name), &spec)),
                      stored_bytes(quantize(context_, *whole, spec)));
            check_ranks(reader, stack, spec);
        }
    }
}

TEST_P(FamilyLayout, TensorsSayOfHowManyExpertsTheyAre)
{
    const Reader reader = open("source");
    for (size_t i = 0; i < names_.size(); ++i) {
        int64_t tensor = -1;
        int64_t found = -1;
        MOEQ_EXPECT_OK(moeq_reader_find(reader.get(), names_[i].c_str(), &tensor, &found, &ok));
        auto info = sized<moeq_tensor_info>();
        MOEQ_EXPECT_OK(moeq_reader_get_tensor(reader.get(), tensor, &info, &ok));
        auto stack = sized<moeq_stack_info>();
        MOEQ_EXPECT_OK(moeq_reader_get_stack(reader.get(), info.stack, &stack, &ok));
        // Elements of the tensor are those of that many experts' rows and columns, gate or up being a half of them.
        const int64_t elements = info.bytes / 2;
        const int64_t one = stack.shape[1] * stack.shape[2];
        EXPECT_TRUE(elements == info.experts * one || 2 * elements == info.experts * one) << names_[i];
        EXPECT_TRUE(info.experts == 1 || info.experts == stack.shape[0]) << names_[i];
    }
}

// Native has one tensor for each stack, and says how it lies.
TEST_P(FamilyLayout, IsTheSameInNative)
{
    ASSERT_FALSE(refuses("native", MOEQ_DIALECT_NATIVE, "nf4:32"));
    const Reader reader = open("native");
    check_verified(reader);
    for (const StackCase& stack : GetParam().stacks) {
        SCOPED_TRACE(stack.name);
        check_info(reader, stack, true);
        const auto whole = wanted(stack, all_of(of(stack)));
        const moeq_spec spec = spec_of("nf4:32", stack);
        EXPECT_EQ(stored_bytes(load(reader, stack_index(reader, stack.name))),
                  stored_bytes(quantize(context_, *whole, spec)));
    }
}

// Where bitsandbytes has experts, tensors of all of them keep their names and axes.
TEST_P(FamilyLayout, KeepsItsFormInBitsandbytes)
{
    ASSERT_FALSE(refuses("bitsandbytes", MOEQ_DIALECT_BITSANDBYTES, "nf4:32"));
    const Reader reader = open("bitsandbytes");
    check_verified(reader);
    for (const std::string& name : names_) {
        int64_t tensor = -1;
        int64_t stack = -1;
        MOEQ_EXPECT_OK(moeq_reader_find(reader.get(), name.c_str(), &tensor, &stack, &ok));
        EXPECT_GE(tensor, 0) << name;
    }
    for (const StackCase& stack : GetParam().stacks) {
        SCOPED_TRACE(stack.name);
        const auto whole = wanted(stack, all_of(of(stack)));
        moeq_spec spec = spec_of("nf4:32", stack); // a block is a row, or whole rows
        spec.blocking = MOEQ_BLOCKING_FLAT;
        EXPECT_EQ(decoded(reader, stack), dequantize(quantize(context_, *whole, spec)));
    }
}

// Native names say nothing of how a weight lies: other files have it under the name that does, as linears, or not at all.
TEST_P(FamilyLayout, LeavesNativeInAFormThatFilesHave)
{
    ASSERT_FALSE(refuses("native", MOEQ_DIALECT_NATIVE, "nf4:32"));
    ASSERT_EQ(refuses("back", MOEQ_DIALECT_BITSANDBYTES, nullptr, "native"), GetParam().leaves == Leaves::kNot);
    if (GetParam().leaves == Leaves::kNot)
        return;
    const Reader reader = open("back");
    check_verified(reader);
    for (const StackCase& stack : GetParam().stacks) {
        SCOPED_TRACE(stack.name);
        if (GetParam().patterns == nullptr)
            check_info(reader, stack, GetParam().leaves == Leaves::kInOneTensor);
        const auto whole = wanted(stack, all_of(of(stack)));
        EXPECT_EQ(decoded(reader, stack), dequantize(quantize(context_, *whole, spec_of("nf4:32", stack))));
    }
}

// A linear for each expert and projection, [out, in].
TEST_P(FamilyLayout, BecomesLinearsInCompressedTensors)
{
    ASSERT_FALSE(refuses("linears", MOEQ_DIALECT_COMPRESSED_TENSORS, "int8"));
    const Reader reader = open("linears");
    check_verified(reader);
    for (const StackCase& stack : GetParam().stacks)
        if (GetParam().patterns == nullptr) // what they are called now is no pattern's name
            check_linears(reader, stack, "int8:scale=factor");
}

TEST_P(FamilyLayout, IsRefusedInFp8WhereNoLoaderTakesIt)
{
    ASSERT_EQ(refuses("fp8", MOEQ_DIALECT_HF_FP8, "fp8_e4m3:block8x8"), !GetParam().hf_fp8);
    if (!GetParam().hf_fp8)
        return;
    const Reader reader = open("fp8");
    check_verified(reader);
    for (const StackCase& stack : GetParam().stacks)
        check_linears(reader, stack, "fp8_e4m3:block8x8");
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyLayout, testing::ValuesIn(family_cases()),
                         [](const testing::TestParamInfo<FamilyCase>& info) { return std::string(info.param.name); });

// ---- what shapes say

class FamilyShapes : public testing::Test {
protected:
    // A checkpoint of tensors of these names and shapes.
    Reader open(const std::string& config, const std::vector<std::pair<std::string, Shape>>& tensors)
    {
        write(config, tensors);
        return open_reader(context_, folder_.path());
    }
    void write(const std::string& config, const std::vector<std::pair<std::string, Shape>>& tensors)
    {
        ContainerFile file;
        for (const auto& [name, shape] : tensors) {
            HostTensor tensor(MOEQ_DTYPE_BF16, shape);
            file.add(name, tensor.fill(2));
        }
        folder_.write("model.safetensors", file.text());
        folder_.write("config.json", config);
    }
    int32_t axis_of(const Reader& reader, const std::string& name)
    {
        auto info = sized<moeq_stack_info>();
        MOEQ_EXPECT_OK(moeq_reader_get_stack(reader.get(), stack_index(reader, name), &info, &ok));
        return info.scale_axis;
    }
    std::string metadata(const Reader& reader)
    {
        moeq_blob* out = nullptr;
        MOEQ_EXPECT_OK(moeq_reader_metadata(reader.get(), &out, &ok));
        const Blob owner(out);
        return static_cast<const char*>(moeq_blob_data(out));
    }

    const Context context_ = make_context(1);
    TemporaryFolder folder_;
};

// Files of qwen3_vl_moe have [in, out] or [out, in]. Where a weight is square the other one of its layer settles it.
TEST_F(FamilyShapes, TheOtherWeightSettlesASquareOne)
{
    struct Case {
        Shape gate_up, down;
        int32_t axis;
    };
    const Case cases[] = {
        {{2, 6, 6}, {2, 3, 6}, -2},  {{2, 6, 6}, {2, 6, 3}, -1},  // two experts' widths are the hidden size
        {{2, 6, 12}, {2, 6, 6}, -2}, {{2, 12, 6}, {2, 6, 6}, -1}, // one is
        {{2, 6, 8}, {2, 4, 6}, -2},  {{2, 8, 6}, {2, 6, 4}, -1},
    };
    for (const Case& one : cases)
        for (const char* config : {R"({"model_type": "qwen3_vl_moe", "text_config": {"hidden_size": 6}})",
                                   R"({"model_type": "qwen3_vl_moe"})"}) {
            SCOPED_TRACE(config);
            const Reader reader = open(config, {{kGateUp, one.gate_up}, {kDown, one.down}});
            EXPECT_EQ(axis_of(reader, kGateUp), one.axis) << one.gate_up[1] << " " << one.gate_up[2];
            EXPECT_EQ(axis_of(reader, kDown), one.axis) << one.down[1] << " " << one.down[2];
            EXPECT_NE(metadata(reader).find("\"guessed_axes\": []"), std::string::npos);
        }
}

TEST_F(FamilyShapes, WhatNoShapeTellsIsAsReleasedFilesHaveItAndIsSaid)
{
    const Reader reader =
        open(R"({"model_type": "qwen3_vl_moe", "text_config": {"hidden_size": 6}})", {{kGateUp, {2, 6, 6}}});
    EXPECT_EQ(axis_of(reader, kGateUp), -2);
    EXPECT_NE(metadata(reader).find(std::string("\"guessed_axes\": [\"") + kGateUp), std::string::npos);
    const ConvertOptions options(MOEQ_DIALECT_NATIVE, "int8");
    EXPECT_NE(plan(context_, folder_.path(), folder_.path("out"), options).find("no shape tells"), std::string::npos);
}

TEST_F(FamilyShapes, RowsOfAllExpertsAreAsManyOfEach)
{
    const std::string config = R"({"model_type": "dbrx", "ffn_config": {"moe_num_experts": 3}})";
    write(config, {{"transformer.blocks.0.ffn.experts.mlp.w1", {16, 8}}});
    Error error;
    moeq_reader* out = nullptr;
    EXPECT_EQ(moeq_reader_open(context_.get(), folder_.path().c_str(), nullptr, &out, &error), MOEQ_ERROR_FORMAT);
    EXPECT_STREQ(error.class_id, "F15");
    EXPECT_NE(std::string(error.message).find("[16, 8]; want rows of 3 experts"), std::string::npos) << error.message;
    EXPECT_EQ(out, nullptr);
}

// Tiles that hold rows of two experts are units of no expert: the weight stays one of two axes.
TEST_F(FamilyShapes, FoldedWeightsInSharedUnitsAreNoExperts)
{
    const std::string name = "transformer.blocks.0.ffn.experts.mlp.w2";
    write(R"({"model_type": "dbrx"})", {{name, {24, 32}}});
    for (const auto& [text, experts] : std::initializer_list<std::pair<const char*, int64_t>>{{"int8", 3},
                                                                                              {"int8:block8x8", 3},
                                                                                              {"int8:block16x8", 1},
                                                                                              {"int8:expert", 1},
                                                                                              {"nf4:32", 3},
                                                                                              {"nf4:128", 3}}) {
        SCOPED_TRACE(text);
        ConvertOptions options(MOEQ_DIALECT_NATIVE, nullptr);
        const std::string rules = R"([{"match": "**.w2", "spec": ")" + std::string(text) + R"("}])";
        options.value.rules = rules.c_str();
        const std::string target = folder_.path(std::string("out-") + text);
        convert(context_, folder_.path(), target, options);
        std::ofstream(target + "/config.json") << R"({"model_type": "dbrx", "ffn_config": {"moe_num_experts": 3}})";
        const Reader reader = open_reader(context_, target);
        auto info = sized<moeq_stack_info>();
        MOEQ_EXPECT_OK(moeq_reader_get_stack(reader.get(), 0, &info, &ok));
        EXPECT_EQ(info.shape[0], experts);
        EXPECT_EQ(info.shape[1], 24 / experts);
        HostTensor whole(MOEQ_DTYPE_BF16, {24, 32});
        whole.fill(2);
        EXPECT_EQ(dequantize(load(reader, 0)), dequantize(quantize(context_, whole, text)));
    }
}

TEST_F(FamilyShapes, ExpertsThatAreRowsOfEmbeddingsAreCalledSo)
{
    const Reader reader =
        open(R"({"model_type": "doge", "is_moe": true})", {{"model.layers.0.mlp.down_embed.weight", {16, 8}}});
    EXPECT_NE(metadata(reader).find("\"odd_experts\": \"rows of embeddings\""), std::string::npos);
}

} // namespace
} // namespace moeq_test
