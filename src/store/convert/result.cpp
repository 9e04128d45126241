#include "store/convert/result.h"

#include <cstring>

#include "store/convert/planned_tensors.h"
#include "store/convert/unit.h"
#include "store/dialects/recognise.h"

namespace moeq::store {

namespace {

bool same_weight(const WrittenWeight& planned, const Weight& found)
{
    const moeq_spec& a = planned.geometry.spec;
    const moeq_spec& b = found.spec;
    const bool tiles = a.granularity == MOEQ_GRANULARITY_BLOCK || planned.geometry.in_runs();
    return found.ndim == planned.geometry.ndim &&
           std::memcmp(found.shape, planned.geometry.shape, static_cast<uint64_t>(found.ndim) * sizeof *found.shape) ==
               0 &&
           a.format == b.format && a.granularity == b.granularity && a.nested == b.nested &&
           a.scale_kind == b.scale_kind &&
           (!tiles || (a.block_rows == b.block_rows && a.block_columns == b.block_columns));
}

// Failures that say nothing about what was opened.
bool is_of_machine(moeq_status status)
{
    return status == MOEQ_ERROR_MEMORY || status == MOEQ_ERROR_IO || status == MOEQ_ERROR_NOT_FOUND ||
           status == MOEQ_ERROR_TRUNCATED;
}

// A message without the name of the function.
const char* told(const moeq_error& error, const Report& report)
{
    return error.message + std::strlen(report.function()) + std::strlen(": ");
}

} // namespace

class ResultCheck {
public:
    ResultCheck(Allocator& allocator, const Plan& plan, const Weights& weights, const Checkpoint& result,
                Report& report)
        : plan_(plan), weights_(weights), result_(result), report_(report), found_(allocator), planned_(allocator),
          expected_(allocator)
    {
    }

    moeq_status run()
    {
        MOEQ_TRY(recognise_weights(result_, plan_.patterns, kOptionsArgument, &found_, report_));
        MOEQ_TRY(plan_.list_weights(weights_, &planned_, report_));
        if (!expected_.resize(found_.weights.size(), false))
            return report_.out_of_memory(static_cast<uint64_t>(found_.weights.size()));
        // Without config.json there are dialects that nobody recognises.
        const bool told = found_.dialect == plan_.dialect->id || !result_.config().missing();
        for (const WrittenWeight& weight : planned_)
            if (told)
                MOEQ_TRY(expect(weight));
        for (int64_t i = 0; i < found_.weights.size(); ++i)
            if (found_.weights[i].quantized && !expected_[i])
                return (report_.fail(MOEQ_ERROR_UNSUPPORTED) << "tensor ").quoted(found_.weights[i].name)
                       << ": got what would be a quantized weight, and is none";
        return MOEQ_OK;
    }

private:
    moeq_status expect(const WrittenWeight& weight)
    {
        const int64_t tensor = result_.find(weight.name, static_cast<int64_t>(std::strlen(weight.name)));
        const int64_t index = tensor < 0 ? -1 : found_.weight_of[tensor];
        if (index < 0 || !found_.weights[index].quantized || found_.component_of[tensor] != MOEQ_COMPONENT_CODES ||
            !same_weight(weight, as_in_file(found_.weights[index])))
            return (report_.fail(MOEQ_ERROR_UNSUPPORTED) << "weight ").quoted(weight.name)
                   << ": got no way to find it again as it was quantized";
        expected_[index] = true;
        return MOEQ_OK;
    }

    const Plan& plan_;
    const Weights& weights_;
    const Checkpoint& result_;
    Report& report_;
    Weights found_;
    Array<WrittenWeight> planned_;
    Array<bool> expected_; // of each weight that is found: whether the plan has it
};

namespace {

// A plan's files, as far as they are known before they are written.
class Foreseen {
public:
    Foreseen(Allocator& allocator, const Plan& plan, const Checkpoint& source, Report& report)
        : allocator_(allocator), plan_(plan), source_(source), report_(report), tensors_(allocator), names_(allocator),
          metadata_(allocator), ends_(allocator), files_(allocator)
    {
    }

    moeq_status list()
    {
        MOEQ_TRY(tensors_.list(plan_, source_, report_));
        const int64_t units = plan_.units.size();
        if (!names_.resize(units * Plan::kFileNameLimit) || !ends_.reserve(units) || !files_.reserve(units))
            return report_.out_of_memory(static_cast<uint64_t>(units) * sizeof(AssumedFile));
        for (int64_t u = 0; u < units; ++u)
            MOEQ_TRY(add_metadata(plan_.units[u]));
        const FileEntry* entry = tensors_.entries.begin();
        for (int64_t u = 0; u < units; ++u) {
            const int64_t begin = u == 0 ? 0 : ends_[u - 1];
            AssumedFile file{plan_.file_name(u, names_.data() + u * Plan::kFileNameLimit), metadata_.data() + begin,
                             ends_[u] - begin, entry, 0};
            for (; entry != tensors_.entries.end() && origin_of(*entry).unit == u; ++entry)
                ++file.entry_count;
            files_.append_reserved(&file, 1);
        }
        return MOEQ_OK;
    }

    moeq_status open(Array<char>* config, Checkpoint* out, Report& report) const
    {
        return out->assume(files_.data(), files_.size(), config, {read, this}, report);
    }

private:
    const PlannedOrigin& origin_of(const FileEntry& entry) const
    {
        return tensors_.origins[&entry - tensors_.entries.begin()];
    }

    moeq_status add_metadata(const PlanUnit& unit)
    {
        text::JsonWriter json(metadata_);
        json.begin_object();
        plan_.file_dialect().write_metadata(nullptr, json);
        for (int64_t i = unit.first_item; i < unit.first_item + unit.item_count; ++i) {
            const PlanItem& item = plan_.items[i];
            for (int64_t n = 0; item.is_quantized() && n < item.name_count; ++n) {
                const WrittenWeight weight{plan_.name(item.first_name + n), item.out};
                plan_.dialect->write_metadata(&weight, json);
            }
        }
        json.end_object();
        const bool added = json.ok() && ends_.append(metadata_.size());
        return added ? MOEQ_OK : report_.out_of_memory(static_cast<uint64_t>(metadata_.size()));
    }

    static moeq_status read(const void* owner, int64_t tensor, int64_t begin, int64_t count, void* out, Report& report)
    {
        return static_cast<const Foreseen*>(owner)->read_tensor(tensor, begin, count, out, report);
    }

    // Copies, and constants of the dialect: what describes weights. Codes and scales are not known.
    moeq_status read_tensor(int64_t tensor, int64_t begin, int64_t count, void* out, Report& report) const
    {
        const PlannedOrigin& origin = tensors_.origins[tensor];
        const PlanItem& item = plan_.items[origin.item];
        if (origin.weight < 0)
            return source_.read(item.source, begin, count, out, report);
        DialectEntries parts(allocator_);
        MOEQ_TRY(plan_.list_entries(item, plan_.name(item.first_name + origin.weight), &parts, report));
        const DialectEntry& part = parts.entries[origin.entry];
        if (part.component != 0)
            return (report.fail(MOEQ_ERROR_UNSUPPORTED) << "tensor ").quoted(tensors_.entries[tensor].name)
                   << ": got codes or scales that would be taken for what describes a weight";
        std::memcpy(out, parts.bytes.data() + part.constant + begin, static_cast<uint64_t>(count));
        return MOEQ_OK;
    }

    Allocator& allocator_;
    const Plan& plan_;
    const Checkpoint& source_;
    Report& report_;
    PlannedTensors tensors_;
    Array<char> names_;    // of files
    Array<char> metadata_; // of all files, one after the other
    Array<int64_t> ends_;
    Array<AssumedFile> files_;
};

} // namespace

moeq_status check_foreseen(Allocator& allocator, const Plan& plan, const Checkpoint& source, const Weights& weights,
                           Array<char>* config, Report& report)
{
    Foreseen foreseen(allocator, plan, source, report);
    MOEQ_TRY(foreseen.list());
    Checkpoint result(allocator);
    moeq_error error{};
    Report inner(report.function(), &error);
    moeq_status status = foreseen.open(config, &result, inner);
    if (status == MOEQ_OK)
        status = ResultCheck(allocator, plan, weights, result, inner).run();
    if (status == MOEQ_OK)
        return MOEQ_OK;
    if (is_of_machine(status))
        return report.take_over(error);
    return report.fail(MOEQ_ERROR_UNSUPPORTED, 2, "source")
           << "got a tensor that the dialect " << plan.dialect->name << " has another meaning for: in the target, "
           << told(error, report) << "; leave it out, rename it, or choose another dialect";
}

moeq_status check_written(const Conversion& c, Report& report)
{
    Checkpoint result(c.allocator);
    moeq_error error{};
    Report inner(report.function(), &error);
    moeq_status status = result.open_folder(c.folder(), "TARGET.partial", inner);
    if (status == MOEQ_OK)
        status = ResultCheck(c.allocator, c.plan, c.weights, result, inner).run();
    if (status == MOEQ_OK)
        return MOEQ_OK;
    if (is_of_machine(status))
        return report.take_over(error);
    return report.fail(MOEQ_ERROR_MISMATCH, 3, "target")
           << "got files that are not what the plan makes: " << told(error, report)
           << "; want them as they were written; remove TARGET.partial and start anew";
}

} // namespace moeq::store
