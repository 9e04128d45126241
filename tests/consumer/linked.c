/* The smallest user of an installed moeq: it links the library and asks who it is. C and C++ at once. */
#include <moeq.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    const int wanted = 10000 * MOEQ_VERSION_MAJOR + 100 * MOEQ_VERSION_MINOR + MOEQ_VERSION_PATCH;
    if (moeq_abi_version() != MOEQ_ABI_VERSION) {
        printf("header has ABI %d, library has ABI %d\n", MOEQ_ABI_VERSION, moeq_abi_version());
        return 1;
    }
    if (moeq_version() != wanted) {
        printf("header is version %d, library is version %d\n", wanted, moeq_version());
        return 1;
    }
    if (strcmp(moeq_status_name(MOEQ_ERROR_SHAPE), "MOEQ_ERROR_SHAPE") != 0) {
        printf("MOEQ_ERROR_SHAPE is named %s\n", moeq_status_name(MOEQ_ERROR_SHAPE));
        return 1;
    }
    return 0;
}
