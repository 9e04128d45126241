// Wrong reductions.
#include <limits>

#include "wrong_call.h"

namespace moeq_test {

namespace {

using Spoil = void (*)(Bench&);

// A reduction of everything to one number, with one thing wrong.
WrongCall reduce(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says, Spoil spoil)
{
    return {"moeq_reduce", argument, name, status, std::move(says), [spoil](Bench& b, moeq_error* err) {
                spoil(b);
                return moeq_reduce(b.context, b.source, &b.reduce, nullptr, b.number, err);
            }};
}

WrongCall many(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says,
               moeq_status (*run)(Bench&, const DLManagedTensorVersioned**, DLManagedTensorVersioned*, moeq_error*))
{
    return {"moeq_reduce_many", argument, name, status, std::move(says), [run](Bench& b, moeq_error* err) {
                const DLManagedTensorVersioned* sources[] = {b.source, b.destination};
                HostTensor two(MOEQ_DTYPE_FP32, {2});
                return run(b, sources, two, err);
            }};
}

WrongCall scale(moeq_status status, std::vector<std::string> says, float value)
{
    return {"moeq_scale_from_amax",
            2,
            "amax",
            status,
            std::move(says),
            [value](Bench& b, moeq_error* err) {
                HostTensor amax(MOEQ_DTYPE_FP32, {2, 4});
                amax.as<float>()[6] = value;
                return moeq_scale_from_amax(b.context, amax, &b.spec, nullptr, b.scale, err);
            },
            {1, 2, -1}};
}

std::vector<WrongCall> wrong_reduce()
{
    static const int32_t kTwice[] = {0, -3};
    static const int32_t kOutside[] = {3};
    static const int64_t kBlocks[] = {0, -2, 0};
    return {
        {"moeq_reduce",
         1,
         "context",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_reduce(nullptr, b.source, nullptr, nullptr, b.number, err); }},
        {"moeq_reduce",
         2,
         "source",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_reduce(b.context, nullptr, nullptr, nullptr, b.number, err); }},
        {"moeq_reduce",
         4,
         "stream",
         MOEQ_ERROR_ARGUMENT,
         {"got a stream", "want NULL"},
         [](Bench& b, moeq_error* err) { return moeq_reduce(b.context, b.source, nullptr, b.stream, b.number, err); }},
        {"moeq_reduce",
         5,
         "destination",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_reduce(b.context, b.source, nullptr, nullptr, nullptr, err); }},
        {"moeq_reduce",
         5,
         "destination",
         MOEQ_ERROR_SHAPE,
         {"[2, 4, 64]", "want []"},
         [](Bench& b, moeq_error* err) {
             return moeq_reduce(b.context, b.source, nullptr, nullptr, b.destination, err);
         }},
        {"moeq_reduce",
         5,
         "destination",
         MOEQ_ERROR_DTYPE,
         {"int8", "fp32"},
         [](Bench& b, moeq_error* err) {
             HostTensor number(MOEQ_DTYPE_INT8, {});
             return moeq_reduce(b.context, b.source, nullptr, nullptr, number, err);
         }},
        {"moeq_reduce",
         5,
         "destination",
         MOEQ_ERROR_LAYOUT,
         {"overlaps source"},
         [](Bench& b, moeq_error* err) {
             DLManagedTensorVersioned inside = *b.source.operator->();
             inside.dl_tensor.ndim = 0;
             return moeq_reduce(b.context, b.source, nullptr, nullptr, &inside, err);
         }},
        {"moeq_reduce",
         2,
         "source",
         MOEQ_ERROR_SHAPE,
         {"[2, 0, 64]", "no amax"},
         [](Bench& b, moeq_error* err) {
             HostTensor nothing(MOEQ_DTYPE_FP32, {2, 0, 64});
             return moeq_reduce(b.context, nothing, nullptr, nullptr, b.number, err);
         }},
        reduce(3, "options", MOEQ_ERROR_VERSION, {"struct_size 39", "40"}, [](Bench& b) { b.reduce.struct_size = 39; }),
        reduce(3, "options", MOEQ_ERROR_ARGUMENT, {"operation 2", "0 amax, 1 sum"},
               [](Bench& b) { b.reduce.operation = 2; }),
        reduce(3, "options", MOEQ_ERROR_ARGUMENT, {"flags 32", "at most 31"}, [](Bench& b) { b.reduce.flags = 32; }),
        reduce(3, "options", MOEQ_ERROR_ARGUMENT, {"axis_count 2 with axes NULL"},
               [](Bench& b) { b.reduce.axis_count = 2; }),
        reduce(3, "options", MOEQ_ERROR_ARGUMENT, {"axis_count -1"},
               [](Bench& b) {
                   b.reduce.axes = kTwice;
                   b.reduce.axis_count = -1;
               }),
        reduce(3, "options.axes", MOEQ_ERROR_ARGUMENT, {"axis -3 (0) twice", "once"},
               [](Bench& b) {
                   b.reduce.axes = kTwice;
                   b.reduce.axis_count = 2;
               }),
        reduce(3, "options.axes", MOEQ_ERROR_ARGUMENT, {"axis 3 of 3 dimensions", "-3 to 2"},
               [](Bench& b) {
                   b.reduce.axes = kOutside;
                   b.reduce.axis_count = 1;
               }),
        reduce(3, "options.blocks", MOEQ_ERROR_ARGUMENT, {"length -2 for axis 1"},
               [](Bench& b) { b.reduce.blocks = kBlocks; }),
        {"moeq_reduce",
         3,
         "options.axes",
         MOEQ_ERROR_ARGUMENT,
         {"axis 3", "0 dimensions"},
         [](Bench& b, moeq_error* err) {
             b.reduce.axes = kOutside;
             b.reduce.axis_count = 1;
             return moeq_reduce(b.context, b.number, &b.reduce, nullptr, b.scale, err);
         }},
    };
}

std::vector<WrongCall> wrong_many()
{
    using Tensor = DLManagedTensorVersioned;
    return {
        many(1, "context", MOEQ_ERROR_ARGUMENT, {"got NULL"},
             [](Bench&, const Tensor** from, Tensor* to, moeq_error* err) {
                 return moeq_reduce_many(nullptr, from, 2, nullptr, nullptr, to, err);
             }),
        many(2, "sources", MOEQ_ERROR_ARGUMENT, {"got NULL"},
             [](Bench& b, const Tensor**, Tensor* to, moeq_error* err) {
                 return moeq_reduce_many(b.context, nullptr, 2, nullptr, nullptr, to, err);
             }),
        many(2, "sources[1]", MOEQ_ERROR_ARGUMENT, {"got NULL"},
             [](Bench& b, const Tensor** from, Tensor* to, moeq_error* err) {
                 from[1] = nullptr;
                 return moeq_reduce_many(b.context, from, 2, nullptr, nullptr, to, err);
             }),
        many(2, "sources[0]", MOEQ_ERROR_SHAPE, {"[0]", "no amax"},
             [](Bench& b, const Tensor** from, Tensor* to, moeq_error* err) {
                 HostTensor nothing(MOEQ_DTYPE_FP32, {0});
                 from[0] = nothing;
                 return moeq_reduce_many(b.context, from, 2, nullptr, nullptr, to, err);
             }),
        many(3, "count", MOEQ_ERROR_ARGUMENT, {"got -1", "0 or more"},
             [](Bench& b, const Tensor** from, Tensor* to, moeq_error* err) {
                 return moeq_reduce_many(b.context, from, -1, nullptr, nullptr, to, err);
             }),
        many(4, "options", MOEQ_ERROR_VERSION, {"struct_size 1"},
             [](Bench& b, const Tensor** from, Tensor* to, moeq_error* err) {
                 b.reduce.struct_size = 1;
                 return moeq_reduce_many(b.context, from, 2, &b.reduce, nullptr, to, err);
             }),
        many(4, "options", MOEQ_ERROR_ARGUMENT, {"got axes", "one number"},
             [](Bench& b, const Tensor** from, Tensor* to, moeq_error* err) {
                 b.reduce.axes = b.small_numbers;
                 return moeq_reduce_many(b.context, from, 2, &b.reduce, nullptr, to, err);
             }),
        many(4, "options", MOEQ_ERROR_ARGUMENT, {"got blocks", "one number"},
             [](Bench& b, const Tensor** from, Tensor* to, moeq_error* err) {
                 b.reduce.blocks = b.numbers;
                 return moeq_reduce_many(b.context, from, 2, &b.reduce, nullptr, to, err);
             }),
        many(4, "options", MOEQ_ERROR_ARGUMENT, {"flags 1", "ACCUMULATE"},
             [](Bench& b, const Tensor** from, Tensor* to, moeq_error* err) {
                 b.reduce.flags = MOEQ_REDUCE_KEEP_AXES;
                 return moeq_reduce_many(b.context, from, 2, &b.reduce, nullptr, to, err);
             }),
        many(4, "options", MOEQ_ERROR_ARGUMENT, {"operation -1"},
             [](Bench& b, const Tensor** from, Tensor* to, moeq_error* err) {
                 b.reduce.operation = -1;
                 return moeq_reduce_many(b.context, from, 2, &b.reduce, nullptr, to, err);
             }),
        many(5, "stream", MOEQ_ERROR_ARGUMENT, {"got a stream"},
             [](Bench& b, const Tensor** from, Tensor* to, moeq_error* err) {
                 return moeq_reduce_many(b.context, from, 2, nullptr, b.stream, to, err);
             }),
        many(6, "destination", MOEQ_ERROR_SHAPE, {"[2]", "want [1]"},
             [](Bench& b, const Tensor** from, Tensor* to, moeq_error* err) {
                 return moeq_reduce_many(b.context, from, 1, nullptr, nullptr, to, err);
             }),
        many(6, "destination", MOEQ_ERROR_DTYPE, {"bf16", "sources[0] of fp32", "want"},
             [](Bench& b, const Tensor** from, Tensor*, moeq_error* err) {
                 HostTensor two(MOEQ_DTYPE_BF16, {2});
                 return moeq_reduce_many(b.context, from, 2, nullptr, nullptr, two, err);
             }),
        many(6, "destination", MOEQ_ERROR_LAYOUT, {"overlaps sources[1]"},
             [](Bench& b, const Tensor** from, Tensor*, moeq_error* err) {
                 Tensor inside = *b.destination.operator->();
                 int64_t two = 2;
                 inside.dl_tensor.ndim = 1;
                 inside.dl_tensor.shape = &two;
                 inside.dl_tensor.strides = nullptr;
                 return moeq_reduce_many(b.context, from, 2, nullptr, nullptr, &inside, err);
             }),
    };
}

} // namespace

std::vector<WrongCall> wrong_reduce_calls()
{
    static const int64_t kShape[] = {2, -3};
    static const int32_t kTwice[] = {1, 1};
    constexpr float kInf = std::numeric_limits<float>::infinity();
    std::vector<WrongCall> all = {
        {"moeq_reduce_shape",
         1,
         "ndim",
         MOEQ_ERROR_SHAPE,
         {"got 9", "0 to 8"},
         [](Bench& b, moeq_error* err) {
             return moeq_reduce_shape(9, b.numbers, nullptr, b.small_numbers, b.numbers, err);
         }},
        {"moeq_reduce_shape",
         2,
         "shape",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_reduce_shape(1, nullptr, nullptr, b.small_numbers, b.numbers, err);
         }},
        {"moeq_reduce_shape",
         2,
         "shape",
         MOEQ_ERROR_SHAPE,
         {"extent -3 on axis 1"},
         [](Bench& b, moeq_error* err) {
             return moeq_reduce_shape(2, kShape, nullptr, b.small_numbers, b.numbers, err);
         }},
        {"moeq_reduce_shape",
         3,
         "options",
         MOEQ_ERROR_VERSION,
         {"struct_size 2"},
         [](Bench& b, moeq_error* err) {
             b.reduce.struct_size = 2;
             return moeq_reduce_shape(1, b.numbers, &b.reduce, b.small_numbers, b.numbers, err);
         }},
        {"moeq_reduce_shape",
         4,
         "out_ndim",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_reduce_shape(1, b.numbers, nullptr, nullptr, b.numbers, err); }},
        {"moeq_reduce_shape",
         5,
         "out_shape",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_reduce_shape(1, b.numbers, nullptr, b.small_numbers, nullptr, err);
         }},
        {"moeq_reduce_axes",
         1,
         "ndim",
         MOEQ_ERROR_SHAPE,
         {"got -1", "0 to 8"},
         [](Bench& b, moeq_error* err) {
             return moeq_reduce_axes(-1, nullptr, 0, b.small_numbers, b.small_numbers, err);
         }},
        {"moeq_reduce_axes",
         2,
         "quant_axes",
         MOEQ_ERROR_ARGUMENT,
         {"axis 1 (1) twice"},
         [](Bench& b, moeq_error* err) {
             return moeq_reduce_axes(3, kTwice, 2, b.small_numbers, b.small_numbers + 7, err);
         }},
        {"moeq_reduce_axes",
         2,
         "quant_axes",
         MOEQ_ERROR_ARGUMENT,
         {"axis 1 of 1 dimensions", "-1 to 0"},
         [](Bench& b, moeq_error* err) {
             return moeq_reduce_axes(1, kTwice, 1, b.small_numbers, b.small_numbers + 7, err);
         }},
        {"moeq_reduce_axes",
         3,
         "quant_axis_count",
         MOEQ_ERROR_ARGUMENT,
         {"got 1", "0 with NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_reduce_axes(3, nullptr, 1, b.small_numbers, b.small_numbers, err);
         }},
        {"moeq_reduce_axes",
         3,
         "quant_axis_count",
         MOEQ_ERROR_ARGUMENT,
         {"got -2"},
         [](Bench& b, moeq_error* err) {
             return moeq_reduce_axes(3, kTwice, -2, b.small_numbers, b.small_numbers, err);
         }},
        {"moeq_reduce_axes",
         4,
         "out_axes",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_reduce_axes(3, kTwice, 1, nullptr, b.small_numbers, err); }},
        {"moeq_reduce_axes",
         5,
         "out_count",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_reduce_axes(3, kTwice, 1, b.small_numbers, nullptr, err); }},
        {"moeq_scale_from_amax",
         1,
         "context",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_scale_from_amax(nullptr, b.number, &b.spec, nullptr, b.scale, err);
         }},
        {"moeq_scale_from_amax",
         2,
         "amax",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_scale_from_amax(b.context, nullptr, &b.spec, nullptr, b.scale, err);
         }},
        {"moeq_scale_from_amax",
         2,
         "amax",
         MOEQ_ERROR_DTYPE,
         {"int8", "want fp32"},
         [](Bench& b, moeq_error* err) {
             return moeq_scale_from_amax(b.context, b.codes, &b.spec, nullptr, b.scale, err);
         }},
        {"moeq_scale_from_amax",
         3,
         "spec",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_scale_from_amax(b.context, b.number, nullptr, nullptr, b.scale, err);
         }},
        {"moeq_scale_from_amax",
         4,
         "stream",
         MOEQ_ERROR_ARGUMENT,
         {"got a stream"},
         [](Bench& b, moeq_error* err) {
             return moeq_scale_from_amax(b.context, b.scale, &b.spec, b.stream, b.scale, err);
         }},
        {"moeq_scale_from_amax",
         5,
         "destination",
         MOEQ_ERROR_SHAPE,
         {"[2, 4]", "want []"},
         [](Bench& b, moeq_error* err) {
             return moeq_scale_from_amax(b.context, b.number, &b.spec, nullptr, b.scale, err);
         }},
        {"moeq_scale_from_amax",
         5,
         "destination",
         MOEQ_ERROR_LAYOUT,
         {"overlaps amax"},
         [](Bench& b, moeq_error* err) {
             return moeq_scale_from_amax(b.context, b.scale, &b.spec, nullptr, b.scale, err);
         }},
        scale(MOEQ_ERROR_VALUE, {"a negative number at index [1, 2]", "0 or more"}, -1.0f),
        scale(MOEQ_ERROR_VALUE, {"NaN at index [1, 2]"}, std::numeric_limits<float>::quiet_NaN()),
        scale(MOEQ_ERROR_VALUE, {"Inf at index [1, 2]"}, kInf),
    };
    for (auto part : {wrong_reduce, wrong_many}) {
        const std::vector<WrongCall> more = part();
        all.insert(all.end(), more.begin(), more.end());
    }
    return all;
}

} // namespace moeq_test
