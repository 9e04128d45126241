// Wrong calls about conversions. The source is the small model of the tests; nothing is ever written.
#include "wrong_call.h"

namespace moeq_test {

namespace {

const char* const kSource = MOEQ_SOURCE_DIR "/tests/data/tiny-moe";
const char* const kTarget = MOEQ_SOURCE_DIR "/tests/data/never-written";

// What a call is given, valid; a wrong one changes one thing of it.
struct Given {
    const char* source = kSource;
    const char* target = kTarget;
    moeq_convert_options options = sized<moeq_convert_options>();
    moeq_spec spec = parse("nf4");
};

WrongCall convert(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says,
                  void (*spoil)(Given&))
{
    return {"moeq_convert", argument, name, status, std::move(says), [spoil](Bench& b, moeq_error* err) {
                Given given;
                given.options.spec = &given.spec;
                spoil(given);
                return moeq_convert(b.context, given.source, given.target, &given.options, err);
            }};
}

WrongCall plan(int32_t argument, const char* name, moeq_status status, std::vector<std::string> says,
               void (*spoil)(Given&))
{
    return {"moeq_convert_plan", argument, name, status, std::move(says), [spoil](Bench& b, moeq_error* err) {
                Given given;
                given.options.spec = &given.spec;
                spoil(given);
                return moeq_convert_plan(b.context, given.source, given.target, &given.options, b.blob_out(), err);
            }};
}

} // namespace

std::vector<WrongCall> wrong_convert_calls()
{
    return {
        {"moeq_convert",
         1,
         "context",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench&, moeq_error* err) { return moeq_convert(nullptr, kSource, kTarget, nullptr, err); }},
        convert(2, "source", MOEQ_ERROR_ARGUMENT, {"got NULL"}, [](Given& g) { g.source = nullptr; }),
        convert(3, "target", MOEQ_ERROR_ARGUMENT, {"got NULL"}, [](Given& g) { g.target = nullptr; }),
        convert(3, "target", MOEQ_ERROR_ARGUMENT, {"got \"\"", "name of a new directory"},
                [](Given& g) { g.target = ""; }),
        convert(3, "target", MOEQ_ERROR_ARGUMENT, {"got \"/\"", "name of a new directory"},
                [](Given& g) { g.target = "/"; }),
        convert(3, "target", MOEQ_ERROR_ARGUMENT, {"/..\"", "name of a new directory"},
                [](Given& g) { g.target = "somewhere/.."; }),
        convert(3, "target", MOEQ_ERROR_DUPLICATE, {"which is there", "choose another"},
                [](Given& g) { g.target = kSource; }),
        convert(4, "options", MOEQ_ERROR_VERSION, {"struct_size 8"}, [](Given& g) { g.options.struct_size = 8; }),
        convert(4, "options", MOEQ_ERROR_ARGUMENT, {"dialect 77"}, [](Given& g) { g.options.dialect = 77; }),
        convert(4, "options", MOEQ_ERROR_ARGUMENT, {"dialect -1"},
                [](Given& g) { g.options.dialect = MOEQ_DIALECT_NONE; }),
        convert(4, "options", MOEQ_ERROR_ARGUMENT, {"steps 4"}, [](Given& g) { g.options.steps = 4; }),
        convert(4, "options", MOEQ_ERROR_ARGUMENT, {"flags 1024"}, [](Given& g) { g.options.flags = 1024; }),
        convert(4, "options", MOEQ_ERROR_ARGUMENT, {"unit_begin -1"}, [](Given& g) { g.options.unit_begin = -1; }),
        convert(4, "options", MOEQ_ERROR_ARGUMENT, {"unit_end 2"},
                [](Given& g) {
                    g.options.unit_begin = 3;
                    g.options.unit_end = 2;
                }),
        convert(4, "options", MOEQ_ERROR_RANGE, {"units [3, 10)", "inside [0, 9)"},
                [](Given& g) {
                    g.options.unit_begin = 3;
                    g.options.unit_end = 10;
                }),
        convert(4, "options.spec", MOEQ_ERROR_ARGUMENT, {"format 99"}, [](Given& g) { g.spec.format = 99; }),
        convert(4, "options.spec", MOEQ_ERROR_VERSION, {"struct_size 3"}, [](Given& g) { g.spec.struct_size = 3; }),
        convert(4, "options", MOEQ_ERROR_ARGUMENT, {"layout 1", "come from the checkpoint"},
                [](Given& g) { g.spec.layout = MOEQ_LAYOUT_GATE_UP; }),
        convert(4, "options", MOEQ_ERROR_ARGUMENT, {"got spec and dense_dtype; want one"},
                [](Given& g) { g.options.dense_dtype = MOEQ_DTYPE_BF16; }),
        convert(4, "options", MOEQ_ERROR_ARGUMENT, {"got dense_dtype 67588", "MOEQ_DTYPE_BF16"},
                [](Given& g) { g.options.dense_dtype = 67588; }),
        convert(4, "options", MOEQ_ERROR_ARGUMENT, {"reserved 1"}, [](Given& g) { g.options.reserved = 1; }),
        convert(4, "options.rules", MOEQ_ERROR_ARGUMENT, {"got JSON", "byte 2"},
                [](Given& g) { g.options.rules = "[ "; }),
        convert(4, "options.rules", MOEQ_ERROR_ARGUMENT, {"got an object"}, [](Given& g) { g.options.rules = "{}"; }),
        convert(4, "options.rules", MOEQ_ERROR_ARGUMENT, {"rule 1", "a glob"},
                [](Given& g) { g.options.rules = R"([{"match": "a", "spec": null}, {"match": "b"}])"; }),
        convert(4, "options.rules", MOEQ_ERROR_ARGUMENT, {"rule 0", "nf5"},
                [](Given& g) { g.options.rules = R"([{"match": "a", "spec": "nf5"}])"; }),
        {"moeq_convert_plan",
         1,
         "context",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_convert_plan(nullptr, kSource, kTarget, nullptr, b.blob_out(), err);
         }},
        {"moeq_convert_plan",
         5,
         "out",
         MOEQ_ERROR_ARGUMENT,
         {"got NULL"},
         [](Bench& b, moeq_error* err) {
             return moeq_convert_plan(b.context, kSource, kTarget, nullptr, nullptr, err);
         }},
        plan(2, "source", MOEQ_ERROR_ARGUMENT, {"got NULL"}, [](Given& g) { g.source = nullptr; }),
        plan(3, "target", MOEQ_ERROR_ARGUMENT, {"got NULL"}, [](Given& g) { g.target = nullptr; }),
        plan(4, "options", MOEQ_ERROR_ARGUMENT, {"dialect 4"}, [](Given& g) { g.options.dialect = 4; }),
    };
}

} // namespace moeq_test
