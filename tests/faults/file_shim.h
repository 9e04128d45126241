// The system calls on files that libmoeq.so makes, watched: counted, made to fail, or the last thing that the process does.
//
// How it works: the functions of file_shim.cpp have the names of the C library's and are found first, so the library calls
// them; they hand every call to the kernel unless told otherwise. Calls of all threads count, and only while armed:
//
//     fail_file_call({FileCall::kSync, 1, EIO, false});   // the first fsync or fdatasync from now on fails, once
//     const moeq_status status = ...;                     // what is tried
//     const FileCalls seen = disarm_file_calls();         // before anything else is done with files
//     EXPECT_TRUE(seen.met);                              // else there was no such call: the loop over `nth` is at its end
//
// and for a process that dies, in a child made by fork: kill_at_file_call(k), the work, _exit(0). The child's exit status is
// kKilled until k is larger than the number of calls. for_each_file_fault goes through all faults of some work.
// open_descriptors() before and after shows what was not closed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace moeq_test {

enum class FileCall {
    kOpen,     // open, openat
    kStat,     // fstat, fstatat, stat, lstat
    kRead,     // read, pread
    kWrite,    // write, pwrite, copy_file_range
    kSync,     // fsync, fdatasync
    kRename,   // rename, renameat, renameat2
    kUnlink,   // unlink, unlinkat, rmdir
    kClose,    // close
    kTruncate, // ftruncate
    kAllocate, // fallocate, posix_fallocate
    kMode,     // fchmod, fchown
    kRandom,   // getrandom
    kMkdir,    // mkdir, mkdirat
    kLink,     // link, linkat, symlink, symlinkat
    kCount
};
constexpr int kFileCalls = static_cast<int>(FileCall::kCount);
const char* file_call_name(FileCall call);

constexpr int kShortCount =
    -1; // instead of an errno, for kRead and kWrite: less is done than was asked for, and told so

struct FileFault {
    FileCall call;
    int64_t nth;  // 1: the next call of this kind
    int error;    // an errno, or kShortCount
    bool forever; // and all later ones of this kind
};

struct FileCalls {
    int64_t count[kFileCalls] = {};
    bool met = false; // the fault was
    int64_t total() const;
    int64_t of(FileCall call) const { return count[static_cast<int>(call)]; }
};

void watch_file_calls(); // only count
void fail_file_call(const FileFault& fault);
FileCalls disarm_file_calls();

constexpr int kKilled = 77;
// The process ends when its nth call on files, of whatever kind, begins. torn: a write has done half of its work then.
void kill_at_file_call(int64_t nth, bool torn = false);

// Every fault that files know, for every call that `work` makes: `attempt` sets up, arms with fail_file_call(fault), does the
// work, disarms, judges, and tells what the shim saw. Ends with a failed expectation where a fault was met by no call at all.
void for_each_file_fault(const FileCalls& undisturbed, const std::function<FileCalls(const FileFault& fault)>& attempt);
std::string describe(const FileFault& fault);

// Numbers of the descriptors that the process has open.
std::vector<int> open_descriptors();

} // namespace moeq_test
