//! Names and Qualified Names (TPM 2.0 Library part 1, section 16).

use std::fmt;

use crate::HashAlgorithm;

/// TPM_RH_ENDORSEMENT; its Name, and its Qualified Name, are these four bytes.
pub const RH_ENDORSEMENT: u32 = 0x4000_000b;

/// The Name of an object: `nameAlg ‖ H_nameAlg(TPMT_PUBLIC)`, computed here and never taken from a node.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Vec<u8>);

impl Name {
    /// The Name of a public area with this nameAlg.
    pub fn of(name_alg: HashAlgorithm, public_area: &[u8]) -> Self {
        let mut name = name_alg.id().to_be_bytes().to_vec();
        name.extend(name_alg.digest([public_area]));
        Self(name)
    }

    /// The bytes, algorithm first.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// The Qualified Name of an object: it commits to all its ancestors, up to the hierarchy.
#[derive(Clone, PartialEq, Eq)]
pub struct QualifiedName(Vec<u8>);

impl QualifiedName {
    /// That of the endorsement hierarchy.
    pub fn endorsement_hierarchy() -> Self {
        Self(RH_ENDORSEMENT.to_be_bytes().to_vec())
    }

    /// That of a child: `nameAlg ‖ H_nameAlg(QN(parent) ‖ Name)`, with the child's nameAlg.
    pub fn child(&self, name_alg: HashAlgorithm, name: &Name) -> Self {
        let mut qualified = name_alg.id().to_be_bytes().to_vec();
        qualified.extend(name_alg.digest([self.0.as_slice(), name.as_bytes()]));
        Self(qualified)
    }

    /// The bytes, as qualifiedSigner holds them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QualifiedName(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}
