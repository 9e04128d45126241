// Wrong calls of quantize, quantize_into, requantize and adopt: options, storage, components, values.
#include <limits>

#include "wrong_call.h"

namespace moeq_test {

namespace {

using Spoil = void (*)(Bench&);

moeq_status quantize(Bench& b, moeq_error* err)
{
    return moeq_qtensor_quantize(b.context, b.source, &b.spec, &b.options, nullptr, b.qtensor_out(), err);
}

WrongCall options(const char* name, moeq_status status, std::vector<std::string> says, Spoil spoil)
{
    return {"moeq_qtensor_quantize", 4, name, status, std::move(says), [spoil](Bench& b, moeq_error* err) {
                spoil(b);
                return quantize(b, err);
            }};
}

// Both components are there; `spoil` changes them.
WrongCall storage(const char* name, moeq_status status, std::vector<std::string> says, Spoil spoil)
{
    return {"moeq_qtensor_quantize", 4, name, status, std::move(says), [spoil](Bench& b, moeq_error* err) {
                b.options.storage = b.components;
                b.options.storage_count = 2;
                spoil(b);
                return quantize(b, err);
            }};
}

WrongCall into(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says,
               moeq_status (*run)(Bench&, moeq_error*))
{
    return {"moeq_quantize_into", argument, name, status, std::move(says), run};
}

WrongCall adopt(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says, Spoil spoil,
                int64_t count = 2, const char* text = "int8")
{
    return {"moeq_qtensor_adopt", argument, name, status, std::move(says), [=](Bench& b, moeq_error* err) {
                b.spec = parse(text);
                spoil(b);
                return moeq_qtensor_adopt(b.context, &b.spec, 3, b.shape.data(), b.components, count, nullptr,
                                          b.qtensor_out(), err);
            }};
}

// One bad value at expert 1, row 2, column 3.
WrongCall value(const char* function, std::vector<std::string> says, float bad, moeq_status (*run)(Bench&, moeq_error*))
{
    return {function,
            2,
            "source",
            MOEQ_ERROR_VALUE,
            std::move(says),
            [=](Bench& b, moeq_error* err) {
                b.source.as<float>()[(1 * 4 + 2) * 64 + 3] = bad;
                return run(b, err);
            },
            {1, 2, 3}};
}

std::vector<WrongCall> wrong_options()
{
    return {
        options("options", MOEQ_ERROR_VERSION, {"struct_size 55", "56"}, [](Bench& b) { b.options.struct_size = 55; }),
        options("options", MOEQ_ERROR_ARGUMENT, {"reserved 1", "want 0"}, [](Bench& b) { b.options.reserved = 1; }),
        options("options.device_type", MOEQ_ERROR_BACKEND, {"got CUDA device 0", "no CUDA backend"},
                [](Bench& b) { b.options.device_type = MOEQ_DEVICE_CUDA; }),
        options("options.device_type", MOEQ_ERROR_ARGUMENT, {"got 4", "a MOEQ_DEVICE_ constant"},
                [](Bench& b) { b.options.device_type = 4; }),
        options("options.device_id", MOEQ_ERROR_DEVICE, {"got 7", "want 0"}, [](Bench& b) { b.options.device_id = 7; }),
        options("options", MOEQ_ERROR_ARGUMENT, {"storage_count 3 without storage"},
                [](Bench& b) { b.options.storage_count = 3; }),
        options("options", MOEQ_ERROR_ARGUMENT, {"storage_count 0 with storage"},
                [](Bench& b) { b.options.storage = b.components; }),
        options("options", MOEQ_ERROR_ARGUMENT, {"storage and a device_type", "one of them"},
                [](Bench& b) {
                    b.options.storage = b.components;
                    b.options.storage_count = 2;
                    b.options.device_type = MOEQ_DEVICE_CPU;
                }),
        options("options", MOEQ_ERROR_ARGUMENT, {"staging_limit -1"}, [](Bench& b) { b.options.staging_limit = -1; }),
        options("amax", MOEQ_ERROR_ARGUMENT, {"no scale per expert", "granularity EXPERT"},
                [](Bench& b) { b.options.amax = b.scale; }),
        options("amax", MOEQ_ERROR_SHAPE, {"[2, 4]", "want [2]"},
                [](Bench& b) {
                    b.spec.granularity = MOEQ_GRANULARITY_EXPERT;
                    b.options.amax = b.scale;
                }),
        options("amax", MOEQ_ERROR_DTYPE, {"int8", "want fp32"},
                [](Bench& b) {
                    b.spec.granularity = MOEQ_GRANULARITY_EXPERT;
                    b.options.amax = b.codes;
                }),
    };
}

std::vector<WrongCall> wrong_storage()
{
    return {
        storage("options.storage", MOEQ_ERROR_INCOMPLETE, {"no scale", "int8"},
                [](Bench& b) { b.options.storage_count = 1; }),
        storage("options.storage", MOEQ_ERROR_ARGUMENT, {"count of 9"}, [](Bench& b) { b.options.storage_count = 9; }),
        storage("codes", MOEQ_ERROR_READ_ONLY, {"read-only"},
                [](Bench& b) { b.codes->flags = DLPACK_FLAG_BITMASK_READ_ONLY; }),
        storage("scale", MOEQ_ERROR_LAYOUT, {"overlaps codes"},
                [](Bench& b) { b.scale.plain().data = b.codes.plain().data; }),
        storage("options.storage", MOEQ_ERROR_LAYOUT, {"overlaps source"},
                [](Bench& b) { b.codes.plain().data = b.source.plain().data; }),
    };
}

std::vector<WrongCall> wrong_into()
{
    return {
        into(1, "context", MOEQ_ERROR_ARGUMENT, {"got NULL"},
             [](Bench& b, moeq_error* err) {
                 return moeq_quantize_into(nullptr, b.source, &b.spec, nullptr, nullptr, b.components, 2, err);
             }),
        into(2, "source", MOEQ_ERROR_ARGUMENT, {"got NULL"},
             [](Bench& b, moeq_error* err) {
                 return moeq_quantize_into(b.context, nullptr, &b.spec, nullptr, nullptr, b.components, 2, err);
             }),
        into(2, "source", MOEQ_ERROR_SHAPE, {"got 0 dimensions", "2 to 8"},
             [](Bench& b, moeq_error* err) {
                 return moeq_quantize_into(b.context, b.number, &b.spec, nullptr, nullptr, b.components, 2, err);
             }),
        into(3, "spec", MOEQ_ERROR_ARGUMENT, {"got NULL"},
             [](Bench& b, moeq_error* err) {
                 return moeq_quantize_into(b.context, b.source, nullptr, nullptr, nullptr, b.components, 2, err);
             }),
        into(4, "options", MOEQ_ERROR_ARGUMENT, {"got storage", "destinations say where"},
             [](Bench& b, moeq_error* err) {
                 b.options.storage = b.components;
                 b.options.storage_count = 2;
                 return moeq_quantize_into(b.context, b.source, &b.spec, &b.options, nullptr, b.components, 2, err);
             }),
        into(5, "stream", MOEQ_ERROR_ARGUMENT, {"got a stream"},
             [](Bench& b, moeq_error* err) {
                 return moeq_quantize_into(b.context, b.source, &b.spec, nullptr, b.stream, b.components, 2, err);
             }),
        into(6, "destinations", MOEQ_ERROR_ARGUMENT, {"got NULL", "2 components"},
             [](Bench& b, moeq_error* err) {
                 return moeq_quantize_into(b.context, b.source, &b.spec, nullptr, nullptr, nullptr, 2, err);
             }),
        into(6, "destinations", MOEQ_ERROR_ARGUMENT, {"count of -1"},
             [](Bench& b, moeq_error* err) {
                 return moeq_quantize_into(b.context, b.source, &b.spec, nullptr, nullptr, b.components, -1, err);
             }),
        into(6, "destinations", MOEQ_ERROR_INCOMPLETE, {"no codes"},
             [](Bench& b, moeq_error* err) {
                 return moeq_quantize_into(b.context, b.source, &b.spec, nullptr, nullptr, b.components + 1, 1, err);
             }),
    };
}

std::vector<WrongCall> wrong_adopt()
{
    return {
        {"moeq_qtensor_adopt",
         1,
         "context",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_adopt(nullptr, &b.spec, 3, b.shape.data(), b.components, 2, nullptr, b.qtensor_out(),
                                       err);
         }},
        {"moeq_qtensor_adopt",
         2,
         "spec",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_adopt(b.context, nullptr, 3, b.shape.data(), b.components, 2, nullptr, b.qtensor_out(),
                                       err);
         }},
        {"moeq_qtensor_adopt",
         4,
         "shape",
         MOEQ_ERROR_SHAPE,
         {"got 1 dimensions"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_adopt(b.context, &b.spec, 1, b.shape.data(), b.components, 2, nullptr, b.qtensor_out(),
                                       err);
         }},
        {"moeq_qtensor_adopt",
         5,
         "components",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL", "2 components"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_adopt(b.context, &b.spec, 3, b.shape.data(), nullptr, 2, nullptr, b.qtensor_out(),
                                       err);
         }},
        {"moeq_qtensor_adopt",
         7,
         "stream",
         MOEQ_ERROR_ARGUMENT,
         {"got a stream"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_adopt(b.context, &b.spec, 3, b.shape.data(), b.components, 2, b.stream,
                                       b.qtensor_out(), err);
         }},
        {"moeq_qtensor_adopt",
         8,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_adopt(b.context, &b.spec, 3, b.shape.data(), b.components, 2, nullptr, nullptr, err);
         }},
        adopt(5, "components", MOEQ_ERROR_NOT_FOUND, {"component 3 (nested_scale)", "int8"},
              [](Bench& b) { b.components[1].component = MOEQ_COMPONENT_NESTED_SCALE; }),
        adopt(5, "components", MOEQ_ERROR_NOT_FOUND, {"component 77"},
              [](Bench& b) { b.components[1].component = 77; }),
        adopt(5, "components", MOEQ_ERROR_DUPLICATE, {"codes twice", "once"},
              [](Bench& b) { b.components[1] = b.components[0]; }),
        adopt(
            5, "components", MOEQ_ERROR_INCOMPLETE, {"no scale"}, [](Bench&) {}, 1),
        adopt(
            5, "components", MOEQ_ERROR_INCOMPLETE, {"no codes"}, [](Bench&) {}, 0),
        adopt(5, "codes", MOEQ_ERROR_ARGUMENT, {"got NULL", "want a tensor"},
              [](Bench& b) { b.components[0].tensor = nullptr; }),
        adopt(5, "codes", MOEQ_ERROR_DTYPE, {"fp32", "int8"}, [](Bench& b) { b.components[0].tensor = b.destination; }),
        adopt(5, "scale", MOEQ_ERROR_SHAPE, {"[]", "want [2, 4]"}, [](Bench& b) { b.components[1].tensor = b.number; }),
        {"moeq_qtensor_adopt",
         5,
         "components",
         MOEQ_ERROR_UNSUPPORTED,
         {"code_map whose value 0 is not that of nf4", "own table"},
         [](Bench& b, moeq_error* err) {
             HostTensor codes(MOEQ_DTYPE_UINT8, {2, 128});
             HostTensor map(MOEQ_DTYPE_FP32, {16});
             const moeq_spec nf4 = parse("nf4");
             const moeq_component components[] = {{MOEQ_COMPONENT_CODES, 0, codes},
                                                  {MOEQ_COMPONENT_SCALE, 0, b.scale},
                                                  {MOEQ_COMPONENT_CODE_MAP, 0, map}};
             return moeq_qtensor_adopt(b.context, &nf4, 3, b.shape.data(), components, 3, nullptr, b.qtensor_out(),
                                       err);
         }},
        // As many nested scales as the map has values, so that one tensor fits as both.
        {"moeq_qtensor_adopt",
         5,
         "components",
         MOEQ_ERROR_DUPLICATE,
         {"one tensor as nested_scale and as nested_map"},
         [](Bench& b, moeq_error* err) {
             constexpr int64_t kBlocks = 256 * 256;
             const int64_t shape[] = {1, kBlocks, 64};
             HostTensor codes(MOEQ_DTYPE_UINT8, {1, kBlocks * 32});
             HostTensor scale(MOEQ_DTYPE_UINT8, {1, kBlocks});
             HostTensor both(MOEQ_DTYPE_FP32, {256});
             HostTensor offset(MOEQ_DTYPE_FP32, {});
             const moeq_spec nested = parse("nf4:nested");
             const moeq_component components[] = {{MOEQ_COMPONENT_CODES, 0, codes},
                                                  {MOEQ_COMPONENT_SCALE, 0, scale},
                                                  {MOEQ_COMPONENT_NESTED_SCALE, 0, both},
                                                  {MOEQ_COMPONENT_NESTED_MAP, 0, both},
                                                  {MOEQ_COMPONENT_NESTED_OFFSET, 0, offset}};
             return moeq_qtensor_adopt(b.context, &nested, 3, shape, components, 5, nullptr, b.qtensor_out(), err);
         }},
        adopt(5, "codes", MOEQ_ERROR_LAYOUT, {"strides [256, 1, 4]", "stride of 1 on the last axis"},
              [](Bench& b) {
                  b.numbers[0] = 256;
                  b.numbers[1] = 1;
                  b.numbers[2] = 4;
                  b.codes.plain().strides = b.numbers;
              }),
    };
}

// Memory that a host look at would be the end of.
void put_on_cuda(HostTensor& tensor)
{
    tensor.plain().device = {kDLCUDA, 0};
    tensor.plain().data = reinterpret_cast<void*>(uintptr_t{4096});
}

std::vector<WrongCall> wrong_places()
{
    const auto with_amax = [](const char* function, int32_t argument, moeq_status (*run)(Bench&, moeq_error*)) {
        return WrongCall{function,
                         argument,
                         "amax",
                         MOEQ_ERROR_BACKEND,
                         {"CUDA device 0", "host memory"},
                         [run](Bench& b, moeq_error* err) {
                             HostTensor amax(MOEQ_DTYPE_FP32, {2});
                             put_on_cuda(amax);
                             b.spec = parse("int8:expert");
                             b.options.amax = amax;
                             return run(b, err);
                         }};
    };
    return {
        with_amax("moeq_qtensor_quantize", 4, quantize),
        with_amax("moeq_quantize_into", 4,
                  [](Bench& b, moeq_error* err) {
                      HostTensor scale(MOEQ_DTYPE_FP32, {2});
                      b.components[1].tensor = scale;
                      return moeq_quantize_into(b.context, b.source, &b.spec, &b.options, nullptr, b.components, 2,
                                                err);
                  }),
        with_amax("moeq_qtensor_requantize", 3,
                  [](Bench& b, moeq_error* err) {
                      moeq_qtensor* q = nullptr;
                      moeq_qtensor_quantize(b.context, b.source, &b.spec, nullptr, nullptr, &q, nullptr);
                      const moeq_status status = moeq_qtensor_requantize(q, b.source, &b.options, nullptr, err);
                      moeq_qtensor_release(q);
                      return status;
                  }),
        with_amax("moeq_builder_create", 5,
                  [](Bench& b, moeq_error* err) {
                      return moeq_builder_create(b.context, &b.spec, 3, b.shape.data(), &b.options, nullptr,
                                                 b.builder_out(), err);
                  }),
        {"moeq_qtensor_adopt",
         5,
         "components",
         MOEQ_ERROR_BACKEND,
         {"CUDA device 0", "host memory"},
         [](Bench& b, moeq_error* err) {
             HostTensor codes(MOEQ_DTYPE_UINT8, {2, 128});
             HostTensor map(MOEQ_DTYPE_FP32, {16});
             put_on_cuda(map);
             const moeq_spec nf4 = parse("nf4");
             const moeq_component components[] = {{MOEQ_COMPONENT_CODES, 0, codes},
                                                  {MOEQ_COMPONENT_SCALE, 0, b.scale},
                                                  {MOEQ_COMPONENT_CODE_MAP, 0, map}};
             return moeq_qtensor_adopt(b.context, &nf4, 3, b.shape.data(), components, 3, nullptr, b.qtensor_out(),
                                       err);
         }},
    };
}

std::vector<WrongCall> wrong_values()
{
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    constexpr float kInf = std::numeric_limits<float>::infinity();
    const auto to_storage = [](Bench& b, moeq_error* err) {
        return moeq_quantize_into(b.context, b.source, &b.spec, nullptr, nullptr, b.components, 2, err);
    };
    return {
        value("moeq_qtensor_quantize", {"NaN", "expert 1, row 2, column 3", "MOEQ_NONFINITE_SATURATE"}, kNan, quantize),
        value("moeq_qtensor_quantize", {"Inf", "expert 1, row 2, column 3"}, -kInf, quantize),
        value("moeq_quantize_into", {"NaN", "expert 1, row 2, column 3"}, kNan, to_storage),
        {"moeq_qtensor_quantize",
         4,
         "amax",
         MOEQ_ERROR_VALUE,
         {"NaN or Inf for expert 1"},
         [](Bench& b, moeq_error* err) {
             HostTensor amax(MOEQ_DTYPE_FP32, {2});
             amax.as<float>()[1] = kInf;
             b.spec.granularity = MOEQ_GRANULARITY_EXPERT;
             b.options.amax = amax;
             return quantize(b, err);
         },
         {1, -1, -1}},
        {"moeq_qtensor_quantize",
         4,
         "amax",
         MOEQ_ERROR_VALUE,
         {"negative value for expert 0"},
         [](Bench& b, moeq_error* err) {
             HostTensor amax(MOEQ_DTYPE_FP32, {2});
             amax.as<float>()[0] = -1.0f;
             b.spec.granularity = MOEQ_GRANULARITY_EXPERT;
             b.options.amax = amax;
             return quantize(b, err);
         },
         {0, -1, -1}},
    };
}

std::vector<WrongCall> wrong_requantize()
{
    return {
        {"moeq_qtensor_requantize",
         1,
         "qtensor",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_requantize(nullptr, b.source, nullptr, nullptr, err); }},
        {"moeq_qtensor_requantize",
         2,
         "source",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_requantize(b.int8, nullptr, nullptr, nullptr, err); }},
        {"moeq_qtensor_requantize",
         2,
         "source",
         MOEQ_ERROR_SHAPE,
         {"[4, 64]", "want [2, 4, 64]"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_requantize(b.int8, b.piece, nullptr, nullptr, err); }},
        {"moeq_qtensor_requantize",
         3,
         "options",
         MOEQ_ERROR_ARGUMENT,
         {"got storage", "the handle has its own"},
         [](Bench& b, moeq_error* err) {
             b.options.storage = b.components;
             b.options.storage_count = 2;
             return moeq_qtensor_requantize(b.int8, b.source, &b.options, nullptr, err);
         }},
        {"moeq_qtensor_requantize",
         4,
         "stream",
         MOEQ_ERROR_ARGUMENT,
         {"got a stream"},
         [](Bench& b, moeq_error* err) { return moeq_qtensor_requantize(b.int8, b.source, nullptr, b.stream, err); }},
        {"moeq_qtensor_requantize",
         1,
         "qtensor",
         MOEQ_ERROR_READ_ONLY,
         {"codes was adopted read-only"},
         [](Bench& b, moeq_error* err) {
             // Tensors of their own: the handle takes them over.
             HostTensor codes(MOEQ_DTYPE_INT8, b.shape);
             HostTensor scale(MOEQ_DTYPE_FP32, {2, 4});
             codes->flags = DLPACK_FLAG_BITMASK_READ_ONLY;
             const moeq_component components[] = {{MOEQ_COMPONENT_CODES, 0, codes}, {MOEQ_COMPONENT_SCALE, 0, scale}};
             moeq_qtensor* handle = nullptr;
             if (moeq_qtensor_adopt(b.context, &b.spec, 3, b.shape.data(), components, 2, nullptr, &handle, nullptr) !=
                 MOEQ_OK)
                 return MOEQ_OK;
             const moeq_status status = moeq_qtensor_requantize(handle, b.source, nullptr, nullptr, err);
             moeq_qtensor_release(handle);
             return status;
         }},
        {"moeq_qtensor_requantize",
         1,
         "qtensor",
         MOEQ_ERROR_UNSUPPORTED,
         {"slice with nested statistics"},
         [](Bench& b, moeq_error* err) {
             moeq_qtensor* slice = nullptr;
             if (moeq_qtensor_slice(b.nested, 0, 0, 2, &slice, nullptr) != MOEQ_OK)
                 return MOEQ_OK;
             const moeq_status status = moeq_qtensor_requantize(slice, b.source, nullptr, nullptr, err);
             moeq_qtensor_release(slice);
             return status;
         }},
    };
}

} // namespace

std::vector<WrongCall> wrong_quantize_calls()
{
    std::vector<WrongCall> all = {
        {"moeq_qtensor_quantize",
         1,
         "context",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_quantize(nullptr, b.source, &b.spec, nullptr, nullptr, b.qtensor_out(), err);
         }},
        {"moeq_qtensor_quantize",
         2,
         "source",
         MOEQ_ERROR_SHAPE,
         {"got 0 dimensions", "[experts, rows, columns]"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_quantize(b.context, b.number, &b.spec, nullptr, nullptr, b.qtensor_out(), err);
         }},
        {"moeq_qtensor_quantize",
         3,
         "spec",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_quantize(b.context, b.source, nullptr, nullptr, nullptr, b.qtensor_out(), err);
         }},
        {"moeq_qtensor_quantize",
         5,
         "stream",
         MOEQ_ERROR_ARGUMENT,
         {"got a stream", "want NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_quantize(b.context, b.source, &b.spec, nullptr, b.stream, b.qtensor_out(), err);
         }},
        {"moeq_qtensor_quantize",
         6,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_qtensor_quantize(b.context, b.source, &b.spec, nullptr, nullptr, nullptr, err);
         }},
    };
    for (auto part :
         {wrong_options, wrong_storage, wrong_into, wrong_adopt, wrong_places, wrong_values, wrong_requantize}) {
        const std::vector<WrongCall> more = part();
        all.insert(all.end(), more.begin(), more.end());
    }
    return all;
}

} // namespace moeq_test
