#include "store/container/safetensors.h"

#include <algorithm>
#include <cstring>

#include "core/checked.h"
#include "core/dtype.h"
#include "text/name_order.h"

namespace moeq::store {

namespace {

constexpr char kMetadata[] = "__metadata__";

bool equals(const text::JsonText& text, const char* word)
{
    return text.length == static_cast<int64_t>(std::strlen(word)) &&
           std::memcmp(text.text, word, static_cast<uint64_t>(text.length)) == 0;
}

// Walks over the header twice: first it checks all that one tensor tells and counts, then there is exactly as much
// memory as is needed, and names are unescaped where they lie.
class Walker {
public:
    Walker(const char* file_name, int64_t header_bytes, int64_t file_size, FileHeader& out, Report& report)
        : file_name_(file_name), header_bytes_(header_bytes), data_bytes_(file_size - kHeaderPrefix - header_bytes),
          out_(out), report_(report)
    {
        Text(what_, sizeof what_).add("the header of ").add_quoted(file_name);
    }

    moeq_status run()
    {
        MOEQ_TRY(walk(text::JsonCursor::kCheck));
        if (!out_.entries.reserve(tensors_))
            return report_.out_of_memory(static_cast<uint64_t>(tensors_) * sizeof(FileEntry));
        MOEQ_TRY(walk(text::JsonCursor::kUnescape));
        MOEQ_TRY(check_names());
        return check_order();
    }

private:
    // A failure about a tensor: "file "x": tensor "y": ".
    Failure refuse(moeq_status status, const char* class_id, const text::JsonText& name) const
    {
        char text[112]; // what a message shows of a name, and a byte more
        const int64_t shown = minimum(name.length, static_cast<int64_t>(sizeof text) - 1);
        std::memcpy(text, name.text, static_cast<uint64_t>(shown));
        text[shown] = '\0';
        Failure failure = report_.fail(status);
        report_.set_class(class_id);
        (failure << "file ").quoted(file_name_);
        (failure << ": tensor ").quoted(text);
        return failure << ": ";
    }
    Failure refuse(moeq_status status, const char* class_id, const FileEntry& entry) const
    {
        return refuse(status, class_id, text::JsonText{entry.name, entry.name_length});
    }

    moeq_status walk(text::JsonCursor::Mode mode)
    {
        const text::JsonRules rules = {.depth = 4, .integers_only = true, .what = what_};
        text::JsonCursor cursor(out_.text.data(), header_bytes_, rules, mode, report_);
        if (header_bytes_ == 0 || cursor.text()[0] != '{')
            return cursor.fail("F12", 0) << "got another first byte; want \"{\"";
        bool more = false;
        MOEQ_TRY(cursor.enter(text::JsonKind::kObject, &more));
        for (more = !more; more;) {
            MOEQ_TRY(walk_member(cursor));
            MOEQ_TRY(cursor.next(text::JsonKind::kObject, &more));
        }
        return cursor.finish();
    }

    moeq_status walk_member(text::JsonCursor& cursor)
    {
        const int64_t at = cursor.at();
        text::JsonText name;
        MOEQ_TRY(cursor.name(&name));
        if (equals(name, kMetadata))
            return walk_metadata(cursor, at);
        if (cursor.mode() == text::JsonCursor::kCheck) {
            ++tensors_;
            FileEntry entry = {};
            return walk_tensor(cursor, copy_name(name), &entry);
        }
        FileEntry entry = {};
        entry.name = name.text;
        entry.name_length = name.length;
        if (name.length > kNameLimit)
            return refuse(MOEQ_ERROR_LIMIT, "F13", name)
                   << "got a name of " << name.length << " bytes; want " << kNameLimit << " at most";
        if (std::memchr(name.text, '\0', static_cast<uint64_t>(name.length)) != nullptr)
            return refuse(MOEQ_ERROR_FORMAT, "F12", name) << "got a name with a NUL in it; want none";
        MOEQ_TRY(walk_tensor(cursor, name, &entry));
        out_.entries.append_reserved(&entry, 1);
        return MOEQ_OK;
    }

    // What the cursor's next call would overwrite: enough of it for a message.
    text::JsonText copy_name(const text::JsonText& name)
    {
        const int64_t kept = minimum(name.length, static_cast<int64_t>(sizeof name_));
        std::memcpy(name_, name.text, static_cast<uint64_t>(kept));
        return {name_, kept};
    }

    moeq_status walk_metadata(text::JsonCursor& cursor, int64_t at)
    {
        if (cursor.mode() == text::JsonCursor::kUnescape) {
            if (out_.has_metadata)
                return cursor.fail("F11", at) << "got \"__metadata__\" twice; want it once";
            out_.has_metadata = true;
            return out_.metadata_document.take(cursor, 1 + 2 * metadata_members_);
        }
        metadata_members_ = 0; // of the last one, if there are two: those are refused before the second is taken
        const bool second = metadata_seen_;
        metadata_seen_ = true;
        if (second)
            return cursor.fail("F11", at) << "got \"__metadata__\" twice; want it once";
        bool more = false;
        MOEQ_TRY(cursor.enter(text::JsonKind::kObject, &more));
        for (more = !more; more;) {
            text::JsonText text;
            MOEQ_TRY(cursor.name(&text));
            MOEQ_TRY(cursor.string(&text));
            ++metadata_members_;
            MOEQ_TRY(cursor.next(text::JsonKind::kObject, &more));
        }
        return MOEQ_OK;
    }

    // The object of one tensor.
    moeq_status walk_tensor(text::JsonCursor& cursor, const text::JsonText& name, FileEntry* out)
    {
        const char* const kFields[3] = {"dtype", "shape", "data_offsets"};
        bool seen[3] = {};
        int64_t offsets[2] = {};
        bool more = false;
        MOEQ_TRY(cursor.enter(text::JsonKind::kObject, &more));
        for (more = !more; more;) {
            const int64_t at = cursor.at();
            text::JsonText field;
            MOEQ_TRY(cursor.name(&field));
            int32_t which = 0;
            while (which < 3 && !equals(field, kFields[which]))
                ++which;
            if (which == 3)
                return cursor.fail("F12", at) << "got an unknown field of a tensor; want dtype, shape and data_offsets";
            if (seen[which])
                return cursor.fail("F11", at) << "got " << kFields[which] << " twice in one tensor; want it once";
            seen[which] = true;
            MOEQ_TRY(which == 0   ? walk_dtype(cursor, name, &out->dtype)
                     : which == 1 ? walk_shape(cursor, name, out)
                                  : walk_offsets(cursor, name, offsets));
            MOEQ_TRY(cursor.next(text::JsonKind::kObject, &more));
        }
        for (int32_t which = 0; which < 3; ++which)
            if (!seen[which])
                return refuse(MOEQ_ERROR_FORMAT, "F12", name) << "has no " << kFields[which] << "; want one";
        return check_tensor(name, offsets, out);
    }

    moeq_status walk_dtype(text::JsonCursor& cursor, const text::JsonText& name, int32_t* out)
    {
        text::JsonText word;
        MOEQ_TRY(cursor.string(&word));
        *out = container_dtype(word.text, word.length);
        if (*out != 0)
            return MOEQ_OK;
        char text[32];
        const int64_t shown = minimum(word.length, static_cast<int64_t>(sizeof text) - 1);
        std::memcpy(text, word.text, static_cast<uint64_t>(shown));
        text[shown] = '\0';
        return (refuse(MOEQ_ERROR_UNSUPPORTED, "F10", name) << "got the dtype ").quoted(text)
               << "; want one that this version knows, such as BF16";
    }

    // A negative number has a class of its own: it is what becomes huge where nobody looks.
    moeq_status count(text::JsonCursor& cursor, const text::JsonText& name, const char* class_id, int64_t* out)
    {
        text::JsonKind kind;
        MOEQ_TRY(cursor.peek(&kind));
        if (cursor.text()[cursor.at()] == '-')
            return refuse(MOEQ_ERROR_FORMAT, class_id, name) << "got a negative number; want integers from 0";
        return cursor.count(out);
    }

    moeq_status walk_shape(text::JsonCursor& cursor, const text::JsonText& name, FileEntry* out)
    {
        out->ndim = 0;
        bool more = false;
        MOEQ_TRY(cursor.enter(text::JsonKind::kArray, &more));
        for (more = !more; more;) {
            if (out->ndim == kFileDims)
                return refuse(MOEQ_ERROR_LIMIT, "F14", name) << "got more than " << kFileDims << " dimensions";
            MOEQ_TRY(count(cursor, name, "F25", &out->shape[out->ndim]));
            ++out->ndim;
            MOEQ_TRY(cursor.next(text::JsonKind::kArray, &more));
        }
        return MOEQ_OK;
    }

    moeq_status walk_offsets(text::JsonCursor& cursor, const text::JsonText& name, int64_t* out)
    {
        int32_t known = 0;
        bool more = false;
        MOEQ_TRY(cursor.enter(text::JsonKind::kArray, &more));
        for (more = !more; more; ++known) {
            int64_t unused = 0;
            MOEQ_TRY(count(cursor, name, "F06", known < 2 ? &out[known] : &unused));
            MOEQ_TRY(cursor.next(text::JsonKind::kArray, &more));
        }
        if (known != 2)
            return refuse(MOEQ_ERROR_FORMAT, "F12", name) << "got " << known << " data_offsets; want 2, begin and end";
        return MOEQ_OK;
    }

    // Range, shape and type of one tensor against each other and against the file.
    moeq_status check_tensor(const text::JsonText& name, const int64_t* offsets, FileEntry* out)
    {
        const int64_t begin = offsets[0], end = offsets[1];
        if (end < begin)
            return refuse(MOEQ_ERROR_FORMAT, "F06", name)
                   << "got data_offsets from " << begin << " to " << end << "; want the end not before the begin";
        if (end > data_bytes_)
            return refuse(MOEQ_ERROR_TRUNCATED, "F07", name)
                   << "got data_offsets up to " << end << ", but the file has " << data_bytes_
                   << " bytes of data; is it a whole copy?";
        int64_t bytes = 0;
        const TensorSize size = tensor_size(out->dtype, out->ndim, out->shape, &bytes);
        const bool empty = std::find(out->shape, out->shape + out->ndim, 0) != out->shape + out->ndim;
        if (size == TensorSize::kOverflows)
            return refuse(MOEQ_ERROR_FORMAT, empty ? "F04" : "F03", name).shape(out->ndim, out->shape)
                   << " has more bytes than 63 bits can count";
        if (size == TensorSize::kHalfByte)
            return (refuse(MOEQ_ERROR_FORMAT, "F14", name) << "got the shape ").shape(out->ndim, out->shape)
                   << " of elements of " << static_cast<int64_t>(dtype_bits(out->dtype))
                   << " bits; want a whole number of bytes";
        if (end - begin != bytes)
            return (refuse(MOEQ_ERROR_FORMAT, "F08", name)
                    << "got a range of " << end - begin << " bytes; want " << bytes << " for the shape ")
                       .shape(out->ndim, out->shape)
                   << " of " << container_dtype_name(out->dtype);
        out->offset = out_.data_offset + begin;
        out->bytes = bytes;
        return MOEQ_OK;
    }

    moeq_status check_names()
    {
        text::NameOrder order(out_.allocator);
        const auto name_at = [&](int64_t i) {
            return text::NameView{out_.entries[i].name, out_.entries[i].name_length};
        };
        if (!order.reserve(tensors_))
            return report_.out_of_memory(static_cast<uint64_t>(tensors_) * sizeof(uint64_t));
        for (int64_t i = 0; i < tensors_; ++i)
            order.add(i, name_at(i));
        order.sort(name_at);
        const int64_t duplicate = order.find_duplicate(name_at);
        if (duplicate >= 0)
            return refuse(MOEQ_ERROR_FORMAT, "F11", out_.entries[duplicate]) << "is there twice; want each name once";
        return MOEQ_OK;
    }

    // One after the other, from the first byte to the last.
    moeq_status check_order()
    {
        std::sort(out_.entries.begin(), out_.entries.end(), [](const FileEntry& a, const FileEntry& b) {
            if (a.offset != b.offset)
                return a.offset < b.offset;
            if (a.bytes != b.bytes)
                return a.bytes < b.bytes;
            return a.name < b.name; // addresses: as they stand in the header
        });
        int64_t end = out_.data_offset;
        for (const FileEntry& entry : out_.entries) {
            if (entry.offset != end)
                return refuse(MOEQ_ERROR_FORMAT, "F09", entry)
                       << "begins at byte " << entry.offset - out_.data_offset << " of the data, "
                       << (entry.offset < end ? "inside of the tensor before it" : "behind bytes of no tensor")
                       << "; want " << end - out_.data_offset;
            end += entry.bytes;
        }
        const int64_t rest = out_.data_offset + data_bytes_ - end;
        if (rest == 0)
            return MOEQ_OK;
        Failure failure = report_.fail(MOEQ_ERROR_FORMAT);
        report_.set_class("F09");
        return (failure << "file ").quoted(file_name_)
               << ": got " << rest << " bytes behind the last tensor; want none";
    }

    const char* file_name_;
    int64_t header_bytes_;
    int64_t data_bytes_;
    FileHeader& out_;
    Report& report_;
    int64_t tensors_ = 0;
    int64_t metadata_members_ = 0;
    bool metadata_seen_ = false;
    char what_[128];
    char name_[112];
};

// What Git LFS leaves in place of a file begins so.
constexpr char kPointerBegin[] = "version https://git-lfs";

// The length of the header, against the file and the limit, before anything is allocated.
moeq_status check_length(const char* prefix, int64_t file_size, int64_t limit, const char* file_name, int64_t* out,
                         Report& report)
{
    uint64_t length = 0;
    for (int i = kHeaderPrefix - 1; i >= 0; --i)
        length = length << 8 | static_cast<unsigned char>(prefix[i]);
    const int64_t allowed = minimum(limit, text::kJsonBytes);
    const bool present = length <= static_cast<uint64_t>(file_size - kHeaderPrefix);
    const bool small = length <= static_cast<uint64_t>(allowed);
    *out = static_cast<int64_t>(length);
    if (present && small)
        return MOEQ_OK;
    Failure failure = report.fail(present ? MOEQ_ERROR_LIMIT : small ? MOEQ_ERROR_TRUNCATED : MOEQ_ERROR_FORMAT);
    report.set_class(present ? "F02" : "F01");
    (failure << "file ").quoted(file_name);
    if (std::memcmp(prefix, kPointerBegin, kHeaderPrefix) == 0)
        return failure << ": got what looks like a Git LFS pointer; want the file that it stands for: git lfs pull";
    if (!present && !small && prefix[0] == '{')
        return failure << ": got what looks like JSON; want a .safetensors file, or the directory that it is in";
    failure << ": got a header of ";
    if (*out < 0)
        failure.hex(length);
    else
        failure << *out;
    failure << " bytes; want ";
    if (present)
        return failure << allowed << " at most; raise header_limit";
    failure << file_size - kHeaderPrefix << " at most, as the file has no more; is it ";
    return failure << (small ? "a whole copy?" : "a safetensors file?");
}

moeq_status refuse_short(int64_t file_size, const char* file_name, Report& report)
{
    Failure failure = report.fail(MOEQ_ERROR_TRUNCATED);
    report.set_class("F01");
    return (failure << "file ").quoted(file_name)
           << ": got " << file_size << " bytes; want 8 for the length of the header";
}

void empty(FileHeader* header)
{
    header->entries.clear();
    header->text.clear();
    header->has_metadata = false;
    header->data_offset = 0;
}

// out->text holds the header, and the digest is there.
moeq_status walk(const char* file_name, int64_t header_bytes, int64_t file_size, FileHeader* out, Report& report)
{
    out->data_offset = kHeaderPrefix + header_bytes;
    const moeq_status status = Walker(file_name, header_bytes, file_size, *out, report).run();
    if (status != MOEQ_OK)
        empty(out);
    return status;
}

void set_digest(const char* prefix, int64_t header_bytes, FileHeader* out)
{
    const Digest parts[2] = {digest_of(prefix, kHeaderPrefix), digest_of(out->text.data(), header_bytes)};
    out->digest = digest_of_all(parts, 2);
}

} // namespace

moeq_status read_header(const File& file, int64_t limit, FileHeader* out, Report& report)
{
    empty(out);
    if (file.size() < kHeaderPrefix)
        return refuse_short(file.size(), file.shown(), report);
    char prefix[kHeaderPrefix];
    MOEQ_TRY(file.read(0, prefix, kHeaderPrefix, report));
    int64_t header_bytes = 0;
    MOEQ_TRY(check_length(prefix, file.size(), limit, file.shown(), &header_bytes, report));
    if (!out->text.resize(header_bytes))
        return report.out_of_memory(static_cast<uint64_t>(header_bytes));
    const moeq_status status = file.read(kHeaderPrefix, out->text.data(), header_bytes, report);
    if (status != MOEQ_OK) {
        empty(out);
        return status;
    }
    set_digest(prefix, header_bytes, out);
    return walk(file.shown(), header_bytes, file.size(), out, report);
}

moeq_status parse_header(const char* bytes, int64_t size, int64_t file_size, int64_t limit, FileHeader* out,
                         Report& report, const char* file_name)
{
    empty(out);
    if (file_size < kHeaderPrefix || size < kHeaderPrefix)
        return refuse_short(minimum(size, file_size), file_name, report);
    int64_t header_bytes = 0;
    MOEQ_TRY(check_length(bytes, minimum(size, file_size), limit, file_name, &header_bytes, report));
    if (!out->text.resize(header_bytes))
        return report.out_of_memory(static_cast<uint64_t>(header_bytes));
    if (header_bytes != 0)
        std::memcpy(out->text.data(), bytes + kHeaderPrefix, static_cast<uint64_t>(header_bytes));
    set_digest(bytes, header_bytes, out);
    return walk(file_name, header_bytes, file_size, out, report);
}

} // namespace moeq::store
