/* Dequantize on access: a router chose some experts, and only those are decoded, into one buffer that is used again and
 * again. No allocation, no copy in between. */
#include "common.h"

enum { kExperts = 16, kRows = 32, kColumns = 128, kChosen = 3, kPerExpert = kRows * kColumns };

static float weight[kExperts * kPerExpert];
static uint16_t buffer[kChosen * kPerExpert]; /* bf16 */

int main(void)
{
    moeq_error error;
    moeq_context* context;
    moeq_qtensor* qtensor;
    int64_t shape[3] = {kExperts, kRows, kColumns};
    moeq_spec spec = {.struct_size = sizeof spec};
    DLManagedTensorVersioned source = view_of(weight, MOEQ_DTYPE_FP32, 3, shape);
    for (int64_t i = 0; i < kExperts * kPerExpert; ++i)
        weight[i] = (float)(i / kPerExpert); /* expert e is full of e */
    check(moeq_context_create(NULL, &context, &error), &error);
    check(moeq_spec_parse("fp8_e4m3:block128x128", &spec, &error), &error);
    check(moeq_qtensor_quantize(context, &source, &spec, NULL, NULL, &qtensor, &error), &error);

    /* [quote: experts] */
    const int64_t chosen[kChosen] = {11, 2, 11}; /* any order, repetitions too */
    int64_t buffer_shape[3] = {kChosen, kRows, kColumns};
    DLManagedTensorVersioned destination = view_of(buffer, MOEQ_DTYPE_BF16, 3, buffer_shape);
    moeq_region region = {.struct_size = sizeof region, .experts = chosen, .expert_count = kChosen};
    check(moeq_qtensor_dequantize(qtensor, &region, NULL, &destination, &error), &error);
    /* [end] */
    int wrong = 0;
    for (int i = 0; i < kChosen; ++i) {
        const uint32_t bits = (uint32_t)buffer[i * kPerExpert] << 16; /* bf16 is the upper half of an fp32 */
        float first;
        memcpy(&first, &bits, sizeof first);
        printf("slot %d holds expert %g\n", i, (double)first);
        wrong += first != (float)chosen[i];
    }

    /* [quote: rows] */
    region.row_begin = 8; /* and only rows 8 to 15 of them: a tensor-parallel share, or one half of gate and up */
    region.row_end = 16;
    buffer_shape[1] = 8;
    check(moeq_qtensor_dequantize(qtensor, &region, NULL, &destination, &error), &error);
    /* [end] */

    const int64_t missing = 16;
    region.experts = &missing;
    region.expert_count = 1;
    if (moeq_qtensor_dequantize(qtensor, &region, NULL, &destination, &error) == MOEQ_ERROR_RANGE)
        printf("%s\n", error.message);

    moeq_qtensor_release(qtensor);
    moeq_context_destroy(context);
    return wrong;
}
