//! The structs of DLPack 1.x that `moeq.h` names but does not define. They are a stable ABI of their own, the same in
//! every `dlpack.h` since 1.0; a pointer to another crate's version of them may be cast.

use core::ffi::c_void;

pub const DLPACK_MAJOR_VERSION: u32 = 1;

/// Bits of `DLManagedTensorVersioned::flags`.
pub const DLPACK_FLAG_BITMASK_READ_ONLY: u64 = 1;
pub const DLPACK_FLAG_BITMASK_IS_COPIED: u64 = 2;

#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DLPackVersion {
    pub major: u32,
    pub minor: u32,
}

/// `device_type` is one of the `MOEQ_DEVICE_` numbers.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DLDevice {
    pub device_type: i32,
    pub device_id: i32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DLDataType {
    pub code: u8,
    pub bits: u8,
    pub lanes: u16,
}

impl DLDataType {
    /// From one of the `MOEQ_DTYPE_` numbers, which are code | bits << 8 | lanes << 16.
    pub const fn from_moeq(dtype: i32) -> Self {
        Self { code: dtype as u8, bits: (dtype >> 8) as u8, lanes: (dtype >> 16) as u16 }
    }

    /// The `MOEQ_DTYPE_` number of this type.
    pub const fn to_moeq(self) -> i32 {
        self.code as i32 | (self.bits as i32) << 8 | (self.lanes as i32) << 16
    }
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct DLTensor {
    pub data: *mut c_void,
    pub device: DLDevice,
    pub ndim: i32,
    pub dtype: DLDataType,
    pub shape: *mut i64,
    /// In elements; NULL: row-major.
    pub strides: *mut i64,
    pub byte_offset: u64,
}

#[repr(C)]
#[derive(Debug)]
pub struct DLManagedTensorVersioned {
    pub version: DLPackVersion,
    pub manager_ctx: *mut c_void,
    pub deleter: Option<unsafe extern "C" fn(tensor: *mut DLManagedTensorVersioned)>,
    pub flags: u64,
    pub dl_tensor: DLTensor,
}

/// The form before DLPack 1.0, taken by `moeq_tensor_from_legacy` only.
#[repr(C)]
#[derive(Debug)]
pub struct DLManagedTensor {
    pub dl_tensor: DLTensor,
    pub manager_ctx: *mut c_void,
    pub deleter: Option<unsafe extern "C" fn(tensor: *mut DLManagedTensor)>,
}
