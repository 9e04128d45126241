// All that is known about a checkpoint's weights: what its dialect says, then stacks of them. Here, as dialects fill Weights and
// Weights know none of them.
#include "store/dialects/dialect.h"
#include "store/model/model_config.h"
#include "store/model/stacks.h"

namespace moeq::store {

moeq_status Weights::recognise(const Checkpoint& checkpoint, const char* patterns, Report& report, int32_t argument)
{
    const int64_t count = checkpoint.tensor_count();
    if (!weight_of.resize(count, -1) || !component_of.resize(count, 0))
        return report.out_of_memory(static_cast<uint64_t>(count) * sizeof(int64_t));
    const text::JsonValue config = checkpoint.config();
    model_type = config_model_type(config);
    dialect = detect_dialect(checkpoint);
    const Dialect* reads = find_dialect(dialect);
    if (reads != nullptr)
        MOEQ_TRY(reads->recognise(allocator_, checkpoint, this, report));
    MOEQ_TRY(add_dense(checkpoint, report));
    MOEQ_TRY(sort_weights(checkpoint, report));

    Rules rules(allocator_);
    MOEQ_TRY(rules.collect(config, patterns, argument, report));
    family_ = rules.family();
    expert_count_ = config_expert_count(config);
    MOEQ_TRY(StackBuilder(allocator_, config, rules, *this, report).run());
    return index_stacks(report);
}

} // namespace moeq::store
