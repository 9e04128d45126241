/* The shortest whole use: a dense weight becomes a quantized one and comes back into the caller's own memory. */
#include <dlpack/dlpack.h>
#include <moeq.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { kExperts = 4, kRows = 64, kColumns = 256, kCount = kExperts * kRows * kColumns };

static float weight[kCount];
static float result[kCount];

/* [quote: view] */
/* A tensor over memory of ours, on the stack: no deleter, nothing to free. `shape` has to live as long as the view. */
static DLManagedTensorVersioned view_of(float* data, int64_t* shape, int32_t ndim)
{
    DLManagedTensorVersioned view;
    memset(&view, 0, sizeof view);
    view.version.major = 1;
    view.dl_tensor.data = data;
    view.dl_tensor.device.device_type = kDLCPU;
    view.dl_tensor.dtype.code = kDLFloat;
    view.dl_tensor.dtype.bits = 32;
    view.dl_tensor.dtype.lanes = 1;
    view.dl_tensor.ndim = ndim;
    view.dl_tensor.shape = shape; /* strides stay NULL: row-major */
    return view;
}
/* [end] */

/* [quote: round trip] */
static moeq_status round_trip(moeq_error* error)
{
    int64_t shape[3] = {kExperts, kRows, kColumns};
    DLManagedTensorVersioned source = view_of(weight, shape, 3);
    DLManagedTensorVersioned destination = view_of(result, shape, 3);
    moeq_spec spec = {.struct_size = sizeof spec, .format = MOEQ_FORMAT_NF4};
    moeq_qtensor_info info = {.struct_size = sizeof info};
    moeq_context* context = NULL;
    moeq_qtensor* qtensor = NULL;

    moeq_status status = moeq_context_create(NULL, &context, error);
    if (status == MOEQ_OK)
        status = moeq_qtensor_quantize(context, &source, &spec, NULL, NULL, &qtensor, error);
    if (status == MOEQ_OK)
        status = moeq_qtensor_get_info(qtensor, &info, error);
    if (status == MOEQ_OK)
        status = moeq_qtensor_dequantize(qtensor, NULL, NULL, &destination, error);
    if (status == MOEQ_OK)
        printf("%zu bytes of fp32 became %lld bytes of NF4\n", sizeof weight, (long long)info.bytes);
    moeq_qtensor_release(qtensor); /* NULL is fine, and so is any order */
    moeq_context_destroy(context);
    return status;
}
/* [end] */

int main(void)
{
    unsigned state = 1;
    for (int i = 0; i < kCount; ++i) { /* uniform in [-1, 1) */
        state = state * 1664525u + 1013904223u;
        weight[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }

    moeq_error error;
    if (round_trip(&error) != MOEQ_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }

    float largest = 0.0f;
    for (int i = 0; i < kCount; ++i)
        largest = fmaxf(largest, fabsf(result[i] - weight[i]));
    printf("the largest error is %.4f; the bound for |x| < 1 is 0.1519\n", (double)largest);
    return largest > 0.0f && largest < 0.1520f ? 0 : 1;
}
