// Wrong calls about an open checkpoint: one file with the dense experts 0 and 1 of "m.experts.down_proj", bf16 [2, 4, 6], the
// fp32 tensor "norm" [5], and the quantized stack "q", int8 [2, 4, 64].
#include "support/checkpoint_files.h"
#include "wrong_call.h"

namespace moeq_test {

namespace {

struct OpenFile {
    explicit OpenFile(Bench& bench)
    {
        auto writer_options = sized<moeq_writer_options>();
        writer_options.flags = MOEQ_WRITER_NOT_DURABLE;
        moeq_writer* writer = nullptr;
        moeq_spec of = sized<moeq_spec>();
        const int64_t matrix[] = {4, 6};
        const int64_t five = 5;
        HostTensor piece(MOEQ_DTYPE_BF16, {4, 6});
        HostTensor norm(MOEQ_DTYPE_FP32, {5});
        EXPECT_EQ(moeq_qtensor_get_spec(bench.int8, &of, nullptr), MOEQ_OK);
        EXPECT_EQ(moeq_writer_create(bench.context, path().c_str(), &writer_options, &writer, nullptr), MOEQ_OK);
        const char* const experts[] = {"m.experts.0.down_proj.weight", "m.experts.1.down_proj.weight"};
        for (const char* name : experts)
            EXPECT_EQ(moeq_writer_declare(writer, name, nullptr, MOEQ_DTYPE_BF16, 2, matrix, nullptr), MOEQ_OK);
        EXPECT_EQ(moeq_writer_declare(writer, "norm", nullptr, MOEQ_DTYPE_FP32, 1, &five, nullptr), MOEQ_OK);
        EXPECT_EQ(moeq_writer_declare(writer, "q", &of, 0, 3, bench.shape.data(), nullptr), MOEQ_OK);
        for (const char* name : experts)
            EXPECT_EQ(moeq_writer_put(writer, name, piece, nullptr, nullptr), MOEQ_OK);
        EXPECT_EQ(moeq_writer_put(writer, "norm", norm, nullptr, nullptr), MOEQ_OK);
        EXPECT_EQ(moeq_writer_put_qtensor(writer, "q", bench.int8, nullptr, nullptr), MOEQ_OK);
        EXPECT_EQ(moeq_writer_commit(writer, nullptr), MOEQ_OK);
        moeq_writer_destroy(writer);
        moeq_error err{};
        EXPECT_EQ(moeq_reader_open(bench.context, path().c_str(), nullptr, &reader, &err), MOEQ_OK) << err.message;
        find("m.experts.down_proj", nullptr, &dense);
        find("q", nullptr, &quantized);
        find("norm", &norm_tensor, nullptr);
        load.spec = &bench.spec;
    }
    ~OpenFile() { moeq_reader_destroy(reader); }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;

    std::string path() const { return folder.path("model.safetensors"); }
    void find(const char* name, int64_t* tensor, int64_t* stack)
    {
        int64_t other = -1;
        EXPECT_EQ(moeq_reader_find(reader, name, tensor != nullptr ? tensor : &other, stack != nullptr ? stack : &other,
                                   nullptr),
                  MOEQ_OK);
    }

    TemporaryFolder folder;
    moeq_reader* reader = nullptr;
    int64_t dense = -1;
    int64_t quantized = -1;
    int64_t norm_tensor = -1;
    moeq_load_options load = sized<moeq_load_options>();
};

using OnFile = std::function<moeq_status(Bench&, OpenFile&, moeq_error*)>;

WrongCall on_file(const char* function, int32_t argument, const char* name, moeq_status status,
                  std::vector<std::string> says, OnFile run)
{
    return {function, argument, name, status, std::move(says), [run](Bench& b, moeq_error* err) {
                OpenFile file(b);
                return run(b, file, err);
            }};
}

WrongCall open(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says,
               void (*spoil)(moeq_reader_options&))
{
    return on_file("moeq_reader_open", argument, name, status, std::move(says),
                   [spoil](Bench& b, OpenFile& f, moeq_error* err) {
                       auto options = sized<moeq_reader_options>();
                       spoil(options);
                       FailedOut<moeq_reader> out;
                       const moeq_status got = moeq_reader_open(b.context, f.path().c_str(), &options, out(), err);
                       EXPECT_TRUE(out.right());
                       return got;
                   });
}

std::vector<WrongCall> wrong_opens()
{
    return {
        on_file("moeq_reader_open", 1, "context", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                [](Bench&, OpenFile& f, moeq_error* err) {
                    FailedOut<moeq_reader> out;
                    return moeq_reader_open(nullptr, f.path().c_str(), nullptr, out(), err);
                }),
        on_file("moeq_reader_open", 2, "path", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                [](Bench& b, OpenFile&, moeq_error* err) {
                    FailedOut<moeq_reader> out;
                    return moeq_reader_open(b.context, nullptr, nullptr, out(), err);
                }),
        on_file("moeq_reader_open", 4, "out", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                [](Bench& b, OpenFile& f, moeq_error* err) {
                    return moeq_reader_open(b.context, f.path().c_str(), nullptr, nullptr, err);
                }),
        open(3, "options", MOEQ_ERROR_VERSION, {"struct_size 23", "24"}, [](auto& o) { o.struct_size = 23; }),
        open(3, "options.flags", MOEQ_ERROR_ARGUMENT, {"0x100", "MOEQ_READER_"}, [](auto& o) { o.flags = 0x100; }),
        open(3, "options.header_limit", MOEQ_ERROR_ARGUMENT, {"got -1", "0 (the default"},
             [](auto& o) { o.header_limit = -1; }),
        open(3, "options.patterns", MOEQ_ERROR_ARGUMENT, {"an array of objects"}, [](auto& o) { o.patterns = "{}"; }),
        open(3, "options.patterns", MOEQ_ERROR_ARGUMENT, {"no match", "entry 0"}, [](auto& o) { o.patterns = "[{}]"; }),
        open(3, "options.patterns", MOEQ_ERROR_ARGUMENT, {"\"part\\x0a\"", "entry 0", "match, stack"},
             [](auto& o) { o.patterns = R"([{"part\n": "x"}])"; }),
        open(3, "options.patterns", MOEQ_ERROR_ARGUMENT, {"\"a..b\"", "an empty segment"},
             [](auto& o) { o.patterns = R"([{"match": "a..b", "stack": "c"}])"; }),
        open(3, "options.patterns", MOEQ_ERROR_ARGUMENT, {"\"a\"", "run into each other"},
             [](auto& o) { o.patterns = R"([{"match": "a.*", "stack": "a"}])"; }),
        open(3, "options.patterns", MOEQ_ERROR_ARGUMENT, {"another layout", "interleaved"},
             [](auto& o) { o.patterns = R"([{"match": "a", "stack": "b", "layout": "x"}])"; }),
        open(3, "options.patterns", MOEQ_ERROR_ARGUMENT, {"scale_axis", "-2"},
             [](auto& o) { o.patterns = R"([{"match": "a", "stack": "b", "scale_axis": 1}])"; }),
    };
}

template <class Out>
WrongCall get(const char* function, int32_t argument, const char* name, moeq_status status,
              std::vector<std::string> says, moeq_status (*call)(const moeq_reader*, int64_t, Out*, moeq_error*),
              int64_t index, uint32_t size, bool has_reader = true)
{
    return on_file(function, argument, name, status, std::move(says), [=](Bench&, OpenFile& f, moeq_error* err) {
        Out out{};
        out.struct_size = size == 0 ? sizeof out : size;
        return call(has_reader ? f.reader : nullptr, index, size == 1 ? nullptr : &out, err);
    });
}

std::vector<WrongCall> wrong_gets()
{
    const auto tensor = moeq_reader_get_tensor;
    const auto stack = moeq_reader_get_stack;
    const auto spec = moeq_reader_get_stack_spec;
    return {
        on_file("moeq_reader_get_info", 1, "reader", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                [](Bench&, OpenFile&, moeq_error* err) {
                    auto info = sized<moeq_reader_info>();
                    return moeq_reader_get_info(nullptr, &info, err);
                }),
        on_file("moeq_reader_get_info", 2, "out", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                [](Bench&, OpenFile& f, moeq_error* err) { return moeq_reader_get_info(f.reader, nullptr, err); }),
        on_file("moeq_reader_get_info", 2, "out", MOEQ_ERROR_VERSION, {"struct_size 0", "40"},
                [](Bench&, OpenFile& f, moeq_error* err) {
                    moeq_reader_info info{};
                    return moeq_reader_get_info(f.reader, &info, err);
                }),
        get("moeq_reader_get_tensor", 1, "reader", MOEQ_ERROR_ARGUMENT, {"got NULL"}, tensor, 0, 0, false),
        get("moeq_reader_get_tensor", 2, "tensor", MOEQ_ERROR_RANGE, {"got -1", "0 to 4"}, tensor, -1, 0),
        get("moeq_reader_get_tensor", 2, "tensor", MOEQ_ERROR_RANGE, {"got 5", "0 to 4"}, tensor, 5, 0),
        get("moeq_reader_get_tensor", 3, "out", MOEQ_ERROR_ARGUMENT, {"got NULL"}, tensor, 0, 1),
        get("moeq_reader_get_tensor", 3, "out", MOEQ_ERROR_VERSION, {"struct_size 2"}, tensor, 0, 2),
        get("moeq_reader_get_stack", 1, "reader", MOEQ_ERROR_ARGUMENT, {"got NULL"}, stack, 0, 0, false),
        get("moeq_reader_get_stack", 2, "stack", MOEQ_ERROR_RANGE, {"got 2", "0 to 1"}, stack, 2, 0),
        get("moeq_reader_get_stack", 3, "out", MOEQ_ERROR_ARGUMENT, {"got NULL"}, stack, 0, 1),
        get("moeq_reader_get_stack", 3, "out", MOEQ_ERROR_VERSION, {"struct_size 2"}, stack, 0, 2),
        get("moeq_reader_get_stack_spec", 1, "reader", MOEQ_ERROR_ARGUMENT, {"got NULL"}, spec, 0, 0, false),
        get("moeq_reader_get_stack_spec", 2, "stack", MOEQ_ERROR_RANGE, {"got -3", "0 to 1"}, spec, -3, 0),
        get("moeq_reader_get_stack_spec", 3, "out", MOEQ_ERROR_ARGUMENT, {"got NULL"}, spec, 0, 1),
        get("moeq_reader_get_stack_spec", 3, "out", MOEQ_ERROR_VERSION, {"struct_size 2"}, spec, 0, 2),
        on_file("moeq_reader_get_stack_spec", 2, "stack", MOEQ_ERROR_STATE, {"\"m.experts.down_proj\"", "dense"},
                [](Bench& b, OpenFile& f, moeq_error* err) {
                    return moeq_reader_get_stack_spec(f.reader, f.dense, &b.spec, err);
                }),
    };
}

WrongCall find(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says, bool reader,
               const char* text, bool tensor, bool stack)
{
    return on_file("moeq_reader_find", argument, name, status, std::move(says),
                   [=](Bench& b, OpenFile& f, moeq_error* err) {
                       return moeq_reader_find(reader ? f.reader : nullptr, text, tensor ? b.numbers : nullptr,
                                               stack ? b.numbers + 1 : nullptr, err);
                   });
}

WrongCall read(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says, int64_t tensor,
               int64_t begin, int32_t dtype, const Shape& shape, const Shape& strides = {})
{
    return on_file("moeq_reader_read", argument, name, status, std::move(says),
                   [=](Bench&, OpenFile& f, moeq_error* err) {
                       HostTensor out(dtype, shape, strides);
                       return moeq_reader_read(f.reader, tensor == 0 ? f.norm_tensor : tensor, begin, out, err);
                   });
}

std::vector<WrongCall> wrong_reads()
{
    const int32_t fp32 = MOEQ_DTYPE_FP32;
    return {
        find(1, "reader", MOEQ_ERROR_ARGUMENT, {"got NULL"}, false, "norm", true, true),
        find(2, "name", MOEQ_ERROR_ARGUMENT, {"got NULL"}, true, nullptr, true, true),
        find(3, "out_tensor", MOEQ_ERROR_ARGUMENT, {"got NULL"}, true, "norm", false, true),
        find(4, "out_stack", MOEQ_ERROR_ARGUMENT, {"got NULL"}, true, "norm", true, false),
        find(2, "name", MOEQ_ERROR_NOT_FOUND, {"\"nor\\x0a\"", "no tensor and no stack"}, true, "nor\n", true, true),
        on_file("moeq_reader_read", 1, "reader", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                [](Bench& b, OpenFile&, moeq_error* err) { return moeq_reader_read(nullptr, 0, 0, b.piece, err); }),
        on_file("moeq_reader_read", 4, "destination", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                [](Bench&, OpenFile& f, moeq_error* err) { return moeq_reader_read(f.reader, 0, 0, nullptr, err); }),
        read(2, "tensor", MOEQ_ERROR_RANGE, {"got 99 of 5"}, 99, 0, fp32, {5}),
        read(3, "begin", MOEQ_ERROR_RANGE, {"[3, 6)", "5 along the first axis"}, 0, 3, fp32, {3}),
        read(3, "begin", MOEQ_ERROR_RANGE, {"[-1, 2)"}, 0, -1, fp32, {3}),
        read(3, "begin", MOEQ_ERROR_RANGE, {"[18, 21)", "20 bytes"}, 0, 18, MOEQ_DTYPE_UINT8, {3}),
        read(4, "destination", MOEQ_ERROR_DTYPE, {"bf16"}, 0, 0, MOEQ_DTYPE_BF16, {5}),
        read(4, "destination", MOEQ_ERROR_SHAPE, {"[5, 1]"}, 0, 0, fp32, {5, 1}),
        read(4, "destination", MOEQ_ERROR_SHAPE, {"2 dimensions of uint8"}, 0, 0, MOEQ_DTYPE_UINT8, {5, 4}),
        read(4, "destination", MOEQ_ERROR_LAYOUT, {"strides [2]", "row-major"}, 0, 0, fp32, {5}, {2}),
    };
}

WrongCall load(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says,
               void (*spoil)(Bench&, moeq_load_options&), bool quantized = false)
{
    return on_file("moeq_reader_load", argument, name, status, std::move(says),
                   [=](Bench& b, OpenFile& f, moeq_error* err) {
                       spoil(b, f.load);
                       return moeq_reader_load(f.reader, quantized ? f.quantized : f.dense, &f.load, nullptr,
                                               b.qtensor_out(), err);
                   });
}

WrongCall at_expert(WrongCall call, int64_t expert)
{
    call.place[0] = expert;
    return call;
}

std::vector<WrongCall> wrong_loads()
{
    return {
        on_file("moeq_reader_load", 1, "reader", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                [](Bench& b, OpenFile& f, moeq_error* err) {
                    return moeq_reader_load(nullptr, 0, &f.load, nullptr, b.qtensor_out(), err);
                }),
        on_file("moeq_reader_load", 2, "stack", MOEQ_ERROR_RANGE, {"got 2 of 2"},
                [](Bench& b, OpenFile& f, moeq_error* err) {
                    return moeq_reader_load(f.reader, 2, &f.load, nullptr, b.qtensor_out(), err);
                }),
        on_file("moeq_reader_load", 4, "stream", MOEQ_ERROR_ARGUMENT, {"got a stream"},
                [](Bench& b, OpenFile& f, moeq_error* err) {
                    return moeq_reader_load(f.reader, f.dense, &f.load, b.stream, b.qtensor_out(), err);
                }),
        on_file("moeq_reader_load", 5, "out", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                [](Bench&, OpenFile& f, moeq_error* err) {
                    return moeq_reader_load(f.reader, f.dense, &f.load, nullptr, nullptr, err);
                }),
        load(3, "options", MOEQ_ERROR_VERSION, {"struct_size 71", "72"}, [](Bench&, auto& o) { o.struct_size = 71; }),
        load(3, "options", MOEQ_ERROR_ARGUMENT, {"reserved 4"}, [](Bench&, auto& o) { o.reserved = 4; }),
        load(3, "options.device_type", MOEQ_ERROR_BACKEND, {"got CUDA device 0", "no CUDA backend"},
             [](Bench&, auto& o) { o.device_type = MOEQ_DEVICE_CUDA; }),
        load(3, "options.tp_rank", MOEQ_ERROR_RANGE, {"2 of tp_size 2"},
             [](Bench&, auto& o) {
                 o.tp_rank = 2;
                 o.tp_size = 2;
             }),
        load(3, "options.tp_rank", MOEQ_ERROR_RANGE, {"1 of tp_size 0"}, [](Bench&, auto& o) { o.tp_rank = 1; }),
        at_expert(load(3, "options.expert_begin", MOEQ_ERROR_RANGE, {"[1, 3)", "[0, 2)"},
                       [](Bench&, auto& o) {
                           o.expert_begin = 1;
                           o.expert_end = 3;
                       }),
                  1),
        load(3, "options.spec", MOEQ_ERROR_ARGUMENT, {"got none", "dense"}, [](Bench&, auto& o) { o.spec = nullptr; }),
        load(3, "options.spec", MOEQ_ERROR_ARGUMENT, {"format 99"}, [](Bench& b, auto&) { b.spec.format = 99; }),
        load(
            3, "options.amax", MOEQ_ERROR_ARGUMENT, {"quantized already"},
            [](Bench& b, auto& o) {
                o.spec = nullptr;
                o.amax = b.number;
            },
            true),
        load(3, "amax", MOEQ_ERROR_ARGUMENT, {"no scale per expert"}, [](Bench& b, auto& o) { o.amax = b.number; }),
        load(3, "options.amax", MOEQ_ERROR_BACKEND, {"CUDA device 0", "host memory"},
             [](Bench& b, auto& o) {
                 b.numbers[0] = 2; // experts
                 DLTensor& amax = b.number.plain();
                 amax.device = {kDLCUDA, 0};
                 amax.data = reinterpret_cast<void*>(uintptr_t{4096}); // a host look at it would be the end
                 amax.ndim = 1;
                 amax.shape = b.numbers;
                 amax.strides = nullptr;
                 b.spec.granularity = MOEQ_GRANULARITY_EXPERT;
                 o.amax = b.number;
             }),
        load(0, "", MOEQ_ERROR_SHAPE, {"tp_size 5", "6 columns"}, [](Bench&, auto& o) { o.tp_size = 5; }),
        load(
            0, "", MOEQ_ERROR_UNSUPPORTED, {"tp_size 2", "\"q\"", "pattern"},
            [](Bench&, auto& o) {
                o.spec = nullptr;
                o.tp_size = 2;
            },
            true),
    };
}

std::vector<WrongCall> wrong_blobs()
{
    return {
        on_file("moeq_reader_metadata", 1, "reader", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                [](Bench& b, OpenFile&, moeq_error* err) { return moeq_reader_metadata(nullptr, b.blob_out(), err); }),
        on_file("moeq_reader_metadata", 2, "out", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                [](Bench&, OpenFile& f, moeq_error* err) { return moeq_reader_metadata(f.reader, nullptr, err); }),
        on_file("moeq_reader_verify", 1, "reader", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                [](Bench& b, OpenFile&, moeq_error* err) {
                    return moeq_reader_verify(nullptr, nullptr, nullptr, b.blob_out(), err);
                }),
        on_file("moeq_reader_verify", 4, "out", MOEQ_ERROR_ARGUMENT, {"got NULL"},
                [](Bench&, OpenFile& f, moeq_error* err) {
                    return moeq_reader_verify(f.reader, nullptr, nullptr, nullptr, err);
                }),
        on_file("moeq_reader_verify", 0, "", MOEQ_ERROR_CANCELLED, {},
                [](Bench& b, OpenFile& f, moeq_error* err) {
                    const auto stop = [](const moeq_progress*, void*) -> int32_t { return 0; };
                    return moeq_reader_verify(f.reader, stop, nullptr, b.blob_out(), err);
                }),
    };
}

} // namespace

std::vector<WrongCall> wrong_reader_calls()
{
    std::vector<WrongCall> all;
    for (auto part : {wrong_opens, wrong_gets, wrong_reads, wrong_loads, wrong_blobs}) {
        std::vector<WrongCall> more = part();
        std::move(more.begin(), more.end(), std::back_inserter(all));
    }
    return all;
}

} // namespace moeq_test
