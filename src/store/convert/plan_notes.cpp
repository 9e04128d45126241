// What somebody should know of a plan before it is carried out: what loaders of other projects make of the target, and what of the
// source cannot be read. What no loader could make anything of is refused.
#include "store/convert/side_files.h"

namespace moeq::store {

namespace {

// How many stacks something is the case of, and the first one.
struct Count {
    int64_t stacks = 0;
    const char* first = nullptr;

    void add(const Stack& stack)
    {
        if (stacks++ == 0)
            first = stack.name;
    }
};

constexpr const char* kDescriptions[] = {"hf_quant_config.json", "quantize_config.json", "quant_config.json",
                                         "quantization_config.json", "recipe.yaml"};

bool is_fused_expert(const PlanItem& item, const Stack& stack)
{
    return item.is_quantized() && stack.expert && item.out.ndim > 2;
}

// Transformers has one module for FP8 experts: [E, out, in], gate before up, scales in tiles or one for each expert.
moeq_status check_fp8_modules(const Weights& weights, const PlanItem& item, const Stack& stack, Report& report)
{
    const bool folded = stack.expert && stack.fused && item.form == ItemForm::kWhole && item.out.ndim == 2;
    const char* what = nullptr;
    if (folded)
        what = "the rows of all experts in a tensor of two axes";
    else if (is_fused_expert(item, stack) && weights.own_modules() != nullptr)
        what = weights.own_modules();
    else if (is_fused_expert(item, stack) && stack.cut_layout == MOEQ_LAYOUT_GATE_UP_INTERLEAVED &&
             stack.cut_axis == -1)
        what = "rows of gate and up in turns, which share tiles that its loader takes apart";
    if (what == nullptr)
        return MOEQ_OK;
    return (report.fail(MOEQ_ERROR_UNSUPPORTED, 4, "options") << "got ").quoted(stack.name)
           << ", " << what << "; no loader of the dialect hf-fp8 takes those; want the dialect native";
}

} // namespace

bool is_about_source(const char* name)
{
    for (const char* known : kDescriptions)
        if (std::strcmp(name, known) == 0)
            return true;
    return false;
}

moeq_status Plan::check_loadable(const Weights& weights, Report& report)
{
    if (dialect->id != MOEQ_DIALECT_HF_FP8)
        return MOEQ_OK;
    for (const PlanItem& item : items) {
        if (!item.is_quantized())
            continue;
        const Stack& stack = weights.stacks[item.source];
        MOEQ_TRY(check_fp8_modules(weights, item, stack, report));
        // Loaders of some families turn weights and scales around; all others would take inputs for outputs.
        if (is_fused_expert(item, stack) && stack.cut_axis == -2 && !stack.either_axis)
            return (report.fail(MOEQ_ERROR_UNSUPPORTED, 4, "options") << "got ").quoted(stack.name)
                   << ", experts of [in, out] in one weight; no loader of the dialect hf-fp8 takes those; want the "
                      "dialect "
                      "compressed-tensors, where they become linears, or native";
    }
    return MOEQ_OK;
}

moeq_status Plan::note(const char* text, Report& report)
{
    return notes.append(text) ? MOEQ_OK : report.out_of_memory(static_cast<uint64_t>(notes.size() + 1) * sizeof(char*));
}

// A text of the plan's own: how many there are of something, which is the first, and what is the case of them.
moeq_status Plan::note_of(int64_t count, const char* what, const char* first, const char* text, Report& report)
{
    Array<char> made(allocator_);
    char number[64];
    Text counted(number, sizeof number);
    counted.add(count).add(' ').add(what).add(count == 1 ? ", " : "s such as ");
    const char* const parts[] = {number, first, ": ", text};
    for (const char* part : parts) {
        const int64_t length = static_cast<int64_t>(std::strlen(part));
        if (!made.reserve(made.size() + length + 1))
            return report.out_of_memory(static_cast<uint64_t>(made.size() + length + 1));
        made.append_reserved(part, length);
    }
    made.append_reserved("", 1);
    const char* text_kept = nullptr;
    MOEQ_TRY(keep_text(made.data(), &text_kept, report));
    return note(text_kept, report);
}

moeq_status Plan::keep_text(const char* text, const char** out, Report& report)
{
    const uint64_t bytes = std::strlen(text) + 1;
    char* copy = static_cast<char*>(allocator_.allocate(bytes));
    if (copy == nullptr)
        return report.out_of_memory(bytes);
    std::memcpy(copy, text, bytes);
    *out = copy;
    if (texts_.append(copy))
        return MOEQ_OK;
    allocator_.free(copy, bytes);
    return report.out_of_memory(static_cast<uint64_t>(texts_.size() + 1) * sizeof(char*));
}

// Experts of two kinds are numbered through, and the loader makes one weight of all of them before it parts it.
moeq_status Plan::note_kinds(const Weights& weights, Report& report)
{
    const PlanItem* first[2] = {}; // of the first kind: down, gate and up
    Count other;
    for (const PlanItem& item : items)
        if (item.kind != ItemKind::kCopy && weights.kind_of(weights.stacks[item.source]) == Kind::kFirst)
            first[item.parts.count == 2] = &item;
    for (const PlanItem& item : items) {
        const PlanItem* alike = first[item.parts.count == 2];
        if (item.kind == ItemKind::kCopy || alike == nullptr || item.out.ndim != 2)
            continue;
        const Stack& stack = weights.stacks[item.source];
        if (weights.kind_of(stack) == Kind::kSecond &&
            (item.out.rows != alike->out.rows || item.out.columns != alike->out.columns))
            other.add(stack);
    }
    if (other.stacks == 0 || dialect->experts == ExpertForm::kFused)
        return MOEQ_OK;
    return note_of(other.stacks, "weight", other.first,
                   "experts of two widths; transformers reads quantized ones of one width only, and refuses these",
                   report);
}

moeq_status Plan::note_loaders(const Weights& weights, Report& report)
{
    enum Case : int32_t { kGuessed, kOnGpu, kNotOnGpu, kRandom, kUnknown, kCases };
    static constexpr const char* kTexts[kCases] = {
        "files of this model type have [in, out] and [out, in], and no shape tells which this is; it is taken for "
        "[in, out], as released files have it",
        "transformers reads fused FP8 experts on a GPU only; on a CPU it takes their codes for values",
        "transformers reads these FP8 experts on a CPU only; on a GPU it puts a module of its own in their place, "
        "which "
        "finds no weights",
        "the loader of this model type in transformers takes no linears of single experts, which is what "
        "compressed-tensors has: there the experts would stay random. native holds them",
        "what the loader of this model type calls linears of single experts is not known; they get the usual names",
    };
    Count counts[kCases];
    for (const PlanItem& item : items) {
        if (!item.is_quantized())
            continue;
        const Stack& stack = weights.stacks[item.source];
        if (stack.guessed_axis)
            counts[kGuessed].add(stack);
        if (dialect->id == MOEQ_DIALECT_HF_FP8 && is_fused_expert(item, stack))
            counts[kOnGpu].add(stack);
        else if (dialect->id == MOEQ_DIALECT_HF_FP8 && stack.expert && weights.own_modules() != nullptr)
            counts[kNotOnGpu].add(stack);
        if (dialect->id != MOEQ_DIALECT_COMPRESSED_TENSORS || !stack.expert || weights.piece(stack, 0).ndim == 2)
            continue;
        const Linears linears = weights.linears_of(stack);
        if (linears == Linears::kNone || linears == Linears::kUnknown)
            counts[linears == Linears::kNone ? kRandom : kUnknown].add(stack);
    }
    for (int32_t i = 0; i < kCases; ++i)
        if (counts[i].stacks != 0)
            MOEQ_TRY(note_of(counts[i].stacks, "weight", counts[i].first, kTexts[i], report));
    return MOEQ_OK;
}

moeq_status Plan::collect_notes(const Checkpoint& checkpoint, const Weights& weights, const ConvertRequest& request,
                                Report& report)
{
    if (checkpoint.config().missing() && !is_dense)
        MOEQ_TRY(
            note("no config.json beside the source: none is written, so readers of other projects are not told "
                 "how the weights are quantized",
                 report));
    if (foreign.stated && foreign.count == 0 && has_new_weights)
        MOEQ_TRY(note("config.json of the source tells of a quantization that no tensor has: it is replaced", report));
    if (foreign.count != 0 && has_new_weights && !describes_foreign(weights))
        MOEQ_TRY(note(request.keep_foreign ? "codes that moeq does not read are copied; config.json of the target does "
                                             "not say what they are, moeq_report.json does"
                                           : "codes that moeq does not read are copied as they are",
                      report));
    for (const char* name : kDescriptions)
        if (has_new_weights && checkpoint.is_directory() && checkpoint.directory().has(name))
            MOEQ_TRY(note_of(1, "file", name, "it tells how the source is quantized, and is not copied", report));
    FolderNames beside(allocator_);
    int64_t left = 0;
    const char* first_left = nullptr;
    MOEQ_TRY(find_left_files(checkpoint, &beside, &left, &first_left, report));
    if (left != 0)
        MOEQ_TRY(note_of(left, "other file", first_left,
                         "not copied, as it is large, a folder, or has weights in another container", report));
    if (checkpoint.stray_count() != 0)
        MOEQ_TRY(note_of(checkpoint.stray_count(), "file", checkpoint.stray(0),
                         "the index does not name it: neither read nor copied", report));
    if (checkpoint.unlisted_count() != 0)
        MOEQ_TRY(note_of(checkpoint.unlisted_count(), "tensor",
                         checkpoint.tensor(checkpoint.first_unlisted()).entry.name,
                         "in a file, but not in the index; taken over", report));
    MOEQ_TRY(note_kinds(weights, report));
    MOEQ_TRY(note_dense(checkpoint, report));
    return note_loaders(weights, report);
}

void Plan::write_notes(text::JsonWriter& json) const
{
    json.begin_array();
    for (const char* text : notes)
        json.string(text);
    json.end_array();
}

} // namespace moeq::store
