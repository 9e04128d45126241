// Any config.json and any patterns, asked about any names: what is taken for a rule fills its own stack's name, which it finds
// again, and counts experts from 0. An input is config.json, FF, the patterns, and after a further FF a name each.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "store/model/linear_names.h"
#include "store/model/model_config.h"
#include "support/store.h"

namespace {

[[noreturn]] void fail(const char* what, const std::string& text)
{
    std::fprintf(stderr, "%s: %s\n", what, text.c_str());
    std::abort();
}

std::vector<std::string> split(const std::string& input)
{
    std::vector<std::string> parts;
    size_t begin = 0;
    for (size_t end; (end = input.find('\xFF', begin)) != std::string::npos; begin = end + 1)
        parts.push_back(input.substr(begin, end - begin));
    parts.push_back(input.substr(begin));
    return parts;
}

std::string text_of(const moeq::Array<char>& text) { return {text.data(), static_cast<size_t>(text.size())}; }

void check_name(const moeq::store::Rules& rules, const std::string& name, int32_t ndim, moeq::Allocator& allocator)
{
    moeq::store::PatternMatch match;
    const moeq::store::Rule* rule = rules.find(name.data(), static_cast<int64_t>(name.size()), ndim, &match);
    if (rule == nullptr)
        return;
    const bool one = rule->holds == moeq::store::Holds::kOne;
    if (one != (match.expert >= 0) || (one && match.expert < rule->first_expert))
        fail("an expert of another number", name);
    if (rule->experts != 0 && match.expert - rule->first_expert >= rule->experts)
        fail("an expert that is of another kind", name);
    moeq::Array<char> stack(allocator);
    if (!moeq::store::append_filled(rule->stack, match, &stack))
        fail("out of memory", name);
    moeq::store::PatternMatch again;
    if (!moeq::store::match_pattern(rule->stack, stack.data(), stack.size(), &again))
        fail("a stack that its own template does not fit", name);
    if (rules.find_stack(stack.data(), stack.size(), &again) == nullptr)
        fail("a stack that no rule makes", name);
    const moeq::store::LinearOf linear{stack.data(), stack.size(), 3, moeq::store::Part::kWhole};
    moeq::Array<char> made(allocator);
    if (!moeq::store::append_linear_name(rules.family(), 4, linear, &made) || made.empty())
        fail("no name for a linear", name);
    (void)moeq::store::linears_of(rules.family(), stack.data(), stack.size());
    moeq::Array<char> fused(allocator);
    const auto named = rules.append_fused_name(stack.data(), stack.size(), rule->layout, rule->scale_axis, &fused);
    if (named == moeq::store::Rules::Fused::kOutOfMemory ||
        (named == moeq::store::Rules::Fused::kNone) != fused.empty())
        fail("no name for a fused weight", text_of(stack));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size)
{
    const std::vector<std::string> parts = split({reinterpret_cast<const char*>(data), size});
    moeq_test::CountedMemory memory;
    {
        std::string text = parts[0];
        moeq::text::JsonDocument config(memory.allocator);
        moeq_test::Outcome outcome;
        if (config.parse(text.data(), static_cast<int64_t>(text.size()), {}, outcome.report) != MOEQ_OK)
            text.clear();
        const moeq::text::JsonValue root = text.empty() ? moeq::text::JsonValue() : config.root();
        moeq::store::ExpertCounts counts(memory.allocator);
        if (!counts.read(root))
            fail("out of memory", "");
        moeq::store::Rules rules(memory.allocator);
        const bool given = parts.size() > 1 && !parts[1].empty();
        const moeq_status status = rules.collect(root, given ? parts[1].c_str() : nullptr, 3, outcome.report);
        if (status != MOEQ_OK && (!given || (status != MOEQ_ERROR_ARGUMENT && status != MOEQ_ERROR_LIMIT)))
            fail("another status", outcome.message());
        for (size_t i = 2; status == MOEQ_OK && i < parts.size(); ++i) {
            (void)counts.find(parts[i].data(), static_cast<int64_t>(parts[i].size()));
            for (const int32_t ndim : {2, 3})
                check_name(rules, parts[i], ndim, memory.allocator);
        }
    }
    if (memory.allocator.live() != 0)
        fail("it keeps memory", "");
    return 0;
}
