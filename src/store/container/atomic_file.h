// A file that appears whole or not at all: written under a random name in the directory of its target, made durable, renamed.
// All system calls of writing are here.
#pragma once

#include <sys/types.h>

#include "core/memory.h"
#include "core/report.h"

namespace moeq::store {

// In the name of every temporary file, which is ".NAME.moeq-tmp-" and digits.
constexpr const char* kTemporaryMark = ".moeq-tmp-";

class AtomicFile {
public:
    explicit AtomicFile(Allocator& allocator) : allocator_(allocator), target_(allocator) {}
    ~AtomicFile() { abandon(); }
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;

    // directory: an open one, or AT_FDCWD; not kept. durable: fsync file and directory. A link is replaced, not followed. A file
    // that is replaced leaves its mode and, where that is allowed, its owner to the new one. NOT_FOUND: no such directory; IO;
    // FORMAT with class F18: something else than a file is there.
    [[nodiscard]] moeq_status create(int directory, const char* path, bool durable, Report& report);
    // The size that the file is going to have. Takes the space now where the file system can do that at once: a disk that is
    // too full then says so before the work (class F21), and bytes that are written in any order leave no holes. Where it
    // cannot, nothing happens: writing zeros instead would write everything twice.
    [[nodiscard]] moeq_status reserve(int64_t bytes, Report& report);
    // pwrite of all bytes; may run in several threads at once. IO with errno (class F21, F23). May be repeated.
    [[nodiscard]] moeq_status write(int64_t offset, const void* bytes, int64_t count, Report& report);
    // What was written. TRUNCATED, F19, where the file has become shorter since.
    [[nodiscard]] moeq_status read(int64_t offset, void* out, int64_t count, Report& report) const;
    // Renames over the target. After a failure the target is as before, nothing is left behind, and there is no second try:
    // the kernel tells a lost page once only. One failure differs: when it is the directory that cannot be made durable, the new
    // file is in place, whole, and the message says so.
    [[nodiscard]] moeq_status commit(Report& report);
    void abandon();

    bool is_open() const { return descriptor_ >= 0; }
    const char* path() const { return target_.empty() ? "" : target_.data(); } // as it was given

private:
    moeq_status look_at_target(Report& report);
    moeq_status create_temporary(Report& report);
    moeq_status take_over_access(Report& report);
    moeq_status check_open(Report& report) const;
    moeq_status check_size_limit(int64_t end, Report& report) const;
    // IO with an errno: "NAME: cannot `doing`, errno 28 (ENOSPC: no space is left)".
    moeq_status failed(int code, const char* doing, const char* class_id, Report& report) const;
    const char* name() const { return target_.data() + name_begin_; }

    static constexpr int64_t kNameLimit = 256; // NAME_MAX of every file system that matters, and NUL

    Allocator& allocator_;
    Array<char> target_; // the path, ended by NUL
    int64_t name_begin_ = 0;
    char temporary_[kNameLimit] = {};
    int directory_ = -1;
    int descriptor_ = -1;
    pid_t owner_ = 0; // the process that made the temporary file; a forked child must leave it alone
    bool durable_ = true;
    bool replaces_ = false; // a file, which has this owner and mode:
    uid_t user_ = 0;
    gid_t group_ = 0;
    mode_t mode_ = 0;
};

// Small files at once.
[[nodiscard]] moeq_status write_file(Allocator& allocator, int directory, const char* path, const void* bytes,
                                     int64_t count, bool durable, Report& report);

} // namespace moeq::store
