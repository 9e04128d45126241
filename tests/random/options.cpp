#include "random/options.h"

namespace moeq_random {

namespace {

constexpr const char* kAny[] = {"int8",
                                "int8:expert",
                                "int8:block128x128",
                                "int8:block16x32",
                                "int8:scale=factor",
                                "int8:block3x5",
                                "nf4",
                                "nf4:32",
                                "nf4:128",
                                "nf4:64,nested",
                                "nf4:blocking=row",
                                "nf4:blocking=flat",
                                "nf4:32,nested,blocking=row",
                                "nf4:4096",
                                "fp4",
                                "fp4:64",
                                "fp4:256,nested",
                                "fp4:blocking=flat",
                                "fp8_e4m3",
                                "fp8_e4m3:expert",
                                "fp8_e4m3:block128x128",
                                "fp8_e4m3:block32x16",
                                "fp8_e4m3:block1x1",
                                "fp8_e4m3:block3x5",
                                "fp8_e5m2",
                                "fp8_e5m2:expert",
                                "fp8_e5m2:block64x64",
                                "mxfp8",
                                "fp8_e4m3:scale=absmax",
                                "int8:nonfinite=saturate",
                                "fp8_e4m3:nonfinite=saturate"};
// What each dialect is likely to hold.
constexpr const char* kBitsandbytes[] = {"nf4",  "nf4:64,nested",     "fp4:64",        "nf4:128", "fp4",
                                         "int8", "nf4:blocking=flat", "fp4:32,nested", "int8",    "nf4:4096"};
constexpr const char* kCompressedTensors[] = {"fp8_e4m3",         "fp8_e4m3:expert",       "int8",
                                              "int8:expert",      "fp8_e4m3:block128x128", "fp8_e4m3:block16x16",
                                              "int8:scale=factor"};
constexpr const char* kHfFp8[] = {
    "fp8_e4m3",           "fp8_e4m3:block128x128", "fp8_e4m3:expert", "fp8_e4m3:block64x64", "fp8_e4m3:block16x32",
    "fp8_e4m3:block32x32"};
constexpr int32_t kDialects[] = {MOEQ_DIALECT_NATIVE, MOEQ_DIALECT_BITSANDBYTES, MOEQ_DIALECT_COMPRESSED_TENSORS,
                                 MOEQ_DIALECT_HF_FP8};

// A glob that reaches a name, and perhaps others.
std::string make_glob(Dice& dice, const std::string& name)
{
    static constexpr const char* kWide[] = {
        "**",           "**.weight",       "**.q_proj.weight", "**.experts.*",   "model.layers.0.**",
        "**.down_proj", "**.gate_up_proj", "**norm**",         "**.gate.weight", "odd.**"};
    if (dice.chance(40))
        return dice.of(kWide);
    const size_t dot = name.rfind('.');
    if (dice.chance(50) && dot != std::string::npos)
        return dice.chance(50) ? "**" + name.substr(dot) : name.substr(0, dot) + ".*";
    return name;
}

} // namespace

const char* dialect_word(int32_t dialect)
{
    static constexpr const char* kWords[] = {"native", "bitsandbytes", "compressed-tensors", "hf-fp8"};
    for (size_t i = 0; i < 4; ++i)
        if (kDialects[i] == dialect)
            return kWords[i];
    return "another";
}

std::string make_spec(Dice& dice, int32_t dialect)
{
    if (dialect == MOEQ_DIALECT_NATIVE || dice.chance(8))
        return dice.of(kAny);
    return dialect == MOEQ_DIALECT_BITSANDBYTES         ? dice.of(kBitsandbytes)
           : dialect == MOEQ_DIALECT_COMPRESSED_TENSORS ? dice.of(kCompressedTensors)
                                                        : dice.of(kHfFp8);
}

Options make_options(Dice& dice, const std::vector<std::string>& names, const std::string& patterns)
{
    Options out;
    out.dialect = dice.of(kDialects);
    out.flags = MOEQ_WRITER_NOT_DURABLE;
    out.patterns = patterns;
    out.flags |= dice.chance(30) ? MOEQ_CONVERT_KEEP_FOREIGN : 0;
    out.flags |= dice.chance(15) ? MOEQ_CONVERT_WEIGHTS_ONLY : 0;
    out.flags |= dice.chance(15) ? MOEQ_CONVERT_ALL_FILES : 0;
    if (dice.chance(10))
        out.dense = dice.of({MOEQ_DTYPE_FP32, MOEQ_DTYPE_FP16, MOEQ_DTYPE_BF16});
    else if (dice.chance(92))
        out.spec = make_spec(dice, out.dialect);
    if (dice.chance(70) || names.empty())
        return out;
    const int64_t count = dice.between(1, 3);
    for (int64_t i = 0; i < count; ++i) {
        const std::string glob = make_glob(dice, dice.of(names));
        out.rules += (i == 0 ? "[{\"match\": \"" : ", {\"match\": \"") + glob + "\", \"spec\": ";
        // Often the same as the rest, as most dialects can tell of one kind only.
        const std::string spec = dice.chance(50) && !out.spec.empty() ? out.spec : make_spec(dice, out.dialect);
        static constexpr const char* kDense[] = {"null}", "null}", "\"bf16\"}", "\"fp32\"}"};
        out.rules += dice.chance(30) ? dice.of(kDense) : "\"" + spec + "\"}";
    }
    out.rules += "]";
    return out;
}

} // namespace moeq_random
