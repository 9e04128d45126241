// Wrong calls about files being written. The writer at hand has declared "dense", bf16 [2, 3], and "experts", int8 [2, 4, 64].
#include <filesystem>

#include "support/temporary_folder.h"
#include "wrong_call.h"

namespace moeq_test {

namespace {

struct Folder : TemporaryFolder {
    std::string file() const { return path("model.safetensors"); }
};

struct Writer {
    explicit Writer(Bench& bench, int32_t dialect = MOEQ_DIALECT_NATIVE)
    {
        auto options = sized<moeq_writer_options>();
        options.dialect = dialect;
        options.flags = MOEQ_WRITER_NOT_DURABLE;
        EXPECT_EQ(moeq_writer_create(bench.context, folder.file().c_str(), &options, &writer, nullptr), MOEQ_OK);
        const moeq_spec spec = parse("int8:dtype=fp32"); // as bench.int8 is
        EXPECT_EQ(moeq_writer_declare(writer, "dense", nullptr, MOEQ_DTYPE_BF16, 2, dense.shape().data(), nullptr),
                  MOEQ_OK);
        if (dialect == MOEQ_DIALECT_NATIVE) {
            EXPECT_EQ(moeq_writer_declare(writer, "experts", &spec, 0, 3, bench.shape.data(), nullptr), MOEQ_OK);
        }
    }
    ~Writer() { moeq_writer_destroy(writer); }
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    Folder folder;
    HostTensor dense{MOEQ_DTYPE_BF16, {2, 3}};
    moeq_writer* writer = nullptr;
};

using OnWriter = std::function<moeq_status(Bench&, Writer&, moeq_error*)>;

WrongCall on_writer(const char* function, int32_t argument, const char* name, moeq_status status,
                    std::vector<std::string> says, OnWriter run)
{
    return {function, argument, name, status, std::move(says), [run](Bench& b, moeq_error* err) {
                Writer w(b);
                return run(b, w, err);
            }};
}

WrongCall create(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says,
                 void (*spoil)(moeq_writer_options&))
{
    return {"moeq_writer_create", argument, name, status, std::move(says), [spoil](Bench& b, moeq_error* err) {
                const Folder folder;
                auto options = sized<moeq_writer_options>();
                spoil(options);
                FailedOut<moeq_writer> out;
                const moeq_status got = moeq_writer_create(b.context, folder.file().c_str(), &options, out(), err);
                EXPECT_TRUE(out.right());
                EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
                return got;
            }};
}

WrongCall create_at(const char* path, int32_t argument, const char* name, moeq_status status,
                    std::vector<std::string> says)
{
    return {"moeq_writer_create", argument, name, status, std::move(says), [path](Bench& b, moeq_error* err) {
                FailedOut<moeq_writer> out;
                const moeq_status got = moeq_writer_create(b.context, path, nullptr, out(), err);
                EXPECT_TRUE(out.right());
                return got;
            }};
}

std::vector<WrongCall> wrong_creates()
{
    return {
        {"moeq_writer_create",
         1,
         "context",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench&, moeq_error* err) {
             FailedOut<moeq_writer> out;
             const moeq_status got = moeq_writer_create(nullptr, "x", nullptr, out(), err);
             EXPECT_TRUE(out.right());
             return got;
         }},
        {"moeq_writer_create",
         4,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_writer_create(b.context, "x", nullptr, nullptr, err); }},
        create_at(nullptr, 2, "path", MOEQ_ERROR_ARGUMENT, {"got NULL"}),
        create_at("", 0, "", MOEQ_ERROR_ARGUMENT, {"got the path \"\"", "ends with a name"}),
        create_at("folder/", 0, "", MOEQ_ERROR_ARGUMENT, {"\"folder/\"", "ends with a name"}),
        create_at("folder/..", 0, "", MOEQ_ERROR_ARGUMENT, {"\"folder/..\""}),
        create_at("/", 0, "", MOEQ_ERROR_ARGUMENT, {"\"/\""}),
        create_at(MOEQ_SOURCE_DIR "/tests", 0, "", MOEQ_ERROR_FORMAT, {"/tests\"", "a directory", "want a file"}),
        create_at("/dev/null", 0, "", MOEQ_ERROR_FORMAT, {"\"/dev/null\"", "a device"}),
        create(3, "options", MOEQ_ERROR_VERSION, {"struct_size 23", "24"}, [](auto& o) { o.struct_size = 23; }),
        create(3, "options", MOEQ_ERROR_ARGUMENT, {"reserved 1", "want 0"}, [](auto& o) { o.reserved = 1; }),
        create(3, "options.dialect", MOEQ_ERROR_ARGUMENT, {"got -1", "not NONE"},
               [](auto& o) { o.dialect = MOEQ_DIALECT_NONE; }),
        create(3, "options.dialect", MOEQ_ERROR_ARGUMENT, {"got 99"}, [](auto& o) { o.dialect = 99; }),
        create(3, "options.flags", MOEQ_ERROR_ARGUMENT, {"0x2", "MOEQ_WRITER_NOT_DURABLE"},
               [](auto& o) { o.flags = 2; }),
        create(3, "options.metadata", MOEQ_ERROR_ARGUMENT, {"at byte 0"}, [](auto& o) { o.metadata = ""; }),
        create(3, "options.metadata", MOEQ_ERROR_ARGUMENT, {"JSON that is no object", "object of strings"},
               [](auto& o) { o.metadata = "[\"a\"]"; }),
        create(3, "options.metadata", MOEQ_ERROR_ARGUMENT, {"no string under \"a\\x0a\"", "object of strings"},
               [](auto& o) { o.metadata = "{\"a\\n\": 1}"; }),
        create(3, "options.metadata", MOEQ_ERROR_ARGUMENT, {"the key \"moeq.x\"", "begins with moeq."},
               [](auto& o) { o.metadata = "{\"moeq.x\": \"1\"}"; }),
        create(3, "options.metadata", MOEQ_ERROR_ARGUMENT, {"\"twice\""},
               [](auto& o) { o.metadata = "{\"twice\": \"1\", \"twice\": \"2\"}"; }),
    };
}

WrongCall declare(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says,
                  const std::string& tensor, int32_t dtype, const Shape& shape)
{
    return on_writer("moeq_writer_declare", argument, name, status, std::move(says),
                     [=](Bench&, Writer& w, moeq_error* err) {
                         return moeq_writer_declare(w.writer, tensor.c_str(), nullptr, dtype,
                                                    static_cast<int32_t>(shape.size()), shape.data(), err);
                     });
}

std::vector<WrongCall> wrong_declares()
{
    return {
        {"moeq_writer_declare",
         1,
         "writer",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_writer_declare(nullptr, "x", &b.spec, 0, 3, b.shape.data(), err);
         }},
        on_writer("moeq_writer_declare", 2, "name", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                  [](Bench& b, Writer& w, moeq_error* err) {
                      return moeq_writer_declare(w.writer, nullptr, &b.spec, 0, 3, b.shape.data(), err);
                  }),
        on_writer("moeq_writer_declare", 3, "spec", MOEQ_ERROR_VERSION, {"struct_size 8"},
                  [](Bench& b, Writer& w, moeq_error* err) {
                      b.spec.struct_size = 8;
                      return moeq_writer_declare(w.writer, "x", &b.spec, 0, 3, b.shape.data(), err);
                  }),
        on_writer("moeq_writer_declare", 3, "spec", MOEQ_ERROR_ARGUMENT, {"format 77"},
                  [](Bench& b, Writer& w, moeq_error* err) {
                      b.spec.format = 77;
                      return moeq_writer_declare(w.writer, "x", &b.spec, 0, 3, b.shape.data(), err);
                  }),
        on_writer("moeq_writer_declare", 6, "shape", MOEQ_ERROR_ARGUMENT, {"got NULL", "3 extents"},
                  [](Bench& b, Writer& w, moeq_error* err) {
                      return moeq_writer_declare(w.writer, "x", &b.spec, 0, 3, nullptr, err);
                  }),
        on_writer("moeq_writer_declare", 6, "shape", MOEQ_ERROR_ARGUMENT, {"got NULL", "2 extents"},
                  [](Bench&, Writer& w, moeq_error* err) {
                      return moeq_writer_declare(w.writer, "x", nullptr, MOEQ_DTYPE_BF16, 2, nullptr, err);
                  }),
        on_writer("moeq_writer_declare", 5, "ndim", MOEQ_ERROR_SHAPE, {"got -1", "0 to 8"},
                  [](Bench& b, Writer& w, moeq_error* err) {
                      return moeq_writer_declare(w.writer, "x", nullptr, MOEQ_DTYPE_BF16, -1, b.shape.data(), err);
                  }),
        declare(5, "ndim", MOEQ_ERROR_SHAPE, {"got 9", "0 to 8"}, "x", MOEQ_DTYPE_BF16, Shape(9, 1)),
        declare(4, "dtype", MOEQ_ERROR_DTYPE, {"another type (0)", "safetensors"}, "x", 0, {1}),
        declare(6, "shape", MOEQ_ERROR_SHAPE, {"[2, -3] of bf16", "0 or more"}, "x", MOEQ_DTYPE_BF16, {2, -3}),
        declare(6, "shape", MOEQ_ERROR_SHAPE, {"[9223372036854775807]", "less than 2^63"}, "x", MOEQ_DTYPE_BF16,
                {INT64_MAX}),
        declare(6, "shape", MOEQ_ERROR_SHAPE, {"[3]", "whole bytes"}, "x", MOEQ_DTYPE_FP4_E2M1, {3}),
        declare(2, "name", MOEQ_ERROR_DUPLICATE, {"\"dense\"", "declared already"}, "dense", MOEQ_DTYPE_BF16, {1}),
        declare(2, "name", MOEQ_ERROR_DUPLICATE, {"\"experts\"", "each name once"}, "experts", MOEQ_DTYPE_BF16, {1}),
        declare(2, "name", MOEQ_ERROR_DUPLICATE, {"\"experts.moeq.absmax\""}, "experts.moeq.absmax", MOEQ_DTYPE_BF16,
                {1}),
        declare(2, "name", MOEQ_ERROR_ARGUMENT, {"\"__metadata__\"", "a name of a tensor"}, "__metadata__",
                MOEQ_DTYPE_BF16, {1}),
        declare(2, "name", MOEQ_ERROR_ARGUMENT, {"\"a\\xc3\"", "no UTF-8"}, "a\xC3", MOEQ_DTYPE_BF16, {1}),
        declare(2, "name", MOEQ_ERROR_LIMIT, {"4097 bytes", "at most 4096"}, std::string(4097, 'n'), MOEQ_DTYPE_BF16,
                {1}),
        on_writer("moeq_writer_declare", 2, "name", MOEQ_ERROR_LIMIT, {"a weight's name of 4000 bytes", "at most 3968"},
                  [](Bench& b, Writer& w, moeq_error* err) {
                      return moeq_writer_declare(w.writer, std::string(4000, 'n').c_str(), &b.spec, 0, 3,
                                                 b.shape.data(), err);
                  }),
        on_writer("moeq_writer_declare", 2, "name", MOEQ_ERROR_DUPLICATE, {"\"experts\", a weight", "each name once"},
                  [](Bench& b, Writer& w, moeq_error* err) {
                      return moeq_writer_declare(w.writer, "experts", &b.spec, 0, 3, b.shape.data(), err);
                  }),
        on_writer("moeq_writer_declare", 1, "writer", MOEQ_ERROR_STATE, {"data in it", "before the first put"},
                  [](Bench&, Writer& w, moeq_error* err) {
                      EXPECT_EQ(moeq_writer_put(w.writer, "dense", w.dense, nullptr, nullptr), MOEQ_OK);
                      const int64_t shape[] = {1};
                      return moeq_writer_declare(w.writer, "x", nullptr, MOEQ_DTYPE_BF16, 1, shape, err);
                  }),
        // fp8 files of transformers have no four-bit codes.
        {"moeq_writer_declare",
         0,
         "",
         MOEQ_ERROR_UNSUPPORTED,
         {"\"x\"", "nf4"},
         [](Bench& b, moeq_error* err) {
             Writer w(b, MOEQ_DIALECT_HF_FP8);
             b.spec = parse("nf4");
             return moeq_writer_declare(w.writer, "x", &b.spec, 0, 3, b.shape.data(), err);
         }},
    };
}

WrongCall put(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says, const char* tensor,
              int32_t dtype, const Shape& shape)
{
    return on_writer("moeq_writer_put", argument, name, status, std::move(says),
                     [=](Bench&, Writer& w, moeq_error* err) {
                         HostTensor given(dtype, shape);
                         return moeq_writer_put(w.writer, tensor, given, nullptr, err);
                     });
}

std::vector<WrongCall> wrong_puts()
{
    return {
        {"moeq_writer_put",
         1,
         "writer",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_writer_put(nullptr, "x", b.source, nullptr, err); }},
        on_writer("moeq_writer_put", 2, "name", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                  [](Bench&, Writer& w, moeq_error* err) {
                      return moeq_writer_put(w.writer, nullptr, w.dense, nullptr, err);
                  }),
        on_writer("moeq_writer_put", 3, "tensor", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                  [](Bench&, Writer& w, moeq_error* err) {
                      return moeq_writer_put(w.writer, "dense", nullptr, nullptr, err);
                  }),
        on_writer("moeq_writer_put", 4, "stream", MOEQ_ERROR_ARGUMENT, {"got a stream"},
                  [](Bench& b, Writer& w, moeq_error* err) {
                      return moeq_writer_put(w.writer, "dense", w.dense, b.stream, err);
                  }),
        on_writer("moeq_writer_put", 3, "tensor", MOEQ_ERROR_BACKEND, {"CUDA device 0"},
                  [](Bench&, Writer& w, moeq_error* err) {
                      w.dense.plain().device.device_type = kDLCUDA;
                      return moeq_writer_put(w.writer, "dense", w.dense, nullptr, err);
                  }),
        put(2, "name", MOEQ_ERROR_NOT_FOUND, {"\"dens\"", "not declared"}, "dens", MOEQ_DTYPE_BF16, {2, 3}),
        put(2, "name", MOEQ_ERROR_ARGUMENT, {"\"experts\"", "moeq_writer_put_qtensor"}, "experts", MOEQ_DTYPE_INT8,
            {2, 4, 64}),
        put(3, "tensor", MOEQ_ERROR_DTYPE, {"got fp16; want bf16", "uint8 [12]"}, "dense", MOEQ_DTYPE_FP16, {2, 3}),
        put(3, "tensor", MOEQ_ERROR_DTYPE, {"got uint8; want bf16", "uint8 [12]"}, "dense", MOEQ_DTYPE_UINT8, {11}),
        put(3, "tensor", MOEQ_ERROR_DTYPE, {"DLPack code 4, bits 8", "a type that checkpoint files have"}, "dense",
            0x10804, {2, 3}),
        put(3, "tensor", MOEQ_ERROR_SHAPE, {"[3, 2]", "want [2, 3]"}, "dense", MOEQ_DTYPE_BF16, {3, 2}),
        on_writer("moeq_writer_put", 2, "name", MOEQ_ERROR_DUPLICATE, {"\"dense\" with byte 0 again", "each byte once"},
                  [](Bench&, Writer& w, moeq_error* err) {
                      EXPECT_EQ(moeq_writer_put(w.writer, "dense", w.dense, nullptr, nullptr), MOEQ_OK);
                      return moeq_writer_put(w.writer, "dense", w.dense, nullptr, err);
                  }),
    };
}

WrongCall put_qtensor(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says,
                      OnWriter run)
{
    return on_writer("moeq_writer_put_qtensor", argument, name, status, std::move(says), std::move(run));
}

std::vector<WrongCall> wrong_put_qtensors()
{
    return {
        {"moeq_writer_put_qtensor",
         1,
         "writer",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_writer_put_qtensor(nullptr, "x", b.int8, nullptr, err); }},
        put_qtensor(2, "name", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                    [](Bench& b, Writer& w, moeq_error* err) {
                        return moeq_writer_put_qtensor(w.writer, nullptr, b.int8, nullptr, err);
                    }),
        put_qtensor(3, "qtensor", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                    [](Bench&, Writer& w, moeq_error* err) {
                        return moeq_writer_put_qtensor(w.writer, "experts", nullptr, nullptr, err);
                    }),
        put_qtensor(4, "stream", MOEQ_ERROR_ARGUMENT, {"got a stream"},
                    [](Bench& b, Writer& w, moeq_error* err) {
                        return moeq_writer_put_qtensor(w.writer, "experts", b.int8, b.stream, err);
                    }),
        put_qtensor(2, "name", MOEQ_ERROR_NOT_FOUND, {"\"dense\"", "not declared as a quantized weight"},
                    [](Bench& b, Writer& w, moeq_error* err) {
                        return moeq_writer_put_qtensor(w.writer, "dense", b.int8, nullptr, err);
                    }),
        put_qtensor(3, "qtensor", MOEQ_ERROR_MISMATCH, {"another spec than \"experts\"", "moeq_qtensor_get_spec"},
                    [](Bench& b, Writer& w, moeq_error* err) {
                        return moeq_writer_put_qtensor(w.writer, "experts", b.nf4, nullptr, err);
                    }),
        put_qtensor(3, "qtensor", MOEQ_ERROR_SHAPE, {"[1, 4, 64]", "want [2, 4, 64]", "\"experts\" was declared"},
                    [](Bench& b, Writer& w, moeq_error* err) {
                        HostTensor source(MOEQ_DTYPE_FP32, {1, 4, 64});
                        moeq_qtensor* small = nullptr;
                        EXPECT_EQ(moeq_qtensor_quantize(b.context, source, &b.spec, nullptr, nullptr, &small, nullptr),
                                  MOEQ_OK);
                        const moeq_status status = moeq_writer_put_qtensor(w.writer, "experts", small, nullptr, err);
                        moeq_qtensor_release(small);
                        return status;
                    }),
        put_qtensor(2, "name", MOEQ_ERROR_DUPLICATE, {"\"experts\" with byte 0 again"},
                    [](Bench& b, Writer& w, moeq_error* err) {
                        EXPECT_EQ(moeq_writer_put_qtensor(w.writer, "experts", b.int8, nullptr, nullptr), MOEQ_OK);
                        return moeq_writer_put_qtensor(w.writer, "experts", b.int8, nullptr, err);
                    }),
    };
}

std::vector<WrongCall> wrong_commits()
{
    return {
        {"moeq_writer_commit",
         1,
         "writer",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench&, moeq_error* err) { return moeq_writer_commit(nullptr, err); }},
        on_writer("moeq_writer_commit", 1, "writer", MOEQ_ERROR_INCOMPLETE,
                  {"0 of 12 bytes of \"dense\"", "put the rest and commit again"},
                  [](Bench&, Writer& w, moeq_error* err) { return moeq_writer_commit(w.writer, err); }),
        on_writer("moeq_writer_commit", 1, "writer", MOEQ_ERROR_INCOMPLETE, {"0 of 512 bytes of \"experts\""},
                  [](Bench&, Writer& w, moeq_error* err) {
                      EXPECT_EQ(moeq_writer_put(w.writer, "dense", w.dense, nullptr, nullptr), MOEQ_OK);
                      return moeq_writer_commit(w.writer, err);
                  }),
        on_writer("moeq_writer_commit", 1, "writer", MOEQ_ERROR_STATE, {"one that is committed"},
                  [](Bench& b, Writer& w, moeq_error* err) {
                      EXPECT_EQ(moeq_writer_put(w.writer, "dense", w.dense, nullptr, nullptr), MOEQ_OK);
                      EXPECT_EQ(moeq_writer_put_qtensor(w.writer, "experts", b.int8, nullptr, nullptr), MOEQ_OK);
                      EXPECT_EQ(moeq_writer_commit(w.writer, nullptr), MOEQ_OK);
                      return moeq_writer_commit(w.writer, err);
                  }),
    };
}

} // namespace

std::vector<WrongCall> wrong_writer_calls()
{
    std::vector<WrongCall> all;
    for (auto part : {wrong_creates, wrong_declares, wrong_puts, wrong_put_qtensors, wrong_commits}) {
        const std::vector<WrongCall> more = part();
        all.insert(all.end(), more.begin(), more.end());
    }
    return all;
}

} // namespace moeq_test
