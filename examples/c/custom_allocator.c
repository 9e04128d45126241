/* The host decides where memory comes from and where work runs. Here: an allocator with a budget, and an executor that is a
 * plain loop. Running out of memory is a status like any other, and leaves everything as it was. */
#include "common.h"

enum { kExperts = 2, kRows = 64, kColumns = 256, kElements = kExperts * kRows * kColumns };

static float weight[kElements];

/* [quote: hooks] */
typedef struct {
    uint64_t live, budget;
    int64_t tasks;
    int destroyed;
} Host;

static void* host_alloc(uint64_t bytes, uint64_t alignment, void* user)
{
    Host* host = user;
    if (bytes > host->budget - host->live)
        return NULL;
    host->live += bytes;
    return aligned_alloc((size_t)alignment, (size_t)((bytes + alignment - 1) / alignment * alignment));
}

static void host_free(void* memory, uint64_t bytes, void* user)
{
    Host* host = user;
    host->live -= bytes;
    free(memory);
}

static int32_t parallel_for(moeq_task_fn run, void* task, int64_t count, void* user)
{
    Host* host = user;
    host->tasks += count;
    for (int64_t i = 0; i < count; ++i) /* a host with a thread pool spreads these over it */
        run(i, task);
    return MOEQ_CONTINUE;
}

static void last_use(void* user)
{
    Host* host = user;
    ++host->destroyed;
}
/* [end] */

int main(void)
{
    moeq_error error;
    moeq_context* context;
    moeq_qtensor* qtensor;
    int64_t shape[3] = {kExperts, kRows, kColumns};
    moeq_spec spec = {.struct_size = sizeof spec, .format = MOEQ_FORMAT_FP8_E4M3};
    DLManagedTensorVersioned source = view_of(weight, MOEQ_DTYPE_FP32, 3, shape);
    fill(weight, kElements);

    /* [quote: context] */
    Host host = {.budget = 16 << 10};
    moeq_context_options options = {
        .struct_size = sizeof options,
        .host_alloc = host_alloc,
        .host_free = host_free,
        .parallel_for = parallel_for,
        .user = &host,
        .user_destroy = last_use,
    };
    check(moeq_context_create(&options, &context, &error), &error);
    const uint64_t before = host.live;
    if (moeq_qtensor_quantize(context, &source, &spec, NULL, NULL, &qtensor, &error) == MOEQ_ERROR_MEMORY)
        printf("refused: nothing was kept, %d bytes more than before\n", (int)(host.live - before));
    host.budget = 1 << 20;
    check(moeq_qtensor_quantize(context, &source, &spec, NULL, NULL, &qtensor, &error), &error);
    /* [end] */

    moeq_memory memory = {.struct_size = sizeof memory};
    check(moeq_context_get_memory(context, &memory, &error), &error);
    printf("the context's own count agrees: %s\n", (uint64_t)memory.host_live == host.live ? "yes" : "no");
    moeq_context_destroy(context); /* lives on in the handle */
    printf("hooks given back while a handle lives: %d\n", host.destroyed);
    moeq_qtensor_release(qtensor);
    printf("hooks given back after the last one: %d, with %d bytes in use\n", host.destroyed, (int)host.live);
    return host.destroyed == 1 && host.live == 0 && host.tasks > 0 ? 0 : 1;
}
