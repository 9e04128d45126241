#include "store/write/file_digest.h"

#include "core/text.h"
#include "store/container/checkpoint.h"
#include "store/write/digest_chunks.h"

namespace moeq::store {

namespace {

class FileDigest {
public:
    FileDigest(Allocator& allocator, const File& file, cpu::DigestRun run)
        : file_(file), run_(run), buffer_(allocator), digests_(allocator)
    {
    }

    // Chunks of bytes [begin, begin + count) of the file.
    moeq_status add(int64_t begin, int64_t count, Report& report)
    {
        if (!buffer_.reserve(kDigestBytes) || !digests_.reserve(digests_.size() + digest_count(count)))
            return report.out_of_memory(static_cast<uint64_t>(kDigestBytes));
        for (int64_t at = 0; at < count; at += kDigestBytes) {
            const int64_t some = minimum(kDigestBytes, count - at);
            MOEQ_TRY(file_.read(begin + at, buffer_.data(), some, report));
            const Digest digest = digest_of(buffer_.data(), some, run_);
            digests_.append_reserved(&digest, 1);
        }
        return MOEQ_OK;
    }
    Digest result() const { return digest_of_all(digests_.data(), digests_.size()); }

private:
    const File& file_;
    const cpu::DigestRun run_;
    Array<char> buffer_;
    Array<Digest> digests_;
};

} // namespace

moeq_status digest_of_file(Allocator& allocator, int directory, const char* path, Digest* out, Report& report,
                           cpu::DigestRun run)
{
    File file(allocator);
    FileHeader header(allocator);
    MOEQ_TRY(file.open(directory, path, report));
    MOEQ_TRY(read_header(file, kHeaderLimit, &header, report));
    FileDigest digest(allocator, file, run);
    MOEQ_TRY(digest.add(0, header.data_offset, report));
    for (const FileEntry& entry : header.entries)
        MOEQ_TRY(digest.add(entry.offset, entry.bytes, report));
    *out = digest.result();
    return MOEQ_OK;
}

moeq_status digest_listed_file(Allocator& allocator, int directory, const char* path, Digest* out, Report& report,
                               cpu::DigestRun run)
{
    if (ends_with(path, kContainerSuffix))
        return digest_of_file(allocator, directory, path, out, report, run);
    File file(allocator);
    Array<char> text(allocator);
    MOEQ_TRY(file.open(directory, path, report));
    MOEQ_TRY(read_text(file, text::kJsonBytes, &text, report));
    *out = digest_of(text.data(), text.size() - 1);
    return MOEQ_OK;
}

} // namespace moeq::store
