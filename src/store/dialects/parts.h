// What the dialects share: lists of entries for writing; names, sizes and refusals for reading.
#pragma once

#include "store/dialects/dialect.h"

namespace moeq::store {

extern const Dialect kNativeDialect;
extern const Dialect kBitsandbytesDialect;
extern const Dialect kCompressedTensorsDialect;
extern const Dialect kHfFp8Dialect;

// ---- writing

// A component in the shape that the geometry gives it.
void add_component(const Geometry& geometry, int32_t component, const char* suffix, DialectEntries* out);
// ... or in one of the dialect's own, with as many elements.
DialectEntry& add_component(const Geometry& geometry, int32_t component, const char* suffix, int32_t ndim,
                            const int64_t* shape, DialectEntries* out);
[[nodiscard]] moeq_status add_constant(const char* suffix, int32_t dtype, int32_t ndim, const int64_t* shape,
                                       const void* bytes, int64_t count, DialectEntries* out, Report& report);
// UNSUPPORTED: this dialect cannot hold a weight; the caller appends what it can.
Failure refuse_to_write(const Dialect& dialect, const Geometry& geometry, const char* name, Report& report);
// UNSUPPORTED: config.json has one word for all weights where these two want one each.
moeq_status refuse_mixed(const Dialect& dialect, const char* word, const WrittenWeight& first,
                         const WrittenWeight& other, Report& report);
// {"format": "pt"}, without which transformers refuses a file.
void write_torch_metadata(const WrittenWeight* weight, text::JsonWriter& out);

// ---- reading

using moeq::ends_with; // of a text
inline bool ends_with(const FileEntry& entry, const char* suffix)
{
    return ends_with(entry.name, entry.name_length, suffix);
}
// Index of the tensor `name[0, length)` + suffix; -1: none.
int64_t find_tensor(const Checkpoint& checkpoint, const char* name, int64_t length, const char* suffix);
// FORMAT, or what is given, about a tensor: "tensor "a.b" of file "c": "; the caller appends what it got and wants.
Failure refuse_tensor(const Checkpoint& checkpoint, int64_t tensor, moeq_status status, const char* class_id,
                      Report& report);
// For the end of a message about a part that is missing: "" or, where one file was opened, that there may be others.
const char* shard_hint(const Checkpoint& checkpoint);
// Whether a tensor has the element type and as many elements as a component of the geometry; FORMAT, F15. Statistics that
// are fp32 may be fp16 and bf16 in the file, and, where `exponents` says so, powers of two without a mantissa.
[[nodiscard]] moeq_status check_component(const Checkpoint& checkpoint, int64_t tensor, const Geometry& geometry,
                                          int32_t component, Report& report, bool exponents = false);
bool same_shape(const FileEntry& entry, int32_t ndim, const int64_t* shape);
// Whether a tensor has a shape, axes of extent 1 aside; FORMAT, F15.
[[nodiscard]] moeq_status check_shape(const Checkpoint& checkpoint, int64_t tensor, int32_t ndim, const int64_t* shape,
                                      Report& report);
// make_geometry for what a file says about a weight: whatever is wrong is FORMAT, F15, about this tensor.
[[nodiscard]] moeq_status file_geometry(const Checkpoint& checkpoint, int64_t tensor, const moeq_spec& spec,
                                        int32_t ndim, const int64_t* shape, Geometry* out, Report& report);
// A weight without tensors; its name is that of the tensor with its codes.
Weight make_weight(const Checkpoint& checkpoint, int64_t codes, const Geometry& geometry);
// All bytes of a small tensor that describes a weight, ended by NUL. LIMIT, F02, above 64 KiB.
[[nodiscard]] moeq_status read_description(const Checkpoint& checkpoint, int64_t tensor, Array<char>* out,
                                           Report& report);

// The object quantization_config of config.json, wherever it is; missing: none.
text::JsonValue quantization_config(const Checkpoint& checkpoint);
// The element type that the model of config.json computes in; 0 where it says nothing that moeq knows, and then BF16.
int32_t stated_dtype(const Checkpoint& checkpoint);
int32_t model_dtype(const Checkpoint& checkpoint);
// "bfloat16" as torch names it, and back; NULL and 0 for all else.
const char* torch_dtype_name(int32_t dtype);
int32_t torch_dtype(const text::JsonValue& name);
// A member that is an integer in [low, high].
[[nodiscard]] bool get_integer_in(const text::JsonValue& value, int64_t low, int64_t high, int32_t* out);

} // namespace moeq::store
