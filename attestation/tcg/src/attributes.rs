//! TPMA_OBJECT (TPM 2.0 Library part 2, section 8.3).

use std::fmt;

/// Attributes of an object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ObjectAttributes(pub u32);

impl ObjectAttributes {
    /// The key can't leave its TPM.
    pub const FIXED_TPM: Self = Self(1 << 1);
    /// The object is lost at a TPM restart.
    pub const ST_CLEAR: Self = Self(1 << 2);
    /// The key can't get another parent.
    pub const FIXED_PARENT: Self = Self(1 << 4);
    /// The TPM made the sensitive part.
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(1 << 5);
    /// The auth value serves the USER role.
    pub const USER_WITH_AUTH: Self = Self(1 << 6);
    /// The ADMIN role needs the policy.
    pub const ADMIN_WITH_POLICY: Self = Self(1 << 7);
    /// Not protected against dictionary attack.
    pub const NO_DA: Self = Self(1 << 10);
    /// Duplication is encrypted.
    pub const ENCRYPTED_DUPLICATION: Self = Self(1 << 11);
    /// The key works only on structures that the TPM made or knows.
    pub const RESTRICTED: Self = Self(1 << 16);
    /// The private part may decrypt.
    pub const DECRYPT: Self = Self(1 << 17);
    /// The private part may sign.
    pub const SIGN_ENCRYPT: Self = Self(1 << 18);

    const NAMES: [(Self, &'static str); 11] = [
        (Self::FIXED_TPM, "fixedTPM"),
        (Self::ST_CLEAR, "stClear"),
        (Self::FIXED_PARENT, "fixedParent"),
        (Self::SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin"),
        (Self::USER_WITH_AUTH, "userWithAuth"),
        (Self::ADMIN_WITH_POLICY, "adminWithPolicy"),
        (Self::NO_DA, "noDA"),
        (Self::ENCRYPTED_DUPLICATION, "encryptedDuplication"),
        (Self::RESTRICTED, "restricted"),
        (Self::DECRYPT, "decrypt"),
        (Self::SIGN_ENCRYPT, "sign"),
    ];

    /// Whether all of these are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those set here or there.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for ObjectAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut separator = "";
        for (attribute, name) in Self::NAMES {
            if self.contains(attribute) {
                rest &= !attribute.0;
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if rest != 0 || self.0 == 0 {
            write!(f, "{separator}{rest:#x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ObjectAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectAttributes({self})")
    }
}
