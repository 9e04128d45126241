// Rules of a conversion.
#include <gtest/gtest.h>

#include "store/convert/rules.h"
#include "support/store.h"

namespace moeq_test {
namespace {

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
