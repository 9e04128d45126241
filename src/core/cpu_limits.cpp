#include "core/cpu_limits.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstring>

#include "core/pool.h"

namespace moeq {

namespace {

constexpr uint64_t kPathBytes = 4096;
constexpr uint64_t kGroupsBytes = 4096; // /proc/self/cgroup: a line per hierarchy, 14 at most
constexpr uint64_t kNumberBytes = 64;
constexpr int32_t kMaskWords = 1024; // 65,536 cores

// Reads all of a small file and ends it with a NUL; false: it cannot be opened or read, or is larger than that.
bool read_small(const char* path, char* text, uint64_t capacity)
{
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return false;
    uint64_t size = 0;
    bool whole = false;
    while (size < capacity) {
        const ssize_t got = read(file, text + size, capacity - size);
        if (got < 0 && errno == EINTR)
            continue;
        whole = got == 0;
        if (got <= 0)
            break;
        size += static_cast<uint64_t>(got);
    }
    close(file);
    if (whole)
        text[size] = 0;
    return whole;
}

// A path in the making; what does not fit makes it unusable.
class Path {
public:
    Path& add(const char* text, uint64_t size)
    {
        if (size >= kPathBytes - size_) {
            fits_ = false;
            return *this;
        }
        std::memcpy(text_ + size_, text, size);
        size_ += size;
        text_[size_] = 0;
        return *this;
    }
    Path& add(const char* text) { return add(text, std::strlen(text)); }
    bool read(char* text, uint64_t capacity) const { return fits_ && read_small(text_, text, capacity); }

private:
    char text_[kPathBytes] = {};
    uint64_t size_ = 0;
    bool fits_ = true;
};

// The next number of a line; false: there is none ("max", "-1").
bool take_number(const char*& text, int64_t& number)
{
    while (*text == ' ')
        ++text;
    if (*text < '0' || *text > '9')
        return false;
    number = 0;
    for (; *text >= '0' && *text <= '9'; ++text) {
        if (number > (INT64_MAX - 9) / 10)
            return false;
        number = 10 * number + (*text - '0');
    }
    return true;
}

// quota of each period, in microseconds -> cores.
int32_t cores_of(int64_t quota, int64_t period)
{
    if (quota <= 0 || period <= 0)
        return kNoLimit;
    const int64_t cores = quota / period + (quota % period != 0 ? 1 : 0);
    return cores < kNoLimit ? static_cast<int32_t>(cores) : kNoLimit;
}

struct Group {
    const char* mount; // below /sys/fs/cgroup; "" for version 2
    const char* path;  // begins with '/'
    uint64_t size;
};

int32_t limit_v2(const char* root, const Group& group)
{
    char text[kNumberBytes];
    Path path;
    path.add(root).add("/sys/fs/cgroup").add(group.path, group.size).add("/cpu.max");
    if (!path.read(text, sizeof text))
        return kNoLimit;
    const char* next = text; // "200000 100000" or "max 100000"
    int64_t quota = 0;
    int64_t period = 0;
    return take_number(next, quota) && take_number(next, period) ? cores_of(quota, period) : kNoLimit;
}

bool read_v1(const char* root, const Group& group, const char* file, int64_t& number)
{
    char text[kNumberBytes];
    Path path;
    path.add(root).add("/sys/fs/cgroup").add(group.mount).add(group.path, group.size).add(file);
    const char* next = text;
    return path.read(text, sizeof text) && take_number(next, number);
}

int32_t limit_v1(const char* root, const Group& group)
{
    int64_t quota = 0;
    int64_t period = 0;
    return read_v1(root, group, "/cpu.cfs_quota_us", quota) && read_v1(root, group, "/cpu.cfs_period_us", period)
               ? cores_of(quota, period)
               : kNoLimit;
}

// A group is limited by all above it. In a container the path may be that of the machine outside, where only the
// last step, the mount itself, exists: so every step is tried, and none has to be there.
int32_t limit_upwards(const char* root, Group group, int32_t (*limit)(const char*, const Group&))
{
    int32_t least = kNoLimit;
    for (;;) {
        const int32_t here = limit(root, group);
        least = here < least ? here : least;
        if (group.size == 0)
            return least;
        do
            --group.size;
        while (group.size != 0 && group.path[group.size] != '/');
    }
}

// Whether the list "cpu,cpuacct" of `size` bytes holds "cpu".
bool has_cpu(const char* list, uint64_t size)
{
    for (uint64_t begin = 0; begin <= size;) {
        uint64_t end = begin;
        while (end < size && list[end] != ',')
            ++end;
        if (end - begin == 3 && std::memcmp(list + begin, "cpu", 3) == 0)
            return true;
        begin = end + 1;
    }
    return false;
}

// line: "4:cpu,cpuacct:/a/b" (version 1) or "0::/a/b" (version 2), without its end.
int32_t limit_of_line(const char* root, const char* line, uint64_t size)
{
    const char* end = line + size;
    const void* first = std::memchr(line, ':', size);
    if (first == nullptr)
        return kNoLimit;
    const char* list = static_cast<const char*>(first) + 1;
    const void* second = std::memchr(list, ':', static_cast<uint64_t>(end - list));
    if (second == nullptr)
        return kNoLimit;
    const char* path = static_cast<const char*>(second) + 1;
    const uint64_t list_size = static_cast<uint64_t>(path - 1 - list);
    const uint64_t path_size = static_cast<uint64_t>(end - path);
    if (path_size == 0 || path[0] != '/')
        return kNoLimit;
    if (list_size == 0)
        return limit_upwards(root, {"", path, path_size}, limit_v2);
    if (!has_cpu(list, list_size))
        return kNoLimit;
    const int32_t own = limit_upwards(root, {"/cpu", path, path_size}, limit_v1);
    const int32_t shared = limit_upwards(root, {"/cpu,cpuacct", path, path_size}, limit_v1);
    return own < shared ? own : shared;
}

} // namespace

int32_t affinity_limit()
{
    unsigned long mask[kMaskWords] = {};
    if (sched_getaffinity(0, sizeof mask, reinterpret_cast<cpu_set_t*>(mask)) != 0)
        return kNoLimit;
    int32_t cores = 0;
    for (const unsigned long word : mask)
        cores += __builtin_popcountl(word);
    return cores > 0 ? cores : kNoLimit;
}

int32_t cgroup_limit(const char* root)
{
    char text[kGroupsBytes];
    Path groups;
    if (!groups.add(root).add("/proc/self/cgroup").read(text, sizeof text))
        return kNoLimit;
    int32_t least = kNoLimit;
    for (const char* line = text; *line != 0;) {
        const char* end = line;
        while (*end != 0 && *end != '\n')
            ++end;
        const int32_t limit = limit_of_line(root, line, static_cast<uint64_t>(end - line));
        least = limit < least ? limit : least;
        line = *end == 0 ? end : end + 1;
    }
    return least;
}

int32_t parse_thread_limit(const char* text)
{
    int64_t number = 0;
    if (text == nullptr || *text == ' ' || !take_number(text, number) || *text != 0 || number < 1 || number > kNoLimit)
        return kNoLimit;
    return static_cast<int32_t>(number);
}

int32_t usable_threads()
{
    const int saved = errno;
    int32_t threads = affinity_limit();
    const int32_t others[] = {cgroup_limit(""), parse_thread_limit(getenv("MOEQ_NUM_THREADS"))};
    for (const int32_t limit : others)
        threads = limit < threads ? limit : threads;
    errno = saved;
    return threads == kNoLimit ? 1 : threads;
}

#if defined(__x86_64__)
namespace {

// The largest cache that a leaf of cpuid describes; Intel's leaf 4 and AMD's 0x8000001D are laid out alike. The C library
// knows AMD's third level only for the whole package, of which a core reaches a part.
int64_t largest_cache(uint32_t leaf)
{
    constexpr uint32_t kMostCaches = 16;
    int64_t largest = 0;
    for (uint32_t i = 0; i < kMostCaches; ++i) {
        uint32_t a = 0;
        uint32_t b = 0;
        uint32_t c = 0;
        uint32_t d = 0;
        if (__get_cpuid_count(leaf, i, &a, &b, &c, &d) == 0 || (a & 31) == 0)
            break;
        const auto field = [b](int shift, uint32_t mask) { return int64_t{b >> shift & mask} + 1; };
        const int64_t bytes = field(22, 0x3FF) * field(12, 0x3FF) * field(0, 0xFFF) * (int64_t{c} + 1);
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

} // namespace
#endif

int64_t last_level_cache()
{
#if defined(__x86_64__)
    for (const uint32_t leaf : {0x8000001Du, 4u})
        if (const int64_t bytes = largest_cache(leaf); bytes > 0)
            return bytes;
#endif
#if defined(_SC_LEVEL3_CACHE_SIZE) && defined(_SC_LEVEL2_CACHE_SIZE)
    for (const int name : {_SC_LEVEL3_CACHE_SIZE, _SC_LEVEL2_CACHE_SIZE})
        if (const long bytes = sysconf(name); bytes > 0)
            return bytes;
#endif
    return 0;
}

} // namespace moeq
