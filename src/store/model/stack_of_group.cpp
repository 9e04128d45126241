// One group of weights: the stack that they make, or the two halves of it.
#include "core/text.h"
#include "store/model/stacks.h"

namespace moeq::store {

namespace {

constexpr int32_t bit(Part part) { return 1 << static_cast<int32_t>(part); }
constexpr int32_t kHalves = bit(Part::kGate) | bit(Part::kUp);

// A quantized weight's spec as its place in a stack has it: blocks of a whole 2-D weight are blocks of one expert, and nested
// statistics are decoded when they are read.
moeq_spec piece_spec(const Weight& weight)
{
    moeq_spec spec = weight.spec;
    if (weight.ndim == 2) {
        spec.nested = 0;
        if (spec.blocking == MOEQ_BLOCKING_FLAT)
            spec.blocking = MOEQ_BLOCKING_EXPERT;
    }
    return spec;
}

bool in_runs(const moeq_spec& spec) { return find_format(spec.format)->units == Units::kRuns; }

// Whether weights quantized by this spec can lie behind each other in one expert, along the output axis, with no statistic
// that both have a share in, or that one handle has no room for.
bool joins(const moeq_spec& spec, int32_t axis, int64_t rows, int64_t columns)
{
    if (in_runs(spec))
        return axis == -1 && (spec.blocking == MOEQ_BLOCKING_ROW || rows * columns % spec.block_columns == 0);
    if (spec.granularity == MOEQ_GRANULARITY_ROW)
        return spec.scale_axis == axis;
    return spec.granularity == MOEQ_GRANULARITY_BLOCK;
}

} // namespace

// No expert twice, all of one shape, and all fused or none.
moeq_status StackBuilder::check_members(const Group& group, const Span& members)
{
    const Weight& first = out_.weights[members.begin->weight];
    int32_t parts = 0;
    for (const Member* m = members.begin; m != members.end; ++m) {
        const Weight& weight = out_.weights[m->weight];
        const Member* before = m == members.begin ? m : m - 1;
        parts |= bit(m->part);
        const bool again =
            m != before && ((m->expert == before->expert && m->part == before->part) ||
                            (parts & bit(Part::kWhole)) * (parts & kHalves) != 0 || weight.ndim != first.ndim);
        if (again) {
            Failure failure = report_.fail(MOEQ_ERROR_FORMAT);
            report_.set_class("F11");
            (failure << "got ").quoted(out_.weights[before->weight].name);
            (failure << " and ").quoted(weight.name);
            (failure << " for the same experts of ").quoted(group.name);
            return failure << "; want each once";
        }
        if (std::memcmp(weight.shape, first.shape, sizeof weight.shape) == 0)
            continue;
        Failure failure = report_.fail(MOEQ_ERROR_FORMAT);
        report_.set_class("F15");
        (failure << "got ").quoted(first.name).shape(first.ndim, first.shape);
        (failure << " and ").quoted(weight.name).shape(weight.ndim, weight.shape);
        return failure << "; want one shape for all experts of a weight";
    }
    return MOEQ_OK;
}

bool StackBuilder::can_join(const Group& group, const Span& members) const
{
    for (const Member* m = members.begin; m != members.end; ++m) {
        const Weight& weight = out_.weights[m->weight];
        if (weight.quantized &&
            !(weight.ndim == 2 && joins(piece_spec(weight), group.rule->scale_axis, weight.rows(), weight.columns())))
            return false;
    }
    return true;
}

moeq_status StackBuilder::build_group(const Group& group, const Span& members)
{
    MOEQ_TRY(check_members(group, members));
    int32_t parts = 0;
    for (const Member* m = members.begin; m != members.end; ++m)
        parts |= bit(m->part);
    if ((parts & kHalves) == 0)
        return add_stack(group, members, parts, false);
    if (parts == kHalves && can_join(group, members))
        return add_stack(group, members, parts, true);
    if ((parts & bit(Part::kGate)) != 0)
        MOEQ_TRY(add_half(group, members, Part::kGate));
    return (parts & bit(Part::kUp)) != 0 ? add_half(group, members, Part::kUp) : MOEQ_OK;
}

// Gate or up as a stack of its own: "...gate_up_proj" becomes "...gate_proj" or "...up_proj".
moeq_status StackBuilder::add_half(const Group& group, const Span& members, Part part)
{
    static constexpr const char kBoth[] = "gate_up_proj";
    const bool usual = ends_with(group.name, group.name_length, kBoth);
    const int64_t stem = group.name_length - (usual ? static_cast<int64_t>(sizeof kBoth) - 1 : 0);
    const char* leaf = part == Part::kGate ? (usual ? "gate_proj" : ".gate") : (usual ? "up_proj" : ".up");
    const int64_t leaf_length = static_cast<int64_t>(std::strlen(leaf));
    Array<char> name(allocator_);
    if (!name.reserve(stem + leaf_length))
        return out_of_memory(stem + leaf_length, 1);
    name.append_reserved(group.name, stem);
    name.append_reserved(leaf, leaf_length);
    const Group half{out_.keep(name.data(), name.size()), name.size(), group.rule, group.weight};
    return half.name == nullptr ? out_of_memory(name.size(), 1) : add_stack(half, members, bit(part), false);
}

// The other weight of the layer: down of "a.gate_up_proj", or the other way round; NULL: there is none.
const Weight* StackBuilder::other_of(const Group& group) const
{
    static constexpr const char kGateUp[] = "gate_up_proj";
    static constexpr const char kDown[] = "down_proj";
    const bool down = group.rule->cut == Cut::kContraction;
    const char* own = down ? kDown : kGateUp;
    const char* other = down ? kGateUp : kDown;
    char name[kNameLimit + sizeof kGateUp];
    if (group.name_length > kNameLimit || !ends_with(group.name, group.name_length, own))
        return nullptr;
    Text text(name, sizeof name);
    text.add(group.name, static_cast<uint64_t>(group.name_length) - std::strlen(own)).add(other);
    const int64_t found = table_[lookup(text.c_str(), static_cast<int64_t>(text.size()))];
    return found < 0 ? nullptr : &out_.weights[groups_[found].weight];
}

// Fused weights of a family whose files differ: gate and up contract over the hidden size, and down ends in it. Where a weight
// fits both ways the other one of its layer settles it; where that does too, it lies as in released files.
int32_t StackBuilder::axis_of(const Group& group, const Weight& first, bool* guessed) const
{
    const Rule& rule = *group.rule;
    if (!rule.either_axis)
        return rule.scale_axis;
    const bool is_down = rule.cut == Cut::kContraction;
    const Weight* other = other_of(group);
    const auto hidden_of = [](const Weight& weight, bool down, int32_t axis) {
        return down == (axis == -1) ? weight.rows() : weight.columns();
    };
    const auto fits = [&](int32_t test, int32_t axis) {
        const int64_t hidden = hidden_of(first, is_down, axis);
        if (test == 0)
            return hidden == hidden_size_;
        return other != nullptr && (test == 1 ? hidden_of(*other, !is_down, axis) == hidden_size_
                                              : hidden == hidden_of(*other, !is_down, axis));
    };
    for (int32_t test = 0; test < 3; ++test)
        if (fits(test, -1) != fits(test, -2))
            return fits(test, -1) ? -1 : -2;
    *guessed = true;
    return rule.scale_axis;
}

void StackBuilder::count_experts(const Group& group, const Span& members, int32_t parts, Stack* stack) const
{
    if (out_.weights[members.begin->weight].ndim == 3) {
        stack->shape[0] = out_.weights[members.begin->weight].shape[0];
        return;
    }
    const int32_t wanted = parts == kHalves ? 2 : 1;
    int64_t next = 0; // the first expert that is not known to be whole
    int32_t found = 0;
    int64_t last = -1;
    int64_t count = 0; // an expert that has only one of its halves is missing in the other one's stack
    for (const Member* m = members.begin; m != members.end; ++m) {
        count = maximum(count, m->expert + 1);
        if ((bit(m->part) & parts) == 0)
            continue;
        found = m->expert == last ? found + 1 : 1;
        last = m->expert;
        if (last == next && found == wanted)
            ++next;
    }
    const int64_t expected =
        group.rule->experts != 0 ? group.rule->experts : counts_.find(group.name, group.name_length);
    stack->shape[0] = maximum(count, expected);
    if (next < stack->shape[0])
        stack->missing_expert = next;
}

moeq_status StackBuilder::add_stack(const Group& group, const Span& members, int32_t parts, bool joined)
{
    const Weight* first = nullptr;
    for (const Member* m = members.begin; first == nullptr; ++m)
        if ((bit(m->part) & parts) != 0)
            first = &out_.weights[m->weight];
    Stack stack{};
    const int32_t axis = axis_of(group, *first, &stack.guessed_axis);
    const bool up_first = group.rule->layout == MOEQ_LAYOUT_UP_GATE;
    stack.name = group.name;
    stack.name_length = group.name_length;
    stack.dtype = first->dtype;
    stack.layout = joined || parts == bit(Part::kWhole) ? group.rule->layout : MOEQ_LAYOUT_PLAIN;
    stack.scale_axis = axis;
    stack.expert = true;
    stack.either_axis = group.rule->either_axis;
    stack.cut = group.rule->cut;
    stack.shape[1] = first->rows() * (joined && axis == -1 ? 2 : 1);
    stack.shape[2] = first->columns() * (joined && axis == -2 ? 2 : 1);
    stack.missing_expert = -1;
    stack.odd_piece = -1;
    stack.first_piece = out_.pieces.size();
    count_experts(group, members, parts, &stack);
    for (const Member* m = members.begin; m != members.end; ++m) {
        if ((bit(m->part) & parts) == 0)
            continue;
        Weight& weight = out_.weights[m->weight];
        const bool second = joined && (m->part == Part::kUp) != up_first;
        weight.stack = 0; // some stack: sort_stacks says which
        weight.expert = m->expert;
        weight.row = second && axis == -1 ? weight.rows() : 0;
        weight.column = second && axis == -2 ? weight.columns() : 0;
        stack.bytes += weight.bytes;
        if (weight.dtype != stack.dtype)
            stack.dtype = MOEQ_DTYPE_FP32; // holds the values of all
        out_.pieces.append_reserved(&m->weight, 1);
        // Up before gate: the two of an expert change places.
        int64_t* piece = out_.pieces.end() - 1;
        if (joined && up_first && m->part == Part::kUp && m != members.begin && (m - 1)->expert == m->expert)
            std::swap(piece[0], piece[-1]);
    }
    stack.piece_count = out_.pieces.size() - stack.first_piece;
    stack.fused = stack.piece_count == 1 && first->ndim == 3;
    set_spec(&group, &stack, joined);
    MOEQ_TRY(set_file_name(*group.rule, &stack));
    return out_.stacks.append(stack) ? MOEQ_OK : out_of_memory(out_.stacks.size() + 1, sizeof(Stack));
}

moeq_status StackBuilder::set_file_name(const Rule& rule, Stack* stack)
{
    stack->file_name = rule.own_name && stack->fused ? out_.piece(*stack, 0).name : stack->name;
    if (out_.dialect != MOEQ_DIALECT_NATIVE || !stack->fused)
        return MOEQ_OK;
    Array<char> name(allocator_);
    const Rules::Fused fused =
        rules_.append_fused_name(stack->name, stack->name_length, stack->layout, stack->scale_axis, &name);
    stack->file_name = fused == Rules::Fused::kNamed ? out_.keep(name.data(), name.size()) : nullptr;
    if (fused == Rules::Fused::kOutOfMemory || (fused == Rules::Fused::kNamed && stack->file_name == nullptr))
        return out_of_memory(kNameLimit, 1);
    return fused == Rules::Fused::kNone ? set_part_names(stack) : MOEQ_OK;
}

// Gate and up, or what is whole, in tensors of their own.
moeq_status StackBuilder::set_part_names(Stack* stack)
{
    const bool both = stack->layout == MOEQ_LAYOUT_GATE_UP && stack->scale_axis == -1;
    const Part parts[2] = {both ? Part::kGate : Part::kWhole, Part::kUp};
    for (int32_t i = 0; i < (both ? 2 : 1); ++i) {
        PatternMatch match;
        const Rule* rule = rules_.find_part(stack->name, stack->name_length, parts[i], stack->scale_axis, &match);
        if (rule == nullptr)
            return MOEQ_OK;
        Array<char> name(allocator_);
        stack->parts_folded = rule->holds == Holds::kFolded;
        if (!append_filled(rule->match, match, &name) ||
            (stack->part_names[i] = out_.keep(name.data(), name.size())) == nullptr)
            return out_of_memory(kNameLimit, 1);
    }
    return MOEQ_OK;
}

// The spec of a stack with quantized pieces, and the first piece that is quantized in another way, or not at all.
void StackBuilder::set_spec(const Group* group, Stack* stack, bool joined) const
{
    stack->cut_layout = stack->layout;
    stack->cut_axis = stack->scale_axis;
    const Weight* model = nullptr;
    for (int64_t i = 0; i < stack->piece_count && model == nullptr; ++i) {
        const Weight& weight = out_.piece(*stack, i);
        model = weight.quantized ? &weight : nullptr;
    }
    if (model == nullptr)
        return;
    const moeq_spec wanted = piece_spec(*model);
    for (int64_t i = 0; i < stack->piece_count && stack->odd_piece < 0; ++i) {
        const Weight& weight = out_.piece(*stack, i);
        if (!weight.quantized || !same_spec(piece_spec(weight), wanted))
            stack->odd_piece = i;
    }
    stack->quantized = true;
    stack->spec = wanted;
    if (stack->fused)
        stack->spec = model->spec;
    // The file itself says how the weight lies.
    const bool told = out_.dialect == MOEQ_DIALECT_NATIVE && !joined && !model->folded;
    if (group != nullptr && !told) {
        const bool runs = in_runs(wanted);
        const bool by_row = runs ? wanted.blocking == MOEQ_BLOCKING_ROW : wanted.granularity == MOEQ_GRANULARITY_ROW;
        if (!by_row)
            stack->spec.scale_axis = stack->scale_axis;
        // A layout goes with the output axis, and tiles restart where its halves meet.
        const bool tiles = !runs && wanted.granularity == MOEQ_GRANULARITY_BLOCK;
        const int64_t half = (stack->scale_axis == -2 ? stack->shape[2] : stack->shape[1]) / 2;
        const int64_t tile = stack->scale_axis == -2 ? wanted.block_columns : wanted.block_rows;
        const bool border = stack->layout == MOEQ_LAYOUT_GATE_UP || stack->layout == MOEQ_LAYOUT_UP_GATE;
        const bool fits =
            stack->spec.scale_axis == stack->scale_axis && (joined || !tiles || half % tile == 0 || !border);
        stack->spec.layout = fits ? stack->layout : MOEQ_LAYOUT_PLAIN;
    } else {
        stack->cut_layout = stack->spec.layout;
        stack->cut_axis = stack->spec.scale_axis;
    }
    stack->layout = stack->spec.layout;
    stack->scale_axis = stack->spec.scale_axis;
}

// A quantized weight that no rule knows.
moeq_status StackBuilder::add_lone(int64_t index)
{
    Weight& weight = out_.weights[index];
    Stack stack{};
    stack.name = weight.name;
    stack.name_length = weight.name_length;
    stack.dtype = weight.dtype;
    stack.expert = weight.ndim > 2;
    stack.fused = weight.ndim > 2;
    stack.shape[0] = 1;
    for (int32_t i = 0; i < weight.ndim - 2; ++i)
        stack.shape[0] *= weight.shape[i];
    stack.shape[1] = weight.rows();
    stack.shape[2] = weight.columns();
    stack.bytes = weight.bytes;
    stack.missing_expert = -1;
    stack.odd_piece = -1;
    stack.first_piece = out_.pieces.size();
    stack.piece_count = 1;
    weight.stack = 0;
    out_.pieces.append_reserved(&index, 1);
    stack.file_name = stack.name;
    set_spec(nullptr, &stack, false);
    stack.spec = weight.spec;
    stack.cut = weight.spec.layout != MOEQ_LAYOUT_PLAIN ? Cut::kOutput : Cut::kUnknown;
    return out_.stacks.append(stack) ? MOEQ_OK : out_of_memory(out_.stacks.size() + 1, sizeof(Stack));
}

} // namespace moeq::store
