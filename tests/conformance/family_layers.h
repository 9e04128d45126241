// Experts of one layer by their meaning - gate, up and down of each - and checkpoints that have them as families of models do.
// How a stack has to lie is worked out here from the meaning, never by the library.
#pragma once

#include <functional>

#include "conformance/reader_cases.h"

namespace moeq_test {

enum class What { kGate, kUp, kDown, kGateUp };

// Gate and up [E, I, H], down [E, H, I], bf16.
class Experts {
public:
    Experts(int64_t experts, int64_t inner, int64_t hidden, uint64_t seed)
        : count(experts), inner(inner), hidden(hidden)
    {
        for (std::vector<uint16_t>* projection : {&gate_, &up_, &down_}) {
            HostTensor values(MOEQ_DTYPE_BF16, {experts, inner, hidden});
            values.fill(seed++);
            const auto* begin = values.as<uint16_t>();
            projection->assign(begin, begin + experts * inner * hidden);
        }
    }

    // One element of a projection, by output and input.
    uint16_t at(What what, int64_t expert, int64_t output, int64_t input) const
    {
        const int64_t outputs = what == What::kDown ? hidden : inner;
        const int64_t inputs = what == What::kDown ? inner : hidden;
        const auto& from = what == What::kGate ? gate_ : what == What::kUp ? up_ : down_;
        return from[static_cast<size_t>((expert * outputs + output) * inputs + input)];
    }

    const int64_t count, inner, hidden;

private:
    std::vector<uint16_t> gate_, up_, down_;
};

// A part of a stack: experts [expert_begin, expert_end), and of their width [inner_begin, inner_end).
struct Part {
    int64_t expert_begin, expert_end, inner_begin, inner_end;
};
inline Part all_of(const Experts& of) { return {0, of.count, 0, of.inner}; }

// [experts, rows, columns] as a stack of this layout and axis has them.
inline std::unique_ptr<HostTensor> lay_out(const Experts& of, What what, int32_t layout, int32_t axis, const Part& part)
{
    const int64_t width = part.inner_end - part.inner_begin;
    const int64_t outputs = what == What::kDown ? of.hidden : what == What::kGateUp ? 2 * width : width;
    const int64_t inputs = what == What::kDown ? width : of.hidden;
    const Shape shape{part.expert_end - part.expert_begin, axis == -1 ? outputs : inputs,
                      axis == -1 ? inputs : outputs};
    auto out = std::make_unique<HostTensor>(MOEQ_DTYPE_BF16, shape);
    for (int64_t e = 0; e < shape[0]; ++e)
        for (int64_t o = 0; o < outputs; ++o)
            for (int64_t i = 0; i < inputs; ++i) {
                What of_what = what;
                int64_t output = o + (what == What::kDown ? 0 : part.inner_begin);
                if (what == What::kGateUp) {
                    const bool turns = layout == MOEQ_LAYOUT_GATE_UP_INTERLEAVED;
                    of_what = (turns ? o % 2 : o / width) == 0 ? What::kGate : What::kUp;
                    output = part.inner_begin + (turns ? o / 2 : o % width);
                }
                const int64_t input = i + (what == What::kDown ? part.inner_begin : 0);
                const int64_t row = axis == -1 ? o : i;
                const int64_t column = axis == -1 ? i : o;
                out->as<uint16_t>()[(e * shape[1] + row) * shape[2] + column] =
                    of.at(of_what, part.expert_begin + e, output, input);
            }
    return out;
}
inline std::unique_ptr<HostTensor> lay_out(const Experts& of, What what, int32_t layout, int32_t axis)
{
    return lay_out(of, what, layout, axis, all_of(of));
}

// ---- tensors of files

inline void add_fused(ContainerFile& file, const std::string& name, const Experts& of, What what, int32_t axis,
                      int32_t layout = MOEQ_LAYOUT_GATE_UP)
{
    file.add(name, *lay_out(of, what, layout, axis));
}
// Two axes: rows of each expert behind those of the one before.
inline void add_folded(ContainerFile& file, const std::string& name, const Experts& of, What what, int32_t axis)
{
    const auto whole = lay_out(of, what, MOEQ_LAYOUT_PLAIN, axis);
    const Shape& shape = whole->shape();
    file.add(name, MOEQ_DTYPE_BF16, {shape[0] * shape[1], shape[2]}, whole->memory());
}
// A linear for each expert: `%` in the name is its number, which begins with `first`. Backwards, as file order is not theirs.
inline void add_linears(ContainerFile& file, const std::string& name, const Experts& of, What what, int64_t first = 0)
{
    for (int64_t e = of.count; e-- > 0;) {
        const auto one = lay_out(of, what, MOEQ_LAYOUT_PLAIN, -1, {e, e + 1, 0, of.inner});
        std::string own = name;
        own.replace(own.find('%'), 1, std::to_string(first + e));
        file.add(own, MOEQ_DTYPE_BF16, {one->shape()[1], one->shape()[2]}, one->memory());
    }
}

// ---- families

struct StackCase {
    std::string name;
    What what;
    int32_t layout;
    int32_t axis;
    bool fused; // the file has one tensor for all experts
    int of = 0; // which experts of the family's
};

// How weights of a native file become those of bitsandbytes: tensors of all experts of gate, of up or of two axes are none.
enum class Leaves { kInOneTensor, kAsLinears, kNot };

struct FamilyCase {
    const char* name;
    std::string config;
    std::vector<std::vector<int64_t>> experts; // count, inner, hidden of each kind
    std::function<void(ContainerFile&, const std::vector<Experts>&)> write;
    std::vector<StackCase> stacks;
    const char* patterns = nullptr;
    bool hf_fp8 = true; // a loader of that dialect takes them
    Leaves leaves = Leaves::kInOneTensor;
};

inline void PrintTo(const FamilyCase& family, std::ostream* out) { *out << family.name; }

inline std::vector<FamilyCase> family_cases()
{
    constexpr int32_t kPlain = MOEQ_LAYOUT_PLAIN, kHalves = MOEQ_LAYOUT_GATE_UP;
    constexpr int32_t kTurns = MOEQ_LAYOUT_GATE_UP_INTERLEAVED;
    return {
        {"dbrx",
         R"({"model_type": "dbrx", "ffn_config": {"moe_num_experts": 3}})",
         {{3, 16, 32}},
         [](ContainerFile& file, const std::vector<Experts>& of) {
             const std::string stem = "transformer.blocks.0.ffn.experts.mlp.";
             add_folded(file, stem + "v1", of[0], What::kUp, -1);
             add_folded(file, stem + "w1", of[0], What::kGate, -1);
             add_folded(file, stem + "w2", of[0], What::kDown, -2);
         },
         {{"transformer.blocks.0.ffn.experts.gate_up_proj", What::kGateUp, kHalves, -1, false},
          {"transformer.blocks.0.ffn.experts.down_proj", What::kDown, kPlain, -2, true}},
         nullptr,
         false,
         Leaves::kNot},
        {"inkling",
         R"({"model_type": "inkling_mm_model"})",
         {{3, 16, 32}},
         [](ContainerFile& file, const std::vector<Experts>& of) {
             const std::string stem = "model.llm.layers.1.mlp.experts.";
             add_fused(file, stem + "w13_weight", of[0], What::kGateUp, -1, MOEQ_LAYOUT_GATE_UP_INTERLEAVED);
             add_fused(file, stem + "w2_weight", of[0], What::kDown, -1);
         },
         {{"model.llm.layers.1.mlp.experts.gate_up_proj", What::kGateUp, kTurns, -1, true},
          {"model.llm.layers.1.mlp.experts.down_proj", What::kDown, kPlain, -1, true}},
         nullptr,
         false},
        {"jetmoe",
         R"({"model_type": "jetmoe", "num_local_experts": 3})",
         {{3, 16, 32}, {3, 24, 32}},
         [](ContainerFile& file, const std::vector<Experts>& of) {
             const std::string stem = "model.layers.0.";
             add_fused(file, stem + "mlp.input_linear.weight", of[0], What::kGateUp, -1);
             add_fused(file, stem + "mlp.output_linear.weight", of[0], What::kDown, -1);
             add_fused(file, stem + "self_attention.experts.input_linear.weight", of[1], What::kUp, -1);
             add_fused(file, stem + "self_attention.experts.output_linear.weight", of[1], What::kDown, -1);
         },
         {{"model.layers.0.mlp.experts.gate_up_proj", What::kGateUp, kHalves, -1, true},
          {"model.layers.0.mlp.experts.down_proj", What::kDown, kPlain, -1, true},
          {"model.layers.0.self_attention.experts.up_proj", What::kUp, kPlain, -1, true, 1},
          {"model.layers.0.self_attention.experts.down_proj", What::kDown, kPlain, -1, true, 1}},
         nullptr,
         false},
        {"nemo",
         R"({"model_type": "nemo_speechlm", "text_config": {"model_type": "nemotron_h"}})",
         {{3, 16, 32}},
         [](ContainerFile& file, const std::vector<Experts>& of) {
             const std::string stem = "llm.model.layers.1.mixer.experts.";
             add_fused(file, stem + "gate_and_up_projs", of[0], What::kUp, -2);
             add_fused(file, stem + "down_projs", of[0], What::kDown, -2);
         },
         {{"llm.model.layers.1.mixer.experts.up_proj", What::kUp, kPlain, -2, true},
          {"llm.model.layers.1.mixer.experts.down_proj", What::kDown, kPlain, -2, true}}},
        {"nllb",
         R"({"model_type": "nllb-moe", "num_experts": 12})",
         {{12, 16, 32}},
         [](ContainerFile& file, const std::vector<Experts>& of) {
             const std::string stem = "model.encoder.layers.3.ffn.experts.expert_%.";
             add_linears(file, stem + "fc1.weight", of[0], What::kUp);
             add_linears(file, stem + "fc2.weight", of[0], What::kDown);
         },
         {{"model.encoder.layers.3.ffn.experts.up_proj", What::kUp, kPlain, -1, false},
          {"model.encoder.layers.3.ffn.experts.down_proj", What::kDown, kPlain, -1, false}},
         nullptr,
         true,
         Leaves::kAsLinears},
        {"switch_transformers",
         R"({"model_type": "switch_transformers", "num_experts": 3})",
         {{3, 16, 32}},
         [](ContainerFile& file, const std::vector<Experts>& of) {
             const std::string stem = "decoder.block.1.layer.2.mlp.experts.expert_%.";
             add_linears(file, stem + "wi.weight", of[0], What::kUp);
             add_linears(file, stem + "wo.weight", of[0], What::kDown);
         },
         {{"decoder.block.1.layer.2.mlp.experts.up_proj", What::kUp, kPlain, -1, false},
          {"decoder.block.1.layer.2.mlp.experts.down_proj", What::kDown, kPlain, -1, false}},
         nullptr,
         true,
         Leaves::kAsLinears},
        {"vitpose_backbone",
         R"({"model_type": "vitpose_backbone", "num_experts": 3})",
         {{3, 32, 16}},
         [](ContainerFile& file, const std::vector<Experts>& of) {
             add_linears(file, "encoder.layer.0.mlp.experts.%.weight", of[0], What::kDown);
         },
         {{"encoder.layer.0.mlp.experts.down_proj", What::kDown, kPlain, -1, false}},
         nullptr,
         true,
         Leaves::kAsLinears},
        {"dots3_note", // more experts in a block of the vision tower than in the text model
         R"({"model_type": "dots3_note", "n_routed_experts": 2, "vision_config": {"pyramid_num_routed": [-1, 5]}})",
         {{2, 16, 32}, {5, 16, 32}},
         [](ContainerFile& file, const std::vector<Experts>& of) {
             const std::string text = "model.layers.1.mlp.experts.%.";
             add_linears(file, text + "gate_proj.weight", of[0], What::kGate);
             add_linears(file, text + "up_proj.weight", of[0], What::kUp);
             add_linears(file, text + "down_proj.weight", of[0], What::kDown);
             const std::string vision = "vision_encoder.blocks.1.mlp.experts.%.";
             add_linears(file, vision + "fc1.weight", of[1], What::kGate);
             add_linears(file, vision + "fc2.weight", of[1], What::kDown);
             add_linears(file, vision + "fc3.weight", of[1], What::kUp);
         },
         {{"model.layers.1.mlp.experts.gate_up_proj", What::kGateUp, kHalves, -1, false},
          {"model.layers.1.mlp.experts.down_proj", What::kDown, kPlain, -1, false},
          {"vision_encoder.blocks.1.mlp.experts.gate_up_proj", What::kGateUp, kHalves, -1, false, 1},
          {"vision_encoder.blocks.1.mlp.experts.down_proj", What::kDown, kPlain, -1, false, 1}}},
        {"ernie4_5_vl_moe",
         R"({"model_type": "ernie4_5_vl_moe", "moe_num_experts": [3, 2]})",
         {{3, 16, 32}, {2, 8, 32}},
         [](ContainerFile& file, const std::vector<Experts>& of) {
             const std::string stem = "model.layers.1.mlp.experts.%.";
             for (int kind = 0; kind < 2; ++kind) {
                 add_linears(file, stem + "gate_proj.weight", of[static_cast<size_t>(kind)], What::kGate, 3 * kind);
                 add_linears(file, stem + "up_proj.weight", of[static_cast<size_t>(kind)], What::kUp, 3 * kind);
                 add_linears(file, stem + "down_proj.weight", of[static_cast<size_t>(kind)], What::kDown, 3 * kind);
             }
         },
         {{"model.layers.1.mlp.text_moe.experts.gate_up_proj", What::kGateUp, kHalves, -1, false},
          {"model.layers.1.mlp.text_moe.experts.down_proj", What::kDown, kPlain, -1, false},
          {"model.layers.1.mlp.vision_moe.experts.gate_up_proj", What::kGateUp, kHalves, -1, false, 1},
          {"model.layers.1.mlp.vision_moe.experts.down_proj", What::kDown, kPlain, -1, false, 1}}},
        {"step3_vl",
         R"({"model_type": "step3_vl", "text_config": {"model_type": "step3_text"}})",
         {{3, 16, 32}},
         [](ContainerFile& file, const std::vector<Experts>& of) {
             const std::string stem = "model.layers.4.moe.";
             add_fused(file, stem + "gate_proj.weight", of[0], What::kGate, -1);
             add_fused(file, stem + "up_proj.weight", of[0], What::kUp, -1);
             add_fused(file, stem + "down_proj.weight", of[0], What::kDown, -1);
         },
         {{"model.layers.4.moe.gate_up_proj", What::kGateUp, kHalves, -1, false},
          {"model.layers.4.moe.down_proj", What::kDown, kPlain, -1, true}},
         nullptr,
         true,
         Leaves::kNot},
        {"mlx",
         R"({"model_type": "qwen3_moe", "num_experts": 3})",
         {{3, 16, 32}},
         [](ContainerFile& file, const std::vector<Experts>& of) {
             const std::string stem = "model.layers.0.mlp.switch_mlp.";
             add_fused(file, stem + "up_proj.weight", of[0], What::kUp, -1);
             add_fused(file, stem + "gate_proj.weight", of[0], What::kGate, -1);
             add_fused(file, stem + "down_proj.weight", of[0], What::kDown, -1);
         },
         {{"model.layers.0.mlp.experts.gate_up_proj", What::kGateUp, kHalves, -1, false},
          {"model.layers.0.mlp.experts.down_proj", What::kDown, kPlain, -1, true}}},
        {"grok",
         R"({"model_type": "grok-1"})",
         {{3, 16, 32}},
         [](ContainerFile& file, const std::vector<Experts>& of) {
             const std::string stem = "model.layers.0.moe_block.experts.%.";
             add_linears(file, stem + "linear.weight", of[0], What::kGate);
             add_linears(file, stem + "linear_1.weight", of[0], What::kDown);
             add_linears(file, stem + "linear_v.weight", of[0], What::kUp);
         },
         {{"model.layers.0.moe_block.experts.gate_up_proj", What::kGateUp, kHalves, -1, false},
          {"model.layers.0.moe_block.experts.down_proj", What::kDown, kPlain, -1, false}},
         nullptr,
         true,
         Leaves::kAsLinears},
        {"patterns", // what no family has: a caller says it
         R"({"model_type": "somebodys"})",
         {{4, 16, 32}, {2, 16, 32}},
         [](ContainerFile& file, const std::vector<Experts>& of) {
             add_folded(file, "net.0.w_in", of[0], What::kUp, -1);
             add_folded(file, "net.0.w_out", of[0], What::kDown, -2);
             add_linears(file, "net.1.e%.gate.weight", of[0], What::kGate);
             add_linears(file, "net.1.e%.gate.weight", of[1], What::kGate, 4);
         },
         {{"net.0.in", What::kUp, kPlain, -1, true},
          {"net.0.out", What::kDown, kPlain, -2, true},
          {"net.1.first", What::kGate, kPlain, -1, false},
          {"net.1.second", What::kGate, kPlain, -1, false, 1}},
         R"([{"match": "net.*.w_in", "stack": "net.*.in", "folded": true, "experts": 4, "cut": "output"},)"
         R"( {"match": "net.*.w_out", "stack": "net.*.out", "folded": true, "experts": 4, "scale_axis": -2,)"
         R"(  "cut": "contraction"},)"
         R"( {"match": "net.*.e{expert}.gate.weight", "stack": "net.*.first", "experts": 4, "cut": "output"},)"
         R"( {"match": "net.*.e{expert}.gate.weight", "stack": "net.*.second", "first_expert": 4, "cut": "output"}])",
         false},
    };
}

} // namespace moeq_test
