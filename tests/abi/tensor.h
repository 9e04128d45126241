/* DLPack's structs for a program that has no dlpack.h: moeq.h only names them, so a caller may bring its own. */
#ifndef MOEQ_TESTS_ABI_TENSOR_H
#define MOEQ_TESTS_ABI_TENSOR_H

#include <stdint.h>
#include <string.h>

typedef struct Tensor {
    void* data;
    int32_t device_type, device_id, ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides;
    uint64_t byte_offset;
} Tensor;

struct DLManagedTensorVersioned {
    uint32_t major, minor;
    void* manager_ctx;
    void (*deleter)(struct DLManagedTensorVersioned* self);
    uint64_t flags;
    Tensor tensor;
};

/* A borrowed row-major view in host memory. dtype: a MOEQ_DTYPE_ number. */
static inline struct DLManagedTensorVersioned view_of(const void* data, int32_t dtype, int32_t ndim, int64_t* shape)
{
    struct DLManagedTensorVersioned view;
    memset(&view, 0, sizeof view);
    view.major = 1;
    memcpy(&view.tensor.data, &data, sizeof data); /* takes const away without a cast: sources are only read */
    view.tensor.device_type = 1;
    view.tensor.ndim = ndim;
    view.tensor.code = (uint8_t)dtype;
    view.tensor.bits = (uint8_t)(dtype >> 8);
    view.tensor.lanes = (uint16_t)(dtype >> 16);
    view.tensor.shape = shape;
    return view;
}

/* Numbers in [-1, 1), the same everywhere: a linear congruential generator's high bits. */
static inline void fill_numbers(float* numbers, int64_t count)
{
    uint32_t state = 12345;
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        numbers[i] = (float)(int32_t)state / 2147483648.0f;
    }
}

#endif
