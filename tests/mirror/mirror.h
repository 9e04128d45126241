// A stand-in for a GPU: a plug-in of device type CUDA whose memory is ordinary memory that nobody may touch (PROT_NONE) while
// a call of moeq.h is at work, except the plug-in's own functions. Work is done by the host's references. A host look at
// device memory is a crash with a stack.
#pragma once

#include <cstddef>

extern "C" {

// Memory of the device for tests, which own it as a framework would. 64-byte aligned, filled with rubbish.
void* moeq_mirror_allocate(size_t bytes);
void moeq_mirror_free(void* memory, size_t bytes);

// Around each call of moeq.h. Counted over all threads.
void moeq_mirror_enter_call(void);
void moeq_mirror_leave_call(void);

// How often the library had the plug-in work.
long moeq_mirror_operations(void);
}
