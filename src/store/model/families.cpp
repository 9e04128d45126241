#include "store/model/families.h"

#include <iterator>

namespace moeq::store {

namespace {

constexpr Rule linear(const char* match, const char* stack, Part part, Cut cut, Kind kind = Kind::kOnly)
{
    const int32_t layout = part == Part::kWhole ? MOEQ_LAYOUT_PLAIN : MOEQ_LAYOUT_GATE_UP;
    return {match, stack, part, Holds::kOne, -1, layout, cut, false, false, kind};
}
constexpr Rule fused(const char* match, const char* stack, int32_t scale_axis, int32_t layout, Cut cut,
                     bool either_axis = false)
{
    return {match, stack, Part::kWhole, Holds::kAll, scale_axis, layout, cut, either_axis};
}
constexpr Rule own_name(Rule rule)
{
    rule.own_name = true;
    return rule;
}
constexpr Rule fused_part(const char* match, const char* stack, Part part)
{
    return {match, stack, part, Holds::kAll, -1, MOEQ_LAYOUT_GATE_UP, Cut::kOutput};
}

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

// [E, 2I, H]: gate, up, gate, up ... along the rows; halves in memory, under another name.
constexpr Rule kInkling[] = {
    own_name(
        fused("**.experts.w13_weight", "**.experts.gate_up_proj", -1, MOEQ_LAYOUT_GATE_UP_INTERLEAVED, Cut::kOutput)),
    own_name(fused("**.experts.w2_weight", "**.experts.down_proj", -1, MOEQ_LAYOUT_PLAIN, Cut::kContraction)),
    kHalves[0],
    kHalves[1],
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

// The attention of JetMoE has experts too.
constexpr Rule kJetmoe[] = {
    own_name(fused("**.mlp.input_linear.weight", "**.mlp.experts.gate_up_proj", -1, MOEQ_LAYOUT_GATE_UP, Cut::kOutput)),
    own_name(
        fused("**.mlp.output_linear.weight", "**.mlp.experts.down_proj", -1, MOEQ_LAYOUT_PLAIN, Cut::kContraction)),
    own_name(fused("**.experts.input_linear.weight", "**.experts.up_proj", -1, MOEQ_LAYOUT_PLAIN, Cut::kOutput)),
    own_name(
        fused("**.experts.output_linear.weight", "**.experts.down_proj", -1, MOEQ_LAYOUT_PLAIN, Cut::kContraction)),
};

// Experts without a gate.
constexpr Rule kUngated[] = {
    linear("**.experts.{expert}.up_proj.weight", "**.experts.up_proj", Part::kWhole, Cut::kOutput),
    linear("**.experts.{expert}.down_proj.weight", "**.experts.down_proj", Part::kWhole, Cut::kContraction),
    fused("**.experts.up_proj", "**.experts.up_proj", -1, MOEQ_LAYOUT_PLAIN, Cut::kOutput),
    fused("**.experts.down_proj", "**.experts.down_proj", -1, MOEQ_LAYOUT_PLAIN, Cut::kContraction),
};

// What NeMo exports of them is transposed, [E, H, I] and [E, I, H], and has no gate in spite of its name.
constexpr Rule kNemo[] = {
    own_name(fused("**.experts.gate_and_up_projs", "**.experts.up_proj", -2, MOEQ_LAYOUT_PLAIN, Cut::kOutput)),
    own_name(fused("**.experts.down_projs", "**.experts.down_proj", -2, MOEQ_LAYOUT_PLAIN, Cut::kContraction)),
    kUngated[0],
    kUngated[1],
    kUngated[2],
    kUngated[3],
};

constexpr Rule kSwitch[] = {
    linear("**.experts.expert_{expert}.wi.weight", "**.experts.up_proj", Part::kWhole, Cut::kOutput),
    linear("**.experts.expert_{expert}.wo.weight", "**.experts.down_proj", Part::kWhole, Cut::kContraction),
};
constexpr Rule kNllb[] = {
    linear("**.experts.expert_{expert}.fc1.weight", "**.experts.up_proj", Part::kWhole, Cut::kOutput),
    linear("**.experts.expert_{expert}.fc2.weight", "**.experts.down_proj", Part::kWhole, Cut::kContraction),
};
// An expert is the second linear, or a part of its outputs.
constexpr Rule kVitpose[] = {
    linear("**.mlp.experts.{expert}.weight", "**.mlp.experts.down_proj", Part::kWhole, Cut::kContraction),
};

// All experts in tensors of two axes: [E * I, H] each, of which down is [in, out].
constexpr Rule kDbrx[] = {
    {"**.experts.mlp.w1", "**.experts.gate_up_proj", Part::kGate, Holds::kFolded, -1, MOEQ_LAYOUT_GATE_UP,
     Cut::kOutput},
    {"**.experts.mlp.v1", "**.experts.gate_up_proj", Part::kUp, Holds::kFolded, -1, MOEQ_LAYOUT_GATE_UP, Cut::kOutput},
    {"**.experts.mlp.w2", "**.experts.down_proj", Part::kWhole, Holds::kFolded, -2, MOEQ_LAYOUT_PLAIN,
     Cut::kContraction},
};

// Gate and up of all experts in a tensor each, [E, I, H]. Cut into linears they have no "experts" in their names.
constexpr Rule kFusedParts[] = {
    fused_part("**.moe.gate_proj.weight", "**.moe.gate_up_proj", Part::kGate),
    fused_part("**.moe.up_proj.weight", "**.moe.gate_up_proj", Part::kUp),
    own_name(fused("**.moe.down_proj.weight", "**.moe.down_proj", -1, MOEQ_LAYOUT_PLAIN, Cut::kContraction)),
    linear("**.moe.{expert}.gate_proj.weight", "**.moe.gate_up_proj", Part::kGate, Cut::kOutput),
    linear("**.moe.{expert}.up_proj.weight", "**.moe.gate_up_proj", Part::kUp, Cut::kOutput),
    linear("**.moe.{expert}.down_proj.weight", "**.moe.down_proj", Part::kWhole, Cut::kContraction),
    kHalves[0],
    kHalves[1],
};

// The vision tower has experts of its own.
constexpr Rule kDots3[] = {
    linear("**.experts.{expert}.fc1.weight", "**.experts.gate_up_proj", Part::kGate, Cut::kOutput),
    linear("**.experts.{expert}.fc3.weight", "**.experts.gate_up_proj", Part::kUp, Cut::kOutput),
    linear("**.experts.{expert}.fc2.weight", "**.experts.down_proj", Part::kWhole, Cut::kContraction),
    kHalves[0],
    kHalves[1],
};

// Text experts and, numbered on, vision experts of another width; two modules in memory.
constexpr char kText[] = "**.mlp.text_moe.experts.gate_up_proj";
constexpr char kTextDown[] = "**.mlp.text_moe.experts.down_proj";
constexpr char kVision[] = "**.mlp.vision_moe.experts.gate_up_proj";
constexpr char kVisionDown[] = "**.mlp.vision_moe.experts.down_proj";
constexpr Rule kErnieVl[] = {
    linear("**.mlp.experts.{expert}.gate_proj.weight", kText, Part::kGate, Cut::kOutput, Kind::kFirst),
    linear("**.mlp.experts.{expert}.up_proj.weight", kText, Part::kUp, Cut::kOutput, Kind::kFirst),
    linear("**.mlp.experts.{expert}.down_proj.weight", kTextDown, Part::kWhole, Cut::kContraction, Kind::kFirst),
    linear("**.mlp.experts.{expert}.gate_proj.weight", kVision, Part::kGate, Cut::kOutput, Kind::kSecond),
    linear("**.mlp.experts.{expert}.up_proj.weight", kVision, Part::kUp, Cut::kOutput, Kind::kSecond),
    linear("**.mlp.experts.{expert}.down_proj.weight", kVisionDown, Part::kWhole, Cut::kContraction, Kind::kSecond),
    kHalves[0],
    kHalves[1],
};

// ---- what linears of one expert each are called where the loader takes such

constexpr LinearNames kUsual[] = {
    {"**.experts", "**.experts.{expert}", "gate_proj", "up_proj", "down_proj"},
};
// Transformers renames the holder and finds w1 under either; released files have the second one.
constexpr LinearNames kMixtralNames[] = {
    {"**.mlp.experts", "**.block_sparse_moe.experts.{expert}", "w1", "w3", "w2"},
    {"**.block_sparse_moe.experts", "**.block_sparse_moe.experts.{expert}", "w1", "w3", "w2"},
};
constexpr LinearNames kNumbered[] = {
    {"**.experts", "**.experts.{expert}", "w1", "w3", "w2"},
};
constexpr LinearNames kDeepseek4Names[] = {
    {"**.mlp.experts", "**.ffn.experts.{expert}", "w1", "w3", "w2"},
    {"**.ffn.experts", "**.ffn.experts.{expert}", "w1", "w3", "w2"},
};
// The loader puts "mlp" before every "experts".
constexpr LinearNames kMistralLarge4Names[] = {
    {"**.mlp.experts", "**.experts.{expert}", "w1", "w3", "w2"},
    {"**.experts", "**.experts.{expert}", "w1", "w3", "w2"},
};
// The loader puts "language_model" before every "layers".
constexpr LinearNames kOcrNames[] = {
    {"model.language_model.layers.*.mlp.experts", "model.layers.*.mlp.experts.{expert}", "gate_proj", "up_proj",
     "down_proj"},
    kUsual[0],
};
constexpr LinearNames kSwitchNames[] = {{"**.experts", "**.experts.expert_{expert}", nullptr, "wi", "wo"}};
constexpr LinearNames kNllbNames[] = {{"**.experts", "**.experts.expert_{expert}", nullptr, "fc1", "fc2"}};
constexpr LinearNames kVitposeNames[] = {{"**.experts", "**.experts.{expert}", nullptr, nullptr, ""}};
constexpr LinearNames kGrokNames[] = {{"**.experts", "**.experts.{expert}", "linear", "linear_v", "linear_1"}};
constexpr LinearNames kDots3Names[] = {
    {"vision_encoder.blocks.*.mlp.experts", "vision_encoder.blocks.*.mlp.experts.{expert}", "fc1", "fc3", "fc2"},
    {"**.vision_tower.blocks.*.mlp.experts", "**.vision_tower.blocks.*.mlp.experts.{expert}", "fc1", "fc3", "fc2"},
    kUsual[0],
};
constexpr LinearNames kErnieVlNames[] = {
    {"**.text_moe.experts", "**.experts.{expert}", "gate_proj", "up_proj", "down_proj", Kind::kFirst},
    {"**.vision_moe.experts", "**.experts.{expert}", "gate_proj", "up_proj", "down_proj", Kind::kSecond},
};

// ---- the table

constexpr char kOwn[] = "experts of a module of their own";

// Released as linears, which the loader takes.
template <size_t kRules, size_t kNames>
constexpr Family per_expert(const char* types, const Rule (&rules)[kRules], const LinearNames (&names)[kNames],
                            const char* own_modules = nullptr)
{
    return {types,
            rules,
            static_cast<int32_t>(kRules),
            Linears::kLoaded,
            names,
            static_cast<int32_t>(kNames),
            own_modules,
            false,
            nullptr,
            own_modules == kOwn};
}

// Released as fused weights, which are all that the loader takes.
template <size_t kRules>
constexpr Family fused_only(const char* types, const Rule (&rules)[kRules], const char* own_modules = nullptr)
{
    return {types, rules,   static_cast<int32_t>(kRules), Linears::kNone, nullptr, 0, own_modules,
            false, nullptr, own_modules == kOwn};
}

// Names on disk and shapes are those of transformers 5: modeling_*.py says how a fused weight lies, conversion_mapping.py which
// names the files have, and whether there is a way from linears. Per-expert names are the same for nearly all and are
// kCommonRules.
constexpr Family kFamilies[] = {
    per_expert("mixtral minimax minimax_m2 minimax_m3_vl phimoe kimi_linear", kHalves, kMixtralNames),
    per_expert("qwen2_moe qwen3_moe qwen3_next qwen3_5_moe qwen3_5_moe_text qwen3_omni_moe qwen3_omni_moe_thinker "
               "qwen3_omni_moe_text qwen4_exp qwen4_exp_text",
               kHalves, kUsual),
    per_expert("olmoe flex_olmo jamba afmoe cohere2_moe exaone_moe solar_open longcat_flash", kHalves, kUsual),
    per_expert("deepseek_ocr2 unlimited_ocr", kHalves, kOcrNames),
    per_expert("deepseek_v2 deepseek_v3 deepseek_v32 kimi_k2 kimi_k25 unlimited_ocr_text", kHalves, kUsual),
    per_expert("glm4_moe glm4_moe_lite glm4v_moe glm_moe_dsa glm5_next glm5_next_text", kHalves, kUsual),
    per_expert("dots1 ernie4_5_moe hunyuan_v1_moe hy_v3 mimo_v2_flash axk1 axk2 bailing_hybrid beam flint kolibri1 "
               "laguna mellum sarvam_mla sarvam_moe",
               kHalves, kUsual),
    per_expert("lfm2_moe", kHalves, kNumbered),
    per_expert("deepseek_v4", kHalves, kDeepseek4Names),
    per_expert("mistral_large4 mistral_large4_text", kHalves, kMistralLarge4Names),
    per_expert("dots3_note dots3_note_text", kDots3, kDots3Names),
    per_expert("nemotron_h nemotron_h_omni", kUngated, kUsual),
    per_expert("nemo_speechlm", kNemo, kUsual),
    per_expert("switch_transformers", kSwitch, kSwitchNames, kOwn),
    per_expert("nllb-moe", kNllb, kNllbNames, kOwn),
    per_expert("vitpose vitpose_backbone", kVitpose, kVitposeNames, kOwn),
    {"ernie4_5_vl_moe ernie4_5_vl_moe_text", kErnieVl, std::size(kErnieVl), Linears::kLoaded, kErnieVlNames,
     std::size(kErnieVlNames), nullptr, true},
    {"grok-1", nullptr, 0, Linears::kLoaded, kGrokNames, std::size(kGrokNames), kOwn, false, nullptr, true},
    // Parts of larger models, as models of their own: nothing converts their linears.
    fused_only("minimax_m3_vl_text glm4v_moe_text qwen3_omni_moe_talker_text deepseek_ocr2_text", kHalves),
    fused_only("gemma4 gemma4_text diffusion_gemma_text hy_v4 hy_v4_vl hy_v4_vl_text lara_mini mistral4 zaya", kHalves),
    fused_only("diffusion_gemma", kHalves, "experts that are tied to those of an encoder, whose scales are not"),
    fused_only("muse_spark muse_spark_text", kHalves, "experts with a norm behind them"),
    fused_only("qwen3_vl_moe qwen3_vl_moe_text", kEitherHalves),
    fused_only("gpt_oss", kTransposedInterleaved),
    {"llama4 llama4_text", kTransposedHalves, std::size(kTransposedHalves), Linears::kReplaced, kUsual,
     std::size(kUsual)},
    fused_only("aria aria_text openai_privacy_filter", kTransposedHalves),
    fused_only("inkling_mm_model inkling_text inkling2 inkling2_text inkling2_loop inkling2_loop_text", kInkling),
    fused_only("granitemoe granitemoeshared granitemoehybrid granitemoe_swa", kGranite),
    fused_only("jetmoe", kJetmoe, kOwn),
    fused_only("step3p5 step3p7 step3_vl step3_text", kFusedParts),
    fused_only("dbrx", kDbrx, kOwn),
    // An expert is a row of two embeddings.
    {"doge", nullptr, 0, Linears::kNone, nullptr, 0, nullptr, true, "rows of embeddings"},
};

bool lists(const char* types, const char* type)
{
    const uint64_t length = std::strlen(type);
    for (const char* at = types; length != 0 && (at = std::strstr(at, type)) != nullptr; at += length)
        if ((at == types || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

} // namespace

const Family* find_family(const char* type, const char* text_type)
{
    for (const char* wanted : {type, text_type})
        for (const Family& family : kFamilies)
            if (lists(family.types, wanted))
                return &family;
    return nullptr;
}

// Linears of one expert each are [out, in] as every framework has them. MLX stacks them: [E, out, in], gate and up in a tensor
// each.
constexpr Rule kCommonRules[] = {
    linear("**.experts.{expert}.gate_proj.weight", "**.experts.gate_up_proj", Part::kGate, Cut::kOutput),
    linear("**.experts.{expert}.up_proj.weight", "**.experts.gate_up_proj", Part::kUp, Cut::kOutput),
    linear("**.experts.{expert}.down_proj.weight", "**.experts.down_proj", Part::kWhole, Cut::kContraction),
    linear("**.experts.{expert}.w1.weight", "**.experts.gate_up_proj", Part::kGate, Cut::kOutput),
    linear("**.experts.{expert}.w3.weight", "**.experts.gate_up_proj", Part::kUp, Cut::kOutput),
    linear("**.experts.{expert}.w2.weight", "**.experts.down_proj", Part::kWhole, Cut::kContraction),
    linear("**.moe_block.experts.{expert}.linear.weight", "**.moe_block.experts.gate_up_proj", Part::kGate,
           Cut::kOutput),
    linear("**.moe_block.experts.{expert}.linear_v.weight", "**.moe_block.experts.gate_up_proj", Part::kUp,
           Cut::kOutput),
    linear("**.moe_block.experts.{expert}.linear_1.weight", "**.moe_block.experts.down_proj", Part::kWhole,
           Cut::kContraction),
    fused_part("**.switch_mlp.gate_proj.weight", "**.experts.gate_up_proj", Part::kGate),
    fused_part("**.switch_mlp.up_proj.weight", "**.experts.gate_up_proj", Part::kUp),
    own_name(fused("**.switch_mlp.down_proj.weight", "**.experts.down_proj", -1, MOEQ_LAYOUT_PLAIN, Cut::kContraction)),
};
constexpr int32_t kCommonRuleCount = std::size(kCommonRules);

} // namespace moeq::store
