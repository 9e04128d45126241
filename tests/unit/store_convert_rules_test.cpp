// Globs of conversion rules, against the obvious matcher that tries everything.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "store/convert/rules.h"
#include "support/store.h"

namespace moeq_test {
namespace {

bool matches(const char* glob, const char* name)
{
    if (glob[0] == '*' && glob[1] == '*') {
        for (const char* rest = name;; ++rest) {
            if (matches(glob + 2, rest))
                return true;
            if (*rest == '\0')
                return false;
        }
    }
    if (*glob == '*') {
        for (const char* rest = name;; ++rest) {
            if (matches(glob + 1, rest))
                return true;
            if (*rest == '\0' || *rest == '.')
                return false;
        }
    }
    if (*glob == '\0' || *name == '\0')
        return *glob == *name;
    return *glob == *name && matches(glob + 1, name + 1);
}

// All texts of at most `length` letters.
std::vector<std::string> texts(const std::string& letters, size_t length)
{
    std::vector<std::string> all = {""};
    for (size_t begin = 0, n = 0; n < length; ++n) {
        const size_t end = all.size();
        for (size_t i = begin; i < end; ++i)
            for (const char letter : letters)
                all.push_back(all[i] + letter);
        begin = end;
    }
    return all;
}

TEST(Globs, AgreeWithTryingEverything)
{
    int64_t matched = 0;
    for (const std::string& glob : texts("a.*", 6))
        for (const std::string& name : texts("ab.", 5)) {
            const bool wanted = matches(glob.c_str(), name.c_str());
            matched += wanted ? 1 : 0;
            ASSERT_EQ(moeq::store::glob_matches(glob.c_str(), name.c_str()), wanted) << glob << " and " << name;
        }
    EXPECT_GE(matched, 1000);
}

TEST(Globs, OfRealNames)
{
    EXPECT_TRUE(moeq::store::glob_matches("**.experts.*", "model.layers.3.mlp.experts.gate_up_proj"));
    EXPECT_TRUE(
        moeq::store::glob_matches("model.layers.*.mlp.experts.down_proj", "model.layers.31.mlp.experts.down_proj"));
    EXPECT_FALSE(moeq::store::glob_matches("model.layers.*.experts.*", "model.layers.3.mlp.experts.gate_up_proj"));
    EXPECT_TRUE(moeq::store::glob_matches("**.self_attn.*_proj.weight", "model.layers.3.self_attn.q_proj.weight"));
    EXPECT_FALSE(moeq::store::glob_matches("**.self_attn.*_proj.weight", "model.layers.3.self_attn.q_proj.bias"));
}

// Two runs of stars against a long name that almost matches.
TEST(Globs, TakeNoExponentialTime)
{
    std::string glob;
    for (int i = 0; i < 200; ++i)
        glob += "**a*";
    const std::string name(20'000, 'a');
    EXPECT_TRUE(moeq::store::glob_matches(glob.c_str(), name.c_str()));
    EXPECT_FALSE(moeq::store::glob_matches((glob + "b").c_str(), name.c_str()));
}

TEST(ConvertRules, FirstMatchWins)
{
    CountedMemory memory;
    moeq::store::ConvertRules rules(memory.allocator);
    Outcome outcome;
    ASSERT_EQ(rules.read(R"([{"match": "a.*", "spec": null}, {"spec": "nf4", "match": "**"}])", outcome.report),
              MOEQ_OK)
        << outcome.message();
    EXPECT_TRUE(rules.find("a.b")->dense);
    EXPECT_FALSE(rules[1].used);
    EXPECT_FALSE(rules.find("a.b.c")->dense);
    EXPECT_EQ(rules.find("b")->spec.format, MOEQ_FORMAT_NF4);
    EXPECT_TRUE(rules[1].used);
}

} // namespace
} // namespace moeq_test
