//! The module behind this one.

use std::env;
use std::sync::OnceLock;

use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_OK};
use libloading::Library;

/// The path of the real module.
const MODULE: &str = "PLASTRON_FAULT_MODULE";

/// Its functions, loaded at the first call and kept: unloading a module under its own threads crashes.
pub(crate) fn list() -> Result<&'static CK_FUNCTION_LIST, &'static str> {
    static LIST: OnceLock<Result<&'static CK_FUNCTION_LIST, String>> = OnceLock::new();
    LIST.get_or_init(load).as_ref().copied().map_err(String::as_str)
}

fn load() -> Result<&'static CK_FUNCTION_LIST, String> {
    type GetFunctionList = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV;
    let path = env::var_os(MODULE).ok_or_else(|| format!("{MODULE} does not name the real module"))?;
    let failed = |error: libloading::Error| format!("{MODULE} {}: {error}", path.display());
    // SAFETY: what the test names is a PKCS#11 module, and loading one runs nothing but its own initialisers.
    let library = unsafe { Library::new(&path) }.map_err(failed)?;
    // It is never dropped, so what is taken from it stays valid.
    let library: &'static Library = Box::leak(Box::new(library));
    // SAFETY: PKCS#11 2.40, section 5.3, gives the symbol this type.
    let get = unsafe { library.get::<GetFunctionList>(b"C_GetFunctionList\0") }.map_err(failed)?;
    let mut list = std::ptr::null_mut();
    // SAFETY: the one argument is where it writes the list's address.
    let answer = unsafe { get(&raw mut list) };
    if answer != CKR_OK {
        return Err(format!("{MODULE} {}: C_GetFunctionList answered {answer:#x}", path.display()));
    }
    // SAFETY: the module's list lives as long as the module, which is never unloaded, and nobody writes to it.
    unsafe { list.as_ref() }.ok_or_else(|| format!("{MODULE} {}: no function list", path.display()))
}
