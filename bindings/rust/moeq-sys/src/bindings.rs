// Rust declarations of include/moeq.h. Generated, do not edit: python3 tools/gen_rust_bindings.py --update

use crate::dlpack::{DLManagedTensor, DLManagedTensorVersioned};

pub const MOEQ_VERSION_MAJOR: i32 = 0;
pub const MOEQ_VERSION_MINOR: i32 = 1;
pub const MOEQ_VERSION_PATCH: i32 = 0;
pub const MOEQ_ABI_VERSION: i32 = 1;
pub const MOEQ_OK: i32 = 0;
pub const MOEQ_FORMAT_INT8: i32 = 1;
pub const MOEQ_FORMAT_NF4: i32 = 2;
pub const MOEQ_FORMAT_FP4: i32 = 3;
pub const MOEQ_FORMAT_FP8_E4M3: i32 = 4;
pub const MOEQ_FORMAT_FP8_E5M2: i32 = 5;
pub const MOEQ_FORMAT_MXFP8: i32 = 6;
pub const MOEQ_ERROR_ARGUMENT: i32 = -10;
pub const MOEQ_ERROR_SHAPE: i32 = -11;
pub const MOEQ_ERROR_DTYPE: i32 = -12;
pub const MOEQ_ERROR_LAYOUT: i32 = -13;
pub const MOEQ_ERROR_DEVICE: i32 = -14;
pub const MOEQ_ERROR_READ_ONLY: i32 = -15;
pub const MOEQ_ERROR_RANGE: i32 = -16;
pub const MOEQ_ERROR_VALUE: i32 = -17;
pub const MOEQ_ERROR_VERSION: i32 = -18;
pub const MOEQ_ERROR_STATE: i32 = -20;
pub const MOEQ_ERROR_DUPLICATE: i32 = -21;
pub const MOEQ_ERROR_INCOMPLETE: i32 = -22;
pub const MOEQ_ERROR_NOT_FOUND: i32 = -23;
pub const MOEQ_ERROR_MISMATCH: i32 = -24;
pub const MOEQ_ERROR_UNSUPPORTED: i32 = -30;
pub const MOEQ_ERROR_BACKEND: i32 = -31;
pub const MOEQ_ERROR_MEMORY: i32 = -40;
pub const MOEQ_ERROR_DEVICE_MEMORY: i32 = -41;
pub const MOEQ_ERROR_LIMIT: i32 = -42;
pub const MOEQ_ERROR_IO: i32 = -50;
pub const MOEQ_ERROR_FORMAT: i32 = -51;
pub const MOEQ_ERROR_TRUNCATED: i32 = -52;
pub const MOEQ_ERROR_DIGEST: i32 = -53;
pub const MOEQ_ERROR_CALLBACK: i32 = -60;
pub const MOEQ_ERROR_CANCELLED: i32 = -61;
pub const MOEQ_ERROR_CUDA: i32 = -70;
pub const MOEQ_ERROR_CUDA_LOST: i32 = -71;
pub const MOEQ_ERROR_CUDA_EARLIER: i32 = -72;
pub const MOEQ_ERROR_CAPTURE: i32 = -73;
pub const MOEQ_ERROR_FORKED: i32 = -74;
pub const MOEQ_ERROR_INTERNAL: i32 = -90;
pub const MOEQ_CONTINUE: i32 = 1;
pub const MOEQ_DEVICE_DEFAULT: i32 = 0;
pub const MOEQ_DEVICE_CPU: i32 = 1;
pub const MOEQ_DEVICE_CUDA: i32 = 2;
pub const MOEQ_DEVICE_CUDA_HOST: i32 = 3;
pub const MOEQ_DEVICE_CUDA_MANAGED: i32 = 13;
pub const MOEQ_DTYPE_DEFAULT: i32 = 0;
pub const MOEQ_DTYPE_FP32: i32 = 73730;
pub const MOEQ_DTYPE_FP16: i32 = 69634;
pub const MOEQ_DTYPE_BF16: i32 = 69636;
pub const MOEQ_DTYPE_FP64: i32 = 81922;
pub const MOEQ_DTYPE_FP8_E4M3FN: i32 = 67594;
pub const MOEQ_DTYPE_FP8_E5M2: i32 = 67596;
pub const MOEQ_DTYPE_INT8: i32 = 67584;
pub const MOEQ_DTYPE_UINT8: i32 = 67585;
pub const MOEQ_DTYPE_INT32: i32 = 73728;
pub const MOEQ_DTYPE_INT64: i32 = 81920;
pub const MOEQ_DTYPE_BOOL: i32 = 67590;
pub const MOEQ_DTYPE_INT16: i32 = 69632;
pub const MOEQ_DTYPE_UINT16: i32 = 69633;
pub const MOEQ_DTYPE_UINT32: i32 = 73729;
pub const MOEQ_DTYPE_UINT64: i32 = 81921;
pub const MOEQ_DTYPE_FP8_E8M0: i32 = 67598;
pub const MOEQ_DTYPE_FP8_E4M3FNUZ: i32 = 67595;
pub const MOEQ_DTYPE_FP8_E5M2FNUZ: i32 = 67597;
pub const MOEQ_DTYPE_FP6_E2M3: i32 = 67087;
pub const MOEQ_DTYPE_FP6_E3M2: i32 = 67088;
pub const MOEQ_DTYPE_FP4_E2M1: i32 = 66577;
pub const MOEQ_DTYPE_COMPLEX64: i32 = 81925;
pub const MOEQ_SEEN_NAN: i32 = 1;
pub const MOEQ_SEEN_INF: i32 = 2;
pub const MOEQ_SEEN_BAD_EXPERT: i32 = 4;
pub const MOEQ_SEEN_SATURATED: i32 = 8;
pub const MOEQ_CPU_TIER_BEST: i32 = 0;
pub const MOEQ_CPU_TIER_SCALAR: i32 = 1;
pub const MOEQ_CPU_TIER_AVX2: i32 = 2;
pub const MOEQ_CPU_TIER_AVX512: i32 = 3;
pub const MOEQ_CPU_TIER_NEON: i32 = 4;
pub const MOEQ_GRANULARITY_DEFAULT: i32 = 0;
pub const MOEQ_GRANULARITY_ROW: i32 = 1;
pub const MOEQ_GRANULARITY_EXPERT: i32 = 2;
pub const MOEQ_GRANULARITY_BLOCK: i32 = 3;
pub const MOEQ_BLOCKING_EXPERT: i32 = 0;
pub const MOEQ_BLOCKING_ROW: i32 = 1;
pub const MOEQ_BLOCKING_FLAT: i32 = 2;
pub const MOEQ_SCALE_DEFAULT: i32 = 0;
pub const MOEQ_SCALE_ABSMAX: i32 = 1;
pub const MOEQ_SCALE_FACTOR: i32 = 2;
pub const MOEQ_LAYOUT_PLAIN: i32 = 0;
pub const MOEQ_LAYOUT_GATE_UP: i32 = 1;
pub const MOEQ_LAYOUT_UP_GATE: i32 = 2;
pub const MOEQ_LAYOUT_GATE_UP_INTERLEAVED: i32 = 3;
pub const MOEQ_NONFINITE_REFUSE: i32 = 0;
pub const MOEQ_NONFINITE_SATURATE: i32 = 1;
pub const MOEQ_PROFILE_MOEQ: i32 = 0;
pub const MOEQ_PROFILE_BNB_CPU: i32 = 1;
pub const MOEQ_PROFILE_BNB_CPU_FP16: i32 = 2;
pub const MOEQ_COMPONENT_CODES: i32 = 1;
pub const MOEQ_COMPONENT_SCALE: i32 = 2;
pub const MOEQ_COMPONENT_NESTED_SCALE: i32 = 3;
pub const MOEQ_COMPONENT_NESTED_MAP: i32 = 4;
pub const MOEQ_COMPONENT_NESTED_OFFSET: i32 = 5;
pub const MOEQ_COMPONENT_CODE_MAP: i32 = 6;
pub const MOEQ_COMPONENT_GLOBAL_SCALE: i32 = 7;
pub const MOEQ_SPEC_TEXT: i32 = 128;
pub const MOEQ_STORES_AUTO: i32 = 0;
pub const MOEQ_STORES_CACHED: i32 = 1;
pub const MOEQ_STORES_STREAMED: i32 = 2;
pub const MOEQ_METRIC_MAX_ERROR: i32 = 0;
pub const MOEQ_METRIC_RMSE: i32 = 1;
pub const MOEQ_METRIC_RMSE_OVER_SCALE: i32 = 2;
pub const MOEQ_METRIC_SQNR_DB: i32 = 3;
pub const MOEQ_METRIC_SATURATED: i32 = 4;
pub const MOEQ_METRIC_ZERO: i32 = 5;
pub const MOEQ_METRIC_AMAX: i32 = 6;
pub const MOEQ_REDUCE_AMAX: i32 = 0;
pub const MOEQ_REDUCE_SUM: i32 = 1;
pub const MOEQ_REDUCE_KEEP_AXES: i32 = 1;
pub const MOEQ_REDUCE_ACCUMULATE: i32 = 2;
pub const MOEQ_REDUCE_SQUEEZE_SCALAR: i32 = 4;
pub const MOEQ_REDUCE_EMPTY_IS_ALL: i32 = 8;
pub const MOEQ_REDUCE_WRAP_INTEGERS: i32 = 16;
pub const MOEQ_DIALECT_NATIVE: i32 = 0;
pub const MOEQ_DIALECT_BITSANDBYTES: i32 = 1;
pub const MOEQ_DIALECT_COMPRESSED_TENSORS: i32 = 2;
pub const MOEQ_DIALECT_HF_FP8: i32 = 3;
pub const MOEQ_DIALECT_NONE: i32 = -1;
pub const MOEQ_STAGE_READ: i32 = 1;
pub const MOEQ_STAGE_QUANTIZE: i32 = 2;
pub const MOEQ_STAGE_WRITE: i32 = 3;
pub const MOEQ_STAGE_VERIFY: i32 = 4;
pub const MOEQ_READER_MMAP: i32 = 1;
pub const MOEQ_READER_LENIENT: i32 = 2;
pub const MOEQ_READER_ALL_FILES: i32 = 4;
pub const MOEQ_READER_STRICT: i32 = 8;
pub const MOEQ_WRITER_NOT_DURABLE: i32 = 1;
pub const MOEQ_CONVERT_UNITS: i32 = 1;
pub const MOEQ_CONVERT_FINISH: i32 = 2;
pub const MOEQ_CONVERT_KEEP_FOREIGN: i32 = 2;
pub const MOEQ_CONVERT_WEIGHTS_ONLY: i32 = 4;
pub const MOEQ_CONVERT_ALL_FILES: i32 = 8;
pub type moeq_status = i32;
#[repr(C)]
#[derive(Debug)]
pub struct moeq_context {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct moeq_qtensor {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct moeq_builder {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct moeq_reader {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct moeq_writer {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct moeq_blob {
    _unused: [u8; 0],
}
/// FROZEN, 512 bytes; needs no initialisation; no pointers, so it may be copied and outlive everything.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct moeq_error {
    pub status: i32,
    /// errno or CUDA code; 0: none
    pub os_error: i32,
    /// 1 = first argument of the function; 0: none in particular
    pub argument: i32,
    pub reserved: i32,
    /// class of docs/errors.md, "F07"; "" where there is none
    pub class_id: [::core::ffi::c_char; 8usize],
    /// the place in the data; -1: none
    pub expert: i64,
    pub row: i64,
    pub column: i64,
    /// function, argument, got, wanted, one hint; names in it are escaped
    pub message: [::core::ffi::c_char; 464usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of moeq_error"][::core::mem::size_of::<moeq_error>() - 512usize];
    ["Alignment of moeq_error"][::core::mem::align_of::<moeq_error>() - 8usize];
    [
        "Offset of field: moeq_error::status",
    ][::core::mem::offset_of!(moeq_error, status) - 0usize];
    [
        "Offset of field: moeq_error::os_error",
    ][::core::mem::offset_of!(moeq_error, os_error) - 4usize];
    [
        "Offset of field: moeq_error::argument",
    ][::core::mem::offset_of!(moeq_error, argument) - 8usize];
    [
        "Offset of field: moeq_error::reserved",
    ][::core::mem::offset_of!(moeq_error, reserved) - 12usize];
    [
        "Offset of field: moeq_error::class_id",
    ][::core::mem::offset_of!(moeq_error, class_id) - 16usize];
    [
        "Offset of field: moeq_error::expert",
    ][::core::mem::offset_of!(moeq_error, expert) - 24usize];
    [
        "Offset of field: moeq_error::row",
    ][::core::mem::offset_of!(moeq_error, row) - 32usize];
    [
        "Offset of field: moeq_error::column",
    ][::core::mem::offset_of!(moeq_error, column) - 40usize];
    [
        "Offset of field: moeq_error::message",
    ][::core::mem::offset_of!(moeq_error, message) - 48usize];
};
impl Default for moeq_error {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
/** Both may be called from several threads at once. bytes is at least 1, and the same in free as in alloc; alignment
 is always 64. alloc returns NULL when there is none left; free is never given NULL.*/
pub type moeq_host_alloc_fn = ::core::option::Option<
    unsafe extern "C" fn(
        bytes: u64,
        alignment: u64,
        user: *mut ::core::ffi::c_void,
    ) -> *mut ::core::ffi::c_void,
>;
pub type moeq_host_free_fn = ::core::option::Option<
    unsafe extern "C" fn(
        memory: *mut ::core::ffi::c_void,
        bytes: u64,
        user: *mut ::core::ffi::c_void,
    ),
>;
/** Calls run(index, task) for each index in [0, count), once each, from any threads, in any order; returns
 MOEQ_CONTINUE when all are done. The tasks do not wait for each other.
 Whatever it returns, none of them may run after that.*/
pub type moeq_task_fn = ::core::option::Option<
    unsafe extern "C" fn(index: i64, task: *mut ::core::ffi::c_void),
>;
pub type moeq_parallel_for_fn = ::core::option::Option<
    unsafe extern "C" fn(
        run: moeq_task_fn,
        task: *mut ::core::ffi::c_void,
        count: i64,
        user: *mut ::core::ffi::c_void,
    ) -> i32,
>;
pub type moeq_destroy_fn = ::core::option::Option<
    unsafe extern "C" fn(user: *mut ::core::ffi::c_void),
>;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct moeq_context_options {
    pub struct_size: u32,
    /// 0: cores, affinity, quota and MOEQ_NUM_THREADS decide; 1: serial
    pub thread_limit: i32,
    /// force a lower one (so does MOEQ_CPU_TIER); one that the CPU lacks: UNSUPPORTED
    pub cpu_tier: i32,
    pub reserved: i32,
    /// both or neither
    pub host_alloc: moeq_host_alloc_fn,
    pub host_free: moeq_host_free_fn,
    /// NULL: a small pool of our own
    pub parallel_for: moeq_parallel_for_fn,
    /// for all of the above
    pub user: *mut ::core::ffi::c_void,
    /// called once, after the last use of `user` by the last handle
    pub user_destroy: moeq_destroy_fn,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of moeq_context_options",
    ][::core::mem::size_of::<moeq_context_options>() - 56usize];
    [
        "Alignment of moeq_context_options",
    ][::core::mem::align_of::<moeq_context_options>() - 8usize];
    [
        "Offset of field: moeq_context_options::struct_size",
    ][::core::mem::offset_of!(moeq_context_options, struct_size) - 0usize];
    [
        "Offset of field: moeq_context_options::thread_limit",
    ][::core::mem::offset_of!(moeq_context_options, thread_limit) - 4usize];
    [
        "Offset of field: moeq_context_options::cpu_tier",
    ][::core::mem::offset_of!(moeq_context_options, cpu_tier) - 8usize];
    [
        "Offset of field: moeq_context_options::reserved",
    ][::core::mem::offset_of!(moeq_context_options, reserved) - 12usize];
    [
        "Offset of field: moeq_context_options::host_alloc",
    ][::core::mem::offset_of!(moeq_context_options, host_alloc) - 16usize];
    [
        "Offset of field: moeq_context_options::host_free",
    ][::core::mem::offset_of!(moeq_context_options, host_free) - 24usize];
    [
        "Offset of field: moeq_context_options::parallel_for",
    ][::core::mem::offset_of!(moeq_context_options, parallel_for) - 32usize];
    [
        "Offset of field: moeq_context_options::user",
    ][::core::mem::offset_of!(moeq_context_options, user) - 40usize];
    [
        "Offset of field: moeq_context_options::user_destroy",
    ][::core::mem::offset_of!(moeq_context_options, user_destroy) - 48usize];
};
impl Default for moeq_context_options {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
/// What codes and scales mean. A value; equal specs give equal bytes on every device. Words for the fields: section 6.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct moeq_spec {
    pub struct_size: u32,
    /// the one field without a default
    pub format: i32,
    pub granularity: i32,
    /// 0: format's default (NF4, FP4, MXFP8: 1; else 128)
    pub block_rows: i32,
    /// 0: format's default (NF4, FP4: 64; MXFP8: 32; else 128)
    pub block_columns: i32,
    pub blocking: i32,
    /// the contraction axis: 0 or -1 the last, -2 the one before ([E, in, out] layouts)
    pub scale_axis: i32,
    pub scale_kind: i32,
    /// 1: absmax itself in 8 bits (bitsandbytes' double quantization)
    pub nested: i32,
    pub layout: i32,
    pub nonfinite: i32,
    pub profile: i32,
    /// what the weight stands for; 0: the source's type, and bf16 where there is no source
    pub logical_dtype: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of moeq_spec"][::core::mem::size_of::<moeq_spec>() - 52usize];
    ["Alignment of moeq_spec"][::core::mem::align_of::<moeq_spec>() - 4usize];
    [
        "Offset of field: moeq_spec::struct_size",
    ][::core::mem::offset_of!(moeq_spec, struct_size) - 0usize];
    [
        "Offset of field: moeq_spec::format",
    ][::core::mem::offset_of!(moeq_spec, format) - 4usize];
    [
        "Offset of field: moeq_spec::granularity",
    ][::core::mem::offset_of!(moeq_spec, granularity) - 8usize];
    [
        "Offset of field: moeq_spec::block_rows",
    ][::core::mem::offset_of!(moeq_spec, block_rows) - 12usize];
    [
        "Offset of field: moeq_spec::block_columns",
    ][::core::mem::offset_of!(moeq_spec, block_columns) - 16usize];
    [
        "Offset of field: moeq_spec::blocking",
    ][::core::mem::offset_of!(moeq_spec, blocking) - 20usize];
    [
        "Offset of field: moeq_spec::scale_axis",
    ][::core::mem::offset_of!(moeq_spec, scale_axis) - 24usize];
    [
        "Offset of field: moeq_spec::scale_kind",
    ][::core::mem::offset_of!(moeq_spec, scale_kind) - 28usize];
    [
        "Offset of field: moeq_spec::nested",
    ][::core::mem::offset_of!(moeq_spec, nested) - 32usize];
    [
        "Offset of field: moeq_spec::layout",
    ][::core::mem::offset_of!(moeq_spec, layout) - 36usize];
    [
        "Offset of field: moeq_spec::nonfinite",
    ][::core::mem::offset_of!(moeq_spec, nonfinite) - 40usize];
    [
        "Offset of field: moeq_spec::profile",
    ][::core::mem::offset_of!(moeq_spec, profile) - 44usize];
    [
        "Offset of field: moeq_spec::logical_dtype",
    ][::core::mem::offset_of!(moeq_spec, logical_dtype) - 48usize];
};
/// FROZEN (used in arrays).
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct moeq_component {
    pub component: i32,
    pub reserved: i32,
    pub tensor: *mut DLManagedTensorVersioned,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of moeq_component"][::core::mem::size_of::<moeq_component>() - 16usize];
    ["Alignment of moeq_component"][::core::mem::align_of::<moeq_component>() - 8usize];
    [
        "Offset of field: moeq_component::component",
    ][::core::mem::offset_of!(moeq_component, component) - 0usize];
    [
        "Offset of field: moeq_component::reserved",
    ][::core::mem::offset_of!(moeq_component, reserved) - 4usize];
    [
        "Offset of field: moeq_component::tensor",
    ][::core::mem::offset_of!(moeq_component, tensor) - 8usize];
};
impl Default for moeq_component {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct moeq_quantize_options {
    pub struct_size: u32,
    /// where the handle shall live; not with storage
    pub device_type: i32,
    pub device_id: i32,
    pub reserved: i32,
    /// fp32 [E], EXPERT granularity: given, not measured
    pub amax: *const DLManagedTensorVersioned,
    /// quantize, builder: adopt these and write into them, allocate no others
    pub storage: *const moeq_component,
    pub storage_count: i64,
    /// builder: bytes it may stage; 0: no limit of our own
    pub staging_limit: i64,
    pub status_word: *mut u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of moeq_quantize_options",
    ][::core::mem::size_of::<moeq_quantize_options>() - 56usize];
    [
        "Alignment of moeq_quantize_options",
    ][::core::mem::align_of::<moeq_quantize_options>() - 8usize];
    [
        "Offset of field: moeq_quantize_options::struct_size",
    ][::core::mem::offset_of!(moeq_quantize_options, struct_size) - 0usize];
    [
        "Offset of field: moeq_quantize_options::device_type",
    ][::core::mem::offset_of!(moeq_quantize_options, device_type) - 4usize];
    [
        "Offset of field: moeq_quantize_options::device_id",
    ][::core::mem::offset_of!(moeq_quantize_options, device_id) - 8usize];
    [
        "Offset of field: moeq_quantize_options::reserved",
    ][::core::mem::offset_of!(moeq_quantize_options, reserved) - 12usize];
    [
        "Offset of field: moeq_quantize_options::amax",
    ][::core::mem::offset_of!(moeq_quantize_options, amax) - 16usize];
    [
        "Offset of field: moeq_quantize_options::storage",
    ][::core::mem::offset_of!(moeq_quantize_options, storage) - 24usize];
    [
        "Offset of field: moeq_quantize_options::storage_count",
    ][::core::mem::offset_of!(moeq_quantize_options, storage_count) - 32usize];
    [
        "Offset of field: moeq_quantize_options::staging_limit",
    ][::core::mem::offset_of!(moeq_quantize_options, staging_limit) - 40usize];
    [
        "Offset of field: moeq_quantize_options::status_word",
    ][::core::mem::offset_of!(moeq_quantize_options, status_word) - 48usize];
};
impl Default for moeq_quantize_options {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
/** Which part of a weight a call is about. All zero: everything. Of `experts` and `expert_ids` at most one is given; a
 list of none selects none. Row ranges are not empty, but for [r, r) with r > 0.*/
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct moeq_region {
    pub struct_size: u32,
    /// MOEQ_STORES_, section 7
    pub stores: i32,
    /// host list; repeated ids are fine. NULL: see expert_ids
    pub experts: *const i64,
    pub expert_count: i64,
    /// or int32/int64 [n] on the handle's device; NULL: all
    pub expert_ids: *const DLManagedTensorVersioned,
    pub row_begin: i64,
    /// 0: to the last
    pub row_end: i64,
    pub status_word: *mut u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of moeq_region"][::core::mem::size_of::<moeq_region>() - 56usize];
    ["Alignment of moeq_region"][::core::mem::align_of::<moeq_region>() - 8usize];
    [
        "Offset of field: moeq_region::struct_size",
    ][::core::mem::offset_of!(moeq_region, struct_size) - 0usize];
    [
        "Offset of field: moeq_region::stores",
    ][::core::mem::offset_of!(moeq_region, stores) - 4usize];
    [
        "Offset of field: moeq_region::experts",
    ][::core::mem::offset_of!(moeq_region, experts) - 8usize];
    [
        "Offset of field: moeq_region::expert_count",
    ][::core::mem::offset_of!(moeq_region, expert_count) - 16usize];
    [
        "Offset of field: moeq_region::expert_ids",
    ][::core::mem::offset_of!(moeq_region, expert_ids) - 24usize];
    [
        "Offset of field: moeq_region::row_begin",
    ][::core::mem::offset_of!(moeq_region, row_begin) - 32usize];
    [
        "Offset of field: moeq_region::row_end",
    ][::core::mem::offset_of!(moeq_region, row_end) - 40usize];
    [
        "Offset of field: moeq_region::status_word",
    ][::core::mem::offset_of!(moeq_region, status_word) - 48usize];
};
impl Default for moeq_region {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct moeq_memory {
    pub struct_size: u32,
    pub reserved: u32,
    /// bytes that went through the context and are in use
    pub host_live: i64,
    /// the most that ever were; never falls
    pub host_peak: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of moeq_memory"][::core::mem::size_of::<moeq_memory>() - 24usize];
    ["Alignment of moeq_memory"][::core::mem::align_of::<moeq_memory>() - 8usize];
    [
        "Offset of field: moeq_memory::struct_size",
    ][::core::mem::offset_of!(moeq_memory, struct_size) - 0usize];
    [
        "Offset of field: moeq_memory::reserved",
    ][::core::mem::offset_of!(moeq_memory, reserved) - 4usize];
    [
        "Offset of field: moeq_memory::host_live",
    ][::core::mem::offset_of!(moeq_memory, host_live) - 8usize];
    [
        "Offset of field: moeq_memory::host_peak",
    ][::core::mem::offset_of!(moeq_memory, host_peak) - 16usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct moeq_component_info {
    pub struct_size: u32,
    pub component: i32,
    pub dtype: i32,
    pub ndim: i32,
    /// unused entries are 0
    pub shape: [i64; 8usize],
    pub bytes: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of moeq_component_info",
    ][::core::mem::size_of::<moeq_component_info>() - 88usize];
    [
        "Alignment of moeq_component_info",
    ][::core::mem::align_of::<moeq_component_info>() - 8usize];
    [
        "Offset of field: moeq_component_info::struct_size",
    ][::core::mem::offset_of!(moeq_component_info, struct_size) - 0usize];
    [
        "Offset of field: moeq_component_info::component",
    ][::core::mem::offset_of!(moeq_component_info, component) - 4usize];
    [
        "Offset of field: moeq_component_info::dtype",
    ][::core::mem::offset_of!(moeq_component_info, dtype) - 8usize];
    [
        "Offset of field: moeq_component_info::ndim",
    ][::core::mem::offset_of!(moeq_component_info, ndim) - 12usize];
    [
        "Offset of field: moeq_component_info::shape",
    ][::core::mem::offset_of!(moeq_component_info, shape) - 16usize];
    [
        "Offset of field: moeq_component_info::bytes",
    ][::core::mem::offset_of!(moeq_component_info, bytes) - 80usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct moeq_qtensor_info {
    pub struct_size: u32,
    pub device_type: i32,
    pub device_id: i32,
    pub ndim: i32,
    /// as it was given
    pub shape: [i64; 8usize],
    /// the same as experts, rows, columns
    pub folded: [i64; 3usize],
    /// of all components
    pub bytes: i64,
    /// 1, and one more after each requantize
    pub generation: u64,
    /// [device]
    pub home_stream: *mut ::core::ffi::c_void,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of moeq_qtensor_info",
    ][::core::mem::size_of::<moeq_qtensor_info>() - 128usize];
    [
        "Alignment of moeq_qtensor_info",
    ][::core::mem::align_of::<moeq_qtensor_info>() - 8usize];
    [
        "Offset of field: moeq_qtensor_info::struct_size",
    ][::core::mem::offset_of!(moeq_qtensor_info, struct_size) - 0usize];
    [
        "Offset of field: moeq_qtensor_info::device_type",
    ][::core::mem::offset_of!(moeq_qtensor_info, device_type) - 4usize];
    [
        "Offset of field: moeq_qtensor_info::device_id",
    ][::core::mem::offset_of!(moeq_qtensor_info, device_id) - 8usize];
    [
        "Offset of field: moeq_qtensor_info::ndim",
    ][::core::mem::offset_of!(moeq_qtensor_info, ndim) - 12usize];
    [
        "Offset of field: moeq_qtensor_info::shape",
    ][::core::mem::offset_of!(moeq_qtensor_info, shape) - 16usize];
    [
        "Offset of field: moeq_qtensor_info::folded",
    ][::core::mem::offset_of!(moeq_qtensor_info, folded) - 80usize];
    [
        "Offset of field: moeq_qtensor_info::bytes",
    ][::core::mem::offset_of!(moeq_qtensor_info, bytes) - 104usize];
    [
        "Offset of field: moeq_qtensor_info::generation",
    ][::core::mem::offset_of!(moeq_qtensor_info, generation) - 112usize];
    [
        "Offset of field: moeq_qtensor_info::home_stream",
    ][::core::mem::offset_of!(moeq_qtensor_info, home_stream) - 120usize];
};
impl Default for moeq_qtensor_info {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
/// FROZEN. Part of a weight, in elements.
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct moeq_block {
    pub expert_begin: i64,
    pub expert_end: i64,
    pub row_begin: i64,
    pub row_end: i64,
    pub column_begin: i64,
    pub column_end: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of moeq_block"][::core::mem::size_of::<moeq_block>() - 48usize];
    ["Alignment of moeq_block"][::core::mem::align_of::<moeq_block>() - 8usize];
    [
        "Offset of field: moeq_block::expert_begin",
    ][::core::mem::offset_of!(moeq_block, expert_begin) - 0usize];
    [
        "Offset of field: moeq_block::expert_end",
    ][::core::mem::offset_of!(moeq_block, expert_end) - 8usize];
    [
        "Offset of field: moeq_block::row_begin",
    ][::core::mem::offset_of!(moeq_block, row_begin) - 16usize];
    [
        "Offset of field: moeq_block::row_end",
    ][::core::mem::offset_of!(moeq_block, row_end) - 24usize];
    [
        "Offset of field: moeq_block::column_begin",
    ][::core::mem::offset_of!(moeq_block, column_begin) - 32usize];
    [
        "Offset of field: moeq_block::column_end",
    ][::core::mem::offset_of!(moeq_block, column_end) - 40usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct moeq_builder_state {
    pub struct_size: u32,
    pub reserved: u32,
    /// 0: moeq_builder_finish will succeed
    pub missing_elements: i64,
    /// of elements, and of nested statistics; a unit in flight takes 64 more for its books
    pub staged_bytes: i64,
    pub complete_experts: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of moeq_builder_state",
    ][::core::mem::size_of::<moeq_builder_state>() - 32usize];
    [
        "Alignment of moeq_builder_state",
    ][::core::mem::align_of::<moeq_builder_state>() - 8usize];
    [
        "Offset of field: moeq_builder_state::struct_size",
    ][::core::mem::offset_of!(moeq_builder_state, struct_size) - 0usize];
    [
        "Offset of field: moeq_builder_state::reserved",
    ][::core::mem::offset_of!(moeq_builder_state, reserved) - 4usize];
    [
        "Offset of field: moeq_builder_state::missing_elements",
    ][::core::mem::offset_of!(moeq_builder_state, missing_elements) - 8usize];
    [
        "Offset of field: moeq_builder_state::staged_bytes",
    ][::core::mem::offset_of!(moeq_builder_state, staged_bytes) - 16usize];
    [
        "Offset of field: moeq_builder_state::complete_experts",
    ][::core::mem::offset_of!(moeq_builder_state, complete_experts) - 24usize];
};
/** blocks[d] = b > 0 cuts axis d into ceil(extent / b) blocks, the last one ragged, reduces inside each and leaves an
 axis of blocks; such an axis is not one of `axes` then. 0 leaves axis d to `axes`. {1, 128, 128} with axes NULL
 turns [E, R, C] into [E, ceil(R/128), ceil(C/128)].*/
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct moeq_reduce_options {
    pub struct_size: u32,
    pub operation: i32,
    pub flags: i32,
    pub axis_count: i32,
    /// NULL: all; negative counts from the end; duplicates: MOEQ_ERROR_ARGUMENT
    pub axes: *const i32,
    /// NULL, or a length per source axis
    pub blocks: *const i64,
    /// amax of data with NaN is NaN
    pub status_word: *mut u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of moeq_reduce_options",
    ][::core::mem::size_of::<moeq_reduce_options>() - 40usize];
    [
        "Alignment of moeq_reduce_options",
    ][::core::mem::align_of::<moeq_reduce_options>() - 8usize];
    [
        "Offset of field: moeq_reduce_options::struct_size",
    ][::core::mem::offset_of!(moeq_reduce_options, struct_size) - 0usize];
    [
        "Offset of field: moeq_reduce_options::operation",
    ][::core::mem::offset_of!(moeq_reduce_options, operation) - 4usize];
    [
        "Offset of field: moeq_reduce_options::flags",
    ][::core::mem::offset_of!(moeq_reduce_options, flags) - 8usize];
    [
        "Offset of field: moeq_reduce_options::axis_count",
    ][::core::mem::offset_of!(moeq_reduce_options, axis_count) - 12usize];
    [
        "Offset of field: moeq_reduce_options::axes",
    ][::core::mem::offset_of!(moeq_reduce_options, axes) - 16usize];
    [
        "Offset of field: moeq_reduce_options::blocks",
    ][::core::mem::offset_of!(moeq_reduce_options, blocks) - 24usize];
    [
        "Offset of field: moeq_reduce_options::status_word",
    ][::core::mem::offset_of!(moeq_reduce_options, status_word) - 32usize];
};
impl Default for moeq_reduce_options {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct moeq_progress {
    pub struct_size: u32,
    pub stage: i32,
    /// tensor, stack or file; valid during the call
    pub name: *const ::core::ffi::c_char,
    pub bytes_done: i64,
    pub bytes_total: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of moeq_progress"][::core::mem::size_of::<moeq_progress>() - 32usize];
    ["Alignment of moeq_progress"][::core::mem::align_of::<moeq_progress>() - 8usize];
    [
        "Offset of field: moeq_progress::struct_size",
    ][::core::mem::offset_of!(moeq_progress, struct_size) - 0usize];
    [
        "Offset of field: moeq_progress::stage",
    ][::core::mem::offset_of!(moeq_progress, stage) - 4usize];
    [
        "Offset of field: moeq_progress::name",
    ][::core::mem::offset_of!(moeq_progress, name) - 8usize];
    [
        "Offset of field: moeq_progress::bytes_done",
    ][::core::mem::offset_of!(moeq_progress, bytes_done) - 16usize];
    [
        "Offset of field: moeq_progress::bytes_total",
    ][::core::mem::offset_of!(moeq_progress, bytes_total) - 24usize];
};
impl Default for moeq_progress {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
/// From one thread at a time, some tens of times a second at most. Cancelled work leaves nothing half-written.
pub type moeq_progress_fn = ::core::option::Option<
    unsafe extern "C" fn(
        progress: *const moeq_progress,
        user: *mut ::core::ffi::c_void,
    ) -> i32,
>;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct moeq_reader_options {
    pub struct_size: u32,
    pub flags: i32,
    /// bytes of a file's header, of the index, of config.json; 0: 100,000,000
    pub header_limit: i64,
    /// JSON, for models that moeq does not know: docs/store.md, "Patterns". NULL: none
    pub patterns: *const ::core::ffi::c_char,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of moeq_reader_options",
    ][::core::mem::size_of::<moeq_reader_options>() - 24usize];
    [
        "Alignment of moeq_reader_options",
    ][::core::mem::align_of::<moeq_reader_options>() - 8usize];
    [
        "Offset of field: moeq_reader_options::struct_size",
    ][::core::mem::offset_of!(moeq_reader_options, struct_size) - 0usize];
    [
        "Offset of field: moeq_reader_options::flags",
    ][::core::mem::offset_of!(moeq_reader_options, flags) - 4usize];
    [
        "Offset of field: moeq_reader_options::header_limit",
    ][::core::mem::offset_of!(moeq_reader_options, header_limit) - 8usize];
    [
        "Offset of field: moeq_reader_options::patterns",
    ][::core::mem::offset_of!(moeq_reader_options, patterns) - 16usize];
};
impl Default for moeq_reader_options {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct moeq_reader_info {
    pub struct_size: u32,
    /// of what is quantized in it
    pub dialect: i32,
    pub tensor_count: i64,
    pub stack_count: i64,
    pub file_count: i64,
    /// of all tensors
    pub bytes: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of moeq_reader_info"][::core::mem::size_of::<moeq_reader_info>() - 40usize];
    [
        "Alignment of moeq_reader_info",
    ][::core::mem::align_of::<moeq_reader_info>() - 8usize];
    [
        "Offset of field: moeq_reader_info::struct_size",
    ][::core::mem::offset_of!(moeq_reader_info, struct_size) - 0usize];
    [
        "Offset of field: moeq_reader_info::dialect",
    ][::core::mem::offset_of!(moeq_reader_info, dialect) - 4usize];
    [
        "Offset of field: moeq_reader_info::tensor_count",
    ][::core::mem::offset_of!(moeq_reader_info, tensor_count) - 8usize];
    [
        "Offset of field: moeq_reader_info::stack_count",
    ][::core::mem::offset_of!(moeq_reader_info, stack_count) - 16usize];
    [
        "Offset of field: moeq_reader_info::file_count",
    ][::core::mem::offset_of!(moeq_reader_info, file_count) - 24usize];
    [
        "Offset of field: moeq_reader_info::bytes",
    ][::core::mem::offset_of!(moeq_reader_info, bytes) - 32usize];
};
/// One tensor of a file, and where it belongs: tensors of one stack are pieces of one [E, R, C] weight.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct moeq_tensor_info {
    pub struct_size: u32,
    pub dtype: i32,
    pub ndim: i32,
    /// 0: dense; the MOEQ_COMPONENT_ that it holds of a quantized weight; -1: describes one
    pub component: i32,
    pub shape: [i64; 8usize],
    pub name: *const ::core::ffi::c_char,
    pub bytes: i64,
    /// index; tensors are listed file by file, in file order: read in this order
    pub file: i64,
    /// -1: no part of an expert weight
    pub stack: i64,
    /// where the first element of the weight that it belongs to goes
    pub expert: i64,
    /// where the first element of the weight that it belongs to goes
    pub row: i64,
    /// where the first element of the weight that it belongs to goes
    pub column: i64,
    /// of the stack, that this weight has a part of: 1, or all of them; 0: no part of one
    pub experts: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of moeq_tensor_info"][::core::mem::size_of::<moeq_tensor_info>() - 144usize];
    [
        "Alignment of moeq_tensor_info",
    ][::core::mem::align_of::<moeq_tensor_info>() - 8usize];
    [
        "Offset of field: moeq_tensor_info::struct_size",
    ][::core::mem::offset_of!(moeq_tensor_info, struct_size) - 0usize];
    [
        "Offset of field: moeq_tensor_info::dtype",
    ][::core::mem::offset_of!(moeq_tensor_info, dtype) - 4usize];
    [
        "Offset of field: moeq_tensor_info::ndim",
    ][::core::mem::offset_of!(moeq_tensor_info, ndim) - 8usize];
    [
        "Offset of field: moeq_tensor_info::component",
    ][::core::mem::offset_of!(moeq_tensor_info, component) - 12usize];
    [
        "Offset of field: moeq_tensor_info::shape",
    ][::core::mem::offset_of!(moeq_tensor_info, shape) - 16usize];
    [
        "Offset of field: moeq_tensor_info::name",
    ][::core::mem::offset_of!(moeq_tensor_info, name) - 80usize];
    [
        "Offset of field: moeq_tensor_info::bytes",
    ][::core::mem::offset_of!(moeq_tensor_info, bytes) - 88usize];
    [
        "Offset of field: moeq_tensor_info::file",
    ][::core::mem::offset_of!(moeq_tensor_info, file) - 96usize];
    [
        "Offset of field: moeq_tensor_info::stack",
    ][::core::mem::offset_of!(moeq_tensor_info, stack) - 104usize];
    [
        "Offset of field: moeq_tensor_info::expert",
    ][::core::mem::offset_of!(moeq_tensor_info, expert) - 112usize];
    [
        "Offset of field: moeq_tensor_info::row",
    ][::core::mem::offset_of!(moeq_tensor_info, row) - 120usize];
    [
        "Offset of field: moeq_tensor_info::column",
    ][::core::mem::offset_of!(moeq_tensor_info, column) - 128usize];
    [
        "Offset of field: moeq_tensor_info::experts",
    ][::core::mem::offset_of!(moeq_tensor_info, experts) - 136usize];
};
impl Default for moeq_tensor_info {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
/// A weight of all experts of a layer: one fused tensor, or a group of 2-D ones, of which gate and up are one stack.
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct moeq_stack_info {
    pub struct_size: u32,
    /// of a dense stack; of a quantized one what it stands for
    pub dtype: i32,
    /// these two come from the model's type and names, never from sizes:
    pub layout: i32,
    /// copy them into the spec
    pub scale_axis: i32,
    /// 1: already; moeq_reader_load takes it as it is
    pub quantized: i32,
    /// 1: the file has one tensor for all experts
    pub fused: i32,
    /// "model.layers.3.mlp.experts.gate_up_proj"
    pub name: *const ::core::ffi::c_char,
    /// experts, rows, columns
    pub shape: [i64; 3usize],
    /// in the files
    pub bytes: i64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of moeq_stack_info"][::core::mem::size_of::<moeq_stack_info>() - 64usize];
    [
        "Alignment of moeq_stack_info",
    ][::core::mem::align_of::<moeq_stack_info>() - 8usize];
    [
        "Offset of field: moeq_stack_info::struct_size",
    ][::core::mem::offset_of!(moeq_stack_info, struct_size) - 0usize];
    [
        "Offset of field: moeq_stack_info::dtype",
    ][::core::mem::offset_of!(moeq_stack_info, dtype) - 4usize];
    [
        "Offset of field: moeq_stack_info::layout",
    ][::core::mem::offset_of!(moeq_stack_info, layout) - 8usize];
    [
        "Offset of field: moeq_stack_info::scale_axis",
    ][::core::mem::offset_of!(moeq_stack_info, scale_axis) - 12usize];
    [
        "Offset of field: moeq_stack_info::quantized",
    ][::core::mem::offset_of!(moeq_stack_info, quantized) - 16usize];
    [
        "Offset of field: moeq_stack_info::fused",
    ][::core::mem::offset_of!(moeq_stack_info, fused) - 20usize];
    [
        "Offset of field: moeq_stack_info::name",
    ][::core::mem::offset_of!(moeq_stack_info, name) - 24usize];
    [
        "Offset of field: moeq_stack_info::shape",
    ][::core::mem::offset_of!(moeq_stack_info, shape) - 32usize];
    [
        "Offset of field: moeq_stack_info::bytes",
    ][::core::mem::offset_of!(moeq_stack_info, bytes) - 56usize];
};
impl Default for moeq_stack_info {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct moeq_load_options {
    pub struct_size: u32,
    pub device_type: i32,
    pub device_id: i32,
    /// this rank's cut of the output axis (gate and up each), or of the contraction axis (down)
    pub tp_rank: i32,
    /// 0 or 1: no cut
    pub tp_size: i32,
    pub reserved: i32,
    pub expert_begin: i64,
    /// 0: to the last. Bytes of other experts are not read
    pub expert_end: i64,
    /// quantize a dense stack while it streams in; NULL: only stacks that are quantized
    pub spec: *const moeq_spec,
    /// fp32 [experts loaded], EXPERT granularity
    pub amax: *const DLManagedTensorVersioned,
    pub progress: moeq_progress_fn,
    pub progress_user: *mut ::core::ffi::c_void,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of moeq_load_options"][::core::mem::size_of::<moeq_load_options>() - 72usize];
    [
        "Alignment of moeq_load_options",
    ][::core::mem::align_of::<moeq_load_options>() - 8usize];
    [
        "Offset of field: moeq_load_options::struct_size",
    ][::core::mem::offset_of!(moeq_load_options, struct_size) - 0usize];
    [
        "Offset of field: moeq_load_options::device_type",
    ][::core::mem::offset_of!(moeq_load_options, device_type) - 4usize];
    [
        "Offset of field: moeq_load_options::device_id",
    ][::core::mem::offset_of!(moeq_load_options, device_id) - 8usize];
    [
        "Offset of field: moeq_load_options::tp_rank",
    ][::core::mem::offset_of!(moeq_load_options, tp_rank) - 12usize];
    [
        "Offset of field: moeq_load_options::tp_size",
    ][::core::mem::offset_of!(moeq_load_options, tp_size) - 16usize];
    [
        "Offset of field: moeq_load_options::reserved",
    ][::core::mem::offset_of!(moeq_load_options, reserved) - 20usize];
    [
        "Offset of field: moeq_load_options::expert_begin",
    ][::core::mem::offset_of!(moeq_load_options, expert_begin) - 24usize];
    [
        "Offset of field: moeq_load_options::expert_end",
    ][::core::mem::offset_of!(moeq_load_options, expert_end) - 32usize];
    [
        "Offset of field: moeq_load_options::spec",
    ][::core::mem::offset_of!(moeq_load_options, spec) - 40usize];
    [
        "Offset of field: moeq_load_options::amax",
    ][::core::mem::offset_of!(moeq_load_options, amax) - 48usize];
    [
        "Offset of field: moeq_load_options::progress",
    ][::core::mem::offset_of!(moeq_load_options, progress) - 56usize];
    [
        "Offset of field: moeq_load_options::progress_user",
    ][::core::mem::offset_of!(moeq_load_options, progress_user) - 64usize];
};
impl Default for moeq_load_options {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct moeq_writer_options {
    pub struct_size: u32,
    pub dialect: i32,
    pub flags: i32,
    pub reserved: i32,
    /// JSON object of strings for __metadata__
    pub metadata: *const ::core::ffi::c_char,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of moeq_writer_options",
    ][::core::mem::size_of::<moeq_writer_options>() - 24usize];
    [
        "Alignment of moeq_writer_options",
    ][::core::mem::align_of::<moeq_writer_options>() - 8usize];
    [
        "Offset of field: moeq_writer_options::struct_size",
    ][::core::mem::offset_of!(moeq_writer_options, struct_size) - 0usize];
    [
        "Offset of field: moeq_writer_options::dialect",
    ][::core::mem::offset_of!(moeq_writer_options, dialect) - 4usize];
    [
        "Offset of field: moeq_writer_options::flags",
    ][::core::mem::offset_of!(moeq_writer_options, flags) - 8usize];
    [
        "Offset of field: moeq_writer_options::reserved",
    ][::core::mem::offset_of!(moeq_writer_options, reserved) - 12usize];
    [
        "Offset of field: moeq_writer_options::metadata",
    ][::core::mem::offset_of!(moeq_writer_options, metadata) - 16usize];
};
impl Default for moeq_writer_options {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct moeq_convert_options {
    pub struct_size: u32,
    pub dialect: i32,
    /// 0: all units, then finish
    pub steps: i32,
    /// MOEQ_WRITER_NOT_DURABLE, MOEQ_CONVERT_ flags
    pub flags: i32,
    /// for every expert stack; NULL: dense ones stay dense, quantized ones keep theirs ...
    pub spec: *const moeq_spec,
    /** ... except JSON [{"match": glob, "spec": text or null}, ...] on names of stacks and of
 2-D tensors; first match wins. "bf16", "fp16" and "fp32" for a spec make what is quantized
 dense, null keeps what there is*/
    pub rules: *const ::core::ffi::c_char,
    /// as in moeq_reader_options
    pub patterns: *const ::core::ffi::c_char,
    pub unit_begin: i64,
    /// 0: to the last
    pub unit_end: i64,
    pub progress: moeq_progress_fn,
    pub progress_user: *mut ::core::ffi::c_void,
    /** MOEQ_DTYPE_FP32, FP16 or BF16, with spec NULL: every quantized weight, of experts or not,
 becomes dense, decoded in fp32 and rounded once. Names, shapes and what is dense already
 stay. 0: none does*/
    pub dense_dtype: i32,
    pub reserved: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    [
        "Size of moeq_convert_options",
    ][::core::mem::size_of::<moeq_convert_options>() - 80usize];
    [
        "Alignment of moeq_convert_options",
    ][::core::mem::align_of::<moeq_convert_options>() - 8usize];
    [
        "Offset of field: moeq_convert_options::struct_size",
    ][::core::mem::offset_of!(moeq_convert_options, struct_size) - 0usize];
    [
        "Offset of field: moeq_convert_options::dialect",
    ][::core::mem::offset_of!(moeq_convert_options, dialect) - 4usize];
    [
        "Offset of field: moeq_convert_options::steps",
    ][::core::mem::offset_of!(moeq_convert_options, steps) - 8usize];
    [
        "Offset of field: moeq_convert_options::flags",
    ][::core::mem::offset_of!(moeq_convert_options, flags) - 12usize];
    [
        "Offset of field: moeq_convert_options::spec",
    ][::core::mem::offset_of!(moeq_convert_options, spec) - 16usize];
    [
        "Offset of field: moeq_convert_options::rules",
    ][::core::mem::offset_of!(moeq_convert_options, rules) - 24usize];
    [
        "Offset of field: moeq_convert_options::patterns",
    ][::core::mem::offset_of!(moeq_convert_options, patterns) - 32usize];
    [
        "Offset of field: moeq_convert_options::unit_begin",
    ][::core::mem::offset_of!(moeq_convert_options, unit_begin) - 40usize];
    [
        "Offset of field: moeq_convert_options::unit_end",
    ][::core::mem::offset_of!(moeq_convert_options, unit_end) - 48usize];
    [
        "Offset of field: moeq_convert_options::progress",
    ][::core::mem::offset_of!(moeq_convert_options, progress) - 56usize];
    [
        "Offset of field: moeq_convert_options::progress_user",
    ][::core::mem::offset_of!(moeq_convert_options, progress_user) - 64usize];
    [
        "Offset of field: moeq_convert_options::dense_dtype",
    ][::core::mem::offset_of!(moeq_convert_options, dense_dtype) - 72usize];
    [
        "Offset of field: moeq_convert_options::reserved",
    ][::core::mem::offset_of!(moeq_convert_options, reserved) - 76usize];
};
impl Default for moeq_convert_options {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
extern "C" {
    /** Keeps nothing open, starts no thread: the pool does at the first call that can use it. options NULL: malloc, all
 cores, the best CPU tier. On failure `user` is still the caller's: user_destroy is not called.*/
    pub fn moeq_context_create(
        options: *const moeq_context_options,
        out: *mut *mut moeq_context,
        err: *mut moeq_error,
    ) -> moeq_status;
    pub fn moeq_context_destroy(context: *mut moeq_context);
    /// source: [E, R, C], any strides. REFUSE policy: the error names the first bad element and nothing is made.
    pub fn moeq_qtensor_quantize(
        context: *const moeq_context,
        source: *const DLManagedTensorVersioned,
        spec: *const moeq_spec,
        options: *const moeq_quantize_options,
        stream: *mut ::core::ffi::c_void,
        out: *mut *mut moeq_qtensor,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** HOT. destination: [n, rows, C] of the region, [rows, C] where n is 1, or the weight's own shape for all of it; any
 strides; one rounding. RANGE names the first expert or row out of range.*/
    pub fn moeq_qtensor_dequantize(
        qtensor: *const moeq_qtensor,
        region: *const moeq_region,
        stream: *mut ::core::ffi::c_void,
        destination: *mut DLManagedTensorVersioned,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// One share more; NULL is fine.
    pub fn moeq_qtensor_retain(qtensor: *const moeq_qtensor);
    pub fn moeq_qtensor_release(qtensor: *const moeq_qtensor);
    /// "MOEQ_ERROR_SHAPE"; never NULL; static.
    pub fn moeq_status_name(status: moeq_status) -> *const ::core::ffi::c_char;
    /// Compare with MOEQ_ABI_VERSION before all else.
    pub fn moeq_abi_version() -> i32;
    /// Of the library that runs: 10000 major + 100 minor + patch, and "0.1.0" (static).
    pub fn moeq_version() -> i32;
    pub fn moeq_version_string() -> *const ::core::ffi::c_char;
    /// sizeof what the library knows under a name, such as "moeq_spec"; 0: nothing.
    pub fn moeq_struct_size(name: *const ::core::ffi::c_char) -> u32;
    /** Blob: data()[size()] is 0, so text is a C string. A name list is n strings, each ended by NUL. NULL is an empty
 blob.*/
    pub fn moeq_blob_data(blob: *const moeq_blob) -> *const ::core::ffi::c_void;
    pub fn moeq_blob_size(blob: *const moeq_blob) -> i64;
    pub fn moeq_blob_destroy(blob: *mut moeq_blob);
    pub fn moeq_context_get_memory(
        context: *const moeq_context,
        out: *mut moeq_memory,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// JSON: version, CPU tier and why it was chosen, threads, backends; what is absent says why.
    pub fn moeq_context_describe(
        context: *const moeq_context,
        out: *mut *mut moeq_blob,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// New uninitialised row-major tensor in the context's memory.
    pub fn moeq_tensor_create(
        context: *const moeq_context,
        dtype: i32,
        ndim: i32,
        shape: *const i64,
        device_type: i32,
        device_id: i32,
        stream: *mut ::core::ffi::c_void,
        out: *mut *mut DLManagedTensorVersioned,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// The same tensor in the 1.x form. Adopts: on success the old form belongs to the new one.
    pub fn moeq_tensor_from_legacy(
        context: *const moeq_context,
        legacy: *mut DLManagedTensor,
        out: *mut *mut DLManagedTensorVersioned,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// Validates a spec for a shape and replaces every default by its value. `out` may be `spec` itself.
    pub fn moeq_spec_resolve(
        spec: *const moeq_spec,
        ndim: i32,
        shape: *const i64,
        out: *mut moeq_spec,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// Size of one component without allocating; MOEQ_ERROR_NOT_FOUND where the format has none.
    pub fn moeq_spec_get_component(
        spec: *const moeq_spec,
        ndim: i32,
        shape: *const i64,
        component: i32,
        out: *mut moeq_component_info,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** Bytes of all components but CODE_MAP, which is a constant; and the most that a builder can have to stage (section
 8), in the logical_dtype, or in fp32 where that is 0. Either may be NULL.*/
    pub fn moeq_spec_get_bytes(
        spec: *const moeq_spec,
        ndim: i32,
        shape: *const i64,
        bytes: *mut i64,
        staging: *mut i64,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// The one spelling of specs for command lines, files and messages: "nf4", "nf4:64,nested", "fp8_e4m3:block128x128".
    pub fn moeq_spec_parse(
        text: *const ::core::ffi::c_char,
        out: *mut moeq_spec,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// out_text: room for MOEQ_SPEC_TEXT bytes. Only what differs from the format's defaults is printed.
    pub fn moeq_spec_print(
        spec: *const moeq_spec,
        out_text: *mut ::core::ffi::c_char,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// A handle over codes and scales made elsewhere. Adopts every tensor of `components`. `shape` is the weight's.
    pub fn moeq_qtensor_adopt(
        context: *const moeq_context,
        spec: *const moeq_spec,
        ndim: i32,
        shape: *const i64,
        components: *const moeq_component,
        component_count: i64,
        stream: *mut ::core::ffi::c_void,
        out: *mut *mut moeq_qtensor,
        err: *mut moeq_error,
    ) -> moeq_status;
    pub fn moeq_qtensor_get_info(
        qtensor: *const moeq_qtensor,
        out: *mut moeq_qtensor_info,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// The resolved spec.
    pub fn moeq_qtensor_get_spec(
        qtensor: *const moeq_qtensor,
        out: *mut moeq_spec,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// A read-only view that shares ownership: no copy, and it may outlive the handle. Packed codes are uint8.
    pub fn moeq_qtensor_export(
        qtensor: *const moeq_qtensor,
        component: i32,
        out: *mut *mut DLManagedTensorVersioned,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** HOT. New weights into the handle's own storage, by its spec, of its shape. All who share the storage (slices,
 exported components) see them: exclude their readers too. VALUE and CALLBACK leave the contents unspecified, and
 count as a generation.*/
    pub fn moeq_qtensor_requantize(
        qtensor: *mut moeq_qtensor,
        source: *const DLManagedTensorVersioned,
        options: *const moeq_quantize_options,
        stream: *mut ::core::ffi::c_void,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// HOT. No handle at all: codes and scales straight into the caller's tensors (each one a destination).
    pub fn moeq_quantize_into(
        context: *const moeq_context,
        source: *const DLManagedTensorVersioned,
        spec: *const moeq_spec,
        options: *const moeq_quantize_options,
        stream: *mut ::core::ffi::c_void,
        destinations: *const moeq_component,
        destination_count: i64,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** A handle that shares storage. axis 0 experts, 1 rows, 2 columns; where a scale unit (tile, block, 256 nested
 statistics) would be cut: ARGUMENT; what a format cannot slice at all: UNSUPPORTED. A part of the output axis loses
 its layout tag, and columns of a weight in blocks per expert are one in blocks per row.*/
    pub fn moeq_qtensor_slice(
        qtensor: *const moeq_qtensor,
        axis: i32,
        begin: i64,
        end: i64,
        out: *mut *mut moeq_qtensor,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// A handle with storage of its own on a device, in host or in pinned memory; compact, also from a slice.
    pub fn moeq_qtensor_copy(
        qtensor: *const moeq_qtensor,
        device_type: i32,
        device_id: i32,
        stream: *mut ::core::ffi::c_void,
        out: *mut *mut moeq_qtensor,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// Error against the dense source: destination fp64 [E, k] on the host, k <= 7; column j is METRIC j of each expert.
    pub fn moeq_qtensor_compare(
        qtensor: *const moeq_qtensor,
        source: *const DLManagedTensorVersioned,
        stream: *mut ::core::ffi::c_void,
        destination: *mut DLManagedTensorVersioned,
        err: *mut moeq_error,
    ) -> moeq_status;
    pub fn moeq_builder_create(
        context: *const moeq_context,
        spec: *const moeq_spec,
        ndim: i32,
        shape: *const i64,
        options: *const moeq_quantize_options,
        stream: *mut ::core::ffi::c_void,
        out: *mut *mut moeq_builder,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** piece: [r, c] or [e, r, c], its first element at (expert, row, column); all pieces of one element type. May run at
 the same time in several threads and on several streams. RANGE: outside; DUPLICATE: overlaps what is there (err
 names the first such element); LIMIT: would stage more than staging_limit. A piece that was refused, for these or
 for VALUE, MEMORY or CALLBACK, counts as not written and may be sent again.*/
    pub fn moeq_builder_write(
        builder: *mut moeq_builder,
        expert: i64,
        row: i64,
        column: i64,
        piece: *const DLManagedTensorVersioned,
        stream: *mut ::core::ffi::c_void,
        err: *mut moeq_error,
    ) -> moeq_status;
    pub fn moeq_builder_get_state(
        builder: *const moeq_builder,
        out: *mut moeq_builder_state,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** The missing blocks in order of place: the first `capacity` of them (blocks may be NULL where that is 0), and how
 many there are.*/
    pub fn moeq_builder_get_missing(
        builder: *const moeq_builder,
        blocks: *mut moeq_block,
        capacity: i64,
        out_count: *mut i64,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// Turns the builder into a handle and destroys it; after INCOMPLETE it lives on. The handle is ready on `stream`.
    pub fn moeq_builder_finish(
        builder: *mut moeq_builder,
        stream: *mut ::core::ffi::c_void,
        out: *mut *mut moeq_qtensor,
        err: *mut moeq_error,
    ) -> moeq_status;
    pub fn moeq_builder_destroy(builder: *mut moeq_builder);
    /** HOT. source: also fp64, uint8, int8..int64, FP8. destination: fp32, fp64, the source's type, or int64 for integers;
 its shape as moeq_reduce_shape says. amax is exact; sums of floats are fp64 in one fixed order, whatever the threads
 and strides (leaves of 256 elements in 16 lanes, a binary tree of leaves), and rounded once; sums of integers are
 exact in 64 bits and wrap beyond. A narrow integer destination saturates. An empty reduction has the sum 0 and no
 amax: SHAPE, but with ACCUMULATE the destination stays. A NaN result is the positive quiet one.*/
    pub fn moeq_reduce(
        context: *const moeq_context,
        source: *const DLManagedTensorVersioned,
        options: *const moeq_reduce_options,
        stream: *mut ::core::ffi::c_void,
        destination: *mut DLManagedTensorVersioned,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** HOT. Each source, of any type and shape, to one number, in one launch: destination [count]. axes and blocks must be
 NULL; of the flags only ACCUMULATE and WRAP_INTEGERS.*/
    pub fn moeq_reduce_many(
        context: *const moeq_context,
        sources: *const *const DLManagedTensorVersioned,
        count: i64,
        options: *const moeq_reduce_options,
        stream: *mut ::core::ffi::c_void,
        destination: *mut DLManagedTensorVersioned,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// out_shape has room for ndim.
    pub fn moeq_reduce_shape(
        ndim: i32,
        shape: *const i64,
        options: *const moeq_reduce_options,
        out_ndim: *mut i32,
        out_shape: *mut i64,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** The axes to reduce, ascending, when scales are kept per `quant_axes` (NULL or an empty list: none is kept);
 out_axes has room for ndim.*/
    pub fn moeq_reduce_axes(
        ndim: i32,
        quant_axes: *const i32,
        quant_axis_count: i32,
        out_axes: *mut i32,
        out_count: *mut i32,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** HOT. The number that codes are multiplied by, for each amax (fp32, any shape, finite and not negative), by the
 format's rule: docs/formats.md. destination: fp32, fp16 or bf16 of the same shape. VALUE names the place.*/
    pub fn moeq_scale_from_amax(
        context: *const moeq_context,
        amax: *const DLManagedTensorVersioned,
        spec: *const moeq_spec,
        stream: *mut ::core::ffi::c_void,
        destination: *mut DLManagedTensorVersioned,
        err: *mut moeq_error,
    ) -> moeq_status;
    pub fn moeq_reader_open(
        context: *const moeq_context,
        path: *const ::core::ffi::c_char,
        options: *const moeq_reader_options,
        out: *mut *mut moeq_reader,
        err: *mut moeq_error,
    ) -> moeq_status;
    pub fn moeq_reader_destroy(reader: *mut moeq_reader);
    pub fn moeq_reader_get_info(
        reader: *const moeq_reader,
        out: *mut moeq_reader_info,
        err: *mut moeq_error,
    ) -> moeq_status;
    pub fn moeq_reader_get_tensor(
        reader: *const moeq_reader,
        tensor: i64,
        out: *mut moeq_tensor_info,
        err: *mut moeq_error,
    ) -> moeq_status;
    pub fn moeq_reader_get_stack(
        reader: *const moeq_reader,
        stack: i64,
        out: *mut moeq_stack_info,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// The spec of a quantized stack; STATE for a dense one.
    pub fn moeq_reader_get_stack_spec(
        reader: *const moeq_reader,
        stack: i64,
        out: *mut moeq_spec,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// Index of a tensor or of a stack by name; the other one is -1 (one name may be both). NOT_FOUND: neither.
    pub fn moeq_reader_find(
        reader: *const moeq_reader,
        name: *const ::core::ffi::c_char,
        out_tensor: *mut i64,
        out_stack: *mut i64,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** Part of one tensor, from `begin` along its first axis, as many as destination has; destination in host memory,
 row-major, of the tensor's type (or its bytes as uint8 [n]: then `begin` counts bytes).*/
    pub fn moeq_reader_read(
        reader: *const moeq_reader,
        tensor: i64,
        begin: i64,
        destination: *mut DLManagedTensorVersioned,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** A whole stack as a handle, streamed: peak = result + buffers of at most 64 MiB, whatever order the file has. With
 MOEQ_READER_MMAP a native stack is adopted where it lies: no byte is read, so bad scales are for moeq_reader_verify
 to find. Scales that are not adopted are looked at, also where the spec quantizes the stack anew: NaN, Inf and
 negative ones are VALUE unless the reader is lenient. INCOMPLETE names a missing expert.*/
    pub fn moeq_reader_load(
        reader: *const moeq_reader,
        stack: i64,
        options: *const moeq_load_options,
        stream: *mut ::core::ffi::c_void,
        out: *mut *mut moeq_qtensor,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** JSON: model type, dialect, files with sizes and their __metadata__; what there is of other schemes ("foreign"), and
 what files and index do not agree on ("strays", "unlisted").*/
    pub fn moeq_reader_metadata(
        reader: *const moeq_reader,
        out: *mut *mut moeq_blob,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** Reads everything. JSON {"checked": {...}, "problems": [...]} of what is wrong: scales missing, non-finite or
 disagreeing inside a group; experts missing or left dense; digests. Problems are no error.*/
    pub fn moeq_reader_verify(
        reader: *const moeq_reader,
        progress: moeq_progress_fn,
        user: *mut ::core::ffi::c_void,
        out: *mut *mut moeq_blob,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** One .safetensors file: create, declare everything, put in any order, commit. Until commit `path` is untouched; the
 temporary file is in its directory. Metadata keys that begin with "moeq." are the library's. No config.json is
 written, by which alone COMPRESSED_TENSORS and HF_FP8 are recognised; the other dialects' files say what they are.*/
    pub fn moeq_writer_create(
        context: *const moeq_context,
        path: *const ::core::ffi::c_char,
        options: *const moeq_writer_options,
        out: *mut *mut moeq_writer,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** spec NULL: a plain tensor of dtype; else a quantized weight (dtype ignored), in as many entries as the
 dialect has; UNSUPPORTED says what the dialect cannot hold.*/
    pub fn moeq_writer_declare(
        writer: *mut moeq_writer,
        name: *const ::core::ffi::c_char,
        spec: *const moeq_spec,
        dtype: i32,
        ndim: i32,
        shape: *const i64,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** The first put ends declaring. tensor: any strides, of the declared type and shape (or its bytes as uint8 [n]), in
 host memory.*/
    pub fn moeq_writer_put(
        writer: *mut moeq_writer,
        name: *const ::core::ffi::c_char,
        tensor: *const DLManagedTensorVersioned,
        stream: *mut ::core::ffi::c_void,
        err: *mut moeq_error,
    ) -> moeq_status;
    /// qtensor: of the declared shape and spec, nonfinite policy aside; else MISMATCH.
    pub fn moeq_writer_put_qtensor(
        writer: *mut moeq_writer,
        name: *const ::core::ffi::c_char,
        qtensor: *const moeq_qtensor,
        stream: *mut ::core::ffi::c_void,
        err: *mut moeq_error,
    ) -> moeq_status;
    /** INCOMPLETE names what was declared and not put; it may then be put. After any other failure the writer is only to be
 destroyed. After success it is done: STATE for every other call. The old file is untouched by every failure but
 one, which says so: syncing the directory after the rename.*/
    pub fn moeq_writer_commit(
        writer: *mut moeq_writer,
        err: *mut moeq_error,
    ) -> moeq_status;
    pub fn moeq_writer_destroy(writer: *mut moeq_writer);
    /** Dry run. JSON: units with bytes and peak, what is quantized to what, what is not and why (docs/store.md). Same input,
 same plan, wherever source and target lie, but for "finished": the units that TARGET.partial has records of.*/
    pub fn moeq_convert_plan(
        context: *const moeq_context,
        source: *const ::core::ffi::c_char,
        target: *const ::core::ffi::c_char,
        options: *const moeq_convert_options,
        out: *mut *mut moeq_blob,
        err: *mut moeq_error,
    ) -> moeq_status;
    pub fn moeq_convert(
        context: *const moeq_context,
        source: *const ::core::ffi::c_char,
        target: *const ::core::ffi::c_char,
        options: *const moeq_convert_options,
        err: *mut moeq_error,
    ) -> moeq_status;
}
