// Names of expert weights: patterns, the table of families on names that real checkpoints have, and the stacks made of them.
#include <gtest/gtest.h>

#include "store/load/stack_source.h"
#include "support/store.h"

namespace moeq_test {
namespace {

using moeq::Cut;
using moeq::Part;

// ---- patterns

bool matches(const char* pattern, const std::string& name, moeq::PatternMatch* match)
{
    return moeq::match_pattern(pattern, name.c_str(), static_cast<int64_t>(name.size()), match);
}

std::string filled(const char* text, const moeq::PatternMatch& match)
{
    CountedMemory memory;
    moeq::Array<char> out(memory.allocator);
    EXPECT_TRUE(moeq::append_filled(text, match, &out));
    return std::string(out.data(), static_cast<size_t>(out.size()));
}

TEST(Pattern, SegmentsAreComparedWhole)
{
    moeq::PatternMatch match;
    EXPECT_TRUE(matches("a.b", "a.b", &match));
    EXPECT_FALSE(matches("a.b", "a.bc", &match));
    EXPECT_FALSE(matches("a.b", "xa.b", &match));
    EXPECT_FALSE(matches("a.b", "a.b.c", &match));
    EXPECT_FALSE(matches("a.b", "b", &match));
    EXPECT_FALSE(matches("a.b", "", &match));
    EXPECT_TRUE(matches("a.*.c", "a.layers.c", &match));
    EXPECT_FALSE(matches("a.*.c", "a.x.y.c", &match));
    EXPECT_FALSE(matches("a.*.c", "a..c", &match));
    EXPECT_TRUE(matches("**.c", "x.y.c", &match));
    EXPECT_FALSE(matches("**.c", "c", &match));
}

TEST(Pattern, AnExpertHasOneSpelling)
{
    moeq::PatternMatch match;
    ASSERT_TRUE(matches("e.{expert}.w", "e.0.w", &match));
    EXPECT_EQ(match.expert, 0);
    ASSERT_TRUE(matches("e.{expert}.w", "e.127.w", &match));
    EXPECT_EQ(match.expert, 127);
    for (const char* name : {"e.00.w", "e.07.w", "e.-1.w", "e.1a.w", "e..w", "e.+1.w", "e.99999999999.w", "e.x.w"})
        EXPECT_FALSE(matches("e.{expert}.w", name, &match)) << name;
}

TEST(Pattern, WildcardsAreFilledInOrder)
{
    moeq::PatternMatch match;
    const std::string name = "m.l.layers.3.e.7.gate.w"; // which the match points into
    ASSERT_TRUE(matches("**.layers.*.e.{expert}.*.w", name, &match));
    EXPECT_EQ(match.expert, 7);
    EXPECT_EQ(filled("**.layers.*.all.*", match), "m.l.layers.3.all.gate");
}

TEST(Pattern, FaultsAreNamed)
{
    for (const char* good : {"a", "*", "**.a", "a.{expert}.b", "a.*.b.*"})
        EXPECT_EQ(moeq::pattern_fault(good), nullptr) << good;
    for (const char* bad : {"", "a..b", ".a", "a.", "a.**", "a.b*", "a.{x}", "{expert}.{expert}", "*.*.*.*.*.*.*.*.*"})
        EXPECT_NE(moeq::pattern_fault(bad), nullptr) << bad;
    EXPECT_EQ(moeq::template_fault("x.*.y", "a.*.b"), nullptr);
    EXPECT_EQ(moeq::template_fault("**.x.*", "**.a.*.b"), nullptr);
    EXPECT_NE(moeq::template_fault("x.y", "a.*.b"), nullptr);
    EXPECT_NE(moeq::template_fault("x.*.*", "a.*.b"), nullptr);
    EXPECT_NE(moeq::template_fault("*.**", "**.*"), nullptr);
    EXPECT_NE(moeq::template_fault("x.{expert}", "a.{expert}"), nullptr);
}

// ---- the table

struct Row {
    const char* model_type;
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
    {"ernie4_5_vl_moe", "model.layers.1.mlp.experts.0.up_proj.weight", 2, nullptr, kWhole, 0, 0, kOut},
    {"hunyuan_v1_moe", "model.layers.0.mlp.experts.63.gate_proj.weight", 2, "model.layers.0.mlp.experts.gate_up_proj",
     Part::kGate, -1, kGateUp, kOut},
    {"nemotron_h", "backbone.layers.1.mixer.experts.0.up_proj.weight", 2, "backbone.layers.1.mixer.experts.up_proj",
     kWhole, -1, kPlain, kOut},
    {"step3p7", "model.layers.4.moe.up_proj.weight", 3, "model.layers.4.moe.gate_up_proj", Part::kUp, -1, kGateUp,
     kOut},
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
        moeq::Rules rules(memory.allocator);
        Outcome outcome;
        const char* types[] = {row.model_type, ""};
        ASSERT_EQ(rules.collect(types, 2, nullptr, 3, outcome.report), MOEQ_OK);
        moeq::PatternMatch match;
        const std::string name = row.name;
        const moeq::Rule* rule = rules.find(name.c_str(), static_cast<int64_t>(name.size()), row.ndim, &match);
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

// ---- names for linears that are made of a stack

struct NameRow {
    const char* model_type;
    const char* stack;
    Part part;
    moeq::Linears linears;
    const char* name; // of expert 7
};

constexpr moeq::Linears kLoaded = moeq::Linears::kLoaded;
constexpr moeq::Linears kNoLinears = moeq::Linears::kNone;
constexpr moeq::Linears kUnknownLinears = moeq::Linears::kUnknown;

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
    {"llama4", "language_model.model.layers.1.feed_forward.experts.gate_up_proj", Part::kUp, moeq::Linears::kReplaced,
     "language_model.model.layers.1.feed_forward.experts.7.up_proj.weight"},
    {"gpt_oss", "model.layers.0.mlp.experts.gate_up_proj", Part::kGate, kNoLinears,
     "model.layers.0.mlp.experts.7.gate_proj.weight"},
    {"granitemoe", "model.layers.0.block_sparse_moe.experts.down_proj", kWhole, kNoLinears,
     "model.layers.0.block_sparse_moe.experts.7.down_proj.weight"},
    {"step3p7", "model.layers.0.moe.gate_up_proj", Part::kUp, kNoLinears, "model.layers.0.moe.7.up_proj.weight"},
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
        moeq::Rules rules(memory.allocator);
        Outcome outcome;
        const char* types[] = {row.model_type, ""};
        ASSERT_EQ(rules.collect(types, 2, nullptr, 3, outcome.report), MOEQ_OK);
        const int64_t length = static_cast<int64_t>(std::strlen(row.stack));
        EXPECT_EQ(moeq::linears_of(rules.family(), row.stack, length), row.linears);
        moeq::Array<char> name(memory.allocator);
        ASSERT_TRUE(moeq::append_linear_name(rules.family(), row.stack, length, 7, row.part, &name));
        EXPECT_EQ(std::string(name.data(), static_cast<size_t>(name.size())), row.name);
    }
}

// ---- patterns of the caller's

moeq_status collect(const char* patterns, Outcome& outcome)
{
    CountedMemory memory;
    moeq::Rules rules(memory.allocator);
    return rules.collect(nullptr, 0, patterns, 3, outcome.report);
}

TEST(Patterns, WhatIsNoPatternIsRefused)
{
    const char* const kBad[] = {
        "{}",
        "[1]",
        R"([{"match": "a.*"}])",
        R"([{"match": "a.*", "stack": "b"}])",
        R"([{"match": "a.b*", "stack": "b"}])",
        R"([{"match": "a", "stack": "b", "part": "half"}])",
        R"([{"match": "a", "stack": "b", "scale_axis": 0}])",
        R"([{"match": "a", "stack": "b", "scale_axis": "-1"}])",
        R"([{"match": "a", "stack": "b", "layout": "both"}])",
        R"([{"match": "a", "stack": "b", "part": "up", "layout": "interleaved"}])",
        R"([{"match": "a", "stack": "b", "kind": "x"}])",
        R"([{"match": "a", "stack": "b", "cut": "rows"}])",
        "[", // no JSON at all
    };
    for (const char* bad : kBad) {
        Outcome outcome;
        EXPECT_EQ(collect(bad, outcome), MOEQ_ERROR_ARGUMENT) << bad;
        EXPECT_EQ(outcome.error.argument, 3);
    }
}

TEST(Patterns, ComeBeforeTheTable)
{
    CountedMemory memory;
    moeq::Rules rules(memory.allocator);
    Outcome outcome;
    const char* types[] = {"mixtral"};
    ASSERT_EQ(rules.collect(types, 1,
                            R"([{"match": "**.experts.{expert}.w1.weight", "stack": "**.experts.first", "part": "up",)"
                            R"( "layout": "up_gate", "scale_axis": -2, "cut": "contraction"}])",
                            3, outcome.report),
              MOEQ_OK)
        << outcome.message();
    moeq::PatternMatch match;
    const std::string name = "m.experts.4.w1.weight";
    const moeq::Rule* rule = rules.find(name.c_str(), static_cast<int64_t>(name.size()), 2, &match);
    ASSERT_NE(rule, nullptr);
    EXPECT_EQ(filled(rule->stack, match), "m.experts.first");
    EXPECT_EQ(rule->part, Part::kUp);
    EXPECT_EQ(rule->layout, MOEQ_LAYOUT_UP_GATE);
    EXPECT_EQ(rule->scale_axis, -2);
    EXPECT_EQ(rule->cut, Cut::kContraction);
}

// ---- stacks of many weights

TEST(Stacks, AMillionTensorsTakeSeconds)
{
    constexpr int64_t kLayers = 1000, kExperts = 334;
    std::string header = "{";
    int64_t at = 0;
    for (int64_t l = 0; l < kLayers; ++l)
        for (int64_t e = 0; e < kExperts; ++e)
            for (const char* leaf : {"gate_proj", "up_proj", "down_proj"}) {
                header += (at == 0 ? "\"" : ", \"") +
                          ("model.layers." + std::to_string(l) + ".mlp.experts." + std::to_string(e) + "." + leaf +
                           ".weight") +
                          R"(": {"dtype": "BF16", "shape": [1, 1], "data_offsets": [)" + std::to_string(at) + ", " +
                          std::to_string(at + 2) + "]}";
                at += 2;
            }
    header += "}";
    const TemporaryFolder folder;
    const std::string path =
        folder.write("many.safetensors", container(header, std::string(static_cast<size_t>(at), '\0')));
    CountedMemory memory;
    moeq::Checkpoint checkpoint(memory.allocator);
    Outcome outcome;
    ASSERT_EQ(checkpoint.open(path.c_str(), 200'000'000, false, outcome.report), MOEQ_OK) << outcome.message();
    moeq::Weights weights(memory.allocator);
    const double begin = cpu_seconds();
    ASSERT_EQ(weights.recognise(checkpoint, nullptr, outcome.report), MOEQ_OK) << outcome.message();
    const double took = cpu_seconds() - begin;
    EXPECT_EQ(weights.stacks.size(), 2 * kLayers);
    EXPECT_EQ(weights.pieces.size(), 3 * kLayers * kExperts);
    EXPECT_LT(took, 3.0 * kSlower);
    const moeq::Stack& stack = weights.stacks[0];
    EXPECT_STREQ(stack.name, "model.layers.0.mlp.experts.gate_up_proj");
    EXPECT_EQ(stack.shape[0], kExperts);
    EXPECT_EQ(stack.missing_expert, -1);
}

} // namespace
} // namespace moeq_test
