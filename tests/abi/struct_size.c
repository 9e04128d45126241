/* struct_size, from outside: every sized struct in its first size, smaller, larger with a zero tail, larger with a tail.
 * The struct always ends where a page without access begins, so a read or write past the stated size ends the program. */
#include "check.h"
#include "tensor.h"

#include <moeq.h>

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { kExperts = 2, kRows = 4, kColumns = 64, kCount = kExperts * kRows * kColumns };

static float numbers[kCount];
static float result[kCount];
static int64_t shape[3] = {kExperts, kRows, kColumns};
static struct DLManagedTensorVersioned source, destination;
static moeq_context* context;
static moeq_qtensor* qtensor;
static moeq_builder* builder;
static moeq_spec nf4;
static unsigned char* fence; /* the first byte that may not be touched */
static long page;

static void make_fence(void)
{
    page = sysconf(_SC_PAGESIZE);
    unsigned char* memory = mmap(NULL, (size_t)page * 3, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + 2 * page, (size_t)page, PROT_NONE) != 0) {
        perror("mmap");
        exit(2);
    }
    fence = memory + 2 * page;
}

/* `size` bytes that end at the fence, in a memory full of 0xEE. */
static unsigned char* place(uint32_t size)
{
    memset(fence - 2 * page, 0xEE, (size_t)page * 2);
    return fence - size;
}

/* ---- structs that go in ---- */

typedef struct {
    const char* name;
    uint32_t size;
    int32_t argument; /* its place in the call below */
    moeq_status (*call)(void* input, moeq_error* err);
    int32_t first_field; /* value of the int32 behind struct_size that makes the call succeed */
} Input;

static moeq_status call_context(void* input, moeq_error* err)
{
    moeq_context* made = (moeq_context*)(void*)&made;
    moeq_status status = moeq_context_create(input, &made, err);
    CHECK((made != NULL) == (status == MOEQ_OK));
    moeq_context_destroy(made);
    return status;
}

static moeq_status call_spec(void* input, moeq_error* err)
{
    moeq_qtensor* made = (moeq_qtensor*)(void*)&made;
    moeq_status status = moeq_qtensor_quantize(context, &source, input, NULL, NULL, &made, err);
    CHECK((made != NULL) == (status == MOEQ_OK));
    moeq_qtensor_release(made);
    return status;
}

static moeq_status call_quantize(void* input, moeq_error* err)
{
    moeq_qtensor* made = (moeq_qtensor*)(void*)&made;
    moeq_status status = moeq_qtensor_quantize(context, &source, &nf4, input, NULL, &made, err);
    CHECK((made != NULL) == (status == MOEQ_OK));
    moeq_qtensor_release(made);
    return status;
}

static moeq_status call_builder(void* input, moeq_error* err)
{
    moeq_builder* made = (moeq_builder*)(void*)&made;
    moeq_status status = moeq_builder_create(context, &nf4, 3, shape, input, NULL, &made, err);
    CHECK((made != NULL) == (status == MOEQ_OK));
    moeq_builder_destroy(made);
    return status;
}

static moeq_status call_region(void* input, moeq_error* err)
{
    return moeq_qtensor_dequantize(qtensor, input, NULL, &destination, err);
}

static moeq_status call_reduce(void* input, moeq_error* err)
{
    float amax = 0;
    struct DLManagedTensorVersioned scalar = view_of(&amax, MOEQ_DTYPE_FP32, 0, NULL);
    return moeq_reduce(context, &source, input, NULL, &scalar, err);
}

static moeq_status call_reduce_shape(void* input, moeq_error* err)
{
    int32_t out_ndim = 0;
    int64_t out_shape[8];
    return moeq_reduce_shape(3, shape, input, &out_ndim, out_shape, err);
}

static const Input inputs[] = {
    {"moeq_context_options", sizeof(moeq_context_options), 1, call_context, 0},
    {"moeq_spec", sizeof(moeq_spec), 3, call_spec, MOEQ_FORMAT_INT8},
    {"moeq_quantize_options", sizeof(moeq_quantize_options), 4, call_quantize, 0},
    {"moeq_quantize_options", sizeof(moeq_quantize_options), 5, call_builder, 0},
    {"moeq_region", sizeof(moeq_region), 2, call_region, 0},
    {"moeq_reduce_options", sizeof(moeq_reduce_options), 3, call_reduce, MOEQ_REDUCE_AMAX},
    {"moeq_reduce_options", sizeof(moeq_reduce_options), 3, call_reduce_shape, MOEQ_REDUCE_AMAX},
};

/* The struct in `size` bytes before the fence: zeros, struct_size = stated, the one field that is needed. */
static unsigned char* make_input(const Input* input, uint32_t size, uint32_t stated)
{
    unsigned char* at = place(size);
    memset(at, 0, size);
    memcpy(at, &stated, sizeof stated);
    if (size >= 8)
        memcpy(at + 4, &input->first_field, sizeof input->first_field);
    return at;
}

static void expect_refused(const Input* input, void* at, uint32_t stated)
{
    moeq_error err;
    moeq_status status = input->call(at, &err);
    CHECK_EQUAL(status, MOEQ_ERROR_VERSION);
    if (status != MOEQ_ERROR_VERSION) {
        fprintf(stderr, "    struct_size %u\n", stated);
        return;
    }
    CHECK_EQUAL(err.status, MOEQ_ERROR_VERSION);
    CHECK_EQUAL(err.argument, input->argument);
    CHECK_EQUAL(input->call(at, NULL), MOEQ_ERROR_VERSION);
}

static void test_input(const Input* input)
{
    moeq_error err;
    check_context = input->name;
    CHECK_EQUAL(moeq_struct_size(input->name), input->size);
    CHECK_EQUAL(input->call(make_input(input, input->size, input->size), &err), MOEQ_OK);

    /* Smaller than the first release knew: 0 is a forgotten struct_size. Only the stated bytes are readable. */
    for (uint32_t stated = 0; stated < input->size; stated++) {
        uint32_t readable = stated < 8 ? 8 : (stated + 7) / 8 * 8;
        expect_refused(input, make_input(input, readable, stated), stated);
    }

    /* A struct that nobody initialised: the library must not go looking for its tail. */
    const uint32_t garbage[] = {0x5A5A5A5A, 0xEEEEEEEE, 0xFFFFFFFF, 1 << 20};
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++)
        expect_refused(input, make_input(input, (input->size + 7) / 8 * 8, garbage[i]), garbage[i]);

    const uint32_t tails[] = {1, 4, 8, 64, 1000};
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        uint32_t size = input->size + tails[i];
        uint32_t room = (size + 7) / 8 * 8;
        unsigned char* at = make_input(input, room, size);
        memset(at + size, 0xEE, room - size); /* behind the stated size: none of the library's business */
        CHECK_EQUAL(input->call(at, &err), MOEQ_OK);
        at[input->size] = 1;
        expect_refused(input, at, size);
        at[input->size] = 0;
        at[size - 1] = 0x80;
        expect_refused(input, at, size);
    }
}

/* ---- structs that come out ---- */

typedef struct {
    const char* name;
    uint32_t size;
    moeq_status (*call)(void* output, moeq_error* err);
} Output;

static moeq_status get_memory(void* output, moeq_error* err) { return moeq_context_get_memory(context, output, err); }
static moeq_status get_info(void* output, moeq_error* err) { return moeq_qtensor_get_info(qtensor, output, err); }
static moeq_status get_spec(void* output, moeq_error* err) { return moeq_qtensor_get_spec(qtensor, output, err); }
static moeq_status resolve(void* output, moeq_error* err) { return moeq_spec_resolve(&nf4, 3, shape, output, err); }
static moeq_status parse(void* output, moeq_error* err) { return moeq_spec_parse("nf4", output, err); }
static moeq_status get_state(void* output, moeq_error* err) { return moeq_builder_get_state(builder, output, err); }
static moeq_status get_component(void* output, moeq_error* err)
{
    return moeq_spec_get_component(&nf4, 3, shape, MOEQ_COMPONENT_CODES, output, err);
}

static const Output outputs[] = {
    {"moeq_memory", sizeof(moeq_memory), get_memory},
    {"moeq_qtensor_info", sizeof(moeq_qtensor_info), get_info},
    {"moeq_spec", sizeof(moeq_spec), get_spec},
    {"moeq_spec", sizeof(moeq_spec), resolve},
    {"moeq_spec", sizeof(moeq_spec), parse},
    {"moeq_builder_state", sizeof(moeq_builder_state), get_state},
    {"moeq_component_info", sizeof(moeq_component_info), get_component},
};

/* `size` bytes of `filler` before the fence, with struct_size = stated. */
static unsigned char* make_output(uint32_t size, uint32_t stated, int filler)
{
    unsigned char* at = place(size);
    memset(at, filler, size);
    memcpy(at, &stated, sizeof stated);
    return at;
}

static int all_are(const unsigned char* bytes, uint32_t count, int value)
{
    for (uint32_t i = 0; i < count; i++)
        if (bytes[i] != value)
            return 0;
    return 1;
}

static uint32_t stated_size(const unsigned char* at)
{
    uint32_t size;
    memcpy(&size, at, sizeof size);
    return size;
}

static void test_output(const Output* output)
{
    moeq_error err;
    unsigned char wanted[512];
    check_context = output->name;
    CHECK_EQUAL(moeq_struct_size(output->name), output->size);

    unsigned char* at = make_output(output->size, output->size, 0);
    CHECK_EQUAL(output->call(at, &err), MOEQ_OK);
    CHECK_EQUAL(stated_size(at), output->size);
    memcpy(wanted, at, output->size);

    /* What was in it before does not matter: every byte is written. */
    at = make_output(output->size, output->size, 0xA5);
    CHECK_EQUAL(output->call(at, &err), MOEQ_OK);
    CHECK(memcmp(at, wanted, output->size) == 0);
    CHECK(all_are(at - 64, 64, 0xEE));

    const uint32_t garbage[] = {0x5A5A5A5A, 0xEEEEEEEE, 0xFFFFFFFF, 1 << 20};
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        at = make_output((output->size + 7) / 8 * 8, garbage[i], 0xA5);
        CHECK_EQUAL(output->call(at, &err), MOEQ_ERROR_VERSION);
    }

    for (uint32_t stated = 0; stated < output->size; stated++) {
        uint32_t room = stated < 8 ? 8 : (stated + 7) / 8 * 8;
        at = make_output(room, stated, 0xA5);
        CHECK_EQUAL(output->call(at, &err), MOEQ_ERROR_VERSION);
        CHECK_EQUAL(stated_size(at), stated);
        CHECK(all_are(at + 4, room - 4, 0xA5));
    }

    const uint32_t tails[] = {1, 4, 8, 64, 1000};
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        uint32_t size = output->size + tails[i];
        uint32_t room = (size + 7) / 8 * 8;
        at = make_output(room, size, 0);
        memset(at + size, 0xA5, room - size);
        CHECK_EQUAL(output->call(at, &err), MOEQ_OK);
        CHECK_EQUAL(stated_size(at), size);
        CHECK(memcmp(at + 4, wanted + 4, output->size - 4) == 0);
        CHECK(all_are(at + output->size, size - output->size, 0)); /* fields that this library does not know */
        CHECK(all_are(at + size, room - size, 0xA5));
    }
}

int main(void)
{
    moeq_error err;
    make_fence();
    fill_numbers(numbers, kCount);
    source = view_of(numbers, MOEQ_DTYPE_FP32, 3, shape);
    destination = view_of(result, MOEQ_DTYPE_FP32, 3, shape);
    nf4.struct_size = sizeof nf4;
    nf4.format = MOEQ_FORMAT_NF4;
    check_context = "setup";
    CHECK_EQUAL(moeq_context_create(NULL, &context, &err), MOEQ_OK);
    CHECK_EQUAL(moeq_qtensor_quantize(context, &source, &nf4, NULL, NULL, &qtensor, &err), MOEQ_OK);
    CHECK_EQUAL(moeq_builder_create(context, &nf4, 3, shape, NULL, NULL, &builder, &err), MOEQ_OK);
    if (check_failures == 0) {
        for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
            test_input(&inputs[i]);
        for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++)
            test_output(&outputs[i]);
    }
    moeq_builder_destroy(builder);
    moeq_qtensor_release(qtensor);
    moeq_context_destroy(context);
    return check_report("struct_size");
}
