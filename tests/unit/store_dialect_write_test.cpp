// What a dialect writes: the tensors of a weight by name, type and shape, the constants among them, config.json, and what it
// refuses. Expected names and shapes are those that the other projects' own readers ask for (tests/python/test_dialect_*.py).
#include "codec/nf4.h"

#include <cmath>

#include "core/dtype.h"
#include "store_dialect_files.h"

namespace {

using dialect_test::join;
using dialect_test::Shape;
using moeq::Geometry;
using moeq::Report;
using moeq::store::Dialect;
using moeq::store::DialectEntries;
using moeq::store::DialectEntry;

struct Listed {
    Listed() : allocator(nullptr, nullptr, nullptr), entries(allocator) {}

    moeq_status make(const char* dialect_name, const char* spec_text, const Shape& shape, const char* name,
                     bool adjusted = true)
    {
        dialect = moeq::store::find_dialect(dialect_name);
        if (dialect == nullptr) {
            ADD_FAILURE() << dialect_name;
            return MOEQ_ERROR_INTERNAL;
        }
        Report report("list", &error);
        moeq_spec spec{};
        moeq_status status = moeq::parse_spec(spec_text, &spec, report);
        const int32_t ndim = static_cast<int32_t>(shape.size());
        if (adjusted)
            dialect->adjust(&spec, ndim, shape.data());
        if (status == MOEQ_OK)
            status = moeq::make_geometry(spec, 0, ndim, shape.data(), 0, nullptr, &geometry, report);
        EXPECT_EQ(status, MOEQ_OK) << error.message;
        return dialect->list(geometry, name, &entries, report);
    }
    std::string constant(const DialectEntry& entry) const
    {
        return {entries.bytes.data() + entry.constant, static_cast<size_t>(entry.bytes)};
    }
    const DialectEntry& last() const { return entries.entries[entries.count - 1]; }

    moeq::Allocator allocator;
    const Dialect* dialect = nullptr;
    Geometry geometry;
    DialectEntries entries;
    moeq_error error{};
};

// "NAME dtype [shape] component", one per entry.
std::vector<std::string> list(const char* dialect, const char* spec, const Shape& shape, const char* name)
{
    Listed listed;
    EXPECT_EQ(listed.make(dialect, spec, shape, name), MOEQ_OK) << listed.error.message;
    std::vector<std::string> lines;
    for (int32_t i = 0; i < listed.entries.count; ++i) {
        const DialectEntry& entry = listed.entries.entries[i];
        moeq::Array<char> full(listed.allocator);
        EXPECT_TRUE(append_entry_name(name, entry, &full));
        EXPECT_EQ(full[full.size() - 1], '\0');
        int64_t count = 1;
        for (int32_t d = 0; d < entry.ndim; ++d)
            count *= entry.shape[d];
        EXPECT_EQ(entry.bytes, count * moeq::dtype_bytes(entry.dtype)) << full.data();
        lines.push_back(std::string(full.data()) + " " + moeq::dtype_name(entry.dtype) + " " +
                        join(Shape(entry.shape, entry.shape + entry.ndim)) + " " +
                        (entry.component == 0 ? "constant" : moeq::component_name(entry.component)));
    }
    return lines;
}

using Lines = std::vector<std::string>;

TEST(DialectTable, is_found_by_number_and_name)
{
    for (int32_t i = 0; i < moeq::store::kDialectCount; ++i) {
        const Dialect& dialect = moeq::store::dialect_at(i);
        EXPECT_EQ(moeq::store::find_dialect(dialect.id), &dialect);
        EXPECT_EQ(moeq::store::find_dialect(dialect.name), &dialect);
    }
    EXPECT_EQ(moeq::store::find_dialect(MOEQ_DIALECT_NONE), nullptr);
    EXPECT_EQ(moeq::store::find_dialect(99), nullptr);
    EXPECT_EQ(moeq::store::find_dialect("gptq"), nullptr);
}

// Every component has its own shape but codes of the weight's, which a loader of plain tensors would take for weights.
TEST(DialectNative, has_no_codes_of_the_shape_of_the_weight)
{
    EXPECT_EQ(list("native", "int8", {4, 6, 8}, "a.w"),
              (Lines{"a.w int8 [4,1,6,8] codes", "a.w.moeq.absmax fp32 [4,6] scale"}));
    EXPECT_EQ(list("native", "int8:scale=factor", {6, 8}, "w"),
              (Lines{"w int8 [6,1,8] codes", "w.moeq.scale fp32 [6] scale"}));
    EXPECT_EQ(list("native", "nf4:64", {2, 3, 50}, "w"),
              (Lines{"w uint8 [2,75] codes", "w.moeq.absmax fp32 [2,3] scale"}));
    EXPECT_EQ(list("native", "fp4:32,nested,blocking=row", {2, 3, 50}, "w"),
              (Lines{"w uint8 [2,3,25] codes", "w.moeq.absmax uint8 [2,3,2] scale",
                     "w.moeq.nested_absmax fp32 [1] nested_scale", "w.moeq.nested_map fp32 [256] nested_map",
                     "w.moeq.nested_offset fp32 [] nested_offset"}));
    EXPECT_EQ(list("native", "fp8_e5m2:block128x128", {2, 300, 130}, "w"),
              (Lines{"w fp8_e5m2 [2,1,300,130] codes", "w.moeq.scale fp32 [2,3,2] scale"}));
    EXPECT_EQ(list("native", "fp8_e4m3:expert", {5, 3, 4}, "w"),
              (Lines{"w fp8_e4m3fn [5,1,3,4] codes", "w.moeq.scale fp32 [5] scale"}));
    EXPECT_EQ(list("native", "nf4:blocking=row", {2, 3, 1}, "w"),
              (Lines{"w uint8 [2,1,3,1] codes", "w.moeq.absmax fp32 [2,3,1] scale"}));
    EXPECT_EQ(list("native", "int8", {1, 1, 1, 1, 1, 2, 3, 4}, "w"), // no file has nine axes
              (Lines{"w int8 [1,1,1,1,1,2,3,4] codes", "w.moeq.absmax fp32 [1,1,1,1,1,2,3] scale"}));
}

TEST(DialectBitsandbytes, four_bit_weights_are_flat)
{
    EXPECT_EQ(
        list("bitsandbytes", "nf4", {48, 96}, "l.weight"),
        (Lines{"l.weight uint8 [2304,1] codes", "l.weight.absmax fp32 [72] scale",
               "l.weight.quant_map fp32 [16] constant", "l.weight.quant_state.bitsandbytes__nf4 uint8 [78] constant"}));
    const Lines fused = list("bitsandbytes", "fp4:128,nested", {3, 5, 64}, "e.gate_up_proj");
    ASSERT_EQ(fused.size(), 6u);
    EXPECT_EQ(fused[0], "e.gate_up_proj uint8 [480,1] codes");
    EXPECT_EQ(fused[1], "e.gate_up_proj.absmax uint8 [8] scale"); // 960 / 128, the last one short: over experts
    EXPECT_EQ(fused[2], "e.gate_up_proj.quant_map fp32 [16] constant");
    EXPECT_EQ(fused[3], "e.gate_up_proj.nested_absmax fp32 [1] nested_scale");
    EXPECT_EQ(fused[4], "e.gate_up_proj.nested_quant_map fp32 [256] nested_map");
    EXPECT_EQ(fused[5].substr(0, 51), "e.gate_up_proj.quant_state.bitsandbytes__fp4 uint8 ");
}

TEST(DialectBitsandbytes, adjust_makes_ragged_experts_flat_and_no_others)
{
    for (const Shape& shape : {Shape{3, 5, 64}, Shape{3, 5, 50}, Shape{1, 5, 50}, Shape{5, 50}}) {
        Listed listed;
        ASSERT_EQ(listed.make("bitsandbytes", "nf4", shape, "w"), MOEQ_OK) << listed.error.message;
        EXPECT_EQ(listed.geometry.flat(), shape == Shape({3, 5, 50})) << join(shape);
    }
}

TEST(DialectBitsandbytes, state_says_what_the_codes_mean)
{
    Listed plain;
    ASSERT_EQ(plain.make("bitsandbytes", "nf4:64,dtype=fp16", {2, 6, 32}, "w"), MOEQ_OK);
    EXPECT_EQ(plain.constant(plain.last()),
              R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [2, 6, 32]})");
    const std::string map = plain.constant(plain.entries.entries[2]);
    ASSERT_EQ(map.size(), 64u);
    for (uint8_t i = 0; i < 16; ++i) {
        float value;
        std::memcpy(&value, map.data() + 4 * i, sizeof value);
        EXPECT_EQ(value, moeq::codec::nf4_value(i));
    }
}

TEST(DialectBitsandbytes, fill_sets_the_offset_and_keeps_the_size)
{
    Listed nested;
    ASSERT_EQ(nested.make("bitsandbytes", "nf4:64,nested,dtype=fp32", {4, 32}, "w"), MOEQ_OK);
    const std::string before = nested.constant(nested.last());
    moeq::EncodedWeight weight;
    weight.geometry = nested.geometry;
    for (const float offset : {0.0f, 0.1f, -1.17549421e-38f, 3.40282347e+38f}) {
        float stored = offset;
        weight.nested_offset.data = reinterpret_cast<char*>(&stored);
        Report report("fill", &nested.error);
        const int64_t bytes = nested.entries.bytes.size();
        ASSERT_EQ(nested.dialect->fill(weight, "w", &nested.entries, report), MOEQ_OK) << nested.error.message;
        EXPECT_EQ(nested.entries.bytes.size(), bytes);
        const std::string after = nested.constant(nested.last());
        EXPECT_EQ(after.size(), before.size());
        const std::string head = R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [4, 32], )"
                                 R"("nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": )";
        ASSERT_EQ(after.substr(0, head.size()), head);
        char* end = nullptr;
        EXPECT_EQ(std::strtod(after.c_str() + head.size(), &end), static_cast<double>(offset));
        EXPECT_EQ(*end, '}');
        EXPECT_EQ(std::string(end + 1).find_first_not_of(' '), std::string::npos);
    }
    float infinite = INFINITY;
    weight.nested_offset.data = reinterpret_cast<char*>(&infinite);
    Report report("fill", &nested.error);
    EXPECT_EQ(nested.dialect->fill(weight, "w", &nested.entries, report), MOEQ_ERROR_VALUE);
}

TEST(DialectBitsandbytes, int8_has_scb_beside_a_linear_and_row_stats_below_all_else)
{
    EXPECT_EQ(list("bitsandbytes", "int8", {6, 8}, "m.q_proj.weight"),
              (Lines{"m.q_proj.weight int8 [6,8] codes", "m.q_proj.SCB fp32 [6] scale",
                     "m.q_proj.weight_format uint8 [] constant"}));
    EXPECT_EQ(list("bitsandbytes", "int8", {3, 6, 8}, "m.experts.down_proj"),
              (Lines{"m.experts.down_proj int8 [3,6,8] codes", "m.experts.down_proj.row_stats fp32 [18] scale"}));
    EXPECT_EQ(list("bitsandbytes", "int8", {6, 8}, "weight"),
              (Lines{"weight int8 [6,8] codes", "weight.row_stats fp32 [6] scale"}));
}

TEST(DialectCompressedTensors, has_a_weight_and_its_scale)
{
    const char* name = "m.experts.3.up_proj.weight";
    EXPECT_EQ(
        list("compressed-tensors", "int8", {6, 8}, name),
        (Lines{"m.experts.3.up_proj.weight int8 [6,8] codes", "m.experts.3.up_proj.weight_scale fp32 [6,1] scale"}));
    EXPECT_EQ(list("compressed-tensors", "fp8_e4m3", {6, 8}, name)[1],
              "m.experts.3.up_proj.weight_scale fp32 [6,1] scale");
    EXPECT_EQ(list("compressed-tensors", "fp8_e4m3:expert", {6, 8}, name)[1],
              "m.experts.3.up_proj.weight_scale fp32 [1] scale");
    EXPECT_EQ(list("compressed-tensors", "fp8_e4m3:block128x128", {300, 256}, name)[1],
              "m.experts.3.up_proj.weight_scale fp32 [3,2] scale");
}

TEST(DialectHfFp8, has_a_weight_and_its_inverse_scale)
{
    EXPECT_EQ(list("hf-fp8", "fp8_e4m3", {300, 256}, "m.up_proj.weight"),
              (Lines{"m.up_proj.weight fp8_e4m3fn [300,256] codes", "m.up_proj.weight_scale_inv fp32 [3,2] scale"}));
    EXPECT_EQ(list("hf-fp8", "fp8_e4m3:block64x32,layout=gate_up", {2, 256, 64}, "m.gate_up_proj"),
              (Lines{"m.gate_up_proj fp8_e4m3fn [2,256,64] codes", "m.gate_up_proj_scale_inv fp32 [2,4,2] scale"}));
    EXPECT_EQ(list("hf-fp8", "fp8_e4m3:expert", {4, 8}, "m.weight")[1], "m.weight_scale_inv fp32 [] scale");
    EXPECT_EQ(list("hf-fp8", "fp8_e4m3:expert", {3, 4, 8}, "m.down_proj")[1],
              "m.down_proj_scale_inv fp32 [3,1,1] scale");
}

// ---- what a dialect cannot hold

struct Refusal {
    const char* dialect;
    const char* spec;
    Shape shape;
    const char* name;
    const char* want;
};

TEST(DialectRefusals, name_the_weight_the_spec_and_what_would_do)
{
    const std::vector<Refusal> refusals = {
        {"bitsandbytes", "nf4", {3, 5, 50}, "w", "blocking=flat"},
        {"bitsandbytes", "nf4:64,blocking=row", {5, 96}, "w", "blocking=flat"},
        {"bitsandbytes", "int8:expert", {3, 5, 50}, "w", "one absmax per row"},
        {"bitsandbytes", "int8:scale=factor", {5, 50}, "w", "one absmax per row"},
        {"bitsandbytes", "int8:row,axis=-2", {5, 50}, "w", "along the last axis"},
        {"bitsandbytes", "fp8_e4m3", {5, 50}, "w", "nf4, fp4 or int8"},
        {"compressed-tensors", "int8", {5, 50}, "a.weight", "scale=factor"},
        {"compressed-tensors", "nf4", {5, 64}, "a.weight", "int8:row,scale=factor"},
        {"compressed-tensors", "fp8_e5m2", {5, 50}, "a.weight", "fp8_e4m3"},
        {"compressed-tensors", "int8:block128x128,scale=factor", {5, 50}, "a.weight", "fp8_e4m3"},
        {"compressed-tensors", "fp8_e4m3", {2, 5, 50}, "a.weight", "2-D weights"},
        {"compressed-tensors", "fp8_e4m3", {5, 50}, "a.w", "NAME.weight"},
        {"hf-fp8", "fp8_e4m3:row", {5, 50}, "w", "block128x128"},
        {"hf-fp8", "fp8_e5m2:block128x128", {5, 50}, "w", "fp8_e4m3"},
        {"hf-fp8", "int8:scale=factor", {5, 50}, "w", "fp8_e4m3"},
        {"hf-fp8", "fp8_e4m3:block128x128,layout=gate_up", {2, 320, 128}, "w", "160 a multiple of 128"},
        {"hf-fp8", "fp8_e4m3:expert,layout=gate_up", {2, 320, 128}, "w", "one for up"},
    };
    for (const Refusal& refusal : refusals) {
        Listed listed;
        EXPECT_EQ(listed.make(refusal.dialect, refusal.spec, refusal.shape, refusal.name, false),
                  MOEQ_ERROR_UNSUPPORTED);
        const std::string message = listed.error.message;
        for (const char* part : {refusal.name, refusal.dialect, refusal.want})
            EXPECT_NE(message.find(part), std::string::npos) << part << " in " << message;
    }
}

TEST(DialectNames, stay_below_the_limit)
{
    moeq::Allocator allocator(nullptr, nullptr, nullptr);
    DialectEntry plain{};
    plain.suffix = ".absmax";
    DialectEntry sibling{};
    sibling.suffix = "SCB";
    sibling.sibling = true;
    const std::string longest(static_cast<size_t>(moeq::store::kNameLimit) - 7, 'x');
    moeq::Array<char> out(allocator);
    EXPECT_TRUE(append_entry_name(longest.c_str(), plain, &out));
    EXPECT_EQ(out.size(), moeq::store::kNameLimit + 1);
    EXPECT_FALSE(append_entry_name((longest + "x").c_str(), plain, &out));
    out.clear();
    EXPECT_TRUE(append_entry_name("no_segment", sibling, &out));
    EXPECT_STREQ(out.data(), "SCB");
}

// ---- metadata and config.json

std::string metadata_of(const char* dialect, const char* spec, const Shape& shape, const char* name)
{
    Listed listed;
    EXPECT_EQ(listed.make(dialect, spec, shape, name), MOEQ_OK) << listed.error.message;
    moeq::Array<char> text(listed.allocator);
    moeq::text::JsonWriter json(text);
    const moeq::store::WrittenWeight weight{name, listed.geometry};
    json.begin_object();
    listed.dialect->write_metadata(nullptr, json);
    listed.dialect->write_metadata(&weight, json);
    json.end_object();
    EXPECT_TRUE(json.ok());
    return {text.data(), static_cast<size_t>(text.size())};
}

TEST(DialectMetadata, of_native_files_describes_each_weight)
{
    EXPECT_EQ(
        metadata_of("native", "nf4:128,nested,dtype=fp16", {2, 4, 64}, "a.w"),
        R"({"moeq.version": "1", "moeq.weight.a.w": "{\"spec\": \"nf4:128,nested,dtype=fp16\", \"shape\": [2, 4, 64]}"})");
    EXPECT_EQ(metadata_of("hf-fp8", "fp8_e4m3", {4, 8}, "w"), R"({"format": "pt"})");
}

std::string config_of(const char* dialect, const std::vector<std::pair<const char*, Shape>>& specs,
                      moeq_status want = MOEQ_OK)
{
    moeq::Allocator allocator(nullptr, nullptr, nullptr);
    std::vector<moeq::store::WrittenWeight> weights;
    std::vector<std::string> names;
    for (size_t i = 0; i < specs.size(); ++i)
        names.push_back("m.experts." + std::to_string(i) + ".up_proj.weight");
    for (size_t i = 0; i < specs.size(); ++i) {
        Listed listed;
        EXPECT_EQ(listed.make(dialect, specs[i].first, specs[i].second, names[i].c_str()), MOEQ_OK)
            << listed.error.message;
        weights.push_back({names[i].c_str(), listed.geometry, true});
    }
    const char* dense[] = {"m.q_proj.weight", "lm_head.weight"};
    moeq::Array<char> text(allocator);
    moeq::text::JsonWriter json(text);
    moeq_error error{};
    Report report("config", &error);
    const moeq::store::WrittenModel model{allocator, weights.data(), static_cast<int64_t>(weights.size()), dense, 2};
    EXPECT_EQ(moeq::store::find_dialect(dialect)->write_config(model, json, report), want) << error.message;
    EXPECT_TRUE(json.ok());
    if (want != MOEQ_OK)
        return error.message;
    return {text.data(), static_cast<size_t>(text.size())};
}

TEST(DialectConfig, of_bitsandbytes)
{
    EXPECT_EQ(
        config_of("bitsandbytes", {{"nf4:64,nested,dtype=fp16", {4, 64}}}),
        R"({"quant_method": "bitsandbytes", "_load_in_4bit": true, "_load_in_8bit": false, "load_in_4bit": true, )"
        R"("load_in_8bit": false, "bnb_4bit_compute_dtype": "float16", "bnb_4bit_quant_storage": "uint8", )"
        R"("bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": true, )"
        R"("llm_int8_enable_fp32_cpu_offload": false, "llm_int8_has_fp16_weight": false, )"
        R"("llm_int8_threshold": 6.0, "llm_int8_skip_modules": ["m.q_proj", "lm_head"]})");
    EXPECT_NE(config_of("bitsandbytes", {{"int8", {4, 64}}}).find(R"("load_in_8bit": true)"), std::string::npos);
    const std::string refused =
        config_of("bitsandbytes", {{"int8", {4, 64}}, {"nf4", {4, 64}}}, MOEQ_ERROR_UNSUPPORTED);
    EXPECT_NE(refused.find("m.experts.1"), std::string::npos) << refused;
    EXPECT_NE(refused.find("m.experts.0"), std::string::npos) << refused;
}

TEST(DialectConfig, of_compressed_tensors_groups_weights_by_scheme)
{
    EXPECT_EQ(
        config_of("compressed-tensors", {{"int8", {4, 64}}, {"int8", {8, 64}}}),
        R"({"quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed", )"
        R"("config_groups": {"group_0": {"targets": ["Linear"], "format": "int-quantized", "weights": )"
        R"({"num_bits": 8, "type": "int", "symmetric": true, "dynamic": false, "strategy": "channel", )"
        R"("group_size": null}, "input_activations": {"num_bits": 8, "type": "int", "symmetric": true, )"
        R"("dynamic": true, "strategy": "token", "group_size": null}, "output_activations": null}}, )"
        R"("ignore": ["lm_head", "re:(?!(.*\\.)?experts(\\.|$)).*"], "kv_cache_scheme": null, "global_compression_ratio": null})");
    const std::string mixed =
        config_of("compressed-tensors",
                  {{"int8", {4, 64}}, {"fp8_e4m3:block128x64", {4, 64}}, {"fp8_e4m3:block128x64", {4, 64}}});
    EXPECT_NE(mixed.find(R"("format": "mixed-precision")"), std::string::npos) << mixed;
    EXPECT_NE(mixed.find(R"("group_0": {"targets": ["m.experts.0.up_proj"], "format": "int-quantized")"),
              std::string::npos)
        << mixed;
    EXPECT_NE(mixed.find(R"("group_1": {"targets": ["Linear"], "format": "float-quantized")"), std::string::npos)
        << mixed;
    EXPECT_NE(mixed.find(R"("block_structure": [128, 64])"), std::string::npos) << mixed;
    EXPECT_NE(mixed.find(R"("strategy": "group", "group_size": 64)"), std::string::npos) << mixed;
}

TEST(DialectConfig, of_hf_fp8_has_one_tile)
{
    EXPECT_EQ(
        config_of("hf-fp8", {{"fp8_e4m3:block64x32", {4, 64}}}),
        R"({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [64, 32], )"
        R"("modules_to_not_convert": ["(?!(.*\\.)?experts(\\.|$)).*", "m.q_proj", "lm_head"]})");
    EXPECT_NE(config_of("hf-fp8", {{"fp8_e4m3:expert", {4, 64}}}).find(R"("weight_block_size": null)"),
              std::string::npos);
    config_of("hf-fp8", {{"fp8_e4m3:block64x32", {4, 64}}, {"fp8_e4m3:block64x64", {4, 64}}}, MOEQ_ERROR_UNSUPPORTED);
}

// One weight is quantized; experts of layer 1 are dense, of layer 0 in part.
std::string modules_of(const char* dialect, const char* spec, const std::vector<const char*>& dense)
{
    Listed listed;
    const char* name = "m.0.experts.0.up_proj.weight";
    EXPECT_EQ(listed.make(dialect, spec, {4, 64}, name), MOEQ_OK) << listed.error.message;
    const moeq::store::WrittenWeight weight{name, listed.geometry};
    moeq::Array<char> text(listed.allocator);
    moeq::text::JsonWriter json(text);
    Report report("config", &listed.error);
    const moeq::store::WrittenModel model{listed.allocator, &weight, 1, dense.data(),
                                          static_cast<int64_t>(dense.size())};
    EXPECT_EQ(listed.dialect->write_config(model, json, report), MOEQ_OK);
    const std::string config(text.data(), static_cast<size_t>(text.size()));
    for (const char* key : {"llm_int8_skip_modules", "ignore", "modules_to_not_convert"}) {
        const size_t at = config.find(std::string("\"") + key + "\": [");
        if (at != std::string::npos)
            return config.substr(config.find('[', at), config.find(']', at) + 1 - config.find('[', at));
    }
    return config;
}

TEST(DialectConfig, names_dense_experts_by_the_module_that_holds_them)
{
    const std::vector<const char*> dense = {"m.0.experts.0.down_proj.weight", "m.0.experts.1.down_proj.weight",
                                            "m.1.experts.0.up_proj.weight",   "m.1.experts.0.down_proj.weight",
                                            "m.1.experts.1.up_proj.weight",   "m.10.experts.gate_up_proj",
                                            "m.10.experts.down_proj",         "m.q_proj.weight"};
    const std::string parts = R"("m.0.experts.0.down_proj", "m.0.experts.1.down_proj", )";
    for (const auto& [dialect, spec] : {std::pair{"bitsandbytes", "nf4"}, {"hf-fp8", "fp8_e4m3"}, {"native", "int8"}})
        EXPECT_EQ(modules_of(dialect, spec, dense),
                  "[" + parts + R"("m.1.experts", "m.10.experts", "m.q_proj", "lm_head"])");
}

TEST(DialectConfig, of_native)
{
    EXPECT_EQ(config_of("native", {{"nf4", {4, 64}}}),
              R"({"quant_method": "moeq", "version": "1", "modules_to_not_convert": ["m.q_proj", "lm_head"]})");
}

// Whoever looks for quant_method stops, where no loader has a place for a stack's name.
TEST(DialectConfig, of_native_that_no_loader_has_a_place_for)
{
    moeq::Allocator allocator(nullptr, nullptr, nullptr);
    moeq::Array<char> text(allocator);
    moeq::text::JsonWriter json(text);
    moeq_error error{};
    Report report("config", &error);
    moeq::store::WrittenModel model{allocator, nullptr, 0, nullptr, 0};
    model.unplaced = true;
    ASSERT_EQ(moeq::store::find_dialect("native")->write_config(model, json, report), MOEQ_OK);
    const std::string_view written(text.data(), static_cast<size_t>(text.size()));
    EXPECT_EQ(written.find("\"quant_method\""), std::string_view::npos);
    EXPECT_NE(written.find(R"("unplaced_quant_method": "moeq")"), std::string_view::npos);
}

TEST(DialectStatistics, are_widened_exactly)
{
    const uint16_t bf16[3] = {0x3F80, 0x8001, 0x7F80};
    const uint16_t fp16[3] = {0x3C00, 0x0001, 0xFC00};
    const uint8_t e8m0[5] = {0, 1, 127, 254, 255};
    float out[5];
    moeq::store::widen_statistics(MOEQ_DTYPE_BF16, bf16, 3, out);
    EXPECT_EQ(out[0], 1.0f);
    EXPECT_EQ(out[1], std::ldexp(-1.0f, -133));
    EXPECT_EQ(out[2], INFINITY);
    moeq::store::widen_statistics(MOEQ_DTYPE_FP16, fp16, 3, out);
    EXPECT_EQ(out[0], 1.0f);
    EXPECT_EQ(out[1], std::ldexp(1.0f, -24));
    EXPECT_EQ(out[2], -INFINITY);
    moeq::store::widen_statistics(MOEQ_DTYPE_FP8_E8M0, e8m0, 5, out);
    EXPECT_EQ(out[0], std::ldexp(1.0f, -127));
    EXPECT_EQ(out[1], std::ldexp(1.0f, -126));
    EXPECT_EQ(out[2], 1.0f);
    EXPECT_EQ(out[3], std::ldexp(1.0f, 127));
    EXPECT_TRUE(std::isnan(out[4]));
    const float fp32[2] = {1.5f, -0.0f};
    moeq::store::widen_statistics(MOEQ_DTYPE_FP32, fp32, 2, out);
    EXPECT_EQ(std::memcmp(out, fp32, sizeof fp32), 0);
}

} // namespace
