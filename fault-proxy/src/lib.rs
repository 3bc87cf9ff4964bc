#![doc = include_str!("../README.md")]

mod calls;
mod functions;
mod inject;
mod other_key;
mod real;
mod rules;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_ARGUMENTS_BAD, CKR_GENERAL_ERROR, CKR_OK};

/// The only symbol: a program that looks for `C_GetInterface` of PKCS#11 3.0 finds a module of 2.40, which is what this is.
///
/// # Safety
///
/// `list` is null or can be written to (PKCS#11 2.40, section 5.3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    if let Err(reason) = real::list() {
        eprintln!("fault proxy: {reason}");
        return CKR_GENERAL_ERROR;
    }
    // SAFETY: it is not null, and the caller says that it can be written to. The list itself is only ever read.
    unsafe { list.write((&raw const functions::LIST).cast_mut()) };
    CKR_OK
}
