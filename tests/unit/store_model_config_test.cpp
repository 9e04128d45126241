// What config.json says about a model's experts.
#include <gtest/gtest.h>

#include "store/model/model_config.h"
#include "store_names.h"

namespace moeq_test {
namespace {

int64_t count_of(const std::string& config, const std::string& name)
{
    CountedMemory memory;
    moeq::store::ExpertCounts counts(memory.allocator);
    const Config document(config);
    EXPECT_TRUE(counts.read(document.root()));
    return counts.find(name.c_str(), static_cast<int64_t>(name.size()));
}

TEST(ExpertCounts, OfTheTowerAndTheLayer)
{
    const std::string plain = R"({"num_experts": 8})";
    EXPECT_EQ(count_of(plain, "model.layers.3.mlp.experts.gate_up_proj"), 8);
    EXPECT_EQ(count_of("{}", "model.layers.3"), -1);
    EXPECT_EQ(count_of("", "model.layers.3"), -1);
    EXPECT_EQ(count_of(R"({"num_experts": 1000001})", "model.layers.3"), -1);
    EXPECT_EQ(count_of(R"({"moe_num_experts": [64, 32]})", "model.layers.3"), 64);
    EXPECT_EQ(count_of(R"({"ffn_config": {"moe_num_experts": 16}})", "transformer.blocks.0"), 16);
    const std::string omni = R"({"thinker_config": {"text_config": {"num_experts": 128}},)"
                             R"( "talker_config": {"text_config": {"num_experts": 64}}})";
    EXPECT_EQ(count_of(omni, "thinker.model.layers.0.mlp"), 128);
    EXPECT_EQ(count_of(omni, "talker.model.layers.0.mlp"), 64);
    EXPECT_EQ(count_of(omni, "talkers.model.layers.0.mlp"), 128);
    const std::string layers = R"({"num_experts": 8, "per_layer_config": {"2": {"num_experts": 4}, "x": {}, "1": {}},)"
                               R"( "vision_config": {"num_local_experts": 64, "pyramid_num_routed": [-1, 4, 8]}})";
    EXPECT_EQ(count_of(layers, "model.layers.1.mlp"), 8);
    EXPECT_EQ(count_of(layers, "model.layers.2.mlp"), 4);
    EXPECT_EQ(count_of(layers, "model.layers.2x.mlp"), 8);
    EXPECT_EQ(count_of(layers, "vision_encoder.blocks.1.mlp"), 4);
    EXPECT_EQ(count_of(layers, "vision_encoder.blocks.2.mlp"), 8);
    // What no layer of the tower says is nobody's count: names tell.
    EXPECT_EQ(count_of(layers, "vision_encoder.blocks.0.mlp"), -1);
    EXPECT_EQ(count_of(layers, "vision_encoder.blocks.9.mlp"), -1);
}

} // namespace
} // namespace moeq_test
