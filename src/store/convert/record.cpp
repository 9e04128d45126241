#include "store/convert/record.h"

#include "core/text.h"
#include "store/container/atomic_file.h"
#include "store/container/folder.h"
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

moeq_status write_record(Allocator& allocator, int folder, const Plan& plan, const Checkpoint& checkpoint, int64_t unit,
                         const UnitRecord& record, bool durable, Report& report)
{
    char name[Plan::kFileNameLimit];
    Array<char> text(allocator);
    text::JsonWriter json(text);
    json.begin_object();
    json.key("plan").string(plan.hash_text);
    json.key("unit").integer(unit);
    json.key("source").begin_array();
    for (const SourceStamp& stamp : record.stamps) {
        const CheckpointFile& file = checkpoint.file(stamp.file);
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
    json.key("file").string(plan.file_name(unit, name));
    json.key("bytes").integer(record.bytes);
    json.key("digest");
    write_digest(record.digest, json);
    json.end_object();
    if (!json.ok())
        return report.out_of_memory(static_cast<uint64_t>(text.size()));
    return write_file(allocator, folder, record_name(unit, name), text.data(), text.size(), durable, report);
}

moeq_status read_own_json(Allocator& allocator, int folder, const char* name, Array<char>* text,
                          text::JsonDocument* document, bool* found, Report& report)
{
    MOEQ_TRY(look_for(folder, name, found, report));
    if (!*found)
        return MOEQ_OK;
    *found = false;
    File file(allocator);
    moeq_error error{};
    Report inner(report.function(), &error); // a file that is gone or torn is no failure of the call
    moeq_status status = file.open(folder, name, inner);
    if (status == MOEQ_OK)
        status = read_text(file, text::kJsonBytes, text, inner);
    if (status == MOEQ_OK)
        status = document->parse(text->data(), text->size() - 1, {.what = name}, inner);
    if (status == MOEQ_ERROR_MEMORY || status == MOEQ_ERROR_IO)
        return report.take_over(error);
    *found = status == MOEQ_OK;
    return MOEQ_OK;
}

moeq_status read_record(Allocator& allocator, int folder, const Plan& plan, const Checkpoint& checkpoint, int64_t unit,
                        UnitRecord* out, bool* found, Report& report)
{
    char name[kRecordNameLimit];
    char file_name[Plan::kFileNameLimit];
    Array<char> text(allocator);
    text::JsonDocument document(allocator);
    MOEQ_TRY(read_own_json(allocator, folder, record_name(unit, name), &text, &document, found, report));
    if (!*found)
        return MOEQ_OK;
    const text::JsonValue root = document.root();
    int64_t number = -1;
    *found = root.find("plan").equals(plan.hash_text) && root.find("unit").get_integer(&number) && number == unit &&
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

moeq_status verify_unit(Allocator& allocator, int folder, const Plan& plan, const Checkpoint& checkpoint, int64_t unit,
                        UnitRecord* out, bool* whole, Report& report, cpu::DigestRun run)
{
    MOEQ_TRY(read_record(allocator, folder, plan, checkpoint, unit, out, whole, report));
    if (!*whole)
        return MOEQ_OK;
    char name[Plan::kFileNameLimit];
    plan.file_name(unit, name);
    int64_t bytes = -1;
    MOEQ_TRY(find_bytes(folder, name, &bytes, report));
    *whole = bytes == out->bytes;
    if (!*whole)
        return MOEQ_OK;
    Digest digest;
    moeq_error error{};
    Report inner(report.function(), &error);
    const moeq_status status = digest_of_file(allocator, folder, name, &digest, inner, run);
    // Bytes that are no file of the container are not those that were written.
    if (status == MOEQ_ERROR_MEMORY || status == MOEQ_ERROR_IO)
        return report.take_over(error);
    *whole = status == MOEQ_OK && digest == out->digest;
    return MOEQ_OK;
}

} // namespace moeq::store
