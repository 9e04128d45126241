// A plan as text: what it depends on, which its hash is of, what people read, and what config.json says.
#include "core/text.h"
#include "formats/spec_text.h"
#include "store/convert/plan_decode.h"

namespace moeq::store {

namespace {

// Text of the caller's, or null; JSON of equal meaning may differ in spelling and is then another text.
void write_text(const char* key, const char* text, text::JsonWriter& json)
{
    json.key(key);
    if (text == nullptr)
        json.null();
    else
        json.string(text);
}

} // namespace

moeq_status Plan::identify(const Checkpoint& checkpoint, const ConvertRequest& request, Report& report)
{
    char spec[MOEQ_SPEC_TEXT];
    if (request.has_spec)
        MOEQ_TRY(print_spec(request.spec, spec, report));
    Array<char> config(allocator_);
    if (!checkpoint.config().missing()) {
        text::JsonWriter text(config);
        if (!text.copy(checkpoint.config()).ok())
            return report.out_of_memory(1);
    }
    text::JsonWriter json(identity);
    json.begin_object();
    json.key("plan_version").integer(kPlanVersion);
    json.key("library").integer(kLibraryVersion);
    json.key("dialect").string(request.dialect->name);
    const char* type = request.dense_dtype != 0 ? dtype_name(request.dense_dtype) : nullptr;
    write_text("spec", request.has_spec ? spec : type, json);
    write_text("rules", request.rules, json);
    write_text("patterns", request.patterns, json);
    json.key("keep_foreign").boolean(request.keep_foreign);
    json.key("weights_only").boolean(request.weights_only);
    json.key("config");
    write_digest(digest_of(config.data(), config.size()), json);
    json.key("files").begin_array();
    for (int64_t i = 0; i < checkpoint.file_count(); ++i) {
        const CheckpointFile& file = checkpoint.file(i);
        json.begin_object();
        // A file that was named by the caller may lie anywhere.
        json.key("name").string(checkpoint.is_directory() ? file.file.name() : "");
        json.key("bytes").integer(file.file.size()).key("header");
        write_digest(file.header.digest, json);
        json.end_object();
    }
    json.end_array().end_object();
    if (!json.ok())
        return report.out_of_memory(static_cast<uint64_t>(identity.size()));
    hash = digest_of(identity.data(), identity.size());
    print_digest(hash, hash_text);
    return MOEQ_OK;
}

namespace {

class PlanPrinter {
public:
    PlanPrinter(const Plan& plan, const Checkpoint& checkpoint, const Weights& weights, const Array<int64_t>& finished,
                Array<char>& out, Report& report)
        : plan_(plan), checkpoint_(checkpoint), weights_(weights), finished_(finished), out_(out), json_(out),
          report_(report)
    {
    }

    moeq_status run()
    {
        json_.begin_object();
        json_.key("hash").string(plan_.hash_text);
        json_.key("dialect").string(plan_.file_dialect().name);
        write_source();
        json_.key("units").begin_array();
        for (int64_t i = 0; i < plan_.units.size(); ++i)
            MOEQ_TRY(write_unit(i));
        json_.end_array();
        json_.key("finished").begin_array();
        for (const int64_t unit : finished_)
            json_.integer(unit);
        json_.end_array();
        write_totals();
        json_.key("kept");
        write_kept(plan_.kept, json_);
        json_.key("dropped");
        write_kept(plan_.dropped, json_);
        json_.key("unused_rules").begin_array();
        for (int64_t i = 0; i < plan_.rules.size(); ++i)
            if (!plan_.rules[i].used)
                json_.string(plan_.rules[i].glob);
        json_.end_array();
        json_.key("foreign");
        write_foreign_codes(checkpoint_, plan_.foreign, json_);
        json_.key("odd_experts");
        weights_.odd_experts() == nullptr ? json_.null() : json_.string(weights_.odd_experts());
        json_.key("notes");
        plan_.write_notes(json_);
        json_.end_object();
        return json_.ok() ? MOEQ_OK : report_.out_of_memory(static_cast<uint64_t>(out_.size()));
    }

private:
    void write_source()
    {
        const Dialect* dialect = find_dialect(weights_.dialect);
        json_.key("source").begin_object();
        json_.key("dialect").string(dialect == nullptr ? "none" : dialect->name);
        json_.key("model_type").string(weights_.model_type);
        json_.key("files").integer(checkpoint_.file_count());
        json_.key("tensors").integer(checkpoint_.tensor_count());
        json_.key("bytes").integer(checkpoint_.bytes());
        json_.end_object();
    }

    moeq_status write_unit(int64_t index)
    {
        const PlanUnit& unit = plan_.units[index];
        char file[Plan::kFileNameLimit];
        json_.begin_object();
        json_.key("unit").integer(index);
        json_.key("file").string(plan_.file_name(index, file));
        json_.key("bytes_in").integer(unit.bytes_in);
        json_.key("bytes_out").integer(unit.bytes_out);
        json_.key("peak").integer(unit.peak);
        int64_t copied = 0;
        json_.key("weights").begin_array();
        for (int64_t i = unit.first_item; i < unit.first_item + unit.item_count; ++i) {
            copied += plan_.items[i].kind == ItemKind::kCopy ? 1 : 0;
            if (plan_.items[i].kind != ItemKind::kCopy)
                MOEQ_TRY(write_item(plan_.items[i]));
        }
        json_.end_array();
        json_.key("copied_tensors").integer(copied);
        json_.end_object();
        return MOEQ_OK;
    }

    moeq_status write_item(const PlanItem& item)
    {
        char spec[MOEQ_SPEC_TEXT];
        char from[MOEQ_SPEC_TEXT];
        const bool decoded = item.kind == ItemKind::kDecode;
        MOEQ_TRY(print_item_spec(item, spec, report_));
        if (item.requantized || decoded)
            MOEQ_TRY(print_spec(own_spec(weights_, weights_.stacks[item.source]), from, report_));
        for (int64_t i = 0; i < item.name_count; ++i) {
            json_.begin_object();
            json_.key("name").string(plan_.name(item.first_name + i));
            json_.key("spec").string(spec);
            json_.key("shape").begin_array();
            for (int32_t d = 0; d < item.out.ndim; ++d)
                json_.integer(item.out.shape[d]);
            json_.end_array();
            json_.key("bytes").integer(item.out_bytes);
            json_.key("stack").string(weights_.stacks[item.source].name);
            if (item.requantized || decoded)
                json_.key(decoded ? "decoded_from" : "requantized_from").string(from);
            json_.end_object();
        }
        return MOEQ_OK;
    }

    void write_totals()
    {
        PlanUnit total;
        int64_t weights = 0, decoded = 0, stacks = 0, experts = 0;
        for (const PlanUnit& unit : plan_.units) {
            total.bytes_in += unit.bytes_in;
            total.bytes_out += unit.bytes_out;
            total.peak = maximum(total.peak, unit.peak);
        }
        for (const PlanItem& item : plan_.items) {
            if (item.kind == ItemKind::kCopy)
                continue;
            if (item.kind == ItemKind::kDecode) {
                decoded += item.name_count;
                continue;
            }
            const Stack& stack = weights_.stacks[item.source];
            weights += item.name_count;
            stacks += stack.expert ? 1 : 0;
            experts += stack.expert ? stack.shape[0] : 0;
        }
        json_.key("totals").begin_object();
        json_.key("units").integer(plan_.units.size());
        json_.key("bytes_in").integer(total.bytes_in);
        json_.key("bytes_out").integer(total.bytes_out);
        json_.key("peak").integer(total.peak);
        json_.key("weights_quantized").integer(weights);
        json_.key("weights_made_dense").integer(decoded);
        json_.key("stacks").integer(stacks);
        json_.key("experts").integer(experts);
        json_.end_object();
    }

    const Plan& plan_;
    const Checkpoint& checkpoint_;
    const Weights& weights_;
    const Array<int64_t>& finished_;
    Array<char>& out_;
    text::JsonWriter json_;
    Report& report_;
};

} // namespace

void write_kept(const Array<PlanKept>& kept, text::JsonWriter& json)
{
    json.begin_array();
    for (const PlanKept& one : kept) {
        json.begin_object();
        json.key("name").string(one.name);
        json.key("reason").string(one.reason);
        if (one.detail != nullptr)
            json.key("detail").string(one.detail);
        json.end_object();
    }
    json.end_array();
}

moeq_status print_item_spec(const PlanItem& item, char* out, Report& report)
{
    if (item.kind != ItemKind::kDecode)
        return print_spec(item.out.spec, out, report);
    Text(out, MOEQ_SPEC_TEXT).add(dtype_name(item.dtype));
    return MOEQ_OK;
}

moeq_status Plan::print(const Checkpoint& checkpoint, const Weights& weights, const Array<int64_t>& finished,
                        Array<char>* out, Report& report) const
{
    return PlanPrinter(*this, checkpoint, weights, finished, *out, report).run();
}

} // namespace moeq::store
