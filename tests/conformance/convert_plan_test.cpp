// What a plan tells and depends on, and what a conversion writes besides the weights.
#include <sys/stat.h>

#include <algorithm>

#include "conformance/convert_cases.h"

namespace moeq_test {
namespace {

class ConvertPlan : public ConvertFixture {};

// ---- the plan

TEST_F(ConvertPlan, PlanTellsWhatHappens)
{
    options_.value.rules = R"([{"match": "model.layers.0.mlp.experts.*", "spec": null},
                               {"match": "**.self_attn.?_proj.weight", "spec": "int8"},
                               {"match": "**.self_attn.*_proj.weight", "spec": "int8"}])";
    const std::string text = plan(context_, kTiny, path("t"), options_);
    EXPECT_TRUE(contains(text, "\"unused_rules\": [\"**.self_attn.?_proj.weight\"]"));
    EXPECT_TRUE(contains(text,
                         "{\"name\": \"model.layers.0.mlp.experts.gate_up_proj\", \"reason\": \"kept dense by rule\", "
                         "\"detail\": \"model.layers.0.mlp.experts.*\"}"));
    EXPECT_TRUE(contains(text, "{\"name\": \"model.layers.2.mlp.gate.weight\", \"reason\": \"router\"}"));
    EXPECT_TRUE(contains(text, "{\"name\": \"model.norm.weight\", \"reason\": \"not a matrix\"}"));
    EXPECT_TRUE(contains(text, "{\"name\": \"lm_head.weight\", \"reason\": \"embedding or output layer\"}"));
    EXPECT_TRUE(contains(text,
                         "{\"name\": \"model.layers.1.mlp.experts.gate_up_proj\", \"spec\": "
                         "\"nf4:layout=gate_up,dtype=bf16\", \"shape\": [8, 384, 128]"));
    EXPECT_TRUE(contains(text, "{\"name\": \"model.layers.3.self_attn.q_proj.weight\", \"spec\": \"int8:dtype=bf16\""));
    EXPECT_TRUE(contains(text, "\"stacks\": 6, \"experts\": 48"));
    EXPECT_FALSE(fs::exists(path("t.partial")));
    convert(context_, kTiny, path("t"), options_);
    const Reader reader = open_reader(context_, path("t"));
    const Reader source = open_reader(context_, kTiny);
    const moeq_spec nf4 = parse("nf4");
    EXPECT_NE(stack_index(reader, "model.layers.3.self_attn.q_proj.weight"), -1);
    const std::string layer1 = "model.layers.1.mlp.experts.gate_up_proj";
    EXPECT_EQ(stored_bytes(load(reader, stack_index(reader, layer1))),
              stored_bytes(load(source, stack_index(source, layer1), &nf4)));
    // Stays dense, tensor by tensor.
    int64_t tensor = -1, stack = -1;
    MOEQ_EXPECT_OK(moeq_reader_find(reader.get(), "model.layers.0.mlp.experts.5.up_proj.weight", &tensor, &stack, &ok));
    EXPECT_GE(tensor, 0);
}

TEST_F(ConvertPlan, PlanDependsOnAllThatMatters)
{
    std::vector<std::string> hashes;
    const auto add = [&](const ConvertOptions& options) {
        hashes.push_back(plan_hash(plan(context_, kTiny, path("t"), options)));
    };
    add(options_);
    add(ConvertOptions(MOEQ_DIALECT_NATIVE, nullptr));
    add(ConvertOptions(MOEQ_DIALECT_NATIVE, "nf4:128"));
    add(ConvertOptions(MOEQ_DIALECT_BITSANDBYTES, "nf4"));
    ConvertOptions other(MOEQ_DIALECT_NATIVE, "nf4");
    other.value.rules = "[]";
    add(other);
    std::sort(hashes.begin(), hashes.end());
    EXPECT_EQ(std::unique(hashes.begin(), hashes.end()), hashes.end());
    // ... and not on what does not.
    ConvertOptions same(MOEQ_DIALECT_NATIVE, "nf4");
    same.value.flags = 0;
    same.value.steps = MOEQ_CONVERT_FINISH;
    EXPECT_EQ(plan_hash(plan(context_, kTiny, path("t"), same)), plan_hash(plan(context_, kTiny, path("u"), options_)));
}

// The peak of a conversion, by its plan and as it was.
struct Peak {
    int64_t planned, taken;
};

Peak peak_of(const std::string& source, const std::string& target, const ConvertOptions& options, int threads)
{
    const Context fresh = make_context(threads);
    const std::string text = plan(fresh, source, target, options);
    const size_t at = text.find("\"peak\": ", text.find("\"totals\""));
    convert(fresh, source, target, options);
    auto memory = sized<moeq_memory>();
    MOEQ_EXPECT_OK(moeq_context_get_memory(fresh.get(), &memory, &ok));
    EXPECT_LE(memory.host_live, 1 << 20);
    return {std::stoll(text.substr(at + 8)), memory.host_peak};
}

TEST_F(ConvertPlan, MemoryIsWhatThePlanSays)
{
    ExpertLayer layer(Form::kFused, MOEQ_DTYPE_FP32, 16, 512, 1024); // 64 MiB and 32 MiB
    const TemporaryFolder source;
    layer.write(source);
    for (const char* spec : {"int8", "nf4:nested"}) {
        const Peak peak = peak_of(source.path(), path(spec), ConvertOptions(MOEQ_DIALECT_NATIVE, spec), 2);
        EXPECT_LE(peak.taken, peak.planned + (1 << 20)) << spec;
    }
}

// A small checkpoint takes little, and the plan says so: its largest stack has 786,432 bytes.
TEST_F(ConvertPlan, MemoryOfASmallOne)
{
    const auto check = [&](const std::string& source, int32_t dialect, const char* spec) {
        const std::string target = path(std::to_string(dialect) + (spec == nullptr ? "none" : spec) + source.back());
        const Peak peak = peak_of(source, target, ConvertOptions(dialect, spec), 4);
        EXPECT_LE(peak.taken, peak.planned + (256 << 10)) << dialect << " " << (spec == nullptr ? "none" : spec);
        EXPECT_LE(peak.planned, 8 << 20) << dialect << " " << (spec == nullptr ? "none" : spec);
    };
    for (const char* spec : {"int8", "int8:expert", "int8:block", "fp8_e4m3:block", "nf4", "fp4:32,nested",
                             "nf4:blocking=row", static_cast<const char*>(nullptr)})
        check(kTiny, MOEQ_DIALECT_NATIVE, spec);
    for (const char* spec : {"int8", "nf4", "nf4:nested"})
        check(kTiny, MOEQ_DIALECT_BITSANDBYTES, spec);
    for (const char* spec : {"int8", "fp8_e4m3:expert", "fp8_e4m3:block"})
        check(kTiny, MOEQ_DIALECT_COMPRESSED_TENSORS, spec);
    check(kTiny, MOEQ_DIALECT_HF_FP8, "fp8_e4m3");
    // What is quantized already is kept, and quantized anew.
    convert(context_, kTiny, path("nested"), ConvertOptions(MOEQ_DIALECT_NATIVE, "nf4:nested"));
    check(path("nested"), MOEQ_DIALECT_NATIVE, nullptr);
    check(path("nested"), MOEQ_DIALECT_NATIVE, "int8");
    check(path("nested"), MOEQ_DIALECT_BITSANDBYTES, nullptr);
    check(path("nested"), MOEQ_DIALECT_COMPRESSED_TENSORS, "int8");
}

// config.json has one word for all weights: what needs two is refused by the plan, and nothing is written.
TEST_F(ConvertPlan, FormatsThatConfigCannotName)
{
    const auto expect_refused = [&](const std::string& source, const ConvertOptions& options,
                                    std::initializer_list<const char*> words) {
        moeq_blob* blob = nullptr;
        Error error;
        EXPECT_EQ(moeq_convert_plan(context_.get(), source.c_str(), path("t").c_str(), &options.value, &blob, &error),
                  MOEQ_ERROR_UNSUPPORTED);
        for (const char* word : words)
            EXPECT_TRUE(contains(error.text(), word)) << error.text();
        const Error same = refused(context_, source, path("t"), options, MOEQ_ERROR_UNSUPPORTED);
        EXPECT_EQ(same.text().substr(same.text().find(": ")), error.text().substr(error.text().find(": ")));
        EXPECT_FALSE(fs::exists(path("t")) || fs::exists(path("t.partial")));
    };
    ConvertOptions bitsandbytes(MOEQ_DIALECT_BITSANDBYTES, "nf4");
    bitsandbytes.value.rules = R"([{"match": "**.down_proj", "spec": "int8"}])";
    expect_refused(kTiny, bitsandbytes,
                   {"bitsandbytes can name only one format; got int8 for ", " and nf4 for ", "the dialect native"});
    ConvertOptions tiles(MOEQ_DIALECT_HF_FP8, "fp8_e4m3:block");
    tiles.value.rules = R"([{"match": "**.down_proj", "spec": "fp8_e4m3:expert"}])";
    expect_refused(
        kTiny, tiles,
        {"hf-fp8 can name only one size of tiles; got fp8_e4m3:expert for ", " and fp8_e4m3:block128x128 for "});
    // What is kept counts too, where its codes are copied as they are.
    convert(context_, kTiny, path("nf4"), ConvertOptions(MOEQ_DIALECT_BITSANDBYTES, "nf4"));
    ConvertOptions rest(MOEQ_DIALECT_BITSANDBYTES, "int8");
    rest.value.rules = R"([{"match": "**.down_proj", "spec": null}])";
    expect_refused(path("nf4"), rest, {"got int8 for ", " and nf4 for "});
}

// What is there already is not done again, however it was asked for.
TEST_F(ConvertPlan, AskedForWhatItIs)
{
    convert(context_, kTiny, path("bnb"), ConvertOptions(MOEQ_DIALECT_BITSANDBYTES, "nf4:nested"));
    for (const char* spec : {"nf4:nested", static_cast<const char*>(nullptr)}) {
        const std::string target = path(spec == nullptr ? "a" : "b");
        const ConvertOptions options(MOEQ_DIALECT_BITSANDBYTES, spec);
        EXPECT_TRUE(contains(plan(context_, path("bnb"), target, options),
                             "\"reason\": \"quantized already, kept\", \"detail\": \"nf4:nested,"));
        convert(context_, path("bnb"), target, options);
        EXPECT_EQ(read_file(target + "/config.json"), read_file(path("bnb/config.json")));
    }
    Tree a = tree(path("a"));
    Tree b = tree(path("b"));
    a.erase("moeq_report.json"); // it names the plan, which is another one
    b.erase("moeq_report.json");
    expect_same_tree(a, b);
}

// ---- what surrounds the weights

TEST_F(ConvertPlan, FilesBesideTheWeights)
{
    const std::string source = copied_source();
    for (const char* name :
         {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocab.txt", "spiece.model"})
        std::ofstream(source + "/" + name) << "contents of " << name;
    for (const char* name :
         {"pytorch_model.bin", "consolidated.00.pth", "x.gguf", "pytorch_model.bin.index.json", ".hidden"})
        std::ofstream(source + "/" + name) << "other weights";
    fs::create_directory(source + "/folder");
    ASSERT_EQ(mkfifo((source + "/pipe").c_str(), 0600), 0);
    std::ofstream(source + "/large.txt") << "x";
    fs::resize_file(source + "/large.txt", (64 << 20) + 1);
    convert(context_, source, path("t"), options_);
    const Tree files = tree(path("t"));
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocab.txt",
                             "spiece.model", "generation_config.json", "README.md"})
        EXPECT_TRUE(files.count(name) == 1 && files.at(name) == read_file(source + "/" + name)) << name;
    for (const char* name : {"pytorch_model.bin", "consolidated.00.pth", "x.gguf", "pytorch_model.bin.index.json",
                             ".hidden", "folder", "pipe", "large.txt", "moeq_plan.json", "unit-00000.json"})
        EXPECT_EQ(files.count(name), 0u) << name;
    EXPECT_TRUE(contains(files.at("config.json"), "\"quantization_config\": {\"quant_method\": \"moeq\""));
    EXPECT_TRUE(contains(files.at("config.json"), "\"dtype\": \"bfloat16\""));
    EXPECT_TRUE(contains(files.at("moeq_report.json"), "\"tokenizer.json\": \""));
    EXPECT_FALSE(contains(files.at("moeq_report.json"), path("t")));
}

// Nothing is quantized: everything is copied, and config.json stays as it is spelled.
TEST_F(ConvertPlan, NothingToDo)
{
    convert(context_, kTiny, path("t"), ConvertOptions(MOEQ_DIALECT_BITSANDBYTES, nullptr));
    EXPECT_EQ(read_file(path("t/config.json")), read_file(kTiny + "/config.json"));
    const Reader a = open_reader(context_, kTiny);
    const Reader b = open_reader(context_, path("t"));
    for (const char* name : {"model.layers.2.mlp.experts.gate_up_proj", "model.layers.3.mlp.experts.down_proj"}) {
        const moeq_spec spec = parse("int8");
        EXPECT_EQ(stored_bytes(load(a, stack_index(a, name), &spec)),
                  stored_bytes(load(b, stack_index(b, name), &spec)));
    }
}

TEST_F(ConvertPlan, ASingleFile)
{
    ExpertLayer layer(Form::kFused, MOEQ_DTYPE_FP16, 4, 64, 128);
    const TemporaryFolder source;
    ContainerFile file;
    file.set_metadata("{\"format\": \"pt\"}");
    file.add(kGateUp, layer.gate_up);
    file.add(kDown, layer.down);
    source.write("one.safetensors", file.text());
    source.write("two.safetensors", file.text());
    const char* patterns = R"([{"match": "model.layers.*.mlp.experts.down_proj",
                                "stack": "model.layers.*.mlp.experts.down_proj"}])";
    options_.value.patterns = patterns; // no config.json tells whose names these are
    const std::string text = plan(context_, source.path("one.safetensors"), path("t"), options_);
    EXPECT_TRUE(contains(text, "no config.json"));
    EXPECT_TRUE(contains(text,
                         "{\"name\": \"model.layers.0.mlp.experts.gate_up_proj\", \"reason\": \"three axes, but no "
                         "name of experts that is known for this model type\"}"));
    EXPECT_EQ(plan_hash(text), plan_hash(plan(context_, source.path("two.safetensors"), path("t"), options_)));
    convert(context_, source.path("one.safetensors"), path("t"), options_);
    const Tree files = tree(path("t"));
    EXPECT_EQ(files.count("config.json"), 0u);
    const Reader reader = open_reader(context_, path("t"), 0, patterns);
    moeq_spec spec = parse("nf4");
    EXPECT_EQ(stored_bytes(load(reader, stack_index(reader, kDown))),
              stored_bytes(quantize(context_, layer.down, spec)));
    for (const auto& [name, bytes] : files)
        if (name.find(".safetensors") != std::string::npos && name.find(".index") == std::string::npos) {
            EXPECT_TRUE(contains(bytes.substr(0, 2000), "\"format\":")) << name;
        }
}

// config.json beside it is used, and written; nothing else of that folder is.
TEST_F(ConvertPlan, ASingleFileBesideItsConfig)
{
    ExpertLayer layer(Form::kFused, MOEQ_DTYPE_FP16, 4, 64, 128);
    const TemporaryFolder source;
    ContainerFile file;
    file.add(kGateUp, layer.gate_up);
    source.write("one.safetensors", file.text());
    source.write("config.json", layer.config());
    source.write("tokenizer.json", "{}");
    const std::string text = plan(context_, source.path("one.safetensors"), path("t"), options_);
    EXPECT_FALSE(contains(text, "no config.json"));
    EXPECT_TRUE(contains(text, "\"model_type\": \"qwen3_moe\""));
    for (const char* spec : {"nf4", static_cast<const char*>(nullptr)}) {
        const std::string target = path(spec == nullptr ? "same" : spec);
        convert(context_, source.path("one.safetensors"), target, ConvertOptions(MOEQ_DIALECT_BITSANDBYTES, spec));
        const Tree files = tree(target);
        EXPECT_EQ(files.count("tokenizer.json"), 0u);
        ASSERT_EQ(files.count("config.json"), 1u);
        EXPECT_EQ(contains(files.at("config.json"), "\"quant_method\": \"bitsandbytes\""), spec != nullptr);
        EXPECT_TRUE(contains(files.at("config.json"), "\"model_type\": \"qwen3_moe\""));
        EXPECT_TRUE(contains(files.at("moeq_report.json"), "\"config.json\": \""));
        const Reader reader = open_reader(context_, target);
        EXPECT_GE(stack_index(reader, kGateUp), 0); // its names are known again
    }
}

// Experts of unknown names, [in, out], up before gate: each stays as it lies, or becomes [out, in] where the dialect wants it.
TEST_F(ConvertPlan, PatternsOfOtherNames)
{
    HostTensor whole(MOEQ_DTYPE_FP32, {2, 64, 96}); // up and gate of 48 outputs each
    whole.fill(5);
    ContainerFile file;
    std::vector<std::unique_ptr<HostTensor>> pieces;
    for (int64_t e = 0; e < 2; ++e)
        for (int64_t part = 0; part < 2; ++part) {
            pieces.push_back(std::make_unique<HostTensor>(MOEQ_DTYPE_FP32, Shape{64, 48}));
            for (int64_t i = 0; i < 64; ++i)
                std::memcpy(pieces.back()->as<float>() + i * 48, whole.as<float>() + (e * 64 + i) * 96 + part * 48,
                            48 * sizeof(float));
            file.add("net.0.moe." + std::to_string(e) + (part == 0 ? ".w_up.weight" : ".w_gate.weight"),
                     *pieces.back());
        }
    const TemporaryFolder source;
    source.write("model.safetensors", file.text());
    const char* patterns =
        R"([{"match": "net.*.moe.{expert}.w_gate.weight", "stack": "net.*.moe.w_in", "part": "gate", "scale_axis": -2,)"
        R"( "layout": "up_gate"},)"
        R"( {"match": "net.*.moe.{expert}.w_up.weight", "stack": "net.*.moe.w_in", "part": "up", "scale_axis": -2,)"
        R"( "layout": "up_gate"}])";
    ConvertOptions native(MOEQ_DIALECT_NATIVE, "int8");
    native.value.patterns = patterns;
    convert(context_, source.path(), path("native"), native);
    const Reader fused = open_reader(context_, path("native"), 0, patterns);
    moeq_spec spec = parse("int8:axis=-2,layout=up_gate");
    EXPECT_EQ(stored_bytes(load(fused, stack_index(fused, "net.0.moe.w_in"))),
              stored_bytes(quantize(context_, whole, spec)));

    for (const int32_t dialect : {MOEQ_DIALECT_BITSANDBYTES, MOEQ_DIALECT_COMPRESSED_TENSORS}) {
        const bool turned = dialect == MOEQ_DIALECT_COMPRESSED_TENSORS;
        ConvertOptions options(dialect, turned ? "int8" : "nf4");
        options.value.patterns = patterns;
        const std::string target = path(turned ? "ct" : "bnb");
        convert(context_, source.path(), target, options);
        const Reader reader = open_reader(context_, target);
        const char* names[] = {"net.0.moe.0.w_up.weight", "net.0.moe.0.w_gate.weight", "net.0.moe.1.w_up.weight",
                               "net.0.moe.1.w_gate.weight"};
        for (size_t i = 0; i < 4; ++i) {
            HostTensor wanted(MOEQ_DTYPE_FP32, turned ? Shape{48, 64} : Shape{64, 48});
            for (int64_t in = 0; in < 64; ++in)
                for (int64_t out = 0; out < 48; ++out)
                    wanted.as<float>()[turned ? out * 64 + in : in * 48 + out] = pieces[i]->as<float>()[in * 48 + out];
            const Bytes codes = packed_bytes(
                component(quantize(context_, wanted, turned ? "int8:scale=factor" : "nf4"), MOEQ_COMPONENT_CODES)
                    .get());
            int64_t tensor = -1, stack = -1;
            MOEQ_EXPECT_OK(moeq_reader_find(reader.get(), names[i], &tensor, &stack, &ok));
            HostTensor got(MOEQ_DTYPE_UINT8, {static_cast<int64_t>(codes.size())});
            MOEQ_EXPECT_OK(moeq_reader_read(reader.get(), tensor, 0, got, &ok));
            EXPECT_EQ(got.memory(), codes) << names[i];
        }
    }
}

} // namespace
} // namespace moeq_test
