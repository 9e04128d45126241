/* What the programs of this folder share: checks that go on after a failure and are counted. */
#ifndef MOEQ_TESTS_ABI_CHECK_H
#define MOEQ_TESTS_ABI_CHECK_H

#include <stdarg.h>
#include <stdio.h>

static const char* check_context = ""; /* printed with a failure: what is being tested */
static int check_count;
static int check_failures;

enum { kCheckPrinted = 20 }; /* failures; more of them only count */

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static inline void
check_failed(const char* file, int line, const char* format, ...)
{
    va_list arguments;
    if (++check_failures > kCheckPrinted)
        return;
    fprintf(stderr, "%s:%d: %s: ", file, line, check_context);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

static inline void check_equal(const char* file, int line, const char* text, long long got, long long want)
{
    check_count++;
    if (got != want)
        check_failed(file, line, "%s is %lld, not %lld", text, got, want);
}

#define CHECK(condition)                                                \
    do {                                                                \
        check_count++;                                                  \
        if (!(condition))                                               \
            check_failed(__FILE__, __LINE__, "not so: %s", #condition); \
    } while (0)

#define CHECK_EQUAL(got, want) check_equal(__FILE__, __LINE__, #got, (long long)(got), (long long)(want))

/* The exit code of main. */
static inline int check_report(const char* program)
{
    printf("%s: %d checks, %d failed\n", program, check_count, check_failures);
    return check_failures != 0;
}

#endif
