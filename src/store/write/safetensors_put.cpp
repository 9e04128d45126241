// Bytes on their way into a new file, and the digest of what went by.
#include "core/checked.h"
#include "store/write/digest_chunks.h"
#include "store/write/row_major.h"
#include "store/write/safetensors_writer.h"

namespace moeq::store {

namespace {

constexpr int64_t kGatherBytes = 4 * kDigestBytes; // in which strided elements are put in order

} // namespace

// Bytes [begin, begin + count) of an entry: from memory where they lie in order, else the whole entry from a tensor.
struct SafetensorsWriter::Source {
    const WriterEntry* entry;
    const char* name;
    int64_t begin;
    int64_t count;
    const char* bytes;        // NULL: from
    const TensorView* tensor; // which is not contiguous
};

const WriterEntry* SafetensorsWriter::find(const char* name, Report& report) const
{
    const int64_t index = names_.find(name, static_cast<int64_t>(std::strlen(name)));
    if (index >= 0)
        return &entries_[index];
    (report.fail(MOEQ_ERROR_NOT_FOUND, 2, "name") << "got ").quoted(name) << ", which was not declared";
    return nullptr;
}

moeq_status SafetensorsWriter::put(const char* name, int64_t begin, const void* bytes, int64_t count, Report& report)
{
    MOEQ_TRY(check_usable(report));
    const WriterEntry* entry = find(name, report);
    if (entry == nullptr)
        return MOEQ_ERROR_NOT_FOUND;
    if (begin < 0 || count < 0 || count > entry->bytes || begin > entry->bytes - count)
        return (report.fail(MOEQ_ERROR_RANGE) << "got " << count << " bytes at " << begin << " of ").quoted(name)
               << "; want them inside [0, " << entry->bytes << ")";
    const Source source = {entry, name, begin, count, static_cast<const char*>(bytes), nullptr};
    return put_sources(&source, 1, report);
}

moeq_status SafetensorsWriter::put_tensor(const char* name, const TensorView& tensor, Report& report)
{
    MOEQ_TRY(check_usable(report));
    const WriterEntry* entry = find(name, report);
    if (entry == nullptr)
        return MOEQ_ERROR_NOT_FOUND;
    if (entry->of_weight)
        return (report.fail(MOEQ_ERROR_ARGUMENT, 2, "name") << "got ").quoted(name)
               << ", a part of a quantized weight; want moeq_writer_put_qtensor";
    const bool raw = tensor.dtype == MOEQ_DTYPE_UINT8 && tensor.ndim == 1 && tensor.count == entry->bytes;
    if (!raw && tensor.dtype != entry->dtype)
        return report.fail(MOEQ_ERROR_DTYPE, 3, "tensor")
               << "got " << dtype_name(tensor.dtype) << "; want " << dtype_name(entry->dtype)
               << " as declared, or the bytes as uint8 [" << entry->bytes << "]";
    if (!raw)
        MOEQ_TRY(check_shape(tensor, {.argument = {3, "tensor"}, .dtypes = 0}, entry->ndim, entry->shape, report));
    const bool in_order = is_contiguous(tensor);
    const Source source = {
        entry, name, 0, entry->bytes, in_order ? tensor.data : nullptr, in_order ? nullptr : &tensor};
    return put_sources(&source, 1, report);
}

moeq_status SafetensorsWriter::check_same(const char* name, const Geometry& declared, const Geometry& given,
                                          Report& report) const
{
    bool same = declared.ndim == given.ndim;
    for (int32_t i = 0; same && i < declared.ndim; ++i)
        same = declared.shape[i] == given.shape[i];
    if (!same) {
        Failure failure = report.fail(MOEQ_ERROR_SHAPE, 3, "qtensor");
        failure << "got shape ";
        failure.shape(given.ndim, given.shape) << "; want ";
        failure.shape(declared.ndim, declared.shape) << ", as ";
        return failure.quoted(name) << " was declared";
    }
    moeq_spec wanted = declared.spec;
    moeq_spec spec = given.spec;
    for (moeq_spec* one : {&wanted, &spec}) {
        one->struct_size = 0;
        one->nonfinite = 0; // of the making, not of what was made
        if (one->logical_dtype == MOEQ_DTYPE_DEFAULT)
            one->logical_dtype = MOEQ_DTYPE_BF16;
    }
    if (std::memcmp(&wanted, &spec, sizeof spec) == 0)
        return MOEQ_OK;
    return (report.fail(MOEQ_ERROR_MISMATCH, 3, "qtensor") << "got another spec than ").quoted(name)
           << " was declared with; want what moeq_qtensor_get_spec tells";
}

moeq_status SafetensorsWriter::put_weight(const char* name, const EncodedWeight& weight, Report& report)
{
    MOEQ_TRY(check_usable(report));
    const int64_t index = weight_names_.find(name, static_cast<int64_t>(std::strlen(name)));
    if (index < 0)
        return (report.fail(MOEQ_ERROR_NOT_FOUND, 2, "name") << "got ").quoted(name)
               << ", which was not declared as a quantized weight";
    MOEQ_TRY(check_same(name, weights_[index], weight.geometry, report));
    DialectEntries entries(allocator_);
    MOEQ_TRY(dialect_->list(weights_[index], name, &entries, report));
    if (dialect_->fill != nullptr)
        MOEQ_TRY(dialect_->fill(weight, name, &entries, report));
    Source sources[DialectEntries::kLimit];
    for (int32_t i = 0; i < entries.count; ++i) {
        const DialectEntry& part = entries.entries[i];
        Array<char> full(allocator_);
        if (!append_entry_name(name, part, &full))
            return report.out_of_memory(static_cast<uint64_t>(kNameLimit));
        const WriterEntry* entry = find(full.data(), report);
        if (entry == nullptr)
            return MOEQ_ERROR_NOT_FOUND;
        Source& source = sources[i] = {entry, name, 0, entry->bytes, entries.bytes.data() + part.constant, nullptr};
        if (part.component == 0)
            continue;
        const TensorView& view = weight.component(part.component);
        if (view.count * view.itemsize() != entry->bytes)
            return report.internal("a component of another size than its entry");
        const bool in_order = is_contiguous(view);
        source.bytes = in_order ? view.data : nullptr;
        source.tensor = in_order ? nullptr : &view;
    }
    return put_sources(sources, entries.count, report);
}

// All or nothing: what cannot be written counts as not put. Memory is got before anything changes.
moeq_status SafetensorsWriter::put_sources(const Source* sources, int32_t count, Report& report)
{
    Array<char> buffer(allocator_);
    for (int32_t i = 0; i < count; ++i)
        if (sources[i].tensor != nullptr && !buffer.reserve(minimum(kGatherBytes, sources[i].count)))
            return report.out_of_memory(kGatherBytes);
    if (!written_.reserve(count))
        return report.out_of_memory(static_cast<uint64_t>(count));
    MOEQ_TRY(start(report));
    moeq_status status = MOEQ_OK;
    int32_t claimed = 0;
    for (; status == MOEQ_OK && claimed < count; ++claimed) {
        const Source& source = sources[claimed];
        const int64_t begin = source.entry->offset + source.begin;
        int64_t taken = 0;
        if (source.count == 0)
            continue;
        const WrittenRanges::Result result = written_.claim(begin, begin + source.count, &taken);
        if (result == WrittenRanges::kClaimed)
            continue;
        status = result == WrittenRanges::kNoMemory
                     ? report.out_of_memory(sizeof(int64_t))
                     : static_cast<moeq_status>(
                           (report.fail(MOEQ_ERROR_DUPLICATE, 2, "name") << "got ").quoted(source.name)
                           << " with byte " << taken - source.entry->offset << " again; want each byte once");
        break;
    }
    for (int32_t i = 0; status == MOEQ_OK && i < count; ++i)
        status = put_source(sources[i], buffer, report);
    for (int32_t i = 0; i < claimed; ++i) {
        if (sources[i].count == 0)
            continue;
        const int64_t begin = sources[i].entry->offset + sources[i].begin;
        if (status == MOEQ_OK) {
            written_.finish(begin);
        } else {
            forget_digests(sources[i]);
            written_.release(begin);
        }
    }
    return status;
}

moeq_status SafetensorsWriter::put_source(const Source& source, Array<char>& buffer, Report& report)
{
    if (source.tensor == nullptr)
        return write_bytes(*source.entry, source.begin, source.bytes, source.count, report);
    if (source.count == 0)
        return MOEQ_OK;
    const RowMajor elements(*source.tensor);
    const int64_t itemsize = source.tensor->itemsize();
    const int64_t step = kGatherBytes / itemsize;
    for (int64_t i = 0; i < source.tensor->count; i += step) {
        const int64_t some = minimum(step, source.tensor->count - i);
        elements.copy(i, some, buffer.data());
        MOEQ_TRY(write_bytes(*source.entry, i * itemsize, buffer.data(), some * itemsize, report));
    }
    return MOEQ_OK;
}

moeq_status SafetensorsWriter::write_bytes(const WriterEntry& entry, int64_t begin, const char* bytes, int64_t count,
                                           Report& report)
{
    if (!digested_)
        return file_.write(entry.offset + begin, bytes, count, report);
    while (count > 0) {
        const int64_t before = begin % kDigestBytes; // bytes of the chunk that are not here
        const int64_t chunk = minimum(kDigestBytes, entry.bytes - (begin - before));
        const int64_t part = minimum(count, chunk - before);
        const int64_t index = entry.first_digest + begin / kDigestBytes;
        if (part == chunk)
            digests_[index] = digest_of(bytes, part, digest_run_);
        MOEQ_TRY(file_.write(entry.offset + begin, bytes, part, report));
        if (part == chunk)
            digest_known_[index] = 1;
        begin += part;
        bytes += part;
        count -= part;
    }
    return MOEQ_OK;
}

// Of chunks that may be put again with other bytes.
void SafetensorsWriter::forget_digests(const Source& source)
{
    if (!digested_ || source.count == 0)
        return;
    const int64_t first = source.entry->first_digest + source.begin / kDigestBytes;
    const int64_t last = source.entry->first_digest + (source.begin + source.count - 1) / kDigestBytes;
    std::memset(digest_known_.data() + first, 0, static_cast<uint64_t>(last - first + 1));
}

// Chunks that arrived in parts are read back.
moeq_status SafetensorsWriter::digest_rest(Report& report)
{
    Array<char> buffer(allocator_);
    for (const WriterEntry& entry : entries_) {
        for (int64_t i = 0; i < digest_count(entry.bytes); ++i) {
            if (digest_known_[entry.first_digest + i] != 0)
                continue;
            if (!buffer.reserve(kDigestBytes))
                return report.out_of_memory(kDigestBytes);
            const int64_t begin = i * kDigestBytes;
            const int64_t count = minimum(kDigestBytes, entry.bytes - begin);
            MOEQ_TRY(file_.read(entry.offset + begin, buffer.data(), count, report));
            digests_[entry.first_digest + i] = digest_of(buffer.data(), count, digest_run_);
            digest_known_[entry.first_digest + i] = 1;
        }
    }
    return MOEQ_OK;
}

Digest SafetensorsWriter::digest() const { return digest_of_all(digests_.data(), digests_.size()); }

} // namespace moeq::store
