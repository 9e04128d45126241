#include "store/dialects/foreign.h"

#include "store/dialects/parts.h"

namespace moeq::store {

namespace {

// What lies beside codes, after the name of the codes, and after that name less its last segment.
constexpr const char* kCompanions[] = {"_scale", "_scale_inv",    "_scales", "_scale_2",
                                       ".scale", "_global_scale", ".absmax", "_zero_point"};
constexpr const char* kSiblings[] = {"scale", "biases", "scales", "SCB", "qscale_weight", "weight_scale", "scale_inv"};

// Names that only codes have.
constexpr const char* kPackedNames[] = {".qweight", ".weight_packed", "_packed", ".W_q", "_blocks", ".codes"};

// Never values of a model: what moeq has not understood of them is codes, or scales that are powers of two.
bool is_code_type(int32_t dtype)
{
    switch (dtype) {
    case MOEQ_DTYPE_FP8_E4M3FN:
    case MOEQ_DTYPE_FP8_E5M2:
    case MOEQ_DTYPE_FP8_E4M3FNUZ:
    case MOEQ_DTYPE_FP8_E5M2FNUZ:
    case MOEQ_DTYPE_FP8_E8M0:
    case MOEQ_DTYPE_FP6_E2M3:
    case MOEQ_DTYPE_FP6_E3M2:
    case MOEQ_DTYPE_FP4_E2M1:
        return true;
    default:
        return false;
    }
}

// Integers may be codes; tables of indices are of the longer types and have no scales.
bool is_integer_type(int32_t dtype)
{
    switch (dtype) {
    case MOEQ_DTYPE_UINT8:
    case MOEQ_DTYPE_INT8:
    case MOEQ_DTYPE_INT16:
    case MOEQ_DTYPE_UINT16:
    case MOEQ_DTYPE_INT32:
    case MOEQ_DTYPE_UINT32:
        return true;
    default:
        return false;
    }
}

bool is_short(int32_t dtype) { return dtype != MOEQ_DTYPE_INT32; }

bool is_packed_name(const FileEntry& entry)
{
    for (const char* suffix : kPackedNames)
        if (ends_with(entry, suffix))
            return true;
    return false;
}

int64_t stem_of(const FileEntry& entry)
{
    int64_t stem = entry.name_length;
    while (stem != 0 && entry.name[stem - 1] != '.')
        --stem;
    return stem;
}

bool has_companion(const Checkpoint& checkpoint, const FileEntry& entry)
{
    for (const char* suffix : kCompanions)
        if (find_tensor(checkpoint, entry.name, entry.name_length, suffix) >= 0)
            return true;
    const int64_t stem = stem_of(entry);
    for (const char* sibling : kSiblings)
        if (stem != 0 && find_tensor(checkpoint, entry.name, stem, sibling) >= 0)
            return true;
    return false;
}

// The scheme of some codes that nobody states, by what is beside them.
const char* scheme_by_names(const Checkpoint& checkpoint, const FileEntry& entry)
{
    const int64_t stem = stem_of(entry);
    const auto beside = [&](const char* sibling) { return find_tensor(checkpoint, entry.name, stem, sibling) >= 0; };
    if (ends_with(entry, "_blocks"))
        return "MXFP4 in blocks";
    if (ends_with(entry, ".qweight"))
        return beside("g_idx") ? "GPTQ" : "GPTQ or AWQ";
    if (ends_with(entry, ".weight_packed"))
        return "packed compressed-tensors";
    if (entry.dtype == MOEQ_DTYPE_UINT32 && beside("scales"))
        return "MLX";
    if (beside("weight_scale_2"))
        return "ModelOpt NVFP4";
    if (entry.dtype == MOEQ_DTYPE_INT8 && beside("scale"))
        return "packed FP4";
    return is_code_type(entry.dtype) ? "FP8, FP6 or FP4" : "a scheme that config.json does not name";
}

// How config.json says that weights are quantized, where no dialect understands it: "gptq". NULL: nothing of that kind.
const char* stated_scheme(const text::JsonValue& config, int32_t dialect)
{
    const text::JsonValue method = config.find("quant_method");
    if (dialect == MOEQ_DIALECT_NONE)
        return method.is_string() ? method.text() : nullptr;
    const text::JsonValue format = config.find("format");
    if (dialect != MOEQ_DIALECT_COMPRESSED_TENSORS || !format.is_string())
        return nullptr;
    for (const char* understood : {"dense", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision"})
        if (format.equals(understood))
            return nullptr;
    return "compressed-tensors";
}

// What a description says besides its method.
const char* detail_of(const text::JsonValue& config)
{
    for (const char* key : {"quant_algo", "format", "checkpoint_format", "version", "packing_format", "fmt"}) {
        const text::JsonValue value = config.find(key);
        if (value.is_string())
            return value.text();
    }
    return "";
}

bool counts(const Checkpoint& checkpoint, const Weights& weights, int64_t tensor, bool foreign)
{
    const FileEntry& entry = checkpoint.tensor(tensor).entry;
    if (weights.is_taken(tensor))
        return false;
    if (is_code_type(entry.dtype))
        return true;
    if (!is_integer_type(entry.dtype) || entry.ndim < 2)
        return false;
    const bool of_experts = is_short(entry.dtype) && std::strstr(entry.name, ".experts.") != nullptr;
    return (foreign && is_short(entry.dtype)) || of_experts || is_packed_name(entry) ||
           lacks_scales(checkpoint, weights, tensor) || has_companion(checkpoint, entry);
}

} // namespace

bool is_companion_name(const char* name, int64_t length)
{
    for (const char* suffix : kCompanions)
        if (ends_with(name, length, suffix))
            return true;
    for (const char* sibling : kSiblings) {
        const int64_t tail = static_cast<int64_t>(std::strlen(sibling));
        if (length > tail && name[length - tail - 1] == '.' && ends_with(name, length, sibling))
            return true;
    }
    return false;
}

ForeignCodes find_foreign_codes(const Checkpoint& checkpoint, const Weights& weights)
{
    ForeignCodes found;
    const text::JsonValue config = quantization_config(checkpoint);
    found.scheme = stated_scheme(config, weights.dialect);
    found.stated = found.scheme != nullptr;
    if (found.stated)
        found.detail = detail_of(config);
    bool lost = true;
    for (int64_t i = 0; i < checkpoint.tensor_count(); ++i) {
        if (!counts(checkpoint, weights, i, found.stated))
            continue;
        const FileEntry& entry = checkpoint.tensor(i).entry;
        lost = lost && lacks_scales(checkpoint, weights, i) && !has_companion(checkpoint, entry);
        if (found.count++ == 0)
            found.first = i;
    }
    found.lost = lost && found.count != 0 && !found.stated;
    if (found.count != 0 && !found.stated)
        found.scheme = found.lost ? find_dialect(weights.dialect)->name
                                  : scheme_by_names(checkpoint, checkpoint.tensor(found.first).entry);
    return found;
}

void write_foreign_codes(const Checkpoint& checkpoint, const ForeignCodes& foreign, text::JsonWriter& json)
{
    if (foreign.scheme == nullptr) {
        json.null();
        return;
    }
    json.begin_object();
    json.key("scheme").string(foreign.scheme);
    json.key("detail").string(foreign.detail);
    json.key("codes").integer(foreign.count);
    json.key("first");
    foreign.first < 0 ? json.null() : json.string(checkpoint.tensor(foreign.first).entry.name);
    json.key("lost").boolean(foreign.lost);
    json.end_object();
}

Failure& append_foreign_codes(const Checkpoint& checkpoint, const ForeignCodes& foreign, Failure& failure)
{
    failure << foreign.count << (foreign.count == 1 ? " tensor" : " tensors");
    if (foreign.lost) {
        failure << " with codes of " << foreign.scheme << " whose scales are in no file, such as ";
    } else {
        failure << " in " << foreign.scheme << (foreign.detail[0] == '\0' ? "" : " ") << foreign.detail
                << ", which moeq does not read, such as ";
    }
    const FileEntry& entry = checkpoint.tensor(foreign.first).entry;
    failure.quoted(entry.name) << " (" << dtype_name(entry.dtype) << " ";
    return failure.shape(entry.ndim, entry.shape) << ")";
}

} // namespace moeq::store
