#include "store/model/pattern_entry.h"

namespace moeq::store {

namespace {

constexpr int64_t kMostExperts = 1'000'000;

struct Word {
    const char* text;
    int32_t value;
};
constexpr Word kParts[] = {{"whole", static_cast<int32_t>(Part::kWhole)},
                           {"gate", static_cast<int32_t>(Part::kGate)},
                           {"up", static_cast<int32_t>(Part::kUp)}};
constexpr Word kLayouts[] = {{"plain", MOEQ_LAYOUT_PLAIN},
                             {"gate_up", MOEQ_LAYOUT_GATE_UP},
                             {"up_gate", MOEQ_LAYOUT_UP_GATE},
                             {"interleaved", MOEQ_LAYOUT_GATE_UP_INTERLEAVED}};
constexpr Word kCuts[] = {{"output", static_cast<int32_t>(Cut::kOutput)},
                          {"contraction", static_cast<int32_t>(Cut::kContraction)}};
constexpr const char* kKeys[] = {"match", "stack",  "part",    "scale_axis",  "layout",
                                 "cut",   "folded", "experts", "first_expert"};

class EntryReader {
public:
    EntryReader(const text::JsonValue& entry, int64_t index, int32_t argument, Report& report)
        : entry_(entry), index_(index), argument_(argument), report_(report)
    {
    }

    moeq_status read(int64_t experts, Rule* out)
    {
        if (!entry_.is_object())
            return refuse("this entry", "an object");
        for (text::JsonMember m = entry_.first(); !m.done(); m = m.next())
            if (!is_key(m.name()))
                return (report_.fail(MOEQ_ERROR_ARGUMENT, argument_, "options.patterns") << "got the key ")
                           .quoted(m.name().text())
                       << " in entry " << index_
                       << "; want match, stack, part, scale_axis, layout, cut, folded, experts and first_expert";
        *out = {};
        MOEQ_TRY(read_texts(out));
        int32_t part = static_cast<int32_t>(Part::kWhole);
        MOEQ_TRY(read_word("part", kParts, &part, "whole, gate or up"));
        out->part = static_cast<Part>(part);
        out->layout = out->part == Part::kWhole ? MOEQ_LAYOUT_PLAIN : MOEQ_LAYOUT_GATE_UP;
        MOEQ_TRY(read_word("layout", kLayouts, &out->layout, "plain, gate_up, up_gate or interleaved"));
        if (out->part != Part::kWhole && out->layout != MOEQ_LAYOUT_GATE_UP && out->layout != MOEQ_LAYOUT_UP_GATE)
            return refuse("layout of a gate or up", "gate_up or up_gate: they become halves");
        int32_t cut = static_cast<int32_t>(out->layout != MOEQ_LAYOUT_PLAIN ? Cut::kOutput : Cut::kUnknown);
        MOEQ_TRY(read_word("cut", kCuts, &cut, "output or contraction"));
        out->cut = static_cast<Cut>(cut);
        MOEQ_TRY(read_axis(out));
        return read_experts(experts, out);
    }

private:
    static bool is_key(const text::JsonValue& name)
    {
        for (const char* key : kKeys)
            if (name.equals(key))
                return true;
        return false;
    }

    moeq_status refuse(const char* what, const char* want)
    {
        return report_.fail(MOEQ_ERROR_ARGUMENT, argument_, "options.patterns")
               << "got " << what << " in entry " << index_ << "; want " << want;
    }

    moeq_status read_texts(Rule* out)
    {
        const text::JsonValue match = entry_.find("match");
        const text::JsonValue stack = entry_.find("stack");
        if (!match.is_string() || !stack.is_string())
            return refuse(match.is_string() ? "no stack" : "no match", "texts for match and stack");
        const char* fault = pattern_fault(match.text());
        if (fault != nullptr)
            return (report_.fail(MOEQ_ERROR_ARGUMENT, argument_, "options.patterns") << "got match ")
                       .quoted(match.text())
                   << " in entry " << index_ << " with " << fault
                   << "; want segments, each *, plain, or plain with {expert} in it, ** only at the begin";
        fault = template_fault(stack.text(), match.text());
        if (fault != nullptr)
            return (report_.fail(MOEQ_ERROR_ARGUMENT, argument_, "options.patterns") << "got stack ")
                       .quoted(stack.text())
                   << " in entry " << index_ << " with " << fault << "; want the wildcards of match, in their order";
        out->match = match.text();
        out->stack = stack.text();
        return MOEQ_OK;
    }

    template <size_t kCount>
    moeq_status read_word(const char* key, const Word (&words)[kCount], int32_t* out, const char* want)
    {
        const text::JsonValue value = entry_.find(key);
        if (value.missing())
            return MOEQ_OK;
        for (const Word& word : words)
            if (value.equals(word.text)) {
                *out = word.value;
                return MOEQ_OK;
            }
        return report_.fail(MOEQ_ERROR_ARGUMENT, argument_, "options.patterns")
               << "got another " << key << " in entry " << index_ << "; want " << want;
    }

    moeq_status read_axis(Rule* out)
    {
        const text::JsonValue value = entry_.find("scale_axis");
        double axis = -1.0; // JSON integers of get_integer may not be negative everywhere
        if (!value.missing() && !value.get_number(&axis))
            return refuse("a scale_axis that is no number", "-1 or -2");
        if (axis != -1.0 && axis != -2.0)
            return refuse("another scale_axis", "-1 (weights [out, in]) or -2 ([in, out])");
        out->scale_axis = axis == -1.0 ? -1 : -2;
        return MOEQ_OK;
    }

    moeq_status read_count(const char* key, int64_t least, int64_t* out)
    {
        const text::JsonValue value = entry_.find(key);
        if (value.missing() || (value.get_integer(out) && *out >= least && *out <= kMostExperts))
            return MOEQ_OK;
        return report_.fail(MOEQ_ERROR_ARGUMENT, argument_, "options.patterns")
               << "got another " << key << " in entry " << index_ << "; want an integer from " << least << " to "
               << kMostExperts;
    }

    moeq_status read_experts(int64_t known, Rule* out)
    {
        const bool one = std::strstr(out->match, "{expert}") != nullptr;
        const text::JsonValue value = entry_.find("folded");
        bool folded = false;
        if (!value.missing() && !value.get_bool(&folded))
            return refuse("another folded", "true or false");
        if (folded && one)
            return refuse("folded and {expert}", "one of them: a folded tensor has all experts");
        MOEQ_TRY(read_count("experts", 1, &out->experts));
        MOEQ_TRY(read_count("first_expert", 0, &out->first_expert));
        if (!one && !entry_.find("first_expert").missing())
            return refuse("first_expert without {expert}", "none: the tensor has all experts");
        if (!one && !folded && out->experts != 0)
            return refuse("experts without {expert} and without folded", "none: a 3-D tensor tells how many");
        if (folded && out->experts == 0 && known <= 0)
            return refuse("folded without experts, of which config.json says nothing", "their number as experts");
        if (folded && out->experts == 0)
            out->experts = known;
        out->holds = one ? Holds::kOne : folded ? Holds::kFolded : Holds::kAll;
        out->own_name = true; // its loader is not known to have another one
        return MOEQ_OK;
    }

    const text::JsonValue entry_;
    int64_t index_;
    int32_t argument_;
    Report& report_;
};

} // namespace

moeq_status read_pattern(const text::JsonValue& entry, int64_t index, int64_t experts, int32_t argument, Rule* out,
                         Report& report)
{
    return EntryReader(entry, index, argument, report).read(experts, out);
}

} // namespace moeq::store
