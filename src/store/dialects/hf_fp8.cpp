// The block FP8 of DeepSeek's checkpoints and of transformers (quant_method "fp8"): NAME fp8_e4m3, and NAME_scale_inv fp32, which,
// despite its name, is what codes are multiplied by. 2-D weights "....weight" with "....weight_scale_inv" (or, in some releases,
// "....scale", "....qscale_weight"), or one tensor
// [E, rows, columns] for all experts. The tile stands in config.json (weight_block_size) and is never taken from sizes; null:
// one scale for each projection of each expert.
#include "store/dialects/module_names.h"
#include "store/dialects/parts.h"

namespace moeq::store {

namespace {

constexpr char kScale[] = "_scale_inv";

// What scales are called, and their codes.
struct ScaleName {
    const char* scale; // what the name ends with
    const char* codes; // what stands there in that of the codes
    bool always;       // nothing else is called so
};
constexpr ScaleName kScaleNames[] = {
    {kScale, "", true},
    {"_scales_inv", "", true},           // of an older revision of transformers
    {".qscale_weight", ".weight", true}, // Mistral Large 4
    {".scale", ".weight", false},        // DeepSeek-V4
};

// ---- writing

void adjust(moeq_spec* spec, int32_t, const int64_t*)
{
    if (spec->granularity == MOEQ_GRANULARITY_DEFAULT)
        spec->granularity = MOEQ_GRANULARITY_BLOCK;
}

bool fits(const moeq_spec& spec)
{
    return spec.format == MOEQ_FORMAT_FP8_E4M3 && spec.scale_kind == MOEQ_SCALE_FACTOR &&
           spec.granularity != MOEQ_GRANULARITY_ROW;
}

moeq_status list(const Geometry& g, const char* name, DialectEntries* out, Report& report)
{
    if (!fits(g.spec))
        return refuse_to_write(kHfFp8Dialect, g, name, report) << "fp8_e4m3:block128x128, or fp8_e4m3:expert";
    // The other side counts tiles from the first row to the last: none may be cut where gate ends and up begins.
    for (const Tiling& tiling : {g.row_tiling, g.column_tiling})
        if (tiling.border % tiling.size != 0)
            return refuse_to_write(kHfFp8Dialect, g, name, report)
                   << "gate and up of whole tiles, " << tiling.border << " a multiple of " << tiling.size
                   << ": write experts as 2-D weights, or choose another tile";
    // Without tiles, modules of the other side have one scale for gate and one for up.
    if (g.spec.granularity == MOEQ_GRANULARITY_EXPERT && g.ndim > 2 && g.spec.layout != MOEQ_LAYOUT_PLAIN)
        return refuse_to_write(kHfFp8Dialect, g, name, report)
               << "a scale for gate and one for up: write experts as 2-D weights, or choose tiles";
    add_component(g, MOEQ_COMPONENT_CODES, "", out);
    if (g.spec.granularity == MOEQ_GRANULARITY_BLOCK) {
        add_component(g, MOEQ_COMPONENT_SCALE, kScale, out);
        return MOEQ_OK;
    }
    // [E, 1, 1] for all experts, and no axis for one.
    int64_t shape[kMaxDims] = {};
    const int32_t ndim = g.ndim == 2 ? 0 : g.ndim;
    for (int32_t i = 0; i < ndim; ++i)
        shape[i] = i < g.lead() ? g.shape[i] : 1;
    add_component(g, MOEQ_COMPONENT_SCALE, kScale, ndim, shape, out);
    return MOEQ_OK;
}

moeq_status write_config(const WrittenModel& model, text::JsonWriter& out, Report& report)
{
    for (int64_t i = 1; i < model.weight_count; ++i) {
        const moeq_spec& spec = model.weights[i].geometry.spec;
        const moeq_spec& first = model.weights[0].geometry.spec;
        if (spec.granularity != first.granularity || spec.block_rows != first.block_rows ||
            spec.block_columns != first.block_columns)
            return refuse_mixed(kHfFp8Dialect, "size of tiles", model.weights[0], model.weights[i], report);
    }
    const text::JsonValue activations = model.source.find("activation_scheme");
    for (int64_t i = 0; i < model.weight_count && activations.equals("static"); ++i)
        if (!model.weights[i].kept)
            return report.fail(MOEQ_ERROR_UNSUPPORTED).quoted(model.weights[i].name)
                   << ": got a new weight beside those of a source whose activations have static scales; want none, or "
                      "a "
                      "dialect in which weights differ in that";
    out.begin_object();
    out.key("quant_method").string("fp8");
    out.key("fmt").string("e4m3");
    out.key("activation_scheme").string(activations.is_string() ? activations.text() : "dynamic");
    if (!model.source.find("scale_fmt").missing())
        out.key("scale_fmt").copy(model.source.find("scale_fmt"));
    out.key("weight_block_size");
    if (model.weight_count != 0 && model.weights[0].geometry.spec.granularity != MOEQ_GRANULARITY_BLOCK) {
        out.null();
    } else {
        const moeq_spec* spec = model.weight_count == 0 ? nullptr : &model.weights[0].geometry.spec;
        out.begin_array();
        out.integer(spec == nullptr ? 128 : spec->block_rows).integer(spec == nullptr ? 128 : spec->block_columns);
        out.end_array();
    }
    out.key("modules_to_not_convert");
    write_dense_modules(model, out, true); // transformers matches them as regular expressions
    out.end_object();
    return MOEQ_OK;
}

// ---- reading

class Recogniser {
public:
    Recogniser(const Checkpoint& checkpoint, Weights* out, Report& report)
        : checkpoint_(checkpoint), out_(out), report_(report)
    {
    }

    moeq_status run()
    {
        MOEQ_TRY(read_config());
        for (int64_t i = 0; i < checkpoint_.tensor_count(); ++i) {
            const FileEntry& entry = checkpoint_.tensor(i).entry;
            for (const ScaleName& name : kScaleNames)
                if (ends_with(entry, name.scale))
                    MOEQ_TRY(add(i, entry.name_length - static_cast<int64_t>(std::strlen(name.scale)), name));
        }
        return MOEQ_OK;
    }

private:
    moeq_status read_config()
    {
        spec_.struct_size = sizeof spec_;
        spec_.format = MOEQ_FORMAT_FP8_E4M3;
        spec_.granularity = MOEQ_GRANULARITY_EXPERT;
        spec_.logical_dtype = model_dtype(checkpoint_);
        const text::JsonValue config = quantization_config(checkpoint_);
        const text::JsonValue tile = config.find("weight_block_size");
        if (tile.is(text::JsonKind::kNull))
            return MOEQ_OK;
        spec_.granularity = MOEQ_GRANULARITY_BLOCK;
        if (tile.missing()) // the default of transformers
            return MOEQ_OK;
        const text::JsonMember rows = tile.first();
        if (!tile.is_array() || tile.size() != 2 || !get_integer_in(rows.value(), 1, 1 << 20, &spec_.block_rows) ||
            !get_integer_in(rows.next().value(), 1, 1 << 20, &spec_.block_columns)) {
            Failure failure = report_.fail(MOEQ_ERROR_FORMAT);
            report_.set_class("F15");
            return failure
                   << "config.json: quantization_config: weight_block_size: want null, or two integers of 1 or more";
        }
        return MOEQ_OK;
    }

    moeq_status add(int64_t scale, int64_t stem, const ScaleName& name)
    {
        const int64_t codes = find_tensor(checkpoint_, checkpoint_.tensor(scale).entry.name, stem, name.codes);
        if (!name.always && (codes < 0 || checkpoint_.tensor(codes).entry.dtype != MOEQ_DTYPE_FP8_E4M3FN))
            return MOEQ_OK;
        if (codes < 0)
            return refuse_tensor(checkpoint_, scale, MOEQ_ERROR_FORMAT, "F28", report_)
                   << "got scales without codes; want the tensor that they belong to" << shard_hint(checkpoint_);
        const FileEntry& entry = checkpoint_.tensor(codes).entry;
        // int8 beside such scales is packed FP4 (DeepSeek-V4): not understood, so it stays a plain tensor.
        if (entry.dtype == MOEQ_DTYPE_INT8 || entry.dtype == MOEQ_DTYPE_FP4_E2M1)
            return MOEQ_OK;
        if (entry.dtype != MOEQ_DTYPE_FP8_E4M3FN)
            return refuse_tensor(checkpoint_, codes, MOEQ_ERROR_FORMAT, "F15", report_)
                   << "got the type " << dtype_name(entry.dtype) << "; want fp8_e4m3, as it has scales";
        Geometry geometry;
        MOEQ_TRY(file_geometry(checkpoint_, codes, spec_of(entry, checkpoint_.tensor(scale).entry), entry.ndim,
                               entry.shape, &geometry, report_));
        MOEQ_TRY(check_component(checkpoint_, scale, geometry, MOEQ_COMPONENT_SCALE, report_, true));
        TensorView want;
        component_layout(geometry, MOEQ_COMPONENT_SCALE, &want);
        MOEQ_TRY(check_shape(checkpoint_, scale, want.ndim, want.shape, report_));
        Weight weight = make_weight(checkpoint_, codes, geometry);
        weight.tensors[MOEQ_COMPONENT_SCALE] = scale;
        return out_->add(checkpoint_, weight, report_);
    }

    // Without tiles a fused weight has a scale for each projection in it: one, or one for gate and one for up.
    moeq_spec spec_of(const FileEntry& codes, const FileEntry& scale) const
    {
        moeq_spec spec = spec_;
        const bool halves = codes.ndim == 3 && scale.ndim == 3 && scale.shape[1] == 2 && codes.shape[1] % 2 == 0;
        if (spec.granularity != MOEQ_GRANULARITY_EXPERT || !halves || codes.shape[1] > INT32_MAX ||
            codes.shape[2] > INT32_MAX || codes.bytes == 0)
            return spec;
        spec.granularity = MOEQ_GRANULARITY_BLOCK;
        spec.block_rows = static_cast<int32_t>(codes.shape[1] / 2);
        spec.block_columns = static_cast<int32_t>(codes.shape[2]);
        return spec;
    }

    const Checkpoint& checkpoint_;
    Weights* out_;
    Report& report_;
    moeq_spec spec_{};
};

// Scales of another name are those of another project, which gives itself out as this one.
bool lacks_scales(const Checkpoint& checkpoint, int64_t tensor)
{
    const FileEntry& entry = checkpoint.tensor(tensor).entry;
    if ((entry.dtype != MOEQ_DTYPE_FP8_E4M3FN && entry.dtype != MOEQ_DTYPE_FP8_E5M2) || entry.ndim < 2)
        return false;
    for (const ScaleName& name : kScaleNames) {
        const int64_t stem = entry.name_length - static_cast<int64_t>(std::strlen(name.codes));
        if (ends_with(entry, name.codes) && find_tensor(checkpoint, entry.name, stem, name.scale) >= 0)
            return false;
    }
    return find_tensor(checkpoint, entry.name, entry.name_length, "_scale") < 0;
}

moeq_status recognise(Allocator&, const Checkpoint& checkpoint, Weights* out, Report& report)
{
    return Recogniser(checkpoint, out, report).run();
}

} // namespace

constinit const Dialect kHfFp8Dialect = {
    .id = MOEQ_DIALECT_HF_FP8,
    .name = "hf-fp8",
    .experts = ExpertForm::kLinearsWhereLoaded, // transformers reads fused ones on a GPU only
    .scale_kind = MOEQ_SCALE_FACTOR,
    .adjust = adjust,
    .list = list,
    .fill = nullptr,
    .write_metadata = write_torch_metadata,
    .write_config = write_config,
    .recognise = recognise,
    .lacks_scales = lacks_scales,
};

} // namespace moeq::store
