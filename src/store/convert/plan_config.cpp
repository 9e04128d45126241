// What a plan says of the target: its quantization_config, and what of the source that leaves behind.
#include "store/convert/plan.h"
#include "store/dialects/parts.h"

namespace moeq::store {

// All quantized weights of the target, those that are copied too.
moeq_status Plan::list_weights(const Weights& weights, Array<WrittenWeight>* out, Report& report) const
{
    const auto add = [&](const WrittenWeight& weight) {
        return out->append(weight) ? moeq_status{MOEQ_OK}
                                   : report.out_of_memory(static_cast<uint64_t>(out->size()) * sizeof weight);
    };
    for (const PlanItem& item : items) {
        if (item.kind == ItemKind::kDecode)
            continue;
        if (item.kind != ItemKind::kCopy) {
            const bool expert = weights.stacks[item.source].expert;
            for (int64_t n = 0; n < item.name_count; ++n)
                MOEQ_TRY(add({name(item.first_name + n), item.out, expert, false}));
            continue;
        }
        // Codes that are copied stand for their weight.
        const int64_t index = weights.weight_of[item.source];
        if (index < 0 || weights.component_of[item.source] != MOEQ_COMPONENT_CODES)
            continue;
        const Weight& weight = weights.weights[index];
        Geometry geometry;
        MOEQ_TRY(make_geometry(weight.spec, 4, weight.ndim, weight.shape, 2, "source", &geometry, report));
        const bool expert = weight.stack >= 0 && weights.stacks[weight.stack].expert;
        MOEQ_TRY(add({weight.name, geometry, expert, true}));
    }
    return MOEQ_OK;
}

moeq_status Plan::find_whether_dense(const Weights& weights, Report& report)
{
    for (const PlanItem& item : items)
        is_dense = is_dense || item.kind == ItemKind::kDecode;
    if (!is_dense)
        return MOEQ_OK;
    Array<WrittenWeight> written(allocator_);
    MOEQ_TRY(list_weights(weights, &written, report));
    is_dense = written.empty();
    return MOEQ_OK;
}

moeq_status Plan::write_config(const Checkpoint& checkpoint, const Weights& weights, text::JsonWriter& json,
                               Report& report) const
{
    Array<WrittenWeight> written(allocator_);
    MOEQ_TRY(list_weights(weights, &written, report));
    WrittenModel model{.allocator = allocator_,
                       .weights = written.data(),
                       .weight_count = written.size(),
                       .dense = dense.data(),
                       .dense_count = dense.size()};
    model.weights_only = weights_only;
    model.unplaced = weights.are_unplaced();
    model.foreign = foreign.count != 0 && describes_foreign(weights);
    bool keeps = model.foreign;
    for (const WrittenWeight& weight : written)
        keeps = keeps || weight.kept;
    if (keeps && weights.dialect == dialect->id)
        model.source = quantization_config(checkpoint);
    return dialect->write_config(model, json, report);
}

// Whether the target's quantization_config still says what the foreign codes are: compressed-tensors has a group for each
// scheme, and those of the source stay.
bool Plan::describes_foreign(const Weights& weights) const
{
    return !is_dense && dialect->id == MOEQ_DIALECT_COMPRESSED_TENSORS && weights.dialect == dialect->id &&
           !foreign.lost;
}

// Codes whose description is replaced are lost: nobody could tell any more what they are.
moeq_status Plan::check_foreign(const Checkpoint& checkpoint, const Weights& weights, const ConvertRequest& request,
                                Report& report)
{
    if (foreign.count == 0 || request.keep_foreign)
        return MOEQ_OK;
    const bool replaced = has_new_weights && !checkpoint.config().missing() && !describes_foreign(weights);
    if (!foreign.lost && !replaced)
        return MOEQ_OK;
    const moeq_status status = foreign.lost ? MOEQ_ERROR_FORMAT : MOEQ_ERROR_UNSUPPORTED;
    Failure failure = report.fail(status, 2, "source");
    report.set_class(foreign.lost ? "F28" : "F10");
    append_foreign_codes(checkpoint, foreign, failure << "got ");
    if (!foreign.lost)
        failure << "; the target would no longer say what they are";
    return failure << "; want a source without them, or MOEQ_CONVERT_KEEP_FOREIGN to copy them all the same";
}

} // namespace moeq::store
