// The container: a length, a JSON header, and one run of bytes without gaps. The walker refuses whatever the reference
// implementation refuses, and more (docs/store.md lists it).
#pragma once

#include "store/container/digest.h"
#include "store/container/file.h"
#include "text/json.h"

namespace moeq::store {

constexpr int64_t kHeaderLimit = 100'000'000; // the reference implementation's
constexpr int64_t kNameLimit = 4096;
constexpr int64_t kHeaderPrefix = 8; // bytes of the length before the header
constexpr int32_t kFileDims = 8;

// One tensor of a file. Names live in the header that they came from, which must outlive the entry.
struct FileEntry {
    const char* name; // ended by NUL, no NUL inside
    int64_t name_length;
    int32_t dtype; // DLPack's; FP4 and FP6: bits of one element
    int32_t ndim;
    int64_t shape[kFileDims];
    int64_t offset; // of its first byte in the file
    int64_t bytes;
};

struct FileHeader {
    explicit FileHeader(Allocator& from) : allocator(from), text(from), metadata_document(from), entries(from) {}

    Allocator& allocator;
    Array<char> text;                     // unescaped in place
    text::JsonDocument metadata_document; // its root is the object __metadata__ where the file has one, else missing
    bool has_metadata = false;
    int64_t data_offset = 0;
    Digest digest; // of the length and the header as they are in the file
    // In file order (by offset; empty ones before what begins there, as they stand in the header).
    Array<FileEntry> entries;

    text::JsonValue metadata() const { return has_metadata ? metadata_document.root() : text::JsonValue(); }
};

// Reads and checks the header of an open file: classes F01 to F14. limit: bytes of JSON. Memory: four times the header
// and 1 MiB at most. After a failure *out is empty.
[[nodiscard]] moeq_status read_header(const File& file, int64_t limit, FileHeader* out, Report& report);
// The same from memory: bytes[0, size) is the begin of a file of file_size bytes, its name for messages. For what a
// writer is about to write, and for tests.
[[nodiscard]] moeq_status parse_header(const char* bytes, int64_t size, int64_t file_size, int64_t limit,
                                       FileHeader* out, Report& report, const char* file_name = "header");

// "BF16" for MOEQ_DTYPE_BF16; NULL: the container has no such type.
const char* container_dtype_name(int32_t dtype);
// 0: no such name.
int32_t container_dtype(const char* name, int64_t length);
// Bytes of a tensor. An extent of 0 hides no overflow of the others.
enum class TensorSize { kFits, kOverflows, kHalfByte };
[[nodiscard]] TensorSize tensor_size(int32_t dtype, int32_t ndim, const int64_t* shape, int64_t* out);
// False where they overflow, or are no whole number.
[[nodiscard]] bool tensor_bytes(int32_t dtype, int32_t ndim, const int64_t* shape, int64_t* out);

} // namespace moeq::store
