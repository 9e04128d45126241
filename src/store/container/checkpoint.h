// A checkpoint as its files tell it: one file, or a directory with an index; tensors in file order, found by name.
#pragma once

#include "store/container/safetensors.h"
#include "text/name_order.h"

namespace moeq::store {

// Files of a directory: who has which tensor, what model it is, and the digests that a conversion left.
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr const char* kConfigFile = "config.json";
constexpr const char* kReportFile = "moeq_report.json";
constexpr const char* kPlanFile = "moeq_plan.json"; // while it is going on
constexpr const char* kContainerSuffix = ".safetensors";

struct CheckpointFile {
    explicit CheckpointFile(Allocator& allocator) : file(allocator), header(allocator) {}
    File file;
    FileHeader header; // its entries have become the checkpoint's tensors [first_tensor, first_tensor + tensor_count)
    int64_t first_tensor = 0;
    int64_t tensor_count = 0;
};

struct CheckpointTensor {
    FileEntry entry;
    int64_t file;
};

// What belongs to a directory besides what its index says.
struct FileRules {
    bool all = false;    // every file of the container in it, named by the index or not
    bool strict = false; // tensors that the index leaves out are refused
};

// A file that is not there yet.
struct AssumedFile {
    const char* name;
    const char* metadata; // an object of texts, as JSON
    int64_t metadata_length;
    const FileEntry* entries; // their names outlive the checkpoint
    int64_t entry_count;
};

// Bytes of tensors that are not there yet.
struct AssumedBytes {
    moeq_status (*read)(const void* owner, int64_t tensor, int64_t begin, int64_t count, void* out, Report& report);
    const void* owner;
};

// Once open it does not change, and may be used by several threads at once.
class Checkpoint {
public:
    explicit Checkpoint(Allocator& allocator);
    ~Checkpoint();
    Checkpoint(const Checkpoint&) = delete;
    Checkpoint& operator=(const Checkpoint&) = delete;

    // path: a file, or a directory with model.safetensors.index.json, or with exactly one .safetensors file. What index
    // and headers say must agree (F28), shard names are plain names (F17), no tensor is in two files (F11). The directory of a
    // conversion that is not finished is INCOMPLETE. A tensor that a file has and the index does not name belongs to it
    // all the same.
    // header_limit: 0 means kHeaderLimit. To be called once.
    [[nodiscard]] moeq_status open(const char* path, int64_t header_limit, bool map, Report& report,
                                   const FileRules& rules = {});

    // The same of a directory that is open, a conversion that is about to be finished too. shown: what messages call it.
    [[nodiscard]] moeq_status open_folder(int folder, const char* shown, Report& report);
    // What files will be, without any: what open would make of them. config: JSON, changed here; 0 bytes: none. Instead of open.
    [[nodiscard]] moeq_status assume(const AssumedFile* files, int64_t count, Array<char>* config,
                                     const AssumedBytes& bytes, Report& report);

    int64_t file_count() const { return files_.size(); }
    const CheckpointFile& file(int64_t i) const { return *files_[i]; } // those of the index by name
    int64_t tensor_count() const { return tensors_.size(); }
    const CheckpointTensor& tensor(int64_t i) const { return tensors_[i]; }
    // -1: none.
    int64_t find(const char* name, int64_t length) const;
    // config.json beside the files, that of a single file too; missing where there is none. Strictly parsed, but for NaN
    // and Infinity.
    text::JsonValue config() const { return config_.root_or_missing(); }
    bool is_directory() const { return directory_.descriptor() >= 0 || assumed_.read != nullptr; }
    const Directory& directory() const { return directory_; }
    int64_t bytes() const { return bytes_; } // of all tensors

    // Tensors that are in the files and not in the index; the first one, -1: none.
    int64_t unlisted_count() const { return unlisted_; }
    int64_t first_unlisted() const { return first_unlisted_; }
    // Files of the container in the directory that the index does not name, and that were left aside.
    int64_t stray_count() const { return strays_.size(); }
    const char* stray(int64_t i) const { return stray_text_.data() + strays_[i]; }

    // Bytes [begin, begin + count) of a tensor: by pread, or from the mapping. TRUNCATED, F19, when the file has
    // shrunk.
    [[nodiscard]] moeq_status read(int64_t tensor, int64_t begin, int64_t count, void* out, Report& report) const;
    // NULL: not mapped.
    const char* mapped(int64_t tensor) const;

private:
    // A text with its document: what a JSON file beside the tensors becomes.
    struct Json {
        explicit Json(Allocator& allocator) : text(allocator), document(allocator) {}
        text::JsonValue root_or_missing() const { return read ? document.root() : text::JsonValue(); }
        Array<char> text;
        text::JsonDocument document;
        bool read = false;
    };

    [[nodiscard]] moeq_status open_directory(const char* path, Report& report);
    [[nodiscard]] moeq_status open_files(const char* path, Report& report);
    [[nodiscard]] moeq_status assume_file(const AssumedFile& file, Report& report);
    [[nodiscard]] moeq_status read_config_beside(const char* path, Report& report);
    [[nodiscard]] moeq_status open_only_file(const char* path, Report& report);
    [[nodiscard]] moeq_status open_index(const char* path, Report& report);
    [[nodiscard]] moeq_status check_index(const text::JsonValue& weight_map, Report& report);
    [[nodiscard]] moeq_status add_strays(const char* path, const Array<const char*>& named, Report& report);
    [[nodiscard]] moeq_status read_json(const char* name, const text::JsonRules& rules, Json* out,
                                        Report& report) const;
    [[nodiscard]] moeq_status parse_json(const File& file, const text::JsonRules& rules, Json* out,
                                         Report& report) const;
    // folder: what the directory is called; NULL: path says it all.
    [[nodiscard]] moeq_status add_file(int directory, const char* folder, const char* path, Report& report);
    // A file that the index names.
    [[nodiscard]] moeq_status add_shard(const char* folder, const char* name, Report& report);
    [[nodiscard]] moeq_status order_names(Report& report);
    text::NameView name_at(int64_t i) const { return {tensors_[i].entry.name, tensors_[i].entry.name_length}; }

    Allocator& allocator_;
    int64_t header_limit_ = kHeaderLimit;
    bool map_ = false;
    FileRules rules_;
    Directory directory_;
    Array<CheckpointFile*> files_;
    Array<CheckpointTensor> tensors_;
    text::NameOrder order_; // of tensors_
    Json config_;
    int64_t bytes_ = 0;
    int64_t unlisted_ = 0;
    int64_t first_unlisted_ = -1;
    Array<char> stray_text_; // names, each ended by NUL
    Array<int64_t> strays_;  // offsets into it
    AssumedBytes assumed_{};
};

} // namespace moeq::store
