//! The subject that a CSR asks for (RFC 2986, section 4.1), as far as SPIRE's MintX509SVID grants one.
//!
//! Nine attributes count, and the others are dropped, as Go's `pkix.Name` does; so is their order. A subject is for people and for
//! software that looks at names: no one who verifies SVIDs reads an identity from it.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::{
    COMMON_NAME, COUNTRY_NAME, L, ORGANIZATION_NAME, OU, POSTAL_CODE, SERIAL_NUMBER, ST, STREET,
};
use der::{Decode, Tag, Tagged};
use x509_cert::name::Name;

use super::issue::rdn;

/// Longest subject that is read, DER: nine attributes of 64 characters, which is RFC 5280's bound for most of them, fit twice.
pub const MAX_SUBJECT_LEN: usize = 2048;

/// What becomes of the attributes, in the order in which Go writes them.
const ATTRIBUTES: [ObjectIdentifier; 9] =
    [COUNTRY_NAME, ORGANIZATION_NAME, OU, L, ST, STREET, POSTAL_CODE, COMMON_NAME, SERIAL_NUMBER];

/// A subject that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// In the order of `ATTRIBUTES`; each has one or more values.
    attributes: Vec<(ObjectIdentifier, Vec<String>)>,
}

/// Why a subject is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Longer than any that is read.
    #[error("subject has {len} bytes, of at most {MAX_SUBJECT_LEN}")]
    TooLarge {
        /// Its length.
        len: usize,
    },
    /// Not a Name.
    #[error("malformed subject: {reason}")]
    Malformed {
        /// What does not parse.
        reason: String,
    },
    /// A value that is no PrintableString, UTF8String or IA5String.
    #[error("the subject's {attribute} is not text")]
    NotText {
        /// The attribute's identifier.
        attribute: ObjectIdentifier,
    },
}

impl Subject {
    /// Reads a Name, DER; `None` where it has none of the attributes that count. Of several common names and serial numbers the last
    /// one counts, as in Go.
    pub fn from_name(der: &[u8]) -> Result<Option<Self>, SubjectError> {
        if der.len() > MAX_SUBJECT_LEN {
            return Err(SubjectError::TooLarge { len: der.len() });
        }
        let name = Name::from_der(der).map_err(|error| SubjectError::Malformed { reason: error.to_string() })?;
        let mut attributes: Vec<_> = ATTRIBUTES.into_iter().map(|attribute| (attribute, Vec::new())).collect();
        for found in name.iter() {
            let Some((attribute, values)) = attributes.iter_mut().find(|(attribute, _)| *attribute == found.oid) else {
                continue;
            };
            let not_text = || SubjectError::NotText { attribute: *attribute };
            let text = match found.value.tag() {
                Tag::PrintableString | Tag::Utf8String | Tag::Ia5String => std::str::from_utf8(found.value.value()),
                _ => return Err(not_text()),
            };
            if *attribute == COMMON_NAME || *attribute == SERIAL_NUMBER {
                values.clear();
            }
            values.push(text.map_err(|_| not_text())?.to_owned());
        }
        attributes.retain(|(_, values)| !values.is_empty());
        Ok((!attributes.is_empty()).then_some(Self { attributes }))
    }

    /// C=US, O=SPIRE: the subject of every SVID whose subject nobody asked for.
    pub(super) fn standard() -> Self {
        let attributes = vec![(COUNTRY_NAME, vec!["US".to_owned()]), (ORGANIZATION_NAME, vec!["SPIRE".to_owned()])];
        Self { attributes }
    }

    /// The content of the Name, with another common name where there is one.
    pub(super) fn to_der(&self, common_name: Option<&str>) -> Vec<u8> {
        let mut out = Vec::new();
        for attribute in ATTRIBUTES {
            match common_name {
                Some(name) if attribute == COMMON_NAME => out.extend(rdn(&attribute, &[name])),
                _ => {
                    let values = self.attributes.iter().find(|(known, _)| *known == attribute).map(|(_, v)| v);
                    let values: Vec<_> = values.into_iter().flatten().map(String::as_str).collect();
                    if !values.is_empty() {
                        out.extend(rdn(&attribute, &values));
                    }
                }
            }
        }
        out
    }
}
