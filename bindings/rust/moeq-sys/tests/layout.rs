//! The declarations against what a C compiler and the library itself say. Nothing is listed by hand: both sides are texts
//! made from `moeq.h`, one by bindgen (and asserted by the Rust compiler), one by a C program.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::mem::{align_of, offset_of, size_of};

use moeq_sys::dlpack::*;
use moeq_sys::*;

const BINDINGS: &str = include_str!("../src/bindings.rs");
const LAYOUT: &str = include_str!("../../../../tests/abi/layout.golden");
const SYMBOLS: &str = include_str!("../../../../tests/abi/symbols.golden");

/// Every number of `layout.golden`, by what it is about: "struct moeq_spec", "field moeq_spec.format", "constant MOEQ_OK".
fn numbers_of_c() -> BTreeMap<String, i64> {
    let mut numbers = BTreeMap::new();
    for line in LAYOUT.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let number = match words[0] {
            "constant" => words[2],
            "struct" | "field" => words[3],
            _ => continue,
        };
        numbers.insert(format!("{} {}", words[0], words[1]), number.parse().unwrap());
    }
    numbers
}

/// The same from the text of the bindings: the assertions that bindgen wrote for the compiler, and the constants.
fn numbers_of_rust() -> BTreeMap<String, i64> {
    // The formatter breaks long assertions over lines, so compare without white space.
    let text: String = BINDINGS.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut numbers = BTreeMap::new();
    for part in text.split("\"Size of ").skip(1) {
        let name = part.split('"').next().unwrap();
        numbers.insert(format!("struct {name}"), number_before_usize(part));
    }
    for part in text.split("\"Offset of field: ").skip(1) {
        let name = part.split('"').next().unwrap().replace("::", ".");
        numbers.insert(format!("field {name}"), number_before_usize(part));
    }
    for line in BINDINGS.lines().filter_map(|line| line.strip_prefix("pub const ")) {
        let (name, value) = line.split_once(": i32 = ").expect("constants travel as int32_t");
        if !name.starts_with("MOEQ_VERSION_") {
            numbers.insert(format!("constant {name}"), value.trim_end_matches(';').parse().unwrap());
        }
    }
    numbers
}

/// From `...::<moeq_spec>() - 52usize];...` the 52.
fn number_before_usize(text: &str) -> i64 {
    let (head, _) = text.split_once("usize]").unwrap();
    head.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn layout_and_constants_equal_those_of_the_c_compiler() {
    let (c, rust) = (numbers_of_c(), numbers_of_rust());
    assert!(c.len() > 100, "layout.golden holds only {} numbers", c.len());
    assert_eq!(c, rust);
}

#[test]
fn functions_are_those_that_the_library_exports() {
    let exported: Vec<&str> = SYMBOLS.lines().map(|line| line.split('@').next().unwrap()).collect();
    let mut declared: Vec<&str> = BINDINGS
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("pub fn "))
        .map(|line| line.split('(').next().unwrap())
        .collect();
    declared.sort_unstable();
    assert_eq!(exported, declared);
}

#[test]
fn the_running_library_has_the_same_structs() {
    assert_eq!(unsafe { moeq_abi_version() }, MOEQ_ABI_VERSION);
    for (key, size) in numbers_of_c() {
        if let Some(name) = key.strip_prefix("struct ") {
            let name_for_c = CString::new(name).unwrap();
            assert_eq!(i64::from(unsafe { moeq_struct_size(name_for_c.as_ptr()) }), size, "{name}");
        }
    }
}

#[test]
fn versions_agree() {
    let header = format!("{MOEQ_VERSION_MAJOR}.{MOEQ_VERSION_MINOR}.{MOEQ_VERSION_PATCH}");
    assert_eq!(env!("CARGO_PKG_VERSION"), header);
}

/// The numbers are those of the DLPack 1.x document for machines with 64-bit pointers.
#[test]
fn dlpack_structs_have_the_layout_of_the_standard() {
    assert_eq!((size_of::<DLPackVersion>(), size_of::<DLDevice>(), size_of::<DLDataType>()), (8, 8, 4));
    assert_eq!((size_of::<DLTensor>(), align_of::<DLTensor>()), (48, 8));
    assert_eq!(offset_of!(DLTensor, data), 0);
    assert_eq!(offset_of!(DLTensor, device), 8);
    assert_eq!(offset_of!(DLTensor, ndim), 16);
    assert_eq!(offset_of!(DLTensor, dtype), 20);
    assert_eq!(offset_of!(DLTensor, shape), 24);
    assert_eq!(offset_of!(DLTensor, strides), 32);
    assert_eq!(offset_of!(DLTensor, byte_offset), 40);
    assert_eq!(size_of::<DLManagedTensorVersioned>(), 80);
    assert_eq!(offset_of!(DLManagedTensorVersioned, version), 0);
    assert_eq!(offset_of!(DLManagedTensorVersioned, manager_ctx), 8);
    assert_eq!(offset_of!(DLManagedTensorVersioned, deleter), 16);
    assert_eq!(offset_of!(DLManagedTensorVersioned, flags), 24);
    assert_eq!(offset_of!(DLManagedTensorVersioned, dl_tensor), 32);
    assert_eq!(size_of::<DLManagedTensor>(), 64);
    assert_eq!(offset_of!(DLManagedTensor, dl_tensor), 0);
    assert_eq!(offset_of!(DLManagedTensor, manager_ctx), 48);
    assert_eq!(offset_of!(DLManagedTensor, deleter), 56);
}

#[test]
fn element_types_are_one_number_both_ways() {
    let bf16 = DLDataType::from_moeq(MOEQ_DTYPE_BF16);
    assert_eq!((bf16.code, bf16.bits, bf16.lanes), (4, 16, 1)); // kDLBfloat
    for dtype in [MOEQ_DTYPE_FP32, MOEQ_DTYPE_FP16, MOEQ_DTYPE_BF16, MOEQ_DTYPE_FP8_E4M3FN, MOEQ_DTYPE_UINT8] {
        assert_eq!(DLDataType::from_moeq(dtype).to_moeq(), dtype);
    }
}
