/* The experts of a checkpoint as NF4 handles, in two ways: tensor by tensor in file order, as a loader does that has to look
 * at every tensor anyway, and stack by stack. Then the experts that a router hit, dense, in one buffer.
 *
 *     stream_checkpoint FOLDER
 */
#include "common.h"

static moeq_error error;

/* [quote: tensor] */
/* One tensor of the file goes where moeq says it belongs: a fused one expert by expert, a 2-D one whole. */
static void stream_tensor(const moeq_reader* reader, int64_t index, const moeq_tensor_info* info, moeq_builder* builder)
{
    const int fused = info->ndim == 3;
    const int64_t pieces = fused ? info->shape[0] : 1;
    int64_t shape[3] = {1, info->shape[info->ndim - 2], info->shape[info->ndim - 1]};
    void* buffer = malloc((size_t)(info->bytes / pieces));
    DLManagedTensorVersioned piece = view_of(buffer, info->dtype, fused ? 3 : 2, fused ? shape : shape + 1);
    for (int64_t i = 0; i < pieces; ++i) {
        check(moeq_reader_read(reader, index, i, &piece, &error), &error);
        check(moeq_builder_write(builder, info->expert + i, info->row, info->column, &piece, NULL, &error), &error);
    }
    free(buffer);
}
/* [end] */

static moeq_builder* builder_of(const moeq_context* context, const moeq_reader* reader, int64_t index)
{
    moeq_builder* builder;
    moeq_stack_info stack = {.struct_size = sizeof stack};
    moeq_spec nf4 = {.struct_size = sizeof nf4, .format = MOEQ_FORMAT_NF4};
    check(moeq_reader_get_stack(reader, index, &stack, &error), &error);
    nf4.layout = stack.layout; /* from the model's type and names, never from sizes */
    nf4.scale_axis = stack.scale_axis;
    check(moeq_builder_create(context, &nf4, 3, stack.shape, NULL, NULL, &builder, &error), &error);
    return builder;
}

static moeq_qtensor* load_stack(const moeq_reader* reader, int64_t index)
{
    /* [quote: load] */
    moeq_qtensor* loaded;
    moeq_spec nf4 = {.struct_size = sizeof nf4, .format = MOEQ_FORMAT_NF4};
    moeq_load_options options = {.struct_size = sizeof options, .spec = &nf4};
    check(moeq_reader_load(reader, index, &options, NULL, &loaded, &error), &error);
    /* [end] */
    return loaded;
}

static int same_codes(const moeq_qtensor* a, const moeq_qtensor* b)
{
    DLManagedTensorVersioned *x, *y;
    check(moeq_qtensor_export(a, MOEQ_COMPONENT_CODES, &x, &error), &error);
    check(moeq_qtensor_export(b, MOEQ_COMPONENT_CODES, &y, &error), &error);
    size_t bytes = 1;
    for (int32_t i = 0; i < x->dl_tensor.ndim; ++i)
        bytes *= (size_t)x->dl_tensor.shape[i];
    const int same = memcmp(x->dl_tensor.data, y->dl_tensor.data, bytes) == 0;
    x->deleter(x);
    y->deleter(y);
    return same;
}

/* The last expert and the first one, as a router may ask for them. */
static float first_weight_of_last_expert(const moeq_qtensor* stack)
{
    moeq_qtensor_info info = {.struct_size = sizeof info};
    check(moeq_qtensor_get_info(stack, &info, &error), &error);
    const int64_t hit[2] = {info.folded[0] - 1, 0};
    const moeq_region region = {.struct_size = sizeof region, .experts = hit, .expert_count = 2};
    int64_t shape[3] = {2, info.folded[1], info.folded[2]};
    float* dense = malloc((size_t)(2 * shape[1] * shape[2]) * sizeof *dense);
    DLManagedTensorVersioned destination = view_of(dense, MOEQ_DTYPE_FP32, 3, shape);
    check(moeq_qtensor_dequantize(stack, &region, NULL, &destination, &error), &error);
    const float value = dense[0];
    free(dense);
    return value;
}

int main(int argc, char** argv)
{
    moeq_context* context;
    moeq_reader* reader;
    moeq_reader_info checkpoint = {.struct_size = sizeof checkpoint};
    if (argc != 2)
        return 2;
    check(moeq_context_create(NULL, &context, &error), &error);
    check(moeq_reader_open(context, argv[1], NULL, &reader, &error), &error);
    check(moeq_reader_get_info(reader, &checkpoint, &error), &error);

    /* [quote: stream] */
    moeq_builder** builders = calloc((size_t)checkpoint.stack_count, sizeof *builders);
    moeq_qtensor** stacks = calloc((size_t)checkpoint.stack_count, sizeof *stacks);
    for (int64_t i = 0; i < checkpoint.tensor_count; ++i) {
        moeq_tensor_info tensor = {.struct_size = sizeof tensor};
        moeq_builder_state state = {.struct_size = sizeof state};
        check(moeq_reader_get_tensor(reader, i, &tensor, &error), &error);
        if (tensor.stack < 0)
            continue; /* attention, norms, router: to be loaded as ever */
        moeq_builder** builder = &builders[tensor.stack];
        if (*builder == NULL)
            *builder = builder_of(context, reader, tensor.stack);
        stream_tensor(reader, i, &tensor, *builder);
        check(moeq_builder_get_state(*builder, &state, &error), &error);
        if (state.missing_elements == 0)
            check(moeq_builder_finish(*builder, NULL, &stacks[tensor.stack], &error), &error);
    }
    /* [end] */

    for (int64_t i = 0; i < checkpoint.stack_count; ++i) {
        moeq_stack_info stack = {.struct_size = sizeof stack};
        moeq_qtensor_info info = {.struct_size = sizeof info};
        moeq_qtensor* loaded = load_stack(reader, i);
        check(moeq_reader_get_stack(reader, i, &stack, &error), &error);
        check(moeq_qtensor_get_info(loaded, &info, &error), &error);
        printf("%s: %d bytes become %d, %s codes both ways, %.4f\n", stack.name, (int)stack.bytes, (int)info.bytes,
               same_codes(loaded, stacks[i]) ? "the same" : "OTHER", (double)first_weight_of_last_expert(loaded));
        moeq_qtensor_release(loaded);
        moeq_qtensor_release(stacks[i]);
    }
    free(builders);
    free(stacks);
    moeq_reader_destroy(reader);
    moeq_context_destroy(context);
    return 0;
}
