#include "support/calls.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <regex>

#include "support/calls_base.h"

namespace moeq_test {

namespace {

std::vector<CallKind> list_calls()
{
    std::vector<CallKind> calls;
    for (auto part : {add_context_calls, add_spec_calls, add_qtensor_calls, add_builder_calls, add_reduce_calls,
                      add_reader_calls, add_writer_calls, add_convert_calls})
        part(calls);
    // Room for the statistics is optional: without it the source is read twice.
    for (CallKind& call : calls)
        call.absorbs = call.function == "moeq_qtensor_quantize" && call.spec == "nf4:nested";
    return calls;
}

} // namespace

const std::vector<CallKind>& all_calls()
{
    static const std::vector<CallKind> calls = list_calls();
    return calls;
}

std::string test_name(const testing::TestParamInfo<CallKind>& info)
{
    std::string name = info.param.name;
    std::replace_if(
        name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
    return name;
}

std::vector<std::string> fallible_functions()
{
    std::ifstream header(MOEQ_SOURCE_DIR "/include/moeq.h");
    const std::string text((std::istreambuf_iterator<char>(header)), std::istreambuf_iterator<char>());
    const std::regex declaration("MOEQ_API\\s+moeq_status\\s+(moeq_\\w+)\\s*\\(");
    std::vector<std::string> names;
    for (std::sregex_iterator it(text.begin(), text.end(), declaration), end; it != end; ++it)
        names.push_back((*it)[1]);
    std::sort(names.begin(), names.end());
    return names;
}

moeq_spec parse(const char* text)
{
    auto spec = sized<moeq_spec>();
    EXPECT_DONE(moeq_spec_parse(text, &spec, &err));
    return spec;
}

Bytes everything(const moeq_qtensor* qtensor)
{
    Bytes bytes;
    auto spec = sized<moeq_spec>();
    EXPECT_DONE(moeq_qtensor_get_spec(qtensor, &spec, &err));
    append_value(bytes, spec);
    auto info = sized<moeq_qtensor_info>();
    EXPECT_DONE(moeq_qtensor_get_info(qtensor, &info, &err));
    append_value(bytes, info.shape);
    append_value(bytes, info.bytes);
    for (const int32_t component : kComponents) {
        TensorOut out;
        const moeq_status status = moeq_qtensor_export(qtensor, component, out.ready(), nullptr);
        append_value(bytes, status);
        if (status == MOEQ_OK)
            append(bytes, contents(out.get()));
    }
    HostTensor values(MOEQ_DTYPE_FP32, {info.folded[0], info.folded[1], info.folded[2]});
    EXPECT_DONE(moeq_qtensor_dequantize(qtensor, nullptr, nullptr, values, &err));
    append(bytes, values.memory());
    return bytes;
}

} // namespace moeq_test
