#include "store/convert/record.h"

#include "core/text.h"
#include "store/container/atomic_file.h"
#include "store/container/folder.h"
#include "store/convert/own_json.h"
#include "store/write/file_digest.h"

namespace moeq::store {

namespace {

bool same_digest(const text::JsonValue& value, const Digest& wanted)
{
    Digest digest;
    return read_digest(value, &digest) && digest == wanted;
}

} // namespace

const char* record_name(int64_t unit, char* out)
{
    Text text(out, kRecordNameLimit);
    text.add("unit-").add_padded(unit, kUnitDigits).add(".json");
    return out;
}

moeq_status write_record(const Conversion& c, int64_t unit, const UnitRecord& record, Report& report)
{
    char name[Plan::kFileNameLimit];
    Array<char> text(c.allocator);
    text::JsonWriter json(text);
    json.begin_object();
    json.key("plan").string(c.plan.hash_text);
    json.key("unit").integer(unit);
    json.key("source").begin_array();
    for (const SourceStamp& stamp : record.stamps) {
        const CheckpointFile& file = c.checkpoint.file(stamp.file);
        json.begin_object();
        json.key("file").integer(stamp.file);
        json.key("bytes").integer(file.file.size());
        json.key("modified_ns").integer(stamp.modified_ns).key("header");
        write_digest(file.header.digest, json);
        json.end_object();
    }
    json.end_array();
    json.key("source_digest");
    write_digest(record.source, json);
    json.key("file").string(c.plan.file_name(unit, name));
    json.key("bytes").integer(record.bytes);
    json.key("digest");
    write_digest(record.digest, json);
    json.end_object();
    if (!json.ok())
        return report.out_of_memory(static_cast<uint64_t>(text.size()));
    return write_file(c.allocator, c.folder(), record_name(unit, name), text.data(), text.size(), c.durable, report);
}

moeq_status read_record(Allocator& allocator, int folder, const Plan& plan, const Checkpoint& checkpoint, int64_t unit,
                        UnitRecord* out, bool* found, Report& report)
{
    char name[kRecordNameLimit];
    char file_name[Plan::kFileNameLimit];
    OwnJson json(allocator);
    MOEQ_TRY(json.read(folder, record_name(unit, name), report));
    const text::JsonValue root = json.root();
    int64_t number = -1;
    *found = json.is_of(plan) && root.find("unit").get_integer(&number) && number == unit &&
             root.find("file").equals(plan.file_name(unit, file_name)) &&
             read_digest(root.find("source_digest"), &out->source) && root.find("bytes").get_integer(&out->bytes) &&
             read_digest(root.find("digest"), &out->digest) && root.find("source").is_array();
    if (!*found)
        return MOEQ_OK;
    out->stamps.clear();
    if (!out->stamps.reserve(root.find("source").size()))
        return report.out_of_memory(sizeof(SourceStamp));
    for (text::JsonMember member = root.find("source").first(); !member.done() && *found; member = member.next()) {
        SourceStamp stamp{};
        *found = member.value().find("file").get_integer(&stamp.file) && stamp.file >= 0 &&
                 stamp.file < checkpoint.file_count() &&
                 member.value().find("modified_ns").get_integer(&stamp.modified_ns);
        if (!*found)
            break;
        *found = same_digest(member.value().find("header"), checkpoint.file(stamp.file).header.digest);
        out->stamps.append_reserved(&stamp, 1);
    }
    return MOEQ_OK;
}

moeq_status verify_unit(const Conversion& c, int64_t unit, UnitRecord* out, bool* whole, Report& report)
{
    MOEQ_TRY(read_record(c.allocator, c.folder(), c.plan, c.checkpoint, unit, out, whole, report));
    if (!*whole)
        return MOEQ_OK;
    char name[Plan::kFileNameLimit];
    c.plan.file_name(unit, name);
    int64_t bytes = -1;
    MOEQ_TRY(find_bytes(c.folder(), name, &bytes, report));
    *whole = bytes == out->bytes;
    if (!*whole)
        return MOEQ_OK;
    Digest digest;
    moeq_error error{};
    Report inner(report.function(), &error);
    const moeq_status status = digest_of_file(c.allocator, c.folder(), name, &digest, inner, c.engine.kernels.digest);
    // Bytes that are no file of the container are not those that were written.
    if (status == MOEQ_ERROR_MEMORY || status == MOEQ_ERROR_IO)
        return report.take_over(error);
    *whole = status == MOEQ_OK && digest == out->digest;
    return MOEQ_OK;
}

} // namespace moeq::store
