// What conversion writes in each dialect, read back: the same stacks, nothing wrong, and the weights that they stand for.
#include <cmath>

#include "conformance/reader_cases.h"

namespace moeq_test {
namespace {

const std::string kTinyMoe = std::string(MOEQ_SOURCE_DIR) + "/tests/data/tiny-moe";

struct DialectCase {
    int32_t dialect;
    const char* spec;
    int64_t stacks; // 8, or 12 where gate and up have a scale each
};

class ReadBack : public testing::TestWithParam<DialectCase> {
protected:
    void SetUp() override
    {
        auto options = sized<moeq_convert_options>();
        options.dialect = GetParam().dialect;
        options.flags = MOEQ_WRITER_NOT_DURABLE;
        const auto spec = parse(GetParam().spec);
        options.spec = &spec;
        MOEQ_EXPECT_OK(moeq_convert(context.get(), kTinyMoe.c_str(), folder.path("q").c_str(), &options, &ok));
    }
    std::string verify(const Reader& reader)
    {
        moeq_blob* out = nullptr;
        MOEQ_EXPECT_OK(moeq_reader_verify(reader.get(), nullptr, nullptr, &out, &ok));
        const Blob owner(out);
        return static_cast<const char*>(moeq_blob_data(out));
    }
    // The dense weight of a stack of the source, or of the half of it that a name is about.
    std::vector<float> dense(const Reader& source, std::string name)
    {
        const size_t leaf = name.rfind('.') + 1;
        const bool gate = name.substr(leaf) == "gate_proj";
        const bool up = name.substr(leaf) == "up_proj";
        if (gate || up)
            name = name.substr(0, leaf) + "gate_up_proj";
        const auto spec = parse("int8"); // close enough to tell weights apart
        const QTensor q = load(source, stack_index(source, name), &spec);
        const std::vector<float> all = dequantize(q);
        const Shape shape = shape_of(q);
        if (!gate && !up)
            return all;
        std::vector<float> half;
        const int64_t size = shape[1] / 2 * shape[2];
        for (int64_t e = 0; e < shape[0]; ++e) {
            const auto begin = all.begin() + (2 * e + (up ? 1 : 0)) * size;
            half.insert(half.end(), begin, begin + size);
        }
        return half;
    }

    Context context = make_context(2);
    TemporaryFolder folder;
};

TEST_P(ReadBack, StacksAreThoseOfTheSource)
{
    const Reader source = open_reader(context, kTinyMoe);
    for (const int32_t flags : {0, MOEQ_READER_MMAP}) {
        const Reader reader = open_reader(context, folder.path("q"), flags);
        auto info = sized<moeq_reader_info>();
        MOEQ_EXPECT_OK(moeq_reader_get_info(reader.get(), &info, &ok));
        EXPECT_EQ(info.dialect, GetParam().dialect);
        EXPECT_EQ(info.stack_count, GetParam().stacks);
        for (int64_t i = 0; i < info.stack_count; ++i) {
            auto stack = sized<moeq_stack_info>();
            MOEQ_EXPECT_OK(moeq_reader_get_stack(reader.get(), i, &stack, &ok));
            EXPECT_EQ(stack.quantized, 1) << stack.name;
            const std::vector<float> is = dequantize(load(reader, i));
            const std::vector<float> was = dense(source, stack.name);
            ASSERT_EQ(is.size(), was.size()) << stack.name;
            double error = 0;
            double size = 0;
            for (size_t k = 0; k < is.size(); ++k) {
                error += (is[k] - was[k]) * (is[k] - was[k]);
                size += was[k] * was[k];
            }
            EXPECT_LT(std::sqrt(error / size), 0.1) << stack.name; // NF4 has 0.093
        }
        const std::string found = verify(reader);
        EXPECT_NE(found.find("\"problems\": []"), std::string::npos) << found;
    }
}

TEST_P(ReadBack, AChangedByteIsFound)
{
    for (const auto& entry : std::filesystem::directory_iterator(folder.path("q"))) {
        if (entry.path().extension() != ".safetensors")
            continue;
        std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
        uint64_t header = 0;
        file.read(reinterpret_cast<char*>(&header), 8);
        const auto place = static_cast<std::streamoff>(8 + header + 5); // codes, or elements
        file.seekg(place);
        const char changed = static_cast<char>(file.get() ^ 1);
        file.seekp(place);
        file.put(changed);
        file.close();
        const std::string found = verify(open_reader(context, folder.path("q"), MOEQ_READER_LENIENT));
        EXPECT_NE(found.find("{\"kind\": \"digest\", \"name\": \"" + entry.path().filename().string() + "\"}"),
                  std::string::npos)
            << found;
        return;
    }
    FAIL() << "no file";
}

INSTANTIATE_TEST_SUITE_P(Reader, ReadBack,
                         testing::Values(DialectCase{MOEQ_DIALECT_NATIVE, "int8", 8},
                                         DialectCase{MOEQ_DIALECT_NATIVE, "nf4:nested", 8},
                                         DialectCase{MOEQ_DIALECT_BITSANDBYTES, "nf4", 8},
                                         DialectCase{MOEQ_DIALECT_BITSANDBYTES, "nf4:nested", 8},
                                         DialectCase{MOEQ_DIALECT_BITSANDBYTES, "int8", 8},
                                         DialectCase{MOEQ_DIALECT_COMPRESSED_TENSORS, "int8", 8},
                                         DialectCase{MOEQ_DIALECT_COMPRESSED_TENSORS, "fp8_e4m3", 8},
                                         DialectCase{MOEQ_DIALECT_COMPRESSED_TENSORS, "fp8_e4m3:expert", 12},
                                         DialectCase{MOEQ_DIALECT_HF_FP8, "fp8_e4m3:block128x128", 8}),
                         [](const testing::TestParamInfo<DialectCase>& info) {
                             std::string name = std::to_string(info.param.dialect) + "_" + info.param.spec;
                             for (char& c : name)
                                 c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
                             return name;
                         });

} // namespace
} // namespace moeq_test
