/* Loads and unloads the library again and again: load_cycles LIBRARY CYCLES
 * A library that stays mapped, leaks, or leaves a thread or a file open is found by the operating system's own counts. */
#define _GNU_SOURCE
#include "check.h"
#include "tensor.h"

#include <moeq.h>

#include <dirent.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

enum { kUses = 50, kWarmUp = 200, kAllowedGrowth = 64 * 1024 }; /* bytes */

static long count_entries(const char* path)
{
    long count = 0;
    DIR* folder = opendir(path);
    if (folder == NULL)
        return -1;
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

/* A thread that was joined stays in the list until the kernel has cleared it away, a moment later. */
static void check_threads(long wanted)
{
    for (int tries = 0; tries < 1000 && count_entries("/proc/self/task") != wanted; tries++)
        usleep(1000);
    CHECK_EQUAL(count_entries("/proc/self/task"), wanted);
}

/* Counted page by page. (The number in /proc/self/statm is cheaper, and off by up to 64 pages for each core.) */
static long resident_bytes(void)
{
    char line[256];
    long kilobytes = -1;
    FILE* file = fopen("/proc/self/smaps_rollup", "r");
    if (file == NULL)
        return -1;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "Rss:", 4) == 0)
            kilobytes = strtol(line + 4, NULL, 10);
    fclose(file);
    return kilobytes * 1024;
}

static int is_mapped(const char* library)
{
    char path[4096], line[8192];
    int found = 0;
    FILE* file = fopen("/proc/self/maps", "r");
    if (file == NULL || realpath(library, path) == NULL)
        return -1;
    while (fgets(line, sizeof line, file) != NULL)
        found |= strstr(line, path) != NULL;
    fclose(file);
    return found;
}

static void* load(const char* library)
{
    void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    return handle;
}

/* A function of the library; C has no cast from void * to a function, POSIX says that the bytes are the same. */
#define FIND(handle, name)                            \
    do {                                              \
        void* address_ = dlsym(handle, #name);        \
        memcpy(&name##_, &address_, sizeof address_); \
    } while (0)

static void call_once(void* handle)
{
    int32_t (*moeq_abi_version_)(void) = NULL;
    FIND(handle, moeq_abi_version);
    CHECK(moeq_abi_version_ != NULL);
    if (moeq_abi_version_ != NULL)
        CHECK_EQUAL(moeq_abi_version_(), MOEQ_ABI_VERSION);
}

static float weight[8 * 256 * 512];

/* Real work, large enough for the library's threads to take part. */
static void use(void* handle)
{
    moeq_status (*moeq_context_create_)(const moeq_context_options*, moeq_context**, moeq_error*) = NULL;
    moeq_status (*moeq_qtensor_quantize_)(const moeq_context*, const struct DLManagedTensorVersioned*, const moeq_spec*,
                                          const moeq_quantize_options*, void*, moeq_qtensor**, moeq_error*) = NULL;
    void (*moeq_qtensor_release_)(const moeq_qtensor*) = NULL;
    void (*moeq_context_destroy_)(moeq_context*) = NULL;
    FIND(handle, moeq_context_create);
    FIND(handle, moeq_qtensor_quantize);
    FIND(handle, moeq_qtensor_release);
    FIND(handle, moeq_context_destroy);

    int64_t shape[3] = {8, 256, 512};
    struct DLManagedTensorVersioned source = view_of(weight, MOEQ_DTYPE_FP32, 3, shape);
    moeq_spec spec = {.struct_size = sizeof spec, .format = MOEQ_FORMAT_NF4};
    moeq_context_options options = {.struct_size = sizeof options, .thread_limit = 4};
    moeq_context* context = NULL;
    moeq_qtensor* qtensor = NULL;
    CHECK_EQUAL(moeq_context_create_(&options, &context, NULL), MOEQ_OK);
    CHECK_EQUAL(moeq_qtensor_quantize_(context, &source, &spec, NULL, NULL, &qtensor, NULL), MOEQ_OK);
    moeq_qtensor_release_(qtensor);
    moeq_context_destroy_(context);
}

int main(int argc, char** argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: load_cycles LIBRARY CYCLES\n");
        return 2;
    }
    const char* library = argv[1];
    const long cycles = strtol(argv[2], NULL, 10);
    const long threads = count_entries("/proc/self/task"), files = count_entries("/proc/self/fd");
    if (threads < 0 || files < 0 || resident_bytes() < 0) {
        printf("skipped: there is no /proc/self/smaps_rollup (Linux 4.14)\n");
        return 77;
    }
    CHECK_EQUAL(is_mapped(library), 0);

    check_context = "just loaded";
    void* handle = load(library);
    CHECK_EQUAL(is_mapped(library), 1);
    CHECK_EQUAL(count_entries("/proc/self/task"), threads);
    CHECK_EQUAL(count_entries("/proc/self/fd"), files);
    dlclose(handle);
    CHECK_EQUAL(is_mapped(library), 0);

    check_context = "loaded and asked";
    long before = 0;
    for (long i = 0; i < cycles + kWarmUp; i++) {
        if (i == kWarmUp)
            before = resident_bytes();
        handle = load(library);
        call_once(handle);
        dlclose(handle);
        CHECK(dlopen(library, RTLD_NOW | RTLD_NOLOAD) == NULL);
    }
    long growth = resident_bytes() - before;
    CHECK(growth < kAllowedGrowth);
    printf("%ld times loaded and asked: %+ld bytes\n", cycles, growth);

    check_context = "loaded and used";
    fill_numbers(weight, (int64_t)(sizeof weight / sizeof weight[0]));
    for (int i = 0; i < 2 * kUses; i++) {
        if (i == kUses)
            before = resident_bytes();
        handle = load(library);
        use(handle);
        check_threads(threads);
        dlclose(handle);
        CHECK_EQUAL(is_mapped(library), 0);
    }
    growth = resident_bytes() - before;
    CHECK(growth < kAllowedGrowth);
    CHECK_EQUAL(count_entries("/proc/self/fd"), files);
    printf("%d times loaded and used: %+ld bytes\n", kUses, growth);
    return check_report("load_cycles");
}
