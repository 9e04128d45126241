// Wrong specs, and the helpers that take one.
#include "wrong_call.h"

namespace moeq_test {

namespace {

WrongCall resolve(moeq_status status, std::vector<std::string> says, const char* text, void (*spoil)(moeq_spec&))
{
    return {"moeq_spec_resolve", 1, "spec", status, std::move(says), [text, spoil](Bench& b, moeq_error* err) {
                b.spec = parse(text);
                spoil(b.spec);
                auto out = sized<moeq_spec>();
                return moeq_spec_resolve(&b.spec, 3, b.shape.data(), &out, err);
            }};
}

WrongCall shape(moeq_status status, std::vector<std::string> says, int32_t ndim, Shape extents,
                const char* text = "int8")
{
    return {"moeq_spec_resolve", 3, "shape", status, std::move(says), [=](Bench&, moeq_error* err) {
                const moeq_spec spec = parse(text);
                auto out = sized<moeq_spec>();
                return moeq_spec_resolve(&spec, ndim, extents.empty() ? nullptr : extents.data(), &out, err);
            }};
}

WrongCall text(const char* given, std::vector<std::string> says, moeq_status status = MOEQ_ERROR_ARGUMENT)
{
    return {"moeq_spec_parse", 1, "text", status, std::move(says), [given](Bench& b, moeq_error* err) {
                return moeq_spec_parse(given, &b.spec, err);
            }};
}

std::vector<WrongCall> wrong_fields()
{
    constexpr auto kArgument = MOEQ_ERROR_ARGUMENT;
    constexpr auto kUnsupported = MOEQ_ERROR_UNSUPPORTED;
    return {
        resolve(MOEQ_ERROR_VERSION, {"struct_size 51", "52"}, "int8", [](moeq_spec& s) { s.struct_size = 51; }),
        resolve(MOEQ_ERROR_VERSION, {"struct_size 2779096485", "52 to 4096"}, "int8",
                [](moeq_spec& s) { s.struct_size = 0xA5A5A5A5; }),
        resolve(kArgument, {"format 0", "MOEQ_FORMAT_"}, "int8", [](moeq_spec& s) { s.format = 0; }),
        resolve(kArgument, {"format 99", "MOEQ_FORMAT_"}, "int8", [](moeq_spec& s) { s.format = 99; }),
        resolve(kArgument, {"granularity 4", "int8", "MOEQ_GRANULARITY_"}, "int8",
                [](moeq_spec& s) { s.granularity = 4; }),
        resolve(kArgument, {"blocking -1", "MOEQ_BLOCKING_"}, "nf4", [](moeq_spec& s) { s.blocking = -1; }),
        resolve(kArgument, {"scale_axis 1", "-2 for the one before"}, "int8", [](moeq_spec& s) { s.scale_axis = 1; }),
        resolve(kArgument, {"scale_kind 3", "MOEQ_SCALE_"}, "int8", [](moeq_spec& s) { s.scale_kind = 3; }),
        resolve(kArgument, {"nested 2", "0 or 1"}, "nf4", [](moeq_spec& s) { s.nested = 2; }),
        resolve(kArgument, {"layout 4", "MOEQ_LAYOUT_"}, "int8", [](moeq_spec& s) { s.layout = 4; }),
        resolve(kArgument, {"nonfinite 2", "MOEQ_NONFINITE_"}, "int8", [](moeq_spec& s) { s.nonfinite = 2; }),
        resolve(kArgument, {"profile 3", "MOEQ_PROFILE_"}, "int8", [](moeq_spec& s) { s.profile = 3; }),
        resolve(MOEQ_ERROR_DTYPE, {"logical_dtype 67584", "fp32, fp16 or bf16"}, "int8",
                [](moeq_spec& s) { s.logical_dtype = MOEQ_DTYPE_INT8; }),
        resolve(kUnsupported, {"granularity 1", "nf4", "MOEQ_GRANULARITY_BLOCK"}, "nf4",
                [](moeq_spec& s) { s.granularity = MOEQ_GRANULARITY_ROW; }),
        resolve(kUnsupported, {"scale_kind 2", "fp4", "MOEQ_SCALE_ABSMAX"}, "fp4",
                [](moeq_spec& s) { s.scale_kind = MOEQ_SCALE_FACTOR; }),
        resolve(kUnsupported, {"block_rows 2", "one-dimensional"}, "nf4", [](moeq_spec& s) { s.block_rows = 2; }),
        resolve(kArgument, {"block_columns 48", "power of two"}, "nf4", [](moeq_spec& s) { s.block_columns = 48; }),
        resolve(kArgument, {"block_columns 16", "power of two"}, "nf4", [](moeq_spec& s) { s.block_columns = 16; }),
        resolve(kArgument, {"block_columns 8192", "power of two"}, "fp4", [](moeq_spec& s) { s.block_columns = 8192; }),
        resolve(kArgument, {"block_columns -64", "power of two"}, "nf4", [](moeq_spec& s) { s.block_columns = -64; }),
        resolve(kUnsupported, {"scale_axis -2", "storage order"}, "nf4",
                [](moeq_spec& s) {
                    s.blocking = MOEQ_BLOCKING_ROW;
                    s.scale_axis = -2;
                }),
        resolve(kUnsupported, {"nested 1", "int8", "only NF4 and FP4"}, "int8", [](moeq_spec& s) { s.nested = 1; }),
        resolve(kUnsupported, {"blocking 1", "fp8_e4m3", "only NF4, FP4 and MXFP8"}, "fp8_e4m3",
                [](moeq_spec& s) { s.blocking = 1; }),
        resolve(kArgument, {"block size 64", "granularity BLOCK"}, "fp8_e4m3",
                [](moeq_spec& s) { s.block_columns = 64; }),
        resolve(kArgument, {"block_rows -1", "1 or more"}, "fp8_e4m3:block", [](moeq_spec& s) { s.block_rows = -1; }),
        resolve(kArgument, {"block_columns -1", "1 or more"}, "fp8_e4m3:block",
                [](moeq_spec& s) { s.block_columns = -1; }),
        resolve(kUnsupported, {"profile 1", "fp8_e4m3", "bitsandbytes has no such format"}, "fp8_e4m3",
                [](moeq_spec& s) { s.profile = 1; }),
        resolve(kUnsupported, {"profile 2", "nf4", "only int8"}, "nf4", [](moeq_spec& s) { s.profile = 2; }),
        resolve(kArgument, {"scale_kind 2", "with a bitsandbytes profile"}, "int8",
                [](moeq_spec& s) {
                    s.profile = MOEQ_PROFILE_BNB_CPU;
                    s.scale_kind = MOEQ_SCALE_FACTOR;
                }),
    };
}

std::vector<WrongCall> wrong_shapes()
{
    return {
        shape(MOEQ_ERROR_SHAPE, {"got 1 dimensions", "2 to 8"}, 1, {4}),
        shape(MOEQ_ERROR_SHAPE, {"got 9 dimensions", "2 to 8"}, 9, Shape(9, 1)),
        shape(MOEQ_ERROR_SHAPE, {"got -3 dimensions", "2 to 8"}, -3, {4}),
        shape(MOEQ_ERROR_ARGUMENT, {"got NULL", "3 extents"}, 3, {}),
        shape(MOEQ_ERROR_SHAPE, {"extent -1 on axis 2", "0 or more"}, 3, {1, 2, -1}),
        shape(MOEQ_ERROR_SHAPE, {"[1073741824, 536870912, 1]", "2^59 elements"}, 3, {1 << 30, 1 << 29, 1}),
        // Empty, but its extents alone are too much.
        shape(MOEQ_ERROR_SHAPE, {"[4611686018427387904, 0, 4]", "2^59 elements"}, 3, {1LL << 62, 0, 4}),
        shape(MOEQ_ERROR_SHAPE, {"[4097, 0, 4]", "without an element", "4096 experts"}, 3, {4097, 0, 4}),
        shape(MOEQ_ERROR_SHAPE, {"[2, 8388609, 0]", "16777216 rows"}, 3, {2, (1 << 23) + 1, 0}),
        shape(MOEQ_ERROR_SHAPE, {"[2, 5, 64]", "gate/up", "even extent"}, 3, {2, 5, 64}, "int8:layout=gate_up"),
        shape(MOEQ_ERROR_SHAPE, {"[2, 4, 63]", "gate/up", "even extent"}, 3, {2, 4, 63}, "int8:axis=-2,layout=up_gate"),
    };
}

std::vector<WrongCall> wrong_texts()
{
    return {
        text("", {"got \"\"", "want a format first", "int8", "nf4"}),
        text("nf5", {"got \"nf5\"", "want a format first"}),
        text("NF4", {"got \"NF4\"", "want a format first"}),
        text("nf4:", {"got \"nf4:\"", "character 4"}),
        text("nf4:48", {"48", "power of two"}),
        text("nf4:0", {"got \"nf4:0\"", "character 4"}),
        text("nf4:64,", {"got \"nf4:64,\"", "character 7"}),
        text("nf4:64,row", {"got \"nf4:64,row\"", "character 7", "nf4 does not have"}),
        text("nf4:4294967360", {"got \"nf4:4294967360\"", "character 4"}),
        text("int8:64", {"got \"int8:64\"", "int8 does not have"}),
        text("int8:nested", {"nested 1", "only NF4 and FP4"}, MOEQ_ERROR_UNSUPPORTED),
        text("fp8_e4m3:block0x128", {"got \"fp8_e4m3:block0x128\"", "character 9"}),
        text("fp8_e4m3:block128x", {"got \"fp8_e4m3:block128x\"", "character 9"}),
        text("fp8_e4m3:axis=-3", {"got \"fp8_e4m3:axis=-3\"", "character 9"}),
        text("int8:\tnested", {"got \"int8:\\x09nested\""}),
    };
}

} // namespace

std::vector<WrongCall> wrong_spec_calls()
{
    std::vector<WrongCall> all = {
        {"moeq_spec_resolve",
         1,
         "spec",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_spec_resolve(nullptr, 3, b.shape.data(), &b.spec, err); }},
        {"moeq_spec_resolve",
         4,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_spec_resolve(&b.spec, 3, b.shape.data(), nullptr, err); }},
        {"moeq_spec_resolve",
         4,
         "out",
         MOEQ_ERROR_VERSION,
         {"struct_size 0", "52"},
         [](Bench& b, moeq_error* err) {
             moeq_spec out{};
             return moeq_spec_resolve(&b.spec, 3, b.shape.data(), &out, err);
         }},
        {"moeq_spec_get_component",
         1,
         "spec",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_spec_get_component(nullptr, 3, b.shape.data(), 1, &b.component_info, err);
         }},
        {"moeq_spec_get_component",
         3,
         "shape",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_spec_get_component(&b.spec, 3, nullptr, 1, &b.component_info, err);
         }},
        {"moeq_spec_get_component",
         4,
         "component",
         MOEQ_ERROR_NOT_FOUND,
         {"got 3 (nested_scale)", "int8 has"},
         [](Bench& b, moeq_error* err) {
             return moeq_spec_get_component(&b.spec, 3, b.shape.data(), MOEQ_COMPONENT_NESTED_SCALE, &b.component_info,
                                            err);
         }},
        {"moeq_spec_get_component",
         4,
         "component",
         MOEQ_ERROR_NOT_FOUND,
         {"got -7"},
         [](Bench& b, moeq_error* err) {
             return moeq_spec_get_component(&b.spec, 3, b.shape.data(), -7, &b.component_info, err);
         }},
        {"moeq_spec_get_component",
         5,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_spec_get_component(&b.spec, 3, b.shape.data(), 1, nullptr, err);
         }},
        {"moeq_spec_get_component",
         5,
         "out",
         MOEQ_ERROR_VERSION,
         {"struct_size 8", "88"},
         [](Bench& b, moeq_error* err) {
             b.component_info.struct_size = 8;
             return moeq_spec_get_component(&b.spec, 3, b.shape.data(), 1, &b.component_info, err);
         }},
        {"moeq_spec_get_bytes",
         1,
         "spec",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_spec_get_bytes(nullptr, 3, b.shape.data(), b.numbers, b.numbers, err);
         }},
        {"moeq_spec_get_bytes",
         3,
         "shape",
         MOEQ_ERROR_SHAPE,
         {"got 0 dimensions"},
         [](Bench& b, moeq_error* err) { return moeq_spec_get_bytes(&b.spec, 0, nullptr, b.numbers, b.numbers, err); }},
        {"moeq_spec_parse",
         1,
         "text",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_spec_parse(nullptr, &b.spec, err); }},
        {"moeq_spec_parse",
         2,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench&, moeq_error* err) { return moeq_spec_parse("nf4", nullptr, err); }},
        {"moeq_spec_parse",
         2,
         "out",
         MOEQ_ERROR_VERSION,
         {"struct_size 51"},
         [](Bench& b, moeq_error* err) {
             b.spec.struct_size = 51;
             return moeq_spec_parse("nf4", &b.spec, err);
         }},
        {"moeq_spec_print",
         1,
         "spec",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_spec_print(nullptr, b.text, err); }},
        {"moeq_spec_print",
         1,
         "spec",
         MOEQ_ERROR_ARGUMENT,
         {"format -1", "MOEQ_FORMAT_"},
         [](Bench& b, moeq_error* err) {
             b.spec.format = -1;
             return moeq_spec_print(&b.spec, b.text, err);
         }},
        {"moeq_spec_print",
         2,
         "out_text",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) { return moeq_spec_print(&b.spec, nullptr, err); }},
    };
    for (auto part : {wrong_fields, wrong_shapes, wrong_texts}) {
        const std::vector<WrongCall> more = part();
        all.insert(all.end(), more.begin(), more.end());
    }
    return all;
}

} // namespace moeq_test
