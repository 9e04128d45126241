// What a conversion does with directories: making, listing, renaming. All system calls of that are here.
#pragma once

#include "core/memory.h"
#include "core/report.h"

namespace moeq::store {

// Makes a directory; one that is there is fine.
[[nodiscard]] moeq_status make_folder(int parent, const char* path, Report& report);
// Whether anything has this name; links are not followed.
[[nodiscard]] moeq_status look_for(int parent, const char* path, bool* found, Report& report);
// Bytes of a regular file, or of what a link leads to; -1 where there is none.
[[nodiscard]] moeq_status find_bytes(int parent, const char* path, int64_t* out, Report& report);
// Removes a directory that is empty; any other stays as it is.
void remove_empty_folder(int parent, const char* path);
// Removes a file; one that is not there is fine.
[[nodiscard]] moeq_status remove_file(int parent, const char* path, Report& report);
// Whether an open directory is the one that has this name now.
[[nodiscard]] moeq_status is_same_folder(int folder, int parent, const char* path, bool* out, Report& report);
// DUPLICATE where `to` is there. Of several that rename to one name at a time one succeeds; directories on file systems without
// that guarantee aside.
[[nodiscard]] moeq_status rename_new(int parent, const char* from, const char* to, Report& report);
// A file that is there, and that somebody may have written without syncing it.
[[nodiscard]] moeq_status sync_file(int parent, const char* path, Report& report);
[[nodiscard]] moeq_status sync_folder(int folder, const char* path, Report& report);

// The names in an open directory, without "." and "..", sorted by their bytes.
class FolderNames {
public:
    explicit FolderNames(Allocator& allocator) : text_(allocator), starts_(allocator) {}

    [[nodiscard]] moeq_status read(int folder, Report& report);
    int64_t size() const { return starts_.size(); }
    const char* operator[](int64_t i) const { return text_.data() + starts_[i]; }

private:
    [[nodiscard]] moeq_status read_all(int listed, Report& report);

    Array<char> text_; // each ended by NUL
    Array<int64_t> starts_;
};

} // namespace moeq::store
