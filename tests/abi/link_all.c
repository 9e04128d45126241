/* Links every function of moeq.h. Generated: python3 tools/gen_link_all.py --update
 * A call with NULL and 0 for everything has to be refused with a message that names it, and destroy(NULL) to do nothing. */
/* clang-format off */
#include "check.h"

#include <moeq.h>

#include <errno.h>
#include <string.h>

typedef void (*any_function)(void);

static const struct {
    const char *name;
    any_function address;
} functions[] = {
    {"moeq_context_create", (any_function)moeq_context_create},
    {"moeq_context_destroy", (any_function)moeq_context_destroy},
    {"moeq_qtensor_quantize", (any_function)moeq_qtensor_quantize},
    {"moeq_qtensor_dequantize", (any_function)moeq_qtensor_dequantize},
    {"moeq_qtensor_retain", (any_function)moeq_qtensor_retain},
    {"moeq_qtensor_release", (any_function)moeq_qtensor_release},
    {"moeq_status_name", (any_function)moeq_status_name},
    {"moeq_abi_version", (any_function)moeq_abi_version},
    {"moeq_version", (any_function)moeq_version},
    {"moeq_version_string", (any_function)moeq_version_string},
    {"moeq_struct_size", (any_function)moeq_struct_size},
    {"moeq_blob_data", (any_function)moeq_blob_data},
    {"moeq_blob_size", (any_function)moeq_blob_size},
    {"moeq_blob_destroy", (any_function)moeq_blob_destroy},
    {"moeq_context_get_memory", (any_function)moeq_context_get_memory},
    {"moeq_context_describe", (any_function)moeq_context_describe},
    {"moeq_tensor_create", (any_function)moeq_tensor_create},
    {"moeq_tensor_from_legacy", (any_function)moeq_tensor_from_legacy},
    {"moeq_spec_resolve", (any_function)moeq_spec_resolve},
    {"moeq_spec_get_component", (any_function)moeq_spec_get_component},
    {"moeq_spec_get_bytes", (any_function)moeq_spec_get_bytes},
    {"moeq_spec_parse", (any_function)moeq_spec_parse},
    {"moeq_spec_print", (any_function)moeq_spec_print},
    {"moeq_qtensor_adopt", (any_function)moeq_qtensor_adopt},
    {"moeq_qtensor_get_info", (any_function)moeq_qtensor_get_info},
    {"moeq_qtensor_get_spec", (any_function)moeq_qtensor_get_spec},
    {"moeq_qtensor_export", (any_function)moeq_qtensor_export},
    {"moeq_qtensor_requantize", (any_function)moeq_qtensor_requantize},
    {"moeq_quantize_into", (any_function)moeq_quantize_into},
    {"moeq_qtensor_slice", (any_function)moeq_qtensor_slice},
    {"moeq_qtensor_copy", (any_function)moeq_qtensor_copy},
    {"moeq_qtensor_compare", (any_function)moeq_qtensor_compare},
    {"moeq_builder_create", (any_function)moeq_builder_create},
    {"moeq_builder_write", (any_function)moeq_builder_write},
    {"moeq_builder_get_state", (any_function)moeq_builder_get_state},
    {"moeq_builder_get_missing", (any_function)moeq_builder_get_missing},
    {"moeq_builder_finish", (any_function)moeq_builder_finish},
    {"moeq_builder_destroy", (any_function)moeq_builder_destroy},
    {"moeq_reduce", (any_function)moeq_reduce},
    {"moeq_reduce_many", (any_function)moeq_reduce_many},
    {"moeq_reduce_shape", (any_function)moeq_reduce_shape},
    {"moeq_reduce_axes", (any_function)moeq_reduce_axes},
    {"moeq_scale_from_amax", (any_function)moeq_scale_from_amax},
    {"moeq_reader_open", (any_function)moeq_reader_open},
    {"moeq_reader_destroy", (any_function)moeq_reader_destroy},
    {"moeq_reader_get_info", (any_function)moeq_reader_get_info},
    {"moeq_reader_get_tensor", (any_function)moeq_reader_get_tensor},
    {"moeq_reader_get_stack", (any_function)moeq_reader_get_stack},
    {"moeq_reader_get_stack_spec", (any_function)moeq_reader_get_stack_spec},
    {"moeq_reader_find", (any_function)moeq_reader_find},
    {"moeq_reader_read", (any_function)moeq_reader_read},
    {"moeq_reader_load", (any_function)moeq_reader_load},
    {"moeq_reader_metadata", (any_function)moeq_reader_metadata},
    {"moeq_reader_verify", (any_function)moeq_reader_verify},
    {"moeq_writer_create", (any_function)moeq_writer_create},
    {"moeq_writer_declare", (any_function)moeq_writer_declare},
    {"moeq_writer_put", (any_function)moeq_writer_put},
    {"moeq_writer_put_qtensor", (any_function)moeq_writer_put_qtensor},
    {"moeq_writer_commit", (any_function)moeq_writer_commit},
    {"moeq_writer_destroy", (any_function)moeq_writer_destroy},
    {"moeq_convert_plan", (any_function)moeq_convert_plan},
    {"moeq_convert", (any_function)moeq_convert},
};

static moeq_error err;

/* err as a caller without scruples leaves it, and an errno that has to stay. */
static moeq_error *fresh(void)
{
    memset(&err, 0x5a, sizeof err);
    errno = 4711;
    return &err;
}

static void refused(const char *name, moeq_status with, moeq_status without)
{
    check_context = name;
    CHECK_EQUAL(with, MOEQ_ERROR_ARGUMENT);
    CHECK_EQUAL(without, with);
    CHECK_EQUAL(errno, 4711);
    CHECK_EQUAL(err.status, with);
    CHECK_EQUAL(err.os_error, 0);
    CHECK(err.argument >= 1);
    CHECK_EQUAL(err.reserved, 0);
    CHECK(memchr(err.class_id, 0, sizeof err.class_id) != NULL);
    CHECK_EQUAL(err.expert, -1);
    CHECK_EQUAL(err.row, -1);
    CHECK_EQUAL(err.column, -1);
    CHECK(memchr(err.message, 0, sizeof err.message) != NULL);
    if (strncmp(err.message, name, strlen(name)) != 0)
        check_failed(__FILE__, __LINE__, "the message does not begin with the function: \"%.400s\"", err.message);
}

int main(void)
{
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        check_context = functions[i].name;
        CHECK(functions[i].address != NULL);
    }
    refused("moeq_context_create", moeq_context_create(NULL, NULL, fresh()), moeq_context_create(NULL, NULL, NULL));
    moeq_context_destroy(NULL);
    refused("moeq_qtensor_quantize", moeq_qtensor_quantize(NULL, NULL, NULL, NULL, NULL, NULL, fresh()), moeq_qtensor_quantize(NULL, NULL, NULL, NULL, NULL, NULL, NULL));
    refused("moeq_qtensor_dequantize", moeq_qtensor_dequantize(NULL, NULL, NULL, NULL, fresh()), moeq_qtensor_dequantize(NULL, NULL, NULL, NULL, NULL));
    moeq_qtensor_release(NULL);
    moeq_blob_destroy(NULL);
    refused("moeq_context_get_memory", moeq_context_get_memory(NULL, NULL, fresh()), moeq_context_get_memory(NULL, NULL, NULL));
    refused("moeq_context_describe", moeq_context_describe(NULL, NULL, fresh()), moeq_context_describe(NULL, NULL, NULL));
    refused("moeq_tensor_create", moeq_tensor_create(NULL, 0, 0, NULL, 0, 0, NULL, NULL, fresh()), moeq_tensor_create(NULL, 0, 0, NULL, 0, 0, NULL, NULL, NULL));
    refused("moeq_tensor_from_legacy", moeq_tensor_from_legacy(NULL, NULL, NULL, fresh()), moeq_tensor_from_legacy(NULL, NULL, NULL, NULL));
    refused("moeq_spec_resolve", moeq_spec_resolve(NULL, 0, NULL, NULL, fresh()), moeq_spec_resolve(NULL, 0, NULL, NULL, NULL));
    refused("moeq_spec_get_component", moeq_spec_get_component(NULL, 0, NULL, 0, NULL, fresh()), moeq_spec_get_component(NULL, 0, NULL, 0, NULL, NULL));
    refused("moeq_spec_get_bytes", moeq_spec_get_bytes(NULL, 0, NULL, NULL, NULL, fresh()), moeq_spec_get_bytes(NULL, 0, NULL, NULL, NULL, NULL));
    refused("moeq_spec_parse", moeq_spec_parse(NULL, NULL, fresh()), moeq_spec_parse(NULL, NULL, NULL));
    refused("moeq_spec_print", moeq_spec_print(NULL, NULL, fresh()), moeq_spec_print(NULL, NULL, NULL));
    refused("moeq_qtensor_adopt", moeq_qtensor_adopt(NULL, NULL, 0, NULL, NULL, 0, NULL, NULL, fresh()), moeq_qtensor_adopt(NULL, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL));
    refused("moeq_qtensor_get_info", moeq_qtensor_get_info(NULL, NULL, fresh()), moeq_qtensor_get_info(NULL, NULL, NULL));
    refused("moeq_qtensor_get_spec", moeq_qtensor_get_spec(NULL, NULL, fresh()), moeq_qtensor_get_spec(NULL, NULL, NULL));
    refused("moeq_qtensor_export", moeq_qtensor_export(NULL, 0, NULL, fresh()), moeq_qtensor_export(NULL, 0, NULL, NULL));
    refused("moeq_qtensor_requantize", moeq_qtensor_requantize(NULL, NULL, NULL, NULL, fresh()), moeq_qtensor_requantize(NULL, NULL, NULL, NULL, NULL));
    refused("moeq_quantize_into", moeq_quantize_into(NULL, NULL, NULL, NULL, NULL, NULL, 0, fresh()), moeq_quantize_into(NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL));
    refused("moeq_qtensor_slice", moeq_qtensor_slice(NULL, 0, 0, 0, NULL, fresh()), moeq_qtensor_slice(NULL, 0, 0, 0, NULL, NULL));
    refused("moeq_qtensor_copy", moeq_qtensor_copy(NULL, 0, 0, NULL, NULL, fresh()), moeq_qtensor_copy(NULL, 0, 0, NULL, NULL, NULL));
    refused("moeq_qtensor_compare", moeq_qtensor_compare(NULL, NULL, NULL, NULL, fresh()), moeq_qtensor_compare(NULL, NULL, NULL, NULL, NULL));
    refused("moeq_builder_create", moeq_builder_create(NULL, NULL, 0, NULL, NULL, NULL, NULL, fresh()), moeq_builder_create(NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL));
    refused("moeq_builder_write", moeq_builder_write(NULL, 0, 0, 0, NULL, NULL, fresh()), moeq_builder_write(NULL, 0, 0, 0, NULL, NULL, NULL));
    refused("moeq_builder_get_state", moeq_builder_get_state(NULL, NULL, fresh()), moeq_builder_get_state(NULL, NULL, NULL));
    refused("moeq_builder_get_missing", moeq_builder_get_missing(NULL, NULL, 0, NULL, fresh()), moeq_builder_get_missing(NULL, NULL, 0, NULL, NULL));
    refused("moeq_builder_finish", moeq_builder_finish(NULL, NULL, NULL, fresh()), moeq_builder_finish(NULL, NULL, NULL, NULL));
    moeq_builder_destroy(NULL);
    refused("moeq_reduce", moeq_reduce(NULL, NULL, NULL, NULL, NULL, fresh()), moeq_reduce(NULL, NULL, NULL, NULL, NULL, NULL));
    refused("moeq_reduce_many", moeq_reduce_many(NULL, NULL, 0, NULL, NULL, NULL, fresh()), moeq_reduce_many(NULL, NULL, 0, NULL, NULL, NULL, NULL));
    refused("moeq_reduce_shape", moeq_reduce_shape(0, NULL, NULL, NULL, NULL, fresh()), moeq_reduce_shape(0, NULL, NULL, NULL, NULL, NULL));
    refused("moeq_reduce_axes", moeq_reduce_axes(0, NULL, 0, NULL, NULL, fresh()), moeq_reduce_axes(0, NULL, 0, NULL, NULL, NULL));
    refused("moeq_scale_from_amax", moeq_scale_from_amax(NULL, NULL, NULL, NULL, NULL, fresh()), moeq_scale_from_amax(NULL, NULL, NULL, NULL, NULL, NULL));
    refused("moeq_reader_open", moeq_reader_open(NULL, NULL, NULL, NULL, fresh()), moeq_reader_open(NULL, NULL, NULL, NULL, NULL));
    moeq_reader_destroy(NULL);
    refused("moeq_reader_get_info", moeq_reader_get_info(NULL, NULL, fresh()), moeq_reader_get_info(NULL, NULL, NULL));
    refused("moeq_reader_get_tensor", moeq_reader_get_tensor(NULL, 0, NULL, fresh()), moeq_reader_get_tensor(NULL, 0, NULL, NULL));
    refused("moeq_reader_get_stack", moeq_reader_get_stack(NULL, 0, NULL, fresh()), moeq_reader_get_stack(NULL, 0, NULL, NULL));
    refused("moeq_reader_get_stack_spec", moeq_reader_get_stack_spec(NULL, 0, NULL, fresh()), moeq_reader_get_stack_spec(NULL, 0, NULL, NULL));
    refused("moeq_reader_find", moeq_reader_find(NULL, NULL, NULL, NULL, fresh()), moeq_reader_find(NULL, NULL, NULL, NULL, NULL));
    refused("moeq_reader_read", moeq_reader_read(NULL, 0, 0, NULL, fresh()), moeq_reader_read(NULL, 0, 0, NULL, NULL));
    refused("moeq_reader_load", moeq_reader_load(NULL, 0, NULL, NULL, NULL, fresh()), moeq_reader_load(NULL, 0, NULL, NULL, NULL, NULL));
    refused("moeq_reader_metadata", moeq_reader_metadata(NULL, NULL, fresh()), moeq_reader_metadata(NULL, NULL, NULL));
    refused("moeq_reader_verify", moeq_reader_verify(NULL, 0, NULL, NULL, fresh()), moeq_reader_verify(NULL, 0, NULL, NULL, NULL));
    refused("moeq_writer_create", moeq_writer_create(NULL, NULL, NULL, NULL, fresh()), moeq_writer_create(NULL, NULL, NULL, NULL, NULL));
    refused("moeq_writer_declare", moeq_writer_declare(NULL, NULL, NULL, 0, 0, NULL, fresh()), moeq_writer_declare(NULL, NULL, NULL, 0, 0, NULL, NULL));
    refused("moeq_writer_put", moeq_writer_put(NULL, NULL, NULL, NULL, fresh()), moeq_writer_put(NULL, NULL, NULL, NULL, NULL));
    refused("moeq_writer_put_qtensor", moeq_writer_put_qtensor(NULL, NULL, NULL, NULL, fresh()), moeq_writer_put_qtensor(NULL, NULL, NULL, NULL, NULL));
    refused("moeq_writer_commit", moeq_writer_commit(NULL, fresh()), moeq_writer_commit(NULL, NULL));
    moeq_writer_destroy(NULL);
    refused("moeq_convert_plan", moeq_convert_plan(NULL, NULL, NULL, NULL, NULL, fresh()), moeq_convert_plan(NULL, NULL, NULL, NULL, NULL, NULL));
    refused("moeq_convert", moeq_convert(NULL, NULL, NULL, NULL, fresh()), moeq_convert(NULL, NULL, NULL, NULL, NULL));
    check_context = "moeq_struct_size";
    CHECK_EQUAL(moeq_struct_size("moeq_nothing"), 0);
    CHECK_EQUAL(moeq_struct_size(""), 0);
    CHECK_EQUAL(moeq_struct_size("moeq_error"), sizeof(moeq_error));
    CHECK_EQUAL(moeq_struct_size("moeq_context_options"), sizeof(moeq_context_options));
    CHECK_EQUAL(moeq_struct_size("moeq_spec"), sizeof(moeq_spec));
    CHECK_EQUAL(moeq_struct_size("moeq_component"), sizeof(moeq_component));
    CHECK_EQUAL(moeq_struct_size("moeq_quantize_options"), sizeof(moeq_quantize_options));
    CHECK_EQUAL(moeq_struct_size("moeq_region"), sizeof(moeq_region));
    CHECK_EQUAL(moeq_struct_size("moeq_memory"), sizeof(moeq_memory));
    CHECK_EQUAL(moeq_struct_size("moeq_component_info"), sizeof(moeq_component_info));
    CHECK_EQUAL(moeq_struct_size("moeq_qtensor_info"), sizeof(moeq_qtensor_info));
    CHECK_EQUAL(moeq_struct_size("moeq_block"), sizeof(moeq_block));
    CHECK_EQUAL(moeq_struct_size("moeq_builder_state"), sizeof(moeq_builder_state));
    CHECK_EQUAL(moeq_struct_size("moeq_reduce_options"), sizeof(moeq_reduce_options));
    CHECK_EQUAL(moeq_struct_size("moeq_progress"), sizeof(moeq_progress));
    CHECK_EQUAL(moeq_struct_size("moeq_reader_options"), sizeof(moeq_reader_options));
    CHECK_EQUAL(moeq_struct_size("moeq_reader_info"), sizeof(moeq_reader_info));
    CHECK_EQUAL(moeq_struct_size("moeq_tensor_info"), sizeof(moeq_tensor_info));
    CHECK_EQUAL(moeq_struct_size("moeq_stack_info"), sizeof(moeq_stack_info));
    CHECK_EQUAL(moeq_struct_size("moeq_load_options"), sizeof(moeq_load_options));
    CHECK_EQUAL(moeq_struct_size("moeq_writer_options"), sizeof(moeq_writer_options));
    CHECK_EQUAL(moeq_struct_size("moeq_convert_options"), sizeof(moeq_convert_options));
    return check_report("link_all");
}
