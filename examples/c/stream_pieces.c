/* A weight that arrives in pieces, in any order, as from a file or over a network: the dense weight is never whole in
 * memory, and what comes twice or not at all is an error that names the place. */
#include "common.h"

enum { kExperts = 2, kRows = 96, kColumns = 256, kElements = kExperts * kRows * kColumns };

static float weight[kElements]; /* stands for the file; the pieces are read from here */

/* [quote: piece] */
/* Rows [row, row + rows) of an expert. */
static moeq_status send(moeq_builder* builder, int64_t expert, int64_t row, int64_t rows, moeq_error* error)
{
    int64_t shape[2] = {rows, kColumns};
    DLManagedTensorVersioned piece = view_of(weight + (expert * kRows + row) * kColumns, MOEQ_DTYPE_FP32, 2, shape);
    return moeq_builder_write(builder, expert, row, 0, &piece, NULL, error);
}
/* [end] */

static int equal(const moeq_qtensor* a, const moeq_qtensor* b, int32_t component, size_t bytes)
{
    moeq_error error;
    DLManagedTensorVersioned *x, *y;
    check(moeq_qtensor_export(a, component, &x, &error), &error);
    check(moeq_qtensor_export(b, component, &y, &error), &error);
    const int same = memcmp(x->dl_tensor.data, y->dl_tensor.data, bytes) == 0;
    x->deleter(x);
    y->deleter(y);
    return same;
}

int main(void)
{
    moeq_error error;
    moeq_context* context;
    moeq_builder* builder;
    moeq_qtensor *streamed, *whole;
    int64_t shape[3] = {kExperts, kRows, kColumns};
    moeq_spec spec = {.struct_size = sizeof spec, .format = MOEQ_FORMAT_NF4};
    fill(weight, kElements);
    check(moeq_context_create(NULL, &context, &error), &error);

    /* [quote: stream] */
    check(moeq_builder_create(context, &spec, 3, shape, NULL, NULL, &builder, &error), &error);
    check(send(builder, 1, 0, kRows, &error), &error); /* experts in any order */
    check(send(builder, 0, 40, 56, &error), &error);   /* and rows */
    if (send(builder, 0, 95, 1, &error) == MOEQ_ERROR_DUPLICATE)
        printf("twice: expert %d, row %d\n", (int)error.expert, (int)error.row);
    if (moeq_builder_finish(builder, NULL, &streamed, &error) == MOEQ_ERROR_INCOMPLETE)
        printf("missing: from expert %d, row %d on\n", (int)error.expert, (int)error.row);
    check(send(builder, 0, 0, 40, &error), &error); /* the builder lives on after such errors */
    check(moeq_builder_finish(builder, NULL, &streamed, &error), &error);
    /* [end] */

    DLManagedTensorVersioned source = view_of(weight, MOEQ_DTYPE_FP32, 3, shape);
    check(moeq_qtensor_quantize(context, &source, &spec, NULL, NULL, &whole, &error), &error);
    const int same = equal(streamed, whole, MOEQ_COMPONENT_CODES, kElements / 2) &&
                     equal(streamed, whole, MOEQ_COMPONENT_SCALE, kElements / 64 * sizeof(float));
    printf("the pieces gave %s bytes as the whole weight\n", same ? "the same" : "other");

    moeq_qtensor_release(streamed);
    moeq_qtensor_release(whole);
    moeq_context_destroy(context);
    return same ? 0 : 1;
}
