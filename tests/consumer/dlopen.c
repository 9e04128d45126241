/* Opens libmoeq by its path and calls functions found by name, as a binding does; nothing is linked.
 *
 *     dlopen LIBRARY
 */
#include <dlfcn.h>
#include <moeq.h>
#include <stdio.h>
#include <string.h>

typedef int32_t (*abi_version_fn)(void);
typedef const char* (*status_name_fn)(moeq_status status);

/* A function out of the pointer of dlsym: ISO C has no cast for it, POSIX says that the bytes are the same. */
static int find(void* library, const char* name, void* function, size_t size)
{
    void* symbol = dlsym(library, name);
    if (symbol == NULL) {
        printf("%s\n", dlerror());
        return 0;
    }
    memcpy(function, &symbol, size);
    return 1;
}

int main(int argc, char** argv)
{
    abi_version_fn abi_version;
    status_name_fn status_name;
    void* library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (library == NULL) {
        printf("%s\n", argc == 2 ? dlerror() : "usage: dlopen LIBRARY");
        return 1;
    }
    if (!find(library, "moeq_abi_version", &abi_version, sizeof abi_version) ||
        !find(library, "moeq_status_name", &status_name, sizeof status_name)) {
        return 1;
    }
    if (abi_version() != MOEQ_ABI_VERSION || strcmp(status_name(MOEQ_OK), "MOEQ_OK") != 0) {
        printf("ABI %d, status 0 is %s\n", abi_version(), status_name(MOEQ_OK));
        return 1;
    }
    if (dlsym(library, "moeq_no_such_function") != NULL) {
        printf("a function that is in no header was found\n");
        return 1;
    }
    return dlclose(library);
}
