// The table of dialects, and which one a checkpoint is in.
#include "store/dialects/parts.h"

#include "codec/e8m0.h"
#include "codec/float16.h"

namespace moeq::store {

namespace {

constexpr const Dialect* kDialects[kDialectCount] = {&kNativeDialect, &kBitsandbytesDialect, &kCompressedTensorsDialect,
                                                     &kHfFp8Dialect};

struct Method {
    const char* name; // quant_method
    int32_t dialect;
};

constexpr Method kMethods[] = {
    {"moeq", MOEQ_DIALECT_NATIVE},
    {"bitsandbytes", MOEQ_DIALECT_BITSANDBYTES},
    {"compressed-tensors", MOEQ_DIALECT_COMPRESSED_TENSORS},
    {"fp8", MOEQ_DIALECT_HF_FP8},
};

bool is_true(const JsonValue& value)
{
    bool flag = false;
    return value.get_bool(&flag) && flag;
}

// By the object quantization_config; NONE where it names no dialect of the table.
int32_t dialect_of_config(const JsonValue& config)
{
    const JsonValue method = config.find("quant_method");
    for (const Method& known : kMethods)
        if (method.equals(known.name))
            return known.dialect;
    // Before transformers had quant_method, bitsandbytes was the only method.
    if (method.missing() && (is_true(config.find("load_in_4bit")) || is_true(config.find("load_in_8bit"))))
        return MOEQ_DIALECT_BITSANDBYTES;
    return MOEQ_DIALECT_NONE;
}

bool has_native_metadata(const Checkpoint& checkpoint)
{
    for (int64_t i = 0; i < checkpoint.file_count(); ++i)
        if (!checkpoint.file(i).header.metadata().find("moeq.version").missing())
            return true;
    return false;
}

// Statistics beside a weight that is dense are what somebody left behind; beside none they miss it.
bool are_of_int8(const Checkpoint& checkpoint, const FileEntry& statistics, const char* ending, const char* codes)
{
    const int64_t stem = statistics.name_length - static_cast<int64_t>(std::strlen(ending));
    const int64_t found = find_tensor(checkpoint, statistics.name, stem, codes);
    return found < 0 || checkpoint.tensor(found).entry.dtype == MOEQ_DTYPE_INT8;
}

// Names that only bitsandbytes gives.
bool has_bitsandbytes_names(const Checkpoint& checkpoint)
{
    for (int64_t i = 0; i < checkpoint.tensor_count(); ++i) {
        const FileEntry& entry = checkpoint.tensor(i).entry;
        if (ends_with(entry, ".quant_state.bitsandbytes__nf4") || ends_with(entry, ".quant_state.bitsandbytes__fp4") ||
            (ends_with(entry, ".SCB") && are_of_int8(checkpoint, entry, "SCB", "weight")) ||
            (ends_with(entry, ".row_stats") && are_of_int8(checkpoint, entry, ".row_stats", "")))
            return true;
    }
    return false;
}

} // namespace

const Dialect& dialect_at(int32_t index) { return *kDialects[index]; }

const Dialect* find_dialect(int32_t id)
{
    for (const Dialect* dialect : kDialects)
        if (dialect->id == id)
            return dialect;
    return nullptr;
}

const Dialect* find_dialect(const char* name)
{
    for (const Dialect* dialect : kDialects)
        if (std::strcmp(dialect->name, name) == 0)
            return dialect;
    return nullptr;
}

int32_t detect_dialect(const Checkpoint& checkpoint)
{
    const JsonValue config = quantization_config(checkpoint);
    const int32_t told = dialect_of_config(config);
    if (told != MOEQ_DIALECT_NONE)
        return told;
    if (has_native_metadata(checkpoint))
        return MOEQ_DIALECT_NATIVE;
    // A method that moeq does not know is not guessed at by names.
    const bool untold = config.find("quant_method").missing();
    return untold && has_bitsandbytes_names(checkpoint) ? MOEQ_DIALECT_BITSANDBYTES : MOEQ_DIALECT_NONE;
}

bool lacks_scales(const Checkpoint& checkpoint, const Weights& weights, int64_t tensor)
{
    const Dialect* dialect = find_dialect(weights.dialect);
    return dialect != nullptr && dialect->lacks_scales != nullptr && !weights.is_taken(tensor) &&
           dialect->lacks_scales(checkpoint, tensor);
}

bool append_entry_name(const char* weight, const DialectEntry& entry, Array<char>* out)
{
    int64_t stem = static_cast<int64_t>(std::strlen(weight));
    if (entry.sibling)
        while (stem != 0 && weight[stem - 1] != '.')
            --stem;
    const int64_t suffix = static_cast<int64_t>(std::strlen(entry.suffix));
    if (stem + suffix > kNameLimit || !out->reserve(out->size() + stem + suffix + 1))
        return false;
    out->append_reserved(weight, stem);
    out->append_reserved(entry.suffix, suffix + 1);
    return true;
}

void widen_statistics(int32_t dtype, const void* source, int64_t count, float* out)
{
    const auto* bytes = static_cast<const uint8_t*>(source);
    if (dtype == MOEQ_DTYPE_FP32) {
        if (count != 0)
            std::memcpy(out, source, static_cast<uint64_t>(count) * sizeof(float));
        return;
    }
    for (int64_t i = 0; i < count; ++i) {
        if (dtype == MOEQ_DTYPE_FP16 || dtype == MOEQ_DTYPE_BF16) {
            uint16_t half;
            std::memcpy(&half, bytes + 2 * i, sizeof half);
            out[i] = dtype == MOEQ_DTYPE_FP16 ? codec::fp16_to_float(half) : codec::bf16_to_float(half);
        } else {
            out[i] = codec::e8m0_to_float(bytes[i]);
        }
    }
}

} // namespace moeq::store
