//! A weight through the library and back, a wrong call, and an allocator written in Rust.

use std::alloc::Layout;
use std::ffi::{c_void, CStr};
use std::mem::size_of;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI64, Ordering};

use moeq_sys::dlpack::*;
use moeq_sys::*;

const SHAPE: [i64; 3] = [2, 4, 64];
const COUNT: usize = 2 * 4 * 64;
const COLUMNS: usize = 64;

/// A borrowed row-major tensor in host memory. `shape` has to outlive it.
fn view(data: *mut f32, shape: &mut [i64]) -> DLManagedTensorVersioned {
    DLManagedTensorVersioned {
        version: DLPackVersion { major: DLPACK_MAJOR_VERSION, minor: 0 },
        manager_ctx: null_mut(),
        deleter: None,
        flags: 0,
        dl_tensor: DLTensor {
            data: data.cast(),
            device: DLDevice { device_type: MOEQ_DEVICE_CPU, device_id: 0 },
            ndim: shape.len() as i32,
            dtype: DLDataType::from_moeq(MOEQ_DTYPE_FP32),
            shape: shape.as_mut_ptr(),
            strides: null_mut(),
            byte_offset: 0,
        },
    }
}

/// Numbers in [-1, 1), the same in every run.
fn make_weight() -> Vec<f32> {
    let mut state = 12345u32;
    (0..COUNT)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state as i32 as f32 / 2_147_483_648.0
        })
        .collect()
}

fn spec_of(format: i32) -> moeq_spec {
    moeq_spec { struct_size: size_of::<moeq_spec>() as u32, format, ..Default::default() }
}

fn message_of(error: &moeq_error) -> String {
    unsafe { CStr::from_ptr(error.message.as_ptr()) }.to_str().expect("messages are UTF-8").to_owned()
}

/// Fails the test with the library's own words.
fn succeed(status: moeq_status, error: &moeq_error) {
    assert_eq!(status, MOEQ_OK, "{}", message_of(error));
}

fn quantize(context: *const moeq_context, weight: &mut [f32], format: i32) -> *mut moeq_qtensor {
    let mut shape = SHAPE;
    let source = view(weight.as_mut_ptr(), &mut shape);
    let (spec, mut error, mut qtensor) = (spec_of(format), moeq_error::default(), null_mut());
    let status =
        unsafe { moeq_qtensor_quantize(context, &source, &spec, null(), null_mut(), &mut qtensor, &mut error) };
    succeed(status, &error);
    qtensor
}

fn dequantize(qtensor: *const moeq_qtensor) -> Vec<f32> {
    let (mut shape, mut result) = (SHAPE, vec![f32::NAN; COUNT]);
    let mut destination = view(result.as_mut_ptr(), &mut shape);
    let mut error = moeq_error::default();
    let status = unsafe { moeq_qtensor_dequantize(qtensor, null(), null_mut(), &mut destination, &mut error) };
    succeed(status, &error);
    result
}

fn with_context(test: impl FnOnce(*mut moeq_context)) {
    let (mut context, mut error) = (null_mut(), moeq_error::default());
    let status = unsafe { moeq_context_create(null(), &mut context, &mut error) };
    succeed(status, &error);
    test(context);
    unsafe { moeq_context_destroy(context) };
}

/// Every row is one block of 64 and one row of 64, so both formats have one scale per row. `share`: the largest error as a share
/// of the row's largest magnitude.
fn check_round_trip(format: i32, share: f32) {
    with_context(|context| {
        let mut weight = make_weight();
        let qtensor = quantize(context, &mut weight, format);
        let result = dequantize(qtensor);
        unsafe { moeq_qtensor_release(qtensor) };
        assert_eq!(weight, make_weight(), "the source was changed");
        for (row, back) in weight.chunks(COLUMNS).zip(result.chunks(COLUMNS)) {
            let amax = row.iter().fold(0f32, |amax, x| amax.max(x.abs()));
            for (x, y) in row.iter().zip(back) {
                assert!((x - y).abs() <= share * amax, "{x} came back as {y}, with a largest magnitude of {amax}");
            }
        }
        assert_ne!(weight, result, "nothing was rounded, so nothing was quantized");
    });
}

#[test]
fn int8_returns_within_half_a_step() {
    check_round_trip(MOEQ_FORMAT_INT8, 0.5 / 127.0 * 1.0001); // and a little for the roundings in fp32
}

#[test]
fn nf4_returns_within_half_its_widest_gap() {
    check_round_trip(MOEQ_FORMAT_NF4, 0.15191);
}

#[test]
fn a_wrong_call_says_what_is_wrong() {
    with_context(|context| {
        let qtensor = quantize(context, &mut make_weight(), MOEQ_FORMAT_NF4);
        let (mut shape, mut result) = ([2, 4, 63], vec![0f32; COUNT]);
        let mut destination = view(result.as_mut_ptr(), &mut shape);
        let mut error = moeq_error::default();
        let status = unsafe { moeq_qtensor_dequantize(qtensor, null(), null_mut(), &mut destination, &mut error) };
        assert_eq!(status, MOEQ_ERROR_SHAPE);
        assert_eq!(error.status, MOEQ_ERROR_SHAPE);
        assert_eq!(error.argument, 4);
        assert_eq!((error.expert, error.row, error.column), (-1, -1, -1));
        let message = message_of(&error);
        for part in ["moeq_qtensor_dequantize", "destination", "63", "64"] {
            assert!(message.contains(part), "\"{message}\" does not mention {part}");
        }
        let name = unsafe { CStr::from_ptr(moeq_status_name(status)) };
        assert_eq!(name.to_str(), Ok("MOEQ_ERROR_SHAPE"));
        unsafe { moeq_qtensor_release(qtensor) };
    });
}

#[derive(Default)]
struct Counter {
    live: AtomicI64, // bytes
    total: AtomicI64,
    destroyed: AtomicI64,
}

unsafe extern "C" fn counted_alloc(bytes: u64, alignment: u64, user: *mut c_void) -> *mut c_void {
    let counter = &*user.cast::<Counter>();
    let Ok(layout) = Layout::from_size_align(bytes as usize, alignment as usize) else {
        return null_mut();
    };
    counter.live.fetch_add(bytes as i64, Ordering::Relaxed);
    counter.total.fetch_add(bytes as i64, Ordering::Relaxed);
    // Rust's allocator wants the alignment back on free, which moeq does not give: keep to C's.
    extern "C" {
        fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void;
    }
    aligned_alloc(layout.align(), layout.pad_to_align().size())
}

unsafe extern "C" fn counted_free(memory: *mut c_void, bytes: u64, user: *mut c_void) {
    extern "C" {
        fn free(memory: *mut c_void);
    }
    (*user.cast::<Counter>()).live.fetch_sub(bytes as i64, Ordering::Relaxed);
    free(memory);
}

unsafe extern "C" fn count_destroy(user: *mut c_void) {
    (*user.cast::<Counter>()).destroyed.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn hooks_of_rust_see_every_byte_and_outlive_the_context() {
    let counter = Counter::default();
    let options = moeq_context_options {
        struct_size: size_of::<moeq_context_options>() as u32,
        thread_limit: 1,
        host_alloc: Some(counted_alloc),
        host_free: Some(counted_free),
        user: std::ptr::from_ref(&counter).cast_mut().cast(),
        user_destroy: Some(count_destroy),
        ..Default::default()
    };
    let (mut context, mut error) = (null_mut(), moeq_error::default());
    succeed(unsafe { moeq_context_create(&options, &mut context, &mut error) }, &error);
    let qtensor = quantize(context, &mut make_weight(), MOEQ_FORMAT_INT8);
    unsafe { moeq_context_destroy(context) };
    assert_eq!(counter.destroyed.load(Ordering::Relaxed), 0, "the handle still needs the allocator");
    assert!(dequantize(qtensor).iter().all(|x| x.is_finite()));

    let mut info = moeq_qtensor_info { struct_size: size_of::<moeq_qtensor_info>() as u32, ..Default::default() };
    succeed(unsafe { moeq_qtensor_get_info(qtensor, &mut info, &mut error) }, &error);
    assert_eq!(info.folded, SHAPE);
    assert!(counter.total.load(Ordering::Relaxed) >= info.bytes);
    unsafe { moeq_qtensor_release(qtensor) };
    assert_eq!(counter.destroyed.load(Ordering::Relaxed), 1);
    assert_eq!(counter.live.load(Ordering::Relaxed), 0);
}
