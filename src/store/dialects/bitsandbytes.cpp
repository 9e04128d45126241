// bitsandbytes: NF4 and FP4 as Params4bit and parametrised parameters save them, int8 as Linear8bitLt does. P is the name of the
// parameter.
//
//   4-bit   P uint8 [ceil(n/2), 1]; P.absmax fp32 [blocks], nested uint8; P.quant_map fp32 [16];
//           nested: P.nested_absmax fp32 [ceil(blocks/256)], P.nested_quant_map fp32 [256];
//           P.quant_state.bitsandbytes__nf4 or __fp4: a JSON object as uint8
//   int8    P int8 [rows, columns] with the siblings SCB fp32 [rows] and weight_format, the uint8 scalar 0;
//           fused, for which bitsandbytes has no form: P int8 [E, rows, columns] and P.row_stats fp32 [E * rows]
#include <algorithm>
#include <cmath>

#include "store/dialects/module_names.h"
#include "store/dialects/parts.h"
#include "store/dialects/quant_state.h"

namespace moeq::store {

namespace {

constexpr char kRowStats[] = ".row_stats";
constexpr char kAbsmaxSuffix[] = ".absmax";
constexpr char kQuantMap[] = ".quant_map";
constexpr char kNestedAbsmax[] = ".nested_absmax";
constexpr char kNestedMap[] = ".nested_quant_map";

// Blocks run over the whole tensor: the same bytes as blocks per expert, or per row, wherever no block is ragged.
bool runs_flat(const Geometry& geometry)
{
    return geometry.run_count <= 1 || geometry.run_length % geometry.block == 0;
}

// ---- writing

void adjust(moeq_spec* spec, int32_t ndim, const int64_t* shape)
{
    Geometry geometry;
    Report quiet("", nullptr);
    if (make_geometry(*spec, 0, ndim, shape, 0, nullptr, &geometry, quiet) != MOEQ_OK)
        return; // whoever uses the spec tells
    if (geometry.in_runs() && spec->blocking == MOEQ_BLOCKING_EXPERT && !runs_flat(geometry))
        spec->blocking = MOEQ_BLOCKING_FLAT;
}

moeq_status list_4bit(const Geometry& g, const char* name, DialectEntries* out, Report& report)
{
    if (!runs_flat(g))
        return refuse_to_write(kBitsandbytesDialect, g, name, report)
               << "blocks over the whole tensor: blocking=flat, or a multiple of " << g.block << " elements in a run";
    TensorView absmax;
    component_layout(g, MOEQ_COMPONENT_SCALE, &absmax);
    const int64_t codes[2] = {g.format->code_bytes(g.count()), 1};
    add_component(g, MOEQ_COMPONENT_CODES, "", 2, codes, out);
    add_component(g, MOEQ_COMPONENT_SCALE, kAbsmaxSuffix, 1, &absmax.count, out);
    const int64_t values = 16;
    MOEQ_TRY(add_constant(kQuantMap, MOEQ_DTYPE_FP32, 1, &values, g.format->code_map, values * 4, out, report));
    if (g.nested()) {
        add_component(g, MOEQ_COMPONENT_NESTED_SCALE, kNestedAbsmax, out);
        add_component(g, MOEQ_COMPONENT_NESTED_MAP, kNestedMap, out);
    }
    const int64_t offset = out->bytes.size();
    MOEQ_TRY(append_quant_state(g, 0.0, &out->bytes, report));
    DialectEntry& state = out->entries[out->count++];
    state = {};
    state.suffix = quant_type(g).suffix;
    state.dtype = MOEQ_DTYPE_UINT8;
    state.ndim = 1;
    state.constant = offset;
    state.bytes = state.shape[0] = out->bytes.size() - offset;
    return MOEQ_OK;
}

moeq_status list_int8(const Geometry& g, const char* name, DialectEntries* out, Report& report)
{
    if (g.spec.granularity != MOEQ_GRANULARITY_ROW || g.scale_per_column() || g.spec.scale_kind != MOEQ_SCALE_ABSMAX)
        return refuse_to_write(kBitsandbytesDialect, g, name, report)
               << "int8 with one absmax per row, along the last axis";
    add_component(g, MOEQ_COMPONENT_CODES, "", out);
    const int64_t rows = g.experts * g.rows;
    const bool linear = g.ndim == 2 && ends_with(name, ".weight");
    add_component(g, MOEQ_COMPONENT_SCALE, linear ? "SCB" : kRowStats, 1, &rows, out).sibling = linear;
    if (!linear)
        return MOEQ_OK;
    const uint8_t row_major = 0;
    MOEQ_TRY(add_constant("weight_format", MOEQ_DTYPE_UINT8, 0, nullptr, &row_major, 1, out, report));
    out->entries[out->count - 1].sibling = true;
    return MOEQ_OK;
}

moeq_status list(const Geometry& geometry, const char* name, DialectEntries* out, Report& report)
{
    if (geometry.format->code_bits == 4)
        return list_4bit(geometry, name, out, report);
    if (geometry.format->code_dtype == MOEQ_DTYPE_INT8)
        return list_int8(geometry, name, out, report);
    return refuse_to_write(kBitsandbytesDialect, geometry, name, report) << "nf4, fp4 or int8";
}

moeq_status fill(const EncodedWeight& weight, const char* name, DialectEntries* entries, Report& report)
{
    if (!weight.geometry.nested())
        return MOEQ_OK;
    const float offset = weight.nested_offset_value();
    if (!std::isfinite(offset))
        return report.fail(MOEQ_ERROR_VALUE).quoted(name) << ": got a nested offset that is not finite";
    const DialectEntry& state = entries->entries[entries->count - 1];
    const int64_t end = entries->bytes.size();
    MOEQ_TRY(append_quant_state(weight.geometry, static_cast<double>(offset), &entries->bytes, report));
    char* bytes = entries->bytes.data();
    if (entries->bytes.size() - end != state.bytes)
        return report.internal("a quant_state that changed its size");
    std::memcpy(bytes + state.constant, bytes + end, static_cast<uint64_t>(state.bytes));
    return entries->bytes.resize(end) ? MOEQ_OK : report.internal("an array that cannot shrink");
}

moeq_status write_config(const WrittenModel& model, text::JsonWriter& out, Report& report)
{
    const Geometry* first = model.weight_count == 0 ? nullptr : &model.weights[0].geometry;
    for (int64_t i = 1; i < model.weight_count; ++i) {
        const moeq_spec& spec = model.weights[i].geometry.spec;
        if (spec.format != first->spec.format || spec.nested != first->spec.nested)
            return refuse_mixed(kBitsandbytesDialect, "format", model.weights[0], model.weights[i], report);
    }
    const bool four_bits = first != nullptr && first->format->code_bits == 4;
    const int32_t dtype =
        first == nullptr || first->spec.logical_dtype == 0 ? MOEQ_DTYPE_BF16 : first->spec.logical_dtype;
    out.begin_object();
    out.key("quant_method").string("bitsandbytes");
    for (const char* prefix : {"_load_in_", "load_in_"}) {
        char key[24];
        out.key(Text(key, sizeof key).add(prefix).add("4bit").c_str()).boolean(four_bits);
        out.key(Text(key, sizeof key).add(prefix).add("8bit").c_str()).boolean(first != nullptr && !four_bits);
    }
    out.key("bnb_4bit_compute_dtype").string(torch_dtype_name(dtype));
    out.key("bnb_4bit_quant_storage").string("uint8");
    out.key("bnb_4bit_quant_type").string(four_bits ? quant_type(*first).name : "fp4");
    out.key("bnb_4bit_use_double_quant").boolean(four_bits && first->nested());
    out.key("llm_int8_enable_fp32_cpu_offload").boolean(false);
    out.key("llm_int8_has_fp16_weight").boolean(false);
    out.key("llm_int8_threshold").raw("6.0", 3); // transformers takes no integer here
    out.key("llm_int8_skip_modules");
    write_dense_modules(model, out);
    out.end_object();
    return MOEQ_OK;
}

// ---- reading

class Recogniser {
public:
    Recogniser(Allocator& allocator, const Checkpoint& checkpoint, Weights* out, Report& report)
        : allocator_(allocator), checkpoint_(checkpoint), out_(out), report_(report), logical_(model_dtype(checkpoint)),
          parents_(allocator)
    {
    }

    moeq_status run()
    {
        for (int64_t i = 0; i < checkpoint_.tensor_count(); ++i) {
            const FileEntry& entry = checkpoint_.tensor(i).entry;
            const int64_t stem = state_stem(entry);
            if (stem >= 0)
                MOEQ_TRY(add_4bit(i, stem));
            else if (ends_with(entry, ".SCB"))
                MOEQ_TRY(add_int8(i, "weight", 3));
            else if (ends_with(entry, kRowStats))
                MOEQ_TRY(add_int8(i, "", sizeof kRowStats - 1));
        }
        MOEQ_TRY(list_parents());
        for (int64_t i = 0; i < checkpoint_.tensor_count(); ++i)
            if (!out_->is_taken(i))
                MOEQ_TRY(check_unclaimed(i));
        return MOEQ_OK;
    }

private:
    Failure refuse(int64_t tensor, const char* class_id)
    {
        return refuse_tensor(checkpoint_, tensor, MOEQ_ERROR_FORMAT, class_id, report_);
    }
    Failure refuse_unsupported(int64_t tensor)
    {
        return refuse_tensor(checkpoint_, tensor, MOEQ_ERROR_UNSUPPORTED, "", report_);
    }

    // Length of P in "P.quant_state.bitsandbytes__..."; -1: another name.
    static int64_t state_stem(const FileEntry& entry)
    {
        const char* found = std::strstr(entry.name, kQuantStateStem);
        return found == nullptr ? -1 : found - entry.name;
    }

    // The tensor P + suffix. FORMAT, F28, where there is none.
    moeq_status require(int64_t from, int64_t stem, const char* suffix, int64_t* out)
    {
        *out = find_tensor(checkpoint_, checkpoint_.tensor(from).entry.name, stem, suffix);
        if (*out < 0)
            return refuse(from, "F28") << "got no tensor " << (*suffix == '\0' ? "of codes" : suffix)
                                       << " beside it; want all parts of the weight" << shard_hint(checkpoint_);
        return MOEQ_OK;
    }

    moeq_status add_4bit(int64_t description, int64_t stem)
    {
        const FileEntry& entry = checkpoint_.tensor(description).entry;
        const QuantType* type = find_quant_type(entry.name + stem);
        if (type == nullptr)
            return refuse_unsupported(description) << "got a quant_state of another type; want nf4 or fp4";
        int64_t codes, absmax, map, nested_scale = -1, nested_map = -1;
        MOEQ_TRY(require(description, stem, "", &codes));
        if (out_->is_taken(codes))
            return refuse(description, "F11") << "got a second quant_state for one weight; want exactly one";
        MOEQ_TRY(require(description, stem, kAbsmaxSuffix, &absmax));
        MOEQ_TRY(require(description, stem, kQuantMap, &map));
        QuantState state;
        MOEQ_TRY(read_quant_state(allocator_, checkpoint_, description, *type, &state, report_));
        if (state.nested) {
            MOEQ_TRY(require(description, stem, kNestedAbsmax, &nested_scale));
            MOEQ_TRY(require(description, stem, kNestedMap, &nested_map));
        }
        Geometry geometry;
        MOEQ_TRY(make_4bit_geometry(description, *type, state, &geometry));
        MOEQ_TRY(check_codes(codes, geometry));
        MOEQ_TRY(check_component(checkpoint_, absmax, geometry, MOEQ_COMPONENT_SCALE, report_));
        MOEQ_TRY(check_map(map, geometry));
        Weight weight = make_weight(checkpoint_, codes, geometry);
        weight.tensors[MOEQ_COMPONENT_SCALE] = absmax;
        if (state.nested) {
            MOEQ_TRY(check_component(checkpoint_, nested_scale, geometry, MOEQ_COMPONENT_NESTED_SCALE, report_));
            MOEQ_TRY(check_component(checkpoint_, nested_map, geometry, MOEQ_COMPONENT_NESTED_MAP, report_));
            weight.tensors[MOEQ_COMPONENT_NESTED_SCALE] = nested_scale;
            weight.tensors[MOEQ_COMPONENT_NESTED_MAP] = nested_map;
            weight.nested_offset = state.offset;
        }
        MOEQ_TRY(out_->add(checkpoint_, weight, report_));
        MOEQ_TRY(out_->describe(checkpoint_, map, report_));
        return out_->describe(checkpoint_, description, report_);
    }

    moeq_status make_4bit_geometry(int64_t description, const QuantType& type, const QuantState& state, Geometry* out)
    {
        moeq_spec spec{};
        spec.struct_size = sizeof spec;
        spec.format = type.format;
        spec.block_columns = state.block;
        spec.nested = state.nested ? 1 : 0;
        spec.logical_dtype = state.dtype;
        MOEQ_TRY(file_geometry(checkpoint_, description, spec, state.ndim, state.shape, out, report_));
        if (runs_flat(*out))
            return MOEQ_OK;
        spec.blocking = MOEQ_BLOCKING_FLAT;
        return file_geometry(checkpoint_, description, spec, state.ndim, state.shape, out, report_);
    }

    // Codes are bytes, whatever element type they are said to have (quant_storage).
    moeq_status check_codes(int64_t tensor, const Geometry& geometry)
    {
        const FileEntry& entry = checkpoint_.tensor(tensor).entry;
        const int64_t want = geometry.format->code_bytes(geometry.count());
        if (entry.bytes == want)
            return MOEQ_OK;
        return (refuse(tensor, "F15") << "got " << entry.bytes << " bytes of codes; want " << want << " for shape ")
            .shape(geometry.ndim, geometry.shape);
    }

    // Everybody decodes with the table of the format, so a file with another one would not mean what it says.
    moeq_status check_map(int64_t tensor, const Geometry& geometry)
    {
        const int64_t values = 16;
        MOEQ_TRY(check_shape(checkpoint_, tensor, 1, &values, report_));
        if (checkpoint_.tensor(tensor).entry.dtype != MOEQ_DTYPE_FP32)
            return refuse(tensor, "F15") << "got the type " << dtype_name(checkpoint_.tensor(tensor).entry.dtype)
                                         << "; want fp32";
        float map[16];
        MOEQ_TRY(checkpoint_.read(tensor, 0, sizeof map, map, report_));
        for (int i = 0; i < values; ++i)
            if (!(map[i] == geometry.format->code_map[i])) // 0 and -0 are one value
                return refuse_unsupported(tensor) << "got another value for code " << i << " than "
                                                  << geometry.format->name << " has; want its table";
        return MOEQ_OK;
    }

    // statistics: "STEM" + SCB, or P.row_stats; codes: STEM + `codes_suffix`.
    moeq_status add_int8(int64_t statistics, const char* codes_suffix, int64_t tail)
    {
        const FileEntry& entry = checkpoint_.tensor(statistics).entry;
        const int64_t stem = entry.name_length - tail;
        const bool linear = *codes_suffix != '\0';
        int64_t codes;
        MOEQ_TRY(require(statistics, stem, codes_suffix, &codes));
        const FileEntry& found = checkpoint_.tensor(codes).entry;
        if (found.dtype != MOEQ_DTYPE_INT8)
            return refuse(codes, "F15") << "got the type " << dtype_name(found.dtype) << "; want int8 beside "
                                        << (linear ? "SCB" : "row_stats");
        moeq_spec spec{};
        spec.struct_size = sizeof spec;
        spec.format = MOEQ_FORMAT_INT8;
        spec.logical_dtype = logical_;
        Geometry geometry;
        MOEQ_TRY(file_geometry(checkpoint_, codes, spec, found.ndim, found.shape, &geometry, report_));
        MOEQ_TRY(check_component(checkpoint_, statistics, geometry, MOEQ_COMPONENT_SCALE, report_));
        Weight weight = make_weight(checkpoint_, codes, geometry);
        weight.tensors[MOEQ_COMPONENT_SCALE] = statistics;
        MOEQ_TRY(out_->add(checkpoint_, weight, report_));
        return linear ? check_weight_format(find_tensor(checkpoint_, entry.name, stem, "weight_format")) : MOEQ_OK;
    }

    // The order of the codes: 0 is row-major; the others were for GPUs of their time, and bitsandbytes refuses them too.
    moeq_status check_weight_format(int64_t tensor)
    {
        if (tensor < 0)
            return MOEQ_OK;
        const FileEntry& entry = checkpoint_.tensor(tensor).entry;
        uint8_t number = 0;
        if (entry.bytes != 1)
            return refuse(tensor, "F15") << "got " << entry.bytes << " bytes; want one";
        MOEQ_TRY(checkpoint_.read(tensor, 0, 1, &number, report_));
        if (number != 0)
            return refuse_unsupported(tensor) << "got weight format " << number
                                              << "; want 0, row-major: save the model again with a newer bitsandbytes";
        return out_->describe(checkpoint_, tensor, report_);
    }

    // Names of the 4-bit weights, sorted as if each ended with a dot. One that is below another says nothing more and is left out:
    // so of what sorts before a name, only the last one can have it below itself.
    moeq_status list_parents()
    {
        if (!parents_.reserve(out_->weights.size()))
            return report_.out_of_memory(static_cast<uint64_t>(out_->weights.size()) * sizeof(text::NameView));
        for (const Weight& weight : out_->weights) {
            const text::NameView name{weight.name, weight.name_length};
            if (find_format(weight.spec.format)->code_bits == 4)
                parents_.append_reserved(&name, 1);
        }
        std::sort(parents_.begin(), parents_.end(), is_before);
        int64_t kept = 0;
        for (int64_t i = 0; i < parents_.size(); ++i)
            if (kept == 0 || !is_below(parents_[i], parents_[kept - 1]))
                parents_[kept++] = parents_[i];
        return parents_.resize(kept) ? MOEQ_OK : report_.internal("an array that cannot shrink");
    }
    static int32_t char_at(const text::NameView& name, int64_t i)
    {
        return i < name.length ? static_cast<unsigned char>(name.text[i]) : '.';
    }
    static bool is_before(const text::NameView& a, const text::NameView& b)
    {
        const int64_t common = minimum(a.length, b.length);
        const int32_t order = std::memcmp(a.text, b.text, static_cast<uint64_t>(common));
        if (order != 0 || a.length == b.length)
            return order < 0;
        const int32_t left = char_at(a, common), right = char_at(b, common);
        return left != right ? left < right : a.length < b.length;
    }
    static bool is_below(const text::NameView& name, const text::NameView& parent)
    {
        return name.length > parent.length && name.text[parent.length] == '.' &&
               std::memcmp(name.text, parent.text, static_cast<uint64_t>(parent.length)) == 0;
    }

    // bitsandbytes stops at names below a quantized parameter that it does not know, so it is not a file of its own.
    moeq_status check_unclaimed(int64_t tensor)
    {
        const FileEntry& entry = checkpoint_.tensor(tensor).entry;
        const text::NameView name{entry.name, entry.name_length};
        const text::NameView* behind = std::upper_bound(parents_.begin(), parents_.end(), name, is_before);
        if (behind != parents_.begin() && is_below(name, behind[-1]))
            return refuse(tensor, "F15")
                   << "got a part that bitsandbytes does not know below a quantized weight; want none";
        for (const char* suffix : {kAbsmaxSuffix, kQuantMap, kNestedAbsmax, kNestedMap})
            if (ends_with(entry, suffix))
                return refuse(tensor, "F28")
                       << "got a part of a weight without its quant_state; want exactly one" << shard_hint(checkpoint_);
        return MOEQ_OK;
    }

    Allocator& allocator_;
    const Checkpoint& checkpoint_;
    Weights* out_;
    Report& report_;
    int32_t logical_;
    Array<text::NameView> parents_;
};

// Codes of 4 bits are a column of bytes. Nothing else in such a file is of these types and has two axes.
bool lacks_scales(const Checkpoint& checkpoint, int64_t tensor)
{
    const FileEntry& entry = checkpoint.tensor(tensor).entry;
    const bool column = entry.ndim == 2 && entry.shape[0] > 1 && entry.shape[1] == 1;
    return (entry.dtype == MOEQ_DTYPE_UINT8 && column) ||
           (entry.dtype == MOEQ_DTYPE_INT8 && (entry.ndim == 2 || entry.ndim == 3));
}

moeq_status recognise(Allocator& allocator, const Checkpoint& checkpoint, Weights* out, Report& report)
{
    return Recogniser(allocator, checkpoint, out, report).run();
}

} // namespace

constinit const Dialect kBitsandbytesDialect = {
    .id = MOEQ_DIALECT_BITSANDBYTES,
    .name = "bitsandbytes",
    .experts = ExpertForm::kAsTheyAre,
    .scale_kind = MOEQ_SCALE_ABSMAX,
    .adjust = adjust,
    .list = list,
    .fill = fill,
    .write_metadata = write_torch_metadata,
    .write_config = write_config,
    .recognise = recognise,
    .lacks_scales = lacks_scales,
};

} // namespace moeq::store
