// Headers whose names, or whose groups, are made to be looked at again and again: time is that of their bytes.
#include "codec/nf4.h"
#include "store_dialect_files.h"
#include "text/glob.h"

namespace moeq_test {
namespace {

using dialect_test::Files;
using dialect_test::Recognised;

constexpr int64_t kLongest = 4090;

// "a.a.a. ... .7", as long as a name may be.
std::string dotted(int64_t number)
{
    const std::string tail = std::to_string(number);
    std::string name;
    while (static_cast<int64_t>(name.size() + tail.size()) < kLongest)
        name += "a.";
    return name + tail;
}

std::string float_bytes(const std::vector<float>& values)
{
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// One good 4-bit weight, so that it is that dialect.
void add_weight(Files* files, const std::string& name)
{
    std::vector<float> map;
    for (uint8_t i = 0; i < 16; ++i)
        map.push_back(moeq::codec::nf4_value(i));
    files->add(name, "U8", {32, 1}).add(name + ".absmax", "F32", {1});
    files->add(name + ".quant_map", "F32", {16}, float_bytes(map));
    files->add_text(name + ".quant_state.bitsandbytes__nf4",
                    R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float16", "shape": [1, 64]})");
}

// Seconds that recognition takes of files that are all right.
double seconds_to_recognise(const Files& files)
{
    const std::string path = files.write();
    moeq::Allocator allocator(nullptr, nullptr, nullptr);
    moeq::store::Checkpoint checkpoint(allocator);
    moeq::store::Weights weights(allocator);
    Outcome outcome;
    EXPECT_EQ(checkpoint.open(path.c_str(), 0, false, outcome.report), MOEQ_OK) << outcome.message();
    const double begin = cpu_seconds();
    EXPECT_EQ(moeq::store::recognise_weights(checkpoint, nullptr, 3, &weights, outcome.report), MOEQ_OK)
        << outcome.message();
    return cpu_seconds() - begin;
}

TEST(HostileNames, ThousandsOfDotsInEachOfManyNames)
{
    for (const char* config : {"bitsandbytes", "compressed-tensors", "fp8", "moeq"}) {
        Files files;
        files.set_config(std::string(R"({"quantization_config": {"quant_method": ")") + config + "\"}}");
        for (int64_t i = 0; i < 10'000; ++i)
            files.add(dotted(i), "F32", {1, 1});
        add_weight(&files, "w");
        EXPECT_LT(seconds_to_recognise(files), 0.5 * kSlower) << config;
    }
}

TEST(HostileNames, ManyWeightsBelowEachOther)
{
    Files files;
    std::string name = "w";
    for (int64_t i = 0; i < 1000; ++i) {
        add_weight(&files, name);
        name += ".w";
    }
    for (int64_t i = 0; i < 10'000; ++i)
        files.add("x" + dotted(i), "F32", {1});
    EXPECT_LT(seconds_to_recognise(files), 0.5 * kSlower);
}

TEST(HostileNames, ManyLayersThatHaveACountOfTheirOwn)
{
    constexpr int64_t kLayers = 30'000;
    Files files;
    std::string layers;
    for (int64_t i = kLayers; i-- > 0;) {
        const std::string number = std::to_string(i);
        layers += (layers.empty() ? "\"" : ", \"") + number + R"(": {"num_experts": 1})";
        files.add("vision_tower.layers." + number + ".experts.0.w2.weight", "BF16", {1, 1});
    }
    files.set_config(R"({"num_experts": 2, "vision_config": {"per_layer_config": {)" + layers + "}}}");
    EXPECT_LT(seconds_to_recognise(files), 0.5 * kSlower);
}

TEST(HostileNames, ManyGroupsThatDoNotFit)
{
    Files files;
    std::string config = R"({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {)";
    const auto group = [&](const std::string& strategy) {
        config += (config.back() == '{' ? "\"" : ", \"") + std::to_string(config.size()) +
                  R"(": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": )" + strategy +
                  "}}";
    };
    for (int i = 0; i < 10'000; ++i)
        group(R"("block", "block_structure": [)" + std::to_string(1 + i % 15) + ", 1]");
    group("\"tensor\"");
    files.set_config(config + "}}}");
    for (int64_t i = 0; i < 50'000; ++i) {
        const std::string name = "m." + std::to_string(i) + ".weight";
        files.add(name, "F8_E4M3", {16, 2}).add(name + "_scale", "F32", {1});
    }
    EXPECT_LT(seconds_to_recognise(files), 1.5 * kSlower);
}

// Rules are the caller's, names are not.
TEST(HostileNames, GlobsWithManyStars)
{
    const std::string layers = [] {
        std::string text;
        while (text.size() < 4000)
            text += "layers";
        return text;
    }();
    const std::string dots = dotted(1);
    const double begin = cpu_seconds();
    for (int i = 0; i < 200; ++i)
        for (const char* glob : {"**layers*gate", "**layers*l*gate", "**l*a*y*e*r*s*x", "**layers**layers*x",
                                 "**a.*.*.x", "**a**a**a**x", "**.*.*.*.weight", "***a*b",
                                 // the same from behind
                                 "gate*layers**", "gate*s*layers**", "x*l*a*y*e*r*s**", "x*layers**layers**",
                                 "x.*.*.a**", "x**a**a**a**", "weight.*.*.*.**", "b*a***"}) {
            EXPECT_FALSE(moeq::text::glob_matches(glob, layers.c_str())) << glob;
            EXPECT_FALSE(moeq::text::glob_matches(glob, dots.c_str())) << glob;
        }
    EXPECT_LT(cpu_seconds() - begin, 0.5 * kSlower);
}

} // namespace
} // namespace moeq_test
