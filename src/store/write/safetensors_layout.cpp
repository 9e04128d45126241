// Where the entries of a new file lie, and its header.
#include <algorithm>
#include <bit>

#include "core/checked.h"
#include "store/write/digest_chunks.h"
#include "store/write/safetensors_writer.h"

namespace moeq::store {

namespace {

// Of the data, and of every entry that can have it: a mapped file can then be adopted.
constexpr int64_t kAlignment = 64;

// The largest power of two, up to kAlignment, that divides a size.
int64_t alignment_of(int64_t bytes)
{
    return bytes == 0 ? kAlignment : minimum(int64_t{1} << std::countr_zero(static_cast<uint64_t>(bytes)), kAlignment);
}

} // namespace

// No gaps are allowed, so alignment comes from order: entries whose size is a multiple of 64 first, then by the alignment of
// their sizes, falling. What lies before an entry is then aligned at least as well as its own size, so every entry has the
// alignment of its elements. Equal ones stay in the order in which they were declared.
moeq_status SafetensorsWriter::order_entries(Array<int64_t>* out_order, Report& report)
{
    const int64_t count = entries_.size();
    if (!out_order->resize(count))
        return report.out_of_memory(static_cast<uint64_t>(count) * sizeof(int64_t));
    for (int64_t i = 0; i < count; ++i)
        (*out_order)[i] = i;
    std::sort(out_order->begin(), out_order->end(), [&](int64_t a, int64_t b) {
        const int64_t alignment_a = alignment_of(entries_[a].bytes);
        const int64_t alignment_b = alignment_of(entries_[b].bytes);
        return alignment_a != alignment_b ? alignment_a > alignment_b : a < b;
    });
    int64_t offset = 0;
    int64_t chunk = 0;
    for (const int64_t i : *out_order) {
        entries_[i].offset = offset;
        entries_[i].first_digest = chunk;
        offset += entries_[i].bytes;
        chunk += digest_count(entries_[i].bytes);
    }
    return MOEQ_OK;
}

// The caller's members, then the dialect's, of which the caller's have the say, then one for each weight.
moeq_status SafetensorsWriter::print_metadata(text::JsonWriter& out, Report& report) const
{
    const text::JsonValue given = has_metadata_ ? metadata_document_.root() : text::JsonValue();
    out.begin_object();
    for (text::JsonMember member = given.first(); !member.done(); member = member.next())
        out.key(member.name().text(), member.name().length()).copy(member.value());
    Array<char> text(allocator_);
    text::JsonWriter of_dialect(text);
    of_dialect.begin_object();
    dialect_->write_metadata(nullptr, of_dialect);
    of_dialect.end_object();
    if (!of_dialect.ok())
        return report.out_of_memory(static_cast<uint64_t>(text.size()));
    text::JsonDocument document(allocator_);
    MOEQ_TRY(document.parse(text.data(), text.size(), text::JsonRules(), report));
    for (text::JsonMember member = document.root().first(); !member.done(); member = member.next())
        if (given.find(member.name().text()).missing())
            out.key(member.name().text()).copy(member.value());
    for (int64_t i = 0; i < weights_.size(); ++i) {
        const WrittenWeight weight = {weight_names_.name(i), weights_[i]};
        dialect_->write_metadata(&weight, out);
    }
    out.end_object();
    return MOEQ_OK;
}

// Length and JSON, padded with spaces. Offsets of entries count from the end of the header.
moeq_status SafetensorsWriter::print_header(const Array<int64_t>& order, Array<char>* out, Report& report) const
{
    if (!out->resize(kHeaderPrefix))
        return report.out_of_memory(kHeaderPrefix);
    text::JsonWriter json(*out);
    json.begin_object().key("__metadata__");
    MOEQ_TRY(print_metadata(json, report));
    for (const int64_t i : order) {
        const WriterEntry& entry = entries_[i];
        json.key(names_.name(i), names_.length(i)).begin_object();
        json.key("dtype").string(container_dtype_name(entry.dtype));
        json.key("shape").begin_array();
        for (int32_t axis = 0; axis < entry.ndim; ++axis)
            json.integer(entry.shape[axis]);
        json.end_array().key("data_offsets").begin_array();
        json.integer(entry.offset).integer(entry.offset + entry.bytes).end_array().end_object();
    }
    json.end_object();
    const int64_t end = round_up(out->size(), kAlignment);
    const int64_t written = out->size();
    if (!json.ok() || !out->resize(end))
        return report.out_of_memory(static_cast<uint64_t>(end));
    std::memset(out->data() + written, ' ', static_cast<uint64_t>(end - written));
    for (int64_t i = 0; i < kHeaderPrefix; ++i)
        (*out)[i] = static_cast<char>((end - kHeaderPrefix) >> 8 * i & 0xFF);
    return MOEQ_OK;
}

// By the reader's own eyes: nothing is written that it would refuse.
moeq_status SafetensorsWriter::validate(const Array<char>& header, Report& report) const
{
    const int64_t length = header.size() - kHeaderPrefix;
    moeq_status status = MOEQ_OK;
    if (length > kHeaderLimit) {
        status = report.fail(MOEQ_ERROR_LIMIT)
                 << "got a header of " << length << " bytes; want at most " << kHeaderLimit << "; write several files";
    } else {
        FileHeader parsed(allocator_);
        status = parse_header(header.data(), header.size(), header.size() + data_bytes_, kHeaderLimit, &parsed, report);
        if (status == MOEQ_OK && parsed.entries.size() != entries_.size())
            status = report.internal("a header that reads differently");
    }
    if (status != MOEQ_OK && status != MOEQ_ERROR_MEMORY)
        report.set_class("F24");
    return status;
}

moeq_status SafetensorsWriter::start(Report& report)
{
    MOEQ_TRY(check_usable(report));
    if (started_)
        return MOEQ_OK;
    Array<int64_t> order(allocator_);
    Array<char> header(allocator_);
    MOEQ_TRY(order_entries(&order, report));
    MOEQ_TRY(print_header(order, &header, report));
    MOEQ_TRY(validate(header, report));
    const int64_t of_header = digest_count(header.size());
    int64_t chunks = of_header;
    for (WriterEntry& entry : entries_) {
        entry.offset += header.size();
        entry.first_digest += of_header;
        chunks += digest_count(entry.bytes);
    }
    Array<Digest> digests(allocator_);
    Array<char> known(allocator_);
    if (digested_ && (!digests.resize(chunks) || !known.resize(chunks, 0)))
        return report.out_of_memory(static_cast<uint64_t>(chunks) * sizeof(Digest));
    for (int64_t i = 0; digested_ && i < of_header; ++i) {
        const int64_t begin = i * kDigestBytes;
        digests[i] = digest_of(header.data() + begin, minimum(kDigestBytes, header.size() - begin));
        known[i] = 1;
    }
    MOEQ_TRY(file_.reserve(header.size() + data_bytes_, report));
    MOEQ_TRY(file_.write(0, header.data(), header.size(), report));
    digests_.swap(digests);
    digest_known_.swap(known);
    bytes_ = header.size() + data_bytes_;
    started_ = true;
    return MOEQ_OK;
}

} // namespace moeq::store
