/* moeq.h is self-contained: nothing needs to come before it. */
#include "moeq.h"

int moeq_header_alone(void);
int moeq_header_alone(void) { return MOEQ_ABI_VERSION; }
