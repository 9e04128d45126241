#include "store/model/families.h"

namespace moeq {

namespace {

constexpr int64_t kPatternsLimit = 1 << 20; // bytes
constexpr int64_t kMostExperts = 1'000'000; // that config.json is believed about; models have some hundreds

constexpr Rule linear(const char* match, const char* stack, Part part, Cut cut)
{
    return {match, stack, part, 2, -1, part == Part::kWhole ? MOEQ_LAYOUT_PLAIN : MOEQ_LAYOUT_GATE_UP, cut, false};
}
constexpr Rule fused(const char* match, const char* stack, int32_t scale_axis, int32_t layout, Cut cut,
                     bool either_axis = false)
{
    return {match, stack, Part::kWhole, 3, scale_axis, layout, cut, either_axis};
}

// Linears of one expert each, [out, in] as every framework has them. What they are called leaves no doubt, so they need no model
// type.
constexpr Rule kLinears[] = {
    linear("**.experts.{expert}.gate_proj.weight", "**.experts.gate_up_proj", Part::kGate, Cut::kOutput),
    linear("**.experts.{expert}.up_proj.weight", "**.experts.gate_up_proj", Part::kUp, Cut::kOutput),
    linear("**.experts.{expert}.down_proj.weight", "**.experts.down_proj", Part::kWhole, Cut::kContraction),
    linear("**.experts.{expert}.w1.weight", "**.experts.gate_up_proj", Part::kGate, Cut::kOutput),
    linear("**.experts.{expert}.w3.weight", "**.experts.gate_up_proj", Part::kUp, Cut::kOutput),
    linear("**.experts.{expert}.w2.weight", "**.experts.down_proj", Part::kWhole, Cut::kContraction),
};

// Gate and up in one linear [E, 2I, H], halves; down [E, H, I].
constexpr Rule kHalves[] = {
    fused("**.experts.gate_up_proj", "**.experts.gate_up_proj", -1, MOEQ_LAYOUT_GATE_UP, Cut::kOutput),
    fused("**.experts.down_proj", "**.experts.down_proj", -1, MOEQ_LAYOUT_PLAIN, Cut::kContraction),
};

// [E, H, 2I], halves; down [E, I, H].
constexpr Rule kTransposedHalves[] = {
    fused("**.experts.gate_up_proj", "**.experts.gate_up_proj", -2, MOEQ_LAYOUT_GATE_UP, Cut::kOutput),
    fused("**.experts.down_proj", "**.experts.down_proj", -2, MOEQ_LAYOUT_PLAIN, Cut::kContraction),
    fused("**.experts.fc1.weight", "**.experts.gate_up_proj", -2, MOEQ_LAYOUT_GATE_UP, Cut::kOutput),
    fused("**.experts.fc2.weight", "**.experts.down_proj", -2, MOEQ_LAYOUT_PLAIN, Cut::kContraction),
};

// [E, H, 2I] on the hub, [E, 2I, H] where a model was saved as it is in memory.
constexpr Rule kEitherHalves[] = {
    fused("**.experts.gate_up_proj", "**.experts.gate_up_proj", -2, MOEQ_LAYOUT_GATE_UP, Cut::kOutput, true),
    fused("**.experts.down_proj", "**.experts.down_proj", -2, MOEQ_LAYOUT_PLAIN, Cut::kContraction, true),
};

// [E, H, 2I]: gate, up, gate, up ... along the columns.
constexpr Rule kTransposedInterleaved[] = {
    fused("**.experts.gate_up_proj", "**.experts.gate_up_proj", -2, MOEQ_LAYOUT_GATE_UP_INTERLEAVED, Cut::kOutput),
    fused("**.experts.down_proj", "**.experts.down_proj", -2, MOEQ_LAYOUT_PLAIN, Cut::kContraction),
};

// Granite: its own names on the hub, the usual ones in transformers 5.
constexpr Rule kGranite[] = {
    fused("**.block_sparse_moe.input_linear.weight", "**.block_sparse_moe.experts.gate_up_proj", -1,
          MOEQ_LAYOUT_GATE_UP, Cut::kOutput),
    fused("**.block_sparse_moe.output_linear.weight", "**.block_sparse_moe.experts.down_proj", -1, MOEQ_LAYOUT_PLAIN,
          Cut::kContraction),
    kHalves[0],
    kHalves[1],
};

// Experts without a gate.
constexpr Rule kUngated[] = {
    linear("**.experts.{expert}.up_proj.weight", "**.experts.up_proj", Part::kWhole, Cut::kOutput),
    linear("**.experts.{expert}.down_proj.weight", "**.experts.down_proj", Part::kWhole, Cut::kContraction),
    fused("**.experts.up_proj", "**.experts.up_proj", -1, MOEQ_LAYOUT_PLAIN, Cut::kOutput),
    fused("**.experts.down_proj", "**.experts.down_proj", -1, MOEQ_LAYOUT_PLAIN, Cut::kContraction),
};

// Gate and up of all experts in a tensor each, [E, I, H].
constexpr Rule kFusedParts[] = {
    {"**.moe.gate_proj.weight", "**.moe.gate_up_proj", Part::kGate, 3, -1, MOEQ_LAYOUT_GATE_UP, Cut::kOutput, false},
    {"**.moe.up_proj.weight", "**.moe.gate_up_proj", Part::kUp, 3, -1, MOEQ_LAYOUT_GATE_UP, Cut::kOutput, false},
    fused("**.moe.down_proj.weight", "**.moe.down_proj", -1, MOEQ_LAYOUT_PLAIN, Cut::kContraction),
    kHalves[0],
    kHalves[1],
};

// What linears of one expert each are called where the released files have such.
constexpr LinearNames kUsual[] = {{"**.experts", "**.experts.{expert}", "gate_proj", "up_proj", "down_proj"}};
// Transformers renames the holder and finds w1 under either; released files have the second one.
constexpr LinearNames kMixtralNames[] = {
    {"**.mlp.experts", "**.block_sparse_moe.experts.{expert}", "w1", "w3", "w2"},
    {"**.block_sparse_moe.experts", "**.block_sparse_moe.experts.{expert}", "w1", "w3", "w2"},
};
constexpr LinearNames kNumbered[] = {{"**.experts", "**.experts.{expert}", "w1", "w3", "w2"}};
constexpr LinearNames kDeepseek4Names[] = {
    {"**.mlp.experts", "**.ffn.experts.{expert}", "w1", "w3", "w2"},
    {"**.ffn.experts", "**.ffn.experts.{expert}", "w1", "w3", "w2"},
};

// Released as linears, which the loader takes.
template <size_t kRules, size_t kNames>
constexpr Family per_expert(const char* types, const Rule (&rules)[kRules], const LinearNames (&names)[kNames])
{
    return {types, rules, static_cast<int32_t>(kRules), false, Linears::kLoaded, names, static_cast<int32_t>(kNames)};
}

// Released as fused weights, which are all that the loader takes.
template <size_t kRules>
constexpr Family fused_only(const char* types, const Rule (&rules)[kRules])
{
    return {types, rules, static_cast<int32_t>(kRules), false, Linears::kNone, nullptr, 0};
}

// Names on disk and shapes are those of transformers 5: modeling_*.py says how a fused weight lies, conversion_mapping.py which
// names the files have, and whether there is a way from linears. Per-expert names are the same for nearly all and are kLinears.
constexpr Family kFamilies[] = {
    per_expert("mixtral minimax minimax_m2 minimax_m3_vl phimoe kimi_linear", kHalves, kMixtralNames),
    per_expert("qwen2_moe qwen3_moe qwen3_next qwen3_5_moe qwen3_5_moe_text qwen3_omni_moe qwen3_omni_moe_thinker "
               "qwen3_omni_moe_text",
               kHalves, kUsual),
    per_expert("olmoe flex_olmo jamba afmoe cohere2_moe exaone_moe solar_open longcat_flash", kHalves, kUsual),
    per_expert("deepseek_v2 deepseek_v3 deepseek_v32 kimi_k2 kimi_k25", kHalves, kUsual),
    per_expert("glm4_moe glm4_moe_lite glm4v_moe glm_moe_dsa glm5_next glm5_next_text", kHalves, kUsual),
    per_expert("dots1 ernie4_5_moe hunyuan_v1_moe mimo_v2_flash", kHalves, kUsual),
    per_expert("lfm2_moe", kHalves, kNumbered),
    per_expert("deepseek_v4", kHalves, kDeepseek4Names),
    per_expert("nemotron_h", kUngated, kUsual),
    // Parts of larger models, as models of their own: nothing converts their linears.
    fused_only("minimax_m3_vl_text glm4v_moe_text qwen3_omni_moe_talker_text", kHalves),
    fused_only("gemma4 gemma4_text", kHalves),
    fused_only("qwen3_vl_moe qwen3_vl_moe_text", kEitherHalves),
    fused_only("gpt_oss", kTransposedInterleaved),
    {"llama4 llama4_text", kTransposedHalves, 4, false, Linears::kReplaced, kUsual, 1},
    fused_only("aria aria_text openai_privacy_filter", kTransposedHalves),
    fused_only("granitemoe granitemoeshared granitemoehybrid granitemoe_swa", kGranite),
    fused_only("step3p5 step3p7", kFusedParts),
    // Text experts and, from some index on, smaller vision experts under one name.
    {"ernie4_5_vl_moe ernie4_5_vl_moe_text", nullptr, 0, true, Linears::kLoaded, kUsual, 1},
};

bool lists(const char* types, const char* type)
{
    const uint64_t length = std::strlen(type);
    for (const char* at = types; length != 0 && (at = std::strstr(at, type)) != nullptr; at += length)
        if ((at == types || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

const Family* find_family(const char* const* model_types, int32_t count)
{
    for (int32_t i = 0; i < count; ++i)
        for (const Family& family : kFamilies)
            if (lists(family.types, model_types[i]))
                return &family;
    return nullptr;
}

bool append_rules(const Rule* rules, int32_t count, Array<Rule>* out)
{
    if (count == 0)
        return true;
    if (!out->reserve(out->size() + count))
        return false;
    out->append_reserved(rules, count);
    return true;
}

// ---- patterns of the caller's

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

class PatternReader {
public:
    PatternReader(const JsonValue& entry, int64_t index, int32_t argument, Report& report)
        : entry_(entry), index_(index), argument_(argument), report_(report)
    {
    }

    moeq_status read(Rule* out)
    {
        if (!entry_.is_object())
            return refuse("this entry", "an object");
        for (JsonMember m = entry_.first(); !m.done(); m = m.next())
            if (!is_key(m.name()))
                return (report_.fail(MOEQ_ERROR_ARGUMENT, argument_, "options.patterns") << "got the key ")
                           .quoted(m.name().text())
                       << " in entry " << index_ << "; want match, stack, part, scale_axis, layout and cut";
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
        return read_axis(out);
    }

private:
    static bool is_key(const JsonValue& name)
    {
        for (const char* key : {"match", "stack", "part", "scale_axis", "layout", "cut"})
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
        const JsonValue match = entry_.find("match");
        const JsonValue stack = entry_.find("stack");
        if (!match.is_string() || !stack.is_string())
            return refuse(match.is_string() ? "no stack" : "no match", "texts for match and stack");
        const char* fault = pattern_fault(match.text());
        if (fault != nullptr)
            return (report_.fail(MOEQ_ERROR_ARGUMENT, argument_, "options.patterns") << "got match ")
                       .quoted(match.text())
                   << " in entry " << index_ << " with " << fault
                   << "; want segments, each *, {expert} or plain, ** only at the begin";
        fault = template_fault(stack.text(), match.text());
        if (fault != nullptr)
            return (report_.fail(MOEQ_ERROR_ARGUMENT, argument_, "options.patterns") << "got stack ")
                       .quoted(stack.text())
                   << " in entry " << index_ << " with " << fault << "; want the wildcards of match, in their order";
        out->match = match.text();
        out->stack = stack.text();
        out->ndim = std::strstr(out->match, "{expert}") != nullptr ? 2 : 3;
        return MOEQ_OK;
    }

    template <size_t kCount>
    moeq_status read_word(const char* key, const Word (&words)[kCount], int32_t* out, const char* want)
    {
        const JsonValue value = entry_.find(key);
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
        const JsonValue value = entry_.find("scale_axis");
        double axis = -1.0; // JSON integers of get_integer may not be negative everywhere
        if (!value.missing() && !value.get_number(&axis))
            return refuse("a scale_axis that is no number", "-1 or -2");
        if (axis != -1.0 && axis != -2.0)
            return refuse("another scale_axis", "-1 (weights [out, in]) or -2 ([in, out])");
        out->scale_axis = axis == -1.0 ? -1 : -2;
        return MOEQ_OK;
    }

    const JsonValue entry_;
    int64_t index_;
    int32_t argument_;
    Report& report_;
};

} // namespace

moeq_status Rules::parse(const char* patterns, int32_t argument, Report& report)
{
    const int64_t length = static_cast<int64_t>(strnlen(patterns, kPatternsLimit + 1));
    if (length > kPatternsLimit)
        return report.fail(MOEQ_ERROR_LIMIT, argument, "options.patterns")
               << "got more than " << kPatternsLimit << " bytes; want fewer";
    if (!text_.reserve(length + 1))
        return report.out_of_memory(static_cast<uint64_t>(length) + 1);
    text_.append_reserved(patterns, length + 1);
    {
        moeq_error error{};
        Report inner("", &error);
        const moeq_status status = document_.parse(text_.data(), length, {.what = "JSON"}, inner);
        if (status == MOEQ_ERROR_MEMORY)
            return report.out_of_memory(static_cast<uint64_t>(length));
        if (status != MOEQ_OK) // its message: ": JSON: at byte 3: got ..."
            return report.fail(MOEQ_ERROR_ARGUMENT, argument, "options.patterns")
                   << "got what is no " << std::strstr(error.message, "JSON");
    }
    const JsonValue root = document_.root();
    if (!root.is_array())
        return report.fail(MOEQ_ERROR_ARGUMENT, argument, "options.patterns")
               << "got " << root.kind_name() << "; want an array of objects";
    if (!rules_.reserve(root.size()))
        return report.out_of_memory(static_cast<uint64_t>(root.size()) * sizeof(Rule));
    int64_t index = 0;
    for (JsonMember m = root.first(); !m.done(); m = m.next(), ++index) {
        Rule rule;
        MOEQ_TRY(PatternReader(m.value(), index, argument, report).read(&rule));
        rules_.append_reserved(&rule, 1);
    }
    return MOEQ_OK;
}

moeq_status Rules::collect(const char* const* model_types, int32_t count, const char* patterns, int32_t argument,
                           Report& report)
{
    if (patterns != nullptr)
        MOEQ_TRY(parse(patterns, argument, report));
    family_ = find_family(model_types, count);
    bool fits = family_ == nullptr || append_rules(family_->rules, family_->count, &rules_);
    if (family_ == nullptr || !family_->only)
        fits = fits && append_rules(kLinears, static_cast<int32_t>(sizeof kLinears / sizeof kLinears[0]), &rules_);
    return fits ? MOEQ_OK : report.out_of_memory(sizeof(Rule));
}

const Rule* Rules::find(const char* name, int64_t length, int32_t ndim, PatternMatch* match) const
{
    for (const Rule& rule : rules_)
        if (rule.ndim == ndim && match_pattern(rule.match, name, length, match))
            return &rule;
    return nullptr;
}

JsonValue config_of_part(const JsonValue& config)
{
    for (const char* part : {"thinker_config", "text_config", "llm_config", "language_config"}) {
        const JsonValue inner = config.find(part);
        if (inner.is_object())
            return inner;
    }
    return JsonValue();
}

JsonValue config_of_text(const JsonValue& config)
{
    JsonValue text = config;
    for (JsonValue part = config_of_part(text); !part.missing(); part = config_of_part(part))
        text = part;
    return text;
}

int64_t config_hidden_size(const JsonValue& config)
{
    int64_t size = -1;
    return config_of_text(config).find("hidden_size").get_integer(&size) && size > 0 ? size : -1;
}

int64_t config_expert_count(const JsonValue& config)
{
    const JsonValue text = config_of_text(config);
    for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"}) {
        int64_t count = -1;
        if (text.find(key).get_integer(&count) && count > 0 && count <= kMostExperts)
            return count;
    }
    return -1;
}

} // namespace moeq
