// compressed-tensors: 2-D weights "X.weight" int8 or fp8_e4m3, with "X.weight_scale", which codes are multiplied by: [rows, 1] for a
// scale per row (channel), [1] for one scale (tensor), one for each tile (block). What kind it is stands in config.json
// (config_groups). Experts are always 2-D weights of their own: nobody reads fused ones.
#include <algorithm>

#include "store/dialects/compressed_tensors_config.h"
#include "store/dialects/parts.h"
#include "text/name_order.h"

namespace moeq::store {

namespace {

constexpr char kScale[] = "_scale"; // after "X.weight"

// ---- writing

void adjust(moeq_spec* spec, int32_t, const int64_t*)
{
    if (spec->scale_kind == MOEQ_SCALE_DEFAULT && spec->format == MOEQ_FORMAT_INT8)
        spec->scale_kind = MOEQ_SCALE_FACTOR;
}

bool fits(const Geometry& g)
{
    const moeq_spec& spec = g.spec;
    const bool int8 = spec.format == MOEQ_FORMAT_INT8 && spec.granularity != MOEQ_GRANULARITY_BLOCK;
    return (int8 || spec.format == MOEQ_FORMAT_FP8_E4M3) && spec.scale_kind == MOEQ_SCALE_FACTOR &&
           !g.scale_per_column();
}

moeq_status list(const Geometry& g, const char* name, DialectEntries* out, Report& report)
{
    if (!fits(g))
        return refuse_to_write(kCompressedTensorsDialect, g, name, report)
               << "int8:row,scale=factor or int8:expert,scale=factor, or fp8_e4m3 with scales per row, block or expert";
    if (g.ndim != 2 || !ends_with(name, ".weight"))
        return refuse_to_write(kCompressedTensorsDialect, g, name, report)
               << "2-D weights NAME.weight, one for each expert and projection";
    for (const Tiling& tiling : {g.row_tiling, g.column_tiling})
        if (tiling.border % tiling.size != 0)
            return refuse_to_write(kCompressedTensorsDialect, g, name, report) << "gate and up of whole tiles";
    add_component(g, MOEQ_COMPONENT_CODES, "", out);
    const int64_t row_scales[2] = {g.rows, 1};
    const int64_t one = 1;
    if (g.spec.granularity == MOEQ_GRANULARITY_BLOCK)
        add_component(g, MOEQ_COMPONENT_SCALE, kScale, out);
    else if (g.spec.granularity == MOEQ_GRANULARITY_ROW)
        add_component(g, MOEQ_COMPONENT_SCALE, kScale, 2, row_scales, out);
    else
        add_component(g, MOEQ_COMPONENT_SCALE, kScale, 1, &one, out);
    return MOEQ_OK;
}

// ---- reading

bool is_understood(const text::JsonValue& format)
{
    if (!format.is_string())
        return true; // of a group: the checkpoint's
    for (const char* known : {"int-quantized", "float-quantized", "naive-quantized", "mixed-precision"})
        if (format.equals(known))
            return true;
    return false;
}

// False: weights that moeq has no format for.
bool read_scheme(const text::JsonValue& group, const text::JsonValue& checkpoint_format, CompressedScheme* out)
{
    const text::JsonValue weights = group.find("weights");
    const text::JsonValue format = group.find("format");
    int32_t bits = 0;
    bool symmetric = true;
    bool dynamic = false;
    (void)weights.find("symmetric").get_bool(&symmetric);
    (void)weights.find("dynamic").get_bool(&dynamic);
    if (!weights.is_object() || !is_understood(format.is_string() ? format : checkpoint_format) || !symmetric ||
        dynamic || !get_integer_in(weights.find("num_bits"), 8, 8, &bits))
        return false;
    out->format = weights.find("type").equals("float") ? MOEQ_FORMAT_FP8_E4M3 : MOEQ_FORMAT_INT8;
    const text::JsonValue strategy = weights.find("strategy");
    int64_t group_size = 0;
    const bool grouped = weights.find("group_size").get_integer(&group_size) && group_size > 0;
    if (strategy.equals("channel") || (!strategy.is_string() && group_size == -1))
        out->granularity = MOEQ_GRANULARITY_ROW;
    else if (strategy.equals("tensor") || (!strategy.is_string() && !grouped))
        out->granularity = MOEQ_GRANULARITY_EXPERT;
    else if (strategy.equals("block"))
        out->granularity = MOEQ_GRANULARITY_BLOCK;
    else
        return false;
    const text::JsonMember tile = weights.find("block_structure").first();
    return !out->is_block() ||
           (weights.find("block_structure").size() == 2 && get_integer_in(tile.value(), 1, 1 << 20, &out->block_rows) &&
            get_integer_in(tile.next().value(), 1, 1 << 20, &out->block_columns));
}

// A name among the targets of a group.
struct Target {
    text::NameView name;
    int64_t group;
};

bool is_before(const Target& a, const Target& b)
{
    const int32_t order = text::compare_names(a.name, b.name);
    return order != 0 ? order < 0 : a.group < b.group;
}

constexpr int64_t kMostSchemes = 16; // that differ: each weight may be tried with each
constexpr int64_t kNoScheme = -1;    // of a group: weights that moeq has no format for

class Recogniser {
public:
    Recogniser(Allocator& allocator, const Checkpoint& checkpoint, Weights* out, Report& report)
        : checkpoint_(checkpoint), out_(out), report_(report), config_(quantization_config(checkpoint)),
          logical_(model_dtype(checkpoint)), schemes_(allocator), groups_(allocator), targets_(allocator)
    {
    }

    moeq_status run()
    {
        MOEQ_TRY(read_groups());
        for (int64_t i = 0; i < checkpoint_.tensor_count(); ++i)
            if (ends_with(checkpoint_.tensor(i).entry, ".weight_scale"))
                MOEQ_TRY(add(i));
        return MOEQ_OK;
    }

private:
    moeq_status read_groups()
    {
        const text::JsonValue groups = config_.find("config_groups");
        const int64_t count = groups.is_object() ? groups.size() : 0;
        if (!groups_.reserve(count) || !schemes_.reserve(kMostSchemes))
            return report_.out_of_memory(static_cast<uint64_t>(count) * sizeof(int64_t));
        for (text::JsonMember member = groups.first(); count != 0 && !member.done(); member = member.next()) {
            CompressedScheme scheme;
            int64_t index = kNoScheme;
            if (read_scheme(member.value(), config_.find("format"), &scheme))
                MOEQ_TRY(find_scheme(scheme, &index));
            MOEQ_TRY(add_targets(member.value().find("targets")));
            groups_.append_reserved(&index, 1);
        }
        std::sort(targets_.begin(), targets_.end(), is_before);
        return MOEQ_OK;
    }

    moeq_status find_scheme(const CompressedScheme& scheme, int64_t* out)
    {
        *out = std::find(schemes_.begin(), schemes_.end(), scheme) - schemes_.begin();
        if (*out < schemes_.size())
            return MOEQ_OK;
        if (*out == kMostSchemes)
            return report_.fail(MOEQ_ERROR_UNSUPPORTED)
                   << "got config_groups of more than " << kMostSchemes << " kinds in config.json; want fewer";
        schemes_.append_reserved(&scheme, 1);
        return MOEQ_OK;
    }

    moeq_status add_targets(const text::JsonValue& targets)
    {
        if (!targets.is_array())
            return MOEQ_OK;
        if (!targets_.reserve(targets_.size() + targets.size()))
            return report_.out_of_memory(static_cast<uint64_t>(targets.size()) * sizeof(Target));
        for (text::JsonMember member = targets.first(); !member.done(); member = member.next()) {
            const Target target{{member.value().text(), member.value().length()}, groups_.size()};
            targets_.append_reserved(&target, 1);
        }
        return MOEQ_OK;
    }

    // The geometry of codes under a scheme, and whether the scales have the size that it asks for.
    moeq_status try_scheme(int64_t codes, int64_t scale, const CompressedScheme& scheme, Geometry* out, Report& report)
    {
        const FileEntry& entry = checkpoint_.tensor(codes).entry;
        moeq_spec spec{};
        spec.struct_size = sizeof spec;
        spec.format = scheme.format;
        spec.granularity = scheme.granularity;
        spec.block_rows = scheme.block_rows;
        spec.block_columns = scheme.block_columns;
        spec.scale_kind = MOEQ_SCALE_FACTOR;
        spec.logical_dtype = logical_;
        MOEQ_TRY(file_geometry(checkpoint_, codes, spec, entry.ndim, entry.shape, out, report));
        MOEQ_TRY(check_component(checkpoint_, codes, *out, MOEQ_COMPONENT_CODES, report));
        MOEQ_TRY(check_component(checkpoint_, scale, *out, MOEQ_COMPONENT_SCALE, report));
        TensorView want;
        component_layout(*out, MOEQ_COMPONENT_SCALE, &want);
        return check_shape(checkpoint_, scale, want.ndim, want.shape, report);
    }

    // What trying schemes on one weight has led to.
    struct Choice {
        int64_t codes, scale; // tensors
        int32_t tried = 0, fitting = 0;
        CompressedScheme chosen{}, unfit{};
        Geometry geometry{};
    };

    void try_on(int64_t index, Choice* choice)
    {
        if (index == kNoScheme)
            return;
        const CompressedScheme& scheme = schemes_[index];
        if (find_format(scheme.format)->code_dtype != checkpoint_.tensor(choice->codes).entry.dtype ||
            (choice->fitting != 0 && scheme == choice->chosen))
            return;
        ++choice->tried;
        Report quiet("", nullptr);
        Geometry possible;
        if (try_scheme(choice->codes, choice->scale, scheme, &possible, quiet) != MOEQ_OK) {
            choice->unfit = scheme;
            return;
        }
        ++choice->fitting;
        choice->chosen = scheme;
        choice->geometry = possible;
    }

    // The scheme that a weight has. A group that names the module counts before all others; where several are left (classes and
    // regular expressions are not looked at), the element type and the number of scales have to leave one meaning.
    moeq_status add(int64_t scale)
    {
        const FileEntry& entry = checkpoint_.tensor(scale).entry;
        const int64_t stem = entry.name_length - (static_cast<int64_t>(sizeof kScale) - 1);
        const int64_t codes = find_tensor(checkpoint_, entry.name, stem, "");
        if (codes < 0)
            return MOEQ_OK; // of a packed format
        const FileEntry& weight = checkpoint_.tensor(codes).entry;
        if (weight.dtype != MOEQ_DTYPE_INT8 && weight.dtype != MOEQ_DTYPE_FP8_E4M3FN)
            return MOEQ_OK; // not compressed
        Choice choice{.codes = codes, .scale = scale};
        const text::NameView module{entry.name, stem - static_cast<int64_t>(std::strlen(".weight"))};
        const Target* target = std::lower_bound(targets_.begin(), targets_.end(), Target{module, 0}, is_before);
        for (; target != targets_.end() && text::compare_names(target->name, module) == 0; ++target)
            try_on(groups_[target->group], &choice);
        const bool named = choice.tried != 0;
        for (int64_t i = 0; !named && i < schemes_.size(); ++i)
            try_on(i, &choice);
        if (choice.fitting == 1)
            return claim(codes, scale, stem, choice.geometry);
        if (choice.fitting > 1)
            return refuse_tensor(checkpoint_, codes, MOEQ_ERROR_UNSUPPORTED, "", report_)
                   << "got several groups of config.json that fit; want the module's name among the targets of one";
        // Nothing tried: another format, and so a plain tensor. Else the last one says what is wrong.
        return choice.tried == 0 ? MOEQ_OK : try_scheme(codes, scale, choice.unfit, &choice.geometry, report_);
    }

    moeq_status claim(int64_t codes, int64_t scale, int64_t stem, const Geometry& geometry)
    {
        Weight weight = make_weight(checkpoint_, codes, geometry);
        weight.tensors[MOEQ_COMPONENT_SCALE] = scale;
        MOEQ_TRY(out_->add(checkpoint_, weight, report_));
        const int64_t zeros = find_tensor(checkpoint_, checkpoint_.tensor(codes).entry.name, stem, "_zero_point");
        return zeros < 0 ? MOEQ_OK : check_zero_points(zeros);
    }

    // Early releases wrote the zero points of symmetric weights too.
    moeq_status check_zero_points(int64_t tensor)
    {
        const int64_t bytes = checkpoint_.tensor(tensor).entry.bytes;
        char buffer[4096];
        for (int64_t begin = 0; begin < bytes; begin += static_cast<int64_t>(sizeof buffer)) {
            const int64_t some = minimum(bytes - begin, static_cast<int64_t>(sizeof buffer));
            MOEQ_TRY(checkpoint_.read(tensor, begin, some, buffer, report_));
            for (int64_t i = 0; i < some; ++i)
                if (buffer[i] != 0)
                    return refuse_tensor(checkpoint_, tensor, MOEQ_ERROR_UNSUPPORTED, "", report_)
                           << "got a zero point that is not 0; want symmetric codes";
        }
        return out_->describe(checkpoint_, tensor, report_);
    }

    const Checkpoint& checkpoint_;
    Weights* out_;
    Report& report_;
    text::JsonValue config_;
    int32_t logical_;
    Array<CompressedScheme> schemes_; // those that differ
    Array<int64_t> groups_;           // indices of schemes, kNoScheme
    Array<Target> targets_;           // of all groups, sorted
};

bool lacks_scales(const Checkpoint& checkpoint, int64_t tensor)
{
    const FileEntry& entry = checkpoint.tensor(tensor).entry;
    return (entry.dtype == MOEQ_DTYPE_INT8 || entry.dtype == MOEQ_DTYPE_FP8_E4M3FN) && entry.ndim >= 2 &&
           ends_with(entry, ".weight") && find_tensor(checkpoint, entry.name, entry.name_length, kScale) < 0;
}

moeq_status recognise(Allocator& allocator, const Checkpoint& checkpoint, Weights* out, Report& report)
{
    return Recogniser(allocator, checkpoint, out, report).run();
}

} // namespace

constinit const Dialect kCompressedTensorsDialect = {
    .id = MOEQ_DIALECT_COMPRESSED_TENSORS,
    .name = "compressed-tensors",
    .experts = ExpertForm::kLinears,
    .scale_kind = MOEQ_SCALE_FACTOR,
    .adjust = adjust,
    .list = list,
    .fill = nullptr,
    .write_metadata = write_torch_metadata,
    .write_config = write_compressed_tensors_config,
    .recognise = recognise,
    .lacks_scales = lacks_scales,
};

} // namespace moeq::store
