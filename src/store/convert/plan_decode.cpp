// What a plan knows of weights that become dense.
#include "store/convert/plan_decode.h"
#include "core/text.h"
#include "store/dialects/parts.h"
#include "store/load/buffers.h"

namespace moeq::store {

namespace {

constexpr const char kWeight[] = ".weight";

// After the name of a weight, or of its module: what goes with its codes and is no part of them.
constexpr const char* kBesideCodes[] = {
    ".input_scale",      ".input_zero_point", ".input_global_scale", ".output_scale", ".output_zero_point",
    ".activation_scale", "_activation_scale", "_input_scale",        ".weight_shape", ".weight_zero_point"};
// Scales with one element, after the name of a module.
constexpr const char* kOfCaches[] = {".k_scale", ".v_scale", ".q_scale", ".kv_scale", ".prob_output_scale"};

// Experts stay what is read together.
void set_shape_of_file(Geometry* weight)
{
    weight->ndim = 2;
    weight->shape[0] = weight->experts * weight->rows;
    weight->shape[1] = weight->columns;
}

int64_t length_of(const char* text) { return static_cast<int64_t>(std::strlen(text)); }

} // namespace

namespace {

// A weight of moeq's own, whose name says nothing of how it lies, as other files have it.
class NativeShaper {
public:
    NativeShaper(const Weights& weights, PlanItem* item, Array<int64_t>* names, Array<char>* names_text, Report& report)
        : weights_(weights), stack_(weights.stacks[item->source]), item_(item), names_(names), text_(names_text),
          report_(report)
    {
    }

    moeq_status run()
    {
        const Weight& weight = weights_.piece(stack_, 0);
        MOEQ_TRY(make_geometry(weight.spec, 4, weight.ndim, weight.shape, 2, "source", &item_->out, report_));
        if (stack_.file_name != nullptr)
            return append_name(stack_.file_name, names_, text_, report_);
        const bool halves = stack_.layout == MOEQ_LAYOUT_GATE_UP && stack_.scale_axis == -1;
        item_->parts.count = halves ? 2 : 1;
        item_->out.rows /= item_->parts.count;
        if (stack_.part_names[item_->parts.count - 1] != nullptr)
            return name_parts();
        const bool out_in = stack_.scale_axis == -1 && (halves || stack_.layout == MOEQ_LAYOUT_PLAIN);
        return out_in && weights_.linears_of(stack_) == Linears::kLoaded ? name_linears() : refuse();
    }

private:
    moeq_status refuse() const
    {
        return (report_.fail(MOEQ_ERROR_UNSUPPORTED, 4, "options") << "got ").quoted(stack_.name)
               << ", which files of this model type have in several tensors; want the checkpoint that it was made of";
    }

    moeq_status name_parts()
    {
        item_->split = Split::kParts;
        item_->out.shape[1] = item_->out.rows;
        if (stack_.parts_folded)
            set_shape_of_file(&item_->out);
        for (int32_t i = 0; i < item_->parts.count; ++i)
            MOEQ_TRY(append_name(stack_.part_names[i], names_, text_, report_));
        return MOEQ_OK;
    }

    moeq_status name_linears()
    {
        item_->split = Split::kLinears;
        item_->out.experts = 1;
        set_shape_of_file(&item_->out);
        for (int64_t e = 0; e < stack_.shape[0]; ++e)
            for (int32_t i = 0; i < item_->parts.count; ++i) {
                const Part part = item_->parts.count == 1 ? Part::kWhole : i == 0 ? Part::kGate : Part::kUp;
                MOEQ_TRY(append_linear(weights_, stack_, e, part, names_, text_, report_));
            }
        return MOEQ_OK;
    }

    const Weights& weights_;
    const Stack& stack_;
    PlanItem* item_;
    Array<int64_t>* names_;
    Array<char>* text_;
    Report& report_;
};

} // namespace

moeq_status shape_decoded(const Weights& weights, PlanItem* item, Array<int64_t>* names, Array<char>* names_text,
                          Report& report)
{
    const Stack& stack = weights.stacks[item->source];
    MOEQ_TRY(check_experts(stack, report));
    item->kind = ItemKind::kDecode;
    item->first_name = names->size();
    item->bytes_in = 0;
    const bool made = weights.dialect == MOEQ_DIALECT_NATIVE && stack.expert && stack.fused;
    if (made)
        MOEQ_TRY(NativeShaper(weights, item, names, names_text, report).run());
    for (int64_t i = 0; i < stack.piece_count; ++i) {
        const Weight& weight = weights.piece(stack, i);
        if (!weight.quantized)
            continue;
        if (item->bytes_in == 0 && !made) { // the others have its shape
            MOEQ_TRY(make_geometry(weight.spec, 4, weight.ndim, weight.shape, 2, "source", &item->out, report));
            if (weight.folded) // the file has rows of all experts in two axes
                set_shape_of_file(&item->out);
        }
        item->bytes_in += weight.bytes;
        if (!made)
            MOEQ_TRY(append_name(weight.name, names, names_text, report));
    }
    item->name_count = names->size() - item->first_name;
    item->out_bytes = item->out.count() * dtype_bytes(item->dtype);
    return MOEQ_OK;
}

moeq_status Plan::list_entries(const PlanItem& item, const char* weight, DialectEntries* out, Report& report) const
{
    if (item.kind != ItemKind::kDecode)
        return dialect->list(item.out, weight, out, report);
    DialectEntry& entry = out->entries[out->count++];
    entry = {};
    entry.suffix = "";
    entry.dtype = item.dtype;
    entry.ndim = item.out.ndim;
    for (int32_t i = 0; i < item.out.ndim; ++i)
        entry.shape[i] = item.out.shape[i];
    entry.component = MOEQ_COMPONENT_CODES;
    entry.bytes = item.out_bytes;
    return MOEQ_OK;
}

int64_t decoded_peak(const Weights& weights, const PlanItem& item)
{
    constexpr int64_t kChunkBytes = sizeof(DecodeChunk) + sizeof(Digest) + 32; // what tells tasks what to do
    const ReadNeeds needs = needs_of(weights, weights.stacks[item.source], item.dtype);
    const DecodeCutter cutter(weights, item);
    const int64_t both = cutter.bytes() > cutter.batch_bytes() ? 2 : 1;
    const int64_t scratch = Buffers::bytes_of(wide_row_bytes(item), needs.scratch_bytes, cutter.batch_chunks());
    return both * (cutter.batch_bytes() + cutter.batch_chunks() * kChunkBytes) + scratch;
}

int64_t find_codes_beside(const Checkpoint& checkpoint, int64_t tensor)
{
    const FileEntry& entry = checkpoint.tensor(tensor).entry;
    for (const char* suffix : kBesideCodes) {
        if (!ends_with(entry, suffix))
            continue;
        const int64_t stem = entry.name_length - length_of(suffix);
        const int64_t linear = find_tensor(checkpoint, entry.name, stem, kWeight);
        return linear >= 0 ? linear : find_tensor(checkpoint, entry.name, stem, "");
    }
    return -1;
}

bool is_cache_scale(const Checkpoint& checkpoint, int64_t tensor)
{
    const FileEntry& entry = checkpoint.tensor(tensor).entry;
    int64_t count = 1;
    for (int32_t i = 0; i < entry.ndim; ++i)
        count *= entry.shape[i];
    if (count != 1 || float_type(entry.dtype) < 0)
        return false;
    for (const char* suffix : kOfCaches)
        if (ends_with(entry, suffix))
            return true;
    return false;
}

// What of the target is not of the type that was asked for.
moeq_status Plan::note_dense(const Checkpoint& checkpoint, Report& report)
{
    int32_t made = 0; // the type of what is made dense
    for (const PlanItem& item : items)
        made = item.kind == ItemKind::kDecode ? item.dtype : made;
    char buffer[256];
    const char* told = nullptr;
    if (made != 0 && other_dtypes != 0) {
        Text text(buffer, sizeof buffer);
        text.add("tensors that were dense keep their type, which for ").add(other_dtypes);
        text.add(" of them is not ").add(dtype_name(made));
        MOEQ_TRY(keep_text(text.c_str(), &told, report));
        MOEQ_TRY(note(told, report));
    }
    const int32_t stated = stated_dtype(checkpoint);
    if (made == 0 || stated == 0 || stated == made)
        return MOEQ_OK;
    Text text(buffer, sizeof buffer);
    text.add("config.json says ").add(torch_dtype_name(stated)).add(", as which loaders may take all weights; ");
    text.add("the weights that were quantized are ").add(torch_dtype_name(made));
    MOEQ_TRY(keep_text(text.c_str(), &told, report));
    return note(told, report);
}

// ---- how an item is cut

namespace {

const Weight& first_quantized(const Weights& weights, const Stack& stack)
{
    int64_t i = 0;
    while (i + 1 < stack.piece_count && !weights.piece(stack, i).quantized)
        ++i;
    return weights.piece(stack, i);
}

} // namespace

DecodeCutter::DecodeCutter(const Weights& weights, const PlanItem& item)
    : weights_(weights), stack_(weights.stacks[item.source]), split_(item.split), parts_(item.parts.count),
      experts_(first_quantized(weights, stack_).experts()), height_(first_quantized(weights, stack_).rows()),
      row_bytes_(item.out.columns * dtype_bytes(item.dtype)),
      rows_(minimum(maximum(1, kDecodeBytes / maximum(1, row_bytes_)), maximum(1, height_ / parts_))),
      pieces_(split_ == Split::kPieces ? item.name_count : 1), bytes_(item.out_bytes * item.name_count)
{
}

// Whether there is no quantized piece left.
bool DecodeCutter::is_done()
{
    while (piece_ < stack_.piece_count && !weights_.piece(stack_, piece_).quantized)
        ++piece_;
    return bytes_ == 0 || piece_ == stack_.piece_count;
}

// Where rows of an expert that begin at `row_` go, as far as they go to one tensor.
DecodeChunk DecodeCutter::next() const
{
    const int64_t height = height_ / parts_; // of a part
    const int64_t part = row_ / maximum(1, height);
    const int64_t inside = row_ - part * height;
    DecodeChunk chunk{name_, piece_, expert_, row_, minimum(row_ + rows_, (part + 1) * height), 0, 0, 0};
    int64_t before = expert_ * height_ + row_; // rows of the tensor
    if (split_ == Split::kLinears) {
        chunk.name = expert_ * parts_ + part;
        before = inside;
    } else if (split_ == Split::kParts) {
        chunk.name = part;
        before = expert_ * height + inside;
    }
    chunk.begin = before * row_bytes_;
    chunk.bytes = (chunk.row_end - row_) * row_bytes_;
    return chunk;
}

void DecodeCutter::fill(Array<DecodeChunk>* batch)
{
    (void)batch->resize(0);
    for (int64_t filled = 0; batch->size() < batch_chunks() && !is_done();) {
        DecodeChunk chunk = next();
        if (filled != 0 && filled + chunk.bytes > batch_bytes())
            return;
        chunk.offset = filled;
        batch->append_reserved(&chunk, 1);
        filled += chunk.bytes;
        row_ = chunk.row_end;
        if (row_ < height_)
            continue;
        row_ = 0;
        if (++expert_ < experts_)
            continue;
        expert_ = 0;
        ++name_;
        ++piece_;
    }
}

} // namespace moeq::store
