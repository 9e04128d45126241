// The stored bytes of every format and option, as the first release made them. A file that was written once must be read by
// every later version, so a difference here is a break of the format, not a number to be updated.
//
//     MOEQ_UPDATE_GOLDEN=1 moeq_golden_tests     writes tests/golden/golden.txt anew: for new formats and options only
#include "support/api.h"

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

namespace moeq_test {
namespace {

const char* const kFile = MOEQ_SOURCE_DIR "/tests/golden/golden.txt";

const char* const kHead =
    "# Codes and scales of small weights, by spec, element type and shape, as hexadecimal bytes in memory order "
    "(little-endian).\n"
    "# nested_map and decoded (as bf16, row-major) are FNV-1a hashes of 64 bits. Written by\n"
    "#     MOEQ_UPDATE_GOLDEN=1 moeq_golden_tests\n";

struct Entry {
    std::string spec;
    int32_t dtype;
    Shape shape;
    bool given_amax = false;

    std::string key() const
    {
        std::ostringstream text;
        text << spec << (given_amax ? " amax" : "")
             << (dtype == MOEQ_DTYPE_FP32   ? " fp32"
                 : dtype == MOEQ_DTYPE_FP16 ? " fp16"
                                            : " bf16");
        for (const int64_t extent : shape)
            text << " " << extent;
        return text.str();
    }
};

std::vector<Entry> entries()
{
    const int32_t fp32 = MOEQ_DTYPE_FP32, fp16 = MOEQ_DTYPE_FP16, bf16 = MOEQ_DTYPE_BF16;
    std::vector<Entry> list;
    for (const char* spec : {"int8",
                             "int8:scale=factor",
                             "int8:axis=-2",
                             "int8:expert",
                             "int8:block4x32",
                             "int8:profile=bnb_cpu",
                             "int8:profile=bnb_cpu_fp16,nonfinite=saturate",
                             "fp8_e4m3",
                             "fp8_e4m3:scale=absmax",
                             "fp8_e4m3:axis=-2",
                             "fp8_e4m3:expert",
                             "fp8_e4m3:block128x128",
                             "fp8_e5m2",
                             "fp8_e5m2:scale=absmax",
                             "fp8_e5m2:block4x32",
                             "mxfp8",
                             "nf4:32",
                             "nf4",
                             "nf4:256",
                             "nf4:32,nested",
                             "nf4:blocking=row",
                             "nf4:blocking=flat",
                             "nf4:32,nested,blocking=row",
                             "nf4:profile=bnb_cpu,blocking=flat",
                             "nf4:32,nested,profile=bnb_cpu",
                             "fp4:32",
                             "fp4",
                             "fp4:nested,blocking=flat",
                             "fp4:blocking=row",
                             "fp4:profile=bnb_cpu"}) {
        list.push_back({spec, fp32, {2, 6, 80}});
        list.push_back({spec, bf16, {1, 5, 7}});
        list.push_back({spec, fp16, {3, 3, 64}});
    }
    for (const char* spec :
         {"int8:block4x32,layout=gate_up", "fp8_e4m3:block2x64,layout=up_gate",
          "fp8_e4m3:block4x32,axis=-2,layout=gate_up", "int8:layout=gate_up_interleaved", "nf4:layout=gate_up"})
        list.push_back({spec, bf16, {2, 6, 80}});
    for (const char* spec : {"int8:expert", "fp8_e4m3:expert", "fp8_e5m2:expert,scale=absmax"})
        list.push_back({spec, bf16, {2, 6, 80}, true});
    list.push_back({"int8", bf16, {5, 7}});
    list.push_back({"nf4:32", bf16, {2, 1, 3, 33}});
    return list;
}

// Rows of every kind: common values, zeros of both signs, subnormals, huge ones, multiples of a quarter (ties), and values of
// many octaves. Integers only, so that every machine makes the same.
void fill(HostTensor& tensor)
{
    const DLDataType type = tensor.plain().dtype;
    const int mantissa = type.bits == 32 ? 23 : type.code == kDLBfloat ? 7 : 10;
    const int exponent_bits = type.bits - 1 - mantissa;
    const uint32_t bias = (1u << (exponent_bits - 1)) - 1;
    const uint32_t mantissa_mask = (1u << mantissa) - 1;
    const int64_t columns = tensor.shape().back();
    uint32_t state = 2463534242u;
    for (int64_t i = 0; i < count_of(tensor.shape()); ++i) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        const uint32_t sign = state >> 31 << (type.bits - 1);
        const uint32_t fraction = state >> 3 & mantissa_mask;
        uint32_t bits = 0;
        switch (i / columns % 6) {
        case 0:
            bits = (bias - state % 6) << mantissa | fraction;
            break;
        case 1:
            break;
        case 2:
            bits = fraction >> (state % 7);
            break;
        case 3:
            bits = (2 * bias - state % 9) << mantissa | fraction;
            break;
        case 4: // a quarter of 1..255: exact in every type
            if (const uint32_t quarters = state >> 8 & 255; quarters != 0) {
                uint32_t top = 7;
                while ((quarters >> top) == 0)
                    --top;
                const uint32_t rest = quarters - (1u << top);
                bits = (bias + top - 2) << mantissa |
                       (static_cast<int>(top) <= mantissa ? rest << (mantissa - static_cast<int>(top)) : 0);
            }
            break;
        default:
            bits = (bias - 1 - state % 12) << mantissa | fraction;
        }
        bits |= sign;
        std::memcpy(tensor.memory().data() + i * (type.bits / 8), &bits, type.bits / 8u);
    }
}

std::string hexadecimal(const Bytes& bytes)
{
    const char* digits = "0123456789abcdef";
    std::string text;
    for (const uint8_t byte : bytes) {
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

std::string hash(const Bytes& bytes)
{
    uint64_t value = 14695981039346656037u;
    for (const uint8_t byte : bytes)
        value = (value ^ byte) * 1099511628211u;
    Bytes digest;
    for (int shift = 56; shift >= 0; shift -= 8)
        digest.push_back(static_cast<uint8_t>(value >> shift));
    return hexadecimal(digest);
}

// The lines of an entry: "codes 00ff..", one per component.
std::map<std::string, std::string> make(const Entry& entry, int32_t tier)
{
    const Context context = make_context(1, tier);
    HostTensor source(entry.dtype, entry.shape);
    fill(source);
    auto options = sized<moeq_quantize_options>();
    HostTensor amax(MOEQ_DTYPE_FP32, {entry.shape[0]});
    for (int64_t e = 0; e < entry.shape[0]; ++e)
        amax.as<float>()[e] = static_cast<float>(3 + 40 * e);
    if (entry.given_amax)
        options.amax = amax;
    const QTensor q = quantize(context, source, parse(entry.spec.c_str()), &options);
    std::map<std::string, std::string> lines;
    const char* const names[] = {"", "codes", "scale", "nested_scale", "nested_map", "nested_offset"};
    for (int32_t id = MOEQ_COMPONENT_CODES; id <= MOEQ_COMPONENT_NESTED_OFFSET; ++id) {
        DLManagedTensorVersioned* tensor = nullptr;
        if (moeq_qtensor_export(q.get(), id, &tensor, nullptr) != MOEQ_OK)
            continue;
        const Tensor owner(tensor);
        const Bytes bytes = packed_bytes(tensor);
        lines[names[id]] = id == MOEQ_COMPONENT_NESTED_MAP ? hash(bytes) : hexadecimal(bytes);
    }
    HostTensor decoded(MOEQ_DTYPE_BF16, entry.shape);
    MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, decoded, &ok));
    lines["decoded"] = hash(decoded.memory());
    return lines;
}

using Golden = std::map<std::string, std::map<std::string, std::string>>;

Golden read_file()
{
    Golden golden;
    std::ifstream file(kFile);
    std::string line, key;
    while (std::getline(file, line)) {
        const size_t space = line.find(' ', 2);
        if (line.empty() || line[0] == '#')
            continue;
        if (line[0] != ' ')
            key = line;
        else
            golden[key][line.substr(2, space - 2)] = line.substr(space + 1);
    }
    return golden;
}

void write_file()
{
    std::ofstream file(kFile);
    file << kHead;
    for (const Entry& entry : entries()) {
        file << "\n" << entry.key() << "\n";
        for (const auto& [name, bytes] : make(entry, MOEQ_CPU_TIER_SCALAR))
            file << "  " << name << " " << bytes << "\n";
    }
    ASSERT_TRUE(file.good()) << kFile;
}

void compare(const std::string& key, const std::map<std::string, std::string>& wanted,
             const std::map<std::string, std::string>& got)
{
    for (const auto& [name, bytes] : wanted)
        EXPECT_EQ(got.count(name), 1u) << key << ": " << name << " is gone";
    for (const auto& [name, bytes] : got) {
        const auto golden = wanted.find(name);
        ASSERT_NE(golden, wanted.end()) << key << ": " << name << " is not in the file";
        if (golden->second == bytes)
            continue;
        size_t at = 0;
        while (at < bytes.size() && at < golden->second.size() && bytes[at] == golden->second[at])
            ++at;
        at -= at % 2;
        ADD_FAILURE() << key << ": " << name << " differs, first in byte " << at / 2 << ": got " << bytes.substr(at, 16)
                      << " of " << bytes.size() / 2 << " bytes; want " << golden->second.substr(at, 16) << " of "
                      << golden->second.size() / 2;
    }
}

TEST(Golden, bytes_are_those_of_the_first_release)
{
    if (std::getenv("MOEQ_UPDATE_GOLDEN") != nullptr)
        write_file();
    Golden golden = read_file();
    for (const Entry& entry : entries()) {
        const auto wanted = golden.find(entry.key());
        ASSERT_NE(wanted, golden.end()) << entry.key() << ": not in " << kFile << "; is it new?";
        compare(entry.key(), wanted->second, make(entry, MOEQ_CPU_TIER_SCALAR));
        compare(entry.key() + " (best tier)", wanted->second, make(entry, MOEQ_CPU_TIER_BEST));
        golden.erase(wanted);
    }
    for (const auto& [key, lines] : golden)
        ADD_FAILURE() << key << ": in the file and not tested any more";
}

// What was written then is still read: the codes and scales of the file, adopted, decode to the hash of the file.
TEST(Golden, stored_bytes_decode_as_ever)
{
    const Golden golden = read_file();
    const Context context = make_context();
    for (const Entry& entry : entries()) {
        const auto found = golden.find(entry.key());
        ASSERT_NE(found, golden.end()) << entry.key();
        const moeq_spec spec = parse(entry.spec.c_str());
        if (spec.nested != 0)
            continue; // the file holds only a hash of the map
        std::vector<std::unique_ptr<HostTensor>> tensors;
        std::vector<moeq_component> components;
        for (const int32_t id : {MOEQ_COMPONENT_CODES, MOEQ_COMPONENT_SCALE}) {
            auto layout = sized<moeq_component_info>();
            MOEQ_EXPECT_OK(moeq_spec_get_component(&spec, static_cast<int32_t>(entry.shape.size()), entry.shape.data(),
                                                   id, &layout, &ok));
            tensors.push_back(
                std::make_unique<HostTensor>(layout.dtype, Shape(layout.shape, layout.shape + layout.ndim)));
            const std::string& text = found->second.at(id == MOEQ_COMPONENT_CODES ? "codes" : "scale");
            ASSERT_EQ(text.size(), 2 * tensors.back()->memory().size()) << entry.key();
            for (size_t i = 0; i < text.size(); i += 2)
                tensors.back()->memory()[i / 2] = static_cast<uint8_t>(std::stoi(text.substr(i, 2), nullptr, 16));
            components.push_back({id, 0, *tensors.back()});
        }
        moeq_qtensor* out = nullptr;
        MOEQ_EXPECT_OK(moeq_qtensor_adopt(context.get(), &spec, static_cast<int32_t>(entry.shape.size()),
                                          entry.shape.data(), components.data(), 2, nullptr, &out, &ok));
        const QTensor q(out);
        HostTensor decoded(MOEQ_DTYPE_BF16, entry.shape);
        MOEQ_EXPECT_OK(moeq_qtensor_dequantize(q.get(), nullptr, nullptr, decoded, &ok));
        EXPECT_EQ(hash(decoded.memory()), found->second.at("decoded")) << entry.key();
    }
}

} // namespace
} // namespace moeq_test
