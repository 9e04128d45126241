// Wrong calls about a builder. The one at hand is of [2, 4, 64] and has its first expert.
#include <limits>

#include "wrong_call.h"

namespace moeq_test {

namespace {

WrongCall create(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says,
                 void (*spoil)(Bench&))
{
    return {"moeq_builder_create", argument, name, status, std::move(says), [spoil](Bench& b, moeq_error* err) {
                spoil(b);
                return moeq_builder_create(b.context, &b.spec, 3, b.shape.data(), &b.options, nullptr, b.builder_out(),
                                           err);
            }};
}

// A piece of zeros of that shape at that place.
WrongCall write(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says, int64_t expert,
                int64_t row, int64_t column, const Shape& shape, int64_t at_expert = -1, int64_t at_row = -1,
                int64_t at_column = -1)
{
    return {"moeq_builder_write",
            argument,
            name,
            status,
            std::move(says),
            [=](Bench& b, moeq_error* err) {
                HostTensor piece(MOEQ_DTYPE_FP32, shape);
                return moeq_builder_write(b.builder, expert, row, column, piece, nullptr, err);
            },
            {at_expert, at_row, at_column}};
}

std::vector<WrongCall> wrong_creates()
{
    return {
        {"moeq_builder_create",
         1,
         "context",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_builder_create(nullptr, &b.spec, 3, b.shape.data(), nullptr, nullptr, b.builder_out(), err);
         }},
        {"moeq_builder_create",
         2,
         "spec",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_builder_create(b.context, nullptr, 3, b.shape.data(), nullptr, nullptr, b.builder_out(), err);
         }},
        {"moeq_builder_create",
         4,
         "shape",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL", "3 extents"},
         [](Bench& b, moeq_error* err) {
             return moeq_builder_create(b.context, &b.spec, 3, nullptr, nullptr, nullptr, b.builder_out(), err);
         }},
        {"moeq_builder_create",
         6,
         "stream",
         MOEQ_ERROR_ARGUMENT,
         {"got a stream"},
         [](Bench& b, moeq_error* err) {
             return moeq_builder_create(b.context, &b.spec, 3, b.shape.data(), nullptr, b.stream, b.builder_out(), err);
         }},
        {"moeq_builder_create",
         7,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_builder_create(b.context, &b.spec, 3, b.shape.data(), nullptr, nullptr, nullptr, err);
         }},
        create(5, "options", MOEQ_ERROR_ARGUMENT, {"staging_limit -9"}, [](Bench& b) { b.options.staging_limit = -9; }),
        create(5, "amax", MOEQ_ERROR_ARGUMENT, {"no scale per expert"}, [](Bench& b) { b.options.amax = b.number; }),
        create(5, "options.storage", MOEQ_ERROR_INCOMPLETE, {"no scale"},
               [](Bench& b) {
                   b.options.storage = b.components;
                   b.options.storage_count = 1;
               }),
        // Books for so many experts would need more bytes than there are numbers for.
        {"moeq_builder_create",
         4,
         "shape",
         MOEQ_ERROR_SHAPE,
         {"got [461168601842738791, 0, 1]", "4096 experts"},
         [](Bench& b, moeq_error* err) {
             const int64_t shape[] = {461168601842738791, 0, 1};
             b.spec = parse("nf4:blocking=flat");
             return moeq_builder_create(b.context, &b.spec, 3, shape, nullptr, nullptr, b.builder_out(), err);
         }},
    };
}

std::vector<WrongCall> wrong_writes()
{
    return {
        {"moeq_builder_write",
         1,
         "builder",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_builder_write(nullptr, 1, 0, 0, b.piece, nullptr, err); }},
        {"moeq_builder_write",
         5,
         "piece",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_builder_write(b.builder, 1, 0, 0, nullptr, nullptr, err); }},
        {"moeq_builder_write",
         6,
         "stream",
         MOEQ_ERROR_ARGUMENT,
         {"got a stream"},
         [](Bench& b, moeq_error* err) { return moeq_builder_write(b.builder, 1, 0, 0, b.piece, b.stream, err); }},
        {"moeq_builder_write",
         5,
         "piece",
         MOEQ_ERROR_DTYPE,
         {"int8", "fp32, fp16 or bf16"},
         [](Bench& b, moeq_error* err) { return moeq_builder_write(b.builder, 1, 0, 0, b.codes, nullptr, err); }},
        {"moeq_builder_write",
         5,
         "piece",
         MOEQ_ERROR_DTYPE,
         {"bf16 after pieces of fp32", "one element type"},
         [](Bench& b, moeq_error* err) {
             HostTensor piece(MOEQ_DTYPE_BF16, {4, 64});
             return moeq_builder_write(b.builder, 1, 0, 0, piece, nullptr, err);
         }},
        {"moeq_builder_write",
         5,
         "piece",
         MOEQ_ERROR_VALUE,
         {"Inf", "expert 1, row 3, column 5"},
         [](Bench& b, moeq_error* err) {
             HostTensor piece(MOEQ_DTYPE_FP32, {1, 64});
             piece.as<float>()[5] = std::numeric_limits<float>::infinity();
             return moeq_builder_write(b.builder, 1, 3, 0, piece, nullptr, err);
         },
         {1, 3, 5}},
        write(5, "piece", MOEQ_ERROR_SHAPE, {"[64]", "[rows, columns]"}, 1, 0, 0, {64}),
        write(5, "piece", MOEQ_ERROR_SHAPE, {"[1, 1, 4, 64]", "[experts, rows, columns]"}, 1, 0, 0, {1, 1, 4, 64}),
        write(2, "expert", MOEQ_ERROR_RANGE, {"piece of 1 at 2", "[0, 2)"}, 2, 0, 0, {4, 64}, 2),
        write(2, "expert", MOEQ_ERROR_RANGE, {"piece of 2 at 1", "[0, 2)"}, 1, 0, 0, {2, 4, 64}, 1),
        write(2, "expert", MOEQ_ERROR_RANGE, {"piece of 1 at -9223372036854775808"}, INT64_MIN, 0, 0, {4, 64},
              INT64_MIN),
        write(3, "row", MOEQ_ERROR_RANGE, {"piece of 2 at 3", "[0, 4)"}, 1, 3, 0, {2, 64}, -1, 3),
        write(3, "row", MOEQ_ERROR_RANGE, {"piece of 2 at 9223372036854775807"}, 1, INT64_MAX, 0, {2, 64}, -1,
              INT64_MAX),
        write(4, "column", MOEQ_ERROR_RANGE, {"piece of 60 at 5", "[0, 64)"}, 1, 0, 5, {4, 60}, -1, -1, 5),
        write(5, "piece", MOEQ_ERROR_DUPLICATE, {"expert 0, row 2, column 7", "every element once"}, 0, 2, 7, {1, 3}, 0,
              2, 7),
        write(5, "piece", MOEQ_ERROR_DUPLICATE, {"expert 0, row 0, column 0"}, 0, 0, 0, {2, 4, 64}, 0, 0, 0),
        {"moeq_builder_write",
         5,
         "piece",
         MOEQ_ERROR_LIMIT,
         {"stage 256 bytes", "at most 255", "staging_limit"},
         [](Bench& b, moeq_error* err) {
             moeq_builder* limited = nullptr;
             b.options.staging_limit = 255;
             if (moeq_builder_create(b.context, &b.spec, 3, b.shape.data(), &b.options, nullptr, &limited, nullptr) !=
                 MOEQ_OK)
                 return MOEQ_OK;
             HostTensor piece(MOEQ_DTYPE_FP32, {1, 3});
             const moeq_status status = moeq_builder_write(limited, 0, 0, 0, piece, nullptr, err);
             moeq_builder_destroy(limited);
             return status;
         }},
    };
}

} // namespace

std::vector<WrongCall> wrong_builder_calls()
{
    std::vector<WrongCall> all = {
        {"moeq_builder_get_state",
         1,
         "builder",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_builder_get_state(nullptr, &b.state, err); }},
        {"moeq_builder_get_state",
         2,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_builder_get_state(b.builder, nullptr, err); }},
        {"moeq_builder_get_state",
         2,
         "out",
         MOEQ_ERROR_VERSION,
         {"struct_size 31", "32"},
         [](Bench& b, moeq_error* err) {
             b.state.struct_size = 31;
             return moeq_builder_get_state(b.builder, &b.state, err);
         }},
        {"moeq_builder_get_missing",
         1,
         "builder",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_builder_get_missing(nullptr, nullptr, 0, b.numbers, err); }},
        {"moeq_builder_get_missing",
         2,
         "blocks",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_builder_get_missing(b.builder, nullptr, 1, b.numbers, err); }},
        {"moeq_builder_get_missing",
         3,
         "capacity",
         MOEQ_ERROR_ARGUMENT,
         {"got -1", "0 or more"},
         [](Bench& b, moeq_error* err) { return moeq_builder_get_missing(b.builder, nullptr, -1, b.numbers, err); }},
        {"moeq_builder_get_missing",
         4,
         "out_count",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_builder_get_missing(b.builder, nullptr, 0, nullptr, err); }},
        {"moeq_builder_finish",
         1,
         "builder",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_builder_finish(nullptr, nullptr, b.qtensor_out(), err); }},
        {"moeq_builder_finish",
         2,
         "stream",
         MOEQ_ERROR_ARGUMENT,
         {"got a stream"},
         [](Bench& b, moeq_error* err) { return moeq_builder_finish(b.builder, b.stream, b.qtensor_out(), err); }},
        {"moeq_builder_finish",
         3,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_builder_finish(b.builder, nullptr, nullptr, err); }},
        {"moeq_builder_finish",
         1,
         "builder",
         MOEQ_ERROR_INCOMPLETE,
         {"256 of 512 elements", "experts [1, 2), rows [0, 4), columns [0, 64)", "moeq_builder_get_missing"},
         [](Bench& b, moeq_error* err) { return moeq_builder_finish(b.builder, nullptr, b.qtensor_out(), err); },
         {1, 0, 0}},
    };
    for (auto part : {wrong_creates, wrong_writes}) {
        const std::vector<WrongCall> more = part();
        all.insert(all.end(), more.begin(), more.end());
    }
    return all;
}

} // namespace moeq_test
