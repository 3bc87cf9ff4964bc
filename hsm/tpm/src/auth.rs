//! The authorisation values that a TPM's owner set, and the memory of which of them the TPM refused.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use plastron_attestation::TpmDeviceError;
use zeroize::Zeroizing;

/// Longest value: the largest digest of a TPM (TPM 2.0 Library part 1, section 17.6.4.3).
const MAX_LEN: usize = 64;

/// A hierarchy's authorisation value.
///
/// A value that the TPM refused is never sent again. That is remembered here: clones share the memory, so it lasts as long as the
/// program keeps one, over every connection that it makes to the TPM.
#[derive(Clone)]
pub struct AuthValue(Arc<Inner>);

struct Inner {
    value: Zeroizing<Vec<u8>>,
    origin: String,
    refused: AtomicBool,
}

impl AuthValue {
    /// The value of a hierarchy whose owner set none: it is empty.
    pub fn unset() -> Self {
        Self::with(Zeroizing::default(), "no value is configured".to_owned())
    }

    /// A value, and where it comes from, which is what errors name in its place. `None` where it is longer than any TPM takes.
    pub fn new(value: Zeroizing<Vec<u8>>, origin: impl Into<String>) -> Option<Self> {
        (value.len() <= MAX_LEN).then(|| Self::with(value, origin.into()))
    }

    fn with(value: Zeroizing<Vec<u8>>, origin: String) -> Self {
        Self(Arc::new(Inner { value, origin, refused: AtomicBool::new(false) }))
    }

    /// True where nothing secret has to be shown.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.value.is_empty()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0.value
    }

    /// Fails where the TPM has refused the value before.
    pub(crate) fn assert_not_refused(&self, hierarchy: &'static str) -> Result<(), TpmDeviceError> {
        if self.0.refused.load(Ordering::Relaxed) { Err(self.wrong(hierarchy)) } else { Ok(()) }
    }

    /// The TPM refused it.
    pub(crate) fn refused(&self, hierarchy: &'static str) -> TpmDeviceError {
        self.0.refused.store(true, Ordering::Relaxed);
        self.wrong(hierarchy)
    }

    fn wrong(&self, hierarchy: &'static str) -> TpmDeviceError {
        TpmDeviceError::WrongAuth { hierarchy, origin: self.0.origin.clone() }
    }
}

/// The value is not shown.
impl fmt::Debug for AuthValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { value: _, origin, refused } = &*self.0;
        f.debug_struct("AuthValue").field("origin", origin).field("refused", refused).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::AuthValue;
    use zeroize::Zeroizing;

    #[test]
    fn a_refusal_is_remembered_by_every_clone_and_names_the_origin_only() {
        let value = AuthValue::new(Zeroizing::new(b"hunter2".to_vec()), "the file /etc/auth").unwrap();
        let clone = value.clone();
        value.assert_not_refused("owner").unwrap();
        let error = clone.refused("owner");
        let again = value.assert_not_refused("owner").unwrap_err();
        for text in [error.to_string(), again.to_string(), format!("{again:?} {value:?}")] {
            assert!(text.contains("/etc/auth") && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_value_that_no_tpm_takes_is_refused() {
        assert!(AuthValue::new(Zeroizing::new(vec![7; 64]), "").is_some());
        assert!(AuthValue::new(Zeroizing::new(vec![7; 65]), "").is_none());
    }
}
