// Any bytes as JSON: what is accepted can be written again and then says the same, and its numbers are those of the C library.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "support/store.h"
#include "text/json.h"

namespace {

using moeq::text::JsonDocument;
using moeq::text::JsonMember;
using moeq::text::JsonValue;

[[noreturn]] void fail(const char* what, const std::string& text)
{
    std::fprintf(stderr, "%s: %s\n", what, text.c_str());
    std::abort();
}

std::string written(const JsonValue& value, moeq::Allocator& allocator)
{
    moeq::Array<char> out(allocator);
    moeq::text::JsonWriter writer(out);
    writer.copy(value);
    return writer.ok() ? std::string(out.data(), static_cast<size_t>(out.size())) : "";
}

// Numbers as they are spelled when written alone.
void check_values(const JsonValue& value, moeq::Allocator& allocator, int64_t* budget)
{
    if (--*budget < 0)
        return;
    double number = 0;
    if (value.is(moeq::text::JsonKind::kInteger) || value.is(moeq::text::JsonKind::kNumber)) {
        const std::string spelling = written(value, allocator);
        const bool fits = value.get_number(&number);
        const double wanted = std::strtod(spelling.c_str(), nullptr);
        if (fits != std::isfinite(wanted) ||
            (fits && (number != wanted || std::signbit(number) != std::signbit(wanted))))
            fail("another number", spelling);
    }
    for (JsonMember member = value.first(); !member.done(); member = member.next())
        check_values(member.value(), allocator, budget);
}

moeq_status parse(std::vector<char>& text, const moeq::text::JsonRules& rules, JsonDocument& document)
{
    moeq_test::Outcome outcome;
    const moeq_status status = document.parse(text.data(), static_cast<int64_t>(text.size()), rules, outcome.report);
    const std::string id = outcome.class_id();
    if (status != MOEQ_OK && (status != MOEQ_ERROR_FORMAT || (id != "F11" && id != "F12")))
        fail("another status", outcome.message());
    return status;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size)
{
    if (size == 0)
        return 0;
    const moeq::text::JsonRules rules = {.depth = 1 + (data[0] >> 2),
                                         .integers_only = (data[0] & 1) != 0,
                                         .python_words = (data[0] & 2) != 0,
                                         .what = "fuzz"};
    moeq_test::CountedMemory memory;
    {
        std::vector<char> text(data + 1, data + size);
        JsonDocument document(memory.allocator);
        if (parse(text, rules, document) == MOEQ_OK) {
            int64_t budget = 1000;
            check_values(document.root(), memory.allocator, &budget);
            const std::string once = written(document.root(), memory.allocator);
            std::vector<char> copy(once.begin(), once.end());
            JsonDocument again(memory.allocator);
            if (parse(copy, rules, again) != MOEQ_OK)
                fail("what was accepted is refused when written again", once);
            if (written(again.root(), memory.allocator) != once)
                fail("written again, it says something else", once);
        }
    }
    if (memory.allocator.live() != 0)
        fail("it keeps memory", "");
    return 0;
}
