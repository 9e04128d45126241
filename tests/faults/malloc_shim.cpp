#include "malloc_shim.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define MOEQ_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define MOEQ_SANITIZED 1
#endif

namespace {

// No thread-local storage: it is what must not be needed.
std::atomic<long> watched_thread{0};
std::atomic<bool> failing{false};
std::atomic<int64_t> allocations{0};

bool watched() { return watched_thread.load() != 0 && watched_thread.load() == syscall(SYS_gettid); }

// Counts; true: the allocation must fail.
[[maybe_unused]] bool refuse()
{
    const int saved = errno;
    const bool mine = watched();
    errno = saved;
    if (!mine)
        return false;
    allocations.fetch_add(1);
    return failing.load();
}

} // namespace

namespace moeq_test {

bool malloc_is_watched()
{
#if defined(MOEQ_SANITIZED)
    return false;
#else
    return true;
#endif
}

void watch_malloc(bool fail)
{
    allocations = 0;
    failing = fail;
    watched_thread = syscall(SYS_gettid);
}

int64_t unwatch_malloc()
{
    watched_thread = 0;
    return allocations;
}

} // namespace moeq_test

#if !defined(MOEQ_SANITIZED)

extern "C" {

void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
void __libc_free(void* memory);

void* malloc(size_t size)
{
    if (refuse()) {
        errno = ENOMEM;
        return nullptr;
    }
    return __libc_malloc(size);
}

void* calloc(size_t count, size_t size)
{
    if (refuse()) {
        errno = ENOMEM;
        return nullptr;
    }
    return __libc_calloc(count, size);
}

void* realloc(void* memory, size_t size)
{
    if (refuse()) {
        errno = ENOMEM;
        return nullptr;
    }
    return __libc_realloc(memory, size);
}

void* memalign(size_t alignment, size_t size)
{
    if (refuse()) {
        errno = ENOMEM;
        return nullptr;
    }
    return __libc_memalign(alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void** out, size_t alignment, size_t size)
{
    if (refuse())
        return ENOMEM;
    void* memory = __libc_memalign(alignment, size);
    if (memory == nullptr)
        return ENOMEM;
    *out = memory;
    return 0;
}

void free(void* memory) { __libc_free(memory); }

} // extern "C"

#endif
