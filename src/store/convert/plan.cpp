#include "store/convert/plan.h"

#include <cstring>

#include "core/text.h"
#include "formats/spec_text.h"
#include "store/convert/plan_decode.h"
#include "store/convert/result.h"
#include "store/convert/side_files.h"

namespace moeq::store {

// Walks the tensors in file order.
class Planner {
public:
    Planner(Plan& plan, const Checkpoint& checkpoint, Weights& weights, const ConvertRequest& request, Report& report)
        : plan_(plan), checkpoint_(checkpoint), weights_(weights), request_(request), report_(report),
          fate_(plan.allocator_)
    {
    }

    moeq_status run()
    {
        MOEQ_TRY(plan_.rules.read(request_.rules, report_));
        if (!fate_.resize(weights_.stacks.size(), Fate::kUnknown))
            return report_.out_of_memory(static_cast<uint64_t>(weights_.stacks.size()) * sizeof(Fate));
        for (int64_t i = 0; i < checkpoint_.tensor_count(); ++i)
            MOEQ_TRY(take(i));
        return end_group();
    }

private:
    enum class Fate : int8_t { kUnknown, kCopied, kPlanned, kEncoded, kDecoded };

    template <class T>
    moeq_status append(Array<T>& to, const T& value)
    {
        return to.append(value) ? MOEQ_OK : report_.out_of_memory(static_cast<uint64_t>(to.size() + 1) * sizeof(T));
    }

    moeq_status take(int64_t tensor)
    {
        const int64_t weight = weights_.weight_of[tensor];
        const int64_t stack = weight < 0 ? -1 : weights_.weights[weight].stack;
        if (stack < 0)
            return take_dense(tensor);
        if (fate_[stack] == Fate::kUnknown)
            MOEQ_TRY(decide(stack));
        const bool decoded = fate_[stack] == Fate::kDecoded && weights_.weights[weight].quantized;
        if (fate_[stack] == Fate::kPlanned || fate_[stack] == Fate::kEncoded || decoded)
            return MOEQ_OK;
        if (!weights_.weights[weight].quantized) // of experts, and config.json has to name it as one that stays
            MOEQ_TRY(append(plan_.dense, checkpoint_.tensor(tensor).entry.name));
        return add_copy(tensor);
    }

    // ---- stacks

    moeq_status decide(int64_t index)
    {
        const Stack& stack = weights_.stacks[index];
        const ConvertRule* rule = plan_.rules.find(stack.name);
        const moeq_spec* spec = rule != nullptr                     ? rule->wanted()
                                : stack.expert && request_.has_spec ? &request_.spec
                                                                    : nullptr;
        const int32_t dtype = rule != nullptr ? rule->dtype : request_.dense_dtype;
        if (dtype != 0 && stack.quantized)
            return add_decoded(index, dtype);
        if (spec != nullptr)
            MOEQ_TRY(check_by_nature(*spec));
        const bool held =
            stack.quantized && (spec == nullptr || holds_already(weights_, stack, *request_.dialect, *spec));
        if (spec != nullptr && !held)
            return add_stack(index, spec);
        if (!held) {
            fate_[index] = Fate::kCopied;
            return dtype != 0 ? keep(stack.name, kDenseAlready, dtype_name(stack.dtype))
                              : keep(stack.name, rule != nullptr ? "kept dense by rule" : "no spec was given",
                                     rule != nullptr ? rule->glob : nullptr);
        }
        const char* text = nullptr;
        MOEQ_TRY(spec_text(own_spec(weights_, stack), &text));
        MOEQ_TRY(keep(stack.name, "quantized already, kept", text));
        // What says nothing in names of its own can be copied; native files say it in their headers.
        const int32_t scale_kind = kept_scale_kind(stack, *request_.dialect, spec);
        const bool form_stays = !(request_.dialect->experts == ExpertForm::kLinears && stack.expert && stack.fused) &&
                                scale_kind == stack.spec.scale_kind;
        if (weights_.dialect == request_.dialect->id && weights_.dialect != MOEQ_DIALECT_NATIVE && form_stays) {
            fate_[index] = Fate::kCopied;
            return MOEQ_OK;
        }
        plan_.has_new_weights = true;
        return add_stack(index, nullptr, scale_kind);
    }

    // Layout and axis are those of the checkpoint.
    moeq_status check_by_nature(const moeq_spec& spec)
    {
        if (spec.layout == MOEQ_LAYOUT_PLAIN && spec.scale_axis != -2)
            return MOEQ_OK;
        return report_.fail(MOEQ_ERROR_ARGUMENT, 4, "options")
               << "got a spec with layout " << spec.layout << " and scale_axis " << spec.scale_axis
               << "; want neither: both come from the checkpoint";
    }

    // spec NULL: its own, but for the kind of its statistics.
    moeq_status add_stack(int64_t index, const moeq_spec* spec, int32_t scale_kind = MOEQ_SCALE_DEFAULT)
    {
        if (stays_in_fused_parts(weights_.stacks[index]))
            return add_fused_parts(index, spec, scale_kind);
        PlanItem item;
        item.scale_kind = scale_kind;
        item.kind = spec == nullptr ? ItemKind::kKeep : ItemKind::kEncode;
        item.source = index;
        item.bytes_in = weights_.stacks[index].bytes;
        item.requantized = spec != nullptr && weights_.stacks[index].quantized;
        MOEQ_TRY(shape_item(plan_.allocator_, weights_, *request_.dialect, spec, &item, &plan_.names, &plan_.names_text,
                            report_));
        if (item.form == ItemForm::kEach)
            MOEQ_TRY(add_lone_stacks(&item));
        MOEQ_TRY(set_fate(index, spec == nullptr ? Fate::kPlanned : Fate::kEncoded));
        plan_.has_new_weights = true;
        if (!weights_.stacks[index].expert)
            return add_to_group(item);
        const PlanUnit unit = unit_of(item);
        MOEQ_TRY(append(plan_.items, item));
        return append_unit(unit, plan_.items.size() - 1);
    }

    moeq_status set_fate(int64_t stack, Fate fate)
    {
        while (fate_.size() <= stack)
            MOEQ_TRY(append(fate_, Fate::kUnknown));
        fate_[stack] = fate;
        return MOEQ_OK;
    }

    // Tensors with all experts that are less than the stack, or of two axes, where the dialect leaves what is fused as it is: one
    // item for each of them.
    bool stays_in_fused_parts(const Stack& stack) const
    {
        const Weight& first = weights_.piece(stack, 0);
        return stack.expert && (first.folded || (!stack.fused && first.ndim > 2)) &&
               request_.dialect->experts != ExpertForm::kFused && !becomes_linears(*request_.dialect, weights_, stack);
    }

    moeq_status add_fused_parts(int64_t index, const moeq_spec* spec, int32_t scale_kind)
    {
        const Stack whole = weights_.stacks[index];
        MOEQ_TRY(set_fate(index, Fate::kPlanned));
        for (int64_t i = 0; i < whole.piece_count; ++i) {
            const int64_t part = weights_.stacks.size();
            MOEQ_TRY(add_lone_stack(weights_.pieces[whole.first_piece + i], true));
            Stack& stack = weights_.stacks[part];
            stack.expert = stack.fused = true;
            stack.scale_axis = whole.scale_axis;
            MOEQ_TRY(add_stack(part, spec, scale_kind));
        }
        return MOEQ_OK;
    }

    // Every quantized weight of the stack under its own name.
    moeq_status add_decoded(int64_t index, int32_t dtype)
    {
        const Stack& stack = weights_.stacks[index];
        PlanItem item;
        item.source = index;
        item.dtype = dtype;
        MOEQ_TRY(shape_decoded(weights_, &item, &plan_.names, &plan_.names_text, report_));
        for (int64_t i = 0; i < stack.piece_count; ++i)
            if (weights_.piece(stack, i).quantized)
                MOEQ_TRY(append(plan_.dense, weights_.piece(stack, i).name));
        MOEQ_TRY(set_fate(index, Fate::kDecoded));
        plan_.has_new_weights = true;
        if (!stack.expert)
            return add_to_group(item);
        const PlanUnit unit = unit_of(item);
        MOEQ_TRY(append(plan_.items, item));
        return append_unit(unit, plan_.items.size() - 1);
    }

    // Each piece as a stack of its own.
    moeq_status add_lone_stacks(PlanItem* item)
    {
        item->first_lone = weights_.stacks.size();
        const Stack stack = weights_.stacks[item->source];
        for (int64_t i = 0; i < stack.piece_count; ++i)
            MOEQ_TRY(add_lone_stack(weights_.pieces[stack.first_piece + i], true));
        return MOEQ_OK;
    }

    // A stack of one weight; `of_expert`: it stays in its own stack too.
    moeq_status add_lone_stack(int64_t index, bool of_expert)
    {
        Weight weight = as_in_file(weights_.weights[index]);
        Stack stack{};
        stack.name = stack.file_name = weight.name;
        stack.name_length = weight.name_length;
        stack.dtype = weight.dtype;
        stack.layout = MOEQ_LAYOUT_PLAIN;
        stack.scale_axis = -1;
        stack.quantized = weight.quantized;
        stack.spec = weight.spec;
        stack.shape[0] = weight.experts();
        stack.shape[1] = weight.rows();
        stack.shape[2] = weight.columns();
        stack.bytes = weight.bytes;
        stack.first_piece = weights_.pieces.size();
        stack.piece_count = 1;
        stack.missing_expert = stack.odd_piece = -1;
        weight.stack = weights_.stacks.size();
        weight.expert = weight.row = weight.column = 0;
        int64_t piece = index;
        if (of_expert) {
            piece = weights_.weights.size();
            MOEQ_TRY(append(weights_.weights, weight));
        } else {
            weights_.weights[index] = weight;
        }
        MOEQ_TRY(append(weights_.pieces, piece));
        return append(weights_.stacks, stack);
    }

    PlanUnit unit_of(const PlanItem& item) const
    {
        PlanUnit unit;
        unit.bytes_in = item.bytes_in;
        if (item.kind == ItemKind::kCopy) {
            unit.bytes_out = item.bytes_in;
            unit.peak = minimum(item.bytes_in, kCopyBytes);
            return unit;
        }
        unit.bytes_out = item.out_bytes * item.name_count;
        unit.peak = item.kind == ItemKind::kDecode ? decoded_peak(weights_, item) : item_peak(weights_, item);
        return unit;
    }

    // ---- dense tensors

    moeq_status take_dense(int64_t tensor)
    {
        const FileEntry& entry = checkpoint_.tensor(tensor).entry;
        bool gone = false;
        MOEQ_TRY(drop_with_codes(tensor, &gone));
        if (gone)
            return MOEQ_OK;
        const bool matrix = entry.ndim == 2 && float_type(entry.dtype) >= 0;
        const ConvertRule* rule = matrix ? plan_.rules.find(entry.name) : nullptr;
        if (rule != nullptr && rule->wanted() != nullptr) {
            MOEQ_TRY(check_by_nature(rule->spec));
            return add_lone_tensor(tensor, rule->spec);
        }
        if (rule != nullptr && rule->dtype != 0)
            MOEQ_TRY(keep(entry.name, kDenseAlready, dtype_name(entry.dtype)));
        else
            MOEQ_TRY(keep(entry.name, rule != nullptr ? "kept dense by rule" : reason_of(checkpoint_, weights_, tensor),
                          rule != nullptr ? rule->glob : nullptr));
        const bool statistic = plan_.foreign.count != 0 && is_companion_name(entry.name, entry.name_length);
        if (matrix && !statistic) // which is no module
            MOEQ_TRY(append(plan_.dense, entry.name));
        return add_copy(tensor);
    }

    // What config.json and a weight's codes gave a meaning to goes with them: scales of activations and of the KV cache.
    moeq_status drop_with_codes(int64_t tensor, bool* gone)
    {
        const int64_t codes = find_codes_beside(checkpoint_, tensor);
        const int64_t weight = codes < 0 ? -1 : weights_.weight_of[codes];
        const int64_t stack = weight < 0 ? -1 : weights_.weights[weight].stack;
        if (stack >= 0 && fate_[stack] == Fate::kUnknown)
            MOEQ_TRY(decide(stack));
        const Fate fate = stack >= 0 && weights_.weights[weight].quantized ? fate_[stack] : Fate::kUnknown;
        const bool anew = fate == Fate::kEncoded ||
                          (fate == Fate::kPlanned && plan_.dialect->id != MOEQ_DIALECT_NATIVE); // which loses nothing
        const bool beside = fate == Fate::kDecoded || anew;
        const bool cache =
            request_.dense_dtype != 0 && weights_.dialect != MOEQ_DIALECT_NONE && is_cache_scale(checkpoint_, tensor);
        const char* name = checkpoint_.tensor(tensor).entry.name;
        *gone = beside || cache;
        const char* why = anew ? kBesideAnew : kBesideDense;
        return beside  ? append(plan_.dropped, PlanKept{name, why, weights_.weights[weight].name})
               : cache ? append(plan_.dropped, PlanKept{name, kOfTheCache, nullptr})
                       : moeq_status{MOEQ_OK};
    }

    moeq_status add_lone_tensor(int64_t tensor, const moeq_spec& spec)
    {
        int64_t index = weights_.weight_of[tensor];
        if (index < 0) {
            index = weights_.weights.size();
            MOEQ_TRY(append(weights_.weights, dense_weight(checkpoint_.tensor(tensor).entry, tensor)));
            weights_.weight_of[tensor] = index;
        }
        const int64_t stack = weights_.stacks.size();
        MOEQ_TRY(add_lone_stack(index, false));
        return add_stack(stack, &spec);
    }

    moeq_status add_copy(int64_t tensor)
    {
        const FileEntry& entry = checkpoint_.tensor(tensor).entry;
        const bool differs = float_type(entry.dtype) >= 0 && entry.dtype != request_.dense_dtype;
        plan_.other_dtypes += request_.dense_dtype != 0 && differs ? 1 : 0;
        PlanItem item;
        item.source = tensor;
        item.bytes_in = entry.bytes;
        return add_to_group(item);
    }

    // ---- units

    // The group that is being filled lies in `group_`, as its unit's items must follow each other.
    moeq_status add_to_group(const PlanItem& item)
    {
        const PlanUnit one = unit_of(item);
        if (group_.item_count != 0 && group_.bytes_in + one.bytes_in > kGroupBytes)
            MOEQ_TRY(end_group());
        group_.bytes_in += one.bytes_in;
        group_.bytes_out += one.bytes_out;
        if (item.kind == ItemKind::kCopy)
            copied_ += one.peak; // neighbours are in one buffer
        group_.peak = maximum(group_.peak, item.kind == ItemKind::kCopy ? minimum(copied_, kCopyBytes) : one.peak);
        ++group_.item_count;
        return append(group_items_, item);
    }

    moeq_status end_group()
    {
        if (group_.item_count == 0)
            return MOEQ_OK;
        const PlanUnit unit = group_;
        const int64_t first = plan_.items.size();
        for (const PlanItem& item : group_items_)
            MOEQ_TRY(append(plan_.items, item));
        group_ = PlanUnit();
        copied_ = 0;
        group_items_.clear();
        return append_unit(unit, first);
    }

    moeq_status append_unit(PlanUnit unit, int64_t first_item)
    {
        unit.first_item = first_item;
        unit.item_count = plan_.items.size() - first_item;
        unit.peak += kUnitBytes;
        for (int64_t i = first_item; i < plan_.items.size(); ++i)
            unit.peak += kNameBytes * maximum(1, plan_.items[i].name_count);
        return append(plan_.units, unit);
    }

    // ---- names

    moeq_status keep(const char* name, const char* reason, const char* detail)
    {
        return append(plan_.kept, PlanKept{name, reason, detail});
    }

    moeq_status spec_text(const moeq_spec& spec, const char** out)
    {
        char text[MOEQ_SPEC_TEXT];
        MOEQ_TRY(print_spec(spec, text, report_));
        return plan_.keep_text(text, out, report_);
    }

    Plan& plan_;
    const Checkpoint& checkpoint_;
    Weights& weights_;
    const ConvertRequest& request_;
    Report& report_;
    Array<Fate> fate_; // of each stack
    PlanUnit group_;
    int64_t copied_ = 0; // bytes of the group's copies, each counted up to the buffer's size
    Array<PlanItem> group_items_{plan_.allocator_};
};

Plan::Plan(Allocator& allocator)
    : rules(allocator), units(allocator), items(allocator), kept(allocator), dropped(allocator), dense(allocator),
      names(allocator), names_text(allocator), identity(allocator), notes(allocator), allocator_(allocator),
      texts_(allocator)
{
}

Plan::~Plan()
{
    for (char* text : texts_)
        allocator_.free(text, std::strlen(text) + 1);
}

moeq_status Plan::make(const Checkpoint& checkpoint, Weights& weights, const ConvertRequest& request, Report& report)
{
    dialect = request.dialect;
    weights_only = request.weights_only;
    patterns = request.patterns;
    MOEQ_TRY(identify(checkpoint, request, report));
    foreign = find_foreign_codes(checkpoint, weights);
    MOEQ_TRY(Planner(*this, checkpoint, weights, request, report).run());
    MOEQ_TRY(find_whether_dense(weights, report));
    MOEQ_TRY(check_foreign(checkpoint, weights, request, report));
    MOEQ_TRY(check_loadable(weights, report));
    MOEQ_TRY(collect_notes(checkpoint, weights, request, report));
    // What config.json cannot say, or a reader would not find again, is refused before anything is written.
    Array<char> config(allocator_);
    if (!checkpoint.config().missing()) {
        text::JsonWriter json(config);
        MOEQ_TRY(write_target_config(*this, checkpoint, weights, json, report));
        if (!json.ok())
            return report.out_of_memory(static_cast<uint64_t>(config.size()));
    }
    return check_foreseen(allocator_, *this, checkpoint, weights, &config, report);
}

const char* Plan::file_name(int64_t unit, char* out) const
{
    Text text(out, kFileNameLimit);
    text.add("model-").add_padded(unit + 1, kUnitDigits);
    text.add("-of-").add_padded(units.size(), kUnitDigits).add(kContainerSuffix);
    return out;
}

} // namespace moeq::store
