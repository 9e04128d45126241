/* Storage that a framework owns: moeq writes codes and scales into its tensors, and calls their deleters when the last user
 * is gone. Exported components share ownership and outlive the handle; a handle is made of them again without a copy. */
#include "common.h"

enum { kExperts = 2, kRows = 8, kColumns = 64, kElements = kExperts * kRows * kColumns };

static float weight[kElements];
static int deleted; /* how often the framework's deleter ran */

/* [quote: framework] */
/* What a framework does when it gives a tensor away: memory, shape and struct live until the deleter is called. */
typedef struct {
    DLManagedTensorVersioned tensor;
    int64_t shape[3];
} FrameworkTensor;

static void delete_tensor(DLManagedTensorVersioned* tensor)
{
    ++deleted;
    free(tensor->dl_tensor.data);
    free(tensor->manager_ctx);
}

static DLManagedTensorVersioned* give_away(const moeq_component_info* info)
{
    FrameworkTensor* owner = calloc(1, sizeof *owner);
    void* memory = malloc((size_t)info->bytes);
    if (owner == NULL || memory == NULL)
        exit(1);
    memcpy(owner->shape, info->shape, sizeof owner->shape);
    owner->tensor = view_of(memory, info->dtype, info->ndim, owner->shape);
    owner->tensor.manager_ctx = owner;
    owner->tensor.deleter = delete_tensor;
    return &owner->tensor;
}
/* [end] */

int main(void)
{
    moeq_error error;
    moeq_context* context;
    moeq_qtensor *qtensor, *again;
    int64_t shape[3] = {kExperts, kRows, kColumns};
    moeq_spec spec = {.struct_size = sizeof spec, .format = MOEQ_FORMAT_INT8};
    DLManagedTensorVersioned source = view_of(weight, MOEQ_DTYPE_FP32, 3, shape);
    fill(weight, kElements);
    check(moeq_context_create(NULL, &context, &error), &error);

    /* [quote: storage] */
    moeq_component storage[2] = {{.component = MOEQ_COMPONENT_CODES}, {.component = MOEQ_COMPONENT_SCALE}};
    for (int i = 0; i < 2; ++i) { /* the spec knows what each component looks like */
        moeq_component_info info = {.struct_size = sizeof info};
        check(moeq_spec_get_component(&spec, 3, shape, storage[i].component, &info, &error), &error);
        storage[i].tensor = give_away(&info);
    }
    moeq_quantize_options options = {.struct_size = sizeof options, .storage = storage, .storage_count = 2};
    check(moeq_qtensor_quantize(context, &source, &spec, &options, NULL, &qtensor, &error), &error);
    /* [end] */

    /* [quote: export] */
    moeq_component parts[2] = {{.component = MOEQ_COMPONENT_CODES}, {.component = MOEQ_COMPONENT_SCALE}};
    for (int i = 0; i < 2; ++i)
        check(moeq_qtensor_export(qtensor, parts[i].component, &parts[i].tensor, &error), &error);
    moeq_qtensor_release(qtensor);
    printf("deleters called after the release of the handle: %d\n", deleted); /* the exports hold the storage */
    check(moeq_qtensor_adopt(context, &spec, 3, shape, parts, 2, NULL, &again, &error), &error);
    /* [end] */

    static float result[kElements];
    DLManagedTensorVersioned destination = view_of(result, MOEQ_DTYPE_FP32, 3, shape);
    check(moeq_qtensor_dequantize(again, NULL, NULL, &destination, &error), &error);
    float largest = 0.0f;
    for (int i = 0; i < kElements; ++i) {
        const float difference = result[i] > weight[i] ? result[i] - weight[i] : weight[i] - result[i];
        largest = difference > largest ? difference : largest;
    }
    printf("the adopted handle decodes within %.4f\n", (double)largest);

    moeq_qtensor_release(again);
    moeq_context_destroy(context);
    printf("deleters called after the release of the last user: %d\n", deleted);
    return deleted == 2 && largest < 0.00394f ? 0 : 1;
}
