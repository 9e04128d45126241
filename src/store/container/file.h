// Files for reading: opened once, checked by their descriptor, read by pread or mapped. All system calls of reading are
// here.
#pragma once

#include "core/memory.h"
#include "core/report.h"

namespace moeq::store {

// An open regular file. Links are followed, as the directories of a hub's cache are made of them; a FIFO or a device is
// refused without waiting for it. May be read by several threads at once.
class File {
public:
    explicit File(Allocator& allocator) : path_(allocator) {}
    ~File() { close(); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    // directory: an open directory, or AT_FDCWD; folder: what messages are to call it. NOT_FOUND, IO with errno, FORMAT with
    // class F18 for what is no regular file.
    [[nodiscard]] moeq_status open(int directory, const char* path, Report& report, const char* folder = nullptr);
    // A file that is not there yet has its name only.
    [[nodiscard]] moeq_status assume(const char* name, Report& report);
    // All of [offset, offset + bytes): TRUNCATED with class F19 where the file ends before.
    [[nodiscard]] moeq_status read(int64_t offset, void* out, int64_t bytes, Report& report) const;
    // Read-only mapping of the whole file, kept until close.
    [[nodiscard]] moeq_status map(Report& report);
    // Whether its size and the time of its last change are still those at open.
    [[nodiscard]] moeq_status is_as_opened(bool* out, Report& report) const;
    void close();

    int64_t size() const { return size_; }                                            // at open
    int64_t modified_ns() const { return modified_ns_; }                              // at open, since 1970
    const char* mapping() const { return mapping_; }                                  // NULL: not mapped
    const char* name() const { return path_.empty() ? "" : path_.data() + name_at_; } // as it was given
    // For messages: with its folder, unless they would show only the begin of that.
    const char* shown() const { return path_.empty() || path_.size() > kShownBytes ? name() : path_.data(); }
    int descriptor() const { return descriptor_; }

private:
    static constexpr int64_t kShownBytes = 96; // of a text in quotes

    [[nodiscard]] bool keep_name(const char* folder, const char* path);

    Array<char> path_; // folder, if there is one, and name
    int64_t name_at_ = 0;
    int descriptor_ = -1;
    int64_t size_ = 0;
    int64_t modified_ns_ = 0;
    char* mapping_ = nullptr;
};

// An open directory. -1: none.
class Directory {
public:
    Directory() = default;
    ~Directory() { close(); }
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;

    // NOT_FOUND, IO with errno, FORMAT with class F18 for what is no directory.
    [[nodiscard]] moeq_status open(int parent, const char* path, Report& report);
    // *out_found: whether path is a directory; nothing is opened where it is not. Other failures as open has them.
    [[nodiscard]] moeq_status open_if_directory(int parent, const char* path, bool* out_found, Report& report);
    void close();
    int descriptor() const { return descriptor_; }

    // Whether there is anything of that name.
    bool has(const char* name) const;

private:
    int descriptor_ = -1;
};

// Whether a path leads to anything. directory: an open one, or AT_FDCWD.
bool is_there(int directory, const char* path);

// A whole file of text, at most `limit` bytes (LIMIT, F02), ended by a NUL that is part of `out`.
[[nodiscard]] moeq_status read_text(const File& file, int64_t limit, Array<char>* out, Report& report);

// Whether a name from outside is a plain file name: not empty, no separator, not "." or "..", no NUL.
bool is_plain_name(const char* name, int64_t length);

} // namespace moeq::store
