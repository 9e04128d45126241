#include "store/model/stacks.h"

#include <algorithm>

#include "core/text.h"
#include "store/container/digest.h"

namespace moeq::store {

namespace {

bool in_runs(const moeq_spec& spec) { return find_format(spec.format)->units == Units::kRuns; }

} // namespace

StackBuilder::StackBuilder(Allocator& allocator, const text::JsonValue& config, const Rules& rules, Weights& out,
                           Report& report)
    : allocator_(allocator), config_(config), rules_(rules), out_(out), report_(report), groups_(allocator),
      table_(allocator), members_(allocator), hidden_size_(config_hidden_size(config)), counts_(allocator)
{
}

moeq_status StackBuilder::out_of_memory(int64_t count, uint64_t size) const
{
    return report_.out_of_memory(static_cast<uint64_t>(count) * size);
}

moeq_status StackBuilder::run()
{
    if (!counts_.read(config_))
        return out_of_memory(1, sizeof(int64_t));
    MOEQ_TRY(collect());
    std::sort(members_.begin(), members_.end(), [](const Member& a, const Member& b) {
        if (a.group != b.group)
            return a.group < b.group;
        if (a.expert != b.expert)
            return a.expert < b.expert;
        return a.part != b.part ? a.part < b.part : a.weight < b.weight;
    });
    if (!out_.pieces.reserve(out_.weights.size()))
        return out_of_memory(out_.weights.size(), sizeof(int64_t));
    for (const Member* begin = members_.begin(); begin != members_.end();) {
        const Member* end = begin;
        while (end != members_.end() && end->group == begin->group)
            ++end;
        MOEQ_TRY(build_group(groups_[begin->group], {begin, end}));
        begin = end;
    }
    for (int64_t i = 0; i < out_.weights.size(); ++i)
        if (out_.weights[i].quantized && out_.weights[i].stack < 0)
            MOEQ_TRY(add_lone(i));
    return sort_stacks();
}

moeq_status StackBuilder::collect()
{
    MOEQ_TRY(grow_table());
    for (int64_t i = 0; i < out_.weights.size(); ++i) {
        Weight& weight = out_.weights[i];
        PatternMatch match;
        const Rule* rule = rules_.find(weight.name, weight.name_length, weight.ndim, &match);
        if (rule != nullptr) {
            bool fits = true;
            if (rule->holds == Holds::kFolded)
                MOEQ_TRY(unfold(*rule, &weight, &fits));
            if (fits)
                MOEQ_TRY(add_member(*rule, match, {0, i, maximum(match.expert - rule->first_expert, 0), rule->part}));
            continue;
        }
        // What moeq made of weights that a rule knows has the name of their stack.
        const bool made = out_.dialect == MOEQ_DIALECT_NATIVE && weight.quantized && weight.ndim == 3;
        rule = made ? rules_.find_stack(weight.name, weight.name_length, &match) : nullptr;
        if (rule != nullptr)
            MOEQ_TRY(add_member(*rule, match, {0, i, 0, Part::kWhole}));
    }
    return MOEQ_OK;
}

moeq_status StackBuilder::add_member(const Rule& rule, const PatternMatch& match, Member member)
{
    MOEQ_TRY(find_group(rule, match, member.weight, &member.group));
    return members_.append(member) ? MOEQ_OK : out_of_memory(members_.size() + 1, sizeof(Member));
}

// A 2-D weight with all experts becomes a 3-D one, unless it is quantized in units that experts share.
moeq_status StackBuilder::unfold(const Rule& rule, Weight* weight, bool* fits)
{
    const int64_t rows = weight->shape[0] / rule.experts;
    if (rows * rule.experts != weight->shape[0]) {
        Failure failure = report_.fail(MOEQ_ERROR_FORMAT);
        report_.set_class("F15");
        (failure << "got ").quoted(weight->name).shape(2, weight->shape);
        return failure << "; want rows of " << rule.experts << " experts, as many of each";
    }
    moeq_spec& spec = weight->spec;
    *fits = !weight->quantized || in_runs(spec) ||
            (spec.granularity == MOEQ_GRANULARITY_ROW && spec.scale_axis == -1) ||
            (spec.granularity == MOEQ_GRANULARITY_BLOCK && rows % spec.block_rows == 0);
    if (!*fits)
        return MOEQ_OK;
    if (weight->quantized && in_runs(spec) && spec.blocking == MOEQ_BLOCKING_EXPERT)
        spec.blocking = MOEQ_BLOCKING_FLAT; // one run over all of them
    weight->folded = true;
    weight->ndim = 3;
    weight->shape[2] = weight->shape[1];
    weight->shape[1] = rows;
    weight->shape[0] = rule.experts;
    return MOEQ_OK;
}

int64_t StackBuilder::slot_of(const char* name, int64_t length) const
{
    const uint64_t multiplier = reinterpret_cast<uintptr_t>(this) * 0x9E3779B97F4A7C15u | 1;
    return static_cast<int64_t>(digest_of(name, length).low * multiplier >> (64 - table_bits_));
}

// Twice as many slots as groups at least.
moeq_status StackBuilder::grow_table()
{
    const int64_t slots = int64_t{1} << ++table_bits_;
    Array<int64_t> table(allocator_);
    if (!table.resize(slots, -1))
        return out_of_memory(slots, sizeof(int64_t));
    for (int64_t g = 0; g < groups_.size(); ++g) {
        int64_t slot = slot_of(groups_[g].name, groups_[g].name_length);
        while (table[slot] >= 0)
            slot = (slot + 1) & (slots - 1);
        table[slot] = g;
    }
    table_.swap(table);
    return MOEQ_OK;
}

// The slot of a group's name, or the free one where it belongs.
int64_t StackBuilder::lookup(const char* name, int64_t length) const
{
    int64_t slot = slot_of(name, length);
    for (; table_[slot] >= 0; slot = (slot + 1) & (table_.size() - 1)) {
        const Group& group = groups_[table_[slot]];
        if (group.name_length == length && std::memcmp(group.name, name, static_cast<uint64_t>(length)) == 0)
            break;
    }
    return slot;
}

// The group of the name that a rule gives; a new one where there is none yet.
moeq_status StackBuilder::find_group(const Rule& rule, const PatternMatch& match, int64_t weight, int64_t* out)
{
    Array<char> name(allocator_);
    if (!append_filled(rule.stack, match, &name))
        return out_of_memory(kNameLimit, 1);
    const int64_t slot = lookup(name.data(), name.size());
    *out = table_[slot];
    if (*out >= 0)
        return MOEQ_OK;
    const Group group{out_.keep(name.data(), name.size()), name.size(), &rule, weight};
    if (group.name == nullptr || !groups_.append(group))
        return out_of_memory(groups_.size() + 1, sizeof(Group));
    *out = table_[slot] = groups_.size() - 1;
    return 2 * groups_.size() < table_.size() ? MOEQ_OK : grow_table();
}

// In file order: weights are, so a stack's first weight says where it stands.
moeq_status StackBuilder::sort_stacks()
{
    struct Key {
        int64_t weight;
        int64_t stack;
    };
    const int64_t count = out_.stacks.size();
    Array<Key> keys(allocator_);
    Array<Stack> sorted(allocator_);
    if (!keys.reserve(count) || !sorted.reserve(count))
        return out_of_memory(count, sizeof(Stack));
    for (int64_t i = 0; i < count; ++i) {
        const Stack& stack = out_.stacks[i];
        Key key{INT64_MAX, i};
        for (int64_t p = 0; p < stack.piece_count; ++p)
            key.weight = minimum(key.weight, out_.pieces[stack.first_piece + p]);
        keys.append_reserved(&key, 1);
    }
    std::sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) { return a.weight < b.weight; });
    for (int64_t i = 0; i < count; ++i) {
        const Stack& stack = out_.stacks[keys[i].stack];
        for (int64_t p = 0; p < stack.piece_count; ++p)
            out_.piece(stack, p).stack = i;
        sorted.append_reserved(&stack, 1);
    }
    out_.stacks.swap(sorted);
    return MOEQ_OK;
}

} // namespace moeq::store
