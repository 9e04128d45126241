// Wrong calls about a handle: look at it, read it, cut it, copy it.
#include "wrong_call.h"

namespace moeq_test {

namespace {

using Spoil = void (*)(Bench&);

WrongCall region(const char* name, moeq_status status, std::vector<std::string> says, Spoil spoil, int64_t expert = -1,
                 int64_t row = -1)
{
    return {"moeq_qtensor_dequantize",
            2,
            name,
            status,
            std::move(says),
            [spoil](Bench& b, moeq_error* err) {
                spoil(b);
                return moeq_qtensor_dequantize(b.int8, &b.region, nullptr, b.destination, err);
            },
            {expert, row, -1}};
}

WrongCall slice(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says,
                moeq_qtensor* Bench::*handle, int32_t axis, int64_t begin, int64_t end)
{
    return {"moeq_qtensor_slice", argument, name, status, std::move(says), [=](Bench& b, moeq_error* err) {
                return moeq_qtensor_slice(b.*handle, axis, begin, end, b.qtensor_out(), err);
            }};
}

std::vector<WrongCall> wrong_regions()
{
    static const int64_t kExperts[] = {1, 0, 2};
    return {
        region("region", MOEQ_ERROR_VERSION, {"struct_size 55", "56"}, [](Bench& b) { b.region.struct_size = 55; }),
        region("region", MOEQ_ERROR_ARGUMENT, {"stores 3", "MOEQ_STORES_"}, [](Bench& b) { b.region.stores = 3; }),
        region("region", MOEQ_ERROR_ARGUMENT, {"experts and expert_ids", "one of them"},
               [](Bench& b) {
                   b.region.experts = kExperts;
                   b.region.expert_count = 1;
                   b.region.expert_ids = b.codes;
               }),
        region("region", MOEQ_ERROR_ARGUMENT, {"expert_count 2 without experts"},
               [](Bench& b) { b.region.expert_count = 2; }),
        region("region", MOEQ_ERROR_ARGUMENT, {"expert_count -1"},
               [](Bench& b) {
                   b.region.experts = kExperts;
                   b.region.expert_count = -1;
               }),
        region(
            "region", MOEQ_ERROR_RANGE, {"expert 2 at position 2", "0 to 1"},
            [](Bench& b) {
                b.region.experts = kExperts;
                b.region.expert_count = 3;
            },
            2),
        region("region.expert_ids", MOEQ_ERROR_DTYPE, {"fp32", "int32"},
               [](Bench& b) { b.region.expert_ids = b.scale; }),
        region(
            "region", MOEQ_ERROR_RANGE, {"rows [3, 5)", "[0, 4)"},
            [](Bench& b) {
                b.region.row_begin = 3;
                b.region.row_end = 5;
            },
            -1, 3),
        region(
            "region", MOEQ_ERROR_RANGE, {"rows [-1, 0)", "[0, 4)"}, [](Bench& b) { b.region.row_begin = -1; }, -1, -1),
        region(
            "region", MOEQ_ERROR_RANGE, {"rows [3, 2)"},
            [](Bench& b) {
                b.region.row_begin = 3;
                b.region.row_end = 2;
            },
            -1, 3),
        {"moeq_qtensor_dequantize",
         2,
         "region.expert_ids",
         MOEQ_ERROR_SHAPE,
         {"got 2 dimensions", "want 1"},
         [](Bench& b, moeq_error* err) {
             HostTensor ids(MOEQ_DTYPE_INT32, {1, 1});
             b.region.expert_ids = ids;
             return moeq_qtensor_dequantize(b.int8, &b.region, nullptr, b.destination, err);
         }},
        {"moeq_qtensor_dequantize",
         2,
         "region",
         MOEQ_ERROR_RANGE,
         {"expert -5 at position 0"},
         [](Bench& b, moeq_error* err) {
             HostTensor ids(MOEQ_DTYPE_INT64, {2});
             ids.as<int64_t>()[0] = -5;
             b.region.expert_ids = ids;
             return moeq_qtensor_dequantize(b.int8, &b.region, nullptr, b.destination, err);
         },
         {-5, -1, -1}},
    };
}

// A slice of the bench's weight in another format.
WrongCall slice_of(const char* text, int32_t argument, const char* name, moeq_status status,
                   std::vector<std::string> says, int32_t axis, int64_t begin, int64_t end)
{
    return {"moeq_qtensor_slice", argument, name, status, std::move(says), [=](Bench& b, moeq_error* err) {
                const moeq_spec spec = parse(text);
                moeq_qtensor* handle = nullptr;
                if (moeq_qtensor_quantize(b.context, b.source, &spec, nullptr, nullptr, &handle, nullptr) != MOEQ_OK)
                    return MOEQ_OK;
                const moeq_status result = moeq_qtensor_slice(handle, axis, begin, end, b.qtensor_out(), err);
                moeq_qtensor_release(handle);
                return result;
            }};
}

std::vector<WrongCall> wrong_slices()
{
    return {
        {"moeq_qtensor_slice",
         1,
         "qtensor",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_slice(nullptr, 0, 0, 1, b.qtensor_out(), err); }},
        {"moeq_qtensor_slice",
         5,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_slice(b.int8, 0, 0, 1, nullptr, err); }},
        slice(2, "axis", MOEQ_ERROR_ARGUMENT, {"got 3", "0 (experts), 1 (rows) or 2 (columns)"}, &Bench::int8, 3, 0, 1),
        slice(2, "axis", MOEQ_ERROR_ARGUMENT, {"got -1"}, &Bench::int8, -1, 0, 1),
        slice(4, "end", MOEQ_ERROR_RANGE, {"[0, 3) of the experts", "[0, 2)"}, &Bench::int8, 0, 0, 3),
        slice(3, "begin", MOEQ_ERROR_RANGE, {"[-1, 2) of the rows", "[0, 4)"}, &Bench::int8, 1, -1, 2),
        slice(3, "begin", MOEQ_ERROR_RANGE, {"[9, 8) of the columns", "[0, 64)"}, &Bench::int8, 2, 9, 8),
        slice(1, "qtensor", MOEQ_ERROR_UNSUPPORTED, {"blocking FLAT", "EXPERT or ROW"}, &Bench::flat, 0, 0, 1),
        slice(3, "begin", MOEQ_ERROR_ARGUMENT, {"cuts through blocks of 64"}, &Bench::nf4, 2, 1, 64),
        slice(3, "begin", MOEQ_ERROR_ARGUMENT, {"nested blocks (statistics) of 256", "slice wider"}, &Bench::nested, 0,
              1, 2),
        slice(2, "axis", MOEQ_ERROR_UNSUPPORTED, {"rows of several experts", "slice one expert first"}, &Bench::nested,
              1, 0, 2),
        slice_of("fp8_e4m3:block3x5", 3, "begin", MOEQ_ERROR_ARGUMENT, {"cuts through tiles of 3"}, 1, 0, 2),
        slice_of("nf4:axis=-2", 2, "axis", MOEQ_ERROR_UNSUPPORTED, {"across its scale axis", "experts or rows"}, 2, 0,
                 32),
        slice_of("nf4:32,nested", 2, "axis", MOEQ_ERROR_UNSUPPORTED, {"columns of a weight with nested statistics"}, 2,
                 0, 32),
        // Experts on two axes with a gap between them: one axis of experts cannot say where they are.
        {"moeq_qtensor_slice",
         1,
         "qtensor",
         MOEQ_ERROR_UNSUPPORTED,
         {"strides that do not fold into one"},
         [](Bench& b, moeq_error* err) {
             const int64_t shape[] = {2, 2, 4, 64};
             HostTensor codes(MOEQ_DTYPE_INT8, {2, 2, 4, 64}, {1024, 256, 64, 1});
             HostTensor scales(MOEQ_DTYPE_FP32, {2, 2, 4});
             const moeq_component components[] = {{MOEQ_COMPONENT_CODES, 0, codes}, {MOEQ_COMPONENT_SCALE, 0, scales}};
             moeq_qtensor* handle = nullptr;
             if (moeq_qtensor_adopt(b.context, &b.spec, 4, shape, components, 2, nullptr, &handle, nullptr) != MOEQ_OK)
                 return MOEQ_OK;
             const moeq_status status = moeq_qtensor_slice(handle, 0, 1, 3, b.qtensor_out(), err);
             moeq_qtensor_release(handle);
             return status;
         }},
        {"moeq_qtensor_slice",
         2,
         "axis",
         MOEQ_ERROR_ARGUMENT,
         {"96 of them", "block 64", "blocking ROW"},
         [](Bench& b, moeq_error* err) {
             HostTensor odd(MOEQ_DTYPE_FP32, {1, 2, 96});
             const moeq_spec nf4 = parse("nf4");
             moeq_qtensor* handle = nullptr;
             if (moeq_qtensor_quantize(b.context, odd, &nf4, nullptr, nullptr, &handle, nullptr) != MOEQ_OK)
                 return MOEQ_OK;
             const moeq_status status = moeq_qtensor_slice(handle, 2, 0, 64, b.qtensor_out(), err);
             moeq_qtensor_release(handle);
             return status;
         }},
    };
}

std::vector<WrongCall> wrong_compare()
{
    return {
        {"moeq_qtensor_compare",
         1,
         "qtensor",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_compare(nullptr, b.source, nullptr, b.number, err); }},
        {"moeq_qtensor_compare",
         2,
         "source",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_compare(b.int8, nullptr, nullptr, b.number, err); }},
        {"moeq_qtensor_compare",
         2,
         "source",
         MOEQ_ERROR_SHAPE,
         {"[4, 64]", "want [2, 4, 64]"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_compare(b.int8, b.piece, nullptr, b.number, err); }},
        {"moeq_qtensor_compare",
         3,
         "stream",
         MOEQ_ERROR_ARGUMENT,
         {"got a stream"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_compare(b.int8, b.source, b.stream, b.number, err); }},
        {"moeq_qtensor_compare",
         4,
         "destination",
         MOEQ_ERROR_DTYPE,
         {"fp32", "want fp64"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_compare(b.int8, b.source, nullptr, b.number, err); }},
        {"moeq_qtensor_compare",
         4,
         "destination",
         MOEQ_ERROR_SHAPE,
         {"[2, 8]", "at most 7"},
         [](Bench& b, moeq_error* err) {
             HostTensor figures(MOEQ_DTYPE_FP64, {2, 8});
             return moeq_qtensor_compare(b.int8, b.source, nullptr, figures, err);
         }},
        {"moeq_qtensor_compare",
         4,
         "destination",
         MOEQ_ERROR_SHAPE,
         {"[3, 7]", "[2, k]"},
         [](Bench& b, moeq_error* err) {
             HostTensor figures(MOEQ_DTYPE_FP64, {3, 7});
             return moeq_qtensor_compare(b.int8, b.source, nullptr, figures, err);
         }},
        {"moeq_qtensor_compare",
         4,
         "destination",
         MOEQ_ERROR_LAYOUT,
         {"overlaps source"},
         [](Bench& b, moeq_error* err) {
             DLManagedTensorVersioned inside = *b.source.operator->();
             int64_t shape[] = {2, 1};
             inside.dl_tensor.dtype = {kDLFloat, 64, 1};
             inside.dl_tensor.ndim = 2;
             inside.dl_tensor.shape = shape;
             inside.dl_tensor.strides = nullptr;
             return moeq_qtensor_compare(b.int8, b.source, nullptr, &inside, err);
         }},
    };
}

} // namespace

std::vector<WrongCall> wrong_qtensor_calls()
{
    std::vector<WrongCall> all = {
        {"moeq_qtensor_get_info",
         1,
         "qtensor",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_get_info(nullptr, &b.info, err); }},
        {"moeq_qtensor_get_info",
         2,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_get_info(b.int8, nullptr, err); }},
        {"moeq_qtensor_get_info",
         2,
         "out",
         MOEQ_ERROR_VERSION,
         {"struct_size 127", "128"},
         [](Bench& b, moeq_error* err) {
             b.info.struct_size = 127;
             return moeq_qtensor_get_info(b.int8, &b.info, err);
         }},
        {"moeq_qtensor_get_spec",
         1,
         "qtensor",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_get_spec(nullptr, &b.spec, err); }},
        {"moeq_qtensor_get_spec",
         2,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_get_spec(b.int8, nullptr, err); }},
        {"moeq_qtensor_get_spec",
         2,
         "out",
         MOEQ_ERROR_VERSION,
         {"struct_size 3", "52"},
         [](Bench& b, moeq_error* err) {
             b.spec.struct_size = 3;
             return moeq_qtensor_get_spec(b.int8, &b.spec, err);
         }},
        {"moeq_qtensor_export",
         1,
         "qtensor",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_export(nullptr, MOEQ_COMPONENT_CODES, b.tensor_out(), err);
         }},
        {"moeq_qtensor_export",
         2,
         "component",
         MOEQ_ERROR_NOT_FOUND,
         {"got 6 (code_map)", "int8"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_export(b.int8, MOEQ_COMPONENT_CODE_MAP, b.tensor_out(), err);
         }},
        {"moeq_qtensor_export",
         2,
         "component",
         MOEQ_ERROR_NOT_FOUND,
         {"got 0 (", "int8"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_export(b.int8, 0, b.tensor_out(), err); }},
        {"moeq_qtensor_export",
         3,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_export(b.int8, MOEQ_COMPONENT_CODES, nullptr, err); }},
        {"moeq_qtensor_dequantize",
         1,
         "qtensor",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_dequantize(nullptr, nullptr, nullptr, b.destination, err);
         }},
        {"moeq_qtensor_dequantize",
         3,
         "stream",
         MOEQ_ERROR_ARGUMENT,
         {"got a stream"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_dequantize(b.int8, nullptr, b.stream, b.destination, err);
         }},
        {"moeq_qtensor_dequantize",
         4,
         "destination",
         MOEQ_ERROR_SHAPE,
         {"[4, 64]", "want [2, 4, 64]"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_dequantize(b.int8, nullptr, nullptr, b.piece, err); }},
        {"moeq_qtensor_dequantize",
         4,
         "destination",
         MOEQ_ERROR_LAYOUT,
         {"overlaps the handle's own storage"},
         [](Bench& b, moeq_error* err) {
             DLManagedTensorVersioned* codes = nullptr;
             if (moeq_qtensor_export(b.int8, MOEQ_COMPONENT_CODES, &codes, nullptr) != MOEQ_OK)
                 return MOEQ_OK;
             DLManagedTensorVersioned inside = *b.destination.operator->();
             inside.dl_tensor.data = codes->dl_tensor.data;
             inside.dl_tensor.byte_offset = codes->dl_tensor.byte_offset;
             const moeq_status status = moeq_qtensor_dequantize(b.int8, nullptr, nullptr, &inside, err);
             codes->deleter(codes);
             return status;
         }},
        {"moeq_qtensor_copy",
         1,
         "qtensor",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_copy(nullptr, 0, 0, nullptr, b.qtensor_out(), err); }},
        {"moeq_qtensor_copy",
         2,
         "device_type",
         MOEQ_ERROR_BACKEND,
         {"got CUDA device 0", "no CUDA backend"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_copy(b.int8, MOEQ_DEVICE_CUDA, 0, nullptr, b.qtensor_out(), err);
         }},
        {"moeq_qtensor_copy",
         2,
         "device_type",
         MOEQ_ERROR_ARGUMENT,
         {"got -1", "a MOEQ_DEVICE_ constant"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_copy(b.int8, -1, 0, nullptr, b.qtensor_out(), err); }},
        {"moeq_qtensor_copy",
         3,
         "device_id",
         MOEQ_ERROR_DEVICE,
         {"got 2", "want 0"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_copy(b.int8, 0, 2, nullptr, b.qtensor_out(), err); }},
        {"moeq_qtensor_copy",
         4,
         "stream",
         MOEQ_ERROR_ARGUMENT,
         {"got a stream"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_copy(b.int8, 0, 0, b.stream, b.qtensor_out(), err); }},
        {"moeq_qtensor_copy",
         5,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_copy(b.int8, 0, 0, nullptr, nullptr, err); }},
    };
    for (auto part : {wrong_regions, wrong_slices, wrong_compare}) {
        const std::vector<WrongCall> more = part();
        all.insert(all.end(), more.begin(), more.end());
    }
    return all;
}

} // namespace moeq_test
