/* A program of the first release: it knows only that release's header and has to go on working with every later library.
 * It does what a loader does: context, whole weight and pieces, info, dequantize, reduce, and one wrong call. */
#include "old/moeq-0.1.h"

#include "check.h"
#include "tensor.h"

#include <math.h>
#include <stdlib.h>

enum { kExperts = 3, kRows = 5, kColumns = 128, kCount = kExperts * kRows * kColumns };

static float numbers[kCount];
static float result[kCount];
static float again[kCount];
static int64_t shape[3] = {kExperts, kRows, kColumns};
static struct DLManagedTensorVersioned source, destination;
static int64_t live_blocks;
static int destroyed;

static void* take(uint64_t bytes, uint64_t alignment, void* user)
{
    void* memory = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    live_blocks += memory != NULL;
    CHECK(user == &live_blocks);
    return memory;
}

static void give(void* memory, uint64_t bytes, void* user)
{
    (void)bytes;
    (void)user;
    live_blocks -= memory != NULL;
    free(memory);
}

static int32_t run_serially(moeq_task_fn run, void* task, int64_t count, void* user)
{
    (void)user;
    for (int64_t i = 0; i < count; i++)
        run(i, task);
    return MOEQ_CONTINUE;
}

static void count_destroy(void* user)
{
    CHECK(user == &live_blocks);
    destroyed++;
}

static moeq_context* make_context(void)
{
    moeq_context* context = NULL;
    moeq_context_options options = {sizeof options, 1, MOEQ_CPU_TIER_BEST, 0, take, give, run_serially, &live_blocks,
                                    count_destroy};
    CHECK_EQUAL(moeq_context_create(&options, &context, NULL), MOEQ_OK);
    return context;
}

static float amax_of(const float* values, int64_t count)
{
    float amax = 0;
    for (int64_t i = 0; i < count; i++)
        amax = fmaxf(amax, fabsf(values[i]));
    return amax;
}

/* Bound of the format, as a share of the largest magnitude in each run of `run` elements that shares a scale. */
static void check_bound(const float* values, int64_t run, float share)
{
    for (int64_t i = 0; i < kCount; i += run) {
        float bound = share * amax_of(numbers + i, run);
        for (int64_t k = i; k < i + run; k++)
            CHECK(fabsf(values[k] - numbers[k]) <= bound);
    }
}

static moeq_qtensor* build_in_pieces(const moeq_context* context, const moeq_spec* spec)
{
    moeq_builder* builder = NULL;
    moeq_qtensor* qtensor = NULL;
    moeq_builder_state state = {.struct_size = sizeof state};
    moeq_block missing[2];
    int64_t gaps = 0, piece_shape[2] = {1, kColumns};
    moeq_error err;
    CHECK_EQUAL(moeq_builder_create(context, spec, 3, shape, NULL, NULL, &builder, NULL), MOEQ_OK);
    for (int64_t i = kExperts * kRows; i-- > 1;) {
        struct DLManagedTensorVersioned piece = view_of(numbers + i * kColumns, MOEQ_DTYPE_FP32, 2, piece_shape);
        CHECK_EQUAL(moeq_builder_write(builder, i / kRows, i % kRows, 0, &piece, NULL, NULL), MOEQ_OK);
    }
    CHECK_EQUAL(moeq_builder_get_state(builder, &state, NULL), MOEQ_OK);
    CHECK_EQUAL(state.missing_elements, kColumns);
    CHECK_EQUAL(moeq_builder_get_missing(builder, missing, 2, &gaps, NULL), MOEQ_OK);
    CHECK_EQUAL(gaps, 1);
    CHECK_EQUAL(missing[0].expert_begin, 0);
    CHECK_EQUAL(missing[0].row_end, 1);
    CHECK_EQUAL(missing[0].column_end, kColumns);
    CHECK_EQUAL(moeq_builder_finish(builder, NULL, &qtensor, &err), MOEQ_ERROR_INCOMPLETE);
    CHECK_EQUAL(err.status, MOEQ_ERROR_INCOMPLETE);
    CHECK(qtensor == NULL);
    struct DLManagedTensorVersioned last = view_of(numbers, MOEQ_DTYPE_FP32, 2, piece_shape);
    CHECK_EQUAL(moeq_builder_write(builder, 0, 0, 0, &last, NULL, NULL), MOEQ_OK);
    CHECK_EQUAL(moeq_builder_finish(builder, NULL, &qtensor, NULL), MOEQ_OK);
    return qtensor;
}

static void test_weight(const moeq_context* context, int32_t format, int64_t run, float share)
{
    moeq_spec spec = {.struct_size = sizeof spec, .format = format};
    moeq_spec resolved = {.struct_size = sizeof resolved};
    moeq_qtensor_info info = {.struct_size = sizeof info};
    moeq_qtensor* whole = NULL;
    CHECK_EQUAL(moeq_qtensor_quantize(context, &source, &spec, NULL, NULL, &whole, NULL), MOEQ_OK);
    CHECK_EQUAL(moeq_qtensor_get_info(whole, &info, NULL), MOEQ_OK);
    CHECK_EQUAL(info.folded[0], kExperts);
    CHECK_EQUAL(info.folded[2], kColumns);
    CHECK_EQUAL(info.generation, 1);
    CHECK(info.bytes > 0 && info.bytes < kCount * 2);
    CHECK_EQUAL(moeq_qtensor_get_spec(whole, &resolved, NULL), MOEQ_OK);
    CHECK_EQUAL(resolved.format, format);
    CHECK(resolved.granularity != MOEQ_GRANULARITY_DEFAULT);
    CHECK_EQUAL(moeq_qtensor_dequantize(whole, NULL, NULL, &destination, NULL), MOEQ_OK);
    check_bound(result, run, share);

    moeq_qtensor* pieced = build_in_pieces(context, &spec);
    struct DLManagedTensorVersioned other = view_of(again, MOEQ_DTYPE_FP32, 3, shape);
    CHECK_EQUAL(moeq_qtensor_dequantize(pieced, NULL, NULL, &other, NULL), MOEQ_OK);
    CHECK(memcmp(result, again, sizeof result) == 0);

    int64_t experts[2] = {2, 0}, part_shape[3] = {2, 3, kColumns};
    moeq_region region = {
        .struct_size = sizeof region, .experts = experts, .expert_count = 2, .row_begin = 1, .row_end = 4};
    struct DLManagedTensorVersioned part = view_of(again, MOEQ_DTYPE_FP32, 3, part_shape);
    CHECK_EQUAL(moeq_qtensor_dequantize(whole, &region, NULL, &part, NULL), MOEQ_OK);
    CHECK(memcmp(again, result + (2 * kRows + 1) * kColumns, 3 * kColumns * sizeof(float)) == 0);
    CHECK(memcmp(again + 3 * kColumns, result + kColumns, 3 * kColumns * sizeof(float)) == 0);

    struct DLManagedTensorVersioned* codes = NULL;
    CHECK_EQUAL(moeq_qtensor_export(whole, MOEQ_COMPONENT_CODES, &codes, NULL), MOEQ_OK);
    moeq_qtensor_release(whole);
    moeq_qtensor_release(pieced);
    if (codes != NULL) {
        CHECK(codes->tensor.data != NULL);
        codes->deleter(codes);
    }
}

static void test_reduce(const moeq_context* context)
{
    const int32_t axes[2] = {1, -1};
    float amax[kExperts];
    int64_t amax_shape[1] = {kExperts};
    struct DLManagedTensorVersioned out = view_of(amax, MOEQ_DTYPE_FP32, 1, amax_shape);
    moeq_reduce_options options = {
        .struct_size = sizeof options, .operation = MOEQ_REDUCE_AMAX, .axis_count = 2, .axes = axes};
    CHECK_EQUAL(moeq_reduce(context, &source, &options, NULL, &out, NULL), MOEQ_OK);
    for (int64_t e = 0; e < kExperts; e++)
        CHECK(amax[e] == amax_of(numbers + e * kRows * kColumns, kRows * kColumns));
}

static void test_wrong_call(const moeq_context* context)
{
    moeq_spec spec = {.struct_size = sizeof spec, .format = 999};
    moeq_qtensor* qtensor = (moeq_qtensor*)(void*)&spec;
    moeq_error err;
    CHECK_EQUAL(moeq_qtensor_quantize(context, &source, &spec, NULL, NULL, &qtensor, &err), MOEQ_ERROR_ARGUMENT);
    CHECK(qtensor == NULL);
    CHECK_EQUAL(err.argument, 3);
    CHECK(strstr(err.message, "moeq_qtensor_quantize") != NULL);
    CHECK(strcmp(moeq_status_name(err.status), "MOEQ_ERROR_ARGUMENT") == 0);
}

int main(void)
{
    check_context = "old consumer";
    CHECK_EQUAL(moeq_abi_version(), MOEQ_ABI_VERSION);
    CHECK(moeq_version() >= 10000 * MOEQ_VERSION_MAJOR + 100 * MOEQ_VERSION_MINOR + MOEQ_VERSION_PATCH);
    fill_numbers(numbers, kCount);
    source = view_of(numbers, MOEQ_DTYPE_FP32, 3, shape);
    destination = view_of(result, MOEQ_DTYPE_FP32, 3, shape);
    moeq_context* context = make_context();
    if (check_failures == 0) {
        /* Largest error as a share of the amax: half a step of 127; half the widest gap between codes; 1/2^4 of the value
         * at the top of E4M3, and a little for the roundings on the way. */
        check_context = "int8";
        test_weight(context, MOEQ_FORMAT_INT8, kColumns, 0.5f / 127 * 1.0001f);
        check_context = "nf4";
        test_weight(context, MOEQ_FORMAT_NF4, 64, 0.15191f);
        check_context = "fp8_e4m3";
        test_weight(context, MOEQ_FORMAT_FP8_E4M3, kColumns, 1.0f / 17 * 1.0001f);
        check_context = "reduce";
        test_reduce(context);
        check_context = "wrong call";
        test_wrong_call(context);
    }
    check_context = "end";
    CHECK_EQUAL(destroyed, 0);
    moeq_context_destroy(context);
    CHECK_EQUAL(destroyed, 1);
    CHECK_EQUAL(live_blocks, 0);
    return check_report("old_consumer");
}
