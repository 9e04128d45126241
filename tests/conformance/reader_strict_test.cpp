// Bad scales in a file: refused wherever they are used, whether a stack is taken as it is or quantized anew.
#include <limits>

#include "conformance/convert_cases.h"

namespace moeq_test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr const char* kBitsandbytes =
    R"({"model_type": "olmoe", "quantization_config": {"quant_method": "bitsandbytes"}})";
constexpr const char* kFp8 =
    R"({"model_type": "olmoe", "quantization_config": {"quant_method": "fp8", "weight_block_size": [16, 32]}})";

constexpr int64_t kExperts = 4, kRows = 32, kColumns = 64;

// What a load makes of a stack: OK, or the failure.
struct Outcome {
    moeq_status status;
    Error error;
};

Outcome try_load(const Reader& reader, const char* text, int32_t tp_rank = 0, int32_t tp_size = 1,
                 int32_t nonfinite = MOEQ_NONFINITE_SATURATE)
{
    moeq_spec spec{};
    auto options = sized<moeq_load_options>();
    if (text != nullptr) {
        spec = parse(text);
        spec.nonfinite = nonfinite;
        options.spec = &spec;
    }
    options.tp_rank = tp_rank;
    options.tp_size = tp_size;
    moeq_qtensor* out = nullptr;
    Outcome outcome{};
    outcome.status = moeq_reader_load(reader.get(), 0, &options, nullptr, &out, &outcome.error);
    EXPECT_EQ(out == nullptr, outcome.status != MOEQ_OK);
    moeq_qtensor_release(out);
    return outcome;
}

void expect_refused(const Outcome& got, int64_t expert, const char* says)
{
    EXPECT_EQ(got.status, MOEQ_ERROR_VALUE) << got.error.text();
    EXPECT_STREQ(got.error.class_id, "F16") << got.error.text();
    EXPECT_EQ(got.error.expert, expert) << got.error.text();
    EXPECT_NE(got.error.text().find(says), std::string::npos) << got.error.text();
    EXPECT_EQ(got.error.text().find("MOEQ_"), std::string::npos) << "no constants of C: " << got.error.text();
}

class StrictReader : public testing::Test {
protected:
    void write(const ContainerFile& file, const char* config)
    {
        folder.write("model.safetensors", file.text());
        folder.write("config.json", config);
    }
    // int8 of all experts in one tensor, with one scale per row.
    void write_fused(std::vector<float> scales)
    {
        scales.resize(kExperts * kRows, 1.0f);
        ContainerFile file;
        file.add("m.experts.down_proj", MOEQ_DTYPE_INT8, {kExperts, kRows, kColumns},
                 Bytes(kExperts * kRows * kColumns, 1));
        file.add("m.experts.down_proj.row_stats", MOEQ_DTYPE_FP32, {kExperts * kRows}, scales.data(),
                 scales.size() * sizeof(float));
        write(file, kBitsandbytes);
    }
    // FP8 in tiles of 16 x 32, an expert each: 2 x 2 scales, of which one is bad.
    void write_linears(int64_t expert, int64_t tile, float scale)
    {
        ContainerFile file;
        for (int64_t e = 0; e < kExperts; ++e) {
            float scales[4] = {1, 1, 1, 1};
            if (e == expert)
                scales[tile] = scale;
            const std::string name = "m.experts." + std::to_string(e) + ".down_proj.weight";
            file.add(name, MOEQ_DTYPE_FP8_E4M3FN, {kRows, kColumns}, Bytes(kRows * kColumns, 1));
            file.add(name + "_scale_inv", MOEQ_DTYPE_FP32, {2, 2}, scales, sizeof scales);
        }
        write(file, kFp8);
    }

    Context context = make_context(2);
    TemporaryFolder folder;
};

constexpr const char* kAnew[] = {"nf4", "nf4:nested", "int8:axis=-2", "fp8_e4m3:expert", "int8:block8x8"};

TEST_F(StrictReader, BadScalesAreRefusedInAStackThatIsQuantizedAnew)
{
    for (const float bad : {kNan, kInf, -kInf, -1.0f}) {
        std::vector<float> scales(kExperts * kRows, 1.0f);
        scales[2 * kRows + 7] = bad;
        write_fused(scales);
        const Reader strict = open_reader(context, folder.path());
        const char* says = bad == -1.0f ? "a negative scale" : "NaN or Inf";
        expect_refused(try_load(strict, nullptr), 2, says);
        for (const char* spec : kAnew) {
            SCOPED_TRACE(spec);
            expect_refused(try_load(strict, spec), 2, says);
            const Reader lenient = open_reader(context, folder.path(), MOEQ_READER_LENIENT);
            EXPECT_EQ(try_load(lenient, spec).status, MOEQ_OK);
        }
    }
}

TEST_F(StrictReader, GoodScalesAreNoProblem)
{
    write_fused({0.0f, -0.0f, std::numeric_limits<float>::denorm_min()});
    const Reader reader = open_reader(context, folder.path());
    for (const char* spec : kAnew)
        EXPECT_EQ(try_load(reader, spec).status, MOEQ_OK) << spec;
}

TEST_F(StrictReader, BadScalesAreRefusedInLinearsOfTheirOwn)
{
    for (const float bad : {kNan, kInf, -2.0f}) {
        write_linears(3, 2, bad);
        const Reader strict = open_reader(context, folder.path());
        expect_refused(try_load(strict, nullptr), 3, "m.experts.3.down_proj.weight");
        for (const char* spec : kAnew) {
            SCOPED_TRACE(spec);
            expect_refused(try_load(strict, spec), 3, "m.experts.3.down_proj.weight");
        }
    }
}

// What a part does not use is not looked at, as when it is loaded as it is.
TEST_F(StrictReader, ScalesOfOtherPartsDoNotCount)
{
    for (const int64_t tile : {0, 1, 2, 3}) {
        write_linears(1, tile, kNan);
        const Reader reader = open_reader(context, folder.path());
        for (const int32_t rank : {0, 1}) {
            SCOPED_TRACE(tile * 2 + rank);
            const bool is_in = tile % 2 == rank; // a rank has half of the columns
            const moeq_status wanted = is_in ? MOEQ_ERROR_VALUE : MOEQ_OK;
            EXPECT_EQ(try_load(reader, nullptr, rank, 2).status, wanted);
            EXPECT_EQ(try_load(reader, "nf4", rank, 2).status, wanted);
        }
    }
}

// Blocks of 4-bit weights may have statistics of any sign, in every way in which blocks lie.
TEST_F(StrictReader, FourBitScalesMayBeNegative)
{
    HostTensor weight(MOEQ_DTYPE_BF16, {kExperts, 6, 96});
    weight.fill(1);
    for (const char* text : {"nf4:32", "nf4:64,blocking=flat", "fp4:64,blocking=row"}) {
        SCOPED_TRACE(text);
        const QTensor q = quantize(context, weight, text);
        auto spec = sized<moeq_spec>();
        MOEQ_EXPECT_OK(moeq_qtensor_get_spec(q.get(), &spec, &ok));
        const Shape shape = shape_of(q);
        auto options = sized<moeq_writer_options>();
        options.flags = MOEQ_WRITER_NOT_DURABLE;
        moeq_writer* writer = nullptr;
        const std::string path = folder.path("q.safetensors");
        MOEQ_EXPECT_OK(moeq_writer_create(context.get(), path.c_str(), &options, &writer, &ok));
        MOEQ_EXPECT_OK(moeq_writer_declare(writer, kDown, &spec, 0, 3, shape.data(), &ok));
        MOEQ_EXPECT_OK(moeq_writer_put_qtensor(writer, kDown, q.get(), nullptr, &ok));
        MOEQ_EXPECT_OK(moeq_writer_commit(writer, &ok));
        moeq_writer_destroy(writer);
        int64_t scales = 0; // the last tensor of the file
        {
            const Reader reader = open_reader(context, path);
            auto info = sized<moeq_tensor_info>();
            MOEQ_EXPECT_OK(moeq_reader_get_tensor(reader.get(), 1, &info, &ok));
            scales = info.bytes / 4;
        }
        for (const float value : {-1.0f, kNan}) {
            std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
            file.seekp(-4, std::ios::end); // of the last expert
            file.write(reinterpret_cast<const char*>(&value), 4);
            file.close();
            const Reader reader = open_reader(context, path);
            if (value == -1.0f) {
                EXPECT_EQ(try_load(reader, nullptr).status, MOEQ_OK);
                EXPECT_EQ(try_load(reader, "int8").status, MOEQ_OK);
            } else {
                expect_refused(try_load(reader, nullptr), kExperts - 1, "NaN or Inf");
                expect_refused(try_load(reader, "int8"), kExperts - 1, "NaN or Inf");
            }
        }
        EXPECT_GE(scales, kExperts);
    }
}

// ---- scales that are not there

std::string verify(const Reader& reader)
{
    moeq_blob* out = nullptr;
    MOEQ_EXPECT_OK(moeq_reader_verify(reader.get(), nullptr, nullptr, &out, &ok));
    const Blob owner(out);
    return static_cast<const char*>(moeq_blob_data(out));
}

int64_t times(const std::string& text, const std::string& part)
{
    int64_t count = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
        ++count;
    return count;
}

struct BareTensor {
    const char* name;
    int32_t dtype;
    Shape shape;
};

// Codes whose scales are in none of the files, in each dialect that cannot know it better, and tensors that are none.
TEST_F(StrictReader, CodesWithoutScalesAreTold)
{
    struct Case {
        std::string config;
        std::vector<BareTensor> bare;
        std::vector<BareTensor> other;
    };
    const std::string compressed =
        R"({"model_type": "olmoe", "quantization_config": {"quant_method": "compressed-tensors", "config_groups": )"
        R"({"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "int", "strategy": "channel"}}}}})";
    const Case cases[] = {
        {kBitsandbytes,
         {{"m.q_proj.weight", MOEQ_DTYPE_INT8, {4, 8}},
          {"m.experts.down_proj", MOEQ_DTYPE_INT8, {2, 4, 8}},
          {"m.k_proj.weight", MOEQ_DTYPE_UINT8, {16, 1}}},
         {{"m.q_proj.weight_format", MOEQ_DTYPE_UINT8, {}},
          {"table", MOEQ_DTYPE_UINT8, {16}},
          {"norm", MOEQ_DTYPE_BF16, {4, 8}}}},
        {kFp8,
         {{"m.q_proj.weight", MOEQ_DTYPE_FP8_E4M3FN, {4, 8}},
          {"m.experts.down_proj", MOEQ_DTYPE_FP8_E4M3FN, {2, 4, 8}}},
         {{"theirs.weight", MOEQ_DTYPE_FP8_E4M3FN, {4, 8}},
          {"theirs.weight_scale", MOEQ_DTYPE_FP32, {}},
          {"packed.weight", MOEQ_DTYPE_INT8, {4, 8}}}},
        {compressed,
         {{"m.q_proj.weight", MOEQ_DTYPE_INT8, {4, 8}}, {"m.k_proj.weight", MOEQ_DTYPE_FP8_E4M3FN, {4, 8}}},
         {{"other.weight_packed", MOEQ_DTYPE_INT32, {4, 2}}, {"other.weight_zero_point", MOEQ_DTYPE_INT8, {4, 8}}}},
    };
    for (const Case& c : cases) {
        ContainerFile file;
        for (const auto* list : {&c.bare, &c.other})
            for (const BareTensor& tensor : *list)
                file.add(tensor.name, tensor.dtype, tensor.shape,
                         Bytes(static_cast<size_t>(count_of(tensor.shape)) *
                                   (tensor.dtype == MOEQ_DTYPE_FP32 || tensor.dtype == MOEQ_DTYPE_INT32 ? 4
                                    : tensor.dtype == MOEQ_DTYPE_BF16                                   ? 2
                                                                                                        : 1),
                               1));
        write(file, c.config.c_str());
        const Reader reader = open_reader(context, folder.path());
        const std::string found = verify(reader);
        for (const BareTensor& tensor : c.bare)
            EXPECT_NE(found.find(std::string(R"({"kind": "codes_without_scales", "name": ")") + tensor.name + "\"}"),
                      std::string::npos)
                << tensor.name << ": " << found;
        EXPECT_EQ(times(found, "\"kind\""), static_cast<int64_t>(c.bare.size())) << found;
        ConvertOptions asked(0, "nf4");
        asked.value.flags |= MOEQ_CONVERT_KEEP_FOREIGN; // else it is refused
        const std::string planned = plan(context, folder.path(), folder.path("t"), asked);
        EXPECT_EQ(times(planned, "\"reason\": \"codes without scales\""), static_cast<int64_t>(c.bare.size()));
    }
}

TEST_F(StrictReader, AnExpertWithoutScalesIsMissing)
{
    ContainerFile file;
    for (int64_t e = 0; e < kExperts; ++e) {
        const float scales[4] = {1, 1, 1, 1};
        const std::string name = "m.experts." + std::to_string(e) + ".down_proj.weight";
        file.add(name, MOEQ_DTYPE_FP8_E4M3FN, {kRows, kColumns}, Bytes(kRows * kColumns, 1));
        if (e != 1)
            file.add(name + "_scale_inv", MOEQ_DTYPE_FP32, {2, 2}, scales, sizeof scales);
    }
    write(file, kFp8);
    const Reader reader = open_reader(context, folder.path());
    const Outcome got = try_load(reader, nullptr);
    EXPECT_EQ(got.status, MOEQ_ERROR_INCOMPLETE);
    EXPECT_EQ(got.error.expert, 1) << got.error.text();
    const std::string found = verify(reader);
    EXPECT_NE(found.find(R"({"kind": "codes_without_scales", "name": "m.experts.1.down_proj.weight"})"),
              std::string::npos)
        << found;
    EXPECT_NE(found.find(R"("kind": "missing_expert")"), std::string::npos) << found;
}

// One file of several may have scales whose codes are in the next one.
TEST_F(StrictReader, ScalesWithoutCodesMayBeOfAShard)
{
    ContainerFile file;
    const float scales[4] = {1, 1, 1, 1};
    file.add("m.q_proj.weight_scale_inv", MOEQ_DTYPE_FP32, {2, 2}, scales, sizeof scales);
    write(file, kFp8);
    for (const bool whole : {true, false}) {
        const std::string path = whole ? folder.path() : folder.path("model.safetensors");
        moeq_reader* out = nullptr;
        Error error;
        EXPECT_EQ(moeq_reader_open(context.get(), path.c_str(), nullptr, &out, &error), MOEQ_ERROR_FORMAT);
        EXPECT_STREQ(error.class_id, "F28") << error.text();
        EXPECT_EQ(error.text().find("open their directory") == std::string::npos, whole) << error.text();
    }
}

// Conversions know no other way.
TEST_F(StrictReader, ConversionsRefuseThem)
{
    write_linears(2, 3, kNan);
    struct Case {
        int32_t dialect;
        const char* spec; // NULL: as they are
    };
    const Case cases[] = {{MOEQ_DIALECT_NATIVE, nullptr},
                          {MOEQ_DIALECT_NATIVE, "nf4"},
                          {MOEQ_DIALECT_NATIVE, "int8:expert"},
                          {MOEQ_DIALECT_BITSANDBYTES, "nf4"},
                          {MOEQ_DIALECT_COMPRESSED_TENSORS, "int8"}};
    for (const Case& c : cases) {
        SCOPED_TRACE(c.spec == nullptr ? "kept" : c.spec);
        const TemporaryFolder target;
        const ConvertOptions options(c.dialect, c.spec);
        const Error error = refused(context, folder.path(), target.path("t"), options, MOEQ_ERROR_VALUE);
        EXPECT_STREQ(error.class_id, "F16") << error.message;
        EXPECT_NE(std::string(error.message).find("m.experts.2.down_proj.weight"), std::string::npos) << error.message;
        EXPECT_FALSE(fs::exists(target.path("t")));
    }
}

} // namespace
} // namespace moeq_test
