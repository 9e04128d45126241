// Patterns of names, those of a caller's, and the stacks made of many weights.
#include <gtest/gtest.h>

#include "store/dialects/recognise.h"
#include "store/load/stack_source.h"
#include "store/model/rules.h"
#include "store_names.h"

namespace moeq_test {
namespace {

using moeq::store::Cut;
using moeq::store::Part;

// ---- patterns

bool matches(const char* pattern, const std::string& name, moeq::store::PatternMatch* match)
{
    return moeq::store::match_pattern(pattern, name.c_str(), static_cast<int64_t>(name.size()), match);
}

TEST(Pattern, SegmentsAreComparedWhole)
{
    moeq::store::PatternMatch match;
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
    moeq::store::PatternMatch match;
    ASSERT_TRUE(matches("e.{expert}.w", "e.0.w", &match));
    EXPECT_EQ(match.expert, 0);
    ASSERT_TRUE(matches("e.{expert}.w", "e.127.w", &match));
    EXPECT_EQ(match.expert, 127);
    for (const char* name : {"e.00.w", "e.07.w", "e.-1.w", "e.1a.w", "e..w", "e.+1.w", "e.99999999999.w", "e.x.w"})
        EXPECT_FALSE(matches("e.{expert}.w", name, &match)) << name;
}

TEST(Pattern, AnExpertMayHaveTextAroundIt)
{
    moeq::store::PatternMatch match;
    const std::string name = "a.b.expert_12.wi.weight"; // which the match points into
    ASSERT_TRUE(matches("**.expert_{expert}.wi.weight", name, &match));
    EXPECT_EQ(match.expert, 12);
    EXPECT_EQ(filled("**.expert_{expert}.wo", match), "a.b.expert_12.wo");
    ASSERT_TRUE(matches("e{expert}w.x", "e0w.x", &match));
    EXPECT_EQ(match.expert, 0);
    ASSERT_TRUE(matches("{expert}0.x", "70.x", &match));
    EXPECT_EQ(match.expert, 7);
    for (const char* other : {"expert_.w", "expert_01.w", "expert_1a.w", "expert_1_.w", "xexpert_1.w", "expert1.w",
                              "expert_{expert}.w", "expert.w", "e.w", ".w"})
        EXPECT_FALSE(matches("expert_{expert}.w", other, &match)) << other;
    // What is in front and what is behind may not overlap.
    EXPECT_FALSE(matches("a1{expert}1.w", "a1.w", &match));
    EXPECT_FALSE(matches("a1{expert}1.w", "a11.w", &match));
}

TEST(Pattern, WildcardsAreFilledInOrder)
{
    moeq::store::PatternMatch match;
    const std::string name = "m.l.layers.3.e.7.gate.w"; // which the match points into
    ASSERT_TRUE(matches("**.layers.*.e.{expert}.*.w", name, &match));
    EXPECT_EQ(match.expert, 7);
    EXPECT_EQ(filled("**.layers.*.all.*", match), "m.l.layers.3.all.gate");
}

TEST(Pattern, FaultsAreNamed)
{
    for (const char* good : {"a", "*", "**.a", "a.{expert}.b", "a.*.b.*"})
        EXPECT_EQ(moeq::store::pattern_fault(good), nullptr) << good;
    for (const char* good : {"e{expert}", "expert_{expert}.w", "a.{expert}_w.*"})
        EXPECT_EQ(moeq::store::pattern_fault(good), nullptr) << good;
    for (const char* bad : {"", "a..b", ".a", "a.", "a.**", "a.b*", "a.{x}", "{expert}.{expert}", "*.*.*.*.*.*.*.*.*",
                            "{expert}{expert}", "e*_{expert}", "{expert", "expert}", "{{expert}}", "{expert}*"})
        EXPECT_NE(moeq::store::pattern_fault(bad), nullptr) << bad;
    EXPECT_EQ(moeq::store::template_fault("x.*.y", "a.*.b"), nullptr);
    EXPECT_EQ(moeq::store::template_fault("**.x.*", "**.a.*.b"), nullptr);
    EXPECT_NE(moeq::store::template_fault("x.y", "a.*.b"), nullptr);
    EXPECT_NE(moeq::store::template_fault("x.*.*", "a.*.b"), nullptr);
    EXPECT_NE(moeq::store::template_fault("*.**", "**.*"), nullptr);
    EXPECT_NE(moeq::store::template_fault("x.{expert}", "a.{expert}"), nullptr);
    EXPECT_NE(moeq::store::template_fault("x.e{expert}", "a.e{expert}"), nullptr);
}

// ---- patterns of the caller's

moeq_status collect(const char* patterns, Outcome& outcome, const char* config = "")
{
    CountedMemory memory;
    moeq::store::Rules rules(memory.allocator);
    return rules.collect(Config(config).root(), patterns, 3, outcome.report);
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
        R"([{"match": "e{expert}", "stack": "b", "folded": true}])",
        R"([{"match": "a", "stack": "b", "folded": 1}])",
        R"([{"match": "a", "stack": "b", "folded": true}])", // of how many experts?
        R"([{"match": "a", "stack": "b", "folded": true, "experts": 0}])",
        R"([{"match": "a", "stack": "b", "folded": true, "experts": -4}])",
        R"([{"match": "a", "stack": "b", "folded": true, "experts": 1000001}])",
        R"([{"match": "a", "stack": "b", "folded": true, "experts": "4"}])",
        R"([{"match": "a", "stack": "b", "experts": 4}])",
        R"([{"match": "a", "stack": "b", "first_expert": 4}])",
        R"([{"match": "a{expert}", "stack": "b", "first_expert": -1}])",
        R"([{"match": "a{expert}", "stack": "b", "first_expert": 1.5}])",
        R"([{"match": "a{expert}b*", "stack": "b"}])",
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
    moeq::store::Rules rules(memory.allocator);
    Outcome outcome;
    const Config config("mixtral");
    ASSERT_EQ(rules.collect(config.root(),
                            R"([{"match": "**.experts.{expert}.w1.weight", "stack": "**.experts.first", "part": "up",)"
                            R"( "layout": "up_gate", "scale_axis": -2, "cut": "contraction"}])",
                            3, outcome.report),
              MOEQ_OK)
        << outcome.message();
    moeq::store::PatternMatch match;
    const std::string name = "m.experts.4.w1.weight";
    const moeq::store::Rule* rule = rules.find(name.c_str(), static_cast<int64_t>(name.size()), 2, &match);
    ASSERT_NE(rule, nullptr);
    EXPECT_EQ(filled(rule->stack, match), "m.experts.first");
    EXPECT_EQ(rule->part, Part::kUp);
    EXPECT_EQ(rule->layout, MOEQ_LAYOUT_UP_GATE);
    EXPECT_EQ(rule->scale_axis, -2);
    EXPECT_EQ(rule->cut, Cut::kContraction);
}

TEST(Patterns, ExpertsOfTwoKindsAreNumberedThrough)
{
    CountedMemory memory;
    moeq::store::Rules rules(memory.allocator);
    Outcome outcome;
    ASSERT_EQ(rules.collect({},
                            R"([{"match": "e{expert}", "stack": "text", "experts": 4},)"
                            R"( {"match": "e{expert}", "stack": "vision", "first_expert": 4, "experts": 2}])",
                            3, outcome.report),
              MOEQ_OK)
        << outcome.message();
    const auto stack_of = [&](const std::string& name) {
        moeq::store::PatternMatch match;
        const moeq::store::Rule* rule = rules.find(name.c_str(), static_cast<int64_t>(name.size()), 2, &match);
        return std::string(rule == nullptr ? "" : rule->stack);
    };
    EXPECT_EQ(stack_of("e0"), "text");
    EXPECT_EQ(stack_of("e3"), "text");
    EXPECT_EQ(stack_of("e4"), "vision");
    EXPECT_EQ(stack_of("e5"), "vision");
    EXPECT_EQ(stack_of("e6"), "");
}

TEST(Patterns, AFoldedTensorsExpertsAreCountedByConfigJsonToo)
{
    Outcome outcome;
    const char* const kFolded = R"([{"match": "a", "stack": "b", "folded": true}])";
    EXPECT_EQ(collect(kFolded, outcome, R"({"text_config": {"num_experts": 8}})"), MOEQ_OK) << outcome.message();
    EXPECT_EQ(collect(kFolded, outcome, R"({"num_experts": 0})"), MOEQ_ERROR_ARGUMENT);
    EXPECT_NE(outcome.message().find("experts"), std::string::npos);
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
    moeq::store::Checkpoint checkpoint(memory.allocator);
    Outcome outcome;
    ASSERT_EQ(checkpoint.open(path.c_str(), 200'000'000, false, outcome.report), MOEQ_OK) << outcome.message();
    moeq::store::Weights weights(memory.allocator);
    const double begin = cpu_seconds();
    ASSERT_EQ(moeq::store::recognise_weights(checkpoint, nullptr, 3, &weights, outcome.report), MOEQ_OK)
        << outcome.message();
    const double took = cpu_seconds() - begin;
    EXPECT_EQ(weights.stacks.size(), 2 * kLayers);
    EXPECT_EQ(weights.pieces.size(), 3 * kLayers * kExperts);
    EXPECT_LT(took, 3.0 * kSlower);
    const moeq::store::Stack& stack = weights.stacks[0];
    EXPECT_STREQ(stack.name, "model.layers.0.mlp.experts.gate_up_proj");
    EXPECT_EQ(stack.shape[0], kExperts);
    EXPECT_EQ(stack.missing_expert, -1);
}

} // namespace
} // namespace moeq_test
