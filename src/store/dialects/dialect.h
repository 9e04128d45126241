// A dialect is how a project lays a quantized weight out as tensors of a file. One row per dialect; reading and writing of one
// are in one file, so that they cannot drift apart.
#pragma once

#include "formats/encoded_weight.h"
#include "store/model/weights.h"

namespace moeq::store {

// One tensor of a file that a quantized weight is written as.
struct DialectEntry {
    const char* suffix; // a literal: appended to the weight's name, or, as a sibling, put in place of its last segment
    bool sibling;
    int32_t dtype;
    int32_t ndim;
    int64_t shape[kMaxDims];
    int32_t component; // whose bytes they are, row-major; 0: `constant`
    int64_t constant;  // offset into DialectEntries::bytes
    int64_t bytes;
};

struct DialectEntries {
    explicit DialectEntries(Allocator& allocator) : bytes(allocator) {}
    static constexpr int32_t kLimit = 8;
    DialectEntry entries[kLimit];
    int32_t count = 0;
    Array<char> bytes; // of constants: quant_map, quant_state
};

// A weight of a file, or one that config.json has to tell about.
struct WrittenWeight {
    const char* name;
    Geometry geometry;
    bool expert = false;
    bool kept = false; // its codes are the source's, in the source's dialect: what the source says of it stays true
};

// What config.json has to tell of.
struct WrittenModel {
    Allocator& allocator;
    const WrittenWeight* weights;
    int64_t weight_count;
    const char* const* dense; // names of weights (2-D ones, and those of experts) that stayed dense
    int64_t dense_count;
    text::JsonValue
        source{};         // quantization_config of the source, where something that it describes is kept; else missing
    bool foreign = false; // codes that moeq does not read are among what is kept
    bool weights_only = false; // activations are not to be quantized
    bool unplaced = false;     // no loader has a place for the names of stacks
};

// How the experts of a stack lie in the target.
enum class ExpertForm : int32_t {
    kFused,              // one weight for all
    kAsTheyAre,          // as the source has them
    kLinears,            // a 2-D weight for each expert and projection
    kLinearsWhereLoaded, // the same where the family's loader takes such; else as they are
};

struct Dialect {
    int32_t id;       // MOEQ_DIALECT_
    const char* name; // "bitsandbytes"

    // ---- writing
    ExpertForm experts;
    // The statistic that it has for 8-bit formats; MOEQ_SCALE_DEFAULT: either.
    int32_t scale_kind;
    // Fills what the caller left at its default with what the dialect needs (scale_kind, granularity, blocking), for a shape.
    void (*adjust)(moeq_spec* spec, int32_t ndim, const int64_t* shape);
    // The tensors of a weight, codes first; UNSUPPORTED says what the dialect cannot hold. `name`: of the weight.
    moeq_status (*list)(const Geometry& geometry, const char* name, DialectEntries* out, Report& report);
    // What is known only when the weight is encoded: constants that hold statistics (bitsandbytes' nested offset). Changes bytes
    // of constants, never their size. NULL: nothing.
    moeq_status (*fill)(const EncodedWeight& weight, const char* name, DialectEntries* entries, Report& report);
    // Appends members (a key and a string each) to the object __metadata__ of a file: once with weight NULL, then for each
    // weight of the file.
    void (*write_metadata)(const WrittenWeight* weight, text::JsonWriter& out);
    // The object quantization_config of config.json, as one value.
    moeq_status (*write_config)(const WrittenModel& model, text::JsonWriter& out, Report& report);

    // ---- reading
    // Groups the checkpoint's tensors into quantized weights of this dialect: Weights::add for each, in the order of their
    // codes, and Weights::describe for what only describes it. Tensors that it does not claim are dense. Sizes in files are
    // compared with what a Geometry says (F15), never used. Bytes and order of elements are those of the geometry's
    // components; two things may differ and are for the loader: shapes (only their product is equal), and the element type of
    // statistics that are fp32 in the geometry: see widen_statistics. A component that is in no tensor (-1) is
    // NESTED_OFFSET alone: Weight::nested_offset is its value.
    moeq_status (*recognise)(Allocator& allocator, const Checkpoint& checkpoint, Weights* out, Report& report);
    // Whether a tensor that was not claimed can only be codes: their scales are in none of the files. NULL: never, as such files
    // are refused.
    bool (*lacks_scales)(const Checkpoint& checkpoint, int64_t tensor);
};

// Of files that hold no quantized weight; it has no weights to list, nor a place in the table.
extern const Dialect kDenseDialect;

const Dialect* find_dialect(int32_t id); // NULL: none
const Dialect* find_dialect(const char* name);
constexpr int32_t kDialectCount = 4;
const Dialect& dialect_at(int32_t index);
// What a checkpoint is written in, by config.json, metadata and names; NONE where nothing is quantized.
int32_t detect_dialect(const Checkpoint& checkpoint);

// Whether a tensor is codes of a quantized weight that are worth nothing, as their scales are missing.
bool lacks_scales(const Checkpoint& checkpoint, const Weights& weights, int64_t tensor);

constexpr int64_t kSuffixLimit = 128; // bytes that dialects and metadata append to the name of a weight
// The full name of an entry: at most kNameLimit bytes, ended by NUL, appended to `out`.
[[nodiscard]] bool append_entry_name(const char* weight, const DialectEntry& entry, Array<char>* out);

// Statistics as other projects store them to the fp32 that they are here, exactly. dtype: FP32, FP16, BF16, or FP8_E8M0, which
// is 2^(byte - 127).
void widen_statistics(int32_t dtype, const void* source, int64_t count, float* out);

} // namespace moeq::store
