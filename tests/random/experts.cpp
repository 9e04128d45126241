#include "random/experts.h"

namespace moeq_random {

namespace {

using Shape = std::vector<int64_t>;

constexpr Kind kKinds[] = {{"qwen3_moe", Form::kLinears},
                           {"mixtral", Form::kLinears},
                           {"gpt_oss", Form::kFused},
                           {"llama4", Form::kFused},
                           {"granitemoe", Form::kGranite},
                           {"qwen3_vl_moe", Form::kFused},
                           {"step3p5", Form::kParts},
                           {"nemotron_h", Form::kLinears},
                           {"aria", Form::kLayers},
                           {"deepseek_v3", Form::kLinears},
                           {"ernie4_5_vl_moe", Form::kLinears},
                           {"olmoe", Form::kLinears},
                           {"unheard", Form::kLinears},
                           {"minimax", Form::kFused},
                           {"step3p7", Form::kParts},
                           {"glm4_moe", Form::kMlx},
                           {"dbrx", Form::kFolded},
                           {"switch_transformers", Form::kNumbered},
                           {"nllb-moe", Form::kNumbered},
                           {"vitpose", Form::kLinears},
                           {"grok-1", Form::kGrok},
                           {"inkling_text", Form::kInkling},
                           {"nemo_speechlm", Form::kNemo},
                           {"jetmoe", Form::kJetmoe},
                           {"deepseek_v4", Form::kLinears},
                           {"mistral_large4", Form::kLinears},
                           {"lfm2_moe", Form::kLinears},
                           {"gemma4", Form::kFused},
                           {"kimi_k2", Form::kMlx},
                           {"doge", Form::kLinears},
                           {"dots3_note", Form::kLinears},
                           {"qwen3_omni_moe", Form::kFused},
                           {"hy_v4", Form::kFused},
                           {"openai_privacy_filter", Form::kFused}};

class ExpertMaker {
public:
    ExpertMaker(Dice& dice, const ExpertSizes& sizes, const AddTensor& add, std::string* patterns)
        : dice_(dice), experts_(sizes.experts), hidden_(sizes.hidden), width_(sizes.width), add_(add),
          patterns_(patterns)
    {
    }

    void run(Form form, const std::string& layer, const std::string& mlp)
    {
        const std::string experts = layer + mlp + "experts.";
        const Shape up{experts_, width_, hidden_}, down{experts_, hidden_, width_};
        switch (form == Form::kAny ? static_cast<Form>(dice_.below(static_cast<int64_t>(Form::kAny))) : form) {
        case Form::kFused:
            add_fused(experts + "gate_up_proj", experts + "down_proj");
            break;
        case Form::kGranite:
            add_fused(layer + "block_sparse_moe.input_linear.weight", layer + "block_sparse_moe.output_linear.weight");
            break;
        case Form::kParts:
            add_parts(layer + "moe.");
            break;
        case Form::kLayers:
            add_fused(experts + "fc1.weight", experts + "fc2.weight");
            break;
        case Form::kMlx:
            add_parts(layer + mlp + "switch_mlp.");
            break;
        case Form::kFolded:
            add_folded(layer + "ffn.experts.mlp.");
            break;
        case Form::kNumbered:
            add_numbered(experts);
            break;
        case Form::kGrok:
            add_linears(layer + "moe_block.experts.", "linear", "linear_v", "linear_1");
            break;
        case Form::kInkling:
            add_fused(experts + "w13_weight", experts + "w2_weight");
            break;
        case Form::kNemo:
            add_(experts + "gate_and_up_projs", down);
            add_(experts + "down_projs", up);
            break;
        case Form::kJetmoe:
            add_fused(layer + "mlp.input_linear.weight", layer + "mlp.output_linear.weight");
            add_(layer + "self_attention.experts.input_linear.weight", up);
            add_(layer + "self_attention.experts.output_linear.weight", down);
            break;
        case Form::kPatterned:
            add_patterned(layer);
            break;
        default:
            add_linears(experts, dice_.chance(75) ? "gate_proj" : "w1", dice_.chance(75) ? "up_proj" : "w3",
                        dice_.chance(75) ? "down_proj" : "w2");
        }
        if (dice_.chance(10))
            add_(experts + "gate_up_proj_bias", {experts_, 2 * width_});
    }

private:
    bool few() const { return experts_ < 1000; } // as tensors of their own

    void add_linears(const std::string& experts, const std::string& gate, const std::string& up,
                     const std::string& down)
    {
        const bool gated = dice_.chance(90);
        for (int64_t e = 0; e < experts_ && few(); ++e) {
            const std::string one = experts + std::to_string(e) + ".";
            if (gated)
                add_(one + gate + ".weight", {width_, hidden_});
            add_(one + up + ".weight", {width_, hidden_});
            add_(one + down + ".weight", {hidden_, width_});
        }
    }

    void add_numbered(const std::string& experts)
    {
        const bool wide = dice_.chance(50);
        for (int64_t e = 0; e < experts_ && few(); ++e) {
            const std::string one = experts + "expert_" + std::to_string(e) + ".";
            add_(one + (wide ? "wi.weight" : "fc1.weight"), {width_, hidden_});
            add_(one + (wide ? "wo.weight" : "fc2.weight"), {hidden_, width_});
        }
    }

    void add_fused(const std::string& both, const std::string& down)
    {
        const bool turned = dice_.chance(30);
        const int64_t outputs = dice_.chance(95) ? 2 * width_ : width_;
        add_(both, turned ? Shape{experts_, hidden_, outputs} : Shape{experts_, outputs, hidden_});
        add_(down, turned ? Shape{experts_, width_, hidden_} : Shape{experts_, hidden_, width_});
    }

    void add_parts(const std::string& stem)
    {
        if (dice_.chance(90))
            add_(stem + "gate_proj.weight", {experts_, width_, hidden_});
        add_(stem + "up_proj.weight", {experts_, width_, hidden_});
        add_(stem + "down_proj.weight", {experts_, hidden_, width_});
    }

    void add_folded(const std::string& stem)
    {
        if (!few() || width_ > 1000)
            return;
        const int64_t rows = experts_ * width_ + (dice_.chance(3) ? 1 : 0);
        for (const char* name : {"w1", "v1", "w2"})
            add_(stem + name, {rows, hidden_});
    }

    // Names that only patterns know.
    void add_patterned(const std::string& layer)
    {
        static constexpr const char* kLayouts[] = {"gate_up", "up_gate"};
        static constexpr const char* kWhole[] = {"plain", "gate_up", "up_gate", "interleaved"};
        const int64_t form = dice_.below(3);
        const std::string layout = form == 2 ? dice_.of(kWhole) : dice_.of(kLayouts);
        const std::string axis = dice_.chance(70) ? "-1" : "-2";
        const auto entry = [&](const char* match, const char* stack, const char* part) {
            return std::string("{\"match\": \"**.ffn.") + match + "\", \"stack\": \"**.ffn." + stack +
                   "\", \"part\": \"" + part + "\", \"scale_axis\": " + axis + ", \"layout\": \"" + layout + "\"}";
        };
        if (form == 0) {
            for (int64_t e = 0; e < experts_ && few(); ++e) {
                const std::string one = layer + "ffn." + std::to_string(e) + ".";
                add_(one + "w_gate", {width_, hidden_});
                add_(one + "w_up", {width_, hidden_});
            }
            *patterns_ =
                "[" + entry("{expert}.w_gate", "w_in", "gate") + ", " + entry("{expert}.w_up", "w_in", "up") + "]";
        } else if (form == 1) {
            add_(layer + "ffn.gate_blob", {experts_, width_, hidden_});
            add_(layer + "ffn.up_blob", {experts_, width_, hidden_});
            *patterns_ = "[" + entry("gate_blob", "blob", "gate") + ", " + entry("up_blob", "blob", "up") + "]";
        } else {
            add_(layer + "ffn.blob", {experts_, 2 * width_, hidden_});
            *patterns_ = "[" + entry("blob", "blob", "whole") + "]";
        }
        if (dice_.chance(10))
            patterns_->clear();
    }

    Dice& dice_;
    int64_t experts_, hidden_, width_;
    const AddTensor& add_;
    std::string* patterns_;
};

} // namespace

Kind make_kind(Dice& dice) { return dice.of(kKinds); }

void add_experts(Dice& dice, Form form, const std::string& layer, const std::string& mlp, const ExpertSizes& sizes,
                 const AddTensor& add, std::string* patterns)
{
    ExpertMaker(dice, sizes, add, patterns).run(form, layer, mlp);
}

} // namespace moeq_random
