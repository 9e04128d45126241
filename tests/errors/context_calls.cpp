// Wrong calls about contexts and the tensors that a caller without a framework makes.
#include "wrong_call.h"

namespace moeq_test {

namespace {

WrongCall create(moeq_status status, std::vector<std::string> says, void (*spoil)(moeq_context_options&))
{
    return {"moeq_context_create", 1, "options", status, std::move(says), [spoil](Bench& b, moeq_error* err) {
                spoil(b.context_options);
                return moeq_context_create(&b.context_options, b.context_out(), err);
            }};
}

WrongCall tensor_create(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says,
                        int32_t dtype, int32_t ndim, Shape shape, int32_t device_type = 0, int32_t device_id = 0,
                        bool with_stream = false)
{
    return {"moeq_tensor_create", argument, name, status, std::move(says), [=](Bench& b, moeq_error* err) {
                return moeq_tensor_create(b.context, dtype, ndim, shape.empty() ? nullptr : shape.data(), device_type,
                                          device_id, with_stream ? b.stream : nullptr, b.tensor_out(), err);
            }};
}

// A legacy tensor with one thing wrong.
WrongCall legacy(moeq_status status, std::vector<std::string> says, void (*spoil)(Bench&, DLTensor&))
{
    return {"moeq_tensor_from_legacy", 2, "legacy", status, std::move(says), [spoil](Bench& b, moeq_error* err) {
                DLManagedTensor old{};
                old.dl_tensor = b.source.plain();
                spoil(b, old.dl_tensor);
                return moeq_tensor_from_legacy(b.context, &old, b.tensor_out(), err);
            }};
}

} // namespace

std::vector<WrongCall> wrong_context_calls()
{
    constexpr int32_t kFp32 = MOEQ_DTYPE_FP32;
    return {
        {"moeq_context_create",
         2,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL", "want a valid pointer"},
         [](Bench& b, moeq_error* err) { return moeq_context_create(&b.context_options, nullptr, err); }},
        create(MOEQ_ERROR_VERSION, {"struct_size 55", "56", "sizeof(moeq_context_options)"},
               [](moeq_context_options& o) { o.struct_size = 55; }),
        create(MOEQ_ERROR_VERSION, {"struct_size 0"}, [](moeq_context_options& o) { o.struct_size = 0; }),
        create(MOEQ_ERROR_ARGUMENT, {"host_alloc without host_free", "both or neither"},
               [](moeq_context_options& o) { o.host_free = nullptr; }),
        create(MOEQ_ERROR_ARGUMENT, {"host_free without host_alloc", "both or neither"},
               [](moeq_context_options& o) { o.host_alloc = nullptr; }),
        create(MOEQ_ERROR_ARGUMENT, {"thread_limit -1", "1 (serial)"},
               [](moeq_context_options& o) { o.thread_limit = -1; }),
        create(MOEQ_ERROR_ARGUMENT, {"cpu_tier 5", "MOEQ_CPU_TIER_"}, [](moeq_context_options& o) { o.cpu_tier = 5; }),
        create(MOEQ_ERROR_ARGUMENT, {"cpu_tier -1", "MOEQ_CPU_TIER_"},
               [](moeq_context_options& o) { o.cpu_tier = -1; }),
        create(MOEQ_ERROR_ARGUMENT, {"reserved 7", "want 0"}, [](moeq_context_options& o) { o.reserved = 7; }),
        create(MOEQ_ERROR_UNSUPPORTED, {"cpu_tier ", "want MOEQ_CPU_TIER_BEST"},
               [](moeq_context_options& o) {
#if defined(__aarch64__)
                   o.cpu_tier = MOEQ_CPU_TIER_AVX2;
#else
                   o.cpu_tier = MOEQ_CPU_TIER_NEON;
#endif
               }),
        {"moeq_context_create",
         1,
         "options",
         MOEQ_ERROR_VERSION,
         {"struct_size 72", "byte 70", "newer library"},
         [](Bench& b, moeq_error* err) {
             struct Larger {
                 moeq_context_options known;
                 char unknown[16];
             } larger{b.context_options, {}};
             larger.known.struct_size = sizeof larger;
             larger.unknown[14] = 1;
             static_assert(sizeof larger == 72);
             return moeq_context_create(&larger.known, b.context_out(), err);
         }},
        {"moeq_context_get_memory",
         1,
         "context",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_context_get_memory(nullptr, &b.memory, err); }},
        {"moeq_context_get_memory",
         2,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_context_get_memory(b.context, nullptr, err); }},
        {"moeq_context_get_memory",
         2,
         "out",
         MOEQ_ERROR_VERSION,
         {"struct_size 4", "24"},
         [](Bench& b, moeq_error* err) {
             b.memory.struct_size = 4;
             return moeq_context_get_memory(b.context, &b.memory, err);
         }},
        {"moeq_context_describe",
         1,
         "context",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_context_describe(nullptr, b.blob_out(), err); }},
        {"moeq_context_describe",
         2,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_context_describe(b.context, nullptr, err); }},

        {"moeq_tensor_create",
         1,
         "context",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_tensor_create(nullptr, kFp32, 3, b.shape.data(), 0, 0, nullptr, b.tensor_out(), err);
         }},
        {"moeq_tensor_create",
         8,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_tensor_create(b.context, kFp32, 3, b.shape.data(), 0, 0, nullptr, nullptr, err);
         }},
        tensor_create(2, "dtype", MOEQ_ERROR_DTYPE, {"got 0x0", "MOEQ_DTYPE_"}, 0, 1, {3}),
        tensor_create(2, "dtype", MOEQ_ERROR_DTYPE, {"got 0x22002", "MOEQ_DTYPE_"}, 0x22002, 1, {3}),
        tensor_create(2, "dtype", MOEQ_ERROR_DTYPE, {"got 0xffffffff", "MOEQ_DTYPE_"}, -1, 1, {3}),
        tensor_create(3, "ndim", MOEQ_ERROR_SHAPE, {"got -1", "0 to 8"}, kFp32, -1, {3}),
        tensor_create(3, "ndim", MOEQ_ERROR_SHAPE, {"got 9", "0 to 8"}, kFp32, 9, Shape(9, 1)),
        tensor_create(4, "shape", MOEQ_ERROR_ARGUMENT, {"got NULL"}, kFp32, 1, {}),
        tensor_create(4, "shape", MOEQ_ERROR_SHAPE, {"extent -2 on axis 1", "0 or more"}, kFp32, 2, {3, -2}),
        tensor_create(4, "shape", MOEQ_ERROR_SHAPE, {"[4294967296, 4294967296]", "2^63 bytes"}, kFp32, 2,
                      {1LL << 32, 1LL << 32}),
        tensor_create(4, "shape", MOEQ_ERROR_SHAPE, {"[2305843009213693952]", "2^63 bytes"}, kFp32, 1, {1LL << 61}),
        tensor_create(5, "device_type", MOEQ_ERROR_BACKEND,
                      {"got CUDA device 0", "no CUDA backend", "libmoeq_cuda.so.1"}, kFp32, 1, {3}, MOEQ_DEVICE_CUDA),
        tensor_create(5, "device_type", MOEQ_ERROR_ARGUMENT, {"got 10", "a MOEQ_DEVICE_ constant"}, kFp32, 1, {3}, 10),
        tensor_create(6, "device_id", MOEQ_ERROR_DEVICE, {"got 1", "want 0"}, kFp32, 1, {3}, MOEQ_DEVICE_CPU, 1),
        tensor_create(7, "stream", MOEQ_ERROR_ARGUMENT, {"got a stream", "want NULL"}, kFp32, 1, {3}, 0, 0, true),

        {"moeq_tensor_from_legacy",
         1,
         "context",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             DLManagedTensor old{};
             return moeq_tensor_from_legacy(nullptr, &old, b.tensor_out(), err);
         }},
        {"moeq_tensor_from_legacy",
         2,
         "legacy",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_tensor_from_legacy(b.context, nullptr, b.tensor_out(), err); }},
        {"moeq_tensor_from_legacy",
         3,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             DLManagedTensor old{};
             return moeq_tensor_from_legacy(b.context, &old, nullptr, err);
         }},
        legacy(MOEQ_ERROR_SHAPE, {"-1 dimensions", "0 to 8"}, [](Bench&, DLTensor& t) { t.ndim = -1; }),
        legacy(MOEQ_ERROR_SHAPE, {"shape pointer of NULL with 3 dimensions"},
               [](Bench&, DLTensor& t) { t.shape = nullptr; }),
        legacy(MOEQ_ERROR_SHAPE, {"extent -5 on axis 0"},
               [](Bench& b, DLTensor& t) {
                   b.numbers[0] = -5;
                   t.shape = b.numbers;
               }),
    };
}

} // namespace moeq_test
