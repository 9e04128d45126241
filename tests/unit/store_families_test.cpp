// The table of families on names that real checkpoints have.
#include <gtest/gtest.h>

#include "store/model/families.h"
#include "store_names.h"

namespace moeq_test {
namespace {

using moeq::store::Cut;
using moeq::store::Part;

struct Row {
    const char* model_type; // or all of config.json
    const char* name;
    int32_t ndim;
    const char* stack; // NULL: no expert weight
    Part part;
    int32_t axis;
    int32_t layout;
    Cut cut;
};

constexpr int32_t kPlain = MOEQ_LAYOUT_PLAIN;
constexpr int32_t kGateUp = MOEQ_LAYOUT_GATE_UP;
constexpr int32_t kPairs = MOEQ_LAYOUT_GATE_UP_INTERLEAVED;
constexpr Part kWhole = Part::kWhole;
constexpr Cut kOut = Cut::kOutput;
constexpr Cut kIn = Cut::kContraction;

constexpr char kErnie[] = R"({"model_type": "ernie4_5_vl_moe", "moe_num_experts": [64, 32]})";
constexpr char kDbrx[] = R"({"model_type": "dbrx", "ffn_config": {"moe_num_experts": 16}})";

const Row kRows[] = {
    {"mixtral", "model.layers.0.block_sparse_moe.experts.7.w1.weight", 2,
     "model.layers.0.block_sparse_moe.experts.gate_up_proj", Part::kGate, -1, kGateUp, kOut},
    {"mixtral", "model.layers.0.block_sparse_moe.experts.7.w3.weight", 2,
     "model.layers.0.block_sparse_moe.experts.gate_up_proj", Part::kUp, -1, kGateUp, kOut},
    {"mixtral", "model.layers.0.block_sparse_moe.experts.7.w2.weight", 2,
     "model.layers.0.block_sparse_moe.experts.down_proj", kWhole, -1, kPlain, kIn},
    {"mixtral", "model.layers.0.mlp.experts.gate_up_proj", 3, "model.layers.0.mlp.experts.gate_up_proj", kWhole, -1,
     kGateUp, kOut},
    {"mixtral", "model.layers.0.mlp.experts.down_proj", 3, "model.layers.0.mlp.experts.down_proj", kWhole, -1, kPlain,
     kIn},
    {"mixtral", "model.layers.0.block_sparse_moe.gate.weight", 2, nullptr, kWhole, 0, 0, kOut},
    {"qwen2_moe", "model.layers.2.mlp.experts.59.gate_proj.weight", 2, "model.layers.2.mlp.experts.gate_up_proj",
     Part::kGate, -1, kGateUp, kOut},
    {"qwen2_moe", "model.layers.2.mlp.shared_expert.gate_proj.weight", 2, nullptr, kWhole, 0, 0, kOut},
    {"qwen3_moe", "model.layers.47.mlp.experts.127.up_proj.weight", 2, "model.layers.47.mlp.experts.gate_up_proj",
     Part::kUp, -1, kGateUp, kOut},
    {"qwen3_moe", "model.layers.47.mlp.experts.127.down_proj.weight", 2, "model.layers.47.mlp.experts.down_proj",
     kWhole, -1, kPlain, kIn},
    {"qwen3_next", "mtp.layers.0.mlp.experts.511.up_proj.weight", 2, "mtp.layers.0.mlp.experts.gate_up_proj", Part::kUp,
     -1, kGateUp, kOut},
    {"qwen3_5_moe", "model.language_model.layers.0.mlp.experts.gate_up_proj", 3,
     "model.language_model.layers.0.mlp.experts.gate_up_proj", kWhole, -1, kGateUp, kOut},
    {"qwen3_vl_moe", "model.language_model.layers.0.mlp.experts.gate_up_proj", 3,
     "model.language_model.layers.0.mlp.experts.gate_up_proj", kWhole, -2, kGateUp, kOut},
    {"qwen3_vl_moe", "model.language_model.layers.0.mlp.experts.down_proj", 3,
     "model.language_model.layers.0.mlp.experts.down_proj", kWhole, -2, kPlain, kIn},
    {"qwen3_omni_moe", "thinker.model.layers.0.mlp.experts.3.gate_proj.weight", 2,
     "thinker.model.layers.0.mlp.experts.gate_up_proj", Part::kGate, -1, kGateUp, kOut},
    {"olmoe", "model.layers.0.mlp.experts.63.down_proj.weight", 2, "model.layers.0.mlp.experts.down_proj", kWhole, -1,
     kPlain, kIn},
    {"deepseek_v2", "model.layers.1.mlp.experts.159.gate_proj.weight", 2, "model.layers.1.mlp.experts.gate_up_proj",
     Part::kGate, -1, kGateUp, kOut},
    {"deepseek_v3", "model.layers.61.mlp.experts.255.up_proj.weight", 2, "model.layers.61.mlp.experts.gate_up_proj",
     Part::kUp, -1, kGateUp, kOut},
    {"deepseek_v3", "model.layers.61.mlp.shared_experts.up_proj.weight", 2, nullptr, kWhole, 0, 0, kOut},
    {"deepseek_v4", "layers.3.ffn.experts.2.w1.weight", 2, "layers.3.ffn.experts.gate_up_proj", Part::kGate, -1,
     kGateUp, kOut},
    {"glm4_moe", "model.layers.1.mlp.experts.5.down_proj.weight", 2, "model.layers.1.mlp.experts.down_proj", kWhole, -1,
     kPlain, kIn},
    {"glm4_moe", "model.layers.1.mlp.experts.gate_up_proj", 3, "model.layers.1.mlp.experts.gate_up_proj", kWhole, -1,
     kGateUp, kOut},
    {"gpt_oss", "model.layers.0.mlp.experts.gate_up_proj", 3, "model.layers.0.mlp.experts.gate_up_proj", kWhole, -2,
     kPairs, kOut},
    {"gpt_oss", "model.layers.0.mlp.experts.down_proj", 3, "model.layers.0.mlp.experts.down_proj", kWhole, -2, kPlain,
     kIn},
    {"gpt_oss", "model.layers.0.mlp.experts.gate_up_proj_bias", 2, nullptr, kWhole, 0, 0, kOut},
    {"llama4", "language_model.model.layers.1.feed_forward.experts.gate_up_proj", 3,
     "language_model.model.layers.1.feed_forward.experts.gate_up_proj", kWhole, -2, kGateUp, kOut},
    {"llama4", "language_model.model.layers.1.feed_forward.experts.down_proj", 3,
     "language_model.model.layers.1.feed_forward.experts.down_proj", kWhole, -2, kPlain, kIn},
    {"aria", "language_model.model.layers.0.mlp.experts.fc1.weight", 3,
     "language_model.model.layers.0.mlp.experts.gate_up_proj", kWhole, -2, kGateUp, kOut},
    {"phimoe", "model.layers.0.block_sparse_moe.experts.15.w2.weight", 2,
     "model.layers.0.block_sparse_moe.experts.down_proj", kWhole, -1, kPlain, kIn},
    {"granitemoe", "model.layers.0.block_sparse_moe.input_linear.weight", 3,
     "model.layers.0.block_sparse_moe.experts.gate_up_proj", kWhole, -1, kGateUp, kOut},
    {"granitemoe", "model.layers.0.block_sparse_moe.output_linear.weight", 3,
     "model.layers.0.block_sparse_moe.experts.down_proj", kWhole, -1, kPlain, kIn},
    {"granitemoehybrid", "model.layers.0.block_sparse_moe.experts.gate_up_proj", 3,
     "model.layers.0.block_sparse_moe.experts.gate_up_proj", kWhole, -1, kGateUp, kOut},
    {"jamba", "model.layers.1.feed_forward.experts.0.gate_proj.weight", 2,
     "model.layers.1.feed_forward.experts.gate_up_proj", Part::kGate, -1, kGateUp, kOut},
    {"lfm2_moe", "model.layers.2.feed_forward.experts.1.w3.weight", 2,
     "model.layers.2.feed_forward.experts.gate_up_proj", Part::kUp, -1, kGateUp, kOut},
    {"minimax", "model.layers.0.block_sparse_moe.experts.31.w1.weight", 2,
     "model.layers.0.block_sparse_moe.experts.gate_up_proj", Part::kGate, -1, kGateUp, kOut},
    {"minimax_m2", "model.layers.0.block_sparse_moe.experts.255.w2.weight", 2,
     "model.layers.0.block_sparse_moe.experts.down_proj", kWhole, -1, kPlain, kIn},
    {"ernie4_5_moe", "model.layers.1.mlp.experts.0.up_proj.weight", 2, "model.layers.1.mlp.experts.gate_up_proj",
     Part::kUp, -1, kGateUp, kOut},
    {"hunyuan_v1_moe", "model.layers.0.mlp.experts.63.gate_proj.weight", 2, "model.layers.0.mlp.experts.gate_up_proj",
     Part::kGate, -1, kGateUp, kOut},
    {"nemotron_h", "backbone.layers.1.mixer.experts.0.up_proj.weight", 2, "backbone.layers.1.mixer.experts.up_proj",
     kWhole, -1, kPlain, kOut},
    {"step3p7", "model.layers.4.moe.up_proj.weight", 3, "model.layers.4.moe.gate_up_proj", Part::kUp, -1, kGateUp,
     kOut},
    // Text experts, then vision experts, numbered through; of a config.json that does not say how many nothing is known.
    {"ernie4_5_vl_moe", "model.layers.1.mlp.experts.0.up_proj.weight", 2, nullptr, kWhole, 0, 0, kOut},
    {kErnie, "model.layers.1.mlp.experts.63.up_proj.weight", 2, "model.layers.1.mlp.text_moe.experts.gate_up_proj",
     Part::kUp, -1, kGateUp, kOut},
    {kErnie, "model.layers.1.mlp.experts.64.gate_proj.weight", 2, "model.layers.1.mlp.vision_moe.experts.gate_up_proj",
     Part::kGate, -1, kGateUp, kOut},
    {kErnie, "model.layers.1.mlp.experts.95.down_proj.weight", 2, "model.layers.1.mlp.vision_moe.experts.down_proj",
     kWhole, -1, kPlain, kIn},
    {kErnie, "model.layers.1.mlp.experts.96.down_proj.weight", 2, nullptr, kWhole, 0, 0, kOut},
    {"ernie4_5_vl_moe_text", "model.language_model.layers.1.mlp.vision_moe.experts.gate_up_proj", 3,
     "model.language_model.layers.1.mlp.vision_moe.experts.gate_up_proj", kWhole, -1, kGateUp, kOut},
    // Halves under the usual names: the type is all that has to be known.
    {"diffusion_gemma", "model.decoder.layers.0.experts.gate_up_proj", 3, "model.decoder.layers.0.experts.gate_up_proj",
     kWhole, -1, kGateUp, kOut},
    {"diffusion_gemma_text", "model.decoder.layers.0.experts.down_proj", 3, "model.decoder.layers.0.experts.down_proj",
     kWhole, -1, kPlain, kIn},
    {"hy_v4_vl", "model.layers.1.mlp.experts.gate_up_proj", 3, "model.layers.1.mlp.experts.gate_up_proj", kWhole, -1,
     kGateUp, kOut},
    {"zaya", "model.layers.1.mlp.experts.down_proj", 3, "model.layers.1.mlp.experts.down_proj", kWhole, -1, kPlain,
     kIn},
    {"muse_spark", "model.language_model.layers.1.mlp.experts.gate_up_proj", 3,
     "model.language_model.layers.1.mlp.experts.gate_up_proj", kWhole, -1, kGateUp, kOut},
    // In turns along the rows; shared experts beside them are none that are routed.
    {"inkling_mm_model", "model.llm.layers.1.mlp.experts.w13_weight", 3, "model.llm.layers.1.mlp.experts.gate_up_proj",
     kWhole, -1, kPairs, kOut},
    {"inkling2_text", "model.llm.layers.1.mlp.experts.w2_weight", 3, "model.llm.layers.1.mlp.experts.down_proj", kWhole,
     -1, kPlain, kIn},
    {"inkling2_loop", "model.llm.layers.1.mlp.experts.shared_w13_weight", 3, nullptr, kWhole, 0, 0, kOut},
    {"inkling2", "model.language_model.layers.1.mlp.experts.gate_up_proj", 3,
     "model.language_model.layers.1.mlp.experts.gate_up_proj", kWhole, -1, kGateUp, kOut},
    {"jetmoe", "model.layers.0.mlp.input_linear.weight", 3, "model.layers.0.mlp.experts.gate_up_proj", kWhole, -1,
     kGateUp, kOut},
    {"jetmoe", "model.layers.0.mlp.output_linear.weight", 3, "model.layers.0.mlp.experts.down_proj", kWhole, -1, kPlain,
     kIn},
    {"jetmoe", "model.layers.0.self_attention.experts.input_linear.weight", 3,
     "model.layers.0.self_attention.experts.up_proj", kWhole, -1, kPlain, kOut},
    {"jetmoe", "model.layers.0.self_attention.experts.output_linear.weight", 3,
     "model.layers.0.self_attention.experts.down_proj", kWhole, -1, kPlain, kIn},
    {"nemo_speechlm", "llm.model.layers.1.mixer.experts.gate_and_up_projs", 3,
     "llm.model.layers.1.mixer.experts.up_proj", kWhole, -2, kPlain, kOut},
    {"nemo_speechlm", "llm.model.layers.1.mixer.experts.down_projs", 3, "llm.model.layers.1.mixer.experts.down_proj",
     kWhole, -2, kPlain, kIn},
    {"nemo_speechlm", "model.language_model.layers.1.mixer.experts.3.up_proj.weight", 2,
     "model.language_model.layers.1.mixer.experts.up_proj", kWhole, -1, kPlain, kOut},
    {kDbrx, "transformer.blocks.0.ffn.experts.mlp.w1", 2, "transformer.blocks.0.ffn.experts.gate_up_proj", Part::kGate,
     -1, kGateUp, kOut},
    {kDbrx, "transformer.blocks.0.ffn.experts.mlp.v1", 2, "transformer.blocks.0.ffn.experts.gate_up_proj", Part::kUp,
     -1, kGateUp, kOut},
    {kDbrx, "transformer.blocks.0.ffn.experts.mlp.w2", 2, "transformer.blocks.0.ffn.experts.down_proj", kWhole, -2,
     kPlain, kIn},
    {"dbrx", "transformer.blocks.0.ffn.experts.mlp.w1", 2, nullptr, kWhole, 0, 0, kOut},
    {"nllb-moe", "model.decoder.layers.3.ffn.experts.expert_127.fc1.weight", 2,
     "model.decoder.layers.3.ffn.experts.up_proj", kWhole, -1, kPlain, kOut},
    {"nllb-moe", "model.encoder.layers.3.ffn.experts.expert_0.fc2.weight", 2,
     "model.encoder.layers.3.ffn.experts.down_proj", kWhole, -1, kPlain, kIn},
    {"nllb-moe", "model.encoder.layers.2.ffn.fc1.weight", 2, nullptr, kWhole, 0, 0, kOut},
    {"switch_transformers", "encoder.block.1.layer.1.mlp.experts.expert_7.wi.weight", 2,
     "encoder.block.1.layer.1.mlp.experts.up_proj", kWhole, -1, kPlain, kOut},
    {"switch_transformers", "decoder.block.1.layer.2.mlp.experts.expert_7.wo.weight", 2,
     "decoder.block.1.layer.2.mlp.experts.down_proj", kWhole, -1, kPlain, kIn},
    {"vitpose", "backbone.encoder.layer.0.mlp.experts.5.weight", 2, "backbone.encoder.layer.0.mlp.experts.down_proj",
     kWhole, -1, kPlain, kIn},
    {"mixtral", "encoder.layer.0.mlp.experts.5.weight", 2, nullptr, kWhole, 0, 0, kOut},
    {"dots3_note", "vision_encoder.blocks.30.mlp.experts.2.fc1.weight", 2,
     "vision_encoder.blocks.30.mlp.experts.gate_up_proj", Part::kGate, -1, kGateUp, kOut},
    {"dots3_note", "vision_encoder.blocks.30.mlp.experts.2.fc3.weight", 2,
     "vision_encoder.blocks.30.mlp.experts.gate_up_proj", Part::kUp, -1, kGateUp, kOut},
    {"dots3_note", "vision_encoder.blocks.30.mlp.experts.2.fc2.weight", 2,
     "vision_encoder.blocks.30.mlp.experts.down_proj", kWhole, -1, kPlain, kIn},
    {"dots3_note", "model.layers.1.mlp.experts.2.down_proj.weight", 2, "model.layers.1.mlp.experts.down_proj", kWhole,
     -1, kPlain, kIn},
    {"step3_vl", "model.layers.4.moe.gate_proj.weight", 3, "model.layers.4.moe.gate_up_proj", Part::kGate, -1, kGateUp,
     kOut},
    {"doge", "model.layers.0.mlp.down_embed.weight", 2, nullptr, kWhole, 0, 0, kOut},
    // Of no class of transformers', for every type.
    {"qwen3_moe", "model.layers.0.mlp.switch_mlp.gate_proj.weight", 3, "model.layers.0.mlp.experts.gate_up_proj",
     Part::kGate, -1, kGateUp, kOut},
    {"", "model.layers.0.mlp.switch_mlp.down_proj.weight", 3, "model.layers.0.mlp.experts.down_proj", kWhole, -1,
     kPlain, kIn},
    {"grok-1", "model.layers.0.moe_block.experts.7.linear.weight", 2, "model.layers.0.moe_block.experts.gate_up_proj",
     Part::kGate, -1, kGateUp, kOut},
    {"", "model.layers.0.moe_block.experts.7.linear_v.weight", 2, "model.layers.0.moe_block.experts.gate_up_proj",
     Part::kUp, -1, kGateUp, kOut},
    {"", "model.layers.0.moe_block.experts.7.linear_1.weight", 2, "model.layers.0.moe_block.experts.down_proj", kWhole,
     -1, kPlain, kIn},
    // No model type: names that leave no doubt, and no others.
    {"", "model.layers.0.mlp.experts.0.gate_proj.weight", 2, "model.layers.0.mlp.experts.gate_up_proj", Part::kGate, -1,
     kGateUp, kOut},
    {"", "model.layers.0.mlp.experts.gate_up_proj", 3, nullptr, kWhole, 0, 0, kOut},
    {"some_new_moe", "model.layers.0.mlp.experts.gate_up_proj", 3, nullptr, kWhole, 0, 0, kOut},
    {"some_new_moe", "model.layers.0.mlp.experts.9.w2.weight", 2, "model.layers.0.mlp.experts.down_proj", kWhole, -1,
     kPlain, kIn},
    {"qwen3", "model.layers.0.mlp.gate_proj.weight", 2, nullptr, kWhole, 0, 0, kOut},
};

TEST(Families, EveryNameGoesWhereItBelongs)
{
    for (const Row& row : kRows) {
        SCOPED_TRACE(std::string(row.model_type) + ": " + row.name);
        CountedMemory memory;
        moeq::store::Rules rules(memory.allocator);
        Outcome outcome;
        const Config config(row.model_type);
        ASSERT_EQ(rules.collect(config.root(), nullptr, 3, outcome.report), MOEQ_OK);
        moeq::store::PatternMatch match;
        const std::string name = row.name;
        const moeq::store::Rule* rule = rules.find(name.c_str(), static_cast<int64_t>(name.size()), row.ndim, &match);
        if (row.stack == nullptr) {
            EXPECT_EQ(rule, nullptr);
            continue;
        }
        ASSERT_NE(rule, nullptr);
        EXPECT_EQ(filled(rule->stack, match), row.stack);
        EXPECT_EQ(rule->part, row.part);
        EXPECT_EQ(rule->scale_axis, row.axis);
        EXPECT_EQ(rule->layout, row.layout);
        EXPECT_EQ(rule->cut, row.cut);
    }
}

// Saved as it is in memory, nearly every family has its experts so.
TEST(Families, TypesWhoseMemoryFormIsHalves)
{
    const char* const kTypes[] = {"axk1",
                                  "axk2",
                                  "bailing_hybrid",
                                  "beam",
                                  "deepseek_ocr2",
                                  "deepseek_ocr2_text",
                                  "diffusion_gemma",
                                  "diffusion_gemma_text",
                                  "dots3_note",
                                  "dots3_note_text",
                                  "ernie4_5_vl_moe",
                                  "ernie4_5_vl_moe_text",
                                  "flint",
                                  "hy_v3",
                                  "hy_v4",
                                  "hy_v4_vl",
                                  "hy_v4_vl_text",
                                  "inkling_mm_model",
                                  "inkling_text",
                                  "inkling2",
                                  "inkling2_text",
                                  "inkling2_loop",
                                  "inkling2_loop_text",
                                  "kolibri1",
                                  "laguna",
                                  "lara_mini",
                                  "mellum",
                                  "mistral4",
                                  "mistral_large4",
                                  "mistral_large4_text",
                                  "muse_spark",
                                  "muse_spark_text",
                                  "qwen4_exp",
                                  "qwen4_exp_text",
                                  "sarvam_mla",
                                  "sarvam_moe",
                                  "unlimited_ocr",
                                  "unlimited_ocr_text",
                                  "zaya"};
    for (const char* type : kTypes) {
        SCOPED_TRACE(type);
        CountedMemory memory;
        moeq::store::Rules rules(memory.allocator);
        Outcome outcome;
        // The text model's type counts as well as that of the whole.
        for (const std::string& given : {std::string(type), R"({"model_type": "x", "text_config": {"model_type": ")" +
                                                                std::string(type) + R"("}})"}) {
            const Config config(given);
            ASSERT_EQ(rules.collect(config.root(), nullptr, 3, outcome.report), MOEQ_OK);
            moeq::store::PatternMatch match;
            const std::string name = "model.layers.1.mlp.experts.gate_up_proj";
            const moeq::store::Rule* rule = rules.find(name.c_str(), static_cast<int64_t>(name.size()), 3, &match);
            ASSERT_NE(rule, nullptr);
            EXPECT_EQ(rule->scale_axis, -1);
            EXPECT_EQ(rule->layout, MOEQ_LAYOUT_GATE_UP);
        }
    }
}

// Found by loading every type without moeq (tests/python/families).
TEST(Families, TypesThatHaveNoPlaceForStacks)
{
    for (const char* type : {"dbrx", "jetmoe", "nllb-moe", "switch_transformers", "vitpose_backbone", "grok-1"}) {
        const moeq::store::Family* family = moeq::store::find_family(type, "");
        ASSERT_NE(family, nullptr) << type;
        EXPECT_TRUE(family->unplaced) << type;
    }
    for (const char* type : {"mixtral", "gpt_oss", "diffusion_gemma", "muse_spark", "qwen3_moe", "doge"}) {
        const moeq::store::Family* family = moeq::store::find_family(type, "");
        ASSERT_NE(family, nullptr) << type;
        EXPECT_FALSE(family->unplaced) << type;
    }
}

} // namespace
} // namespace moeq_test
