#include "store/container/atomic_file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cerrno>

#include "core/checked.h"
#include "store/container/system_error.h"
#include "store/container/uninterrupted.h"

namespace moeq::store {

namespace {

constexpr int64_t kWriteLimit = int64_t{1} << 30; // Linux moves at most 0x7ffff000 bytes in one call
constexpr int64_t kNameKept = 200;                // of the target's name in the temporary one
constexpr mode_t kModeBits = 0777;                // no set-user-id: the contents are other ones now

void close_quietly(int* descriptor)
{
    if (*descriptor >= 0)
        ::close(*descriptor);
    *descriptor = -1;
}

// Not where the standard streams belong, should the host have closed them: it would print into the file.
int above_standard_streams(int descriptor)
{
    if (descriptor < 0 || descriptor > 2)
        return descriptor;
    const int moved = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
    const int code = errno;
    ::close(descriptor);
    errno = code;
    return moved;
}

// Unlike what any other process takes, and what it can foresee.
uint64_t random_bits(int64_t attempt)
{
    uint64_t bits = 0;
    if (::getrandom(&bits, sizeof bits, GRND_NONBLOCK) == static_cast<ssize_t>(sizeof bits))
        return bits;
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    bits = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
    bits ^= static_cast<uint64_t>(::getpid()) << 40 ^ reinterpret_cast<uintptr_t>(&now) << 8;
    bits += static_cast<uint64_t>(attempt) * 0x9E3779B97F4A7C15u;
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9u; // the finalizer of splitmix64
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EBu;
    return bits ^ bits >> 31;
}

// Bytes of a name that are kept, and no character of UTF-8 is cut in two.
uint64_t kept_length(const char* name)
{
    uint64_t length = std::strlen(name);
    if (length > kNameKept) {
        length = kNameKept;
        while (length > 0 && (static_cast<unsigned char>(name[length]) & 0xC0) == 0x80)
            --length;
    }
    return length;
}

void print_temporary_name(const char* name, uint64_t bits, char* out, uint64_t capacity)
{
    Text text(out, capacity);
    text.add('.').add(name, kept_length(name)).add(kTemporaryMark);
    for (int shift = 60; shift >= 0; shift -= 4)
        text.add(kHexDigits[bits >> shift & 15]);
}

// File systems that know no durable directory say so with one of these.
bool has_no_meaning(int code) { return code == EINVAL || code == EOPNOTSUPP || code == ENOSYS || code == EBADF; }

} // namespace

moeq_status AtomicFile::failed(int code, const char* doing, const char* class_id, Report& report) const
{
    const bool missing = directory_ < 0 && (code == ENOENT || code == ENOTDIR);
    Failure status = report.fail(missing ? MOEQ_ERROR_NOT_FOUND : MOEQ_ERROR_IO);
    status.quoted(path()) << ": cannot " << doing;
    report.set_class(class_id);
    return end_with_system_error(status, code, report);
}

moeq_status AtomicFile::check_open(Report& report) const
{
    if (is_open())
        return MOEQ_OK;
    return report.fail(MOEQ_ERROR_STATE) << "got a file that is committed, has failed or was never created";
}

// Beyond the limit of the process the kernel sends a signal, which would end the host.
moeq_status AtomicFile::check_size_limit(int64_t end, Report& report) const
{
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        static_cast<uint64_t>(end) > limit.rlim_cur)
        return failed(EFBIG, "write it", "F21", report);
    return MOEQ_OK;
}

moeq_status AtomicFile::create(int directory, const char* path, bool durable, Report& report)
{
    abandon();
    const int64_t length = static_cast<int64_t>(std::strlen(path));
    Array<char> folder(allocator_);
    target_.clear();
    if (!target_.reserve(length + 1) || !folder.reserve(length + 1))
        return report.out_of_memory(static_cast<uint64_t>(length) + 1);
    target_.append_reserved(path, length + 1);
    name_begin_ = length;
    while (name_begin_ > 0 && path[name_begin_ - 1] != '/')
        --name_begin_;
    if (name()[0] == '\0' || std::strcmp(name(), ".") == 0 || std::strcmp(name(), "..") == 0)
        return (report.fail(MOEQ_ERROR_ARGUMENT) << "got the path ").quoted(path) << "; want one that ends with a name";
    folder.append_reserved(path, name_begin_);
    folder.append_reserved(name_begin_ == 0 ? "." : "", 1);
    if (name_begin_ == 0)
        folder.append_reserved("", 1);
    durable_ = durable;
    owner_ = ::getpid();
    directory_ = above_standard_streams(
        uninterrupted([&] { return ::openat(directory, folder.data(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
    if (directory_ < 0)
        return failed(errno, "open its directory", "F22", report);
    moeq_status status = look_at_target(report);
    if (status == MOEQ_OK)
        status = create_temporary(report);
    if (status != MOEQ_OK)
        close_quietly(&directory_);
    return status;
}

moeq_status AtomicFile::look_at_target(Report& report)
{
    struct stat found {};
    replaces_ = false;
    if (uninterrupted([&] { return ::fstatat(directory_, name(), &found, AT_SYMLINK_NOFOLLOW); }) != 0)
        return errno == ENOENT ? MOEQ_OK : failed(errno, "look at it", "F22", report);
    if (S_ISREG(found.st_mode)) {
        replaces_ = true;
        user_ = found.st_uid;
        group_ = found.st_gid;
        mode_ = found.st_mode & kModeBits;
    } else if (!S_ISLNK(found.st_mode)) {
        const moeq_status status = (report.fail(MOEQ_ERROR_FORMAT) << "got ").quoted(path())
                                   << (S_ISDIR(found.st_mode) ? ", a directory" : ", a device, pipe or socket")
                                   << "; want a file, or nothing";
        report.set_class("F18");
        return status;
    }
    return MOEQ_OK;
}

// A new file has from its first moment the mode that files get there, by umask and the directory's default rules. What is
// going to replace a file is the owner's alone until it is whole.
moeq_status AtomicFile::create_temporary(Report& report)
{
    constexpr int64_t kAttempts = 100;
    const mode_t mode = replaces_ ? 0600 : 0666;
    for (int64_t attempt = 0; attempt < kAttempts; ++attempt) {
        print_temporary_name(name(), random_bits(attempt), temporary_, sizeof temporary_);
        descriptor_ = uninterrupted(
            [&] { return ::openat(directory_, temporary_, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode); });
        if (descriptor_ >= 0 || errno != EEXIST)
            break;
    }
    if (descriptor_ < 0)
        return failed(errno, "create a temporary file beside it", "F22", report);
    descriptor_ = above_standard_streams(descriptor_);
    if (descriptor_ >= 0)
        return MOEQ_OK;
    const int code = errno;
    abandon();
    return failed(code, "create a temporary file beside it", "F22", report);
}

moeq_status AtomicFile::reserve(int64_t bytes, Report& report)
{
    MOEQ_TRY(check_open(report));
    MOEQ_TRY(check_size_limit(bytes, report));
    if (bytes == 0)
        return MOEQ_OK;
    // Not posix_fallocate, which writes a byte into every block where the file system cannot. A signal cuts the whole request
    // short on some: after a few tries the space has to be found while writing.
    for (int attempt = 0; attempt < 4; ++attempt) {
        if (::fallocate(descriptor_, 0, 0, bytes) == 0)
            return MOEQ_OK;
        if (errno != EINTR)
            break;
    }
    const int code = errno;
    if (code == EOPNOTSUPP || code == ENOSYS || code == EINVAL || code == EINTR)
        return MOEQ_OK;
    return failed(code, "take the space for it", "F21", report);
}

moeq_status AtomicFile::write(int64_t offset, const void* bytes, int64_t count, Report& report)
{
    MOEQ_TRY(check_open(report));
    MOEQ_TRY(check_size_limit(offset + count, report));
    const char* next = static_cast<const char*>(bytes);
    while (count > 0) {
        const size_t wanted = static_cast<size_t>(minimum(count, kWriteLimit));
        const ssize_t written = uninterrupted([&] { return ::pwrite(descriptor_, next, wanted, offset); });
        if (written < 0)
            return failed(errno, "write it", "F21", report);
        if (written == 0) // POSIX allows it and gives no reason
            return failed(ENOSPC, "write it", "F23", report);
        next += written;
        offset += written;
        count -= written;
    }
    return MOEQ_OK;
}

moeq_status AtomicFile::read(int64_t offset, void* out, int64_t count, Report& report) const
{
    MOEQ_TRY(check_open(report));
    char* next = static_cast<char*>(out);
    while (count > 0) {
        const size_t wanted = static_cast<size_t>(minimum(count, kWriteLimit));
        const ssize_t got = uninterrupted([&] { return ::pread(descriptor_, next, wanted, offset); });
        if (got < 0)
            return failed(errno, "read back what was written", "F21", report);
        if (got == 0) {
            const moeq_status status =
                (report.fail(MOEQ_ERROR_TRUNCATED) << "got an end at byte " << offset << " of the temporary file of ")
                    .quoted(path())
                << "; want all that was written; another process has cut it";
            report.set_class("F19");
            return status;
        }
        next += got;
        offset += got;
        count -= got;
    }
    return MOEQ_OK;
}

// The access that the replaced file had, never more: if its group cannot be kept, the group gets what everyone gets.
moeq_status AtomicFile::take_over_access(Report& report)
{
    if (!replaces_)
        return MOEQ_OK;
    struct stat ours {};
    if (uninterrupted([&] { return ::fstat(descriptor_, &ours); }) != 0)
        return failed(errno, "look at its temporary file", "F22", report);
    mode_t mode = mode_;
    if (ours.st_uid != user_ || ours.st_gid != group_) {
        const bool kept = uninterrupted([&] { return ::fchown(descriptor_, user_, group_); }) == 0 ||
                          ours.st_gid == group_ ||
                          uninterrupted([&] { return ::fchown(descriptor_, static_cast<uid_t>(-1), group_); }) == 0;
        if (!kept)
            mode &= ~mode_t{070} | mode << 3;
    }
    if ((ours.st_mode & kModeBits) == mode)
        return MOEQ_OK;
    if (uninterrupted([&] { return ::fchmod(descriptor_, mode); }) != 0)
        return failed(errno, "set its mode", "F22", report);
    return MOEQ_OK;
}

moeq_status AtomicFile::commit(Report& report)
{
    MOEQ_TRY(check_open(report));
    moeq_status status = take_over_access(report);
    if (status == MOEQ_OK && durable_ && uninterrupted([&] { return ::fsync(descriptor_); }) != 0)
        status = failed(errno, "make it durable", "F21", report);
    if (status == MOEQ_OK) {
        // Some network file systems tell only now that a write was lost. The descriptor is gone whatever comes back.
        const int closed = ::close(descriptor_);
        descriptor_ = -1;
        if (closed != 0 && errno != EINTR)
            status = failed(errno, "close it", "F21", report);
    }
    if (status == MOEQ_OK && uninterrupted([&] { return ::renameat(directory_, temporary_, directory_, name()); }) != 0)
        status = failed(errno, "rename the temporary file to it", "F21", report);
    if (status != MOEQ_OK) {
        abandon();
        return status;
    }
    temporary_[0] = '\0';
    if (durable_ && uninterrupted([&] { return ::fsync(directory_); }) != 0 && !has_no_meaning(errno))
        status = failed(errno, "make its directory durable (the new file is in place, whole)", "F21", report);
    close_quietly(&directory_);
    return status;
}

void AtomicFile::abandon()
{
    const int code = errno;
    close_quietly(&descriptor_);
    if (directory_ >= 0 && temporary_[0] != '\0' && owner_ == ::getpid())
        (void)uninterrupted([&] { return ::unlinkat(directory_, temporary_, 0); });
    temporary_[0] = '\0';
    close_quietly(&directory_);
    errno = code;
}

moeq_status write_file(Allocator& allocator, int directory, const char* path, const void* bytes, int64_t count,
                       bool durable, Report& report)
{
    AtomicFile file(allocator);
    MOEQ_TRY(file.create(directory, path, durable, report));
    MOEQ_TRY(file.write(0, bytes, count, report));
    return file.commit(report);
}

} // namespace moeq::store
