#include "store/container/file.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/checked.h"
#include "store/container/system_error.h"
#include "store/container/uninterrupted.h"

namespace moeq::store {

namespace {

constexpr int64_t kReadLimit = int64_t{1} << 30; // of one call; Linux cuts at 2 GiB less a page
const char kNothing[1] = {};                     // what an empty file is mapped to

// O_NONBLOCK: opening a FIFO must not wait for its other end. It means nothing for regular files.
constexpr int kOpenFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

int open_at(int directory, const char* path, int flags)
{
    return uninterrupted([&] { return ::openat(directory, path, flags); });
}

moeq_status cannot(Report& report, const char* action, const char* name)
{
    const int code = errno;
    const bool missing = code == ENOENT || code == ENOTDIR;
    Failure failure = report.fail(missing ? MOEQ_ERROR_NOT_FOUND : MOEQ_ERROR_IO);
    report.set_os_error(code);
    failure.quoted(name);
    if (missing)
        return failure << ": there is no such file or directory";
    failure << ": cannot " << action << " it";
    return end_with_system_error(failure, code, report);
}

const char* kind_of(mode_t mode)
{
    return S_ISDIR(mode)    ? "a directory"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISBLK(mode)  ? "a block device"
           : S_ISSOCK(mode) ? "a socket"
           : S_ISREG(mode)  ? "a regular file"
                            : "something unknown";
}

moeq_status refuse_kind(Report& report, const char* name, const char* found, const char* wanted)
{
    Failure failure = report.fail(MOEQ_ERROR_FORMAT);
    report.set_class("F18");
    return failure.quoted(name) << ": got " << found << "; want " << wanted;
}

int look_at(int descriptor, struct stat* out)
{
    return uninterrupted([&] { return ::fstat(descriptor, out); });
}

int64_t modified_ns_of(const struct stat& status)
{
    return static_cast<int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec;
}

} // namespace

// ---- File

moeq_status File::is_as_opened(bool* out, Report& report) const
{
    struct stat status = {};
    if (look_at(descriptor_, &status) != 0)
        return cannot(report, "look at", shown());
    *out = status.st_size == size_ && modified_ns_of(status) == modified_ns_;
    return MOEQ_OK;
}

bool File::keep_name(const char* folder, const char* path)
{
    const int64_t length = static_cast<int64_t>(std::strlen(path)) + 1;
    const int64_t before = folder == nullptr ? 0 : static_cast<int64_t>(std::strlen(folder));
    path_.clear();
    if (!path_.reserve(before + 1 + length))
        return false;
    path_.append_reserved(folder, before);
    if (before != 0 && folder[before - 1] != '/')
        path_.append_reserved("/", 1);
    name_at_ = path_.size();
    path_.append_reserved(path, length);
    return true;
}

moeq_status File::assume(const char* name, Report& report)
{
    close();
    return keep_name(nullptr, name) ? MOEQ_OK : report.out_of_memory(static_cast<uint64_t>(std::strlen(name)));
}

moeq_status File::open(int directory, const char* path, Report& report, const char* folder)
{
    close();
    if (!keep_name(folder, path))
        return report.out_of_memory(static_cast<uint64_t>(std::strlen(path)));
    descriptor_ = open_at(directory, path, kOpenFlags);
    if (descriptor_ < 0)
        return errno == ENXIO ? refuse_kind(report, shown(), "a socket or a device", "a regular file")
                              : cannot(report, "open", shown());
    struct stat status = {};
    if (look_at(descriptor_, &status) != 0) {
        const moeq_status failed = cannot(report, "look at", shown());
        close();
        return failed;
    }
    if (!S_ISREG(status.st_mode)) {
        close();
        return refuse_kind(report, shown(), kind_of(status.st_mode), "a regular file");
    }
    size_ = status.st_size;
    modified_ns_ = modified_ns_of(status);
    return MOEQ_OK;
}

moeq_status File::read(int64_t offset, void* out, int64_t bytes, Report& report) const
{
    char* next = static_cast<char*>(out);
    while (bytes > 0) {
        const size_t wanted = static_cast<size_t>(minimum(bytes, kReadLimit));
        const ssize_t count = uninterrupted([&] { return ::pread(descriptor_, next, wanted, offset); });
        if (count < 0)
            return cannot(report, "read", shown());
        if (count == 0) {
            Failure failure = report.fail(MOEQ_ERROR_TRUNCATED);
            report.set_class("F19");
            return failure.quoted(shown()) << ": ends at byte " << offset << ", had " << size_
                                           << " bytes when it was opened; want it unchanged while it is read";
        }
        next += count;
        offset += count;
        bytes -= count;
    }
    return MOEQ_OK;
}

moeq_status File::map(Report& report)
{
    if (mapping_ != nullptr)
        return MOEQ_OK;
    if (size_ == 0) {
        mapping_ = const_cast<char*>(kNothing);
        return MOEQ_OK;
    }
    void* const mapping = ::mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_SHARED, descriptor_, 0);
    if (mapping == MAP_FAILED)
        return cannot(report, "map", shown());
    mapping_ = static_cast<char*>(mapping);
    return MOEQ_OK;
}

void File::close()
{
    if (mapping_ != nullptr && size_ != 0)
        ::munmap(mapping_, static_cast<size_t>(size_));
    if (descriptor_ >= 0)
        ::close(descriptor_);
    mapping_ = nullptr;
    descriptor_ = -1;
    size_ = modified_ns_ = 0;
}

// ---- Directory

moeq_status Directory::open(int parent, const char* path, Report& report)
{
    close();
    descriptor_ = open_at(parent, path, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    if (descriptor_ >= 0)
        return MOEQ_OK;
    return errno == ENOTDIR ? refuse_kind(report, path, "a file", "a directory") : cannot(report, "open", path);
}

moeq_status Directory::open_if_directory(int parent, const char* path, bool* out_found, Report& report)
{
    close();
    descriptor_ = open_at(parent, path, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    *out_found = descriptor_ >= 0;
    return *out_found || errno == ENOTDIR ? MOEQ_OK : cannot(report, "open", path);
}

void Directory::close()
{
    if (descriptor_ >= 0)
        ::close(descriptor_);
    descriptor_ = -1;
}

bool Directory::has(const char* name) const { return is_there(descriptor_, name); }

bool is_there(int directory, const char* path) { return ::faccessat(directory, path, F_OK, 0) == 0; }

// ---- Text

moeq_status read_text(const File& file, int64_t limit, Array<char>* out, Report& report)
{
    out->clear();
    const int64_t size = file.size();
    if (size > limit) {
        Failure failure = report.fail(MOEQ_ERROR_LIMIT);
        report.set_class("F02");
        return failure.quoted(file.shown()) << ": got " << size << " bytes; want " << limit << " at most";
    }
    if (!out->resize(size + 1))
        return report.out_of_memory(static_cast<uint64_t>(size) + 1);
    MOEQ_TRY(file.read(0, out->data(), size, report));
    (*out)[size] = '\0';
    return MOEQ_OK;
}

bool is_plain_name(const char* name, int64_t length)
{
    if (length <= 0 || length > 255 || std::memchr(name, '/', static_cast<uint64_t>(length)) != nullptr ||
        std::memchr(name, '\0', static_cast<uint64_t>(length)) != nullptr)
        return false;
    return name[0] != '.' || (length > 1 && (name[1] != '.' || length > 2));
}

} // namespace moeq::store
