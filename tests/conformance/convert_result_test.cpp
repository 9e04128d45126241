// What moeq writes it opens again: names of the source that mean something in the target's dialect are refused before anything
// is written, and what has been written is looked at before it gets its name.
#include "conformance/convert_cases.h"

namespace moeq_test {
namespace {

constexpr const char* kAttention = "model.layers.0.self_attn.q_proj.weight";
constexpr const char* kBeside = "q_proj.weight_scale_inv";

struct Stray {
    const char* name;
    int32_t dtype;
    Shape shape;
    const char* spec;
    int32_t dialect;
    moeq_status status;
    const char* told; // in the message
    const char* rules = nullptr;
};

void PrintTo(const Stray& stray, std::ostream* out) { *out << stray.name << " for " << stray.spec; }

class ConvertResult : public ConvertFixture {
protected:
    // Linears of two experts, a dense weight of the attention, and one tensor more.
    void write_source(const Stray& stray) const
    {
        ContainerFile file;
        for (const int64_t expert : {0, 1})
            for (const char* name : {"gate", "up", "down"}) {
                HostTensor weight(MOEQ_DTYPE_BF16, {128, 128});
                weight.fill(static_cast<uint32_t>(expert + 1));
                file.add("model.layers.0.mlp.experts." + std::to_string(expert) + "." + name + "_proj.weight", weight);
            }
        HostTensor attention(MOEQ_DTYPE_BF16, {128, 128});
        attention.fill(7);
        file.add(kAttention, attention);
        HostTensor more(stray.dtype, stray.shape);
        file.add(stray.name, more);
        fs::create_directory(path("source"));
        folder_.write("source/model.safetensors", file.text());
        folder_.write("source/config.json", "{\"model_type\": \"qwen3_moe\"}");
    }

    void expect_refused(const Stray& stray)
    {
        write_source(stray);
        ConvertOptions options(stray.dialect, stray.spec);
        options.value.rules = stray.rules;
        const Error error = refused(context_, path("source"), path("target"), options, stray.status);
        const bool beside = contains(stray.name, kBeside); // the tensor beside it is named
        EXPECT_TRUE(contains(error.text(), beside ? kAttention : stray.name)) << error.text();
        EXPECT_TRUE(contains(error.text(), stray.told)) << error.text();
        EXPECT_FALSE(fs::exists(path("target.partial")));
        EXPECT_FALSE(fs::exists(path("target")));
        // Everything but the one tensor is fine, and native has no other meaning for it.
        if (stray.dialect != MOEQ_DIALECT_NATIVE) {
            convert(context_, path("source"), path("native"), ConvertOptions(MOEQ_DIALECT_NATIVE, "nf4"));
            (void)open_reader(context_, path("native"));
        }
    }
};

class StrayTensor : public ConvertResult, public testing::WithParamInterface<Stray> {};

TEST_P(StrayTensor, IsRefusedBeforeAnythingIsWritten) { expect_refused(GetParam()); }

constexpr const char* kExpert = "model.layers.0.mlp.experts.1.up_proj.weight";

INSTANTIATE_TEST_SUITE_P(OfEveryDialect, StrayTensor,
                         testing::Values(Stray{"model.layers.0.mlp.experts.1.up_proj.weight_scale_inv",
                                               MOEQ_DTYPE_FP32,
                                               {1, 1},
                                               "fp8_e4m3",
                                               MOEQ_DIALECT_HF_FP8,
                                               MOEQ_ERROR_DUPLICATE,
                                               kExpert},
                                         Stray{"model.layers.0.mlp.experts.1.up_proj.weight_scale",
                                               MOEQ_DTYPE_FP32,
                                               {128, 1},
                                               "int8",
                                               MOEQ_DIALECT_COMPRESSED_TENSORS,
                                               MOEQ_ERROR_DUPLICATE,
                                               kExpert},
                                         Stray{"model.layers.0.mlp.experts.1.up_proj.weight.absmax",
                                               MOEQ_DTYPE_FP32,
                                               {256},
                                               "nf4",
                                               MOEQ_DIALECT_BITSANDBYTES,
                                               MOEQ_ERROR_DUPLICATE,
                                               kExpert},
                                         Stray{"model.layers.0.mlp.experts.1.up_proj.weight_format",
                                               MOEQ_DTYPE_UINT8,
                                               {},
                                               "int8",
                                               MOEQ_DIALECT_BITSANDBYTES,
                                               MOEQ_ERROR_DUPLICATE,
                                               kExpert},
                                         Stray{"model.layers.0.mlp.experts.gate_up_proj.moeq.absmax",
                                               MOEQ_DTYPE_FP32,
                                               {4},
                                               "nf4",
                                               MOEQ_DIALECT_NATIVE,
                                               MOEQ_ERROR_DUPLICATE,
                                               "model.layers.0.mlp.experts.gate_up_proj"},
                                         Stray{"model.layers.0.mlp.experts.gate_up_proj",
                                               MOEQ_DTYPE_FP32,
                                               {4},
                                               "nf4",
                                               MOEQ_DIALECT_NATIVE,
                                               MOEQ_ERROR_DUPLICATE,
                                               "copied"}));

INSTANTIATE_TEST_SUITE_P(
    ThatMakesSomethingElse, StrayTensor,
    testing::Values(Stray{"model.layers.0.self_attn.q_proj.weight_scale_inv",
                          MOEQ_DTYPE_FP32,
                          {1, 1},
                          "fp8_e4m3",
                          MOEQ_DIALECT_HF_FP8,
                          MOEQ_ERROR_UNSUPPORTED,
                          "hf-fp8",
                          R"([{"match": "model.layers.0.self_attn.q_proj.weight", "spec": null}])"},
                    Stray{"model.norm.weight_scale_inv",
                          MOEQ_DTYPE_FP32,
                          {1},
                          "fp8_e4m3",
                          MOEQ_DIALECT_HF_FP8,
                          MOEQ_ERROR_UNSUPPORTED,
                          "scales without codes"},
                    Stray{"model.norm.weight.absmax",
                          MOEQ_DTYPE_FP32,
                          {1},
                          "int8",
                          MOEQ_DIALECT_BITSANDBYTES,
                          MOEQ_ERROR_UNSUPPORTED,
                          "quant_state"},
                    Stray{"model.layers.0.mlp.experts.1.up_proj.weight.weight",
                          MOEQ_DTYPE_FP32,
                          {1},
                          "fp4",
                          MOEQ_DIALECT_BITSANDBYTES,
                          MOEQ_ERROR_UNSUPPORTED,
                          "below a quantized weight"},
                    Stray{"model.norm.moeq.scale",
                          MOEQ_DTYPE_FP32,
                          {1},
                          "int8",
                          MOEQ_DIALECT_NATIVE,
                          MOEQ_ERROR_UNSUPPORTED,
                          "metadata"}));

// Two kinds of weights that config.json would not tell apart again are refused, or come out right.
TEST_F(ConvertResult, KindsThatAreMixedByRules)
{
    write_source({"model.norm.weight", MOEQ_DTYPE_BF16, {128}, nullptr, 0, MOEQ_OK, ""});
    ConvertOptions options(MOEQ_DIALECT_COMPRESSED_TENSORS, "fp8_e4m3:block128x128");
    options.value.rules = R"([{"match": "**.q_proj.weight", "spec": "fp8_e4m3:expert"}])"; // one scale either way
    Error error;
    const moeq_status status =
        moeq_convert(context_.get(), path("source").c_str(), path("target").c_str(), &options.value, &error);
    if (status != MOEQ_OK) {
        EXPECT_EQ(status, MOEQ_ERROR_UNSUPPORTED) << error.text();
        EXPECT_FALSE(fs::exists(path("target.partial")));
        return;
    }
    const Reader reader = open_reader(context_, path("target"));
    auto spec = sized<moeq_spec>();
    MOEQ_EXPECT_OK(moeq_reader_get_stack_spec(reader.get(), stack_index(reader, kAttention), &spec, &ok));
    EXPECT_EQ(spec.granularity, MOEQ_GRANULARITY_EXPERT);
}

TEST_F(ConvertResult, NamesThatAreTooLongAreRefused)
{
    const std::string name = "model.layers.0.mlp." + std::string(4000, 'x') + ".weight";
    write_source({name.c_str(), MOEQ_DTYPE_BF16, {64, 64}, nullptr, 0, MOEQ_OK, ""});
    ConvertOptions options(MOEQ_DIALECT_NATIVE, "nf4");
    options.value.rules = R"([{"match": "model.layers.0.mlp.xx*.weight", "spec": "int8"}])";
    (void)refused(context_, path("source"), path("target"), options, MOEQ_ERROR_LIMIT);
    EXPECT_FALSE(fs::exists(path("target.partial")));
}

// Halves that are quantized with one scale each are two stacks, of which each has all experts of both.
TEST_F(ConvertResult, AnExpertWithOneHalfIsMissing)
{
    ContainerFile file;
    const float scale = 0.5f;
    for (const std::string name : {"0.gate", "0.up", "1.gate", "1.up", "2.up"}) {
        const std::string weight = "model.layers.0.mlp.experts." + name + "_proj.weight";
        file.add(weight, MOEQ_DTYPE_FP8_E4M3FN, {16, 32}, Bytes(512, 0x30));
        file.add(weight + "_scale_inv", MOEQ_DTYPE_FP32, {}, &scale, sizeof scale);
    }
    fs::create_directory(path("source"));
    folder_.write("source/model.safetensors", file.text());
    folder_.write("source/config.json", R"({"model_type": "qwen3_moe", "quantization_config":
        {"quant_method": "fp8", "weight_block_size": null}})");
    const Error error = refused(context_, path("source"), path("target"), options_, MOEQ_ERROR_INCOMPLETE);
    EXPECT_TRUE(contains(error.text(), "gate_proj")) << error.text();
    EXPECT_TRUE(contains(error.text(), "expert 2")) << error.text();
}

// What another writer puts there between the last check of a unit and the rename.
TEST_F(ConvertResult, WhatIsNotAsPlannedGetsNoName)
{
    for (const char* found : {"not a container", ""}) {
        convert(context_, kTiny, path("target"), steps(MOEQ_CONVERT_UNITS));
        struct Change {
            std::string file, bytes;
        } change{path("target.partial/" + std::string("model-00001-of-00009.safetensors")), found};
        for (const auto& entry : fs::directory_iterator(path("target.partial")))
            if (contains(entry.path().filename().string(), "model-00001-"))
                change.file = entry.path().string();
        if (change.bytes.empty()) {
            ContainerFile other;
            HostTensor weight(MOEQ_DTYPE_BF16, {2, 2});
            other.add("another.weight", weight);
            change.bytes = other.text();
        }
        options_.value.progress_user = &change;
        options_.value.progress = [](const moeq_progress* progress, void* user) -> int32_t {
            const auto* to = static_cast<const Change*>(user);
            if (progress->stage == MOEQ_STAGE_VERIFY)
                std::ofstream(to->file, std::ios::binary) << to->bytes;
            return MOEQ_CONTINUE;
        };
        const Error error = refused(context_, kTiny, path("target"), steps(MOEQ_CONVERT_FINISH), MOEQ_ERROR_MISMATCH);
        EXPECT_TRUE(contains(error.text(), "model-00001-")) << error.text();
        EXPECT_FALSE(fs::exists(path("target")));
        EXPECT_FALSE(fs::exists(path("target.partial/moeq_report.json")));
        options_.value.progress = nullptr;
        convert(context_, kTiny, path("target"), steps(0)); // the unit is done again
        (void)open_reader(context_, path("target"));
        fs::remove_all(path("target"));
    }
}

} // namespace
} // namespace moeq_test
