#ifndef MOEQ_H
#define MOEQ_H

#include <stdint.h>

/* moeq: quantized Mixture-of-Experts weights behind one C ABI.
 *
 * A weight is [E, R, C]: experts, rows, columns (2-D is E = 1; more leading axes fold into E). It comes in as a
 * DLPack tensor, becomes codes and scales inside a moeq_qtensor, and goes out, whole or in part, into a tensor
 * of the caller's. The shortest use, without error handling:
 *
 *     moeq_context *ctx;  moeq_qtensor *q;
 *     moeq_spec spec = {.struct_size = sizeof spec, .format = MOEQ_FORMAT_NF4};
 *     moeq_context_create(NULL, &ctx, NULL);
 *     moeq_qtensor_quantize(ctx, weight, &spec, NULL, NULL, &q, NULL);      // [E,R,C] bf16 -> handle
 *     moeq_qtensor_dequantize(q, NULL, NULL, destination, NULL);            // handle -> caller's tensor
 *     moeq_qtensor_release(q);  moeq_context_destroy(ctx);
 *
 * THE RULES, each said here and nowhere below; a declaration mentions only what differs.
 *
 * Arguments   Order: handle, inputs, options, stream, outputs, error. Sizes, indices and counts are 64-bit;
 *             ranges are [begin, end). Text is UTF-8 ended by NUL. A NULL options pointer means all defaults.
 * Structs     Set `struct_size` to sizeof, of structs out too, and the rest to zero: in every field 0 or NULL is the
 *             default, so there are no init functions. Fields are only ever added at the end. A struct larger than the
 *             library knows is accepted when its tail is zero (and it has at most 4096 bytes); structs out are filled
 *             up to the caller's struct_size, with zero where the library knows less. A sized struct is never embedded
 *             in another; FROZEN structs have no size, never change, may be in arrays.
 * Constants   Plain ints that travel as int32_t. Numbers are never reused. Unknown in: MOEQ_ERROR_ARGUMENT;
 *             unknown out: treat as "other".
 * Tensors     struct DLManagedTensorVersioned of DLPack 1.x, from any dlpack.h, or from none. `const T *` is read,
 *             `T *` is written through, both only borrowed: the deleter is never called, the pointer not kept
 *             (with a stream, data must live until the stream has passed the call). Only "adopt" takes
 *             ownership, on success only. `T **` receives a new tensor; the caller calls its deleter, once, from
 *             any thread. NULL strides, size-1 axes with odd strides, byte_offset, any strides and natural
 *             alignment are accepted. A destination may not be read-only, overlap itself or overlap a source.
 *             An empty destination is a success that writes nothing. Element types: fp32, fp16, bf16.
 *             Exported and created tensors have real strides and a byte_offset of 0.
 * Devices     DLPack's numbers. Inputs and outputs of one call are on one device, or host memory that it reads.
 *             A device needs a plug-in, libmoeq_cuda.so.1, and there is none yet: what is marked [device], and what
 *             is said of devices and streams here, waits for it. Until then tensors on one are MOEQ_ERROR_BACKEND.
 * Streams     A cudaStream_t/CUstream of the tensors' device, passed on as it is: NULL is CUDA's legacy default
 *             stream. For tensors in host memory it must be NULL and the call is complete when it returns.
 *             A handle made on a stream is ready on that stream, its HOME stream; to use it on another one, order
 *             the two yourself. Its memory goes back in home-stream order: join other streams first, and
 *             keep the home stream alive as long as the handle.
 * HOT calls   (so marked) neither allocate nor synchronise nor read device memory from the host, and can be captured
 *             in a CUDA graph. (On the host, the pool's threads start at the first call that can use them.) On a
 *             device they cannot return what only the data tells: they OR a MOEQ_SEEN_ bit into the optional status
 *             word instead. Other calls may synchronise the given stream, and no other.
 * Threads     Calls that take only const handles may run at the same time on the same handle. Any other call needs
 *             its non-const handle alone. All handles may move between threads. After fork() a child may use
 *             host memory only.
 * Ownership   create/open ... destroy: one owner. retain/release: counted. destroy, release: NULL is fine, never fail,
 *             may come in any order (a context lives on inside its handles). Pointers that a call returns into
 *             a handle are valid until the handle is next changed or destroyed.
 * Errors      A status, 0 or negative, and, where `err` is not NULL, one filled moeq_error (untouched on success).
 *             On failure out-pointers are NULL, no ownership has moved, every handle is as before, and only the
 *             bytes of destinations are unspecified. Nothing prints, exits, throws or touches the host's
 *             state (locale, signals, rounding mode, errno, current CUDA device, last CUDA error).
 * Callbacks   `void *user` comes last. Called with no lock held, from any thread; must not throw, unwind or
 *             longjmp. Those that return int32_t return MOEQ_CONTINUE to go on; all else, and so the 0 of a failed
 *             foreign callback, stops the call with MOEQ_ERROR_CALLBACK or MOEQ_ERROR_CANCELLED.
 */

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

/* [moeq.begin] Between the marks: only fixed-width ints, float, double, char, void, pointers, literal #defines. */

#define MOEQ_VERSION_MAJOR 0
#define MOEQ_VERSION_MINOR 1
#define MOEQ_VERSION_PATCH 0
#define MOEQ_ABI_VERSION 1

struct DLManagedTensorVersioned; /* dlpack.h 1.0 and later */
struct DLManagedTensor;          /* dlpack.h, the form before 1.0: see moeq_tensor_from_legacy */

typedef int32_t moeq_status;

typedef struct moeq_context moeq_context; /* allocator, executor, CPU tier; immutable after creation */
typedef struct moeq_qtensor moeq_qtensor; /* codes and scales of one [E, R, C] weight; counted */
typedef struct moeq_builder moeq_builder; /* a qtensor in the making, written block by block */
typedef struct moeq_reader moeq_reader;   /* an open checkpoint */
typedef struct moeq_writer moeq_writer;   /* a checkpoint file being written */
typedef struct moeq_blob moeq_blob;       /* bytes returned: JSON, a name list, saved state */

/* ---- 1. The shortest use: a context, a spec, a weight in and out ------------------------------------------ */

/* 0, or one of the negative numbers in section 2. */
#define MOEQ_OK 0

/* FROZEN, 512 bytes; needs no initialisation; no pointers, so it may be copied and outlive everything. */
typedef struct moeq_error {
    int32_t status;
    int32_t os_error;    /* errno or CUDA code; 0: none */
    int32_t argument;    /* 1 = first argument of the function; 0: none in particular */
    int32_t reserved;
    char    class_id[8]; /* class of docs/errors.md, "F07"; "" where there is none */
    int64_t expert;      /* the place in the data; -1: none */
    int64_t row;
    int64_t column;
    char    message[464]; /* function, argument, got, wanted, one hint; names in it are escaped */
} moeq_error;

/* Both may be called from several threads at once. bytes is at least 1, and the same in free as in alloc; alignment
 * is always 64. alloc returns NULL when there is none left; free is never given NULL. */
typedef void *(*moeq_host_alloc_fn)(uint64_t bytes, uint64_t alignment, void *user);
typedef void (*moeq_host_free_fn)(void *memory, uint64_t bytes, void *user);
/* Calls run(index, task) for each index in [0, count), once each, from any threads, in any order; returns
 * MOEQ_CONTINUE when all are done. The tasks do not wait for each other.
 * Whatever it returns, none of them may run after that. */
typedef void (*moeq_task_fn)(int64_t index, void *task);
typedef int32_t (*moeq_parallel_for_fn)(moeq_task_fn run, void *task, int64_t count, void *user);
typedef void (*moeq_destroy_fn)(void *user);

typedef struct moeq_context_options {
    uint32_t struct_size;
    int32_t  thread_limit; /* 0: cores, affinity, quota and MOEQ_NUM_THREADS decide; 1: serial */
    int32_t  cpu_tier;     /* force a lower one (so does MOEQ_CPU_TIER); one that the CPU lacks: UNSUPPORTED */
    int32_t  reserved;
    moeq_host_alloc_fn   host_alloc; /* both or neither */
    moeq_host_free_fn    host_free;
    moeq_parallel_for_fn parallel_for; /* NULL: a small pool of our own */
    void                *user;         /* for all of the above */
    moeq_destroy_fn      user_destroy; /* called once, after the last use of `user` by the last handle */
} moeq_context_options;

/* Keeps nothing open, starts no thread: the pool does at the first call that can use it. options NULL: malloc, all
 * cores, the best CPU tier. On failure `user` is still the caller's: user_destroy is not called. */
MOEQ_API moeq_status moeq_context_create(const moeq_context_options *options, moeq_context **out, moeq_error *err);
MOEQ_API void        moeq_context_destroy(moeq_context *context);

#define MOEQ_FORMAT_INT8 1
#define MOEQ_FORMAT_NF4 2
#define MOEQ_FORMAT_FP4 3 /* bitsandbytes' table, not E2M1 */
#define MOEQ_FORMAT_FP8_E4M3 4
#define MOEQ_FORMAT_FP8_E5M2 5
#define MOEQ_FORMAT_MXFP8 6 /* E4M3, an E8M0 factor for every 32 elements of a row (OCP MX) */

/* What codes and scales mean. A value; equal specs give equal bytes on every device. Words for the fields: section 6. */
typedef struct moeq_spec {
    uint32_t struct_size;
    int32_t  format;        /* the one field without a default */
    int32_t  granularity;
    int32_t  block_rows;    /* 0: format's default (NF4, FP4, MXFP8: 1; else 128) */
    int32_t  block_columns; /* 0: format's default (NF4, FP4: 64; MXFP8: 32; else 128) */
    int32_t  blocking;
    int32_t  scale_axis;    /* the contraction axis: 0 or -1 the last, -2 the one before ([E, in, out] layouts) */
    int32_t  scale_kind;
    int32_t  nested;        /* 1: absmax itself in 8 bits (bitsandbytes' double quantization) */
    int32_t  layout;
    int32_t  nonfinite;
    int32_t  profile;
    int32_t  logical_dtype; /* what the weight stands for; 0: the source's type, and bf16 where there is no source */
} moeq_spec;

/* FROZEN (used in arrays). */
typedef struct moeq_component {
    int32_t component;
    int32_t reserved;
    struct DLManagedTensorVersioned *tensor;
} moeq_component;

typedef struct moeq_quantize_options {
    uint32_t struct_size;
    int32_t  device_type; /* where the handle shall live; not with storage */
    int32_t  device_id;
    int32_t  reserved;
    const struct DLManagedTensorVersioned *amax; /* fp32 [E], EXPERT granularity: given, not measured */
    const moeq_component *storage; /* quantize, builder: adopt these and write into them, allocate no others */
    int64_t  storage_count;
    int64_t  staging_limit; /* builder: bytes it may stage; 0: no limit of our own */
    uint32_t *status_word;
} moeq_quantize_options;

/* source: [E, R, C], any strides. REFUSE policy: the error names the first bad element and nothing is made. */
MOEQ_API moeq_status moeq_qtensor_quantize(const moeq_context *context, const struct DLManagedTensorVersioned *source,
                                           const moeq_spec *spec, const moeq_quantize_options *options, void *stream,
                                           moeq_qtensor **out, moeq_error *err);

/* Which part of a weight a call is about. All zero: everything. Of `experts` and `expert_ids` at most one is given; a
 * list of none selects none. Row ranges are not empty, but for [r, r) with r > 0. */
typedef struct moeq_region {
    uint32_t struct_size;
    int32_t  stores; /* MOEQ_STORES_, section 7 */
    const int64_t *experts; /* host list; repeated ids are fine. NULL: see expert_ids */
    int64_t  expert_count;
    const struct DLManagedTensorVersioned *expert_ids; /* or int32/int64 [n] on the handle's device; NULL: all */
    int64_t  row_begin;
    int64_t  row_end; /* 0: to the last */
    uint32_t *status_word;
} moeq_region;

/* HOT. destination: [n, rows, C] of the region, [rows, C] where n is 1, or the weight's own shape for all of it; any
 * strides; one rounding. RANGE names the first expert or row out of range. */
MOEQ_API moeq_status moeq_qtensor_dequantize(const moeq_qtensor *qtensor, const moeq_region *region, void *stream,
                                             struct DLManagedTensorVersioned *destination, moeq_error *err);
/* One share more; NULL is fine. */
MOEQ_API void moeq_qtensor_retain(const moeq_qtensor *qtensor);
MOEQ_API void moeq_qtensor_release(const moeq_qtensor *qtensor);

/* ---- 2. Statuses ------------------------------------------------------------------------------------------ */

/* arguments: nothing was touched */
#define MOEQ_ERROR_ARGUMENT -10     /* NULL, unknown constant, contradictory options */
#define MOEQ_ERROR_SHAPE -11        /* rank, extents, overflow */
#define MOEQ_ERROR_DTYPE -12        /* element type, lanes */
#define MOEQ_ERROR_LAYOUT -13       /* strides, alignment, overlap */
#define MOEQ_ERROR_DEVICE -14       /* kind or id of device */
#define MOEQ_ERROR_READ_ONLY -15    /* destination is read-only */
#define MOEQ_ERROR_RANGE -16        /* expert, row or column out of range */
#define MOEQ_ERROR_VALUE -17        /* NaN, Inf, or a bad scale in the data; err names the place */
#define MOEQ_ERROR_VERSION -18      /* struct_size, DLPack major, file version */
/* state */
#define MOEQ_ERROR_STATE -20        /* not in this order */
#define MOEQ_ERROR_DUPLICATE -21    /* written or named twice */
#define MOEQ_ERROR_INCOMPLETE -22   /* gaps remain; err and moeq_builder_get_missing name them */
#define MOEQ_ERROR_NOT_FOUND -23    /* no such name, component, file */
#define MOEQ_ERROR_MISMATCH -24     /* ranks, groups or digests disagree */
/* capability */
#define MOEQ_ERROR_UNSUPPORTED -30  /* this format, operation or chip: never silently something else */
#define MOEQ_ERROR_BACKEND -31      /* plug-in, driver or cuBLASLt absent; err says what was looked for where */
/* resources */
#define MOEQ_ERROR_MEMORY -40
#define MOEQ_ERROR_DEVICE_MEMORY -41 /* [device] */
#define MOEQ_ERROR_LIMIT -42        /* a limit of the options or of the library */
/* files */
#define MOEQ_ERROR_IO -50           /* err.os_error has errno */
#define MOEQ_ERROR_FORMAT -51       /* bytes that break the format's rules; err.class_id says which */
#define MOEQ_ERROR_TRUNCATED -52
#define MOEQ_ERROR_DIGEST -53
/* callbacks */
#define MOEQ_ERROR_CALLBACK -60     /* a callback failed or gave an impossible result */
#define MOEQ_ERROR_CANCELLED -61    /* the progress callback said stop */
/* [device] */
#define MOEQ_ERROR_CUDA -70         /* err.os_error has the CUDA code */
#define MOEQ_ERROR_CUDA_LOST -71    /* the CUDA context is dead for good */
#define MOEQ_ERROR_CUDA_EARLIER -72 /* an error of earlier work that is not moeq's */
#define MOEQ_ERROR_CAPTURE -73      /* not allowed while capturing; the capture is still valid */
#define MOEQ_ERROR_FORKED -74       /* device call in a forked child */
#define MOEQ_ERROR_INTERNAL -90     /* our fault; destroy and release still work */

/* "MOEQ_ERROR_SHAPE"; never NULL; static. */
MOEQ_API const char *moeq_status_name(moeq_status status);

/* ---- 3. Library ------------------------------------------------------------------------------------------- */

/* Compare with MOEQ_ABI_VERSION before all else. */
MOEQ_API int32_t     moeq_abi_version(void);
/* Of the library that runs: 10000 major + 100 minor + patch, and "0.1.0" (static). */
MOEQ_API int32_t     moeq_version(void);
MOEQ_API const char *moeq_version_string(void);
/* sizeof what the library knows under a name, such as "moeq_spec"; 0: nothing. */
MOEQ_API uint32_t    moeq_struct_size(const char *name);

/* Blob: data()[size()] is 0, so text is a C string. A name list is n strings, each ended by NUL. NULL is an empty
 * blob. */
MOEQ_API const void *moeq_blob_data(const moeq_blob *blob);
MOEQ_API int64_t     moeq_blob_size(const moeq_blob *blob);
MOEQ_API void        moeq_blob_destroy(moeq_blob *blob);

/* ---- 4. Constants of several sections --------------------------------------------------------------------- */

#define MOEQ_CONTINUE 1 /* what a callback returns to go on */

#define MOEQ_DEVICE_DEFAULT 0 /* where the source is; host memory where there is none */
#define MOEQ_DEVICE_CPU 1
#define MOEQ_DEVICE_CUDA 2          /* [device] */
#define MOEQ_DEVICE_CUDA_HOST 3     /* pinned host memory: read and written as the host's, not yet made [device] */
#define MOEQ_DEVICE_CUDA_MANAGED 13 /* [device] */

/* An element type is DLPack's DLDataType in one number: code | bits << 8 | lanes << 16. No second table. */
#define MOEQ_DTYPE_DEFAULT 0
#define MOEQ_DTYPE_FP32 0x12002
#define MOEQ_DTYPE_FP16 0x11002
#define MOEQ_DTYPE_BF16 0x11004
#define MOEQ_DTYPE_FP64 0x14002
#define MOEQ_DTYPE_FP8_E4M3FN 0x1080A
#define MOEQ_DTYPE_FP8_E5M2 0x1080C
#define MOEQ_DTYPE_INT8 0x10800
#define MOEQ_DTYPE_UINT8 0x10801 /* also packed 4-bit codes, two to a byte */
#define MOEQ_DTYPE_INT32 0x12000
#define MOEQ_DTYPE_INT64 0x14000
/* only in checkpoint files, to be read and copied as they are */
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

/* The status word: a uint32_t that the call's device can write, alive until the call (for a builder: its last write)
 * is done. Bits are OR-ed in atomically, never cleared; on host memory too, besides the status that a call returns. */
#define MOEQ_SEEN_NAN 1
#define MOEQ_SEEN_INF 2
#define MOEQ_SEEN_BAD_EXPERT 4 /* an expert id out of range: its output is zeros (on the host: MOEQ_ERROR_RANGE) */
#define MOEQ_SEEN_SATURATED 8  /* a value above the given amax */

/* ---- 5. Context, and tensors for callers without a framework ---------------------------------------------- */

#define MOEQ_CPU_TIER_BEST 0
#define MOEQ_CPU_TIER_SCALAR 1
#define MOEQ_CPU_TIER_AVX2 2
#define MOEQ_CPU_TIER_AVX512 3
#define MOEQ_CPU_TIER_NEON 4

typedef struct moeq_memory {
    uint32_t struct_size;
    uint32_t reserved;
    int64_t  host_live; /* bytes that went through the context and are in use */
    int64_t  host_peak; /* the most that ever were; never falls */
} moeq_memory;

MOEQ_API moeq_status moeq_context_get_memory(const moeq_context *context, moeq_memory *out, moeq_error *err);
/* JSON: version, CPU tier and why it was chosen, threads, backends; what is absent says why. */
MOEQ_API moeq_status moeq_context_describe(const moeq_context *context, moeq_blob **out, moeq_error *err);

/* New uninitialised row-major tensor in the context's memory. */
MOEQ_API moeq_status moeq_tensor_create(const moeq_context *context, int32_t dtype, int32_t ndim, const int64_t *shape,
                                        int32_t device_type, int32_t device_id, void *stream,
                                        struct DLManagedTensorVersioned **out, moeq_error *err);
/* The same tensor in the 1.x form. Adopts: on success the old form belongs to the new one. */
MOEQ_API moeq_status moeq_tensor_from_legacy(const moeq_context *context, struct DLManagedTensor *legacy,
                                             struct DLManagedTensorVersioned **out, moeq_error *err);

/* ---- 6. Specs: the words, components, sizes --------------------------------------------------------------- */

#define MOEQ_GRANULARITY_DEFAULT 0 /* int8, FP8: ROW; NF4, FP4, MXFP8: BLOCK */
#define MOEQ_GRANULARITY_ROW 1     /* one scale per vector along scale_axis */
#define MOEQ_GRANULARITY_EXPERT 2  /* one scale per expert ("per tensor") */
#define MOEQ_GRANULARITY_BLOCK 3   /* one scale per block_rows x block_columns tile */

#define MOEQ_BLOCKING_EXPERT 0 /* 1-D blocks run over one expert's elements */
#define MOEQ_BLOCKING_ROW 1    /* ... restart at each row; ragged tails. MXFP8: always */
#define MOEQ_BLOCKING_FLAT 2   /* ... over the whole tensor (bitsandbytes files); cannot be sliced */

#define MOEQ_SCALE_DEFAULT 0 /* int8, NF4, FP4: ABSMAX; FP8, MXFP8: FACTOR */
#define MOEQ_SCALE_ABSMAX 1  /* the stored statistic is max|x| */
#define MOEQ_SCALE_FACTOR 2  /* ... is the number that a code is multiplied by */

#define MOEQ_LAYOUT_PLAIN 0
#define MOEQ_LAYOUT_GATE_UP 1             /* first half of the output axis gate, second half up */
#define MOEQ_LAYOUT_UP_GATE 2
#define MOEQ_LAYOUT_GATE_UP_INTERLEAVED 3 /* gate, up, gate, up, ... */

#define MOEQ_NONFINITE_REFUSE 0   /* MOEQ_ERROR_VALUE; HOT calls on a device saturate and set the status word */
#define MOEQ_NONFINITE_SATURATE 1 /* NaN -> 0, Inf -> the largest finite magnitude that shares its scale */

#define MOEQ_PROFILE_MOEQ 0
#define MOEQ_PROFILE_BNB_CPU 1      /* bit for bit bitsandbytes' CPU path */
#define MOEQ_PROFILE_BNB_CPU_FP16 2 /* ... which rounds int8 sources to fp16 first */

/* The parts of a quantized weight. A format has some of them; nothing assumes exactly one scale. Shapes begin with
 * the weight's axes before rows and columns; docs/formats.md has the table. */
#define MOEQ_COMPONENT_CODES 1
#define MOEQ_COMPONENT_SCALE 2        /* absmax or factor, as the spec's scale_kind says; nested: 8-bit codes of it */
#define MOEQ_COMPONENT_NESTED_SCALE 3 /* fp32 per 256 scales */
#define MOEQ_COMPONENT_NESTED_MAP 4   /* fp32 [256] */
#define MOEQ_COMPONENT_NESTED_OFFSET 5 /* fp32 [] */
#define MOEQ_COMPONENT_CODE_MAP 6     /* fp32 [16] */
#define MOEQ_COMPONENT_GLOBAL_SCALE 7 /* second level; later formats */

#define MOEQ_SPEC_TEXT 128 /* bytes that hold every text form and its NUL */

typedef struct moeq_component_info {
    uint32_t struct_size;
    int32_t  component;
    int32_t  dtype;
    int32_t  ndim;
    int64_t  shape[8]; /* unused entries are 0 */
    int64_t  bytes;
} moeq_component_info;

/* Validates a spec for a shape and replaces every default by its value. `out` may be `spec` itself. */
MOEQ_API moeq_status moeq_spec_resolve(const moeq_spec *spec, int32_t ndim, const int64_t *shape, moeq_spec *out,
                                       moeq_error *err);
/* Size of one component without allocating; MOEQ_ERROR_NOT_FOUND where the format has none. */
MOEQ_API moeq_status moeq_spec_get_component(const moeq_spec *spec, int32_t ndim, const int64_t *shape,
                                             int32_t component, moeq_component_info *out, moeq_error *err);
/* Bytes of all components but CODE_MAP, which is a constant; and the most that a builder can have to stage (section
 * 8), in the logical_dtype, or in fp32 where that is 0. Either may be NULL. */
MOEQ_API moeq_status moeq_spec_get_bytes(const moeq_spec *spec, int32_t ndim, const int64_t *shape, int64_t *bytes,
                                         int64_t *staging, moeq_error *err);
/* The one spelling of specs for command lines, files and messages: "nf4", "nf4:64,nested", "fp8_e4m3:block128x128". */
MOEQ_API moeq_status moeq_spec_parse(const char *text, moeq_spec *out, moeq_error *err);
/* out_text: room for MOEQ_SPEC_TEXT bytes. Only what differs from the format's defaults is printed. */
MOEQ_API moeq_status moeq_spec_print(const moeq_spec *spec, char *out_text, moeq_error *err);

/* ---- 7. Qtensor: adopt it, look at it, change it ---------------------------------------------------------- */

typedef struct moeq_qtensor_info {
    uint32_t struct_size;
    int32_t  device_type;
    int32_t  device_id;
    int32_t  ndim;
    int64_t  shape[8];   /* as it was given */
    int64_t  folded[3];  /* the same as experts, rows, columns */
    int64_t  bytes;      /* of all components */
    uint64_t generation; /* 1, and one more after each requantize */
    void    *home_stream; /* [device] */
} moeq_qtensor_info;

#define MOEQ_STORES_AUTO 0     /* by size: what the last-level cache cannot hold goes around it */
#define MOEQ_STORES_CACHED 1   /* the destination is read soon */
#define MOEQ_STORES_STREAMED 2 /* ... is not */

/* A handle over codes and scales made elsewhere. Adopts every tensor of `components`. `shape` is the weight's. */
MOEQ_API moeq_status moeq_qtensor_adopt(const moeq_context *context, const moeq_spec *spec, int32_t ndim,
                                        const int64_t *shape, const moeq_component *components, int64_t component_count,
                                        void *stream, moeq_qtensor **out, moeq_error *err);
MOEQ_API moeq_status moeq_qtensor_get_info(const moeq_qtensor *qtensor, moeq_qtensor_info *out, moeq_error *err);
/* The resolved spec. */
MOEQ_API moeq_status moeq_qtensor_get_spec(const moeq_qtensor *qtensor, moeq_spec *out, moeq_error *err);
/* A read-only view that shares ownership: no copy, and it may outlive the handle. Packed codes are uint8. */
MOEQ_API moeq_status moeq_qtensor_export(const moeq_qtensor *qtensor, int32_t component,
                                         struct DLManagedTensorVersioned **out, moeq_error *err);
/* HOT. New weights into the handle's own storage, by its spec, of its shape. All who share the storage (slices,
 * exported components) see them: exclude their readers too. VALUE and CALLBACK leave the contents unspecified, and
 * count as a generation. */
MOEQ_API moeq_status moeq_qtensor_requantize(moeq_qtensor *qtensor, const struct DLManagedTensorVersioned *source,
                                             const moeq_quantize_options *options, void *stream, moeq_error *err);
/* HOT. No handle at all: codes and scales straight into the caller's tensors (each one a destination). */
MOEQ_API moeq_status moeq_quantize_into(const moeq_context *context, const struct DLManagedTensorVersioned *source,
                                        const moeq_spec *spec, const moeq_quantize_options *options, void *stream,
                                        const moeq_component *destinations, int64_t destination_count, moeq_error *err);
/* A handle that shares storage. axis 0 experts, 1 rows, 2 columns; where a scale unit (tile, block, 256 nested
 * statistics) would be cut: ARGUMENT; what a format cannot slice at all: UNSUPPORTED. A part of the output axis loses
 * its layout tag, and columns of a weight in blocks per expert are one in blocks per row. */
MOEQ_API moeq_status moeq_qtensor_slice(const moeq_qtensor *qtensor, int32_t axis, int64_t begin, int64_t end,
                                        moeq_qtensor **out, moeq_error *err);
/* A handle with storage of its own on a device, in host or in pinned memory; compact, also from a slice. */
MOEQ_API moeq_status moeq_qtensor_copy(const moeq_qtensor *qtensor, int32_t device_type, int32_t device_id,
                                       void *stream, moeq_qtensor **out, moeq_error *err);

/* Columns of moeq_qtensor_compare. Scale is what a code is multiplied by: a/127, a/448 ..., absmax of a 4-bit
 * block. SATURATED: codes of the largest magnitude. */
#define MOEQ_METRIC_MAX_ERROR 0
#define MOEQ_METRIC_RMSE 1
#define MOEQ_METRIC_RMSE_OVER_SCALE 2
#define MOEQ_METRIC_SQNR_DB 3
#define MOEQ_METRIC_SATURATED 4 /* share of codes, 0..1 */
#define MOEQ_METRIC_ZERO 5      /* share of codes, 0..1 */
#define MOEQ_METRIC_AMAX 6      /* of the source */

/* Error against the dense source: destination fp64 [E, k] on the host, k <= 7; column j is METRIC j of each expert. */
MOEQ_API moeq_status moeq_qtensor_compare(const moeq_qtensor *qtensor, const struct DLManagedTensorVersioned *source,
                                          void *stream, struct DLManagedTensorVersioned *destination, moeq_error *err);

/* ---- 8. Builder: a weight that arrives in pieces ---------------------------------------------------------- */

/* Pieces come in any order and size. Each is encoded as soon as all elements that share its scale are there (row,
 * block, expert); what cannot be encoded yet is STAGED in the source's type. Staging is zero when every piece holds
 * whole scale units, at most one scale unit per unit in flight otherwise, and zero for EXPERT granularity when amax
 * is given. nested staging is 4 bytes per block until finish. Abandoning at any point leaks nothing. */

/* FROZEN. Part of a weight, in elements. */
typedef struct moeq_block {
    int64_t expert_begin, expert_end, row_begin, row_end, column_begin, column_end;
} moeq_block;

typedef struct moeq_builder_state {
    uint32_t struct_size;
    uint32_t reserved;
    int64_t  missing_elements; /* 0: moeq_builder_finish will succeed */
    int64_t  staged_bytes; /* of elements, and of nested statistics; a unit in flight takes 64 more for its books */
    int64_t  complete_experts;
} moeq_builder_state;

MOEQ_API moeq_status moeq_builder_create(const moeq_context *context, const moeq_spec *spec, int32_t ndim,
                                         const int64_t *shape, const moeq_quantize_options *options, void *stream,
                                         moeq_builder **out, moeq_error *err);
/* piece: [r, c] or [e, r, c], its first element at (expert, row, column); all pieces of one element type. May run at
 * the same time in several threads and on several streams. RANGE: outside; DUPLICATE: overlaps what is there (err
 * names the first such element); LIMIT: would stage more than staging_limit. A piece that was refused, for these or
 * for VALUE, MEMORY or CALLBACK, counts as not written and may be sent again. */
MOEQ_API moeq_status moeq_builder_write(moeq_builder *builder, int64_t expert, int64_t row, int64_t column,
                                        const struct DLManagedTensorVersioned *piece, void *stream, moeq_error *err);
MOEQ_API moeq_status moeq_builder_get_state(const moeq_builder *builder, moeq_builder_state *out, moeq_error *err);
/* The missing blocks in order of place: the first `capacity` of them (blocks may be NULL where that is 0), and how
 * many there are. */
MOEQ_API moeq_status moeq_builder_get_missing(const moeq_builder *builder, moeq_block *blocks, int64_t capacity,
                                              int64_t *out_count, moeq_error *err);
/* Turns the builder into a handle and destroys it; after INCOMPLETE it lives on. The handle is ready on `stream`. */
MOEQ_API moeq_status moeq_builder_finish(moeq_builder *builder, void *stream, moeq_qtensor **out, moeq_error *err);
MOEQ_API void        moeq_builder_destroy(moeq_builder *builder);

/* ---- 9. Reductions: one read of the data ------------------------------------------------------------------ */

#define MOEQ_REDUCE_AMAX 0
#define MOEQ_REDUCE_SUM 1

#define MOEQ_REDUCE_KEEP_AXES 1      /* reduced axes stay with extent 1 */
#define MOEQ_REDUCE_ACCUMULATE 2     /* destination = max (or sum) of itself and the result; shapes must agree */
#define MOEQ_REDUCE_SQUEEZE_SCALAR 4 /* a result of one element is 0-d even with KEEP_AXES */
#define MOEQ_REDUCE_EMPTY_IS_ALL 8   /* an empty list of axes reduces all of them, as in some frameworks, not none */
#define MOEQ_REDUCE_WRAP_INTEGERS 16 /* the most negative integer wraps, as in some frameworks; else it is widened */

/* blocks[d] = b > 0 cuts axis d into ceil(extent / b) blocks, the last one ragged, reduces inside each and leaves an
 * axis of blocks; such an axis is not one of `axes` then. 0 leaves axis d to `axes`. {1, 128, 128} with axes NULL
 * turns [E, R, C] into [E, ceil(R/128), ceil(C/128)]. */
typedef struct moeq_reduce_options {
    uint32_t struct_size;
    int32_t  operation;
    int32_t  flags;
    int32_t  axis_count;
    const int32_t *axes;   /* NULL: all; negative counts from the end; duplicates: MOEQ_ERROR_ARGUMENT */
    const int64_t *blocks; /* NULL, or a length per source axis */
    uint32_t *status_word; /* amax of data with NaN is NaN */
} moeq_reduce_options;

/* HOT. source: also fp64, uint8, int8..int64, FP8. destination: fp32, fp64, the source's type, or int64 for integers;
 * its shape as moeq_reduce_shape says. amax is exact; sums of floats are fp64 in one fixed order, whatever the threads
 * and strides (leaves of 256 elements in 16 lanes, a binary tree of leaves), and rounded once; sums of integers are
 * exact in 64 bits and wrap beyond. A narrow integer destination saturates. An empty reduction has the sum 0 and no
 * amax: SHAPE, but with ACCUMULATE the destination stays. A NaN result is the positive quiet one. */
MOEQ_API moeq_status moeq_reduce(const moeq_context *context, const struct DLManagedTensorVersioned *source,
                                 const moeq_reduce_options *options, void *stream,
                                 struct DLManagedTensorVersioned *destination, moeq_error *err);
/* HOT. Each source, of any type and shape, to one number, in one launch: destination [count]. axes and blocks must be
 * NULL; of the flags only ACCUMULATE and WRAP_INTEGERS. */
MOEQ_API moeq_status moeq_reduce_many(const moeq_context *context,
                                      const struct DLManagedTensorVersioned *const *sources,
                                      int64_t count, const moeq_reduce_options *options, void *stream,
                                      struct DLManagedTensorVersioned *destination, moeq_error *err);
/* out_shape has room for ndim. */
MOEQ_API moeq_status moeq_reduce_shape(int32_t ndim, const int64_t *shape, const moeq_reduce_options *options,
                                       int32_t *out_ndim, int64_t *out_shape, moeq_error *err);
/* The axes to reduce, ascending, when scales are kept per `quant_axes` (NULL or an empty list: none is kept);
 * out_axes has room for ndim. */
MOEQ_API moeq_status moeq_reduce_axes(int32_t ndim, const int32_t *quant_axes, int32_t quant_axis_count,
                                      int32_t *out_axes, int32_t *out_count, moeq_error *err);
/* HOT. The number that codes are multiplied by, for each amax (fp32, any shape, finite and not negative), by the
 * format's rule: docs/formats.md. destination: fp32, fp16 or bf16 of the same shape. VALUE names the place. */
MOEQ_API moeq_status moeq_scale_from_amax(const moeq_context *context, const struct DLManagedTensorVersioned *amax,
                                          const moeq_spec *spec, void *stream,
                                          struct DLManagedTensorVersioned *destination, moeq_error *err);

/* ---- 10. Reading checkpoints ------------------------------------------------------------------------------ */

/* A checkpoint is one .safetensors file, or a directory of them with model.safetensors.index.json; config.json beside
 * either. Only headers are read when it is opened. Hostile bytes give FORMAT, TRUNCATED, UNSUPPORTED, VERSION or LIMIT
 * with their class (docs/errors.md), in bounded time and memory; nothing is ever loaded in part. docs/store.md says
 * what is understood. */

#define MOEQ_DIALECT_NATIVE 0
#define MOEQ_DIALECT_BITSANDBYTES 1
#define MOEQ_DIALECT_COMPRESSED_TENSORS 2
#define MOEQ_DIALECT_HF_FP8 3
#define MOEQ_DIALECT_NONE -1 /* of a checkpoint: nothing in it is quantized */

#define MOEQ_STAGE_READ 1
#define MOEQ_STAGE_QUANTIZE 2
#define MOEQ_STAGE_WRITE 3
#define MOEQ_STAGE_VERIFY 4

typedef struct moeq_progress {
    uint32_t struct_size;
    int32_t  stage;
    const char *name; /* tensor, stack or file; valid during the call */
    int64_t  bytes_done, bytes_total;
} moeq_progress;
/* From one thread at a time, some tens of times a second at most. Cancelled work leaves nothing half-written. */
typedef int32_t (*moeq_progress_fn)(const moeq_progress *progress, void *user);

#define MOEQ_READER_MMAP 1    /* map instead of pread: handles are views of the file. It must not shrink: SIGBUS */
#define MOEQ_READER_LENIENT 2 /* accept NaN, Inf and negative scales (NF4 and FP4 may always have negative ones) */
#define MOEQ_READER_ALL_FILES 4 /* also .safetensors files of the directory that its index does not name */
#define MOEQ_READER_STRICT 8  /* refuse a tensor that is in a file and not in the index: FORMAT. Else it is read */

typedef struct moeq_reader_options {
    uint32_t struct_size;
    int32_t  flags;
    int64_t  header_limit; /* bytes of a file's header, of the index, of config.json; 0: 100,000,000 */
    const char *patterns;  /* JSON, for models that moeq does not know: docs/store.md, "Patterns". NULL: none */
} moeq_reader_options;

typedef struct moeq_reader_info {
    uint32_t struct_size;
    int32_t  dialect; /* of what is quantized in it */
    int64_t  tensor_count, stack_count, file_count;
    int64_t  bytes; /* of all tensors */
} moeq_reader_info;

/* One tensor of a file, and where it belongs: tensors of one stack are pieces of one [E, R, C] weight. */
typedef struct moeq_tensor_info {
    uint32_t struct_size;
    int32_t  dtype;
    int32_t  ndim;
    int32_t  component; /* 0: dense; the MOEQ_COMPONENT_ that it holds of a quantized weight; -1: describes one */
    int64_t  shape[8];
    const char *name;
    int64_t  bytes;
    int64_t  file;  /* index; tensors are listed file by file, in file order: read in this order */
    int64_t  stack; /* -1: no part of an expert weight */
    int64_t  expert, row, column; /* where the first element of the weight that it belongs to goes */
    int64_t  experts; /* of the stack, that this weight has a part of: 1, or all of them; 0: no part of one */
} moeq_tensor_info;

/* A weight of all experts of a layer: one fused tensor, or a group of 2-D ones, of which gate and up are one stack. */
typedef struct moeq_stack_info {
    uint32_t struct_size;
    int32_t  dtype;      /* of a dense stack; of a quantized one what it stands for */
    int32_t  layout;     /* these two come from the model's type and names, never from sizes: */
    int32_t  scale_axis; /* copy them into the spec */
    int32_t  quantized;  /* 1: already; moeq_reader_load takes it as it is */
    int32_t  fused;      /* 1: the file has one tensor for all experts */
    const char *name;    /* "model.layers.3.mlp.experts.gate_up_proj" */
    int64_t  shape[3];   /* experts, rows, columns */
    int64_t  bytes;      /* in the files */
} moeq_stack_info;

typedef struct moeq_load_options {
    uint32_t struct_size;
    int32_t  device_type;
    int32_t  device_id;
    int32_t  tp_rank; /* this rank's cut of the output axis (gate and up each), or of the contraction axis (down) */
    int32_t  tp_size; /* 0 or 1: no cut */
    int32_t  reserved;
    int64_t  expert_begin;
    int64_t  expert_end;   /* 0: to the last. Bytes of other experts are not read */
    const moeq_spec *spec; /* quantize a dense stack while it streams in; NULL: only stacks that are quantized */
    const struct DLManagedTensorVersioned *amax; /* fp32 [experts loaded], EXPERT granularity */
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
/* The spec of a quantized stack; STATE for a dense one. */
MOEQ_API moeq_status moeq_reader_get_stack_spec(const moeq_reader *reader, int64_t stack, moeq_spec *out,
                                                moeq_error *err);
/* Index of a tensor or of a stack by name; the other one is -1 (one name may be both). NOT_FOUND: neither. */
MOEQ_API moeq_status moeq_reader_find(const moeq_reader *reader, const char *name, int64_t *out_tensor,
                                      int64_t *out_stack, moeq_error *err);
/* Part of one tensor, from `begin` along its first axis, as many as destination has; destination in host memory,
 * row-major, of the tensor's type (or its bytes as uint8 [n]: then `begin` counts bytes). */
MOEQ_API moeq_status moeq_reader_read(const moeq_reader *reader, int64_t tensor, int64_t begin,
                                      struct DLManagedTensorVersioned *destination, moeq_error *err);
/* A whole stack as a handle, streamed: peak = result + buffers of at most 64 MiB, whatever order the file has. With
 * MOEQ_READER_MMAP a native stack is adopted where it lies: no byte is read, so bad scales are for moeq_reader_verify
 * to find. Scales that are not adopted are looked at, also where the spec quantizes the stack anew: NaN, Inf and
 * negative ones are VALUE unless the reader is lenient. INCOMPLETE names a missing expert. */
MOEQ_API moeq_status moeq_reader_load(const moeq_reader *reader, int64_t stack, const moeq_load_options *options,
                                      void *stream, moeq_qtensor **out, moeq_error *err);
/* JSON: model type, dialect, files with sizes and their __metadata__; what there is of other schemes ("foreign"), and
 * what files and index do not agree on ("strays", "unlisted"). */
MOEQ_API moeq_status moeq_reader_metadata(const moeq_reader *reader, moeq_blob **out, moeq_error *err);
/* Reads everything. JSON {"checked": {...}, "problems": [...]} of what is wrong: scales missing, non-finite or
 * disagreeing inside a group; experts missing or left dense; digests. Problems are no error. */
MOEQ_API moeq_status moeq_reader_verify(const moeq_reader *reader, moeq_progress_fn progress, void *user,
                                        moeq_blob **out, moeq_error *err);

/* ---- 11. Writing and converting checkpoints --------------------------------------------------------------- */

#define MOEQ_WRITER_NOT_DURABLE 1 /* no fsync: atomic still, but not across a power cut */

typedef struct moeq_writer_options {
    uint32_t struct_size;
    int32_t  dialect;
    int32_t  flags;
    int32_t  reserved;
    const char *metadata; /* JSON object of strings for __metadata__ */
} moeq_writer_options;

/* One .safetensors file: create, declare everything, put in any order, commit. Until commit `path` is untouched; the
 * temporary file is in its directory. Metadata keys that begin with "moeq." are the library's. No config.json is
 * written, by which alone COMPRESSED_TENSORS and HF_FP8 are recognised; the other dialects' files say what they are. */
MOEQ_API moeq_status moeq_writer_create(const moeq_context *context, const char *path,
                                        const moeq_writer_options *options, moeq_writer **out, moeq_error *err);
/* spec NULL: a plain tensor of dtype; else a quantized weight (dtype ignored), in as many entries as the
 * dialect has; UNSUPPORTED says what the dialect cannot hold. */
MOEQ_API moeq_status moeq_writer_declare(moeq_writer *writer, const char *name, const moeq_spec *spec, int32_t dtype,
                                         int32_t ndim, const int64_t *shape, moeq_error *err);
/* The first put ends declaring. tensor: any strides, of the declared type and shape (or its bytes as uint8 [n]), in
 * host memory. */
MOEQ_API moeq_status moeq_writer_put(moeq_writer *writer, const char *name,
                                     const struct DLManagedTensorVersioned *tensor, void *stream, moeq_error *err);
/* qtensor: of the declared shape and spec, nonfinite policy aside; else MISMATCH. */
MOEQ_API moeq_status moeq_writer_put_qtensor(moeq_writer *writer, const char *name, const moeq_qtensor *qtensor,
                                             void *stream, moeq_error *err);
/* INCOMPLETE names what was declared and not put; it may then be put. After any other failure the writer is only to be
 * destroyed. After success it is done: STATE for every other call. The old file is untouched by every failure but
 * one, which says so: syncing the directory after the rename. */
MOEQ_API moeq_status moeq_writer_commit(moeq_writer *writer, moeq_error *err);
MOEQ_API void        moeq_writer_destroy(moeq_writer *writer); /* not committed: no trace stays */

/* A checkpoint is converted in UNITS: each reads what it needs, writes its own files into TARGET.partial and a record
 * with digests. Units are independent and give the same bytes wherever they run; any number of processes or machines
 * with a common POSIX file system may share them. Finish checks all records, writes index, config and report, and
 * renames; of several that do so at once all succeed. A target that exists is refused, but for a call that is to do
 * units only and finds them done. */
#define MOEQ_CONVERT_UNITS 1  /* do units [unit_begin, unit_end); finished ones are verified and skipped */
#define MOEQ_CONVERT_FINISH 2 /* INCOMPLETE names the units still missing */

/* Flags. Codes of schemes that moeq does not read are refused where config.json would no longer say what they are
 * (UNSUPPORTED), and so are codes without scales (FORMAT); with KEEP_FOREIGN they are copied, and the report says so. */
#define MOEQ_CONVERT_KEEP_FOREIGN 2
#define MOEQ_CONVERT_WEIGHTS_ONLY 4 /* COMPRESSED_TENSORS: new weights ask for no quantized activations */
#define MOEQ_CONVERT_ALL_FILES 8    /* as MOEQ_READER_ALL_FILES, of the source */

typedef struct moeq_convert_options {
    uint32_t struct_size;
    int32_t  dialect;
    int32_t  steps; /* 0: all units, then finish */
    int32_t  flags; /* MOEQ_WRITER_NOT_DURABLE, MOEQ_CONVERT_ flags */
    const moeq_spec *spec; /* for every expert stack; NULL: dense ones stay dense, quantized ones keep theirs ... */
    const char *rules;     /* ... except JSON [{"match": glob, "spec": text or null}, ...] on names of stacks and of
                              2-D tensors; first match wins. "bf16", "fp16" and "fp32" for a spec make what is quantized
                              dense, null keeps what there is */
    const char *patterns;  /* as in moeq_reader_options */
    int64_t  unit_begin;
    int64_t  unit_end;     /* 0: to the last */
    moeq_progress_fn progress;
    void *progress_user;
    int32_t  dense_dtype;  /* MOEQ_DTYPE_FP32, FP16 or BF16, with spec NULL: every quantized weight, of experts or not,
                              becomes dense, decoded in fp32 and rounded once. Names, shapes and what is dense already
                              stay. 0: none does */
    int32_t  reserved;
} moeq_convert_options;

/* Dry run. JSON: units with bytes and peak, what is quantized to what, what is not and why (docs/store.md). Same input,
 * same plan, wherever source and target lie, but for "finished": the units that TARGET.partial has records of. */
MOEQ_API moeq_status moeq_convert_plan(const moeq_context *context, const char *source, const char *target,
                                       const moeq_convert_options *options, moeq_blob **out, moeq_error *err);
MOEQ_API moeq_status moeq_convert(const moeq_context *context, const char *source, const char *target,
                                  const moeq_convert_options *options, moeq_error *err);

/* [moeq.end] */

#ifdef __cplusplus
}
#endif
#endif /* MOEQ_H */
