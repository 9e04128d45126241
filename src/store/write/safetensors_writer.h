// Writes one file of the container: declare all entries, put their bytes in any order, commit. Nothing of a tensor is kept.
#pragma once

#include "store/container/atomic_file.h"
#include "store/container/digest.h"
#include "store/container/name_table.h"
#include "store/dialects/dialect.h"
#include "store/write/written_ranges.h"

namespace moeq::store {

// One tensor of the file.
struct WriterEntry {
    int32_t dtype;
    int32_t ndim;
    int64_t shape[kMaxDims];
    int64_t bytes;
    bool of_weight; // belongs to a quantized weight

    // when started
    int64_t offset;       // in the file
    int64_t first_digest; // index of its first digest
};

class SafetensorsWriter {
public:
    // run: the kernel of digests.
    explicit SafetensorsWriter(Allocator& allocator, cpu::DigestRun run = cpu::digest_plain);

    // metadata: NULL, or a JSON object of strings, whose keys do not begin with "moeq."; checked. Makes the temporary file;
    // nothing is written before the first put. Argument numbers in messages are those of moeq_writer_create and its kin.
    [[nodiscard]] moeq_status create(int directory, const char* path, const Dialect& dialect, const char* metadata,
                                     bool durable, Report& report);
    // digest() will not be asked for: writing is a little faster. Before the first put.
    void skip_digest() { digested_ = false; }

    // DUPLICATE, SHAPE (F03), DTYPE, LIMIT, STATE after the first put. What fails leaves nothing behind.
    [[nodiscard]] moeq_status declare(const char* name, int32_t dtype, int32_t ndim, const int64_t* shape,
                                      Report& report);
    // A quantized weight in the tensors of the dialect.
    [[nodiscard]] moeq_status declare_weight(const char* name, const Geometry& geometry, Report& report);
    // Ends declaring and writes the header: to be called before puts that run side by side; otherwise the first put does it.
    [[nodiscard]] moeq_status start(Report& report);

    // Row-major bytes [begin, begin + count) of an entry. From any threads, each byte once: DUPLICATE.
    [[nodiscard]] moeq_status put(const char* name, int64_t begin, const void* bytes, int64_t count, Report& report);
    // A whole entry from a tensor of its type and shape with any strides, or from its bytes as uint8 [n].
    [[nodiscard]] moeq_status put_tensor(const char* name, const TensorView& tensor, Report& report);
    // All components of a weight, of the declared spec and shape, with any strides.
    [[nodiscard]] moeq_status put_weight(const char* name, const EncodedWeight& weight, Report& report);

    // INCOMPLETE (F28) names the first entry without all its bytes; it may then be put. So with MEMORY; any other failure is
    // the end.
    [[nodiscard]] moeq_status commit(Report& report);

    int64_t bytes() const { return bytes_; } // of the file; when started
    Digest digest() const;                   // when committed: what digest_of_file gives
    // STATE once the file is committed or has failed.
    [[nodiscard]] moeq_status check_usable(Report& report) const;

private:
    struct Source; // the bytes of one entry, on their way

    moeq_status read_metadata(const char* text, Report& report);
    moeq_status check_name(const char* name, Report& report) const;
    moeq_status check_declaring(Report& report) const;
    moeq_status add_entry(const char* name, int32_t dtype, int32_t ndim, const int64_t* shape, bool of_weight,
                          Report& report);
    moeq_status add_entries(const char* name, const DialectEntries& entries, Report& report);
    void remove_entries_from(int64_t count);

    moeq_status order_entries(Array<int64_t>* out_order, Report& report);
    moeq_status print_header(const Array<int64_t>& order, Array<char>* out, Report& report) const;
    moeq_status print_metadata(text::JsonWriter& out, Report& report) const;
    moeq_status validate(const Array<char>& header, Report& report) const;

    const WriterEntry* find(const char* name, Report& report) const;
    moeq_status check_same(const char* name, const Geometry& declared, const Geometry& given, Report& report) const;
    moeq_status put_sources(const Source* sources, int32_t count, Report& report);
    moeq_status put_source(const Source& source, Array<char>& buffer, Report& report);
    moeq_status write_bytes(const WriterEntry& entry, int64_t begin, const char* bytes, int64_t count, Report& report);
    void forget_digests(const Source& source);
    moeq_status digest_rest(Report& report);

    Allocator& allocator_;
    const Dialect* dialect_ = nullptr;
    AtomicFile file_;
    Array<char> metadata_text_;
    text::JsonDocument metadata_document_;
    bool has_metadata_ = false;
    NameTable names_; // of entries
    Array<WriterEntry> entries_;
    NameTable weight_names_;
    Array<Geometry> weights_;
    int64_t data_bytes_ = 0; // of all entries
    int64_t bytes_ = 0;
    WrittenRanges written_;
    bool started_ = false;
    bool committed_ = false;
    bool digested_ = true;
    const cpu::DigestRun digest_run_;
    Array<Digest> digests_; // of the header's chunks, then of all entries'
    Array<char> digest_known_;
};

} // namespace moeq::store
