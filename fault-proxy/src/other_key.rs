//! A key that is another than the one that was asked for: what a token does whose objects somebody replaced, or whose vendor's library
//! mixes handles up after a reset.

use std::ffi::c_void;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_FUNCTION_LIST, CK_MECHANISM, CK_OBJECT_CLASS, CK_OBJECT_HANDLE, CK_RV,
    CK_SESSION_HANDLE, CK_ULONG, CKA_CLASS, CKA_ID, CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKR_FUNCTION_NOT_SUPPORTED,
    CKR_OK,
};

use crate::calls::{Step, count};
use crate::functions::Function;
use crate::real;
use crate::rules::{self, Action};

/// CKA_ID of every key that a test names fits.
const MAX_ID: usize = 64;

/// C_SignInit, with the key that the rules say.
///
/// # Safety
///
/// That of C_SignInit (PKCS#11 2.40, section 5.11).
pub(crate) unsafe fn sign_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    let Ok(list) = real::list() else { return CKR_FUNCTION_NOT_SUPPORTED };
    let Some(function) = list.C_SignInit else { return CKR_FUNCTION_NOT_SUPPORTED };
    let key = replaced(list, Function::C_SignInit, session, key, CKO_PRIVATE_KEY);
    // SAFETY: session and mechanism are the caller's, and the key is a handle that the module gave out in this session.
    unsafe { function(session, mechanism, key) }
}

/// C_GetAttributeValue, of the public key that the rules say.
///
/// # Safety
///
/// That of C_GetAttributeValue (PKCS#11 2.40, section 5.7).
pub(crate) unsafe fn get_attribute_value(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    length: CK_ULONG,
) -> CK_RV {
    let Ok(list) = real::list() else { return CKR_FUNCTION_NOT_SUPPORTED };
    let Some(function) = list.C_GetAttributeValue else { return CKR_FUNCTION_NOT_SUPPORTED };
    let object = replaced(list, Function::C_GetAttributeValue, session, object, CKO_PUBLIC_KEY);
    // SAFETY: everything is the caller's but the object, which is a handle that the module gave out in this session.
    unsafe { function(session, object, template, length) }
}

/// The object that stands for this one, or this one itself.
fn replaced(
    list: &CK_FUNCTION_LIST,
    function: Function,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    wanted: CK_OBJECT_CLASS,
) -> CK_OBJECT_HANDLE {
    let names = |asked: &[u8]| {
        class(list, session, object) == Some(wanted) && id(list, session, object).as_deref() == Some(asked)
    };
    let actions = rules::take(function, |action| matches!(action, Action::Other(asked, _) if names(asked)));
    let Some(Action::Other(_, used)) = actions.into_iter().next() else { return object };
    count(function, Step::Met);
    find(list, session, wanted, used)
        .unwrap_or_else(|| crate::inject::stop("the token has no key with the CKA_ID that is to be used instead"))
}

fn class(list: &CK_FUNCTION_LIST, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Option<CK_OBJECT_CLASS> {
    let mut class: CK_OBJECT_CLASS = 0;
    attribute(list, session, object, CKA_CLASS, (&raw mut class).cast(), size_of::<CK_OBJECT_CLASS>())?;
    Some(class)
}

fn id(list: &CK_FUNCTION_LIST, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Option<Vec<u8>> {
    let mut id = vec![0_u8; MAX_ID];
    let length = attribute(list, session, object, CKA_ID, id.as_mut_ptr().cast(), id.len())?;
    id.truncate(length);
    Some(id)
}

/// Reads one attribute to `value`, which has room for `room` bytes; its length.
fn attribute(
    list: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    kind: CK_ATTRIBUTE_TYPE,
    value: *mut c_void,
    room: usize,
) -> Option<usize> {
    let mut template = CK_ATTRIBUTE { type_: kind, pValue: value, ulValueLen: CK_ULONG::try_from(room).ok()? };
    let function = list.C_GetAttributeValue?;
    // SAFETY: one attribute, with room for as many bytes as it says; both callers own the memory.
    let answer = unsafe { function(session, object, &raw mut template, 1) };
    (answer == CKR_OK).then(|| usize::try_from(template.ulValueLen).ok()).flatten().filter(|length| *length <= room)
}

/// The object of this class with this CKA_ID. No search is under way in the session: its owner is in C_SignInit or C_GetAttributeValue.
fn find(
    list: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    mut class: CK_OBJECT_CLASS,
    mut id: Vec<u8>,
) -> Option<CK_OBJECT_HANDLE> {
    let length = |bytes: usize| CK_ULONG::try_from(bytes).ok();
    let mut template = [
        CK_ATTRIBUTE {
            type_: CKA_CLASS,
            pValue: (&raw mut class).cast(),
            ulValueLen: length(size_of::<CK_OBJECT_CLASS>())?,
        },
        CK_ATTRIBUTE { type_: CKA_ID, pValue: id.as_mut_ptr().cast(), ulValueLen: length(id.len())? },
    ];
    let (begin, next, end) = (list.C_FindObjectsInit?, list.C_FindObjects?, list.C_FindObjectsFinal?);
    // SAFETY: two attributes, whose values outlive the call.
    if unsafe { begin(session, template.as_mut_ptr(), 2) } != CKR_OK {
        return None;
    }
    let (mut object, mut found) = (0, 0);
    // SAFETY: room for one handle and for their number.
    let answer = unsafe { next(session, &raw mut object, 1, &raw mut found) };
    // SAFETY: ends the search that was begun above.
    let ended = unsafe { end(session) };
    (answer == CKR_OK && ended == CKR_OK && found == 1).then_some(object)
}
