#include "store/convert/planned_tensors.h"

#include <algorithm>

namespace moeq::store {

moeq_status PlannedTensors::list(const Plan& plan, const Checkpoint& source, Report& report)
{
    plan_ = &plan;
    for (int64_t u = 0; u < plan.units.size(); ++u) {
        const PlanUnit& unit = plan.units[u];
        for (int64_t i = unit.first_item; i < unit.first_item + unit.item_count; ++i) {
            const PlanItem& item = plan.items[i];
            const PlannedOrigin origin{u, i, -1, 0};
            MOEQ_TRY(item.kind == ItemKind::kCopy ? add(source.tensor(item.source).entry, origin, report)
                                                  : list_item(item, origin, report));
        }
    }
    // Names of parts were places in a text that has grown.
    for (int64_t i = 0; i < entries.size(); ++i)
        if (origins[i].weight >= 0)
            entries[i].name = text_.data() + entries[i].offset;
    return sort_names(report);
}

moeq_status PlannedTensors::list_item(const PlanItem& item, const PlannedOrigin& origin, Report& report)
{
    for (int64_t n = 0; n < item.name_count; ++n) {
        const char* name = plan_->name(item.first_name + n);
        if (item.is_quantized() && static_cast<int64_t>(std::strlen(name)) > kNameLimit - kSuffixLimit)
            return (report.fail(MOEQ_ERROR_LIMIT, 2, "source") << "got ").quoted(name)
                   << ", a name too long for one of a quantized weight; want at most " << kNameLimit - kSuffixLimit
                   << " bytes";
        DialectEntries parts(allocator_);
        MOEQ_TRY(plan_->list_entries(item, name, &parts, report));
        for (int32_t i = 0; i < parts.count; ++i) {
            const DialectEntry& part = parts.entries[i];
            FileEntry entry{};
            entry.dtype = part.dtype;
            entry.ndim = part.ndim;
            for (int32_t axis = 0; axis < part.ndim; ++axis)
                entry.shape[axis] = part.shape[axis];
            entry.bytes = part.bytes;
            entry.offset = text_.size();
            if (!text_.reserve(text_.size() + kNameLimit + 1) || !append_entry_name(name, part, &text_))
                return report.out_of_memory(static_cast<uint64_t>(text_.size() + kNameLimit));
            entry.name_length = text_.size() - 1 - entry.offset;
            MOEQ_TRY(add(entry, {origin.unit, origin.item, n, i}, report));
        }
    }
    return MOEQ_OK;
}

moeq_status PlannedTensors::add(const FileEntry& entry, const PlannedOrigin& origin, Report& report)
{
    const bool added = entries.append(entry) && origins.append(origin);
    return added ? MOEQ_OK : report.out_of_memory(static_cast<uint64_t>(entries.size() + 1) * sizeof entry);
}

moeq_status PlannedTensors::sort_names(Report& report)
{
    if (!sorted.resize(entries.size()))
        return report.out_of_memory(static_cast<uint64_t>(entries.size()) * sizeof(int64_t));
    for (int64_t i = 0; i < sorted.size(); ++i)
        sorted[i] = i;
    const auto order = [this](int64_t a, int64_t b) { return std::strcmp(entries[a].name, entries[b].name); };
    std::sort(sorted.begin(), sorted.end(), [&](int64_t a, int64_t b) {
        const int32_t found = order(a, b);
        return found != 0 ? found < 0 : a < b;
    });
    for (int64_t i = 1; i < sorted.size(); ++i)
        if (order(sorted[i - 1], sorted[i]) == 0)
            return refuse_pair(sorted[i - 1], sorted[i], report);
    return MOEQ_OK;
}

moeq_status PlannedTensors::refuse_pair(int64_t a, int64_t b, Report& report) const
{
    Failure failure = report.fail(MOEQ_ERROR_DUPLICATE, 2, "source");
    (failure << "got two tensors that would be ").quoted(entries[a].name) << " in the target:";
    for (const int64_t i : {a, b}) {
        const PlannedOrigin& origin = origins[i];
        failure << (i == a ? " " : " and ");
        if (origin.weight < 0)
            failure << "the source's own, which is copied,";
        else
            (failure << "a part of ").quoted(plan_->name(plan_->items[origin.item].first_name + origin.weight));
    }
    return failure << "; want names that differ: leave one out, rename it, or choose another dialect";
}

} // namespace moeq::store
