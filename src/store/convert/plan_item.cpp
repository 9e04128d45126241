// How one stack becomes the weights of the target: its codes as they lie in memory, and how they are cut.
#include <cstring>

#include "core/text.h"
#include "store/convert/plan.h"
#include "store/load/buffers.h"
#include "store/load/encoded_part.h"
#include "store/load/stack_source.h"

namespace moeq::store {

namespace {

bool blocks_of_tiles(const moeq_spec& spec)
{
    return find_format(spec.format)->units == Units::kTiles && spec.granularity == MOEQ_GRANULARITY_BLOCK;
}

// Whether no block of an expert holds elements of another one.
bool experts_apart(const Geometry& g) { return !g.flat() || g.expert_elements() % g.block == 0; }

// The spec of a weight seen with rows and columns exchanged.
void swap_axes(moeq_spec* spec)
{
    if (blocks_of_tiles(*spec))
        std::swap(spec->block_rows, spec->block_columns);
}

class ItemShaper {
public:
    ItemShaper(Allocator& allocator, const Weights& weights, const Dialect& dialect, PlanItem& item,
               Array<int64_t>& names, Array<char>& names_text, Report& report)
        : allocator_(allocator), weights_(weights), dialect_(dialect), item_(item), stack_(weights.stacks[item.source]),
          names_(names), text_(names_text), report_(report)
    {
    }

    moeq_status run(const moeq_spec* spec)
    {
        MOEQ_TRY(check_experts(stack_, report_));
        if (stack_.odd_piece >= 0)
            return ((report_.fail(MOEQ_ERROR_MISMATCH, 2, "source") << "got ").quoted(stack_.name) << " with ")
                       .quoted(piece(stack_.odd_piece).name)
                   << " quantized otherwise than the first of its experts; want all alike";
        item_.first_name = names_.size();
        // What is encoded anew has a layout whatever the statistics that it had could tell of it.
        layout_ = spec == nullptr ? stack_.layout : stack_.cut_layout;
        axis_ = spec == nullptr ? stack_.scale_axis : stack_.cut_axis;
        per_expert_ = becomes_linears(dialect_, weights_, stack_);
        const bool experts = stack_.expert && dialect_.experts != ExpertForm::kFused;
        const bool apart = experts && (per_expert_ || !stack_.fused);
        MOEQ_TRY(apart ? shape_parts(spec) : shape_whole(spec));
        item_.name_count = names_.size() - item_.first_name;
        return list();
    }

private:
    const Weight& piece(int64_t i) const { return weights_.piece(stack_, i); }

    // What the stack is by nature is no matter of choice.
    moeq_spec by_nature(moeq_spec spec) const
    {
        spec.layout = layout_;
        spec.scale_axis = axis_;
        if (spec.logical_dtype == MOEQ_DTYPE_DEFAULT)
            spec.logical_dtype = stack_.dtype;
        return spec;
    }

    moeq_spec kept_spec() const
    {
        moeq_spec spec = stack_.spec;
        if (item_.scale_kind != MOEQ_SCALE_DEFAULT)
            spec.scale_kind = item_.scale_kind;
        return spec;
    }

    moeq_status geometry(const moeq_spec& spec, int32_t ndim, const int64_t* shape, Geometry* out)
    {
        return make_geometry(spec, 4, ndim, shape, 2, "source", out, report_);
    }

    // Blocks over one expert are blocks over a weight that has only one.
    void adjust_kept(moeq_spec* spec, int32_t ndim, const int64_t* shape) const
    {
        moeq_spec adjusted = *spec;
        dialect_.adjust(&adjusted, ndim, shape);
        if (ndim == 2 || shape[0] == 1)
            spec->blocking = adjusted.blocking;
    }

    moeq_status shape_whole(const moeq_spec* given)
    {
        // A weight by itself; the one expert of a model is a stack like others.
        const bool lone = stack_.piece_count == 1 && piece(0).ndim == 2 && std::strcmp(stack_.name, piece(0).name) == 0;
        const int32_t ndim = lone ? 2 : 3;
        const int64_t* shape = stack_.shape + 3 - ndim;
        item_.form = ItemForm::kWhole;
        if (stack_.expert && dialect_.experts != ExpertForm::kFused && stack_.file_name == nullptr)
            return (report_.fail(MOEQ_ERROR_UNSUPPORTED, 4, "options") << "got ").quoted(stack_.name)
                   << ", which files of this model type have in several tensors, and the dialect " << dialect_.name
                   << " has no other form for what is one; want the dense checkpoint as the source, or the dialect "
                      "compressed-tensors";
        moeq_spec spec = given == nullptr ? kept_spec() : by_nature(*given);
        if (given == nullptr)
            adjust_kept(&spec, ndim, shape);
        else
            dialect_.adjust(&spec, ndim, shape);
        MOEQ_TRY(geometry(spec, ndim, shape, &item_.out));
        item_.work = item_.out;
        // Experts one after the other: what nests their statistics looks at all of them, in the end.
        if (given != nullptr && ndim == 3 && item_.out.nested() && experts_apart(item_.out)) {
            moeq_spec plain = item_.out.spec;
            plain.nested = 0;
            MOEQ_TRY(geometry(plain, ndim, shape, &item_.work));
        }
        const bool own = dialect_.experts == ExpertForm::kFused || !stack_.fused;
        return add_name(own ? stack_.name : stack_.file_name);
    }

    void find_parts()
    {
        ExpertParts parts;
        parts.count = layout_ == MOEQ_LAYOUT_PLAIN ? 1 : 2;
        parts.interleaved = layout_ == MOEQ_LAYOUT_GATE_UP_INTERLEAVED;
        parts.swapped = layout_ == MOEQ_LAYOUT_UP_GATE;
        parts.transposed = axis_ == -2;
        const int64_t per_expert = stack_.piece_count / maximum(stack_.shape[0], 1);
        own_pieces_ = piece(0).ndim == 2 && (!per_expert_ || per_expert == parts.count);
        if (own_pieces_) {
            parts.count = static_cast<int32_t>(per_expert);
            parts.swapped = false;
        }
        item_.parts = parts;
    }

    moeq_status shape_parts(const moeq_spec* given)
    {
        find_parts();
        const ExpertParts& parts = item_.parts;
        moeq_spec spec = given == nullptr ? kept_spec() : by_nature(*given);
        const bool turned = parts.transposed && (per_expert_ || given == nullptr);
        if (parts.transposed && !turned)
            return shape_each(spec);
        if (parts.count > 1 || layout_ == MOEQ_LAYOUT_PLAIN)
            spec.layout = MOEQ_LAYOUT_PLAIN;
        spec.scale_axis = -1;
        if (turned)
            swap_axes(&spec);
        const int64_t output = parts.transposed ? stack_.shape[2] : stack_.shape[1];
        const int64_t shape[2] = {output / parts.count, parts.transposed ? stack_.shape[1] : stack_.shape[2]};
        if (given == nullptr)
            adjust_kept(&spec, 2, shape);
        else
            dialect_.adjust(&spec, 2, shape);
        MOEQ_TRY(geometry(spec, 2, shape, &item_.out));
        MOEQ_TRY(given == nullptr ? keep_work() : shape_work());
        MOEQ_TRY(choose_form(given == nullptr));
        return name_parts();
    }

    // The stack as it is, with plain statistics: what is cut out of nested ones is nested anew.
    moeq_status keep_work()
    {
        moeq_spec spec = kept_spec();
        spec.nested = 0;
        return geometry(spec, 3, stack_.shape, &item_.work);
    }

    // The stack with plain statistics that every output weight can be cut out of.
    moeq_status shape_work()
    {
        moeq_spec spec = item_.out.spec;
        spec.layout = layout_;
        spec.scale_axis = axis_;
        spec.nested = 0;
        if (spec.blocking == MOEQ_BLOCKING_FLAT)
            spec.blocking = MOEQ_BLOCKING_EXPERT;
        if (item_.parts.transposed)
            swap_axes(&spec);
        return geometry(spec, 3, stack_.shape, &item_.work);
    }

    moeq_status choose_form(bool keep)
    {
        const Geometry& out = item_.out;
        const ExpertParts& parts = item_.parts;
        item_.form = ItemForm::kParts;
        if (parts.interleaved && parts.count > 1 && blocks_of_tiles(out.spec))
            item_.form = ItemForm::kPieces;
        const bool crossing =
            out.in_runs() && parts.count > 1 && !out.run_per_row() && out.expert_elements() % out.block != 0;
        if (crossing)
            item_.form = ItemForm::kEach;
        // Gate and up share a unit: cut as one linear it would have a name that nobody loads.
        const bool shared = !own_pieces_ && layout_ == MOEQ_LAYOUT_PLAIN && stack_.cut_layout != MOEQ_LAYOUT_PLAIN;
        const bool impossible = shared || (out.in_runs() && (parts.interleaved || parts.transposed)) ||
                                (keep && item_.form != ItemForm::kParts) || (crossing && !own_pieces_);
        if (!impossible)
            return MOEQ_OK;
        return (report_.fail(MOEQ_ERROR_UNSUPPORTED, 4, "options") << "got ").quoted(stack_.name)
               << " whose scale units do not end where its gate and up, or its experts' rows, do; want a spec in which "
                  "they do; "
               << dialect_.name << " has a weight for each of them";
    }

    // Each piece as it lies.
    moeq_status shape_each(moeq_spec spec)
    {
        const Weight& first = piece(0);
        if (item_.parts.count > 1)
            spec.layout = MOEQ_LAYOUT_PLAIN;
        dialect_.adjust(&spec, first.ndim, first.shape);
        MOEQ_TRY(geometry(spec, first.ndim, first.shape, &item_.out));
        item_.work = item_.out;
        item_.form = ItemForm::kEach;
        return name_parts();
    }

    moeq_status name_parts()
    {
        const int64_t parts = item_.parts.count;
        const int64_t count = stack_.shape[0] * parts;
        for (int64_t i = 0; i < count; ++i) {
            if (own_pieces_)
                MOEQ_TRY(add_name(piece(i).name));
            else
                MOEQ_TRY(add_derived_name(i / parts, i % parts));
        }
        return MOEQ_OK;
    }

    // "a.experts.gate_up_proj" becomes "a.experts.7.up_proj.weight", or what the family's loader looks for.
    moeq_status add_derived_name(int64_t expert, int64_t index)
    {
        const Part part = item_.parts.count < 2                 ? Part::kWhole
                          : (index == 1) != item_.parts.swapped ? Part::kUp
                                                                : Part::kGate;
        return append_linear(weights_, stack_, expert, part, &names_, &text_, report_);
    }

    moeq_status add_name(const char* name) { return append_name(name, &names_, &text_, report_); }

    // Asks the dialect whether it can hold the weights, and how many bytes one of them takes.
    moeq_status list()
    {
        if (item_.name_count == 0)
            return MOEQ_OK;
        DialectEntries entries(allocator_);
        MOEQ_TRY(dialect_.list(item_.out, text_.data() + names_[item_.first_name], &entries, report_));
        item_.out_bytes = 0;
        for (int32_t i = 0; i < entries.count; ++i)
            item_.out_bytes += entries.entries[i].bytes;
        return MOEQ_OK;
    }

    Allocator& allocator_;
    const Weights& weights_;
    const Dialect& dialect_;
    PlanItem& item_;
    const Stack& stack_;
    Array<int64_t>& names_;
    Array<char>& text_;
    Report& report_;
    int32_t layout_ = MOEQ_LAYOUT_PLAIN;
    int32_t axis_ = -1;
    bool per_expert_ = false; // experts become 2-D weights of their own
    bool own_pieces_ = false; // names are those of the stack's pieces
};

} // namespace

moeq_status check_experts(const Stack& stack, Report& report)
{
    if (stack.missing_expert < 0)
        return MOEQ_OK;
    return (report.fail(MOEQ_ERROR_INCOMPLETE, 2, "source") << "got ").quoted(stack.name)
           << " without expert " << stack.missing_expert << "; want all " << stack.shape[0]
           << "; is the checkpoint complete?";
}

moeq_status append_linear(const Weights& weights, const Stack& stack, int64_t expert, Part part, Array<int64_t>* names,
                          Array<char>* names_text, Report& report)
{
    const int64_t start = names_text->size();
    if (!names->reserve(names->size() + 1) || !weights.linear_name(stack, expert, part, names_text) ||
        !names_text->append('\0'))
        return report.out_of_memory(static_cast<uint64_t>(start) + static_cast<uint64_t>(stack.name_length));
    names->append_reserved(&start, 1);
    return MOEQ_OK;
}

moeq_status append_name(const char* name, Array<int64_t>* names, Array<char>* names_text, Report& report)
{
    const int64_t start = names_text->size();
    const int64_t length = static_cast<int64_t>(std::strlen(name)) + 1;
    if (!names_text->reserve(start + length) || !names->reserve(names->size() + 1))
        return report.out_of_memory(static_cast<uint64_t>(start + length));
    names->append_reserved(&start, 1);
    names_text->append_reserved(name, length);
    return MOEQ_OK;
}

int64_t experts_at_once(const PlanItem& item, const Stack& stack)
{
    constexpr int64_t kRangeBytes = 16 << 20; // of the source: codes are written while they are in a cache
    const Geometry& g = item.work;
    const bool apart = g.ndim == 3 && !g.nested() && experts_apart(g);
    const int64_t each = maximum(1, stack.bytes / maximum(1, g.experts));
    return apart ? minimum(maximum(1, kRangeBytes / each), g.experts) : g.experts;
}

namespace {

// Tasks read into buffers of one chunk each, no more of them than there are chunks. The largest chunk times their number may be
// more than their sum: chunks end where tiles and pieces do, which at most doubles it along either axis.
int64_t buffer_bytes(const Weights& weights, const PlanItem& item, int64_t experts)
{
    constexpr int64_t kRagged = 4;
    constexpr int64_t kSlotBytes = 128; // lost where a buffer and its scratch end
    const Stack& stack = weights.stacks[item.source];
    const ReadNeeds needs = needs_of(weights, stack);
    int64_t elements = experts * stack.shape[1] * stack.shape[2];
    int64_t scratch = needs.scratch_bytes;
    if (item.kind == ItemKind::kKeep) { // straight to where they belong, but for statistics
        TensorView statistics;
        component_layout(item.work, MOEQ_COMPONENT_SCALE, &statistics);
        elements = 0;
        scratch = statistics_scratch(statistics.count);
    }
    const int64_t chunks = kRagged * elements * dtype_bytes(needs.dtype);
    return minimum(kBufferBytes, chunks + Buffers::kSlots * (scratch + kSlotBytes));
}

} // namespace

int64_t item_peak(const Weights& weights, const PlanItem& item)
{
    constexpr int64_t kPieceBytes = 512; // of what tells tasks what to read
    const Stack& stack = weights.stacks[item.source];
    const Geometry& work = item.work;
    const bool one = item.form == ItemForm::kEach || item.form == ItemForm::kPieces;
    const int64_t experts = one ? minimum(1, stack.shape[0]) : experts_at_once(item, stack);
    int64_t peak = buffer_bytes(weights, item, experts) + stack.piece_count * kPieceBytes;
    // Plain statistics, and then nested ones: of what is written at a time.
    const int64_t written = item.form == ItemForm::kParts ? experts * item.parts.count : 1;
    if (item.out.nested())
        peak += written * 2 * item.out.block_count() * static_cast<int64_t>(sizeof(float));
    if (one)
        return peak + stored_bytes(item.out) * (item.form == ItemForm::kPieces ? item.parts.count : 1);
    const int64_t codes = ceil_divide(stored_bytes(work), maximum(1, work.experts)) * experts;
    // What is not in order is put in order before it is written.
    if (item.form == ItemForm::kParts && !work.in_runs() && (item.parts.transposed || item.parts.interleaved))
        peak += codes;
    if (experts == work.experts)
        return peak + codes;
    // Some are read while others are written; statistics of a whole stack stay until the end.
    TensorView statistics;
    component_layout(work, MOEQ_COMPONENT_SCALE, &statistics);
    return peak + 2 * codes + statistics.count * statistics.itemsize();
}

bool becomes_linears(const Dialect& dialect, const Weights& weights, const Stack& stack)
{
    const bool loaded = weights.piece(stack, 0).ndim > 2 && weights.linears_of(stack) == Linears::kLoaded;
    switch (dialect.experts) {
    case ExpertForm::kLinears:
        return true;
    case ExpertForm::kLinearsWhereLoaded:
        return loaded;
    case ExpertForm::kAsTheyAre:
        return loaded && stack.file_name == nullptr; // there is no other form
    default:
        return false;
    }
}

moeq_spec own_spec(const Weights& weights, const Stack& stack)
{
    moeq_spec spec = stack.spec;
    if (stack.piece_count > 0)
        spec.nested = weights.piece(stack, 0).spec.nested;
    return spec;
}

bool holds_already(const Weights& weights, const Stack& stack, const Dialect& dialect, const moeq_spec& spec)
{
    Report silent("", nullptr);
    moeq_spec wanted = spec;
    dialect.adjust(&wanted, 3, stack.shape);
    const moeq_spec own = own_spec(weights, stack);
    if (resolve_spec(wanted, 0, "", &wanted, silent) != MOEQ_OK || wanted.format != own.format ||
        wanted.granularity != own.granularity || wanted.nested != own.nested)
        return false;
    if (own.granularity == MOEQ_GRANULARITY_BLOCK &&
        (wanted.block_rows != own.block_rows || wanted.block_columns != own.block_columns))
        return false;
    if (find_format(own.format)->units == Units::kTiles || wanted.blocking == own.blocking)
        return true;
    // Blocks over experts and over the whole are the same where experts are whole blocks; rows are another matter.
    const bool rows = wanted.blocking == MOEQ_BLOCKING_ROW || own.blocking == MOEQ_BLOCKING_ROW;
    return !rows && (stack.shape[0] == 1 || stack.shape[1] * stack.shape[2] % own.block_columns == 0);
}

int32_t kept_scale_kind(const Stack& stack, const Dialect& dialect, const moeq_spec* asked)
{
    if (find_format(stack.spec.format)->units == Units::kRuns)
        return stack.spec.scale_kind;
    if (asked != nullptr && asked->scale_kind != MOEQ_SCALE_DEFAULT)
        return asked->scale_kind;
    return dialect.scale_kind != MOEQ_SCALE_DEFAULT ? dialect.scale_kind : stack.spec.scale_kind;
}

moeq_status shape_item(Allocator& allocator, const Weights& weights, const Dialect& dialect, const moeq_spec* spec,
                       PlanItem* item, Array<int64_t>* names, Array<char>* names_text, Report& report)
{
    return ItemShaper(allocator, weights, dialect, *item, *names, *names_text, report).run(spec);
}

} // namespace moeq::store
