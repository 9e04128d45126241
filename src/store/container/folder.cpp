#include "store/container/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "store/container/system_error.h"
#include "store/container/uninterrupted.h"

namespace moeq::store {

namespace {

constexpr int32_t kListBytes = 32768; // of entries that one call of the system gives

moeq_status refuse(const char* what, const char* path, int code, Report& report)
{
    Failure failure = report.fail(MOEQ_ERROR_IO);
    (failure << "cannot " << what << " ").quoted(path);
    return end_with_system_error(failure, code, report);
}

// Whether a name is there; *facts are its.
moeq_status look_at(int parent, const char* path, int flags, struct stat* facts, bool* found, Report& report)
{
    *found = uninterrupted([&] { return fstatat(parent, path, facts, flags); }) == 0;
    // A link that leads nowhere, or to itself, is no file.
    if (*found || errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
        return MOEQ_OK;
    return refuse("look at", path, errno, report);
}

moeq_status make_durable(int opened, const char* path, Report& report)
{
    // Some file systems cannot do this for directories, and say EINVAL.
    if (uninterrupted([&] { return fsync(opened); }) == 0 || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS)
        return MOEQ_OK;
    return refuse("make durable", path, errno, report);
}

} // namespace

moeq_status make_folder(int parent, const char* path, Report& report)
{
    if (uninterrupted([&] { return mkdirat(parent, path, 0777); }) == 0 || errno == EEXIST)
        return MOEQ_OK;
    return refuse("make the directory", path, errno, report);
}

moeq_status look_for(int parent, const char* path, bool* found, Report& report)
{
    struct stat facts = {};
    return look_at(parent, path, AT_SYMLINK_NOFOLLOW, &facts, found, report);
}

moeq_status is_same_folder(int folder, int parent, const char* path, bool* out, Report& report)
{
    struct stat opened = {}, named = {};
    bool found = false;
    if (uninterrupted([&] { return fstat(folder, &opened); }) != 0)
        return refuse("look at", path, errno, report);
    MOEQ_TRY(look_at(parent, path, 0, &named, &found, report));
    *out = found && opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
    return MOEQ_OK;
}

moeq_status find_bytes(int parent, const char* path, int64_t* out, Report& report)
{
    struct stat facts = {};
    bool found = false;
    MOEQ_TRY(look_at(parent, path, 0, &facts, &found, report));
    *out = found && S_ISREG(facts.st_mode) ? static_cast<int64_t>(facts.st_size) : -1;
    return MOEQ_OK;
}

void remove_empty_folder(int parent, const char* path)
{
    (void)uninterrupted([&] { return unlinkat(parent, path, AT_REMOVEDIR); });
}

moeq_status remove_file(int parent, const char* path, Report& report)
{
    if (uninterrupted([&] { return unlinkat(parent, path, 0); }) == 0 || errno == ENOENT)
        return MOEQ_OK;
    return refuse("remove", path, errno, report);
}

moeq_status rename_new(int parent, const char* from, const char* to, Report& report)
{
    const auto rename_if_new = [&] { return renameat2(parent, from, parent, to, RENAME_NOREPLACE); };
    int code = uninterrupted(rename_if_new) == 0 ? 0 : errno;
    // A file system without that flag, as NFS: a second name for a file is refused where there is one of that name.
    if (code == EINVAL || code == ENOSYS) {
        const auto link_if_new = [&] { return linkat(parent, from, parent, to, 0); };
        code = uninterrupted(link_if_new) == 0 ? 0 : errno;
        if (code == 0)
            return remove_file(parent, from, report);
    }
    // A directory, or a file system without links: look first. What comes between then is still refused unless it is empty.
    if (code == EPERM || code == EOPNOTSUPP || code == ENOSYS || code == EMLINK) {
        bool found = false;
        MOEQ_TRY(look_for(parent, to, &found, report));
        const auto rename = [&] { return renameat(parent, from, parent, to); };
        code = found ? EEXIST : uninterrupted(rename) == 0 ? 0 : errno;
    }
    if (code == 0)
        return MOEQ_OK;
    if (code != EEXIST && code != ENOTEMPTY)
        return refuse("rename", from, code, report);
    const moeq_status status = (report.fail(MOEQ_ERROR_DUPLICATE) << "got ").quoted(to)
                               << ", which is there; want a name that is free; remove it or choose another target";
    report.set_os_error(code);
    return status;
}

moeq_status sync_folder(int folder, const char* path, Report& report) { return make_durable(folder, path, report); }

moeq_status sync_file(int parent, const char* path, Report& report)
{
    const int file = uninterrupted([&] { return openat(parent, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); });
    if (file < 0)
        return refuse("open", path, errno, report);
    const moeq_status status = make_durable(file, path, report);
    close(file);
    return status;
}

moeq_status FolderNames::read(int folder, Report& report)
{
    text_.clear();
    starts_.clear();
    // A descriptor of its own, whose place in the list nobody else moves.
    const int listed = uninterrupted([&] { return openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
    if (listed < 0)
        return refuse("list", "a directory", errno, report);
    const moeq_status status = read_all(listed, report);
    close(listed);
    MOEQ_TRY(status);
    const char* text = text_.data();
    std::sort(starts_.begin(), starts_.end(),
              [text](int64_t a, int64_t b) { return std::strcmp(text + a, text + b) < 0; });
    return MOEQ_OK;
}

moeq_status FolderNames::read_all(int listed, Report& report)
{
    alignas(8) char list[kListBytes];
    for (;;) {
        const int64_t bytes = uninterrupted([&] { return getdents64(listed, list, sizeof list); });
        if (bytes < 0)
            return refuse("list", "a directory", errno, report);
        if (bytes == 0)
            return MOEQ_OK;
        for (int64_t at = 0; at < bytes;) {
            const auto* entry = reinterpret_cast<const dirent64*>(list + at);
            at += entry->d_reclen;
            const int64_t length = static_cast<int64_t>(std::strlen(entry->d_name)) + 1;
            if (std::strcmp(entry->d_name, ".") == 0 || std::strcmp(entry->d_name, "..") == 0)
                continue;
            if (!text_.reserve(text_.size() + length) || !starts_.reserve(starts_.size() + 1))
                return report.out_of_memory(static_cast<uint64_t>(text_.size() + length));
            const int64_t start = text_.size();
            starts_.append_reserved(&start, 1);
            text_.append_reserved(entry->d_name, length);
        }
    }
}

} // namespace moeq::store
