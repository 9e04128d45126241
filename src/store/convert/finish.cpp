#include "store/convert/finish.h"

#include <cstring>

#include "store/container/folder.h"
#include "store/convert/own_json.h"
#include "store/convert/result.h"
#include "store/convert/side_files.h"
#include "store/dialects/parts.h"
#include "store/write/file_digest.h"

namespace moeq::store {

namespace {

constexpr int64_t kNamedUnits = 8; // that a message lists

moeq_status write_weights(const Conversion& c, text::JsonWriter& json, Report& report)
{
    json.begin_array();
    for (const PlanItem& item : c.plan.items) {
        char spec[MOEQ_SPEC_TEXT];
        if (item.kind == ItemKind::kCopy)
            continue;
        MOEQ_TRY(print_item_spec(item, spec, report));
        for (int64_t n = 0; n < item.name_count; ++n) {
            json.begin_object();
            json.key("name").string(c.plan.name(item.first_name + n));
            json.key("spec").string(spec);
            json.key("shape").begin_array();
            for (int32_t d = 0; d < item.out.ndim; ++d)
                json.integer(item.out.shape[d]);
            json.end_array();
            json.key("bytes").integer(item.out_bytes);
            if (item.kind == ItemKind::kDecode) // readers look for it under the name of its stack
                json.key("stack").string(c.weights.stacks[item.source].name);
            json.end_object();
        }
    }
    json.end_array();
    return MOEQ_OK;
}

// The report depends on the plan and on the bytes alone.
moeq_status write_report(const Conversion& c, const Array<UnitFacts>& facts, const SideFiles& side, Report& report)
{
    char name[Plan::kFileNameLimit];
    Array<char> text(c.allocator);
    text::JsonWriter json(text);
    json.begin_object();
    json.key("version").integer(kLibraryVersion);
    json.key("plan").string(c.plan.hash_text);
    json.key("dialect").string(c.plan.file_dialect().name);
    json.key("units").integer(c.plan.units.size());
    json.key("files").begin_object();
    for (int64_t u = 0; u < facts.size(); ++u) {
        json.key(c.plan.file_name(u, name));
        write_digest(facts[u].digest, json);
    }
    for (const SideFile& file : side.files()) {
        json.key(file.name);
        write_digest(file.digest, json);
    }
    json.end_object();
    json.key("weights");
    MOEQ_TRY(write_weights(c, json, report));
    json.key("kept");
    write_kept(c.plan.kept, json);
    json.key("dropped");
    write_kept(c.plan.dropped, json);
    json.key("foreign");
    write_foreign_codes(c.checkpoint, c.plan.foreign, json);
    if (c.plan.foreign.count != 0 && !quantization_config(c.checkpoint).missing())
        json.key("source_quantization_config").copy(quantization_config(c.checkpoint)); // nothing else says it now
    json.key("notes");
    c.plan.write_notes(json);
    json.end_object();
    if (!json.ok())
        return report.out_of_memory(static_cast<uint64_t>(text.size()));
    return write_file(c.allocator, c.folder(), kReportFile, text.data(), text.size(), c.durable, report);
}

moeq_status refuse_missing(const Array<UnitFacts>& facts, Report& report)
{
    int64_t missing = 0;
    for (const UnitFacts& unit : facts)
        missing += unit.whole ? 0 : 1;
    Failure failure = report.fail(MOEQ_ERROR_INCOMPLETE);
    failure << "got " << facts.size() - missing << " of " << facts.size() << " units; missing, or not as written:";
    int64_t named = 0;
    for (int64_t u = 0; u < facts.size() && named < kNamedUnits; ++u)
        if (!facts[u].whole)
            failure << (named++ == 0 ? " " : ", ") << u;
    failure << (missing > kNamedUnits ? ", ..." : "") << "; want all; do these units first";
    return failure;
}

moeq_status check_units(const Conversion& c, Array<UnitFacts>& facts, Report& report)
{
    bool all = true;
    for (int64_t u = 0; u < facts.size(); ++u) {
        char name[Plan::kFileNameLimit];
        int64_t stale = -1;
        const int64_t bytes = facts[u].whole ? 0 : c.plan.units[u].bytes_in; // to go through
        if (!facts[u].whole)
            MOEQ_TRY(check_unit(c, u, &facts[u], &stale, report));
        if (stale >= 0)
            return (report.fail(MOEQ_ERROR_MISMATCH, 2, "source") << "got ")
                       .quoted(c.checkpoint.is_directory() ? c.checkpoint.file(stale).file.name() : "the file")
                   << " with other bytes than unit " << u << " read from it; want a source that stays as it is; do the "
                   << "unit again";
        all = all && facts[u].whole;
        MOEQ_TRY(c.progress.add(MOEQ_STAGE_VERIFY, c.plan.file_name(u, name), bytes, report));
    }
    return all ? MOEQ_OK : refuse_missing(facts, report);
}

// The plan goes first, as who still works there looks for it.
moeq_status remove_plan_and_records(const Conversion& c, Report& report)
{
    MOEQ_TRY(remove_file(c.folder(), kPlanFile, report));
    char record[kRecordNameLimit];
    for (int64_t u = 0; u < c.plan.units.size(); ++u)
        MOEQ_TRY(remove_file(c.folder(), record_name(u, record), report));
    return MOEQ_OK;
}

// What killed processes left.
moeq_status remove_temporaries(const Conversion& c, Report& report)
{
    FolderNames names(c.allocator);
    MOEQ_TRY(names.read(c.folder(), report));
    for (int64_t i = 0; i < names.size(); ++i)
        if (names[i][0] == '.' && std::strstr(names[i], kTemporaryMark) != nullptr)
            MOEQ_TRY(remove_file(c.folder(), names[i], report));
    return MOEQ_OK;
}

} // namespace

moeq_status check_unit(const Conversion& c, int64_t unit, UnitFacts* out, int64_t* stale, Report& report)
{
    UnitRecord record(c.allocator);
    *stale = -1;
    out->whole = false;
    MOEQ_TRY(verify_unit(c, unit, &record, &out->whole, report));
    if (!out->whole)
        return MOEQ_OK;
    char name[Plan::kFileNameLimit];
    if (c.durable) // whoever wrote it may not have waited for the disk
        MOEQ_TRY(sync_file(c.folder(), c.plan.file_name(unit, name), report));
    out->bytes = record.bytes;
    out->digest = record.digest;
    for (const SourceStamp& stamp : record.stamps) {
        if (c.checkpoint.file(stamp.file).file.modified_ns() == stamp.modified_ns)
            continue;
        Digest source;
        MOEQ_TRY(digest_unit_source(c, unit, &source, report));
        out->whole = source == record.source;
        *stale = out->whole ? -1 : stamp.file;
        return MOEQ_OK;
    }
    return MOEQ_OK;
}

namespace {

// Whether a file is what the report says, and on the disk.
moeq_status check_listed(const Conversion& c, const char* name, const text::JsonValue& digest, bool* out,
                         Report& report)
{
    Digest found;
    Digest listed;
    moeq_error error{};
    Report inner(report.function(), &error);
    const moeq_status status =
        digest_listed_file(c.allocator, c.folder(), name, &found, inner, c.engine.kernels.digest);
    if (status == MOEQ_ERROR_MEMORY || status == MOEQ_ERROR_IO)
        return report.take_over(error);
    *out = status == MOEQ_OK && read_digest(digest, &listed) && found == listed;
    return *out && c.durable ? sync_file(c.folder(), name, report) : MOEQ_OK;
}

} // namespace

moeq_status is_sealed(const Conversion& c, bool* out, Report& report)
{
    OwnJson sealed(c.allocator);
    MOEQ_TRY(sealed.read(c.folder(), kReportFile, report));
    const text::JsonValue files = sealed.root().find("files");
    *out = sealed.is_of(c.plan) && files.is_object();
    char unit[Plan::kFileNameLimit];
    for (int64_t u = 0; *out && u < c.plan.units.size(); ++u)
        *out = files.find(c.plan.file_name(u, unit)).is_string();
    for (text::JsonMember member = files.first(); *out && !member.done(); member = member.next()) {
        const text::JsonValue name = member.name();
        *out = is_plain_name(name.text(), name.length());
        if (*out)
            MOEQ_TRY(check_listed(c, name.text(), member.value(), out, report));
    }
    return *out && c.durable ? sync_file(c.folder(), kReportFile, report) : MOEQ_OK;
}

moeq_status seal_conversion(const Conversion& c, Array<UnitFacts>& facts, Report& report)
{
    MOEQ_TRY(check_units(c, facts, report));
    SideFiles side(c, report);
    MOEQ_TRY(side.write());
    MOEQ_TRY(check_written(c, report));
    return write_report(c, facts, side, report);
}

moeq_status publish_conversion(const Conversion& c, Report& report)
{
    MOEQ_TRY(remove_plan_and_records(c, report));
    MOEQ_TRY(remove_temporaries(c, report));
    MOEQ_TRY(c.target.publish(c.durable, report));
    // A record that another process was still writing; it looks for one too, so that a failure here is none.
    Report quiet(report.function(), nullptr);
    (void)remove_plan_and_records(c, quiet);
    return MOEQ_OK;
}

} // namespace moeq::store
