// moeq_writer: files with every format and element type, tensors of any strides, what happens before and without commit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "support/api.h"
#include "support/temporary_folder.h"

namespace moeq_test {
namespace {

namespace fs = std::filesystem;

struct DestroyWriter {
    void operator()(moeq_writer* w) const { moeq_writer_destroy(w); }
};
using Writer = std::unique_ptr<moeq_writer, DestroyWriter>;

// What a file says, by a reader of a few lines that is not the library's.
struct FileOf {
    explicit FileOf(const std::string& path) : bytes(contents(path))
    {
        uint64_t length = 0;
        std::memcpy(&length, bytes.data(), 8);
        header = bytes.substr(8, length);
        const std::regex entry(
            "\"([^\"]*)\": \\{\"dtype\": \"([A-Z0-9_]+)\", \"shape\": \\[([0-9, ]*)\\], \"data_offsets\": \\[(\\d+), "
            "(\\d+)\\]\\}");
        size_t covered = 0;
        for (std::sregex_iterator it(header.begin(), header.end(), entry), end; it != end; ++it) {
            const size_t begin = std::stoull((*it)[4]), finish = std::stoull((*it)[5]);
            tensors[(*it)[1]] = {(*it)[2], (*it)[3], bytes.substr(8 + length + begin, finish - begin),
                                 8 + length + begin};
            EXPECT_EQ(begin, covered) << (*it)[1] << ": a gap, or another order";
            covered = finish;
        }
        EXPECT_EQ(8 + length + covered, bytes.size());
    }
    struct Tensor {
        std::string dtype, shape, bytes;
        size_t offset;
    };
    std::string bytes;
    std::string header;
    std::map<std::string, Tensor> tensors;
};

std::string text(const Bytes& bytes) { return {bytes.begin(), bytes.end()}; }

class Writers : public testing::Test {
protected:
    Writer create(int32_t dialect = MOEQ_DIALECT_NATIVE, const char* metadata = nullptr)
    {
        auto options = sized<moeq_writer_options>();
        options.dialect = dialect;
        options.flags = MOEQ_WRITER_NOT_DURABLE;
        options.metadata = metadata;
        moeq_writer* out = nullptr;
        MOEQ_EXPECT_OK(moeq_writer_create(context.get(), path.c_str(), &options, &out, &ok));
        return Writer(out);
    }
    void declare(const Writer& writer, const char* name, int32_t dtype, const Shape& shape)
    {
        MOEQ_EXPECT_OK(moeq_writer_declare(writer.get(), name, nullptr, dtype, static_cast<int32_t>(shape.size()),
                                           shape.data(), &ok));
    }
    void declare(const Writer& writer, const char* name, const QTensor& q)
    {
        auto spec = sized<moeq_spec>();
        MOEQ_EXPECT_OK(moeq_qtensor_get_spec(q.get(), &spec, &ok));
        const Shape shape = shape_of(q);
        MOEQ_EXPECT_OK(
            moeq_writer_declare(writer.get(), name, &spec, 0, static_cast<int32_t>(shape.size()), shape.data(), &ok));
    }
    void put(const Writer& writer, const char* name, DLManagedTensorVersioned* tensor)
    {
        MOEQ_EXPECT_OK(moeq_writer_put(writer.get(), name, tensor, nullptr, &ok));
    }
    void put(const Writer& writer, const char* name, const QTensor& q)
    {
        MOEQ_EXPECT_OK(moeq_writer_put_qtensor(writer.get(), name, q.get(), nullptr, &ok));
    }
    void commit(const Writer& writer) { MOEQ_EXPECT_OK(moeq_writer_commit(writer.get(), &ok)); }
    int64_t files() const { return std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()); }

    Context context = make_context();
    const TemporaryFolder folder;
    const std::string path = folder.path("model.safetensors");
};

// The names of docs/store.md: codes under the weight's own, statistics behind it.
TEST_F(Writers, QuantizedWeightsOfEveryFormat)
{
    struct Part {
        int32_t component;
        const char* suffix;
    };
    for (const char* spec : {"int8", "int8:expert", "int8:scale=factor", "nf4", "nf4:32", "nf4:nested", "fp4",
                             "fp8_e4m3", "fp8_e4m3:block128x128", "fp8_e5m2", "mxfp8"}) {
        HostTensor source(MOEQ_DTYPE_BF16, {3, 64, 128});
        source.fill(11);
        const QTensor q = quantize(context, source, spec);
        const Writer writer = create();
        declare(writer, "layer.experts.up_proj", q);
        put(writer, "layer.experts.up_proj", q);
        commit(writer);
        const FileOf file(path);
        auto resolved = sized<moeq_spec>();
        MOEQ_EXPECT_OK(moeq_qtensor_get_spec(q.get(), &resolved, &ok));
        size_t parts = 0;
        for (const Part& part :
             {Part{MOEQ_COMPONENT_CODES, ""},
              Part{MOEQ_COMPONENT_SCALE, resolved.scale_kind == MOEQ_SCALE_FACTOR ? ".moeq.scale" : ".moeq.absmax"},
              Part{MOEQ_COMPONENT_NESTED_SCALE, ".moeq.nested_absmax"},
              Part{MOEQ_COMPONENT_NESTED_MAP, ".moeq.nested_map"},
              Part{MOEQ_COMPONENT_NESTED_OFFSET, ".moeq.nested_offset"}}) {
            DLManagedTensorVersioned* tensor = nullptr;
            if (moeq_qtensor_export(q.get(), part.component, &tensor, nullptr) != MOEQ_OK)
                continue;
            const Tensor owner(tensor);
            const auto found = file.tensors.find(std::string("layer.experts.up_proj") + part.suffix);
            ASSERT_NE(found, file.tensors.end()) << spec << part.suffix;
            EXPECT_TRUE(found->second.bytes == text(packed_bytes(tensor))) << spec << part.suffix;
            ++parts;
        }
        EXPECT_EQ(file.tensors.size(), parts) << spec;
        EXPECT_NE(file.header.find("moeq.weight.layer.experts.up_proj"), std::string::npos);
    }
}

TEST_F(Writers, PartsOfHandles)
{
    HostTensor source(MOEQ_DTYPE_FP32, {4, 6, 128});
    source.fill(12);
    const QTensor q = quantize(context, source, "int8");
    moeq_qtensor *rows = nullptr, *part = nullptr;
    MOEQ_EXPECT_OK(moeq_qtensor_slice(q.get(), 1, 2, 5, &rows, &ok));
    const QTensor owner(rows);
    MOEQ_EXPECT_OK(moeq_qtensor_slice(rows, 0, 1, 3, &part, &ok));
    const QTensor slice(part);
    const Writer writer = create();
    declare(writer, "part", slice);
    put(writer, "part", slice);
    commit(writer);
    const FileOf file(path);
    EXPECT_EQ(file.tensors.at("part").shape, "2, 1, 3, 128"); // codes never have the weight's shape
    EXPECT_TRUE(file.tensors.at("part").bytes == text(packed_bytes(component(slice, MOEQ_COMPONENT_CODES).get())));
    EXPECT_TRUE(file.tensors.at("part.moeq.absmax").bytes ==
                text(packed_bytes(component(slice, MOEQ_COMPONENT_SCALE).get())));
}

TEST_F(Writers, EveryElementType)
{
    struct Type {
        int32_t dtype;
        const char* name;
    };
    const std::vector<Type> types = {{MOEQ_DTYPE_FP32, "F32"},
                                     {MOEQ_DTYPE_FP16, "F16"},
                                     {MOEQ_DTYPE_BF16, "BF16"},
                                     {MOEQ_DTYPE_FP64, "F64"},
                                     {MOEQ_DTYPE_FP8_E4M3FN, "F8_E4M3"},
                                     {MOEQ_DTYPE_FP8_E5M2, "F8_E5M2"},
                                     {MOEQ_DTYPE_INT8, "I8"},
                                     {MOEQ_DTYPE_UINT8, "U8"},
                                     {MOEQ_DTYPE_INT32, "I32"},
                                     {MOEQ_DTYPE_INT64, "I64"},
                                     {MOEQ_DTYPE_BOOL, "BOOL"},
                                     {MOEQ_DTYPE_INT16, "I16"},
                                     {MOEQ_DTYPE_UINT16, "U16"},
                                     {MOEQ_DTYPE_UINT32, "U32"},
                                     {MOEQ_DTYPE_UINT64, "U64"},
                                     {MOEQ_DTYPE_FP8_E8M0, "F8_E8M0"},
                                     {MOEQ_DTYPE_COMPLEX64, "C64"},
                                     {MOEQ_DTYPE_FP8_E4M3FNUZ, "F8_E4M3FNUZ"},
                                     {MOEQ_DTYPE_FP8_E5M2FNUZ, "F8_E5M2FNUZ"}};
    const Writer writer = create();
    std::vector<std::unique_ptr<HostTensor>> tensors;
    for (const Type& type : types) {
        tensors.push_back(std::make_unique<HostTensor>(type.dtype, Shape{3, 5}));
        for (size_t i = 0; i < tensors.back()->memory().size(); ++i)
            tensors.back()->memory()[i] = static_cast<uint8_t>(i * 37 + tensors.size() * 5); // NaN among them
        declare(writer, type.name, type.dtype, {3, 5});
    }
    declare(writer, "four bits", MOEQ_DTYPE_FP4_E2M1, {4, 6});
    declare(writer, "six bits", MOEQ_DTYPE_FP6_E2M3, {4});
    for (size_t i = 0; i < types.size(); ++i)
        put(writer, types[i].name, *tensors[i]);
    HostTensor twelve(MOEQ_DTYPE_UINT8, {12}), three(MOEQ_DTYPE_UINT8, {3});
    put(writer, "four bits", twelve.fill(1));
    put(writer, "six bits", three.fill(2));
    commit(writer);
    const FileOf file(path);
    for (size_t i = 0; i < types.size(); ++i) {
        EXPECT_EQ(file.tensors.at(types[i].name).dtype, types[i].name);
        EXPECT_EQ(file.tensors.at(types[i].name).shape, "3, 5");
        EXPECT_EQ(file.tensors.at(types[i].name).bytes, text(tensors[i]->memory()));
    }
    EXPECT_EQ(file.tensors.at("four bits").dtype, "F4");
    EXPECT_EQ(file.tensors.at("four bits").bytes, text(twelve.memory()));
    EXPECT_EQ(file.tensors.at("six bits").bytes, text(three.memory()));
}

// Any tensor of the right type and size may come as its bytes.
TEST_F(Writers, BytesInsteadOfElements)
{
    HostTensor bytes(MOEQ_DTYPE_UINT8, {24});
    bytes.fill(3);
    const Writer writer = create();
    declare(writer, "x", MOEQ_DTYPE_FP32, {2, 3});
    put(writer, "x", bytes);
    commit(writer);
    EXPECT_EQ(FileOf(path).tensors.at("x").bytes, text(bytes.memory()));
}

TEST_F(Writers, TensorsOfAnyStrides)
{
    HostTensor transposed(MOEQ_DTYPE_BF16, {5, 7}, {1, 5}), gaps(MOEQ_DTYPE_FP32, {3, 4}, {9, 2}),
        broadcast(MOEQ_DTYPE_UINT8, {3, 4}, {0, 1}), scalar(MOEQ_DTYPE_FP64, {}), plain(MOEQ_DTYPE_FP32, {4, 3});
    transposed.fill(1);
    gaps.fill(2);
    broadcast.fill(3);
    scalar.fill(4);
    plain.fill(5);
    // The rows from the last to the first.
    int64_t backwards[] = {-3, 1};
    DLManagedTensorVersioned reversed = *plain.operator->();
    reversed.dl_tensor.strides = backwards;
    reversed.dl_tensor.byte_offset = 3 * 3 * sizeof(float);
    // Without elements there need not be memory.
    HostTensor empty(MOEQ_DTYPE_BF16, {0, 8});
    empty->dl_tensor.data = nullptr;
    const Writer writer = create();
    const std::map<std::string, DLManagedTensorVersioned*> all = {{"transposed", transposed},
                                                                  {"gaps", gaps},
                                                                  {"broadcast", broadcast},
                                                                  {"scalar", scalar},
                                                                  {"reversed", &reversed}};
    for (const auto& [name, tensor] : all) {
        const DLTensor& t = tensor->dl_tensor;
        const int32_t dtype = t.dtype.code | t.dtype.bits << 8 | t.dtype.lanes << 16;
        declare(writer, name.c_str(), dtype, Shape(t.shape, t.shape + t.ndim));
    }
    declare(writer, "empty", MOEQ_DTYPE_BF16, {0, 8});
    for (const auto& [name, tensor] : all)
        put(writer, name.c_str(), tensor);
    put(writer, "empty", empty);
    put(writer, "empty", empty); // each of its bytes once
    commit(writer);
    const FileOf file(path);
    for (const auto& [name, tensor] : all)
        EXPECT_EQ(file.tensors.at(name).bytes, text(packed_bytes(tensor))) << name;
    EXPECT_EQ(file.tensors.at("empty").bytes, "");
}

TEST_F(Writers, TheOrderOfPutsIsFree)
{
    HostTensor source(MOEQ_DTYPE_FP32, {2, 16, 64}), norm(MOEQ_DTYPE_FP32, {7}), bias(MOEQ_DTYPE_BF16, {3});
    const QTensor q = quantize(context, source.fill(1), "nf4:nested");
    norm.fill(2);
    bias.fill(3);
    std::vector<int> order = {0, 1, 2};
    std::string first;
    do {
        const Writer writer = create();
        declare(writer, "bias", MOEQ_DTYPE_BF16, {3});
        declare(writer, "norm", MOEQ_DTYPE_FP32, {7});
        declare(writer, "experts", q);
        for (const int which : order) {
            if (which == 0)
                put(writer, "norm", norm);
            else if (which == 1)
                put(writer, "bias", bias);
            else
                put(writer, "experts", q);
        }
        commit(writer);
        const std::string bytes = contents(path);
        first = first.empty() ? bytes : first;
        EXPECT_TRUE(bytes == first);
    } while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(Writers, LargeEntriesBeginAtMultiplesOf64)
{
    HostTensor source(MOEQ_DTYPE_FP32, {2, 5, 64}), odd(MOEQ_DTYPE_UINT8, {13});
    const QTensor q = quantize(context, source.fill(1), "int8");
    const Writer writer = create();
    declare(writer, "odd", MOEQ_DTYPE_UINT8, {13});
    declare(writer, "experts", q);
    put(writer, "odd", odd);
    put(writer, "experts", q);
    commit(writer);
    const FileOf file(path);
    EXPECT_EQ(file.tensors.at("experts").offset % 64, 0u);
    EXPECT_EQ(file.tensors.at("experts.moeq.absmax").offset % 64, 0u);
}

TEST_F(Writers, NothingIsThereBeforeCommit)
{
    std::ofstream(path) << "old";
    {
        const Writer writer = create();
        HostTensor tensor(MOEQ_DTYPE_FP32, {4});
        declare(writer, "x", MOEQ_DTYPE_FP32, {4});
        put(writer, "x", tensor);
        EXPECT_EQ(contents(path), "old");
        EXPECT_EQ(files(), 2);
    }
    EXPECT_EQ(contents(path), "old");
    EXPECT_EQ(files(), 1) << "not committed: no trace stays";
}

TEST_F(Writers, WhatIsMissingMayBePut)
{
    const Writer writer = create();
    HostTensor tensor(MOEQ_DTYPE_FP32, {4});
    declare(writer, "x", MOEQ_DTYPE_FP32, {4});
    Error error;
    EXPECT_EQ(moeq_writer_commit(writer.get(), &error), MOEQ_ERROR_INCOMPLETE);
    EXPECT_STREQ(error.class_id, "F28");
    EXPECT_FALSE(fs::exists(path));
    put(writer, "x", tensor);
    commit(writer);
    EXPECT_TRUE(fs::exists(path));
    EXPECT_EQ(files(), 1);
}

TEST_F(Writers, DoneIsDone)
{
    HostTensor tensor(MOEQ_DTYPE_FP32, {4});
    const Writer writer = create();
    declare(writer, "x", MOEQ_DTYPE_FP32, {4});
    put(writer, "x", tensor);
    commit(writer);
    const std::string bytes = contents(path);
    EXPECT_EQ(moeq_writer_put(writer.get(), "x", tensor, nullptr, nullptr), MOEQ_ERROR_STATE);
    EXPECT_EQ(moeq_writer_declare(writer.get(), "y", nullptr, MOEQ_DTYPE_FP32, 1, tensor.shape().data(), nullptr),
              MOEQ_ERROR_STATE);
    EXPECT_EQ(moeq_writer_commit(writer.get(), nullptr), MOEQ_ERROR_STATE);
    EXPECT_TRUE(contents(path) == bytes);
}

TEST_F(Writers, OutliveTheirContext)
{
    Writer writer = create();
    context.reset();
    HostTensor tensor(MOEQ_DTYPE_FP32, {4});
    declare(writer, "x", MOEQ_DTYPE_FP32, {4});
    put(writer, "x", tensor);
    commit(writer);
    writer.reset();
    EXPECT_EQ(FileOf(path).tensors.size(), 1u);
}

// F20: whoever has the old file open goes on reading it.
TEST_F(Writers, MayReplaceWhatIsBeingRead)
{
    std::ofstream(path) << "old bytes";
    const int reader = ::open(path.c_str(), O_RDONLY);
    ASSERT_GE(reader, 0);
    commit(create());
    char bytes[16] = {};
    EXPECT_EQ(::read(reader, bytes, sizeof bytes), 9);
    EXPECT_STREQ(bytes, "old bytes");
    ::close(reader);
    EXPECT_TRUE(FileOf(path).tensors.empty());
}

TEST_F(Writers, DurableByDefault)
{
    moeq_writer* out = nullptr;
    MOEQ_EXPECT_OK(moeq_writer_create(context.get(), path.c_str(), nullptr, &out, &ok));
    commit(Writer(out));
    EXPECT_TRUE(fs::exists(path));
}

TEST_F(Writers, MetadataOfTheCaller)
{
    commit(create(MOEQ_DIALECT_BITSANDBYTES, "{\"who\": \"me\", \"format\": \"mine\"}"));
    const std::string header = FileOf(path).header;
    EXPECT_NE(header.find("\"who\": \"me\""), std::string::npos) << header;
    EXPECT_NE(header.find("\"format\": \"mine\""), std::string::npos) << header;
    EXPECT_EQ(header.find("\"pt\""), std::string::npos) << header;
}

TEST_F(Writers, FoldersThatAreNotThere)
{
    moeq_writer* out = reinterpret_cast<moeq_writer*>(uintptr_t{16});
    Error error;
    const std::string nowhere = folder.path("none/file");
    EXPECT_EQ(moeq_writer_create(context.get(), nowhere.c_str(), nullptr, &out, &error), MOEQ_ERROR_NOT_FOUND);
    EXPECT_EQ(out, nullptr);
    EXPECT_EQ(error.os_error, ENOENT);
    EXPECT_STREQ(error.class_id, "F22");
    EXPECT_NE(error.text().find("none/file"), std::string::npos) << error.text();
}

TEST_F(Writers, ManyAtOnce)
{
    constexpr int kThreads = 8;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 20; ++i) {
                HostTensor tensor(MOEQ_DTYPE_FP32, {1000});
                tensor.fill(static_cast<uint64_t>(t));
                const std::string mine = folder.path(std::to_string(t % 4)); // two want the same file
                auto options = sized<moeq_writer_options>();
                options.flags = MOEQ_WRITER_NOT_DURABLE;
                moeq_writer* out = nullptr;
                MOEQ_EXPECT_OK(moeq_writer_create(context.get(), mine.c_str(), &options, &out, &ok));
                const Writer writer(out);
                declare(writer, "x", MOEQ_DTYPE_FP32, {1000});
                put(writer, "x", tensor);
                commit(writer);
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(files(), 4);
    for (int t = 0; t < 4; ++t) {
        HostTensor one(MOEQ_DTYPE_FP32, {1000}), other(MOEQ_DTYPE_FP32, {1000});
        one.fill(static_cast<uint64_t>(t));
        other.fill(static_cast<uint64_t>(t + 4));
        const std::string bytes = FileOf(folder.path(std::to_string(t))).tensors.at("x").bytes;
        EXPECT_TRUE(bytes == text(one.memory()) || bytes == text(other.memory()));
    }
}

} // namespace
} // namespace moeq_test
