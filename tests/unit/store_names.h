// What the suites of names share: a config.json, templates that are filled.
#pragma once

#include <gtest/gtest.h>

#include "store/model/pattern.h"
#include "support/store.h"
#include "text/json.h"

namespace moeq_test {

// config.json: all of it, or the model type alone.
class Config {
public:
    explicit Config(const std::string& given)
        : text_(given.empty() || given[0] == '{' ? given : R"({"model_type": ")" + given + R"("})"),
          document_(memory_.allocator)
    {
        if (!text_.empty()) {
            EXPECT_EQ(document_.parse(text_.data(), static_cast<int64_t>(text_.size()), {}, outcome_.report), MOEQ_OK)
                << outcome_.message();
        }
    }
    moeq::text::JsonValue root() const { return document_.root(); }

private:
    CountedMemory memory_;
    Outcome outcome_;
    std::string text_;
    moeq::text::JsonDocument document_;
};

inline std::string filled(const char* text, const moeq::store::PatternMatch& match)
{
    CountedMemory memory;
    moeq::Array<char> out(memory.allocator);
    EXPECT_TRUE(moeq::store::append_filled(text, match, &out));
    return std::string(out.data(), static_cast<size_t>(out.size()));
}

} // namespace moeq_test
