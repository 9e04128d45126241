#include "store/dialects/describe.h"

#include "store/dialects/foreign.h"

namespace moeq::store {

namespace {

// Without the folders before it: what a checkpoint says of itself is the same wherever it lies.
const char* own_name(const char* path)
{
    const char* last = std::strrchr(path, '/');
    return last == nullptr ? path : last + 1;
}

} // namespace

moeq_status describe_checkpoint(const Checkpoint& checkpoint, const Weights& weights, Array<char>* out, Report& report)
{
    text::JsonWriter json(*out);
    json.begin_object().key("model_type").string(weights.model_type).key("dialect");
    const Dialect* dialect = find_dialect(weights.dialect);
    dialect == nullptr ? json.null() : json.string(dialect->name);
    json.key("files").begin_array();
    for (int64_t i = 0; i < checkpoint.file_count(); ++i) {
        const CheckpointFile& file = checkpoint.file(i);
        json.begin_object().key("name").string(own_name(file.file.name()));
        json.key("bytes").integer(file.file.size());
        json.key("tensors").integer(file.tensor_count);
        json.key("metadata");
        file.header.has_metadata ? json.copy(file.header.metadata()) : json.null();
        json.end_object();
    }
    json.end_array();
    json.key("foreign");
    write_foreign_codes(checkpoint, find_foreign_codes(checkpoint, weights), json);
    json.key("strays").begin_array();
    for (int64_t i = 0; i < checkpoint.stray_count(); ++i)
        json.string(checkpoint.stray(i));
    json.end_array();
    json.key("unlisted").integer(checkpoint.unlisted_count());
    json.key("odd_experts");
    weights.odd_experts() == nullptr ? json.null() : json.string(weights.odd_experts());
    json.key("guessed_axes").begin_array();
    for (const Stack& stack : weights.stacks)
        if (stack.guessed_axis)
            json.string(stack.name, stack.name_length);
    json.end_array();
    json.end_object();
    return json.ok() ? MOEQ_OK : report.out_of_memory(static_cast<uint64_t>(out->size()));
}

} // namespace moeq::store
