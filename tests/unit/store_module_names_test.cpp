// Lists of modules in config.json: what they match under the names that loaders have.
#include <regex>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "store/dialects/dialect.h"
#include "store/dialects/module_names.h"

namespace {

using moeq::store::WrittenWeight;
using Names = std::vector<std::string>;

WrittenWeight weight(const char* name, bool expert) { return {name, {}, expert}; }

// The array as texts.
Names texts_of(const moeq::Array<char>& json)
{
    Names out;
    const std::string text(json.data(), static_cast<size_t>(json.size()));
    for (size_t at = text.find('"'); at != std::string::npos; at = text.find('"', at + 1)) {
        std::string one;
        for (++at; text[at] != '"'; ++at) {
            at += text[at] == '\\' ? 1 : 0;
            one += text[at];
        }
        out.push_back(one);
    }
    return out;
}

Names ignored(const std::vector<WrittenWeight>& weights, const std::vector<const char*>& dense, bool foreign = false)
{
    moeq::Allocator allocator(nullptr, nullptr, nullptr);
    moeq::store::WrittenModel model{allocator, weights.data(), static_cast<int64_t>(weights.size()), dense.data(),
                                    static_cast<int64_t>(dense.size())};
    model.foreign = foreign;
    moeq::Array<char> text(allocator);
    moeq::text::JsonWriter json(text);
    moeq_error error{};
    moeq::Report report("names", &error);
    EXPECT_EQ(moeq::store::write_ignored_modules(model, json, report), MOEQ_OK);
    EXPECT_TRUE(json.ok());
    return texts_of(text);
}

// As Python's re.match does: from the begin.
bool matches(const Names& patterns, const std::string& module)
{
    for (const std::string& pattern : patterns)
        if (pattern.rfind("re:", 0) == 0
                ? std::regex_search(module, std::regex(pattern.substr(3)), std::regex_constants::match_continuous)
                : pattern == module)
            return true;
    return false;
}

TEST(IgnoredModules, are_all_outside_of_experts_where_only_experts_are_quantized)
{
    const Names names = ignored({weight("model.layers.0.mlp.experts.0.up_proj.weight", true)},
                                {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.gate.weight"});
    EXPECT_EQ(names.size(), 2u);
    for (const char* dense : {"lm_head", "model.language_model.layers.0.self_attn.q_proj", "visual.blocks.3.attn.qkv",
                              "model.layers.0.mlp.shared_experts.up_proj", "model.layers.0.mlp.expert_bias", "proj"})
        EXPECT_TRUE(matches(names, dense)) << dense;
    for (const char* quantized : {"model.layers.0.mlp.experts", "model.layers.0.mlp.experts.0.up_proj",
                                  "language_model.model.layers.17.block_sparse_moe.experts.3.w1", "experts.0.w1"})
        EXPECT_FALSE(matches(names, quantized)) << quantized;
}

TEST(IgnoredModules, name_dense_experts_too)
{
    const Names names = ignored({weight("m.layers.0.experts.0.up_proj.weight", true)},
                                {"m.layers.0.experts.0.down_proj.weight", "m.layers.0.experts.1.down_proj.weight",
                                 "m.layers.1.experts.0.up_proj.weight", "m.layers.12.experts.gate_up_proj"});
    for (const char* dense : {"m.layers.0.experts.1.down_proj", "m.layers.1.experts", "x.layers.1.experts.5.up_proj",
                              "m.layers.12.experts", "lm_head"})
        EXPECT_TRUE(matches(names, dense)) << dense;
    for (const char* quantized : {"m.layers.0.experts.0.up_proj", "m.layers.0.experts", "m.layers.2.experts"})
        EXPECT_FALSE(matches(names, quantized)) << quantized;
}

TEST(IgnoredModules, hold_below_another_prefix_where_other_linears_are_quantized)
{
    const Names names = ignored({weight("model.layers.0.self_attn.q_proj.weight", false),
                                 weight("model.layers.1.self_attn.k_proj.weight", false)},
                                {"model.layers.0.self_attn.k_proj.weight", "model.layers.0.mlp.gate.weight",
                                 "model.layers.1.mlp.gate.weight", "model.embed_tokens.weight", "lm_head.weight"});
    EXPECT_NE(std::find(names.begin(), names.end(), R"(re:(.*\.)?layers\.\d+\.mlp\.gate$)"), names.end());
    for (const char* dense : {"model.language_model.layers.0.self_attn.k_proj", "model.layers.31.mlp.gate",
                              "model.embed_tokens", "language_model.embed_tokens", "lm_head"})
        EXPECT_TRUE(matches(names, dense)) << dense;
    for (const char* quantized :
         {"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.k_proj", "model.layers.0.mlp.gate_proj"})
        EXPECT_FALSE(matches(names, quantized)) << quantized;
}

TEST(IgnoredModules, are_spelled_out_where_another_name_ends_alike)
{
    const Names names = ignored({weight("vision.layers.0.attn.q.weight", false)}, {"text.layers.0.attn.q.weight"});
    EXPECT_TRUE(matches(names, "text.layers.0.attn.q"));
    EXPECT_FALSE(matches(names, "vision.layers.0.attn.q"));
}

TEST(IgnoredModules, leave_a_quantized_output_layer_out)
{
    const Names names = ignored({weight("lm_head.weight", false)}, {"model.norm_proj.weight"});
    EXPECT_FALSE(matches(names, "lm_head"));
    EXPECT_TRUE(matches(names, "model.norm_proj"));
}

TEST(IgnoredModules, are_listed_one_by_one_beside_foreign_codes)
{
    const Names names =
        ignored({weight("m.layers.0.experts.0.up_proj.weight", true)}, {"m.layers.0.mlp.gate.weight"}, true);
    EXPECT_TRUE(matches(names, "m.layers.0.mlp.gate"));
    EXPECT_FALSE(matches(names, "m.layers.0.self_attn.q_proj"));
}

TEST(TargetedModules, are_names_and_for_linears_outside_of_experts_patterns)
{
    moeq::Allocator allocator(nullptr, nullptr, nullptr);
    const std::vector<WrittenWeight> weights = {weight("model.layers.0.mlp.experts.0.up_proj.weight", true),
                                                weight("model.layers.0.self_attn.q_proj.weight", false),
                                                weight("model.layers.1.self_attn.q_proj.weight", false)};
    const int32_t groups[] = {1, 1, 0};
    const moeq::store::WrittenModel model{allocator, weights.data(), 3, nullptr, 0};
    moeq::Array<char> text(allocator);
    moeq::text::JsonWriter json(text);
    moeq_error error{};
    moeq::Report report("names", &error);
    ASSERT_EQ(moeq::store::write_targeted_modules(model, groups, 1, json, report), MOEQ_OK);
    const Names names = texts_of(text);
    EXPECT_EQ(names, (Names{"model.layers.0.mlp.experts.0.up_proj", "model.layers.0.self_attn.q_proj",
                            R"(re:(.*\.)?layers\.0\.self_attn\.q_proj$)"}));
}

} // namespace
