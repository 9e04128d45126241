/* The declarations of moeq.h 0.1, which every later library has to serve. Made by tools/freeze_header.py. */
/* clang-format off */
#ifndef MOEQ_H
#define MOEQ_H
#include <stdint.h>
#if defined(_WIN32)
#  define MOEQ_API __declspec(dllimport)
#elif defined(__GNUC__)
#  define MOEQ_API __attribute__((visibility("default")))
#else
#  define MOEQ_API
#endif
#ifdef __cplusplus
extern "C" {
#endif
/* [moeq.begin] */
#define MOEQ_VERSION_MAJOR 0
#define MOEQ_VERSION_MINOR 1
#define MOEQ_VERSION_PATCH 0
#define MOEQ_ABI_VERSION 1
struct DLManagedTensorVersioned;
struct DLManagedTensor;
typedef int32_t moeq_status;
typedef struct moeq_context moeq_context;
typedef struct moeq_qtensor moeq_qtensor;
typedef struct moeq_builder moeq_builder;
typedef struct moeq_reader moeq_reader;
typedef struct moeq_writer moeq_writer;
typedef struct moeq_blob moeq_blob;
#define MOEQ_OK 0
typedef struct moeq_error {
    int32_t status;
    int32_t os_error;
    int32_t argument;
    int32_t reserved;
    char    class_id[8];
    int64_t expert;
    int64_t row;
    int64_t column;
    char    message[464];
} moeq_error;
typedef void *(*moeq_host_alloc_fn)(uint64_t bytes, uint64_t alignment, void *user);
typedef void (*moeq_host_free_fn)(void *memory, uint64_t bytes, void *user);
typedef void (*moeq_task_fn)(int64_t index, void *task);
typedef int32_t (*moeq_parallel_for_fn)(moeq_task_fn run, void *task, int64_t count, void *user);
typedef void (*moeq_destroy_fn)(void *user);
typedef struct moeq_context_options {
    uint32_t struct_size;
    int32_t  thread_limit;
    int32_t  cpu_tier;
    int32_t  reserved;
    moeq_host_alloc_fn   host_alloc;
    moeq_host_free_fn    host_free;
    moeq_parallel_for_fn parallel_for;
    void                *user;
    moeq_destroy_fn      user_destroy;
} moeq_context_options;
MOEQ_API moeq_status moeq_context_create(const moeq_context_options *options, moeq_context **out, moeq_error *err);
MOEQ_API void        moeq_context_destroy(moeq_context *context);
#define MOEQ_FORMAT_INT8 1
#define MOEQ_FORMAT_NF4 2
#define MOEQ_FORMAT_FP4 3
#define MOEQ_FORMAT_FP8_E4M3 4
#define MOEQ_FORMAT_FP8_E5M2 5
#define MOEQ_FORMAT_MXFP8 6
typedef struct moeq_spec {
    uint32_t struct_size;
    int32_t  format;
    int32_t  granularity;
    int32_t  block_rows;
    int32_t  block_columns;
    int32_t  blocking;
    int32_t  scale_axis;
    int32_t  scale_kind;
    int32_t  nested;
    int32_t  layout;
    int32_t  nonfinite;
    int32_t  profile;
    int32_t  logical_dtype;
} moeq_spec;
typedef struct moeq_component {
    int32_t component;
    int32_t reserved;
    struct DLManagedTensorVersioned *tensor;
} moeq_component;
typedef struct moeq_quantize_options {
    uint32_t struct_size;
    int32_t  device_type;
    int32_t  device_id;
    int32_t  reserved;
    const struct DLManagedTensorVersioned *amax;
    const moeq_component *storage;
    int64_t  storage_count;
    int64_t  staging_limit;
    uint32_t *status_word;
} moeq_quantize_options;
MOEQ_API moeq_status moeq_qtensor_quantize(const moeq_context *context, const struct DLManagedTensorVersioned *source,
                                           const moeq_spec *spec, const moeq_quantize_options *options, void *stream,
                                           moeq_qtensor **out, moeq_error *err);
typedef struct moeq_region {
    uint32_t struct_size;
    int32_t  stores;
    const int64_t *experts;
    int64_t  expert_count;
    const struct DLManagedTensorVersioned *expert_ids;
    int64_t  row_begin;
    int64_t  row_end;
    uint32_t *status_word;
} moeq_region;
MOEQ_API moeq_status moeq_qtensor_dequantize(const moeq_qtensor *qtensor, const moeq_region *region, void *stream,
                                             struct DLManagedTensorVersioned *destination, moeq_error *err);
MOEQ_API void moeq_qtensor_retain(const moeq_qtensor *qtensor);
MOEQ_API void moeq_qtensor_release(const moeq_qtensor *qtensor);
#define MOEQ_ERROR_ARGUMENT -10
#define MOEQ_ERROR_SHAPE -11
#define MOEQ_ERROR_DTYPE -12
#define MOEQ_ERROR_LAYOUT -13
#define MOEQ_ERROR_DEVICE -14
#define MOEQ_ERROR_READ_ONLY -15
#define MOEQ_ERROR_RANGE -16
#define MOEQ_ERROR_VALUE -17
#define MOEQ_ERROR_VERSION -18
#define MOEQ_ERROR_STATE -20
#define MOEQ_ERROR_DUPLICATE -21
#define MOEQ_ERROR_INCOMPLETE -22
#define MOEQ_ERROR_NOT_FOUND -23
#define MOEQ_ERROR_MISMATCH -24
#define MOEQ_ERROR_UNSUPPORTED -30
#define MOEQ_ERROR_BACKEND -31
#define MOEQ_ERROR_MEMORY -40
#define MOEQ_ERROR_DEVICE_MEMORY -41
#define MOEQ_ERROR_LIMIT -42
#define MOEQ_ERROR_IO -50
#define MOEQ_ERROR_FORMAT -51
#define MOEQ_ERROR_TRUNCATED -52
#define MOEQ_ERROR_DIGEST -53
#define MOEQ_ERROR_CALLBACK -60
#define MOEQ_ERROR_CANCELLED -61
#define MOEQ_ERROR_CUDA -70
#define MOEQ_ERROR_CUDA_LOST -71
#define MOEQ_ERROR_CUDA_EARLIER -72
#define MOEQ_ERROR_CAPTURE -73
#define MOEQ_ERROR_FORKED -74
#define MOEQ_ERROR_INTERNAL -90
MOEQ_API const char *moeq_status_name(moeq_status status);
MOEQ_API int32_t     moeq_abi_version(void);
MOEQ_API int32_t     moeq_version(void);
MOEQ_API const char *moeq_version_string(void);
MOEQ_API uint32_t    moeq_struct_size(const char *name);
MOEQ_API const void *moeq_blob_data(const moeq_blob *blob);
MOEQ_API int64_t     moeq_blob_size(const moeq_blob *blob);
MOEQ_API void        moeq_blob_destroy(moeq_blob *blob);
#define MOEQ_CONTINUE 1
#define MOEQ_DEVICE_DEFAULT 0
#define MOEQ_DEVICE_CPU 1
#define MOEQ_DEVICE_CUDA 2
#define MOEQ_DEVICE_CUDA_HOST 3
#define MOEQ_DEVICE_CUDA_MANAGED 13
#define MOEQ_DTYPE_DEFAULT 0
#define MOEQ_DTYPE_FP32 0x12002
#define MOEQ_DTYPE_FP16 0x11002
#define MOEQ_DTYPE_BF16 0x11004
#define MOEQ_DTYPE_FP64 0x14002
#define MOEQ_DTYPE_FP8_E4M3FN 0x1080A
#define MOEQ_DTYPE_FP8_E5M2 0x1080C
#define MOEQ_DTYPE_INT8 0x10800
#define MOEQ_DTYPE_UINT8 0x10801
#define MOEQ_DTYPE_INT32 0x12000
#define MOEQ_DTYPE_INT64 0x14000
#define MOEQ_DTYPE_BOOL 0x10806
#define MOEQ_DTYPE_INT16 0x11000
#define MOEQ_DTYPE_UINT16 0x11001
#define MOEQ_DTYPE_UINT32 0x12001
#define MOEQ_DTYPE_UINT64 0x14001
#define MOEQ_DTYPE_FP8_E8M0 0x1080E
#define MOEQ_DTYPE_FP8_E4M3FNUZ 0x1080B
#define MOEQ_DTYPE_FP8_E5M2FNUZ 0x1080D
#define MOEQ_DTYPE_FP6_E2M3 0x1060F
#define MOEQ_DTYPE_FP6_E3M2 0x10610
#define MOEQ_DTYPE_FP4_E2M1 0x10411
#define MOEQ_DTYPE_COMPLEX64 0x14005
#define MOEQ_SEEN_NAN 1
#define MOEQ_SEEN_INF 2
#define MOEQ_SEEN_BAD_EXPERT 4
#define MOEQ_SEEN_SATURATED 8
#define MOEQ_CPU_TIER_BEST 0
#define MOEQ_CPU_TIER_SCALAR 1
#define MOEQ_CPU_TIER_AVX2 2
#define MOEQ_CPU_TIER_AVX512 3
#define MOEQ_CPU_TIER_NEON 4
typedef struct moeq_memory {
    uint32_t struct_size;
    uint32_t reserved;
    int64_t  host_live;
    int64_t  host_peak;
} moeq_memory;
MOEQ_API moeq_status moeq_context_get_memory(const moeq_context *context, moeq_memory *out, moeq_error *err);
MOEQ_API moeq_status moeq_context_describe(const moeq_context *context, moeq_blob **out, moeq_error *err);
MOEQ_API moeq_status moeq_tensor_create(const moeq_context *context, int32_t dtype, int32_t ndim, const int64_t *shape,
                                        int32_t device_type, int32_t device_id, void *stream,
                                        struct DLManagedTensorVersioned **out, moeq_error *err);
MOEQ_API moeq_status moeq_tensor_from_legacy(const moeq_context *context, struct DLManagedTensor *legacy,
                                             struct DLManagedTensorVersioned **out, moeq_error *err);
#define MOEQ_GRANULARITY_DEFAULT 0
#define MOEQ_GRANULARITY_ROW 1
#define MOEQ_GRANULARITY_EXPERT 2
#define MOEQ_GRANULARITY_BLOCK 3
#define MOEQ_BLOCKING_EXPERT 0
#define MOEQ_BLOCKING_ROW 1
#define MOEQ_BLOCKING_FLAT 2
#define MOEQ_SCALE_DEFAULT 0
#define MOEQ_SCALE_ABSMAX 1
#define MOEQ_SCALE_FACTOR 2
#define MOEQ_LAYOUT_PLAIN 0
#define MOEQ_LAYOUT_GATE_UP 1
#define MOEQ_LAYOUT_UP_GATE 2
#define MOEQ_LAYOUT_GATE_UP_INTERLEAVED 3
#define MOEQ_NONFINITE_REFUSE 0
#define MOEQ_NONFINITE_SATURATE 1
#define MOEQ_PROFILE_MOEQ 0
#define MOEQ_PROFILE_BNB_CPU 1
#define MOEQ_PROFILE_BNB_CPU_FP16 2
#define MOEQ_COMPONENT_CODES 1
#define MOEQ_COMPONENT_SCALE 2
#define MOEQ_COMPONENT_NESTED_SCALE 3
#define MOEQ_COMPONENT_NESTED_MAP 4
#define MOEQ_COMPONENT_NESTED_OFFSET 5
#define MOEQ_COMPONENT_CODE_MAP 6
#define MOEQ_COMPONENT_GLOBAL_SCALE 7
#define MOEQ_SPEC_TEXT 128
typedef struct moeq_component_info {
    uint32_t struct_size;
    int32_t  component;
    int32_t  dtype;
    int32_t  ndim;
    int64_t  shape[8];
    int64_t  bytes;
} moeq_component_info;
MOEQ_API moeq_status moeq_spec_resolve(const moeq_spec *spec, int32_t ndim, const int64_t *shape, moeq_spec *out,
                                       moeq_error *err);
MOEQ_API moeq_status moeq_spec_get_component(const moeq_spec *spec, int32_t ndim, const int64_t *shape,
                                             int32_t component, moeq_component_info *out, moeq_error *err);
MOEQ_API moeq_status moeq_spec_get_bytes(const moeq_spec *spec, int32_t ndim, const int64_t *shape, int64_t *bytes,
                                         int64_t *staging, moeq_error *err);
MOEQ_API moeq_status moeq_spec_parse(const char *text, moeq_spec *out, moeq_error *err);
MOEQ_API moeq_status moeq_spec_print(const moeq_spec *spec, char *out_text, moeq_error *err);
typedef struct moeq_qtensor_info {
    uint32_t struct_size;
    int32_t  device_type;
    int32_t  device_id;
    int32_t  ndim;
    int64_t  shape[8];
    int64_t  folded[3];
    int64_t  bytes;
    uint64_t generation;
    void    *home_stream;
} moeq_qtensor_info;
#define MOEQ_STORES_AUTO 0
#define MOEQ_STORES_CACHED 1
#define MOEQ_STORES_STREAMED 2
MOEQ_API moeq_status moeq_qtensor_adopt(const moeq_context *context, const moeq_spec *spec, int32_t ndim,
                                        const int64_t *shape, const moeq_component *components, int64_t component_count,
                                        void *stream, moeq_qtensor **out, moeq_error *err);
MOEQ_API moeq_status moeq_qtensor_get_info(const moeq_qtensor *qtensor, moeq_qtensor_info *out, moeq_error *err);
MOEQ_API moeq_status moeq_qtensor_get_spec(const moeq_qtensor *qtensor, moeq_spec *out, moeq_error *err);
MOEQ_API moeq_status moeq_qtensor_export(const moeq_qtensor *qtensor, int32_t component,
                                         struct DLManagedTensorVersioned **out, moeq_error *err);
MOEQ_API moeq_status moeq_qtensor_requantize(moeq_qtensor *qtensor, const struct DLManagedTensorVersioned *source,
                                             const moeq_quantize_options *options, void *stream, moeq_error *err);
MOEQ_API moeq_status moeq_quantize_into(const moeq_context *context, const struct DLManagedTensorVersioned *source,
                                        const moeq_spec *spec, const moeq_quantize_options *options, void *stream,
                                        const moeq_component *destinations, int64_t destination_count, moeq_error *err);
MOEQ_API moeq_status moeq_qtensor_slice(const moeq_qtensor *qtensor, int32_t axis, int64_t begin, int64_t end,
                                        moeq_qtensor **out, moeq_error *err);
MOEQ_API moeq_status moeq_qtensor_copy(const moeq_qtensor *qtensor, int32_t device_type, int32_t device_id,
                                       void *stream, moeq_qtensor **out, moeq_error *err);
#define MOEQ_METRIC_MAX_ERROR 0
#define MOEQ_METRIC_RMSE 1
#define MOEQ_METRIC_RMSE_OVER_SCALE 2
#define MOEQ_METRIC_SQNR_DB 3
#define MOEQ_METRIC_SATURATED 4
#define MOEQ_METRIC_ZERO 5
#define MOEQ_METRIC_AMAX 6
MOEQ_API moeq_status moeq_qtensor_compare(const moeq_qtensor *qtensor, const struct DLManagedTensorVersioned *source,
                                          void *stream, struct DLManagedTensorVersioned *destination, moeq_error *err);
typedef struct moeq_block {
    int64_t expert_begin, expert_end, row_begin, row_end, column_begin, column_end;
} moeq_block;
typedef struct moeq_builder_state {
    uint32_t struct_size;
    uint32_t reserved;
    int64_t  missing_elements;
    int64_t  staged_bytes;
    int64_t  complete_experts;
} moeq_builder_state;
MOEQ_API moeq_status moeq_builder_create(const moeq_context *context, const moeq_spec *spec, int32_t ndim,
                                         const int64_t *shape, const moeq_quantize_options *options, void *stream,
                                         moeq_builder **out, moeq_error *err);
MOEQ_API moeq_status moeq_builder_write(moeq_builder *builder, int64_t expert, int64_t row, int64_t column,
                                        const struct DLManagedTensorVersioned *piece, void *stream, moeq_error *err);
MOEQ_API moeq_status moeq_builder_get_state(const moeq_builder *builder, moeq_builder_state *out, moeq_error *err);
MOEQ_API moeq_status moeq_builder_get_missing(const moeq_builder *builder, moeq_block *blocks, int64_t capacity,
                                              int64_t *out_count, moeq_error *err);
MOEQ_API moeq_status moeq_builder_finish(moeq_builder *builder, void *stream, moeq_qtensor **out, moeq_error *err);
MOEQ_API void        moeq_builder_destroy(moeq_builder *builder);
#define MOEQ_REDUCE_AMAX 0
#define MOEQ_REDUCE_SUM 1
#define MOEQ_REDUCE_KEEP_AXES 1
#define MOEQ_REDUCE_ACCUMULATE 2
#define MOEQ_REDUCE_SQUEEZE_SCALAR 4
#define MOEQ_REDUCE_EMPTY_IS_ALL 8
#define MOEQ_REDUCE_WRAP_INTEGERS 16
typedef struct moeq_reduce_options {
    uint32_t struct_size;
    int32_t  operation;
    int32_t  flags;
    int32_t  axis_count;
    const int32_t *axes;
    const int64_t *blocks;
    uint32_t *status_word;
} moeq_reduce_options;
MOEQ_API moeq_status moeq_reduce(const moeq_context *context, const struct DLManagedTensorVersioned *source,
                                 const moeq_reduce_options *options, void *stream,
                                 struct DLManagedTensorVersioned *destination, moeq_error *err);
MOEQ_API moeq_status moeq_reduce_many(const moeq_context *context,
                                      const struct DLManagedTensorVersioned *const *sources,
                                      int64_t count, const moeq_reduce_options *options, void *stream,
                                      struct DLManagedTensorVersioned *destination, moeq_error *err);
MOEQ_API moeq_status moeq_reduce_shape(int32_t ndim, const int64_t *shape, const moeq_reduce_options *options,
                                       int32_t *out_ndim, int64_t *out_shape, moeq_error *err);
MOEQ_API moeq_status moeq_reduce_axes(int32_t ndim, const int32_t *quant_axes, int32_t quant_axis_count,
                                      int32_t *out_axes, int32_t *out_count, moeq_error *err);
MOEQ_API moeq_status moeq_scale_from_amax(const moeq_context *context, const struct DLManagedTensorVersioned *amax,
                                          const moeq_spec *spec, void *stream,
                                          struct DLManagedTensorVersioned *destination, moeq_error *err);
#define MOEQ_DIALECT_NATIVE 0
#define MOEQ_DIALECT_BITSANDBYTES 1
#define MOEQ_DIALECT_COMPRESSED_TENSORS 2
#define MOEQ_DIALECT_HF_FP8 3
#define MOEQ_DIALECT_NONE -1
#define MOEQ_STAGE_READ 1
#define MOEQ_STAGE_QUANTIZE 2
#define MOEQ_STAGE_WRITE 3
#define MOEQ_STAGE_VERIFY 4
typedef struct moeq_progress {
    uint32_t struct_size;
    int32_t  stage;
    const char *name;
    int64_t  bytes_done, bytes_total;
} moeq_progress;
typedef int32_t (*moeq_progress_fn)(const moeq_progress *progress, void *user);
#define MOEQ_READER_MMAP 1
#define MOEQ_READER_LENIENT 2
#define MOEQ_READER_ALL_FILES 4
#define MOEQ_READER_STRICT 8
typedef struct moeq_reader_options {
    uint32_t struct_size;
    int32_t  flags;
    int64_t  header_limit;
    const char *patterns;
} moeq_reader_options;
typedef struct moeq_reader_info {
    uint32_t struct_size;
    int32_t  dialect;
    int64_t  tensor_count, stack_count, file_count;
    int64_t  bytes;
} moeq_reader_info;
typedef struct moeq_tensor_info {
    uint32_t struct_size;
    int32_t  dtype;
    int32_t  ndim;
    int32_t  component;
    int64_t  shape[8];
    const char *name;
    int64_t  bytes;
    int64_t  file;
    int64_t  stack;
    int64_t  expert, row, column;
    int64_t  experts;
} moeq_tensor_info;
typedef struct moeq_stack_info {
    uint32_t struct_size;
    int32_t  dtype;
    int32_t  layout;
    int32_t  scale_axis;
    int32_t  quantized;
    int32_t  fused;
    const char *name;
    int64_t  shape[3];
    int64_t  bytes;
} moeq_stack_info;
typedef struct moeq_load_options {
    uint32_t struct_size;
    int32_t  device_type;
    int32_t  device_id;
    int32_t  tp_rank;
    int32_t  tp_size;
    int32_t  reserved;
    int64_t  expert_begin;
    int64_t  expert_end;
    const moeq_spec *spec;
    const struct DLManagedTensorVersioned *amax;
    moeq_progress_fn progress;
    void *progress_user;
} moeq_load_options;
MOEQ_API moeq_status moeq_reader_open(const moeq_context *context, const char *path, const moeq_reader_options *options,
                                      moeq_reader **out, moeq_error *err);
MOEQ_API void        moeq_reader_destroy(moeq_reader *reader);
MOEQ_API moeq_status moeq_reader_get_info(const moeq_reader *reader, moeq_reader_info *out, moeq_error *err);
MOEQ_API moeq_status moeq_reader_get_tensor(const moeq_reader *reader, int64_t tensor, moeq_tensor_info *out,
                                            moeq_error *err);
MOEQ_API moeq_status moeq_reader_get_stack(const moeq_reader *reader, int64_t stack, moeq_stack_info *out,
                                           moeq_error *err);
MOEQ_API moeq_status moeq_reader_get_stack_spec(const moeq_reader *reader, int64_t stack, moeq_spec *out,
                                                moeq_error *err);
MOEQ_API moeq_status moeq_reader_find(const moeq_reader *reader, const char *name, int64_t *out_tensor,
                                      int64_t *out_stack, moeq_error *err);
MOEQ_API moeq_status moeq_reader_read(const moeq_reader *reader, int64_t tensor, int64_t begin,
                                      struct DLManagedTensorVersioned *destination, moeq_error *err);
MOEQ_API moeq_status moeq_reader_load(const moeq_reader *reader, int64_t stack, const moeq_load_options *options,
                                      void *stream, moeq_qtensor **out, moeq_error *err);
MOEQ_API moeq_status moeq_reader_metadata(const moeq_reader *reader, moeq_blob **out, moeq_error *err);
MOEQ_API moeq_status moeq_reader_verify(const moeq_reader *reader, moeq_progress_fn progress, void *user,
                                        moeq_blob **out, moeq_error *err);
#define MOEQ_WRITER_NOT_DURABLE 1
typedef struct moeq_writer_options {
    uint32_t struct_size;
    int32_t  dialect;
    int32_t  flags;
    int32_t  reserved;
    const char *metadata;
} moeq_writer_options;
MOEQ_API moeq_status moeq_writer_create(const moeq_context *context, const char *path,
                                        const moeq_writer_options *options, moeq_writer **out, moeq_error *err);
MOEQ_API moeq_status moeq_writer_declare(moeq_writer *writer, const char *name, const moeq_spec *spec, int32_t dtype,
                                         int32_t ndim, const int64_t *shape, moeq_error *err);
MOEQ_API moeq_status moeq_writer_put(moeq_writer *writer, const char *name,
                                     const struct DLManagedTensorVersioned *tensor, void *stream, moeq_error *err);
MOEQ_API moeq_status moeq_writer_put_qtensor(moeq_writer *writer, const char *name, const moeq_qtensor *qtensor,
                                             void *stream, moeq_error *err);
MOEQ_API moeq_status moeq_writer_commit(moeq_writer *writer, moeq_error *err);
MOEQ_API void        moeq_writer_destroy(moeq_writer *writer);
#define MOEQ_CONVERT_UNITS 1
#define MOEQ_CONVERT_FINISH 2
#define MOEQ_CONVERT_KEEP_FOREIGN 2
#define MOEQ_CONVERT_WEIGHTS_ONLY 4
#define MOEQ_CONVERT_ALL_FILES 8
typedef struct moeq_convert_options {
    uint32_t struct_size;
    int32_t  dialect;
    int32_t  steps;
    int32_t  flags;
    const moeq_spec *spec;
    const char *rules;
    const char *patterns;
    int64_t  unit_begin;
    int64_t  unit_end;
    moeq_progress_fn progress;
    void *progress_user;
    int32_t  dense_dtype;
    int32_t  reserved;
} moeq_convert_options;
MOEQ_API moeq_status moeq_convert_plan(const moeq_context *context, const char *source, const char *target,
                                       const moeq_convert_options *options, moeq_blob **out, moeq_error *err);
MOEQ_API moeq_status moeq_convert(const moeq_context *context, const char *source, const char *target,
                                  const moeq_convert_options *options, moeq_error *err);
/* [moeq.end] */
#ifdef __cplusplus
}
#endif
#endif
