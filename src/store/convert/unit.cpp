#include "store/convert/unit.h"

#include "store/container/folder.h"

namespace moeq::store {

namespace {

// The files that a unit reads, each once, in order.
moeq_status stamp_sources(const Conversion& c, const PlanUnit& unit, UnitRecord* record, Report& report)
{
    Array<bool> used(c.allocator);
    const int64_t files = c.checkpoint.file_count();
    if (!used.resize(files, false) || !record->stamps.reserve(files))
        return report.out_of_memory(static_cast<uint64_t>(files) * sizeof(SourceStamp));
    const auto use = [&](int64_t tensor) {
        if (tensor >= 0)
            used[c.checkpoint.tensor(tensor).file] = true;
    };
    for (int64_t i = unit.first_item; i < unit.first_item + unit.item_count; ++i) {
        const PlanItem& item = c.plan.items[i];
        if (item.kind == ItemKind::kCopy) {
            use(item.source);
            continue;
        }
        const Stack& stack = c.weights.stacks[item.source];
        for (int64_t p = 0; p < stack.piece_count; ++p)
            for (const int64_t tensor : c.weights.piece(stack, p).tensors)
                use(tensor);
    }
    for (int64_t i = 0; i < files; ++i) {
        const SourceStamp stamp{i, c.checkpoint.file(i).file.modified_ns()};
        if (used[i])
            record->stamps.append_reserved(&stamp, 1);
    }
    return MOEQ_OK;
}

moeq_status declare_all(const Conversion& c, const PlanUnit& unit, SafetensorsWriter& writer, Report& report)
{
    for (int64_t i = unit.first_item; i < unit.first_item + unit.item_count; ++i) {
        const PlanItem& item = c.plan.items[i];
        if (item.kind == ItemKind::kCopy) {
            const FileEntry& entry = c.checkpoint.tensor(item.source).entry;
            MOEQ_TRY(writer.declare(entry.name, entry.dtype, entry.ndim, entry.shape, report));
            continue;
        }
        for (int64_t n = 0; n < item.name_count; ++n) {
            const char* name = c.plan.name(item.first_name + n);
            MOEQ_TRY(item.kind == ItemKind::kDecode
                         ? writer.declare(name, item.dtype, item.out.ndim, item.out.shape, report)
                         : writer.declare_weight(name, item.out, report));
        }
    }
    return MOEQ_OK;
}

// {"format": ...} of the source's first file: what made it, which some readers insist on. Empty: it says nothing.
moeq_status source_metadata(const Conversion& c, Array<char>* out, Report& report)
{
    const text::JsonValue format =
        c.checkpoint.file_count() == 0 ? text::JsonValue() : c.checkpoint.file(0).header.metadata().find("format");
    if (!format.is_string())
        return MOEQ_OK;
    text::JsonWriter json(*out);
    json.begin_object().key("format").copy(format).end_object();
    const bool whole = json.ok() && out->append('\0');
    return whole ? MOEQ_OK : report.out_of_memory(static_cast<uint64_t>(out->size()) + 1);
}

// Neighbours that are copied are copied together.
moeq_status pass_through(const UnitSink& sink, const PlanUnit& unit, Report& report)
{
    const Array<PlanItem>& items = sink.conversion.plan.items;
    const int64_t end = unit.first_item + unit.item_count;
    for (int64_t i = unit.first_item; i < end;) {
        int64_t last = i;
        while (last < end && items[last].kind == ItemKind::kCopy)
            ++last;
        if (last > i) {
            MOEQ_TRY(copy_tensors(sink, i, last, report));
            i = last;
        } else {
            MOEQ_TRY(items[i].kind == ItemKind::kDecode ? decode_stack(sink, items[i], report)
                                                        : convert_stack(sink, items[i], report));
            ++i;
        }
    }
    return MOEQ_OK;
}

} // namespace

moeq_status UnitSink::note(const Digest& digest, Report& report) const
{
    return digests.append(digest) ? MOEQ_OK
                                  : report.out_of_memory(static_cast<uint64_t>(digests.size() + 1) * sizeof(Digest));
}

moeq_status write_unit(const Conversion& c, int64_t index, UnitFacts* out, Report& report)
{
    const PlanUnit& unit = c.plan.units[index];
    char name[Plan::kFileNameLimit];
    UnitRecord record(c.allocator);
    MOEQ_TRY(stamp_sources(c, unit, &record, report));
    Array<Digest> digests(c.allocator);
    Array<char> metadata(c.allocator);
    MOEQ_TRY(source_metadata(c, &metadata, report));
    {
        SafetensorsWriter writer(c.allocator, c.engine.kernels.digest);
        MOEQ_TRY(writer.create(c.folder(), c.plan.file_name(index, name), c.plan.file_dialect(),
                               metadata.empty() ? nullptr : metadata.data(), c.durable, report));
        MOEQ_TRY(declare_all(c, unit, writer, report));
        MOEQ_TRY(writer.start(report)); // puts run side by side
        MOEQ_TRY(pass_through({c, &writer, digests}, unit, report));
        MOEQ_TRY(c.progress.add(MOEQ_STAGE_WRITE, name, 0, report));
        MOEQ_TRY(c.target.check_open(c.plan, report));
        MOEQ_TRY(writer.commit(report));
        record.bytes = writer.bytes();
        record.digest = writer.digest();
    }
    record.source = digest_of_all(digests.data(), digests.size());
    for (const SourceStamp& stamp : record.stamps) {
        bool same = false;
        MOEQ_TRY(c.checkpoint.file(stamp.file).file.is_as_opened(&same, report));
        if (!same)
            return (report.fail(MOEQ_ERROR_MISMATCH, 2, "source") << "got ")
                       .quoted(c.checkpoint.is_directory() ? c.checkpoint.file(stamp.file).file.name() : "the file")
                   << ", which changed while it was read; want a source that stays as it is; do the unit again";
    }
    MOEQ_TRY(write_record(c, index, record, report));
    const moeq_status open = c.target.check_open(c.plan, report);
    if (open == MOEQ_ERROR_STATE) // the unit is as it was, but nobody is left to remove the record
        MOEQ_TRY(remove_file(c.folder(), record_name(index, name), report));
    MOEQ_TRY(open);
    *out = {true, record.bytes, record.digest};
    return MOEQ_OK;
}

moeq_status digest_unit_source(const Conversion& c, int64_t index, Digest* out, Report& report)
{
    Array<Digest> digests(c.allocator);
    MOEQ_TRY(pass_through({c, nullptr, digests}, c.plan.units[index], report));
    *out = digest_of_all(digests.data(), digests.size());
    return MOEQ_OK;
}

moeq_status OwnWeight::allocate(const Geometry& geometry, bool with_codes, Report& report)
{
    weight = EncodedWeight();
    const uint64_t bytes = static_cast<uint64_t>(weight.lay_out(geometry, with_codes));
    if (memory_ == nullptr || bytes > bytes_) {
        release();
        memory_ = allocator_.allocate(bytes);
        if (memory_ == nullptr)
            return report.out_of_memory(bytes);
        bytes_ = bytes;
    }
    weight.place(memory_, {}, with_codes);
    return MOEQ_OK;
}

void OwnWeight::release()
{
    if (memory_ != nullptr)
        allocator_.free(memory_, bytes_);
    memory_ = nullptr;
}

} // namespace moeq::store
