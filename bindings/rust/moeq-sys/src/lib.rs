//! The declarations of `moeq.h`, as they are: unsafe functions, plain structs, `i32` constants.
//!
//! The rules that every call keeps (ownership, threads, streams, errors) stand at the head of `moeq.h`. Two things help in
//! Rust: `..Default::default()` gives an option struct its defaults, and `size_of` its `struct_size`:
//!
//! ```
//! let spec = moeq_sys::moeq_spec {
//!     struct_size: std::mem::size_of::<moeq_sys::moeq_spec>() as u32,
//!     format: moeq_sys::MOEQ_FORMAT_NF4,
//!     ..Default::default()
//! };
//! assert_eq!(spec.block_columns, 0); // 0: the format's default
//! ```
#![no_std]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("moeq has 64-bit sizes throughout and is not made for targets with smaller pointers");

pub mod dlpack;

#[allow(non_camel_case_types, non_upper_case_globals)]
#[allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls, rustdoc::invalid_html_tags)]
#[rustfmt::skip]
mod bindings;

pub use bindings::*;
