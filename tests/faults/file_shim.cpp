#include "file_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdarg.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>

namespace moeq_test {
namespace {

// All atomics: the calls come from any threads.
std::atomic<bool> armed{false};
std::atomic<int64_t> counts[kFileCalls];
std::atomic<int64_t> total{0};
std::atomic<bool> met{false};
std::atomic<int> fault_call{-1};
std::atomic<int64_t> fault_nth{0};
std::atomic<int> fault_error{0};
std::atomic<bool> fault_forever{false};
std::atomic<int64_t> kill_nth{0};
std::atomic<bool> kill_torn{false};

struct Verdict {
    int error = 0; // fail with it; kShortCount: do less
    bool die = false;
};

Verdict judge(FileCall call)
{
    Verdict verdict;
    if (!armed)
        return verdict;
    const int kind = static_cast<int>(call);
    const int64_t nth = ++counts[kind];
    const int64_t of_all = ++total;
    if (kill_nth != 0 && of_all == kill_nth) {
        if (!kill_torn || call != FileCall::kWrite)
            _exit(kKilled);
        verdict.die = true;
    }
    if (fault_call == kind && (fault_forever ? nth >= fault_nth : nth == fault_nth)) {
        met = true;
        verdict.error = fault_error;
    }
    return verdict;
}

// A call that returns 0 or a descriptor, or -1 with errno.
template <class Real>
auto call_on_file(FileCall call, Real&& real) -> decltype(real())
{
    const Verdict verdict = judge(call);
    if (verdict.error == 0 || verdict.error == kShortCount)
        return real();
    errno = verdict.error;
    return -1;
}

// A call that moves bytes.
template <class Real>
ssize_t move_bytes(FileCall call, size_t count, Real&& real)
{
    const Verdict verdict = judge(call);
    if (verdict.die) {
        (void)real(count / 2);
        _exit(kKilled);
    }
    if (verdict.error == kShortCount)
        return real(count <= 1 ? count : count / 2);
    if (verdict.error == 0)
        return real(count);
    errno = verdict.error;
    return -1;
}

void arm()
{
    for (auto& count : counts)
        count = 0;
    total = 0;
    met = false;
    armed = true;
}

void forget()
{
    armed = false;
    fault_call = -1;
    kill_nth = 0;
}

} // namespace

const char* file_call_name(FileCall call)
{
    static const char* const names[kFileCalls] = {"open",   "stat",   "read",  "write",    "sync",
                                                  "rename", "unlink", "close", "truncate", "allocate",
                                                  "mode",   "random", "mkdir", "link"};
    return names[static_cast<int>(call)];
}

int64_t FileCalls::total() const
{
    int64_t sum = 0;
    for (const int64_t one : count)
        sum += one;
    return sum;
}

void watch_file_calls()
{
    forget();
    arm();
}

void fail_file_call(const FileFault& fault)
{
    forget();
    fault_nth = fault.nth;
    fault_error = fault.error;
    fault_forever = fault.forever;
    fault_call = static_cast<int>(fault.call);
    arm();
}

FileCalls disarm_file_calls()
{
    FileCalls seen;
    forget();
    for (int i = 0; i < kFileCalls; ++i)
        seen.count[i] = counts[i];
    seen.met = met;
    return seen;
}

void kill_at_file_call(int64_t nth, bool torn)
{
    forget();
    kill_nth = nth;
    kill_torn = torn;
    arm();
}

std::string describe(const FileFault& fault)
{
    const std::string what = fault.error == kShortCount ? "a short count" : strerror(fault.error);
    return std::string(file_call_name(fault.call)) + " " + std::to_string(fault.nth) + ": " + what +
           (fault.forever ? ", forever" : ", once");
}

void for_each_file_fault(const FileCalls& undisturbed, const std::function<FileCalls(const FileFault& fault)>& attempt)
{
    for (int kind = 0; kind < kFileCalls; ++kind) {
        const auto call = static_cast<FileCall>(kind);
        const bool moves = call == FileCall::kRead || call == FileCall::kWrite;
        for (int64_t nth = 1; nth <= undisturbed.of(call); ++nth) {
            for (const int error : {EINTR, kShortCount, EIO, ENOSPC, EDQUOT, ESTALE, EMFILE}) {
                for (const bool forever : {false, true}) {
                    if ((error == kShortCount && !moves) || (error == EINTR && forever))
                        continue; // no signal comes forever
                    const FileFault fault{call, nth, error, forever};
                    SCOPED_TRACE(describe(fault));
                    const FileCalls seen = attempt(fault);
                    EXPECT_TRUE(seen.met) << "there was no such call";
                    if (testing::Test::HasFailure())
                        return;
                }
            }
        }
    }
}

std::vector<int> open_descriptors()
{
    std::vector<int> all;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error))
        all.push_back(std::stoi(entry.path().filename().string()));
    std::erase_if(all, [](int descriptor) { return fcntl(descriptor, F_GETFD) < 0; }); // the one that listed them
    std::sort(all.begin(), all.end());
    return all;
}

} // namespace moeq_test

// ---- the C library's names ------------------------------------------------------------------------------------------

using moeq_test::call_on_file;
using moeq_test::FileCall;
using moeq_test::move_bytes;

namespace {

int real_openat(int directory, const char* path, int flags, mode_t mode)
{
    return call_on_file(FileCall::kOpen,
                        [&] { return static_cast<int>(syscall(SYS_openat, directory, path, flags, mode)); });
}

int real_fstatat(int directory, const char* path, struct stat* out, int flags)
{
    return call_on_file(FileCall::kStat,
                        [&] { return static_cast<int>(syscall(SYS_newfstatat, directory, path, out, flags)); });
}

int real_renameat(int from_directory, const char* from, int to_directory, const char* to, unsigned flags)
{
    return call_on_file(FileCall::kRename, [&] {
        return static_cast<int>(syscall(SYS_renameat2, from_directory, from, to_directory, to, flags));
    });
}

int real_unlinkat(int directory, const char* path, int flags)
{
    return call_on_file(FileCall::kUnlink,
                        [&] { return static_cast<int>(syscall(SYS_unlinkat, directory, path, flags)); });
}

int real_mkdirat(int directory, const char* path, mode_t mode)
{
    return call_on_file(FileCall::kMkdir,
                        [&] { return static_cast<int>(syscall(SYS_mkdirat, directory, path, mode)); });
}

} // namespace

#define MOEQ_TAKE_MODE(mode, flags)                              \
    mode_t mode = 0;                                             \
    if (((flags)&O_CREAT) || ((flags)&O_TMPFILE) == O_TMPFILE) { \
        va_list arguments;                                       \
        va_start(arguments, flags);                              \
        mode = va_arg(arguments, mode_t);                        \
        va_end(arguments);                                       \
    }

extern "C" {

int open(const char* path, int flags, ...)
{
    MOEQ_TAKE_MODE(mode, flags)
    return real_openat(AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char* path, int flags, ...)
{
    MOEQ_TAKE_MODE(mode, flags)
    return real_openat(directory, path, flags, mode);
}

int __open_2(const char* path, int flags) { return real_openat(AT_FDCWD, path, flags, 0); }
int __openat_2(int directory, const char* path, int flags) { return real_openat(directory, path, flags, 0); }

int fstat(int descriptor, struct stat* out) noexcept { return real_fstatat(descriptor, "", out, AT_EMPTY_PATH); }
int fstatat(int directory, const char* path, struct stat* out, int flags) noexcept
{
    return real_fstatat(directory, path, out, flags);
}
int stat(const char* path, struct stat* out) noexcept { return real_fstatat(AT_FDCWD, path, out, 0); }
int lstat(const char* path, struct stat* out) noexcept
{
    return real_fstatat(AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}

ssize_t read(int descriptor, void* out, size_t count)
{
    return move_bytes(FileCall::kRead, count,
                      [&](size_t n) { return static_cast<ssize_t>(syscall(SYS_read, descriptor, out, n)); });
}
ssize_t pread(int descriptor, void* out, size_t count, off_t offset)
{
    return move_bytes(FileCall::kRead, count,
                      [&](size_t n) { return static_cast<ssize_t>(syscall(SYS_pread64, descriptor, out, n, offset)); });
}
ssize_t __read_chk(int descriptor, void* out, size_t count, size_t) { return read(descriptor, out, count); }
ssize_t __pread_chk(int descriptor, void* out, size_t count, off_t offset, size_t)
{
    return pread(descriptor, out, count, offset);
}

ssize_t write(int descriptor, const void* bytes, size_t count)
{
    return move_bytes(FileCall::kWrite, count,
                      [&](size_t n) { return static_cast<ssize_t>(syscall(SYS_write, descriptor, bytes, n)); });
}
ssize_t pwrite(int descriptor, const void* bytes, size_t count, off_t offset)
{
    return move_bytes(FileCall::kWrite, count, [&](size_t n) {
        return static_cast<ssize_t>(syscall(SYS_pwrite64, descriptor, bytes, n, offset));
    });
}
ssize_t copy_file_range(int in, off_t* in_offset, int out, off_t* out_offset, size_t count, unsigned flags)
{
    return move_bytes(FileCall::kWrite, count, [&](size_t n) {
        return static_cast<ssize_t>(syscall(SYS_copy_file_range, in, in_offset, out, out_offset, n, flags));
    });
}

int fsync(int descriptor)
{
    return call_on_file(FileCall::kSync, [&] { return static_cast<int>(syscall(SYS_fsync, descriptor)); });
}
int fdatasync(int descriptor)
{
    return call_on_file(FileCall::kSync, [&] { return static_cast<int>(syscall(SYS_fdatasync, descriptor)); });
}

int rename(const char* from, const char* to) noexcept { return real_renameat(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_directory, const char* from, int to_directory, const char* to) noexcept
{
    return real_renameat(from_directory, from, to_directory, to, 0);
}
int renameat2(int from_directory, const char* from, int to_directory, const char* to, unsigned flags) noexcept
{
    return real_renameat(from_directory, from, to_directory, to, flags);
}

int unlink(const char* path) noexcept { return real_unlinkat(AT_FDCWD, path, 0); }
int unlinkat(int directory, const char* path, int flags) noexcept { return real_unlinkat(directory, path, flags); }
int rmdir(const char* path) noexcept { return real_unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

// Linux closes the descriptor whatever it then returns.
int close(int descriptor)
{
    const auto verdict = moeq_test::judge(FileCall::kClose);
    const int closed = static_cast<int>(syscall(SYS_close, descriptor));
    if (verdict.error == 0 || verdict.error == moeq_test::kShortCount)
        return closed;
    errno = verdict.error;
    return -1;
}

int ftruncate(int descriptor, off_t length) noexcept
{
    return call_on_file(FileCall::kTruncate,
                        [&] { return static_cast<int>(syscall(SYS_ftruncate, descriptor, length)); });
}
int fallocate(int descriptor, int mode, off_t offset, off_t length)
{
    return call_on_file(FileCall::kAllocate,
                        [&] { return static_cast<int>(syscall(SYS_fallocate, descriptor, mode, offset, length)); });
}
int posix_fallocate(int descriptor, off_t offset, off_t length)
{
    return fallocate(descriptor, 0, offset, length) == 0 ? 0 : errno;
}

int fchmod(int descriptor, mode_t mode) noexcept
{
    return call_on_file(FileCall::kMode, [&] { return static_cast<int>(syscall(SYS_fchmod, descriptor, mode)); });
}
int fchown(int descriptor, uid_t owner, gid_t group) noexcept
{
    return call_on_file(FileCall::kMode,
                        [&] { return static_cast<int>(syscall(SYS_fchown, descriptor, owner, group)); });
}

ssize_t getrandom(void* out, size_t count, unsigned flags)
{
    return call_on_file(FileCall::kRandom,
                        [&] { return static_cast<ssize_t>(syscall(SYS_getrandom, out, count, flags)); });
}

int mkdir(const char* path, mode_t mode) noexcept { return real_mkdirat(AT_FDCWD, path, mode); }
int mkdirat(int directory, const char* path, mode_t mode) noexcept { return real_mkdirat(directory, path, mode); }

int linkat(int from_directory, const char* from, int to_directory, const char* to, int flags) noexcept
{
    return call_on_file(FileCall::kLink, [&] {
        return static_cast<int>(syscall(SYS_linkat, from_directory, from, to_directory, to, flags));
    });
}
int link(const char* from, const char* to) noexcept { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
int symlinkat(const char* text, int directory, const char* path) noexcept
{
    return call_on_file(FileCall::kLink,
                        [&] { return static_cast<int>(syscall(SYS_symlinkat, text, directory, path)); });
}
int symlink(const char* text, const char* path) noexcept { return symlinkat(text, AT_FDCWD, path); }

} // extern "C"
