// What a writer is told before the first byte, and the file at its end.
#include "store/write/safetensors_writer.h"

#include "core/checked.h"
#include "store/write/digest_chunks.h"

namespace moeq::store {

namespace {

constexpr char kReserved[] = "moeq."; // keys of the metadata that are moeq's own

bool begins_with(const char* text, const char* prefix) { return std::strncmp(text, prefix, std::strlen(prefix)) == 0; }

} // namespace

SafetensorsWriter::SafetensorsWriter(Allocator& allocator, cpu::DigestRun run)
    : allocator_(allocator), file_(allocator), metadata_text_(allocator), metadata_document_(allocator),
      names_(allocator), entries_(allocator), weight_names_(allocator), weights_(allocator), written_(allocator),
      digest_run_(run), digests_(allocator), digest_known_(allocator)
{
}

moeq_status SafetensorsWriter::create(int directory, const char* path, const Dialect& dialect, const char* metadata,
                                      bool durable, Report& report)
{
    dialect_ = &dialect;
    if (metadata != nullptr)
        MOEQ_TRY(read_metadata(metadata, report));
    return file_.create(directory, path, durable, report);
}

moeq_status SafetensorsWriter::read_metadata(const char* text, Report& report)
{
    const int64_t length = static_cast<int64_t>(std::strlen(text));
    if (!metadata_text_.resize(length + 1))
        return report.out_of_memory(static_cast<uint64_t>(length) + 1);
    std::memcpy(metadata_text_.data(), text, static_cast<uint64_t>(length) + 1);
    moeq_error error{};
    Report inner("text", &error);
    text::JsonRules rules;
    rules.what = "metadata";
    const moeq_status status = metadata_document_.parse(metadata_text_.data(), length, rules, inner);
    if (status == MOEQ_ERROR_MEMORY)
        return report.out_of_memory(static_cast<uint64_t>(length));
    const auto refuse = [&] { return report.fail(MOEQ_ERROR_ARGUMENT, 3, "options.metadata") << "got "; };
    if (status != MOEQ_OK)
        return refuse() << error.message;
    if (!metadata_document_.root().is_object())
        return refuse() << "JSON that is no object; want an object of strings";
    for (text::JsonMember member = metadata_document_.root().first(); !member.done(); member = member.next()) {
        if (!member.value().is_string())
            return (refuse() << "a value that is no string under ").quoted(member.name().text())
                   << "; want an object of strings";
        if (begins_with(member.name().text(), kReserved))
            return (refuse() << "the key ").quoted(member.name().text())
                   << "; want none that begins with " << kReserved;
    }
    has_metadata_ = true;
    return MOEQ_OK;
}

moeq_status SafetensorsWriter::check_usable(Report& report) const
{
    if (file_.is_open())
        return MOEQ_OK;
    return report.fail(MOEQ_ERROR_STATE, 1, "writer")
           << (committed_ ? "got one that is committed; want one that is not"
                          : "got one whose commit has failed; it can only be destroyed");
}

moeq_status SafetensorsWriter::check_declaring(Report& report) const
{
    MOEQ_TRY(check_usable(report));
    if (!started_)
        return MOEQ_OK;
    return report.fail(MOEQ_ERROR_STATE, 1, "writer")
           << "got one with data in it; want all declared before the first put";
}

moeq_status SafetensorsWriter::check_name(const char* name, Report& report) const
{
    const int64_t length = static_cast<int64_t>(std::strlen(name));
    if (length > kNameLimit)
        return report.fail(MOEQ_ERROR_LIMIT, 2, "name")
               << "got a name of " << length << " bytes; want at most " << kNameLimit;
    if (std::strcmp(name, "__metadata__") == 0)
        return (report.fail(MOEQ_ERROR_ARGUMENT, 2, "name") << "got ").quoted(name) << "; want a name of a tensor";
    // The tokenizer of the reader knows what text is.
    Array<char> quoted(allocator_);
    text::JsonWriter writer(quoted);
    writer.string(name, length);
    if (!writer.ok())
        return report.out_of_memory(static_cast<uint64_t>(length) + 2);
    Report quiet("", nullptr);
    text::JsonCursor cursor(quoted.data(), quoted.size(), text::JsonRules(), text::JsonCursor::kCheck, quiet);
    text::JsonText text;
    if (cursor.string(&text) != MOEQ_OK)
        return (report.fail(MOEQ_ERROR_ARGUMENT, 2, "name") << "got ").quoted(name) << ", which is no UTF-8";
    return MOEQ_OK;
}

moeq_status SafetensorsWriter::add_entry(const char* name, int32_t dtype, int32_t ndim, const int64_t* shape,
                                         bool of_weight, Report& report)
{
    MOEQ_TRY(check_name(name, report));
    const int64_t length = static_cast<int64_t>(std::strlen(name));
    WriterEntry entry{};
    entry.dtype = dtype;
    entry.ndim = ndim;
    entry.of_weight = of_weight;
    int64_t total = 0;
    if (container_dtype_name(dtype) == nullptr)
        return report.fail(MOEQ_ERROR_DTYPE, 4, "dtype")
               << "got " << dtype_name(dtype) << " (" << dtype << "); want a type that safetensors files have";
    if (ndim < 0 || ndim > kMaxDims)
        return report.fail(MOEQ_ERROR_SHAPE, 5, "ndim") << "got " << ndim << "; want 0 to " << kMaxDims;
    if (ndim > 0 && shape == nullptr)
        return report.fail(MOEQ_ERROR_ARGUMENT, 6, "shape") << "got NULL; want " << ndim << " extents";
    bool valid = true;
    for (int32_t i = 0; i < ndim; ++i) {
        entry.shape[i] = shape[i];
        valid = valid && shape[i] >= 0;
    }
    valid = valid && tensor_bytes(dtype, ndim, entry.shape, &entry.bytes);
    // Room for the largest header, and for rounding it up.
    if (!valid || __builtin_add_overflow(data_bytes_, entry.bytes, &total) || total > INT64_MAX - 2 * kHeaderLimit) {
        const moeq_status status =
            (report.fail(MOEQ_ERROR_SHAPE, 6, "shape") << "got ").shape(ndim, shape)
            << " of " << dtype_name(dtype)
            << "; want extents of 0 or more, whole bytes, and less than 2^63 of them in the file";
        report.set_class("F03");
        return status;
    }
    if (names_.find(name, length) >= 0)
        return (report.fail(MOEQ_ERROR_DUPLICATE, 2, "name") << "got ").quoted(name)
               << ", which is declared already; want each name once";
    if (!entries_.reserve(entries_.size() + 1) || !names_.add(name, length))
        return report.out_of_memory(sizeof entry + static_cast<uint64_t>(length));
    entries_.append_reserved(&entry, 1);
    data_bytes_ = total;
    return MOEQ_OK;
}

void SafetensorsWriter::remove_entries_from(int64_t count)
{
    while (entries_.size() > count) {
        data_bytes_ -= entries_[entries_.size() - 1].bytes;
        entries_.erase(entries_.size() - 1);
        names_.remove_last();
    }
}

moeq_status SafetensorsWriter::declare(const char* name, int32_t dtype, int32_t ndim, const int64_t* shape,
                                       Report& report)
{
    MOEQ_TRY(check_declaring(report));
    return add_entry(name, dtype, ndim, shape, false, report);
}

moeq_status SafetensorsWriter::add_entries(const char* name, const DialectEntries& entries, Report& report)
{
    for (int32_t i = 0; i < entries.count; ++i) {
        const DialectEntry& entry = entries.entries[i];
        Array<char> full(allocator_);
        if (!append_entry_name(name, entry, &full))
            return report.out_of_memory(static_cast<uint64_t>(kNameLimit));
        MOEQ_TRY(add_entry(full.data(), entry.dtype, entry.ndim, entry.shape, true, report));
    }
    return MOEQ_OK;
}

moeq_status SafetensorsWriter::declare_weight(const char* name, const Geometry& geometry, Report& report)
{
    MOEQ_TRY(check_declaring(report));
    MOEQ_TRY(check_name(name, report));
    const int64_t length = static_cast<int64_t>(std::strlen(name));
    if (length > kNameLimit - kSuffixLimit)
        return report.fail(MOEQ_ERROR_LIMIT, 2, "name")
               << "got a weight's name of " << length << " bytes; want at most " << kNameLimit - kSuffixLimit;
    if (weight_names_.find(name, length) >= 0)
        return (report.fail(MOEQ_ERROR_DUPLICATE, 2, "name") << "got ").quoted(name)
               << ", a weight that is declared already; want each name once";
    DialectEntries entries(allocator_);
    MOEQ_TRY(dialect_->list(geometry, name, &entries, report));
    if (!weights_.reserve(weights_.size() + 1) || !weight_names_.add(name, length))
        return report.out_of_memory(sizeof geometry + static_cast<uint64_t>(length));
    const int64_t before = entries_.size();
    const moeq_status status = add_entries(name, entries, report);
    if (status != MOEQ_OK) {
        remove_entries_from(before);
        weight_names_.remove_last();
        return status;
    }
    weights_.append_reserved(&geometry, 1);
    return MOEQ_OK;
}

moeq_status SafetensorsWriter::commit(Report& report)
{
    MOEQ_TRY(check_usable(report));
    if (!started_)
        MOEQ_TRY(start(report));
    for (int64_t i = 0; i < entries_.size(); ++i) {
        const WriterEntry& entry = entries_[i];
        const int64_t there = written_.count(entry.offset, entry.offset + entry.bytes);
        if (there == entry.bytes)
            continue;
        const moeq_status status = (report.fail(MOEQ_ERROR_INCOMPLETE, 1, "writer")
                                    << "got " << there << " of " << entry.bytes << " bytes of ")
                                       .quoted(names_.name(i))
                                   << "; want all that was declared; put the rest and commit again";
        report.set_class("F28");
        return status;
    }
    if (digested_)
        MOEQ_TRY(digest_rest(report));
    MOEQ_TRY(file_.commit(report));
    committed_ = true;
    return MOEQ_OK;
}

} // namespace moeq::store
