//! SPIRE takes an empty text, an empty path and 0 for keys that are not there, so that a template may leave them empty.

use std::path::PathBuf;

use plastron_hcl1::Located;

/// A value that may stand for none.
pub trait MaybeEmpty {
    /// Whether it does.
    fn is_empty(&self) -> bool;
}

/// Takes the value out where it stands for none.
pub fn unset_empty<T: MaybeEmpty>(setting: &mut Option<T>) {
    setting.take_if(|value| value.is_empty());
}

impl MaybeEmpty for String {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl MaybeEmpty for PathBuf {
    fn is_empty(&self) -> bool {
        self.as_os_str().is_empty()
    }
}

impl MaybeEmpty for u16 {
    fn is_empty(&self) -> bool {
        *self == 0
    }
}

impl MaybeEmpty for usize {
    fn is_empty(&self) -> bool {
        *self == 0
    }
}

impl<T: MaybeEmpty> MaybeEmpty for Located<T> {
    fn is_empty(&self) -> bool {
        self.value.is_empty()
    }
}
