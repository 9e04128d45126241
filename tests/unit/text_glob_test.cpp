// Globs, against the obvious matcher that tries everything.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/store.h"
#include "text/glob.h"

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
    if (*glob == '*' || *glob == '{') { // another spelling
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
            ASSERT_EQ(moeq::text::glob_matches(glob.c_str(), name.c_str()), wanted) << glob << " and " << name;
        }
    EXPECT_GE(matched, 1000);
}

// What stands for a star by another spelling does what a star does; and what the stars took, put in their place, is the name.
TEST(Globs, TellWhatTheirStarsStandFor)
{
    for (const std::string& glob : texts("a.*{", 5)) {
        if (glob.find("***") != std::string::npos)
            continue; // which of them are the two is not told
        std::string spelled;
        for (const char letter : glob)
            spelled += letter == '{' ? std::string("{n}") : std::string(1, letter);
        for (const std::string& name : texts("a.", 5)) {
            moeq::text::GlobMatch match;
            const bool wanted = matches(glob.c_str(), name.c_str());
            ASSERT_EQ(
                moeq::text::match_glob(spelled.c_str(), name.c_str(), static_cast<int64_t>(name.size()), "{n}", &match),
                wanted)
                << spelled << " and " << name;
            if (!wanted)
                continue;
            std::string filled = spelled;
            for (int32_t i = 0; i < match.count; ++i) { // from the last one on
                const moeq::text::GlobMatch::Star& star = match.stars[i];
                const size_t at = static_cast<size_t>(star.at);
                const size_t length = spelled[at] == '{' ? 3 : spelled[at + 1] == '*' ? 2 : 1;
                filled.replace(at, length,
                               name.substr(static_cast<size_t>(star.begin), static_cast<size_t>(star.length)));
            }
            ASSERT_EQ(filled, name) << spelled;
        }
    }
}

TEST(Globs, OfRealNames)
{
    EXPECT_TRUE(moeq::text::glob_matches("**.experts.*", "model.layers.3.mlp.experts.gate_up_proj"));
    EXPECT_TRUE(
        moeq::text::glob_matches("model.layers.*.mlp.experts.down_proj", "model.layers.31.mlp.experts.down_proj"));
    EXPECT_FALSE(moeq::text::glob_matches("model.layers.*.experts.*", "model.layers.3.mlp.experts.gate_up_proj"));
    EXPECT_TRUE(moeq::text::glob_matches("**.self_attn.*_proj.weight", "model.layers.3.self_attn.q_proj.weight"));
    EXPECT_FALSE(moeq::text::glob_matches("**.self_attn.*_proj.weight", "model.layers.3.self_attn.q_proj.bias"));
}

// Two runs of stars against a long name that almost matches.
TEST(Globs, TakeNoExponentialTime)
{
    std::string glob;
    for (int i = 0; i < 200; ++i)
        glob += "**a*";
    const std::string name(20'000, 'a');
    EXPECT_TRUE(moeq::text::glob_matches(glob.c_str(), name.c_str()));
    EXPECT_FALSE(moeq::text::glob_matches((glob + "b").c_str(), name.c_str()));
}

} // namespace
} // namespace moeq_test
