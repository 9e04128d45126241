// Opening a checkpoint: what is in it, what belongs together, what is missing, and what each call says of it.
#include "conformance/reader_cases.h"

namespace moeq_test {
namespace {

const std::string kTinyMoe = std::string(MOEQ_SOURCE_DIR) + "/tests/data/tiny-moe";

moeq_stack_info stack_info(const Reader& reader, int64_t stack)
{
    auto info = sized<moeq_stack_info>();
    MOEQ_EXPECT_OK(moeq_reader_get_stack(reader.get(), stack, &info, &ok));
    return info;
}

moeq_tensor_info tensor_info(const Reader& reader, int64_t tensor)
{
    auto info = sized<moeq_tensor_info>();
    MOEQ_EXPECT_OK(moeq_reader_get_tensor(reader.get(), tensor, &info, &ok));
    return info;
}

moeq_reader_info info_of(const Reader& reader)
{
    auto info = sized<moeq_reader_info>();
    MOEQ_EXPECT_OK(moeq_reader_get_info(reader.get(), &info, &ok));
    return info;
}

std::string text_of(moeq_blob* blob)
{
    const Blob owner(blob);
    return std::string(static_cast<const char*>(moeq_blob_data(blob)), static_cast<size_t>(moeq_blob_size(blob)));
}

std::string verify(const Reader& reader)
{
    moeq_blob* out = nullptr;
    MOEQ_EXPECT_OK(moeq_reader_verify(reader.get(), nullptr, nullptr, &out, &ok));
    return text_of(out);
}

moeq_status try_open(const Context& context, const std::string& path, Error* error, const char* patterns = nullptr)
{
    auto options = sized<moeq_reader_options>();
    options.patterns = patterns;
    moeq_reader* out = nullptr;
    const moeq_status status = moeq_reader_open(context.get(), path.c_str(), &options, &out, error);
    EXPECT_EQ(out == nullptr, status != MOEQ_OK);
    moeq_reader_destroy(out);
    return status;
}

class OpenReader : public testing::Test {
protected:
    Context context = make_context(2);
    TemporaryFolder folder;
};

TEST_F(OpenReader, TinyMoeIsWhatItsReadmeSays)
{
    const Reader reader = open_reader(context, kTinyMoe);
    const auto info = info_of(reader);
    EXPECT_EQ(info.dialect, MOEQ_DIALECT_NONE);
    EXPECT_EQ(info.file_count, 3);
    EXPECT_EQ(info.stack_count, 8);
    EXPECT_EQ(info.tensor_count, 4 * (8 * 3 + 9) + 3);
    EXPECT_EQ(info.bytes, 2 * 2626944);
    for (int layer = 0; layer < 4; ++layer) {
        const std::string stem = "model.layers." + std::to_string(layer) + ".mlp.experts.";
        const auto gate_up = stack_info(reader, stack_index(reader, stem + "gate_up_proj"));
        EXPECT_EQ(gate_up.name, stem + "gate_up_proj");
        EXPECT_EQ(gate_up.dtype, MOEQ_DTYPE_BF16);
        EXPECT_EQ(gate_up.layout, MOEQ_LAYOUT_GATE_UP);
        EXPECT_EQ(gate_up.scale_axis, -1);
        EXPECT_EQ(gate_up.quantized, 0);
        EXPECT_EQ(gate_up.fused, 0);
        EXPECT_EQ(gate_up.shape[0], 8);
        EXPECT_EQ(gate_up.shape[1], 384);
        EXPECT_EQ(gate_up.shape[2], 128);
        EXPECT_EQ(gate_up.bytes, 8 * 384 * 128 * 2);
        const auto down = stack_info(reader, stack_index(reader, stem + "down_proj"));
        EXPECT_EQ(down.layout, MOEQ_LAYOUT_PLAIN);
        EXPECT_EQ(down.shape[1], 128);
        EXPECT_EQ(down.shape[2], 192);
    }
    for (int64_t i = 1; i < info.tensor_count; ++i)
        EXPECT_GE(tensor_info(reader, i).file, tensor_info(reader, i - 1).file);
}

TEST_F(OpenReader, TensorsSayWhereTheyBelong)
{
    const Reader reader = open_reader(context, kTinyMoe);
    int64_t tensor = -1;
    int64_t stack = -2;
    MOEQ_EXPECT_OK(moeq_reader_find(reader.get(), "model.layers.2.mlp.experts.5.up_proj.weight", &tensor, &stack, &ok));
    EXPECT_EQ(stack, -1);
    const auto up = tensor_info(reader, tensor);
    EXPECT_STREQ(up.name, "model.layers.2.mlp.experts.5.up_proj.weight");
    EXPECT_EQ(up.expert, 5);
    EXPECT_EQ(up.row, 192);
    EXPECT_EQ(up.column, 0);
    EXPECT_EQ(up.component, 0);
    EXPECT_EQ(up.ndim, 2);
    EXPECT_EQ(up.shape[0], 192);
    EXPECT_EQ(up.bytes, 192 * 128 * 2);
    EXPECT_STREQ(stack_info(reader, up.stack).name, "model.layers.2.mlp.experts.gate_up_proj");
    MOEQ_EXPECT_OK(moeq_reader_find(reader.get(), "lm_head.weight", &tensor, &stack, &ok));
    EXPECT_EQ(tensor_info(reader, tensor).stack, -1);
    Error error;
    EXPECT_EQ(moeq_reader_find(reader.get(), "lm_head", &tensor, &stack, &error), MOEQ_ERROR_NOT_FOUND);
}

TEST_F(OpenReader, MetadataIsTold)
{
    const Reader reader = open_reader(context, kTinyMoe);
    moeq_blob* out = nullptr;
    MOEQ_EXPECT_OK(moeq_reader_metadata(reader.get(), &out, &ok));
    const std::string text = text_of(out);
    EXPECT_NE(text.find(R"("model_type": "qwen3_moe", "dialect": null)"), std::string::npos) << text;
    EXPECT_NE(text.find(R"("name": "model-00002-of-00003.safetensors", "bytes": 1678488)"), std::string::npos) << text;
    EXPECT_NE(text.find(R"("metadata": {"format": "pt"})"), std::string::npos) << text;
}

TEST_F(OpenReader, PartsOfTensorsAreRead)
{
    ContainerFile file;
    HostTensor weight(MOEQ_DTYPE_FP32, {5, 3, 2});
    weight.fill(1);
    HostTensor number(MOEQ_DTYPE_INT64, {});
    number.as<int64_t>()[0] = -7;
    file.add("weight", weight);
    file.add("number", number);
    folder.write("a.safetensors", file.text());
    const Reader reader = open_reader(context, folder.path("a.safetensors"));
    HostTensor part(MOEQ_DTYPE_FP32, {2, 3, 2});
    MOEQ_EXPECT_OK(moeq_reader_read(reader.get(), 0, 3, part, &ok));
    EXPECT_EQ(std::memcmp(part.memory().data(), weight.as<float>() + 18, 48), 0);
    HostTensor bytes(MOEQ_DTYPE_UINT8, {7});
    MOEQ_EXPECT_OK(moeq_reader_read(reader.get(), 0, 5, bytes, &ok));
    EXPECT_EQ(std::memcmp(bytes.memory().data(), weight.memory().data() + 5, 7), 0);
    HostTensor scalar(MOEQ_DTYPE_INT64, {});
    MOEQ_EXPECT_OK(moeq_reader_read(reader.get(), 1, 0, scalar, &ok));
    EXPECT_EQ(scalar.as<int64_t>()[0], -7);
    Error error;
    EXPECT_EQ(moeq_reader_read(reader.get(), 0, 4, part, &error), MOEQ_ERROR_RANGE);
    EXPECT_EQ(moeq_reader_read(reader.get(), 0, -1, part, &error), MOEQ_ERROR_RANGE);
    EXPECT_EQ(moeq_reader_read(reader.get(), 0, 114, bytes, &error), MOEQ_ERROR_RANGE);
    HostTensor other_type(MOEQ_DTYPE_FP16, {2, 3, 2});
    EXPECT_EQ(moeq_reader_read(reader.get(), 0, 0, other_type, &error), MOEQ_ERROR_DTYPE);
    HostTensor other_shape(MOEQ_DTYPE_FP32, {2, 2, 3});
    EXPECT_EQ(moeq_reader_read(reader.get(), 0, 0, other_shape, &error), MOEQ_ERROR_SHAPE);
    HostTensor gaps(MOEQ_DTYPE_FP32, {2, 3, 2}, {12, 4, 2});
    EXPECT_EQ(moeq_reader_read(reader.get(), 0, 0, gaps, &error), MOEQ_ERROR_LAYOUT);
}

// ---- what does not fit together

ContainerFile experts(const std::vector<int>& present, const Shape& shape = {4, 6})
{
    ContainerFile file;
    for (const int e : present) {
        HostTensor piece(MOEQ_DTYPE_BF16, shape);
        piece.fill(static_cast<uint64_t>(e) + 1);
        file.add("l.experts." + std::to_string(e) + ".down_proj.weight", piece);
    }
    return file;
}

TEST_F(OpenReader, AMissingExpertIsNamed)
{
    write_sharded(folder, {experts({0, 1, 3})});
    folder.write("config.json", R"({"model_type": "olmoe", "num_experts": 5})");
    const Reader reader = open_reader(context, folder.path());
    EXPECT_EQ(stack_info(reader, 0).shape[0], 5);
    const auto spec = parse("int8");
    auto options = sized<moeq_load_options>();
    options.spec = &spec;
    moeq_qtensor* out = nullptr;
    Error error;
    EXPECT_EQ(moeq_reader_load(reader.get(), 0, &options, nullptr, &out, &error), MOEQ_ERROR_INCOMPLETE);
    EXPECT_EQ(error.expert, 2);
    options.expert_begin = 3;
    EXPECT_EQ(moeq_reader_load(reader.get(), 0, &options, nullptr, &out, &error), MOEQ_ERROR_INCOMPLETE);
    EXPECT_EQ(error.expert, 4);
    options.expert_end = 4; // what is there can be had
    EXPECT_EQ(shape_of(load(reader, 0, options)), (Shape{1, 4, 6}));
    EXPECT_NE(verify(reader).find(R"({"kind": "missing_expert", "name": "l.experts.down_proj", "expert": 2})"),
              std::string::npos);
}

// What config.json counts may be anything; a file is as incomplete as with one expert too few.
TEST_F(OpenReader, ExpertsThatNobodyCanHaveAreMissing)
{
    for (const char* count : {"3", "1000000", "1000001", "1000000000", "2305843009213693952", "9223372036854775807",
                              "1e30", "-5", "0", "\"8\""}) {
        SCOPED_TRACE(count);
        write_sharded(folder, {experts({0, 1})});
        folder.write("config.json", std::string(R"({"model_type": "olmoe", "num_experts": )") + count + "}");
        const Reader reader = open_reader(context, folder.path());
        const bool believed = std::string(count) == "3" || std::string(count) == "1000000";
        EXPECT_EQ(stack_info(reader, 0).shape[0], believed ? std::stoll(count) : 2);
        const auto spec = parse("int8");
        auto options = sized<moeq_load_options>();
        options.spec = &spec;
        moeq_qtensor* out = nullptr;
        Error error;
        const moeq_status status = moeq_reader_load(reader.get(), 0, &options, nullptr, &out, &error);
        moeq_qtensor_release(out);
        EXPECT_EQ(status, believed ? MOEQ_ERROR_INCOMPLETE : MOEQ_OK) << error.text();
        EXPECT_STREQ(error.class_id, believed ? "F28" : "");
        options.expert_end = 2;
        EXPECT_EQ(shape_of(load(reader, 0, options)), (Shape{2, 4, 6}));
    }
    // The same of names, with more elements than any weight may have; 2 GiB that are nowhere on the disk.
    std::string header = R"({"l.experts.999999999.down_proj.weight": {"dtype": "BF16", "shape": [32768, 32768], )"
                         R"("data_offsets": [0, 2147483648]}})";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    std::string prefix(8, '\0');
    prefix[0] = static_cast<char>(header.size());
    folder.write("one.safetensors", prefix + header);
    std::filesystem::resize_file(folder.path("one.safetensors"), 8 + header.size() + 2147483648u);
    std::filesystem::remove(folder.path("config.json"));
    const Reader reader = open_reader(context, folder.path("one.safetensors"));
    const auto spec = parse("int8");
    auto options = sized<moeq_load_options>();
    options.spec = &spec;
    moeq_qtensor* out = nullptr;
    Error error;
    EXPECT_EQ(moeq_reader_load(reader.get(), 0, &options, nullptr, &out, &error), MOEQ_ERROR_INCOMPLETE);
    EXPECT_EQ(error.expert, 0) << error.text();
}

TEST_F(OpenReader, HalvesAloneAreStacksOfTheirOwn)
{
    ContainerFile file;
    HostTensor piece(MOEQ_DTYPE_BF16, {4, 6});
    for (int e = 0; e < 2; ++e)
        file.add("l.experts." + std::to_string(e) + ".up_proj.weight", piece);
    folder.write("a.safetensors", file.text());
    const Reader reader = open_reader(context, folder.path("a.safetensors"));
    const auto info = stack_info(reader, 0);
    EXPECT_STREQ(info.name, "l.experts.up_proj");
    EXPECT_EQ(info.layout, MOEQ_LAYOUT_PLAIN);
    EXPECT_EQ(info.shape[1], 4);
}

TEST_F(OpenReader, ExpertsOfTwoShapesAreRefused)
{
    ContainerFile file = experts({0, 1});
    HostTensor other(MOEQ_DTYPE_BF16, {4, 8});
    file.add("l.experts.2.down_proj.weight", other);
    folder.write("a.safetensors", file.text());
    Error error;
    EXPECT_EQ(try_open(context, folder.path("a.safetensors"), &error), MOEQ_ERROR_FORMAT);
    EXPECT_NE(error.text().find("l.experts.0.down_proj.weight"), std::string::npos) << error.text();
    EXPECT_NE(error.text().find("l.experts.2.down_proj.weight"), std::string::npos) << error.text();
}

TEST_F(OpenReader, AnExpertUnderTwoNamesIsRefused)
{
    ContainerFile file = experts({0, 1});
    HostTensor again(MOEQ_DTYPE_BF16, {4, 6});
    file.add("l.experts.1.w2.weight", again);
    folder.write("a.safetensors", file.text());
    Error error;
    EXPECT_EQ(try_open(context, folder.path("a.safetensors"), &error), MOEQ_ERROR_FORMAT);
    EXPECT_STREQ(error.class_id, "F11");
}

TEST_F(OpenReader, FusedNamesNeedAModelType)
{
    ContainerFile file;
    HostTensor weight(MOEQ_DTYPE_BF16, {2, 8, 6});
    file.add(kGateUp, weight);
    folder.write("a.safetensors", file.text());
    EXPECT_EQ(info_of(open_reader(context, folder.path("a.safetensors"))).stack_count, 0);
    folder.write("config.json", R"({"model_type": "qwen3_moe"})");
    EXPECT_EQ(info_of(open_reader(context, folder.path())).stack_count, 1);
    EXPECT_EQ(info_of(open_reader(context, folder.path("a.safetensors"))).stack_count, 1);
    folder.write("config.json", R"({"model_type": "another"})"); // a type that does not fit matches no name
    EXPECT_EQ(info_of(open_reader(context, folder.path("a.safetensors"))).stack_count, 0);
}

TEST_F(OpenReader, HiddenSizeSaysHowAWeightLiesWhereAFamilyHasBoth)
{
    for (const bool transposed : {true, false}) {
        ContainerFile file;
        HostTensor gate_up(MOEQ_DTYPE_BF16, transposed ? Shape{2, 6, 8} : Shape{2, 8, 6});
        HostTensor down(MOEQ_DTYPE_BF16, transposed ? Shape{2, 4, 6} : Shape{2, 6, 4});
        file.add(kGateUp, gate_up);
        file.add(kDown, down);
        folder.write("a.safetensors", file.text());
        folder.write("config.json", R"({"model_type": "qwen3_vl_moe", "text_config": {"hidden_size": 6}})");
        const Reader reader = open_reader(context, folder.path());
        EXPECT_EQ(stack_info(reader, stack_index(reader, kGateUp)).scale_axis, transposed ? -2 : -1);
        EXPECT_EQ(stack_info(reader, stack_index(reader, kDown)).scale_axis, transposed ? -2 : -1);
    }
}

TEST_F(OpenReader, PatternsMakeStacksOfUnknownNames)
{
    ContainerFile file;
    HostTensor whole(MOEQ_DTYPE_BF16, {2, 6, 8}); // [in, out], gate and up side by side
    whole.fill(5);
    for (int e = 0; e < 2; ++e)
        for (int half = 0; half < 2; ++half) {
            Bytes bytes;
            for (int r = 0; r < 6; ++r)
                append(bytes, whole.memory().data() + ((e * 6 + r) * 8 + half * 4) * 2, 8);
            file.add("net.3.moe." + std::to_string(e) + (half == 0 ? ".w_up" : ".w_gate"), MOEQ_DTYPE_BF16, {6, 4},
                     bytes);
        }
    folder.write("a.safetensors", file.text());
    const char* patterns =
        R"([{"match": "net.*.moe.{expert}.w_gate", "stack": "net.*.moe.w_in", "part": "gate", "scale_axis": -2,)"
        R"( "layout": "up_gate"},)"
        R"( {"match": "net.*.moe.{expert}.w_up", "stack": "net.*.moe.w_in", "part": "up", "scale_axis": -2,)"
        R"( "layout": "up_gate"}])";
    const Reader reader = open_reader(context, folder.path("a.safetensors"), 0, patterns);
    const auto info = stack_info(reader, stack_index(reader, "net.3.moe.w_in"));
    EXPECT_EQ(info.layout, MOEQ_LAYOUT_UP_GATE);
    EXPECT_EQ(info.scale_axis, -2);
    EXPECT_EQ(info.shape[1], 6);
    EXPECT_EQ(info.shape[2], 8);
    for (const char* text : {"int8:axis=-2", "nf4:32", "fp8_e4m3:expert", "int8:block4x4"}) {
        auto spec = parse(text);
        spec.layout = MOEQ_LAYOUT_UP_GATE;
        spec.scale_axis = -2;
        EXPECT_EQ(stored_bytes(load(reader, 0, &spec)), stored_bytes(quantize(context, whole, spec))) << text;
    }
    auto spec = parse("int8:axis=-2");
    auto options = sized<moeq_load_options>();
    options.spec = &spec;
    options.tp_rank = 1;
    options.tp_size = 2; // columns 2..3 of up and 6..7 of gate
    HostTensor cut(MOEQ_DTYPE_BF16, {2, 6, 4});
    for (int r = 0; r < 12; ++r) {
        std::memcpy(cut.memory().data() + r * 8, whole.memory().data() + r * 16 + 4, 4);
        std::memcpy(cut.memory().data() + r * 8 + 4, whole.memory().data() + r * 16 + 12, 4);
    }
    spec.layout = MOEQ_LAYOUT_UP_GATE;
    EXPECT_EQ(stored_bytes(load(reader, 0, options)), stored_bytes(quantize(context, cut, spec)));
}

// ---- checkpoints that are quantized already

struct Writer {
    Writer(const Context& context, const std::string& path, int32_t dialect)
    {
        auto options = sized<moeq_writer_options>();
        options.dialect = dialect;
        options.flags = MOEQ_WRITER_NOT_DURABLE;
        MOEQ_EXPECT_OK(moeq_writer_create(context.get(), path.c_str(), &options, &writer, &ok));
    }
    ~Writer() { moeq_writer_destroy(writer); }
    void declare(const std::string& name, const QTensor& q)
    {
        auto spec = sized<moeq_spec>();
        MOEQ_EXPECT_OK(moeq_qtensor_get_spec(q.get(), &spec, &ok));
        const Shape shape = shape_of(q);
        MOEQ_EXPECT_OK(
            moeq_writer_declare(writer, name.c_str(), &spec, 0, static_cast<int32_t>(shape.size()), shape.data(), &ok));
    }
    void put(const std::string& name, const QTensor& q)
    {
        MOEQ_EXPECT_OK(moeq_writer_put_qtensor(writer, name.c_str(), q.get(), nullptr, &ok));
    }
    void write(const std::string& name, const QTensor& q)
    {
        declare(name, q);
        put(name, q);
    }
    void commit() { MOEQ_EXPECT_OK(moeq_writer_commit(writer, &ok)); }

    moeq_writer* writer = nullptr;
};

const std::vector<const char*> kNativeSpecs = {"int8",
                                               "int8:expert",
                                               "int8:axis=-2",
                                               "int8:block32x48",
                                               "fp8_e4m3",
                                               "fp8_e4m3:block128x128",
                                               "fp8_e5m2:expert",
                                               "mxfp8",
                                               "nf4",
                                               "nf4:nested",
                                               "nf4:32,blocking=row",
                                               "nf4:blocking=flat",
                                               "fp4:128"};

TEST_F(OpenReader, NativeStacksComeBackAsTheyWere)
{
    HostTensor weight(MOEQ_DTYPE_BF16, {3, 34, 90});
    weight.fill(2);
    for (const char* text : kNativeSpecs) {
        SCOPED_TRACE(text);
        auto spec = parse(text);
        spec.layout = MOEQ_LAYOUT_GATE_UP;
        const QTensor q = quantize(context, weight, spec);
        Writer writer(context, folder.path("n.safetensors"), MOEQ_DIALECT_NATIVE);
        writer.write(kGateUp, q);
        writer.commit();
        for (const int32_t flags : {0, MOEQ_READER_MMAP}) {
            Reader reader = open_reader(context, folder.path("n.safetensors"), flags);
            EXPECT_EQ(info_of(reader).dialect, MOEQ_DIALECT_NATIVE);
            const int64_t index = stack_index(reader, kGateUp);
            auto written = sized<moeq_spec>();
            auto found = sized<moeq_spec>();
            MOEQ_EXPECT_OK(moeq_qtensor_get_spec(q.get(), &written, &ok));
            MOEQ_EXPECT_OK(moeq_reader_get_stack_spec(reader.get(), index, &found, &ok));
            EXPECT_EQ(std::memcmp(&written, &found, sizeof found), 0);
            EXPECT_EQ(stack_info(reader, index).quantized, 1);
            EXPECT_EQ(stack_info(reader, index).layout, MOEQ_LAYOUT_GATE_UP);
            const QTensor loaded = load(reader, index);
            reader.reset(); // a handle needs no reader
            EXPECT_EQ(stored_bytes(loaded), stored_bytes(q));
            EXPECT_EQ(dequantize(loaded), dequantize(q));
        }
    }
}

TEST_F(OpenReader, AMappedNativeStackTakesNoMemory)
{
    HostTensor weight(MOEQ_DTYPE_BF16, {8, 128, 512});
    weight.fill(2);
    for (const char* text : kNativeSpecs) {
        SCOPED_TRACE(text);
        Writer writer(context, folder.path("n.safetensors"), MOEQ_DIALECT_NATIVE);
        writer.write(kDown, quantize(context, weight, text));
        writer.commit();
        const Context own = make_context();
        auto memory = sized<moeq_memory>();
        const Reader reader = open_reader(own, folder.path("n.safetensors"), MOEQ_READER_MMAP);
        MOEQ_EXPECT_OK(moeq_context_get_memory(own.get(), &memory, &ok));
        const int64_t before = memory.host_live;
        const QTensor loaded = load(reader, 0);
        MOEQ_EXPECT_OK(moeq_context_get_memory(own.get(), &memory, &ok));
        EXPECT_LT(memory.host_peak, before + 8192);
    }
}

TEST_F(OpenReader, PartsOfNativeStacksAreSlices)
{
    HostTensor weight(MOEQ_DTYPE_BF16, {4, 128, 256});
    weight.fill(2);
    for (const char* text : {"int8", "int8:expert", "int8:block32x64", "fp8_e4m3:block32x32", "nf4", "nf4:nested",
                             "nf4:32,blocking=row", "nf4:blocking=flat"}) {
        SCOPED_TRACE(text);
        const auto spec = parse(text);
        const QTensor q = quantize(context, weight, spec);
        const std::string name = "l.experts.down_proj";
        Writer writer(context, folder.path("model.safetensors"), MOEQ_DIALECT_NATIVE);
        writer.write(name, q);
        writer.commit();
        folder.write("config.json", R"({"model_type": "olmoe"})");
        const Reader reader = open_reader(context, folder.path());
        const std::vector<float> whole = dequantize(q);
        auto options = sized<moeq_load_options>();
        options.expert_begin = 1;
        options.expert_end = 3;
        const std::vector<float> some = dequantize(load(reader, 0, options));
        EXPECT_EQ(some, std::vector<float>(whole.begin() + 128 * 256, whole.begin() + 3 * 128 * 256));
        options.tp_rank = 1;
        options.tp_size = 2;
        const std::vector<float> columns = dequantize(load(reader, 0, options));
        std::vector<float> expected;
        for (int64_t r = 128; r < 3 * 128; ++r)
            expected.insert(expected.end(), whole.begin() + r * 256 + 128, whole.begin() + (r + 1) * 256);
        EXPECT_EQ(columns, expected);
    }
}

TEST_F(OpenReader, QuantizedExpertsOneByOneBecomeOneWeight)
{
    struct Case {
        int32_t dialect;
        const char* spec;
        const char* config;
    };
    const Case cases[] = {{MOEQ_DIALECT_NATIVE, "int8", "{}"},
                          {MOEQ_DIALECT_NATIVE, "fp8_e4m3:block32x32", "{}"},
                          {MOEQ_DIALECT_NATIVE, "nf4:nested", "{}"},
                          {MOEQ_DIALECT_BITSANDBYTES, "nf4", R"({"quant_method": "bitsandbytes"})"},
                          {MOEQ_DIALECT_BITSANDBYTES, "nf4:nested", R"({"quant_method": "bitsandbytes"})"},
                          {MOEQ_DIALECT_BITSANDBYTES, "int8", R"({"quant_method": "bitsandbytes"})"}};
    constexpr int64_t E = 3, I = 64, H = 128;
    HostTensor weight(MOEQ_DTYPE_BF16, {E, 2 * I, H});
    weight.fill(8);
    for (const Case& c : cases) {
        SCOPED_TRACE(std::string(c.spec) + " " + std::to_string(c.dialect));
        auto spec = parse(c.spec);
        if (c.dialect == MOEQ_DIALECT_BITSANDBYTES && spec.format != MOEQ_FORMAT_INT8)
            spec.blocking = MOEQ_BLOCKING_FLAT;
        std::vector<QTensor> pieces;
        std::vector<std::string> names;
        std::vector<float> expected;
        for (int64_t e = 0; e < E; ++e)
            for (int64_t half = 0; half < 2; ++half) {
                HostTensor piece(MOEQ_DTYPE_BF16, {I, H});
                piece.memory() = take_rows(weight, e, half * I, (half + 1) * I);
                piece.plain().data = piece.memory().data();
                names.push_back("m.experts." + std::to_string(e) + (half == 0 ? ".gate_proj" : ".up_proj") + ".weight");
                pieces.push_back(quantize(context, piece, spec));
                const std::vector<float> values = dequantize(pieces.back());
                expected.insert(expected.end(), values.begin(), values.end());
            }
        Writer writer(context, folder.path("model.safetensors"), c.dialect);
        for (size_t i = 0; i < pieces.size(); ++i)
            writer.declare(names[i], pieces[i]);
        for (size_t i = 0; i < pieces.size(); ++i)
            writer.put(names[i], pieces[i]);
        writer.commit();
        folder.write("config.json", std::string(R"({"model_type": "olmoe", "quantization_config": )") + c.config + "}");
        for (const int32_t flags : {0, MOEQ_READER_MMAP}) {
            const Reader reader = open_reader(context, folder.path(), flags);
            ASSERT_EQ(info_of(reader).stack_count, 1);
            const auto info = stack_info(reader, stack_index(reader, "m.experts.gate_up_proj"));
            EXPECT_EQ(info.quantized, 1);
            EXPECT_EQ(info.layout, MOEQ_LAYOUT_GATE_UP);
            EXPECT_EQ(info.shape[1], 2 * I);
            EXPECT_EQ(dequantize(load(reader, 0)), expected);
            EXPECT_EQ(verify(reader).find("\"kind\""), std::string::npos) << verify(reader);
            // Anew, in another format: what it stands for is what is quantized.
            const auto other = parse("int8:axis=-2");
            HostTensor stands_for(MOEQ_DTYPE_BF16, {E, 2 * I, H});
            for (size_t i = 0; i < expected.size(); ++i) {
                uint32_t bits;
                std::memcpy(&bits, &expected[i], 4);
                bits += 0x7FFF + (bits >> 16 & 1); // to bf16, nearest even
                stands_for.as<uint16_t>()[i] = static_cast<uint16_t>(bits >> 16);
            }
            auto as_loaded = other;
            as_loaded.layout = MOEQ_LAYOUT_GATE_UP;
            EXPECT_EQ(stored_bytes(load(reader, 0, &other)), stored_bytes(quantize(context, stands_for, as_loaded)));
        }
    }
}

TEST_F(OpenReader, OneScalePerLinearKeepsGateAndUpApart)
{
    HostTensor piece(MOEQ_DTYPE_BF16, {4, 64});
    Writer writer(context, folder.path("model.safetensors"), MOEQ_DIALECT_NATIVE);
    std::vector<QTensor> all;
    std::vector<std::string> names;
    for (int e = 0; e < 2; ++e)
        for (const char* leaf : {"gate_proj", "up_proj"}) {
            piece.fill(static_cast<uint64_t>(names.size()) + 1);
            all.push_back(quantize(context, piece, "fp8_e4m3:expert"));
            names.push_back("m.experts." + std::to_string(e) + "." + leaf + ".weight");
            writer.declare(names.back(), all.back());
        }
    for (size_t i = 0; i < all.size(); ++i)
        writer.put(names[i], all[i]);
    writer.commit();
    const Reader reader = open_reader(context, folder.path("model.safetensors"));
    EXPECT_EQ(info_of(reader).stack_count, 2);
    const QTensor up = load(reader, stack_index(reader, "m.experts.up_proj"));
    EXPECT_EQ(shape_of(up), (Shape{2, 4, 64}));
    std::vector<float> expected = dequantize(all[1]);
    const std::vector<float> second = dequantize(all[3]);
    expected.insert(expected.end(), second.begin(), second.end());
    EXPECT_EQ(dequantize(up), expected);
    EXPECT_NE(verify(reader).find(R"("kind": "gate_up_scales_differ", "name": "m.experts.gate_proj")"),
              std::string::npos)
        << verify(reader);
}

TEST_F(OpenReader, BadScalesAreRefusedUnlessToldOtherwise)
{
    HostTensor weight(MOEQ_DTYPE_BF16, {2, 8, 64});
    weight.fill(1);
    const QTensor q = quantize(context, weight, "int8");
    Writer writer(context, folder.path("n.safetensors"), MOEQ_DIALECT_NATIVE);
    writer.write(kDown, q);
    writer.commit();
    int64_t tensor = -1;
    int64_t offset = 0;
    {
        const Reader reader = open_reader(context, folder.path("n.safetensors"));
        int64_t stack = -1;
        MOEQ_EXPECT_OK(
            moeq_reader_find(reader.get(), (std::string(kDown) + ".moeq.absmax").c_str(), &tensor, &stack, &ok));
        offset = static_cast<int64_t>(std::filesystem::file_size(folder.path("n.safetensors")));
        for (int64_t i = tensor; i < info_of(reader).tensor_count; ++i)
            offset -= tensor_info(reader, i).bytes;
    }
    const float bad[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -1.0f};
    for (const float value : bad) {
        std::fstream file(folder.path("n.safetensors"), std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(offset + 4 * 11); // expert 1, row 3
        file.write(reinterpret_cast<const char*>(&value), 4);
        file.close();
        const Reader strict = open_reader(context, folder.path("n.safetensors"));
        auto options = sized<moeq_load_options>();
        moeq_qtensor* out = nullptr;
        Error error;
        EXPECT_EQ(moeq_reader_load(strict.get(), 0, &options, nullptr, &out, &error), MOEQ_ERROR_VALUE);
        EXPECT_STREQ(error.class_id, "F16");
        EXPECT_NE(verify(strict).find(R"("kind": "bad_scale")"), std::string::npos);
        const Reader lenient = open_reader(context, folder.path("n.safetensors"), MOEQ_READER_LENIENT);
        load(lenient, 0);
    }
}

TEST_F(OpenReader, ADenseExpertAmongQuantizedOnesIsFound)
{
    HostTensor piece(MOEQ_DTYPE_BF16, {8, 64});
    piece.fill(1);
    const QTensor q = quantize(context, piece, "int8");
    Writer writer(context, folder.path("n.safetensors"), MOEQ_DIALECT_NATIVE);
    const Shape shape{8, 64};
    writer.declare("m.experts.0.down_proj.weight", q);
    MOEQ_EXPECT_OK(moeq_writer_declare(writer.writer, "m.experts.1.down_proj.weight", nullptr, MOEQ_DTYPE_BF16, 2,
                                       shape.data(), &ok));
    writer.put("m.experts.0.down_proj.weight", q);
    MOEQ_EXPECT_OK(moeq_writer_put(writer.writer, "m.experts.1.down_proj.weight", piece, nullptr, &ok));
    writer.commit();
    const Reader reader = open_reader(context, folder.path("n.safetensors"));
    auto options = sized<moeq_load_options>();
    moeq_qtensor* out = nullptr;
    Error error;
    EXPECT_EQ(moeq_reader_load(reader.get(), 0, &options, nullptr, &out, &error), MOEQ_ERROR_MISMATCH);
    EXPECT_EQ(error.expert, 1) << error.text();
    EXPECT_NE(verify(reader).find(R"("kind": "dense_expert", "name": "m.experts.down_proj", "expert": 1)"),
              std::string::npos);
    const auto spec = parse("nf4"); // anew, from both
    EXPECT_EQ(shape_of(load(reader, 0, &spec)), (Shape{2, 8, 64}));
}

} // namespace
} // namespace moeq_test
