/* moeq.h may be included more than once. */
#include "moeq.h"

int moeq_header_twice(void);
int moeq_header_twice(void) { return MOEQ_ABI_VERSION; }
