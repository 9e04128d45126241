#include "random/source.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "random/experts.h"

namespace moeq_random {

namespace {

using Shape = std::vector<int64_t>;

constexpr int64_t kExtents[] = {0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 33, 48, 63, 64, 65, 96, 128, 130, 192, 256};
constexpr int64_t kEven[] = {16, 32, 32, 64, 64, 64, 96, 128, 128};
constexpr int64_t kHuge[] = {1 << 16, 1 << 30, int64_t{1} << 33, int64_t{1} << 45, int64_t{1} << 58};
constexpr const char* kFloats[] = {"BF16", "BF16", "F16", "F32"};
constexpr const char* kOthers[] = {"I8", "U8", "F8_E4M3", "F8_E5M2", "I32", "I64", "BOOL", "F64", "F8_E8M0", "U16"};

int64_t item_bytes(const char* dtype)
{
    const std::string name = dtype;
    return name == "F32" || name == "I32"                     ? 4
           : name == "I64" || name == "F64"                   ? 8
           : name == "BF16" || name == "F16" || name == "U16" ? 2
                                                              : 1;
}

// Random codes, or finite values of about 1 for floats; now and then one that is not finite.
std::string make_bytes(Dice& dice, const char* dtype, const Shape& shape, bool positive)
{
    int64_t count = std::count(shape.begin(), shape.end(), 0) != 0 ? 0 : 1; // the others may be of any size then
    for (size_t i = 0; count != 0 && i < shape.size(); ++i)
        count *= shape[i];
    const int64_t item = item_bytes(dtype);
    std::string out(static_cast<size_t>(count * item), '\0');
    for (size_t i = 0; i < out.size(); i += 8) {
        const uint64_t bits = dice.next();
        std::memcpy(out.data() + i, &bits, out.size() - i < 8 ? out.size() - i : 8);
    }
    const bool wide = std::strcmp(dtype, "F32") == 0, half = std::strcmp(dtype, "F16") == 0;
    if (!wide && !half && std::strcmp(dtype, "BF16") != 0)
        return out;
    for (int64_t i = 0; i < count; ++i) {
        char* high = out.data() + (i + 1) * item - 2; // sign, exponent and the first bits of the fraction
        uint16_t bits;
        std::memcpy(&bits, high, sizeof bits);
        bits = static_cast<uint16_t>(half ? (bits & 0x83FF) | 0x3000 : (bits & 0x80FF) | 0x3E00);
        bits = static_cast<uint16_t>(positive ? bits & 0x7FFF : bits);
        if (dice.below(200000) == 0)
            bits = static_cast<uint16_t>(half ? 0x7E00 : 0x7FC0);
        std::memcpy(high, &bits, sizeof bits);
    }
    return out;
}

// Scales as some project has them, or anything.
Shape leftover_shape(Dice& dice, const Shape& beside)
{
    const int64_t form = dice.below(8);
    Shape shape(static_cast<size_t>(dice.between(0, 3)));
    for (int64_t& size : shape)
        size = dice.chance(50) ? 1 : dice.of(kEven);
    if (form < 4 || beside.size() < 2)
        return shape;
    const size_t rows = beside.size() - 2;
    if (*std::max_element(beside.begin(), beside.end()) > kHuge[0])
        return shape;                                                                  // of what has no bytes
    shape = Shape(beside.begin(), beside.begin() + static_cast<std::ptrdiff_t>(rows)); // the experts
    if (form == 4)                                                                     // a scale for each row
        shape.push_back(beside[rows]);
    else if (form == 5)
        shape.insert(shape.end(), {beside[rows], 1});
    else if (form == 6) // for each tile of 128 x 128
        shape.insert(shape.end(), {(beside[rows] + 127) / 128, (beside[rows + 1] + 127) / 128});
    else
        shape.insert(shape.end(), {1, 1});
    return shape;
}

class Maker {
public:
    explicit Maker(Dice& dice) : dice_(dice) {}

    Source run()
    {
        hidden_ = extent();
        width_ = extent();
        experts_ = dice_.chance(5) ? dice_.between(0, 9) : dice_.between(1, 3);
        dtype_ = dice_.of(kFloats);
        const Kind kind = make_kind(dice_);
        type_ = kind.type;
        form_ = kind.form;
        prefix_ = dice_.chance(80) ? "model." : dice_.chance(50) ? "model.language_model." : "";
        if (dice_.chance(1)) { // empty, however large it looks
            const bool many = dice_.chance(25);
            experts_ = many ? dice_.of(kHuge) : 0;
            width_ = many ? 0 : dice_.of(kHuge);
            hidden_ = many || dice_.chance(50) ? 0 : 64;
        }
        const int64_t layers = dice_.chance(75) ? 1 : 2;
        add("model.embed_tokens.weight", {8, hidden_});
        for (int64_t layer = 0; layer < layers; ++layer)
            add_layer((dice_.chance(95) ? prefix_ : "mtp.") + "layers." + std::to_string(layer) + ".");
        if (dice_.chance(60))
            add("lm_head.weight", {8, hidden_});
        add_odd_ones();
        if (dice_.chance(12))
            quantize_as_others();
        std::vector<Named> names;
        for (const Tensor& tensor : out_.tensors)
            names.push_back({tensor.name, tensor.shape});
        for (Tensor& left : make_leftovers(dice_, names))
            if (taken_.insert(left.name).second)
                out_.tensors.push_back(std::move(left));
        add_config();
        out_.files = dice_.chance(45) ? 1 : static_cast<int>(dice_.between(2, 4));
        out_.by_file = dice_.chance(25);
        out_.index_is_short = dice_.chance(4);
        return std::move(out_);
    }

private:
    int64_t extent() { return dice_.chance(70) ? dice_.of(kEven) : dice_.of(kExtents); }

    void add(const std::string& name, const Shape& shape, const char* dtype = nullptr)
    {
        if (dice_.chance(1))
            return; // it is missing
        const char* type = dtype != nullptr ? dtype : dice_.chance(98) ? dtype_ : dice_.of(kFloats);
        if (taken_.insert(name).second)
            out_.tensors.push_back({name, type, shape, make_bytes(dice_, type, shape, false)});
    }

    void add_layer(const std::string& layer)
    {
        add(layer + "self_attn.q_proj.weight", {dice_.chance(80) ? hidden_ : extent(), hidden_});
        if (width_ > 1000 && hidden_ == 0)
            add(layer + "self_attn.k_proj.weight", {width_, hidden_});
        if (dice_.chance(50))
            add(layer + "self_attn.o_proj.weight", {hidden_, dice_.chance(80) ? hidden_ : extent()});
        add(layer + "input_layernorm.weight", {hidden_});
        const char* mlp = dice_.chance(80) ? "mlp." : "block_sparse_moe.";
        add(layer + mlp + "gate.weight", {experts_, hidden_});
        if (dice_.chance(15) && width_ < 1000)
            add(layer + mlp + "shared_expert.up_proj.weight", {width_, hidden_});
        const ExpertSizes sizes{experts_, hidden_, width_};
        const auto adds = [&](const std::string& name, const Shape& shape) { add(name, shape); };
        add_experts(dice_, dice_.chance(60) ? form_ : Form::kAny, layer, mlp, sizes, adds, &out_.patterns);
        if (dice_.chance(4)) // two forms
            add_experts(dice_, Form::kAny, layer, mlp, sizes, adds, &out_.patterns);
    }

    void add_odd_ones()
    {
        const int64_t count = dice_.chance(70) ? 0 : dice_.between(1, 3);
        for (int64_t i = 0; i < count; ++i) {
            Shape shape(static_cast<size_t>(dice_.between(0, 4)));
            for (int64_t& size : shape)
                size = dice_.chance(90) ? dice_.between(1, 9) : dice_.of({int64_t{0}, int64_t{33}});
            const char* type = dice_.chance(40) ? dice_.of(kFloats) : dice_.of(kOthers);
            if (shape.size() > 1 && dice_.chance(15)) { // no bytes, and extents that must not be multiplied
                const auto empty = static_cast<size_t>(dice_.below(static_cast<int64_t>(shape.size())));
                shape[empty] = 0;
                shape[(empty + 1) % shape.size()] = dice_.of(kHuge);
            }
            add("odd." + std::to_string(i) + (dice_.chance(50) ? ".weight" : ""), shape, type);
        }
    }

    // Codes and scales as other projects write them, with what their config.json says.
    void quantize_as_others()
    {
        static constexpr const char* kOfFp8[] = {"_scale_inv", "_scale_inv", "_scales_inv", ".scale", ".qscale_weight"};
        const bool fp8 = dice_.chance(60), tiles = fp8 && dice_.chance(70);
        const int64_t tile = dice_.of({int64_t{16}, int64_t{32}, int64_t{128}});
        const char* suffix = fp8 ? dice_.of(kOfFp8) : "_scale";
        const char* codes = fp8 || dice_.chance(50) ? "F8_E4M3" : "I8";
        const char* scales = fp8 && dice_.chance(20) ? "F8_E8M0" : dice_.chance(20) ? "BF16" : "F32";
        const size_t count = out_.tensors.size();
        for (size_t i = 0; i < count; ++i) {
            Tensor& weight = out_.tensors[i];
            const bool linear = weight.name.find("experts.") != std::string::npos || dice_.chance(30);
            if (!linear || weight.shape.size() < 2 || weight.shape.size() > 3 || dice_.chance(2) ||
                *std::max_element(weight.shape.begin(), weight.shape.end()) >= kHuge[0])
                continue;
            weight.dtype = codes;
            weight.bytes = make_bytes(dice_, codes, weight.shape, false);
            for (char& code : weight.bytes)
                code = static_cast<char>((code & 0x7F) == 0x7F ? 0x38 : code); // no NaN
            Shape shape = leftover_shape(dice_, {});
            if (dice_.chance(97)) {
                shape.assign(weight.shape.begin(), weight.shape.end() - 2);
                const int64_t rows = *(weight.shape.end() - 2), columns = weight.shape.back();
                if (tiles)
                    shape.insert(shape.end(), {(rows + tile - 1) / tile, (columns + tile - 1) / tile});
                else if (!fp8)
                    shape.insert(shape.end(), {rows, 1});
                else if (weight.shape.size() == 3)
                    shape.insert(shape.end(), {1, 1});
            }
            std::string name = weight.name + suffix;
            if (suffix[0] == '.') // in place of ".weight"
                name = weight.name.substr(0, weight.name.rfind('.')) + suffix;
            std::string bytes = make_bytes(dice_, scales, shape, true);
            for (char& byte : bytes)
                byte = scales[0] == 'F' && scales[1] == '8' ? static_cast<char>(120 + (byte & 7)) : byte;
            if (taken_.insert(name).second)
                out_.tensors.push_back({name, scales, shape, bytes});
        }
        const std::string size = "[" + std::to_string(tile) + ", " + std::to_string(tile) + "]";
        said_ = fp8 ? R"({"quant_method": "fp8", "weight_block_size": )" + (tiles ? size : "null") + "}"
                    : std::string(R"({"quant_method": "compressed-tensors", "format": ")") +
                          (codes[0] == 'I' ? "int" : "float") + R"(-quantized", "config_groups": {"g": {"targets": [)" +
                          (dice_.chance(50) ? R"("Linear")" : R"("re:.*experts.*")") +
                          R"(], "weights": {"num_bits": 8, "type": ")" + (codes[0] == 'I' ? "int" : "float") +
                          R"(", "strategy": "channel"}}}})";
    }

    void add_config()
    {
        if (said_.empty() && dice_.chance(12))
            return;
        std::string text =
            std::string("{\"model_type\": \"") + type_ + "\", \"hidden_size\": " + std::to_string(hidden_);
        if (dice_.chance(30))
            text += ", \"num_local_experts\": " + std::to_string(experts_);
        if (dice_.chance(30))
            text += ", \"torch_dtype\": \"float16\"";
        if (!said_.empty()) {
            text += ", \"quantization_config\": " + said_;
        } else if (dice_.chance(8)) {
            static constexpr const char* kSaid[] = {
                R"({"quant_method": "fp8", "weight_block_size": [16, 32]})",
                R"({"quant_method": "fp8", "weight_block_size": null})",
                R"({"quant_method": "bitsandbytes", "load_in_4bit": true})",
                R"({"quant_method": "moeq", "version": "1"})",
                R"({"quant_method": "gptq", "bits": 4})",
                R"({"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"g": {"targets":
                    ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}}})",
                R"({"quant_method": "modelopt", "quant_algo": "NVFP4"})",
                R"({"quant_method": 7})"};
            text += std::string(", \"quantization_config\": ") + dice_.of(kSaid);
        }
        text += "}";
        if (dice_.chance(8))
            text = "{\"model_type\": \"unheard\", \"text_config\": " + text + "}";
        if (dice_.chance(3))
            text = "{\"thinker_config\": " + text + "}";
        out_.config = text;
        if (dice_.chance(60))
            out_.metadata = "{\"format\": \"pt\"}";
    }

    Dice& dice_;
    Source out_;
    std::set<std::string> taken_;
    int64_t hidden_ = 0, width_ = 0, experts_ = 0;
    const char* dtype_ = nullptr;
    const char* type_ = nullptr;
    Form form_ = Form::kAny;
    std::string said_; // quantization_config
    std::string prefix_;
};

// What another tensor's name is made of.
std::string leftover_name(Dice& dice, const std::string& name)
{
    static constexpr const char* kSuffixes[] = {"_scale",
                                                "_scale_inv",
                                                "_scales_inv",
                                                ".absmax",
                                                ".quant_map",
                                                ".nested_absmax",
                                                ".nested_quant_map",
                                                ".quant_state.bitsandbytes__nf4",
                                                ".quant_state.bitsandbytes__fp4",
                                                ".SCB",
                                                ".weight_format",
                                                ".row_stats",
                                                ".weight",
                                                ".weight.weight",
                                                ".weight_scale",
                                                ".moeq.scale",
                                                ".moeq.absmax",
                                                ".moeq.nested_absmax",
                                                ".moeq.nested_map",
                                                ".moeq.nested_offset",
                                                "_zero_point",
                                                "_packed",
                                                "_shape",
                                                ".qscale_weight",
                                                ".scale",
                                                "_blocks",
                                                "_scales",
                                                ".bias",
                                                "_bias",
                                                "_scale_inv_scale_inv"};
    static constexpr const char* kSiblings[] = {
        "SCB",    "weight_format", "weight_scale",  "weight_scale_inv", "scale", "weight_zero_point",
        "weight", "gate_up_proj",  "up_proj.weight"};
    if (dice.chance(70))
        return name + dice.of(kSuffixes);
    const size_t dot = name.rfind('.');
    return name.substr(0, dot == std::string::npos ? 0 : dot + 1) + dice.of(kSiblings);
}

} // namespace

std::vector<Tensor> make_leftovers(Dice& dice, const std::vector<Named>& names)
{
    std::vector<Tensor> out;
    const int64_t count = dice.chance(45) || names.empty() ? 0 : dice.chance(80) ? 1 : dice.between(2, 4);
    std::set<std::string> taken;
    for (const Named& named : names)
        taken.insert(named.name);
    for (int64_t i = 0; i < count; ++i) {
        const Named& beside = dice.of(names);
        const std::string name = leftover_name(dice, beside.name);
        if (!taken.insert(name).second)
            continue;
        static constexpr const char* kDtypes[] = {"F32", "F32", "F32", "BF16", "U8", "I8", "F8_E4M3"};
        const char* dtype = dice.of(kDtypes);
        const Shape shape = leftover_shape(dice, beside.shape);
        std::string bytes = make_bytes(dice, dtype, shape, true);
        if (bytes.size() == 1 && dice.chance(80))
            bytes[0] = 0; // a weight format that is read
        out.push_back({name, dtype, shape, bytes});
    }
    return out;
}

Source make_source(Dice& dice) { return Maker(dice).run(); }

} // namespace moeq_random
