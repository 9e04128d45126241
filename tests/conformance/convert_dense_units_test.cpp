// Dense targets are made as any conversion: units in any order, stopped and resumed, in the memory that the plan states; and what
// of the source stays, and what goes.
#include <chrono>
#include <cstddef>

#include "conformance/convert_dense_cases.h"

namespace moeq_test {
namespace {

TEST_F(DenseUnits, AnyOrderAndAnyThreads)
{
    const Tree wanted = reference();
    const int64_t units = unit_count(plan(context_, quantized(), path("t"), options_));
    ASSERT_GE(units, 9);
    const Context two = make_context(2);
    for (int64_t u = units; u-- > 0;)
        convert(u % 2 == 0 ? context_ : two, quantized(), path("t"), steps(MOEQ_CONVERT_UNITS, u, u + 1));
    EXPECT_FALSE(fs::exists(path("t")));
    convert(context_, quantized(), path("t"), steps(MOEQ_CONVERT_FINISH));
    expect_same_tree(tree(path("t")), wanted);
}

TEST_F(DenseUnits, GoesOnWhereItWasStopped)
{
    const Tree wanted = reference();
    convert(context_, quantized(), path("t"), steps(MOEQ_CONVERT_UNITS));
    const std::string partial = path("t.partial/");
    fs::remove(partial + "unit-00001.json");
    std::string bytes = read_file(partial + "model-00004-of-00009.safetensors");
    bytes[bytes.size() - 7] ^= 1;
    std::ofstream(partial + "model-00004-of-00009.safetensors", std::ios::binary) << bytes;
    const Error error = refused(context_, quantized(), path("t"), steps(MOEQ_CONVERT_FINISH), MOEQ_ERROR_INCOMPLETE);
    EXPECT_TRUE(contains(error.text(), ": 1, 3; ")) << error.text();
    convert(context_, quantized(), path("t"), steps(0));
    expect_same_tree(tree(path("t")), wanted);
}

// A source with another time stamp is read again, and decoded codes that differ are seen.
TEST_F(DenseUnits, AChangedSourceIsSeen)
{
    const Tree wanted = reference();
    for (const bool changes : {false, true}) {
        const std::string target = path(changes ? "a" : "b");
        convert(context_, quantized(), target, steps(MOEQ_CONVERT_UNITS));
        const std::string file = quantized() + "/model-00002-of-00009.safetensors";
        std::string bytes = read_file(file);
        if (changes)
            bytes[bytes.size() / 2] ^= 0x11;
        std::ofstream(file, std::ios::binary) << bytes;
        fs::last_write_time(file, fs::file_time_type::clock::now() + std::chrono::seconds(5));
        if (changes) {
            refused(context_, quantized(), target, steps(MOEQ_CONVERT_FINISH), MOEQ_ERROR_MISMATCH);
            continue;
        }
        convert(context_, quantized(), target, steps(MOEQ_CONVERT_FINISH));
        expect_same_tree(tree(target), wanted);
    }
}

TEST_F(DenseUnits, AnotherTypeIsAnotherConversion)
{
    convert(context_, quantized(), path("t"), steps(MOEQ_CONVERT_UNITS, 0, 1));
    options_.value.dense_dtype = MOEQ_DTYPE_FP16;
    const Error error = refused(context_, quantized(), path("t"), steps(0), MOEQ_ERROR_MISMATCH);
    EXPECT_TRUE(contains(error.text(), "differs in its spec")) << error.text();
}

TEST_F(DenseUnits, EachByteCountsOnce)
{
    struct Told {
        int64_t last = 0, total = 0;
    } told;
    options_.value.progress_user = &told;
    options_.value.progress = [](const moeq_progress* progress, void* user) -> int32_t {
        auto& seen = *static_cast<Told*>(user);
        EXPECT_GE(progress->bytes_done, seen.last);
        seen.last = progress->bytes_done;
        seen.total = progress->bytes_total;
        return MOEQ_CONTINUE;
    };
    convert(context_, quantized(), path("t"), options_);
    EXPECT_EQ(told.last, told.total);
}

// ---- memory

TEST_F(DenseUnits, MemoryIsWhatThePlanSays)
{
    ExpertLayer layer(Form::kFused, MOEQ_DTYPE_BF16, 16, 512, 1024); // 32 MiB and 16 MiB dense
    const TemporaryFolder source;
    layer.write(source);
    for (const char* spec : {"int8", "nf4:nested", "fp8_e4m3:block"}) {
        const std::string from = path(std::string("from ") + spec);
        convert(context_, source.path(), from, ConvertOptions(MOEQ_DIALECT_NATIVE, spec));
        for (const int32_t dtype : {MOEQ_DTYPE_BF16, MOEQ_DTYPE_FP32}) {
            const Context fresh = make_context(4);
            const DenseOptions options(dtype);
            const std::string target = path(std::string(spec) + type_name(dtype));
            const std::string text = plan(fresh, from, target, options);
            const int64_t planned = std::stoll(text.substr(text.find("\"peak\": ", text.find("\"totals\"")) + 8));
            convert(fresh, from, target, options);
            auto memory = sized<moeq_memory>();
            MOEQ_EXPECT_OK(moeq_context_get_memory(fresh.get(), &memory, &ok));
            EXPECT_LE(memory.host_peak, planned + (256 << 10)) << target;
            EXPECT_LE(planned, 64 << 20) << target; // of 96 MiB as fp32
            EXPECT_GE(memory.host_peak, planned / 3) << target;
        }
    }
}

// ---- rules, and what stays

TEST_F(DenseUnits, OneRuleMakesSomeDense)
{
    ConvertOptions options(MOEQ_DIALECT_BITSANDBYTES, nullptr);
    options.value.rules = R"([{"match": "model.layers.1.**", "spec": "bf16"}])";
    convert(context_, quantized(), path("t"), options);
    const Reader reader = open_reader(context_, path("t"));
    const Reader whole = open_reader(context_, quantized());
    auto info = sized<moeq_reader_info>();
    MOEQ_EXPECT_OK(moeq_reader_get_info(reader.get(), &info, &ok));
    EXPECT_EQ(info.dialect, MOEQ_DIALECT_BITSANDBYTES);
    for (const char* layer : {"0", "1", "2", "3"}) {
        const std::string name = std::string("model.layers.") + layer + ".mlp.experts.gate_up_proj";
        auto stack = sized<moeq_stack_info>();
        MOEQ_EXPECT_OK(moeq_reader_get_stack(reader.get(), stack_index(reader, name), &stack, &ok));
        EXPECT_EQ(stack.quantized, layer[0] == '1' ? 0 : 1);
    }
    const std::string config = read_file(path("t/config.json"));
    EXPECT_TRUE(contains(config, "\"model.layers.1.mlp.experts\"")) << config; // among what is not converted
    EXPECT_FALSE(contains(config, "\"model.layers.0.mlp.experts\"")) << config;
    // And the other way round: all but what a rule keeps.
    ConvertOptions most(MOEQ_DIALECT_BITSANDBYTES, nullptr);
    most.value.dense_dtype = MOEQ_DTYPE_BF16;
    most.value.rules = R"([{"match": "model.layers.0.**", "spec": null},
                           {"match": "model.layers.1.**", "spec": "fp16"}])";
    convert(context_, quantized(), path("u"), most);
    const Reader other = open_reader(context_, path("u"));
    const auto dtype_of = [&](const char* name) { return tensor_info(other, find_tensor(other, name)).dtype; };
    EXPECT_EQ(dtype_of("model.layers.0.mlp.experts.3.up_proj.weight"), MOEQ_DTYPE_UINT8);
    EXPECT_EQ(dtype_of("model.layers.1.mlp.experts.3.up_proj.weight"), MOEQ_DTYPE_FP16);
    EXPECT_EQ(dtype_of("model.layers.2.mlp.experts.3.up_proj.weight"), MOEQ_DTYPE_BF16);
}

TEST_F(DenseUnits, WhatIsDenseKeepsItsType)
{
    options_.value.dense_dtype = MOEQ_DTYPE_FP32;
    const std::string text = plan(context_, kTiny, path("t"), options_);
    EXPECT_TRUE(contains(text, "\"weights_made_dense\": 0"));
    EXPECT_TRUE(contains(text,
                         "{\"name\": \"model.layers.0.mlp.experts.gate_up_proj\", \"reason\": \"dense already, its "
                         "type stays\", \"detail\": \"bf16\"}"));
    convert(context_, kTiny, path("t"), options_);
    const Reader reader = open_reader(context_, path("t"));
    EXPECT_EQ(tensor_info(reader, find_tensor(reader, "model.layers.0.mlp.experts.3.up_proj.weight")).dtype,
              MOEQ_DTYPE_BF16);
    const std::string of_quantized = plan(context_, quantized(), path("u"), options_);
    EXPECT_TRUE(contains(of_quantized, "tensors that were dense keep their type, which for 39 of them is not fp32"));
    EXPECT_TRUE(contains(of_quantized, "config.json says bfloat16"));
}

// Options of a size that ends before the field are those of a caller who does not know it.
TEST_F(DenseUnits, OptionsWithoutTheField)
{
    options_.value.struct_size = offsetof(moeq_convert_options, dense_dtype);
    const std::string text = plan(context_, quantized(), path("t"), options_);
    EXPECT_TRUE(contains(text, "\"weights_made_dense\": 0"));
    EXPECT_TRUE(contains(text, "quantized already, kept"));
    options_.value.struct_size = sizeof options_.value;
    EXPECT_FALSE(contains(plan(context_, quantized(), path("t"), options_), "\"weights_made_dense\": 0"));
}

// Among the experts of one stack some may be dense already.
TEST(ConvertDenseMixed, ExpertsThatWereDenseStay)
{
    const Context context = make_context(2);
    const TemporaryFolder source, folder;
    ContainerFile file;
    Bytes codes(64 * 32), dense(64 * 32 * 4);
    for (size_t i = 0; i < codes.size(); ++i)
        codes[i] = static_cast<uint8_t>(i % 120);
    const float scale = 0.5f;
    const auto name = [](int e) { return "model.layers.0.mlp.experts." + std::to_string(e) + ".down_proj.weight"; };
    for (int e = 0; e < 4; ++e) {
        if (e == 2) {
            file.add(name(e), MOEQ_DTYPE_FP32, {64, 32}, dense);
            continue;
        }
        file.add(name(e), MOEQ_DTYPE_FP8_E4M3FN, {64, 32}, codes);
        file.add(name(e) + "_scale_inv", MOEQ_DTYPE_FP32, {1, 1}, &scale, sizeof scale);
    }
    write_sharded(source, {file});
    source.write("config.json", R"({"model_type": "qwen3_moe", "quantization_config": {"quant_method": "fp8"}})");
    convert(context, source.path(), folder.path("t"), DenseOptions(MOEQ_DTYPE_BF16));
    const Reader reader = open_reader(context, folder.path("t"));
    for (int e = 0; e < 4; ++e)
        EXPECT_EQ(tensor_info(reader, find_tensor(reader, name(e))).dtype, e == 2 ? MOEQ_DTYPE_FP32 : MOEQ_DTYPE_BF16);
}

// Whatever told how weights are quantized is gone, wherever it was.
TEST(ConvertDenseLeftovers, AreGone)
{
    const Context context = make_context(1);
    const TemporaryFolder source, folder;
    ContainerFile file;
    const Bytes codes(64, 1);
    const float scale = 1.0f;
    for (const std::string module : {"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj"}) {
        file.add(module + ".weight", MOEQ_DTYPE_FP8_E4M3FN, {8, 8}, codes);
        file.add(module + ".weight_scale_inv", MOEQ_DTYPE_FP32, {1, 1}, &scale, sizeof scale);
        file.add(module + ".input_scale", MOEQ_DTYPE_FP32, {}, &scale, sizeof scale);
    }
    file.add("model.layers.0.self_attn.k_scale", MOEQ_DTYPE_FP32, {1}, &scale, sizeof scale);
    file.add("model.layers.0.mlp.gate.input_scale", MOEQ_DTYPE_FP32, {1}, &scale, sizeof scale); // of no codes
    write_sharded(source, {file});
    source.write(
        "config.json",
        R"({"model_type": "qwen3_moe", "quantization_config": {"quant_method": "fp8"}, "list": [1],)"
        R"( "thinker_config": {"a": 1, "text_config": {"quantization_config": {}, "compression_config": {}}}})");
    for (const char* name : {"hf_quant_config.json", "quantize_config.json", "generation_config.json"})
        source.write(name, "{}");
    convert(context, source.path(), folder.path("t"), DenseOptions(MOEQ_DTYPE_BF16));
    const Reader reader = open_reader(context, folder.path("t"));
    EXPECT_EQ(tensor_count(reader), 3);
    EXPECT_GE(find_tensor(reader, "model.layers.0.mlp.gate.input_scale"), 0);
    const std::string config = read_file(folder.path("t/config.json"));
    EXPECT_FALSE(contains(config, "quantization_config") || contains(config, "compression_config")) << config;
    EXPECT_TRUE(contains(config, "\"thinker_config\": {\"a\": 1, \"text_config\": {}}")) << config;
    EXPECT_FALSE(fs::exists(folder.path("t/hf_quant_config.json")) ||
                 fs::exists(folder.path("t/quantize_config.json")));
    EXPECT_TRUE(fs::exists(folder.path("t/generation_config.json")));
    const std::string report = read_file(folder.path("t/moeq_report.json"));
    EXPECT_TRUE(contains(report,
                         "{\"name\": \"model.layers.0.self_attn.q_proj.input_scale\", \"reason\": \"went with the "
                         "codes of a weight that is dense now\", \"detail\": "
                         "\"model.layers.0.self_attn.q_proj.weight\"}"))
        << report;
    EXPECT_TRUE(contains(report, "{\"name\": \"model.layers.0.self_attn.k_scale\", ")) << report;
    // With a rule only what belongs to its weight goes.
    ConvertOptions rule(MOEQ_DIALECT_HF_FP8, nullptr);
    rule.value.rules = R"([{"match": "**.q_proj.weight", "spec": "bf16"}])";
    convert(context, source.path(), folder.path("u"), rule);
    const Reader other = open_reader(context, folder.path("u"));
    EXPECT_EQ(tensor_count(other), 6);
    const std::string told = read_file(folder.path("u/config.json"));
    EXPECT_TRUE(contains(told, "\"modules_to_not_convert\": [\"model.layers.0.self_attn.q_proj\"")) << told;
}

// A weight larger than a batch, with rows that are no part of a chunk's size, and one of no elements.
TEST(ConvertDenseSizes, LargeAndEmpty)
{
    const Context context = make_context(2);
    const TemporaryFolder source, folder;
    ContainerFile file;
    HostTensor large(MOEQ_DTYPE_BF16, {3001, 3000}), none(MOEQ_DTYPE_BF16, {0, 64}),
        wide(MOEQ_DTYPE_BF16, {2, 700'000});
    large.fill(1);
    wide.fill(2);
    file.add("large.weight", large);
    file.add("none.weight", none);
    file.add("wide.weight", wide);
    write_sharded(source, {file});
    source.write("config.json", R"({"model_type": "qwen3_moe"})");
    ConvertOptions quantizes(MOEQ_DIALECT_NATIVE, nullptr);
    quantizes.value.rules = R"([{"match": "large.weight", "spec": "nf4:blocking=row,nested"},
                                {"match": "none.weight", "spec": "int8"}, {"match": "wide.weight", "spec": "int8:expert"}])";
    convert(context, source.path(), folder.path("q"), quantizes);
    const Reader quantized = open_reader(context, folder.path("q"));
    for (const int32_t dtype : {MOEQ_DTYPE_BF16, MOEQ_DTYPE_FP32}) {
        convert(context, folder.path("q"), folder.path(type_name(dtype)), DenseOptions(dtype));
        const Reader dense = open_reader(context, folder.path(type_name(dtype)));
        expect_decoded(dense, quantized, dtype);
        EXPECT_EQ(tensor_info(dense, find_tensor(dense, "none.weight")).bytes, 0);
        moeq_blob* blob = nullptr;
        MOEQ_EXPECT_OK(moeq_reader_verify(dense.get(), nullptr, nullptr, &blob, &ok));
        const Blob owner(blob);
        EXPECT_TRUE(contains(static_cast<const char*>(moeq_blob_data(blob)), "\"problems\": []"));
    }
}

} // namespace
} // namespace moeq_test
