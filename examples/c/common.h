/* What the other examples share: views of one's own memory, and one way to end when something fails. */
#ifndef EXAMPLES_COMMON_H
#define EXAMPLES_COMMON_H

#include <dlpack/dlpack.h>
#include <moeq.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A tensor that borrows memory. dtype: a MOEQ_DTYPE_ constant, which is DLPack's triple in one number. */
static inline DLManagedTensorVersioned view_of(void* data, int32_t dtype, int32_t ndim, int64_t* shape)
{
    DLManagedTensorVersioned view;
    memset(&view, 0, sizeof view);
    view.version.major = 1;
    view.dl_tensor.data = data;
    view.dl_tensor.device.device_type = kDLCPU;
    view.dl_tensor.dtype.code = (uint8_t)dtype;
    view.dl_tensor.dtype.bits = (uint8_t)(dtype >> 8);
    view.dl_tensor.dtype.lanes = (uint16_t)(dtype >> 16);
    view.dl_tensor.ndim = ndim;
    view.dl_tensor.shape = shape;
    return view;
}

/* A program of one page may end here; a library hands status and error to its own caller. */
static inline void check(moeq_status status, const moeq_error* error)
{
    if (status == MOEQ_OK)
        return;
    fprintf(stderr, "%s: %s\n", moeq_status_name(status), error->message);
    exit(1);
}

/* Uniform in [-1, 1), the same in every run. */
static inline void fill(float* values, int64_t count)
{
    uint32_t state = 1;
    for (int64_t i = 0; i < count; ++i) {
        state = state * 1664525u + 1013904223u;
        values[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
}

#endif
