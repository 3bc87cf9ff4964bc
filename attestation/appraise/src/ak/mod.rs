//! The attestation key: `AcceptableAk` is fit to be one, `BoundAk` is proven to be in the TPM of an EK.

mod algorithm;
mod attributes;
pub(crate) mod credential;
mod kdf;

use plastron_attestation_tcg::{Name, QualifiedName, TpmtPublic};

pub(crate) use algorithm::AkScheme;

use crate::{AppraiseError, Check, Checklist, EkFingerprint, EnrolledTpm, TrustedEk};

/// A key whose public area is that of a good AK. Whose it is, is not proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptableAk {
    public: Vec<u8>,
    name: Name,
    scheme: AkScheme,
}

impl AcceptableAk {
    /// Checks, in order: the public area parses; attributes; algorithms. The Name is computed here.
    pub fn check(public: &[u8], checks: &mut Checklist) -> Result<Self, AppraiseError> {
        let parsed = TpmtPublic::parse(public)?;
        attributes::check(parsed.attributes)?;
        checks.pass(Check::AkAttributes, parsed.attributes.to_string());
        let scheme = algorithm::check(&parsed)?;
        checks.pass(Check::AkAlgorithm, format!("{scheme:?}, nameAlg {}", parsed.name_alg));
        Ok(Self { public: public.to_vec(), name: parsed.name(), scheme })
    }

    /// Its Name.
    pub fn name(&self) -> &Name {
        &self.name
    }
}

/// How an AK came to be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AkOrigin {
    /// Its credential was activated in this conversation.
    Activated,
    /// Its credential was activated at enrolment.
    Enrolled,
    /// It was the node's before another took its place. It can prove a copy, and nothing else.
    Retired,
}

/// An AK that is in the TPM of an EK.
#[derive(Debug)]
pub struct BoundAk {
    ak: AcceptableAk,
    ek: EkFingerprint,
    qualified_name: QualifiedName,
    origin: AkOrigin,
}

impl BoundAk {
    /// By the record of the enrolment, which must be about this EK and this AK. An AK that the node retired is bound too, so that
    /// its signature can be verified; no appraisal accepts it.
    pub fn enrolled(
        ek: &TrustedEk,
        ak: AcceptableAk,
        record: &EnrolledTpm,
        checks: &mut Checklist,
    ) -> Result<Self, AppraiseError> {
        if record.ek_public != ek.public() {
            return Err(AppraiseError::Subject { what: "the record is of another EK" });
        }
        let origin = if record.ak_name().as_ref() == Some(&ak.name) {
            checks.pass(Check::AkActivated, "at enrolment");
            AkOrigin::Enrolled
        } else if record.retired_ak_names.iter().any(|retired| retired == ak.name.as_bytes()) {
            checks.pass(Check::AkActivated, "at an enrolment that another one replaced");
            AkOrigin::Retired
        } else {
            return Err(AppraiseError::AkNotEnrolled { ak_name: ak.name.to_string() });
        };
        Self::bind(ek.fingerprint(), ek.qualified_name(), ak, origin)
    }

    fn bind(
        ek: EkFingerprint,
        ek_qualified_name: &QualifiedName,
        ak: AcceptableAk,
        origin: AkOrigin,
    ) -> Result<Self, AppraiseError> {
        let name_alg = TpmtPublic::parse(&ak.public)?.name_alg;
        Ok(Self { ek, qualified_name: ek_qualified_name.child(name_alg, &ak.name), ak, origin })
    }

    /// Its Name.
    pub fn name(&self) -> &Name {
        &self.ak.name
    }

    pub(crate) fn ek(&self) -> EkFingerprint {
        self.ek
    }

    pub(crate) fn public(&self) -> &[u8] {
        &self.ak.public
    }

    pub(crate) fn scheme(&self) -> AkScheme {
        self.ak.scheme
    }

    pub(crate) fn qualified_name(&self) -> &QualifiedName {
        &self.qualified_name
    }

    pub(crate) fn origin(&self) -> AkOrigin {
        self.origin
    }
}
