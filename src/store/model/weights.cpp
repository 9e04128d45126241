#include "store/model/weights.h"

#include "store/model/stacks.h"

namespace moeq::store {

namespace {

constexpr int64_t kNameBlock = 1 << 16; // bytes of text that are allocated at once

// A weight's elements: what quantization takes and gives.
bool is_weight(const FileEntry& entry) { return float_type(entry.dtype) >= 0 && (entry.ndim == 2 || entry.ndim == 3); }

} // namespace

Weight dense_weight(const FileEntry& entry, int64_t tensor)
{
    Weight weight = empty_weight();
    weight.name = entry.name;
    weight.name_length = entry.name_length;
    weight.dtype = entry.dtype;
    weight.ndim = entry.ndim;
    for (int32_t i = 0; i < entry.ndim; ++i)
        weight.shape[i] = entry.shape[i];
    weight.tensors[0] = tensor;
    weight.bytes = entry.bytes;
    return weight;
}

Weights::Weights(Allocator& allocator)
    : weights(allocator), stacks(allocator), pieces(allocator), weight_of(allocator), component_of(allocator),
      allocator_(allocator), names_(allocator), stack_order_(allocator)
{
}

Weights::~Weights()
{
    for (const Block& block : names_)
        allocator_.free(block.text, static_cast<uint64_t>(block.bytes));
}

moeq_status Weights::begin(const Checkpoint& checkpoint, Report& report)
{
    const int64_t count = checkpoint.tensor_count();
    if (!weight_of.resize(count, -1) || !component_of.resize(count, 0))
        return report.out_of_memory(static_cast<uint64_t>(count) * sizeof(int64_t));
    model_type = config_model_type(checkpoint.config());
    return MOEQ_OK;
}

moeq_status Weights::complete(const Checkpoint& checkpoint, const char* patterns, int32_t argument, Report& report)
{
    MOEQ_TRY(add_dense(checkpoint, report));
    MOEQ_TRY(sort_weights(checkpoint, report));
    const text::JsonValue config = checkpoint.config();
    Rules rules(allocator_);
    MOEQ_TRY(rules.collect(config, patterns, argument, report));
    family_ = rules.family();
    expert_count_ = config_expert_count(config);
    MOEQ_TRY(StackBuilder(allocator_, config, rules, *this, report).run());
    return index_stacks(report);
}

const char* Weights::keep(const char* name, int64_t length)
{
    Block* last = names_.empty() ? nullptr : names_.end() - 1;
    if (last == nullptr || last->bytes - last->used <= length) {
        if (!names_.reserve(names_.size() + 1))
            return nullptr;
        Block block{nullptr, maximum(kNameBlock, length + 1), 0};
        block.text = static_cast<char*>(allocator_.allocate(static_cast<uint64_t>(block.bytes)));
        if (block.text == nullptr)
            return nullptr;
        names_.append_reserved(&block, 1);
        last = names_.end() - 1;
    }
    char* text = last->text + last->used;
    std::memcpy(text, name, static_cast<uint64_t>(length));
    text[length] = '\0';
    last->used += length + 1;
    return text;
}

namespace {

moeq_status refuse_taken(const Checkpoint& checkpoint, int64_t tensor, Report& report)
{
    Failure failure = report.fail(MOEQ_ERROR_FORMAT);
    report.set_class("F15");
    failure << "got the tensor ";
    return failure.quoted(checkpoint.tensor(tensor).entry.name)
           << " as a part of two quantized weights; want each tensor to belong to one";
}

} // namespace

moeq_status Weights::add(const Checkpoint& checkpoint, const Weight& weight, Report& report)
{
    if (!weights.reserve(weights.size() + 1))
        return report.out_of_memory(static_cast<uint64_t>(weights.size() + 1) * sizeof(Weight));
    Weight added = weight;
    added.bytes = 0;
    added.stack = -1;
    added.expert = added.row = added.column = 0;
    for (int32_t i = 0; i < kComponentLimit; ++i) {
        const int64_t tensor = weight.tensors[i];
        if (tensor < 0)
            continue;
        if (is_taken(tensor))
            return refuse_taken(checkpoint, tensor, report);
        weight_of[tensor] = weights.size();
        component_of[tensor] = i;
        added.bytes += checkpoint.tensor(tensor).entry.bytes;
    }
    weights.append_reserved(&added, 1);
    return MOEQ_OK;
}

moeq_status Weights::describe(const Checkpoint& checkpoint, int64_t tensor, Report& report)
{
    if (is_taken(tensor))
        return refuse_taken(checkpoint, tensor, report);
    weight_of[tensor] = weights.size() - 1;
    component_of[tensor] = -1;
    weights[weights.size() - 1].bytes += checkpoint.tensor(tensor).entry.bytes;
    return MOEQ_OK;
}

moeq_status Weights::add_dense(const Checkpoint& checkpoint, Report& report)
{
    for (int64_t i = 0; i < checkpoint.tensor_count(); ++i) {
        const FileEntry& entry = checkpoint.tensor(i).entry;
        if (is_taken(i) || !is_weight(entry))
            continue;
        MOEQ_TRY(add(checkpoint, dense_weight(entry, i), report));
    }
    return MOEQ_OK;
}

// In file order of the first tensor of each: by walking over the tensors.
moeq_status Weights::sort_weights(const Checkpoint& checkpoint, Report& report)
{
    const int64_t count = weights.size();
    Array<Weight> sorted(allocator_);
    Array<int64_t> place(allocator_);
    if (!sorted.reserve(count) || !place.resize(count, -1))
        return report.out_of_memory(static_cast<uint64_t>(count) * sizeof(Weight));
    for (int64_t i = 0; i < checkpoint.tensor_count(); ++i) {
        const int64_t weight = weight_of[i];
        if (weight < 0)
            continue;
        if (place[weight] < 0) {
            place[weight] = sorted.size();
            sorted.append_reserved(&weights[weight], 1);
        }
        weight_of[i] = place[weight];
    }
    weights.swap(sorted);
    return MOEQ_OK;
}

moeq_status Weights::index_stacks(Report& report)
{
    const auto name_at = [&](int64_t i) { return text::NameView{stacks[i].name, stacks[i].name_length}; };
    if (!stack_order_.reserve(stacks.size()))
        return report.out_of_memory(static_cast<uint64_t>(stacks.size()) * sizeof(uint64_t));
    for (int64_t i = 0; i < stacks.size(); ++i)
        stack_order_.add(i, name_at(i));
    stack_order_.sort(name_at);
    const int64_t again = stack_order_.find_duplicate(name_at);
    if (again < 0)
        return MOEQ_OK;
    Failure failure = report.fail(MOEQ_ERROR_FORMAT);
    report.set_class("F11");
    failure << "got two weights named ";
    return failure.quoted(stacks[again].name) << "; want a name for each";
}

int64_t Weights::find_stack(const char* name, int64_t length) const
{
    return stack_order_.find({name, length}, [&](int64_t i) {
        return text::NameView{stacks[i].name, stacks[i].name_length};
    });
}

} // namespace moeq::store
