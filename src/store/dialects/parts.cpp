// What the dialects share.
#include "store/dialects/parts.h"

#include "formats/spec_text.h"
#include "store/model/model_config.h"

namespace moeq::store {

namespace {

constexpr int64_t kDescriptionLimit = 64 << 10;

struct TorchName {
    int32_t dtype;
    const char* name;
};

constexpr TorchName kTorchNames[] = {
    {MOEQ_DTYPE_FP32, "float32"}, {MOEQ_DTYPE_FP16, "float16"}, {MOEQ_DTYPE_BF16, "bfloat16"}};

// The shape without axes of extent 1, and how many axes that leaves.
int32_t squeeze(int32_t ndim, const int64_t* shape, int64_t* out)
{
    int32_t count = 0;
    for (int32_t i = 0; i < ndim; ++i)
        if (shape[i] != 1)
            out[count++] = shape[i];
    return count;
}

} // namespace

// ---- writing

DialectEntry& add_component(const Geometry& geometry, int32_t component, const char* suffix, int32_t ndim,
                            const int64_t* shape, DialectEntries* out)
{
    TensorView layout;
    component_layout(geometry, component, &layout);
    DialectEntry& entry = out->entries[out->count++];
    entry = {};
    entry.suffix = suffix;
    entry.dtype = layout.dtype;
    entry.ndim = ndim;
    for (int32_t i = 0; i < ndim; ++i)
        entry.shape[i] = shape[i];
    entry.component = component;
    entry.bytes = layout.count * layout.itemsize();
    return entry;
}

void add_component(const Geometry& geometry, int32_t component, const char* suffix, DialectEntries* out)
{
    TensorView layout;
    component_layout(geometry, component, &layout);
    add_component(geometry, component, suffix, layout.ndim, layout.shape, out);
}

moeq_status add_constant(const char* suffix, int32_t dtype, int32_t ndim, const int64_t* shape, const void* bytes,
                         int64_t count, DialectEntries* out, Report& report)
{
    const int64_t offset = out->bytes.size();
    if (!out->bytes.reserve(offset + count))
        return report.out_of_memory(static_cast<uint64_t>(offset + count));
    out->bytes.append_reserved(static_cast<const char*>(bytes), count);
    DialectEntry& entry = out->entries[out->count++];
    entry = {};
    entry.suffix = suffix;
    entry.dtype = dtype;
    entry.ndim = ndim;
    for (int32_t i = 0; i < ndim; ++i)
        entry.shape[i] = shape[i];
    entry.constant = offset;
    entry.bytes = count;
    return MOEQ_OK;
}

Failure refuse_to_write(const Dialect& dialect, const Geometry& geometry, const char* name, Report& report)
{
    char text[MOEQ_SPEC_TEXT] = "";
    moeq_error ignored;
    Report quiet("", &ignored);
    (void)print_spec(geometry.spec, text, quiet);
    Failure failure = report.fail(MOEQ_ERROR_UNSUPPORTED);
    failure.quoted(name) << ": got " << text << " ";
    failure.shape(geometry.ndim, geometry.shape) << " for the dialect " << dialect.name << "; want ";
    return failure;
}

namespace {

// "nf4:128 for "a.b"": what the shape says besides is left out.
void append_weight(const WrittenWeight& weight, Failure& failure)
{
    char text[MOEQ_SPEC_TEXT] = "";
    moeq_spec spec = weight.geometry.spec;
    spec.layout = MOEQ_LAYOUT_PLAIN;
    spec.scale_axis = -1;
    spec.blocking = 0;
    spec.logical_dtype = MOEQ_DTYPE_DEFAULT;
    Report quiet("", nullptr);
    (void)print_spec(spec, text, quiet);
    (failure << text << " for ").quoted(weight.name);
}

} // namespace

moeq_status refuse_mixed(const Dialect& dialect, const char* word, const WrittenWeight& first,
                         const WrittenWeight& other, Report& report)
{
    Failure failure = report.fail(MOEQ_ERROR_UNSUPPORTED);
    failure << "config.json of the dialect " << dialect.name << " can name only one " << word << "; got ";
    append_weight(first, failure);
    failure << " and ";
    append_weight(other, failure);
    return failure << "; want one for all, or the dialect native";
}

void write_torch_metadata(const WrittenWeight* weight, text::JsonWriter& out)
{
    if (weight == nullptr)
        out.key("format").string("pt");
}

// ---- reading

bool same_shape(const FileEntry& entry, int32_t ndim, const int64_t* shape)
{
    return entry.ndim == ndim && std::memcmp(entry.shape, shape, static_cast<uint64_t>(ndim) * sizeof *shape) == 0;
}

int64_t find_tensor(const Checkpoint& checkpoint, const char* name, int64_t length, const char* suffix)
{
    char full[kNameLimit];
    const int64_t tail = static_cast<int64_t>(std::strlen(suffix));
    if (length + tail > kNameLimit)
        return -1;
    std::memcpy(full, name, static_cast<uint64_t>(length));
    std::memcpy(full + length, suffix, static_cast<uint64_t>(tail));
    return checkpoint.find(full, length + tail);
}

Failure refuse_tensor(const Checkpoint& checkpoint, int64_t tensor, moeq_status status, const char* class_id,
                      Report& report)
{
    const CheckpointTensor& found = checkpoint.tensor(tensor);
    Failure failure = report.fail(status);
    report.set_class(class_id);
    failure << "tensor ";
    failure.quoted(found.entry.name) << " of ";
    failure.quoted(checkpoint.file(found.file).file.name()) << ": ";
    return failure;
}

const char* shard_hint(const Checkpoint& checkpoint)
{
    return checkpoint.is_directory() ? "" : "; where this is one file of several, open their directory";
}

moeq_status check_component(const Checkpoint& checkpoint, int64_t tensor, const Geometry& geometry, int32_t component,
                            Report& report, bool exponents)
{
    const FileEntry& entry = checkpoint.tensor(tensor).entry;
    TensorView want;
    if (!component_layout(geometry, component, &want))
        return report.internal("a component that the format does not have");
    // What nested statistics are made of is read as it is.
    const bool widened = component == MOEQ_COMPONENT_SCALE && want.dtype == MOEQ_DTYPE_FP32 &&
                         (float_type(entry.dtype) >= 0 || (exponents && entry.dtype == MOEQ_DTYPE_FP8_E8M0));
    if (entry.dtype != want.dtype && !widened)
        return refuse_tensor(checkpoint, tensor, MOEQ_ERROR_FORMAT, "F15", report)
               << "got the type " << dtype_name(entry.dtype) << "; want " << dtype_name(want.dtype) << " for "
               << component_name(component);
    const int64_t want_bytes = want.count * dtype_bytes(entry.dtype);
    if (entry.bytes != want_bytes)
        return (refuse_tensor(checkpoint, tensor, MOEQ_ERROR_FORMAT, "F15", report) << "got shape ")
                   .shape(entry.ndim, entry.shape)
               << ", " << entry.bytes << " bytes; want " << want_bytes << " bytes of " << component_name(component);
    return MOEQ_OK;
}

moeq_status check_shape(const Checkpoint& checkpoint, int64_t tensor, int32_t ndim, const int64_t* shape,
                        Report& report)
{
    const FileEntry& entry = checkpoint.tensor(tensor).entry;
    if (same_shape(entry, ndim, shape))
        return MOEQ_OK;
    // Axes of one element are written by some and left out by others.
    int64_t got[kMaxDims];
    int64_t want[kMaxDims];
    const int32_t axes = squeeze(entry.ndim, entry.shape, got);
    if (axes == squeeze(ndim, shape, want) && std::memcmp(got, want, static_cast<uint64_t>(axes) * sizeof *got) == 0)
        return MOEQ_OK;
    Failure failure = refuse_tensor(checkpoint, tensor, MOEQ_ERROR_FORMAT, "F15", report);
    failure << "got shape ";
    failure.shape(entry.ndim, entry.shape) << "; want ";
    return failure.shape(ndim, shape);
}

moeq_status file_geometry(const Checkpoint& checkpoint, int64_t tensor, const moeq_spec& spec, int32_t ndim,
                          const int64_t* shape, Geometry* out, Report& report)
{
    moeq_error error;
    Report inner("spec and shape", &error);
    const moeq_status status = make_geometry(spec, 0, ndim, shape, 0, nullptr, out, inner);
    if (status == MOEQ_OK || status == MOEQ_ERROR_MEMORY)
        return status;
    return refuse_tensor(checkpoint, tensor, MOEQ_ERROR_FORMAT, "F15", report) << error.message;
}

Weight make_weight(const Checkpoint& checkpoint, int64_t codes, const Geometry& geometry)
{
    const FileEntry& entry = checkpoint.tensor(codes).entry;
    Weight weight = empty_weight();
    weight.name = entry.name;
    weight.name_length = entry.name_length;
    weight.spec = geometry.spec;
    if (weight.spec.logical_dtype == 0)
        weight.spec.logical_dtype = MOEQ_DTYPE_BF16;
    weight.dtype = weight.spec.logical_dtype;
    weight.ndim = geometry.ndim;
    for (int32_t i = 0; i < geometry.ndim; ++i)
        weight.shape[i] = geometry.shape[i];
    weight.quantized = true;
    weight.tensors[MOEQ_COMPONENT_CODES] = codes;
    return weight;
}

moeq_status read_description(const Checkpoint& checkpoint, int64_t tensor, Array<char>* out, Report& report)
{
    const int64_t bytes = checkpoint.tensor(tensor).entry.bytes;
    if (bytes > kDescriptionLimit)
        return refuse_tensor(checkpoint, tensor, MOEQ_ERROR_LIMIT, "F02", report)
               << "got " << bytes << " bytes that describe a weight; want at most " << kDescriptionLimit;
    if (!out->resize(bytes + 1))
        return report.out_of_memory(static_cast<uint64_t>(bytes + 1));
    (*out)[bytes] = '\0';
    return bytes == 0 ? MOEQ_OK : checkpoint.read(tensor, 0, bytes, out->data(), report);
}

text::JsonValue quantization_config(const Checkpoint& checkpoint)
{
    const text::JsonValue root = checkpoint.config();
    for (text::JsonValue holder = root; !holder.missing(); holder = config_of_part(holder)) {
        const text::JsonValue config = holder.find("quantization_config");
        if (config.is_object())
            return config;
    }
    return root.find("compression_config"); // an older name that compressed-tensors gave it
}

int32_t stated_dtype(const Checkpoint& checkpoint)
{
    for (text::JsonValue holder = checkpoint.config(); !holder.missing(); holder = config_of_part(holder))
        for (const char* name : {"dtype", "torch_dtype"}) {
            const int32_t dtype = torch_dtype(holder.find(name));
            if (dtype != 0)
                return dtype;
        }
    return 0;
}

int32_t model_dtype(const Checkpoint& checkpoint)
{
    const int32_t stated = stated_dtype(checkpoint);
    return stated != 0 ? stated : int32_t{MOEQ_DTYPE_BF16};
}

const char* torch_dtype_name(int32_t dtype)
{
    for (const TorchName& known : kTorchNames)
        if (known.dtype == dtype)
            return known.name;
    return nullptr;
}

int32_t torch_dtype(const text::JsonValue& name)
{
    for (const TorchName& known : kTorchNames)
        if (name.equals(known.name))
            return known.dtype;
    return 0;
}

bool get_integer_in(const text::JsonValue& value, int64_t low, int64_t high, int32_t* out)
{
    int64_t number;
    if (!value.get_integer(&number) || number < low || number > high)
        return false;
    *out = static_cast<int32_t>(number);
    return true;
}

} // namespace moeq::store
