// moeq's own files: every format and every shape, and what a weight is stands in the header's __metadata__.
//
//   NAME                                codes, of the element type and shape of the component; where that is the weight's own
//                                       shape, with an axis of extent 1 behind the first, so that no loader of plain tensors
//                                       takes codes for weights. Without that axis they are read too.
//   NAME.moeq.absmax or NAME.moeq.scale  the statistic, as the spec's scale_kind says
//   NAME.moeq.nested_absmax, .moeq.nested_map, .moeq.nested_offset
//   __metadata__: "moeq.version": "1", "moeq.weight.NAME": "{\"spec\": \"nf4:64\", \"shape\": [8, 256, 64]}"
#include "formats/spec_text.h"
#include "store/dialects/module_names.h"
#include "store/dialects/parts.h"

namespace moeq::store {

namespace {

constexpr char kVersion[] = "1";
constexpr char kWeightKey[] = "moeq.weight.";
constexpr int64_t kWeightKeyLength = sizeof kWeightKey - 1;

const char* suffix_of(const Geometry& geometry, int32_t component)
{
    switch (component) {
    case MOEQ_COMPONENT_CODES:
        return "";
    case MOEQ_COMPONENT_SCALE:
        return geometry.spec.scale_kind == MOEQ_SCALE_FACTOR ? ".moeq.scale" : ".moeq.absmax";
    case MOEQ_COMPONENT_NESTED_SCALE:
        return ".moeq.nested_absmax";
    case MOEQ_COMPONENT_NESTED_MAP:
        return ".moeq.nested_map";
    default:
        return ".moeq.nested_offset";
    }
}

// The shape that codes have in a file; the number of axes. Weights with as many axes as a file can have keep theirs.
int32_t codes_shape(const Geometry& geometry, int64_t* out)
{
    TensorView codes;
    component_layout(geometry, MOEQ_COMPONENT_CODES, &codes);
    std::memcpy(out, codes.shape, static_cast<uint64_t>(codes.ndim) * sizeof *out);
    const bool weights_own = codes.ndim == geometry.ndim &&
                             std::memcmp(out, geometry.shape, static_cast<uint64_t>(codes.ndim) * sizeof *out) == 0;
    if (!weights_own || codes.ndim == kMaxDims)
        return codes.ndim;
    out[1] = 1;
    std::memcpy(out + 2, codes.shape + 1, static_cast<uint64_t>(codes.ndim - 1) * sizeof *out);
    return codes.ndim + 1;
}

void adjust(moeq_spec*, int32_t, const int64_t*) {}

moeq_status list(const Geometry& geometry, const char*, DialectEntries* out, Report&)
{
    int32_t components[kComponentLimit];
    const int32_t count = stored_components(geometry, components);
    int64_t shape[kMaxDims];
    const int32_t ndim = codes_shape(geometry, shape);
    add_component(geometry, MOEQ_COMPONENT_CODES, "", ndim, shape, out);
    for (int32_t i = 1; i < count; ++i)
        add_component(geometry, components[i], suffix_of(geometry, components[i]), out);
    return MOEQ_OK;
}

void write_metadata(const WrittenWeight* weight, text::JsonWriter& out)
{
    if (weight == nullptr) {
        out.key("moeq.version").string(kVersion);
        return;
    }
    char spec[MOEQ_SPEC_TEXT] = "";
    Report quiet("", nullptr);
    (void)print_spec(weight->geometry.spec, spec, quiet);
    char value[512];
    Text text(value, sizeof value);
    text.add("{\"spec\": \"").add(spec).add("\", \"shape\": ");
    text.add_shape(weight->geometry.ndim, weight->geometry.shape).add("}");
    char key[kWeightKeyLength + kNameLimit + 1];
    const int64_t length = static_cast<int64_t>(std::strlen(weight->name));
    Text name(key, sizeof key);
    name.add(kWeightKey).add(weight->name, static_cast<uint64_t>(minimum(length, kNameLimit)));
    out.key(key).string(value);
}

moeq_status write_config(const WrittenModel& model, text::JsonWriter& out, Report&)
{
    out.begin_object();
    // Without it every transformers refuses the folder, which could only leave the experts random.
    out.key(model.unplaced ? "unplaced_quant_method" : "quant_method").string("moeq");
    out.key("version").string(kVersion);
    out.key("modules_to_not_convert");
    write_dense_modules(model, out);
    out.end_object();
    return MOEQ_OK;
}

// ---- reading

class Recogniser {
public:
    Recogniser(Allocator& allocator, const Checkpoint& checkpoint, Weights* out, Report& report)
        : allocator_(allocator), checkpoint_(checkpoint), out_(out), report_(report)
    {
    }

    moeq_status run()
    {
        for (int64_t i = 0; i < checkpoint_.file_count(); ++i)
            MOEQ_TRY(read_file(i));
        return check_orphans();
    }

private:
    // "weight "a.b" of file "c": "; the caller appends what is wrong.
    Failure refuse(const char* class_id, const char* name)
    {
        Failure failure = report_.fail(MOEQ_ERROR_FORMAT);
        report_.set_class(class_id);
        failure << "weight ";
        failure.quoted(name) << " in the metadata of ";
        failure.quoted(checkpoint_.file(file_).file.name()) << ": ";
        return failure;
    }

    moeq_status read_file(int64_t file)
    {
        file_ = file;
        const text::JsonValue metadata = checkpoint_.file(file).header.metadata();
        const text::JsonValue version = metadata.find("moeq.version");
        const bool native = !version.missing();
        if (native && !version.equals(kVersion)) {
            Failure failure = report_.fail(MOEQ_ERROR_VERSION);
            failure.quoted(checkpoint_.file(file).file.name()) << ": got moeq.version ";
            failure.quoted(version.text()) << "; want " << kVersion << ": a newer moeq wrote it";
            return failure;
        }
        for (text::JsonMember member = metadata.first(); !member.done(); member = member.next()) {
            const text::JsonValue key = member.name();
            if (key.length() <= kWeightKeyLength || std::strncmp(key.text(), kWeightKey, kWeightKeyLength) != 0)
                continue;
            if (!native)
                return refuse("F28", key.text() + kWeightKeyLength) << "got no moeq.version; want " << kVersion;
            MOEQ_TRY(read_weight(key, member.value()));
        }
        return MOEQ_OK;
    }

    moeq_status read_weight(const text::JsonValue& key, const text::JsonValue& value)
    {
        const char* name = key.text() + kWeightKeyLength;
        const int64_t length = key.length() - kWeightKeyLength;
        Array<char> text(allocator_);
        if (!text.reserve(value.length() + 1))
            return report_.out_of_memory(static_cast<uint64_t>(value.length() + 1));
        text.append_reserved(value.text(), value.length());
        moeq_spec spec{};
        int32_t ndim = 0;
        int64_t shape[kMaxDims] = {};
        MOEQ_TRY(parse_weight(name, &text, &spec, &ndim, shape));
        const int64_t codes = checkpoint_.find(name, length);
        if (codes < 0)
            return refuse("F28", name) << "got no tensor of this name; want its codes";
        // A writer that gives all its files the same metadata says it in each; where the codes are counts.
        const int64_t home = checkpoint_.tensor(codes).file;
        if (home != file_ && !checkpoint_.file(home).header.metadata().find(key.text()).missing())
            return MOEQ_OK;
        Geometry geometry;
        MOEQ_TRY(file_geometry(checkpoint_, codes, spec, ndim, shape, &geometry, report_));
        return add(name, length, geometry);
    }

    // The two members, and no other.
    moeq_status parse_weight(const char* name, Array<char>* text, moeq_spec* spec, int32_t* ndim, int64_t* shape)
    {
        moeq_error error{};
        Report inner("metadata", &error);
        text::JsonDocument document(allocator_);
        const text::JsonRules rules{.depth = 2, .integers_only = true, .what = "what the metadata says about a weight"};
        const moeq_status status = document.parse(text->data(), text->size(), rules, inner);
        if (status == MOEQ_ERROR_MEMORY)
            return report_.out_of_memory(static_cast<uint64_t>(text->size()));
        if (status != MOEQ_OK)
            return refuse(error.class_id, name) << error.message;
        const text::JsonValue root = document.root();
        const text::JsonValue extents = root.find("shape");
        if (!root.is_object() || root.size() != 2 || !root.find("spec").is_string() || !extents.is_array())
            return refuse("F15", name) << "got " << (root.is_object() ? "other members" : root.kind_name())
                                       << "; want an object with \"spec\", a text, and \"shape\", an array";
        const text::JsonValue given = root.find("spec");
        if (!given.equals(given.text()))
            return refuse("F15", name) << "got a spec with NUL; want a text";
        if (parse_spec(given.text(), spec, inner) != MOEQ_OK)
            return refuse("F15", name) << error.message;
        if (extents.size() < 2 || extents.size() > kMaxDims)
            return refuse("F14", name) << "got " << extents.size() << " extents; want 2 to " << kMaxDims;
        for (text::JsonMember member = extents.first(); !member.done(); member = member.next())
            if (!member.value().get_integer(&shape[(*ndim)++]))
                return refuse("F15", name) << "got an extent that is no integer; want integers";
        return MOEQ_OK;
    }

    moeq_status add(const char* name, int64_t length, const Geometry& geometry)
    {
        int32_t components[kComponentLimit];
        const int32_t count = stored_components(geometry, components);
        Weight weight = empty_weight();
        for (int32_t i = 0; i < count; ++i) {
            const char* suffix = suffix_of(geometry, components[i]);
            const int64_t tensor = find_tensor(checkpoint_, name, length, suffix);
            if (tensor < 0)
                return refuse("F28", name)
                       << "got no tensor NAME" << suffix << "; want its " << component_name(components[i]);
            MOEQ_TRY(check(tensor, geometry, components[i]));
            if (i == 0)
                weight = make_weight(checkpoint_, tensor, geometry);
            weight.tensors[components[i]] = tensor;
        }
        return out_->add(checkpoint_, weight, report_);
    }

    // Our own files have exactly what the geometry says.
    moeq_status check(int64_t tensor, const Geometry& geometry, int32_t component)
    {
        const FileEntry& entry = checkpoint_.tensor(tensor).entry;
        TensorView want;
        component_layout(geometry, component, &want);
        int64_t widened[kMaxDims];
        const bool is_codes = component == MOEQ_COMPONENT_CODES;
        if (entry.dtype == want.dtype && (same_shape(entry, want.ndim, want.shape) ||
                                          (is_codes && same_shape(entry, codes_shape(geometry, widened), widened))))
            return MOEQ_OK;
        Failure failure = refuse_tensor(checkpoint_, tensor, MOEQ_ERROR_FORMAT, "F15", report_);
        failure << "got " << dtype_name(entry.dtype) << " ";
        failure.shape(entry.ndim, entry.shape) << "; want " << dtype_name(want.dtype) << " ";
        return failure.shape(want.ndim, want.shape) << " for " << component_name(component);
    }

    // A part of a weight that the metadata says nothing about.
    moeq_status check_orphans()
    {
        for (int64_t i = 0; i < checkpoint_.tensor_count(); ++i) {
            const FileEntry& entry = checkpoint_.tensor(i).entry;
            if (out_->is_taken(i))
                continue;
            for (const char* suffix :
                 {".moeq.absmax", ".moeq.scale", ".moeq.nested_absmax", ".moeq.nested_map", ".moeq.nested_offset"})
                if (ends_with(entry, suffix))
                    return refuse_tensor(checkpoint_, i, MOEQ_ERROR_FORMAT, "F28", report_)
                           << "got a part of a weight that the metadata does not name; want its moeq.weight. entry";
        }
        return MOEQ_OK;
    }

    Allocator& allocator_;
    const Checkpoint& checkpoint_;
    Weights* out_;
    Report& report_;
    int64_t file_ = 0;
};

moeq_status recognise(Allocator& allocator, const Checkpoint& checkpoint, Weights* out, Report& report)
{
    return Recogniser(allocator, checkpoint, out, report).run();
}

} // namespace

constinit const Dialect kNativeDialect = {
    .id = MOEQ_DIALECT_NATIVE,
    .name = "native",
    .experts = ExpertForm::kFused,
    .scale_kind = MOEQ_SCALE_DEFAULT,
    .adjust = adjust,
    .list = list,
    .fill = nullptr,
    .write_metadata = write_metadata,
    .write_config = write_config,
    .recognise = recognise,
    .lacks_scales = nullptr,
};

} // namespace moeq::store
