// What linears are called that are made of a stack: as the family's loader wants them.
#include <gtest/gtest.h>

#include <cstring>

#include "store/model/linear_names.h"
#include "store_names.h"

namespace moeq_test {
namespace {

using moeq::store::Part;

constexpr Part kWhole = Part::kWhole;

struct NameRow {
    const char* model_type;
    const char* stack;
    Part part;
    moeq::store::Linears linears;
    const char* name; // of expert 7
};

constexpr moeq::store::Linears kLoaded = moeq::store::Linears::kLoaded;
constexpr moeq::store::Linears kNoLinears = moeq::store::Linears::kNone;
constexpr moeq::store::Linears kUnknownLinears = moeq::store::Linears::kUnknown;

// What the converters of transformers look for, and what released files have.
const NameRow kNameRows[] = {
    {"mixtral", "model.layers.0.mlp.experts.gate_up_proj", Part::kGate, kLoaded,
     "model.layers.0.block_sparse_moe.experts.7.w1.weight"},
    {"mixtral", "model.layers.0.mlp.experts.gate_up_proj", Part::kUp, kLoaded,
     "model.layers.0.block_sparse_moe.experts.7.w3.weight"},
    {"mixtral", "model.layers.0.block_sparse_moe.experts.down_proj", kWhole, kLoaded,
     "model.layers.0.block_sparse_moe.experts.7.w2.weight"},
    {"phimoe", "model.layers.0.block_sparse_moe.experts.gate_proj", kWhole, kLoaded,
     "model.layers.0.block_sparse_moe.experts.7.w1.weight"},
    {"kimi_linear", "model.layers.1.mlp.experts.up_proj", kWhole, kLoaded,
     "model.layers.1.block_sparse_moe.experts.7.w3.weight"},
    {"lfm2_moe", "model.layers.2.feed_forward.experts.gate_up_proj", Part::kUp, kLoaded,
     "model.layers.2.feed_forward.experts.7.w3.weight"},
    {"deepseek_v4", "model.layers.3.mlp.experts.down_proj", kWhole, kLoaded, "model.layers.3.ffn.experts.7.w2.weight"},
    {"deepseek_v4", "layers.3.ffn.experts.gate_up_proj", Part::kGate, kLoaded, "layers.3.ffn.experts.7.w1.weight"},
    {"qwen3_moe", "model.layers.0.mlp.experts.gate_up_proj", Part::kGate, kLoaded,
     "model.layers.0.mlp.experts.7.gate_proj.weight"},
    {"jamba", "model.layers.1.feed_forward.experts.down_proj", kWhole, kLoaded,
     "model.layers.1.feed_forward.experts.7.down_proj.weight"},
    {"nemotron_h", "backbone.layers.1.mixer.experts.up_proj", kWhole, kLoaded,
     "backbone.layers.1.mixer.experts.7.up_proj.weight"},
    {"llama4", "language_model.model.layers.1.feed_forward.experts.gate_up_proj", Part::kUp,
     moeq::store::Linears::kReplaced, "language_model.model.layers.1.feed_forward.experts.7.up_proj.weight"},
    {"gpt_oss", "model.layers.0.mlp.experts.gate_up_proj", Part::kGate, kNoLinears,
     "model.layers.0.mlp.experts.7.gate_proj.weight"},
    {"granitemoe", "model.layers.0.block_sparse_moe.experts.down_proj", kWhole, kNoLinears,
     "model.layers.0.block_sparse_moe.experts.7.down_proj.weight"},
    {"step3p7", "model.layers.0.moe.gate_up_proj", Part::kUp, kNoLinears, "model.layers.0.moe.7.up_proj.weight"},
    {"mistral_large4", "layers.1.experts.gate_up_proj", Part::kUp, kLoaded, "layers.1.experts.7.w3.weight"},
    {"mistral_large4", "model.language_model.layers.1.mlp.experts.down_proj", kWhole, kLoaded,
     "model.language_model.layers.1.experts.7.w2.weight"},
    {"nemo_speechlm", "llm.model.layers.1.mixer.experts.up_proj", kWhole, kLoaded,
     "llm.model.layers.1.mixer.experts.7.up_proj.weight"},
    {"nemo_speechlm", "llm.model.layers.1.mixer.experts.down_proj", kWhole, kLoaded,
     "llm.model.layers.1.mixer.experts.7.down_proj.weight"},
    {"switch_transformers", "encoder.block.1.layer.1.mlp.experts.up_proj", kWhole, kLoaded,
     "encoder.block.1.layer.1.mlp.experts.expert_7.wi.weight"},
    {"nllb-moe", "model.encoder.layers.3.ffn.experts.down_proj", kWhole, kLoaded,
     "model.encoder.layers.3.ffn.experts.expert_7.fc2.weight"},
    {"vitpose_backbone", "encoder.layer.0.mlp.experts.down_proj", kWhole, kLoaded,
     "encoder.layer.0.mlp.experts.7.weight"},
    {"dots3_note", "vision_encoder.blocks.30.mlp.experts.gate_up_proj", Part::kUp, kLoaded,
     "vision_encoder.blocks.30.mlp.experts.7.fc3.weight"},
    {"dots3_note", "model.vision_tower.blocks.30.mlp.experts.down_proj", kWhole, kLoaded,
     "model.vision_tower.blocks.30.mlp.experts.7.fc2.weight"},
    {"dots3_note", "model.language_model.layers.1.mlp.experts.down_proj", kWhole, kLoaded,
     "model.language_model.layers.1.mlp.experts.7.down_proj.weight"},
    {"ernie4_5_vl_moe", "model.layers.1.mlp.text_moe.experts.gate_up_proj", Part::kGate, kLoaded,
     "model.layers.1.mlp.experts.7.gate_proj.weight"},
    {"ernie4_5_vl_moe", "model.layers.1.mlp.vision_moe.experts.down_proj", kWhole, kLoaded,
     "model.layers.1.mlp.experts.71.down_proj.weight"}, // behind 64 text experts
    {"grok-1", "model.layers.0.moe_block.experts.gate_up_proj", Part::kUp, kLoaded,
     "model.layers.0.moe_block.experts.7.linear_v.weight"},
    {"dbrx", "transformer.blocks.0.ffn.experts.down_proj", kWhole, kNoLinears,
     "transformer.blocks.0.ffn.experts.7.down_proj.weight"},
    {"glm4v_moe_text", "layers.1.mlp.experts.down_proj", kWhole, kNoLinears, "layers.1.mlp.experts.7.down_proj.weight"},
    // Nothing is known: the type, the holder, the leaf.
    {"some_new_moe", "model.layers.0.mlp.experts.gate_up_proj", Part::kUp, kUnknownLinears,
     "model.layers.0.mlp.experts.7.up_proj.weight"},
    {"mixtral", "model.layers.0.other.gate_up_proj", Part::kGate, kUnknownLinears,
     "model.layers.0.other.7.gate_proj.weight"},
    {"mixtral", "model.layers.0.mlp.experts.w_in", kWhole, kUnknownLinears, "model.layers.0.mlp.experts.7.w_in.weight"},
    {"", "w", kWhole, kUnknownLinears, "7.w.weight"},
};

TEST(Families, LinearsAreNamedAsTheirLoaderWantsThem)
{
    for (const NameRow& row : kNameRows) {
        SCOPED_TRACE(std::string(row.model_type) + ": " + row.stack);
        CountedMemory memory;
        moeq::store::Rules rules(memory.allocator);
        Outcome outcome;
        const Config config(row.model_type);
        ASSERT_EQ(rules.collect(config.root(), nullptr, 3, outcome.report), MOEQ_OK);
        const int64_t length = static_cast<int64_t>(std::strlen(row.stack));
        EXPECT_EQ(moeq::store::linears_of(rules.family(), row.stack, length), row.linears);
        moeq::Array<char> name(memory.allocator);
        ASSERT_TRUE(moeq::store::append_linear_name(rules.family(), 64, {row.stack, length, 7, row.part}, &name));
        EXPECT_EQ(std::string(name.data(), static_cast<size_t>(name.size())), row.name);
    }
}

std::string leaf_of(const std::string& name) { return name.substr(name.rfind('.') + 1); }

// What is written so is read as the same experts of the same stack.
TEST(Families, LinearsAreFoundAgain)
{
    for (const NameRow& row : kNameRows) {
        if (row.linears == kUnknownLinears)
            continue;
        SCOPED_TRACE(std::string(row.model_type) + ": " + row.name);
        CountedMemory memory;
        moeq::store::Rules rules(memory.allocator);
        Outcome outcome;
        const std::string type = row.model_type;
        const Config config(R"({"model_type": ")" + type + R"(", "moe_num_experts": 64})");
        ASSERT_EQ(rules.collect(config.root(), nullptr, 3, outcome.report), MOEQ_OK);
        moeq::store::PatternMatch match;
        const std::string name = row.name;
        const moeq::store::Rule* rule = rules.find(name.c_str(), static_cast<int64_t>(name.size()), 2, &match);
        ASSERT_NE(rule, nullptr);
        EXPECT_EQ(match.expert - rule->first_expert, 7);
        // The holder may have become that of released files; a half is a part of what its own name does not say.
        const std::string found = leaf_of(filled(rule->stack, match));
        const bool half = row.part == kWhole && rule->part != kWhole;
        EXPECT_EQ(half ? (rule->part == Part::kUp ? "up_proj" : "gate_proj") : found, leaf_of(row.stack));
        EXPECT_EQ(rule->part, half ? rule->part : row.part);
    }
}

// ---- names of fused weights in files that are not moeq's

struct FusedRow {
    const char* model_type;
    const char* stack;
    int32_t layout;
    int32_t axis;
    const char* name; // NULL: they have it in several tensors
};

const FusedRow kFusedRows[] = {
    {"mixtral", "model.layers.0.mlp.experts.gate_up_proj", MOEQ_LAYOUT_GATE_UP, -1,
     "model.layers.0.mlp.experts.gate_up_proj"},
    {"mixtral", "model.layers.0.mlp.experts.gate_up_proj", MOEQ_LAYOUT_GATE_UP, -2, nullptr},
    {"qwen3_vl_moe", "model.layers.0.mlp.experts.down_proj", MOEQ_LAYOUT_PLAIN, -1,
     "model.layers.0.mlp.experts.down_proj"},
    {"qwen3_vl_moe", "model.layers.0.mlp.experts.down_proj", MOEQ_LAYOUT_PLAIN, -2,
     "model.layers.0.mlp.experts.down_proj"},
    {"granitemoe", "model.layers.0.block_sparse_moe.experts.down_proj", MOEQ_LAYOUT_PLAIN, -1,
     "model.layers.0.block_sparse_moe.experts.down_proj"},
    // How it lies is told by its name.
    {"inkling2", "model.llm.layers.0.mlp.experts.gate_up_proj", MOEQ_LAYOUT_GATE_UP_INTERLEAVED, -1,
     "model.llm.layers.0.mlp.experts.w13_weight"},
    {"inkling2", "model.llm.layers.0.mlp.experts.gate_up_proj", MOEQ_LAYOUT_GATE_UP, -1,
     "model.llm.layers.0.mlp.experts.gate_up_proj"},
    {"inkling2", "model.llm.layers.0.mlp.experts.gate_up_proj", MOEQ_LAYOUT_UP_GATE, -1, nullptr},
    {"nemo_speechlm", "llm.model.layers.0.mixer.experts.up_proj", MOEQ_LAYOUT_PLAIN, -2,
     "llm.model.layers.0.mixer.experts.gate_and_up_projs"},
    {"nemo_speechlm", "llm.model.layers.0.mixer.experts.up_proj", MOEQ_LAYOUT_PLAIN, -1,
     "llm.model.layers.0.mixer.experts.up_proj"},
    {"jetmoe", "model.layers.0.mlp.experts.gate_up_proj", MOEQ_LAYOUT_GATE_UP, -1,
     "model.layers.0.mlp.input_linear.weight"},
    {"jetmoe", "model.layers.0.self_attention.experts.down_proj", MOEQ_LAYOUT_PLAIN, -1,
     "model.layers.0.self_attention.experts.output_linear.weight"},
    {"step3p7", "model.layers.0.moe.down_proj", MOEQ_LAYOUT_PLAIN, -1, "model.layers.0.moe.down_proj.weight"},
    {"step3p7", "model.layers.0.moe.gate_up_proj", MOEQ_LAYOUT_GATE_UP, -1, nullptr},
    {R"({"model_type": "dbrx", "ffn_config": {"moe_num_experts": 16}})", "transformer.blocks.0.ffn.experts.down_proj",
     MOEQ_LAYOUT_PLAIN, -2, nullptr},
    {"switch_transformers", "encoder.block.1.layer.1.mlp.experts.up_proj", MOEQ_LAYOUT_PLAIN, -1, nullptr},
    // Nothing is known.
    {"", "model.layers.0.mlp.experts.gate_up_proj", MOEQ_LAYOUT_GATE_UP, -1, "model.layers.0.mlp.experts.gate_up_proj"},
    {"mixtral", "model.layers.0.other.w_in", MOEQ_LAYOUT_PLAIN, -1, "model.layers.0.other.w_in"},
};

TEST(Families, FusedWeightsAreNamedByHowTheyLie)
{
    for (const FusedRow& row : kFusedRows) {
        SCOPED_TRACE(std::string(row.model_type) + ": " + row.stack);
        CountedMemory memory;
        moeq::store::Rules rules(memory.allocator);
        Outcome outcome;
        const Config config(row.model_type);
        ASSERT_EQ(rules.collect(config.root(), nullptr, 3, outcome.report), MOEQ_OK);
        moeq::Array<char> name(memory.allocator);
        const auto fused = rules.append_fused_name(row.stack, static_cast<int64_t>(std::strlen(row.stack)), row.layout,
                                                   row.axis, &name);
        EXPECT_EQ(fused, row.name == nullptr ? moeq::store::Rules::Fused::kNone : moeq::store::Rules::Fused::kNamed);
        EXPECT_EQ(std::string(name.data(), static_cast<size_t>(name.size())), row.name == nullptr ? "" : row.name);
    }
}

} // namespace
} // namespace moeq_test
