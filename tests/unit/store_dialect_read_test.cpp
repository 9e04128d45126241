// What a dialect makes of the tensors of a checkpoint: which weights it sees, with which spec, in which tensors; and what it
// refuses. The files are written byte by byte in store_dialect_files.h.
#include "codec/fp4.h"
#include "codec/nf4.h"
#include "store/dialects/foreign.h"
#include "store_dialect_files.h"

namespace {

using dialect_test::expect_refused;
using dialect_test::Files;
using dialect_test::Recognised;
using dialect_test::Shape;
using moeq::store::Weight;

constexpr char kState[] = ".quant_state.bitsandbytes__";

std::string bytes_of(const std::vector<float>& values)
{
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

std::string quant_map(const std::string& type)
{
    std::vector<float> map;
    for (uint8_t i = 0; i < 16; ++i)
        map.push_back(type == "nf4" ? moeq::codec::nf4_value(i) : moeq::codec::fp4_value(i));
    return bytes_of(map);
}

std::string state(const std::string& type, int64_t block, const Shape& shape, const std::string& more = "")
{
    return "{\"quant_type\": \"" + type + "\", \"blocksize\": " + std::to_string(block) +
           ", \"dtype\": \"float16\", \"shape\": " + dialect_test::join(shape) + more + "}";
}

constexpr char kNested[] = ", \"nested_blocksize\": 256, \"nested_dtype\": \"float32\", \"nested_offset\": 0.25";

int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A weight as bitsandbytes saves it.
void add_4bit(Files* files, const std::string& name, const std::string& type, int64_t block, const Shape& shape,
              bool nested)
{
    const int64_t count = dialect_test::product(shape);
    files->add(name, "U8", {up(count, 2), 1});
    files->add(name + ".absmax", nested ? "U8" : "F32", {up(count, block)});
    files->add(name + ".quant_map", "F32", {16}, quant_map(type));
    if (nested) {
        files->add(name + ".nested_absmax", "F32", {up(up(count, block), 256)});
        files->add(name + ".nested_quant_map", "F32", {256});
    }
    files->add_text(name + kState + type, state(type, block, shape, nested ? kNested : ""));
}

void expect_tensors(const Recognised& got, const Weight& weight, const std::map<int32_t, std::string>& want)
{
    for (int32_t i = 1; i < moeq::kComponentLimit; ++i) {
        const auto found = want.find(i);
        EXPECT_EQ(got.tensor(weight, i), found == want.end() ? "" : found->second) << i;
    }
}

// The tensors that describe weights, and belong to no component.
std::vector<std::string> descriptions(const Recognised& got)
{
    std::vector<std::string> names;
    for (int64_t i = 0; i < got.checkpoint.tensor_count(); ++i)
        if (got.weights.component_of[i] == -1)
            names.push_back(got.checkpoint.tensor(i).entry.name);
    return names;
}

// ---- which dialect

int32_t detect(const Files& files)
{
    Recognised got;
    EXPECT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    return got.weights.dialect;
}

TEST(DetectDialect, looks_at_config_then_metadata_then_names)
{
    const auto config = [](const std::string& method) {
        return "{\"quantization_config\": {\"quant_method\": \"" + method + "\"}}";
    };
    EXPECT_EQ(detect(Files().add("w", "F32", {2, 2})), MOEQ_DIALECT_NONE);
    EXPECT_EQ(detect(Files().add("w", "F32", {2, 2}).set_config(config("bitsandbytes"))), MOEQ_DIALECT_BITSANDBYTES);
    EXPECT_EQ(detect(Files().add("w", "F32", {2, 2}).set_config(config("compressed-tensors"))),
              MOEQ_DIALECT_COMPRESSED_TENSORS);
    EXPECT_EQ(detect(Files().add("w", "F32", {2, 2}).set_config(config("fp8"))), MOEQ_DIALECT_HF_FP8);
    EXPECT_EQ(detect(Files().add("w", "F32", {2, 2}).set_config(config("moeq"))), MOEQ_DIALECT_NATIVE);
    EXPECT_EQ(detect(Files().add("w", "F32", {2, 2}).set_config(config("gptq"))), MOEQ_DIALECT_NONE);
    EXPECT_EQ(detect(Files().add("w", "F32", {2, 2}).set_config("{\"quantization_config\": {\"load_in_8bit\": true}}")),
              MOEQ_DIALECT_BITSANDBYTES);
    EXPECT_EQ(detect(Files().add("w", "F32", {2, 2}).set_config("{\"text_config\": " + config("fp8") + "}")),
              MOEQ_DIALECT_HF_FP8);
    EXPECT_EQ(detect(Files().add("w", "F32", {2, 2}).set_metadata("moeq.version", "1")), MOEQ_DIALECT_NATIVE);
    Files nf4;
    add_4bit(&nf4, "w", "nf4", 64, {4, 32}, false);
    EXPECT_EQ(detect(nf4), MOEQ_DIALECT_BITSANDBYTES);
    EXPECT_EQ(detect(Files().add("a.weight", "I8", {2, 2}).add("a.SCB", "F32", {2})), MOEQ_DIALECT_BITSANDBYTES);
    EXPECT_EQ(detect(Files().add("a.weight", "BF16", {2, 2}).add("a.SCB", "F32", {2})), MOEQ_DIALECT_NONE);
}

TEST(DetectDialect, leaves_methods_that_it_does_not_know_alone)
{
    Files files;
    files.add("a.qweight", "I8", {2, 2}).add("a.SCB", "F32", {9});
    files.set_config(R"({"quantization_config": {"quant_method": "gptq", "bits": 4}})");
    Recognised got;
    ASSERT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    EXPECT_EQ(got.weights.dialect, MOEQ_DIALECT_NONE);
    const moeq::store::ForeignCodes foreign = moeq::store::find_foreign_codes(got.checkpoint, got.weights);
    EXPECT_STREQ(foreign.scheme, "gptq");
    EXPECT_TRUE(foreign.stated);
}

// ---- native

std::string described(const std::string& spec, const Shape& shape)
{
    return R"({"spec": ")" + spec + R"(", "shape": )" + dialect_test::join(shape) + "}";
}

Files& add_native_nf4(Files* files)
{
    return files->set_metadata("moeq.version", "1")
        .set_metadata("moeq.weight.a.w", described("nf4:64,nested", {2, 4, 64}))
        .add("a.w", "U8", {2, 128})
        .add("a.w.moeq.absmax", "U8", {2, 4})
        .add("a.w.moeq.nested_absmax", "F32", {1})
        .add("a.w.moeq.nested_map", "F32", {256})
        .add("a.w.moeq.nested_offset", "F32", {});
}

TEST(ReadNative, finds_every_component)
{
    Files files;
    add_native_nf4(&files)
        .set_metadata("moeq.weight.b", described("fp8_e4m3:block128x128,layout=gate_up,dtype=fp16", {2, 200, 130}))
        .add("b", "F8_E4M3", {2, 200, 130})
        .add("b.moeq.scale", "F32", {2, 2, 2})
        .add("norm", "BF16", {64});
    Recognised got;
    ASSERT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    EXPECT_EQ(got.weights.dialect, MOEQ_DIALECT_NATIVE);
    const Weight* nf4 = got.find("a.w");
    const Weight* fp8 = got.find("b");
    ASSERT_TRUE(nf4 != nullptr && fp8 != nullptr);
    EXPECT_EQ(got.spec(*nf4), "nf4:nested,dtype=bf16");
    EXPECT_EQ(got.spec(*fp8), "fp8_e4m3:block128x128,layout=gate_up,dtype=fp16");
    EXPECT_EQ(nf4->dtype, MOEQ_DTYPE_BF16); // nothing says another
    EXPECT_EQ(fp8->dtype, MOEQ_DTYPE_FP16);
    expect_tensors(got, *nf4,
                   {{MOEQ_COMPONENT_CODES, "a.w"},
                    {MOEQ_COMPONENT_SCALE, "a.w.moeq.absmax"},
                    {MOEQ_COMPONENT_NESTED_SCALE, "a.w.moeq.nested_absmax"},
                    {MOEQ_COMPONENT_NESTED_MAP, "a.w.moeq.nested_map"},
                    {MOEQ_COMPONENT_NESTED_OFFSET, "a.w.moeq.nested_offset"}});
    expect_tensors(got, *fp8, {{MOEQ_COMPONENT_CODES, "b"}, {MOEQ_COMPONENT_SCALE, "b.moeq.scale"}});
    EXPECT_TRUE(nf4->quantized);
    EXPECT_EQ(nf4->shape[2], 64);
}

// With the axis that keeps plain loaders away, and without it, as they once were.
TEST(ReadNative, reads_codes_of_both_shapes)
{
    for (const Shape& shape : {Shape{2, 1, 20, 30}, Shape{2, 20, 30}}) {
        Files files;
        files.set_metadata("moeq.version", "1")
            .set_metadata("moeq.weight.b", described("fp8_e4m3:expert", {2, 20, 30}));
        files.add("b", "F8_E4M3", shape).add("b.moeq.scale", "F32", {2});
        Recognised got;
        ASSERT_EQ(got.open(files), MOEQ_OK) << got.error.message;
        const Weight* weight = got.find("b");
        ASSERT_TRUE(weight != nullptr && weight->quantized);
        EXPECT_EQ(weight->ndim, 3);
        EXPECT_EQ(weight->shape[1], 20);
    }
    for (const Shape& shape : {Shape{2, 20, 1, 30}, Shape{1, 2, 20, 30}, Shape{2, 600}, Shape{2, 1, 1, 20, 30}}) {
        Files files;
        files.set_metadata("moeq.version", "1")
            .set_metadata("moeq.weight.b", described("fp8_e4m3:expert", {2, 20, 30}));
        files.add("b", "F8_E4M3", shape).add("b.moeq.scale", "F32", {2});
        expect_refused(files, MOEQ_ERROR_FORMAT, "F15", {"codes"});
    }
}

TEST(ReadNative, refuses_another_version)
{
    Files files;
    add_native_nf4(&files).set_metadata("moeq.version", "2");
    expect_refused(files, MOEQ_ERROR_VERSION, "", {"moeq.version", "\"2\"", "want 1"});
}

TEST(ReadNative, refuses_what_metadata_and_tensors_do_not_agree_on)
{
    const auto refused = [](const std::string& value, const std::string& class_id, const std::string& part) {
        Files files;
        add_native_nf4(&files).set_metadata("moeq.weight.a.w", value);
        expect_refused(files, MOEQ_ERROR_FORMAT, class_id, {"a.w", part});
    };
    refused("{", "F12", "end of the text");
    refused("[]", "F15", "object");
    refused("[[[[]]]]", "F12", "");
    refused(R"({"spec": "nf4"})", "F15", "shape");
    refused(R"({"spec": "nf4", "shape": [2, 4, 64], "more": 1})", "F15", "spec");
    refused(described("nf5", {2, 4, 64}), "F15", "nf5");
    refused(R"({"spec": "nf4\u0000", "shape": [2, 4, 64]})", "F15", "");
    refused(R"({"spec": 4, "shape": [2, 4, 64]})", "F15", "spec");
    refused(R"({"spec": "nf4", "shape": [2, 4, "64"]})", "F15", "extent");
    refused(R"({"spec": "nf4", "shape": [2, 4, -64]})", "F12", "");
    refused(R"({"spec": "nf4", "shape": [64]})", "F14", "1 extents");
    refused(R"({"spec": "nf4", "shape": [1,1,1,1,1,1,1,4,64]})", "F14", "9 extents");
    refused(described("nf4:64,nested", {4294967296, 4294967296, 64}), "F15", "2^59");
    refused(described("nf4:64,nested", {2, 4, 66}), "F15", "[2, 132]");
    refused(described("nf4:64,nested", {1, 8, 64}), "F15", "[1, 256]");
    refused(described("nf4:128,nested", {2, 4, 64}), "F15", "scale");
    refused(described("int8", {2, 4, 64}), "F15", "int8");
    refused(described("nf4:64", {2, 4, 64}), "F15", "fp32");
}

TEST(ReadNative, refuses_parts_that_are_missing_or_left_over)
{
    for (const char* part :
         {"a.w", "a.w.moeq.absmax", "a.w.moeq.nested_absmax", "a.w.moeq.nested_map", "a.w.moeq.nested_offset"}) {
        Files files;
        add_native_nf4(&files).remove(part);
        expect_refused(files, MOEQ_ERROR_FORMAT, "F28", {"a.w"});
    }
    Files orphan;
    add_native_nf4(&orphan).add("b.moeq.scale", "F32", {1});
    expect_refused(orphan, MOEQ_ERROR_FORMAT, "F28", {"b.moeq.scale"});
    Files unversioned;
    unversioned.set_metadata("moeq.weight.w", described("int8", {2, 2})).add("w", "I8", {2, 2});
    unversioned.set_config(R"({"quantization_config": {"quant_method": "moeq"}})");
    expect_refused(unversioned, MOEQ_ERROR_FORMAT, "F28", {"moeq.version"});
    Files twice;
    add_native_nf4(&twice).set_metadata("moeq.weight.a.w.moeq.absmax", described("nf4:64", {2, 16}));
    Recognised got;
    EXPECT_EQ(got.open(twice), MOEQ_ERROR_FORMAT) << got.error.message;
}

// ---- bitsandbytes

TEST(ReadBitsandbytes, finds_four_bit_weights)
{
    Files files;
    add_4bit(&files, "m.experts.gate_up_proj", "nf4", 64, {3, 5, 64}, false);
    add_4bit(&files, "m.experts.down_proj", "fp4", 32, {3, 5, 50}, true);
    add_4bit(&files, "m.q_proj.weight", "nf4", 128, {7, 9}, false);
    files.add("m.q_proj.bias", "BF16", {7});
    Recognised got;
    ASSERT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    EXPECT_EQ(got.weights.dialect, MOEQ_DIALECT_BITSANDBYTES);
    const Weight* whole = got.find("m.experts.gate_up_proj");
    const Weight* flat = got.find("m.experts.down_proj");
    const Weight* linear = got.find("m.q_proj.weight");
    ASSERT_TRUE(whole != nullptr && flat != nullptr && linear != nullptr);
    EXPECT_EQ(got.spec(*whole), "nf4:dtype=fp16"); // 320 elements an expert: blocks end with experts
    EXPECT_EQ(got.spec(*flat), "fp4:32,nested,blocking=flat,dtype=fp16");
    EXPECT_EQ(got.spec(*linear), "nf4:128,dtype=fp16");
    EXPECT_EQ(flat->nested_offset, 0.25f);
    expect_tensors(got, *flat,
                   {{MOEQ_COMPONENT_CODES, "m.experts.down_proj"},
                    {MOEQ_COMPONENT_SCALE, "m.experts.down_proj.absmax"},
                    {MOEQ_COMPONENT_NESTED_SCALE, "m.experts.down_proj.nested_absmax"},
                    {MOEQ_COMPONENT_NESTED_MAP, "m.experts.down_proj.nested_quant_map"}});
    EXPECT_EQ(descriptions(got).size(), 6u);
    EXPECT_EQ(got.weights.component_of[got.checkpoint.find("m.q_proj.bias", 13)], 0);
}

TEST(ReadBitsandbytes, takes_codes_by_their_bytes)
{
    for (const char* dtype : {"BF16", "F32", "F16", "I8"}) {
        Files files;
        add_4bit(&files, "w", "nf4", 64, {8, 32}, false);
        dialect_test::Entry& codes = files.entry("w");
        codes.dtype = dtype;
        codes.shape = {128 / dialect_test::size_of(dtype), 1};
        Recognised got;
        EXPECT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    }
}

TEST(ReadBitsandbytes, takes_a_vector_as_one_row)
{
    Files files;
    add_4bit(&files, "w", "nf4", 64, {130}, false);
    Recognised got;
    ASSERT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    EXPECT_EQ(got.find("w")->shape[0], 1);
    EXPECT_EQ(got.find("w")->shape[1], 130);
}

TEST(ReadBitsandbytes, refuses_a_state_that_the_tensors_contradict)
{
    const auto refused = [](const std::string& text, moeq_status status, const std::string& class_id,
                            const std::string& part) {
        Files files;
        add_4bit(&files, "w", "nf4", 64, {4, 64}, false);
        files.remove(std::string("w") + kState + "nf4").add_text(std::string("w") + kState + "nf4", text);
        expect_refused(files, status, class_id, {"w", part});
    };
    refused(state("nf4", 64, {4, 66}), MOEQ_ERROR_FORMAT, "F15", "132");
    refused(state("nf4", 64, {2, 64}), MOEQ_ERROR_FORMAT, "F15", "64");
    refused(state("nf4", 32, {4, 64}), MOEQ_ERROR_FORMAT, "F15", "want 32 bytes");
    refused(state("nf4", 48, {4, 64}), MOEQ_ERROR_FORMAT, "F15", "power of two");
    refused(state("nf4", 0, {4, 64}), MOEQ_ERROR_FORMAT, "F15", "blocksize");
    refused(state("nf4", 4294967360, {4, 64}), MOEQ_ERROR_FORMAT, "F15", "blocksize");
    refused(state("nf4", 64, {4611686018427387904, 4}), MOEQ_ERROR_FORMAT, "F15", "2^59");
    refused(state("nf4", 64, {4294967296, 4294967296}), MOEQ_ERROR_FORMAT, "F15", "2^59");
    refused(state("nf4", 64, {-4, 64}), MOEQ_ERROR_FORMAT, "F15", "-4");
    refused(state("nf4", 64, {1, 1, 1, 1, 1, 1, 1, 4, 64}), MOEQ_ERROR_FORMAT, "F15", "shape");
    refused(state("nf4", 64, {}), MOEQ_ERROR_FORMAT, "F15", "shape");
    refused(state("fp4", 64, {4, 64}), MOEQ_ERROR_FORMAT, "F15", "quant_type");
    refused(state("nf4", 64, {4, 64}, ", \"more\": 1"), MOEQ_ERROR_FORMAT, "F15", "does not know");
    refused(state("nf4", 64, {4, 64}, ", \"nested_offset\": 1"), MOEQ_ERROR_FORMAT, "F15", "nested_blocksize");
    refused(state("nf4", 64, {4, 64}, kNested), MOEQ_ERROR_FORMAT, "F28", ".nested_absmax");
    refused("{", MOEQ_ERROR_FORMAT, "F12", "");
    refused("[]", MOEQ_ERROR_FORMAT, "F15", "object");
    refused("", MOEQ_ERROR_FORMAT, "F12", "");
    refused(state("nf4", 64, {4, 64}, ", \"dtype\": \"float32\""), MOEQ_ERROR_FORMAT, "F11", "");
    refused(R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float64", "shape": [4, 64]})", MOEQ_ERROR_FORMAT, "F15",
            "float64");
    refused(R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": null})", MOEQ_ERROR_FORMAT, "F15",
            "shape");
    refused(R"({"quant_type": "nf4", "blocksize": 64.0, "dtype": "float16", "shape": [4, 64]})", MOEQ_ERROR_FORMAT,
            "F15", "blocksize");
    refused(state("nf4", 64, {4, 64}) + std::string(1 << 16, ' '), MOEQ_ERROR_LIMIT, "F02", "65536");
}

TEST(ReadBitsandbytes, refuses_parts_that_are_missing_wrong_or_unknown)
{
    const auto files_with = [](auto&& change) {
        auto files = std::make_unique<Files>();
        add_4bit(files.get(), "w", "nf4", 64, {4, 64}, true);
        change(*files);
        return files;
    };
    const std::string json = std::string("w") + kState + "nf4";
    for (const std::string part : {"w", "w.absmax", "w.quant_map", "w.nested_absmax", "w.nested_quant_map"})
        expect_refused(*files_with([&](Files& f) { f.remove(part); }), MOEQ_ERROR_FORMAT, "F28", {"w", "want"});
    expect_refused(*files_with([&](Files& f) {
        f.remove(json);
        f.set_config(R"({"quantization_config": {"quant_method": "bitsandbytes"}})");
    }),
                   MOEQ_ERROR_FORMAT, "F28", {"exactly one"});
    expect_refused(*files_with([&](Files& f) { f.add_text(std::string("w") + kState + "fp4", "{}"); }),
                   MOEQ_ERROR_FORMAT, "F11", {"exactly one"});
    expect_refused(*files_with([&](Files& f) { f.add_text(std::string("w") + kState + "af4", "{}"); }),
                   MOEQ_ERROR_UNSUPPORTED, "", {"nf4 or fp4"});
    expect_refused(*files_with([&](Files& f) { f.add("w.moeq", "F32", {1}); }), MOEQ_ERROR_FORMAT, "F15", {"w.moeq"});
    expect_refused(*files_with([&](Files& f) { f.entry("w.absmax").dtype = "I8"; }), MOEQ_ERROR_FORMAT, "F15",
                   {"w.absmax", "int8", "uint8"});
    expect_refused(*files_with([&](Files& f) { f.remove("w.absmax").add("w.absmax", "U8", {5}); }), MOEQ_ERROR_FORMAT,
                   "F15", {"w.absmax", "[5]", "want 4 bytes"});
    expect_refused(
        *files_with([&](Files& f) { f.remove("w.nested_quant_map").add("w.nested_quant_map", "F32", {255}); }),
        MOEQ_ERROR_FORMAT, "F15", {"w.nested_quant_map", "1020", "want 1024"});
    expect_refused(*files_with([&](Files& f) { f.remove("w.quant_map").add("w.quant_map", "F32", {17}); }),
                   MOEQ_ERROR_FORMAT, "F15", {"w.quant_map", "[17]", "want [16]"});
    expect_refused(*files_with([&](Files& f) { f.entry("w.quant_map").bytes = quant_map("fp4"); }),
                   MOEQ_ERROR_UNSUPPORTED, "", {"w.quant_map", "code 0", "nf4"});
}

// Below a weight, at any depth, and not only beside it: "a-b" and "aa" are no parts of "a".
TEST(ReadBitsandbytes, knows_what_lies_below_a_weight)
{
    Files files;
    for (const char* name : {"a", "a-b", "a.b.c", "aa", "b", "a.b.c.d.e"})
        add_4bit(&files, name, "nf4", 64, {4, 64}, false);
    for (const char* other : {"a!", "a-", "a-b-c", "ab", "c", "B", "0", "bb.b"})
        files.add(other, "F32", {1});
    {
        Recognised got;
        EXPECT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    }
    for (const char* part : {"a.x", "a.b", "a.b.x", "a.b.c.x", "a.b.c.d.x", "a.b.c.d.e.x", "a.z", "a-b.x", "aa.x.y.z",
                             "b.0", "a..", "a.b.c.absmax2"}) {
        files.add(part, "F32", {1});
        expect_refused(files, MOEQ_ERROR_FORMAT, "F15", {part, "below a quantized weight"});
        files.remove(part);
    }
    files.add("x.absmax", "F32", {4}); // of a weight without a quant_state
    expect_refused(files, MOEQ_ERROR_FORMAT, "F28", {"x.absmax", "exactly one"});
}

TEST(ReadBitsandbytes, refuses_nested_statistics_of_another_kind)
{
    for (const char* more : {", \"nested_blocksize\": 128, \"nested_dtype\": \"float32\", \"nested_offset\": 0.25",
                             ", \"nested_blocksize\": 256, \"nested_dtype\": \"float16\", \"nested_offset\": 0.25"}) {
        Files files;
        add_4bit(&files, "w", "nf4", 64, {4, 64}, true);
        const std::string json = std::string("w") + kState + "nf4";
        files.remove(json).add_text(json, state("nf4", 64, {4, 64}, more));
        expect_refused(files, MOEQ_ERROR_UNSUPPORTED, "", {"nested_blocksize", "256", "float32"});
    }
}

TEST(ReadBitsandbytes, finds_int8_weights)
{
    Files files;
    files.add("m.q_proj.weight", "I8", {6, 8}).add("m.q_proj.SCB", "F32", {6}).add("m.q_proj.weight_format", "U8", {});
    files.add("m.k_proj.weight", "I8", {2, 8}).add("m.k_proj.SCB", "F16", {2}); // an old one: no format
    files.add("m.experts.down_proj", "I8", {3, 6, 8}).add("m.experts.down_proj.row_stats", "F32", {18});
    files.set_config(R"({"dtype": "float16", "quantization_config": {"quant_method": "bitsandbytes"}})");
    Recognised got;
    ASSERT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    for (const char* name : {"m.q_proj.weight", "m.k_proj.weight", "m.experts.down_proj"}) {
        const Weight* weight = got.find(name);
        ASSERT_NE(weight, nullptr) << name;
        EXPECT_EQ(got.spec(*weight), "int8:dtype=fp16");
    }
    expect_tensors(got, *got.find("m.q_proj.weight"),
                   {{MOEQ_COMPONENT_CODES, "m.q_proj.weight"}, {MOEQ_COMPONENT_SCALE, "m.q_proj.SCB"}});
    EXPECT_EQ(descriptions(got), std::vector<std::string>{"m.q_proj.weight_format"});
}

TEST(ReadBitsandbytes, refuses_int8_weights_that_it_cannot_mean)
{
    const auto files_with = [](auto&& change) {
        auto files = std::make_unique<Files>();
        files->add("q.weight", "I8", {6, 8}).add("q.SCB", "F32", {6}).add("q.weight_format", "U8", {});
        change(*files);
        return files;
    };
    for (const char* format : {"\1", "\2", "\3", "\4"})
        expect_refused(*files_with([&](Files& f) { f.entry("q.weight_format").bytes = format; }),
                       MOEQ_ERROR_UNSUPPORTED, "", {"q.weight_format", "row-major"});
    expect_refused(*files_with([](Files& f) { f.remove("q.weight_format").add("q.weight_format", "U8", {2}); }),
                   MOEQ_ERROR_FORMAT, "F15", {"q.weight_format", "2 bytes"});
    expect_refused(*files_with([](Files& f) { f.remove("q.SCB").add("q.SCB", "F32", {7}); }), MOEQ_ERROR_FORMAT, "F15",
                   {"q.SCB", "28 bytes", "24 bytes"});
    expect_refused(*files_with([](Files& f) {
        f.remove("q.weight").add("q.weight", "BF16", {6, 8}); // which nobody would guess to be bitsandbytes'
        f.set_config("{\"quantization_config\": {\"load_in_8bit\": true}}");
    }),
                   MOEQ_ERROR_FORMAT, "F15", {"q.weight", "bf16", "int8"});
    expect_refused(*files_with([](Files& f) { f.remove("q.weight"); }), MOEQ_ERROR_FORMAT, "F28", {"q.SCB", "weight"});
    expect_refused(*files_with([](Files& f) { f.remove("q.weight").add("q.weight", "I8", {6}); }), MOEQ_ERROR_FORMAT,
                   "F15", {"q.weight", "dimensions"});
}

// ---- compressed-tensors

std::string group(const std::string& type, const std::string& strategy, const std::string& more = "",
                  const std::string& targets = "[\"Linear\"]")
{
    return "{\"targets\": " + targets + ", \"weights\": {\"num_bits\": 8, \"type\": \"" + type +
           "\", \"symmetric\": true, \"dynamic\": false, \"strategy\": " + strategy + more + "}}";
}

std::string compressed(const std::string& format, const std::vector<std::string>& groups)
{
    std::string text =
        R"({"dtype": "bfloat16", "quantization_config": {"quant_method": "compressed-tensors", "format": ")" + format +
        R"(", "config_groups": {)";
    for (size_t i = 0; i < groups.size(); ++i)
        text += (i == 0 ? "" : ", ") + ("\"group_" + std::to_string(i)) + "\": " + groups[i];
    return text + "}}}";
}

TEST(ReadCompressedTensors, finds_each_strategy)
{
    struct Case {
        std::string group;
        std::string format;
        std::string dtype;
        Shape scale;
        std::string spec;
    };
    const std::vector<Case> cases = {
        {group("int", "\"channel\""), "int-quantized", "I8", {6, 1}, "int8:scale=factor,dtype=bf16"},
        {group("int", "null", ", \"group_size\": -1"), "int-quantized", "I8", {6, 1}, "int8:scale=factor,dtype=bf16"},
        {group("int", "\"tensor\""), "int-quantized", "I8", {1}, "int8:expert,scale=factor,dtype=bf16"},
        {group("float", "\"channel\""), "float-quantized", "F8_E4M3", {6, 1}, "fp8_e4m3:dtype=bf16"},
        {group("float", "\"tensor\""), "float-quantized", "F8_E4M3", {}, "fp8_e4m3:expert,dtype=bf16"},
        {group("float", "null"), "naive-quantized", "F8_E4M3", {1}, "fp8_e4m3:expert,dtype=bf16"},
        {group("float", "\"block\"", ", \"block_structure\": [4, 3]"),
         "float-quantized",
         "F8_E4M3",
         {2, 3},
         "fp8_e4m3:block4x3,dtype=bf16"},
    };
    for (const Case& c : cases)
        for (const char* scale_type : {"F32", "BF16", "F16"}) {
            Files files;
            files.add("m.q.weight", c.dtype, {6, 8}).add("m.q.weight_scale", scale_type, c.scale);
            files.set_config(compressed(c.format, {c.group}));
            Recognised got;
            ASSERT_EQ(got.open(files), MOEQ_OK) << c.spec << ": " << got.error.message;
            const Weight* weight = got.find("m.q.weight");
            ASSERT_TRUE(weight != nullptr && weight->quantized) << c.spec;
            EXPECT_EQ(got.spec(*weight), c.spec);
            expect_tensors(got, *weight,
                           {{MOEQ_COMPONENT_CODES, "m.q.weight"}, {MOEQ_COMPONENT_SCALE, "m.q.weight_scale"}});
        }
}

TEST(ReadCompressedTensors, prefers_the_group_that_names_the_module)
{
    const std::string rows = group("float", "\"block\"", ", \"block_structure\": [1, 8]");
    const std::string by_name = group("float", "\"channel\"", "", "[\"m.q\", \"m.other\"]");
    Files files;
    files.add("m.q.weight", "F8_E4M3", {6, 8}).add("m.q.weight_scale", "F32", {6, 1});
    files.set_config(compressed("float-quantized", {rows, by_name}));
    Recognised got;
    ASSERT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    EXPECT_EQ(got.spec(*got.find("m.q.weight")), "fp8_e4m3:dtype=bf16");
    // Named by none: both mean the same bytes, but say it differently.
    Files both;
    both.add("m.q.weight", "F8_E4M3", {6, 8}).add("m.q.weight_scale", "F32", {6, 1});
    both.set_config(compressed("float-quantized", {rows, group("float", "\"channel\"")}));
    expect_refused(both, MOEQ_ERROR_UNSUPPORTED, "", {"m.q.weight", "several groups"});
}

TEST(ReadCompressedTensors, many_groups_of_few_kinds)
{
    std::vector<std::string> groups;
    for (int i = 0; i < 2000; ++i)
        groups.push_back(group("float", i % 2 == 0 ? "\"tensor\"" : "\"channel\"", "",
                               "[\"m." + std::to_string(i) + "\", \"m." + std::to_string(i) + "\"]"));
    Files files;
    for (const char* module : {"m.0", "m.1", "m.1998", "m.1999", "other"}) {
        const bool rows = module[std::string(module).size() - 1] % 2 != 0 || module[0] == 'o';
        files.add(std::string(module) + ".weight", "F8_E4M3", {6, 8})
            .add(std::string(module) + ".weight_scale", "F32", rows ? Shape{6, 1} : Shape{1});
    }
    files.set_config(compressed("float-quantized", groups));
    Recognised got;
    ASSERT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    EXPECT_EQ(got.spec(*got.find("m.0.weight")), "fp8_e4m3:expert,dtype=bf16");
    EXPECT_EQ(got.spec(*got.find("m.1.weight")), "fp8_e4m3:dtype=bf16");
    EXPECT_EQ(got.spec(*got.find("m.1998.weight")), "fp8_e4m3:expert,dtype=bf16");
    EXPECT_EQ(got.spec(*got.find("m.1999.weight")), "fp8_e4m3:dtype=bf16");
    EXPECT_EQ(got.spec(*got.find("other.weight")), "fp8_e4m3:dtype=bf16"); // named by none: what fits
    groups.clear();
    for (int i = 1; i <= 17; ++i)
        groups.push_back(group("float", "\"block\"",
                               ", \"block_structure\": [" + std::to_string(i) + ", " + std::to_string(i) + "]"));
    files.set_config(compressed("float-quantized", groups));
    expect_refused(files, MOEQ_ERROR_UNSUPPORTED, "", {"more than 16 kinds"});
}

TEST(ReadCompressedTensors, refuses_scales_of_another_size)
{
    Files files;
    files.add("m.q.weight", "I8", {6, 8}).add("m.q.weight_scale", "F32", {3, 2});
    files.set_config(compressed("int-quantized", {group("int", "\"channel\"")}));
    expect_refused(files, MOEQ_ERROR_FORMAT, "F15", {"m.q.weight_scale", "[3, 2]", "want [6"});
    Files fewer;
    fewer.add("m.q.weight", "I8", {6, 8}).add("m.q.weight_scale", "F32", {5, 1});
    fewer.set_config(compressed("int-quantized", {group("int", "\"channel\"")}));
    expect_refused(fewer, MOEQ_ERROR_FORMAT, "F15", {"m.q.weight_scale", "20 bytes", "24 bytes"});
    Files integers;
    integers.add("m.q.weight", "I8", {6, 8}).add("m.q.weight_scale", "U8", {6, 1});
    integers.set_config(compressed("int-quantized", {group("int", "\"channel\"")}));
    expect_refused(integers, MOEQ_ERROR_FORMAT, "F15", {"m.q.weight_scale", "uint8", "fp32"});
}

TEST(ReadCompressedTensors, zero_points_have_to_be_zero)
{
    Files files;
    files.add("m.q.weight", "I8", {6, 8})
        .add("m.q.weight_scale", "F32", {6, 1})
        .add("m.q.weight_zero_point", "I8", {6, 1});
    files.set_config(compressed("int-quantized", {group("int", "\"channel\"")}));
    Recognised got;
    ASSERT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    EXPECT_EQ(descriptions(got), std::vector<std::string>{"m.q.weight_zero_point"});
    files.entry("m.q.weight_zero_point").bytes[5] = 1;
    expect_refused(files, MOEQ_ERROR_UNSUPPORTED, "", {"m.q.weight_zero_point", "symmetric"});
}

TEST(ReadCompressedTensors, leaves_other_formats_as_plain_tensors)
{
    Files files;
    files.add("m.q.weight_packed", "I8", {6, 8})
        .add("m.q.weight_scale", "BF16", {6, 1})
        .add("m.q.weight_shape", "U8", {2});
    files.add("m.norm.weight", "BF16", {8}).add("m.k.weight", "BF16", {4, 8}).add("m.k.weight_scale", "BF16", {4, 1});
    files.set_config(compressed("pack-quantized", {group("int", "\"channel\"")}));
    Recognised got;
    ASSERT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    for (const Weight& weight : got.weights.weights)
        EXPECT_FALSE(weight.quantized) << weight.name;
    const moeq::store::ForeignCodes foreign = moeq::store::find_foreign_codes(got.checkpoint, got.weights);
    EXPECT_STREQ(foreign.scheme, "compressed-tensors");
    EXPECT_STREQ(foreign.detail, "pack-quantized");
}

// ---- HF fp8

std::string fp8_config(const std::string& tile)
{
    return R"({"torch_dtype": "float16", "quantization_config": {"quant_method": "fp8", "weight_block_size": )" + tile +
           "}}";
}

TEST(ReadHfFp8, finds_linear_and_fused_weights)
{
    Files files;
    files.add("m.q.weight", "F8_E4M3", {5, 8}).add("m.q.weight_scale_inv", "F32", {2, 3});
    files.add("m.experts.gate_up_proj", "F8_E4M3", {2, 8, 6})
        .add("m.experts.gate_up_proj_scale_inv", "BF16", {2, 2, 2});
    files.add("m.experts.down_proj", "F8_E4M3", {2, 6, 4}).add("m.experts.down_proj_scales_inv", "F8_E8M0", {2, 2, 2});
    files.add("m.norm.weight", "BF16", {8}).set_config(fp8_config("[4, 3]"));
    Recognised got;
    ASSERT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    for (const char* name : {"m.q.weight", "m.experts.gate_up_proj", "m.experts.down_proj"}) {
        const Weight* weight = got.find(name);
        ASSERT_NE(weight, nullptr) << name;
        EXPECT_EQ(got.spec(*weight), "fp8_e4m3:block4x3,dtype=fp16") << name;
    }
    expect_tensors(
        got, *got.find("m.experts.down_proj"),
        {{MOEQ_COMPONENT_CODES, "m.experts.down_proj"}, {MOEQ_COMPONENT_SCALE, "m.experts.down_proj_scales_inv"}});
}

TEST(ReadHfFp8, null_means_a_scale_for_each_projection)
{
    Files files;
    files.add("q.weight", "F8_E4M3", {5, 8}).add("q.weight_scale_inv", "F32", {});
    files.add("down_proj", "F8_E4M3", {2, 8, 6}).add("down_proj_scale_inv", "F32", {2, 1, 1});
    files.add("gate_up_proj", "F8_E4M3", {2, 8, 6}).add("gate_up_proj_scale_inv", "F32", {2, 2, 1});
    files.set_config(fp8_config("null"));
    Recognised got;
    ASSERT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    EXPECT_EQ(got.spec(*got.find("q.weight")), "fp8_e4m3:expert,dtype=fp16");
    EXPECT_EQ(got.spec(*got.find("down_proj")), "fp8_e4m3:expert,dtype=fp16");
    EXPECT_EQ(got.spec(*got.find("gate_up_proj")), "fp8_e4m3:block4x6,dtype=fp16"); // gate and up have one each
}

TEST(ReadHfFp8, refuses_tiles_that_the_scales_contradict)
{
    const auto files_with = [](const std::string& tile, const Shape& scale, const char* dtype = "F32") {
        auto files = std::make_unique<Files>();
        files->add("q.weight", "F8_E4M3", {8, 12}).add("q.weight_scale_inv", dtype, scale).set_config(fp8_config(tile));
        return files;
    };
    expect_refused(*files_with("[4, 4]", {2, 2}), MOEQ_ERROR_FORMAT, "F15",
                   {"q.weight_scale_inv", "16 bytes", "24 bytes"});
    expect_refused(*files_with("[4, 4]", {3, 2}), MOEQ_ERROR_FORMAT, "F15", {"q.weight_scale_inv", "[3, 2]", "[2, 3]"});
    expect_refused(*files_with("[4, 4]", {2, 3}, "U8"), MOEQ_ERROR_FORMAT, "F15", {"q.weight_scale_inv", "uint8"});
    for (const char* tile : {"[0, 4]", "[4]", "[4, 4, 4]", "[-1, 4]", "[4, 4.0]", "\"4x4\"", "[4294967300, 4]",
                             "{\"a\": 4, \"b\": 4}", "4"})
        expect_refused(*files_with(tile, {2, 3}), MOEQ_ERROR_FORMAT, "F15", {"weight_block_size"});
    Files alone;
    alone.add("q.weight_scale_inv", "F32", {2, 3}).set_config(fp8_config("[4, 4]"));
    expect_refused(alone, MOEQ_ERROR_FORMAT, "F28", {"q.weight_scale_inv", "without codes"});
    Files wrong;
    wrong.add("q.weight", "BF16", {8, 12}).add("q.weight_scale_inv", "F32", {2, 3}).set_config(fp8_config("[4, 4]"));
    expect_refused(wrong, MOEQ_ERROR_FORMAT, "F15", {"q.weight", "bf16", "fp8_e4m3"});
}

TEST(ReadHfFp8, packed_fp4_stays_a_plain_tensor)
{
    Files files;
    files.add("q.weight", "I8", {8, 16}).add("q.weight_scale_inv", "F8_E8M0", {8, 1}).set_config(fp8_config("[4, 4]"));
    Recognised got;
    ASSERT_EQ(got.open(files), MOEQ_OK) << got.error.message;
    EXPECT_EQ(got.find("q.weight"), nullptr);
}

} // namespace
