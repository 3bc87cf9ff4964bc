//! Certificate revocation lists (RFC 5280, section 5) that the operator imported, and what they say about a path.
//!
//! A list is complete and its issuer's own, or it is refused when the pool is made: delta lists, indirect ones and those of a part of the
//! certificates say so in critical extensions, and no critical extension is understood here. Its signature is checked then, once, by the
//! certificate of its issuer among the pool's roots and intermediates; at a judgement it speaks for a certificate of that name *and* that
//! key only. A list that is too old decides nothing, and nothing is issued (fail closed); who has none does without, and every
//! verdict says so. Not here: fetching.

use std::collections::BTreeSet;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{
    ID_CE_CERTIFICATE_ISSUER, ID_CE_CRL_REASONS, ID_CE_DELTA_CRL_INDICATOR, ID_CE_ISSUING_DISTRIBUTION_POINT,
};
use der::asn1::{AnyRef, BitStringRef, ContextSpecific};
use der::{Decode, Encode, Header, Reader as _, SliceReader, Tag, TagNumber, Tagged};
use spki::AlgorithmIdentifierRef;
use x509_cert::time::Time;

use super::readable_name;
use crate::certificate::{Certificate, Extension, without_leading_zeros};
use crate::{AppraiseError, Check, Checklist, certificate_signature};

/// Longest list: those of TPM manufacturers have a few KiB. An entry has about 35 bytes, so this is over 100,000 of them.
pub const MAX_CRL_LEN: usize = 4 << 20;

/// A list whose issuer signed it.
#[derive(Clone, Debug)]
pub(crate) struct RevocationList {
    issuer: Vec<u8>,
    /// SubjectPublicKeyInfo of the certificate that verified it, DER.
    issuer_key: Vec<u8>,
    this_update: u64,
    next_update: Option<u64>,
    serials: BTreeSet<Vec<u8>>,
}

/// A list that parses.
struct Parsed<'a> {
    tbs: &'a [u8],
    signature_algorithm: AlgorithmIdentifierRef<'a>,
    signature: &'a [u8],
    issuer: &'a [u8],
    this_update: u64,
    next_update: Option<u64>,
    serials: BTreeSet<Vec<u8>>,
    /// A critical extension of the list or of an entry.
    critical: Option<String>,
}

impl RevocationList {
    /// Checks, in order: it parses; no critical extension; a certificate among `issuers` has its issuer's name, may sign lists, and its
    /// key signed it.
    pub(crate) fn verify(der: &[u8], issuers: &[Certificate<'_>]) -> Result<Self, AppraiseError> {
        if der.len() > MAX_CRL_LEN {
            return Err(AppraiseError::CrlMalformed { reason: format!("{} bytes, at most {MAX_CRL_LEN}", der.len()) });
        }
        let list = read(der).map_err(|error| AppraiseError::CrlMalformed { reason: error.to_string() })?;
        let issuer = readable_name(list.issuer);
        if let Some(oid) = list.critical {
            return Err(AppraiseError::CrlExtension { issuer, oid });
        }
        let mut reason = "no root or intermediate of the pool has that name";
        for candidate in issuers.iter().filter(|candidate| candidate.subject() == list.issuer) {
            let signed = match candidate.key_usage()? {
                Some(usage) if !usage.crl_sign() => Err("its key usage does not sign revocation lists"),
                _ => certificate_signature::verify(list.tbs, list.signature_algorithm.oid, list.signature, candidate),
            };
            match signed {
                Ok(()) => {
                    return Ok(Self {
                        issuer: list.issuer.to_vec(),
                        issuer_key: key_of(candidate)?,
                        this_update: list.this_update,
                        next_update: list.next_update,
                        serials: list.serials,
                    });
                }
                Err(failure) => reason = failure,
            }
        }
        Err(AppraiseError::CrlSignature { issuer, reason })
    }

    fn is_of(&self, certificate: &Certificate<'_>) -> Result<bool, AppraiseError> {
        Ok(self.issuer == certificate.subject() && self.issuer_key == key_of(certificate)?)
    }

    /// Neither of the future, nor past the next update that it announces, nor older than the pool takes.
    fn check_fresh(&self, now: u64, max_age: u64) -> Result<(), AppraiseError> {
        let issuer = || readable_name(&self.issuer);
        if now < self.this_update {
            return Err(AppraiseError::CrlNotYetValid { issuer: issuer(), this_update: self.this_update, now });
        }
        let oldest = self.this_update.saturating_add(max_age);
        let until = self.next_update.map_or(oldest, |next| next.min(oldest));
        if now > until {
            return Err(AppraiseError::CrlStale { issuer: issuer(), until, now });
        }
        Ok(())
    }
}

/// The newest list of each issuer.
pub(crate) fn newest(lists: Vec<RevocationList>) -> Vec<RevocationList> {
    let mut newest: Vec<RevocationList> = Vec::new();
    for list in lists {
        match newest.iter_mut().find(|other| other.issuer == list.issuer && other.issuer_key == list.issuer_key) {
            Some(other) if other.this_update >= list.this_update => {}
            Some(other) => *other = list,
            None => newest.push(list),
        }
    }
    newest
}

/// Checks every link of a path, `leaf` first: where there is a list of its issuer, the certificate is not on it, however old the list
/// is, and the list is fresh.
pub(crate) fn check(
    leaf: &Certificate<'_>,
    path: &[&Certificate<'_>],
    lists: &[RevocationList],
    max_age: u64,
    now: u64,
    checks: &mut Checklist,
) -> Result<(), AppraiseError> {
    let (mut checked, mut unchecked) = (Vec::new(), Vec::new());
    for (certificate, issuer) in std::iter::once(&leaf).chain(path).zip(path) {
        let name = readable_name(issuer.subject());
        let mut of_issuer = None;
        for list in lists {
            if list.is_of(issuer)? {
                of_issuer = Some(list);
            }
        }
        let Some(list) = of_issuer else {
            unchecked.push(name);
            continue;
        };
        let serial = without_leading_zeros(certificate.serial());
        if list.serials.contains(serial) {
            return Err(AppraiseError::Revoked {
                which: certificate.which(),
                issuer: name,
                serial: hex::encode(serial),
                this_update: list.this_update,
            });
        }
        list.check_fresh(now, max_age)?;
        checked.push(format!("{name} of {}", list.this_update));
    }
    match (checked.as_slice(), unchecked.as_slice()) {
        (_, []) => checks.pass(Check::EkRevocation, format!("lists by {}", checked.join(", "))),
        ([], _) => checks.not_checked(Check::EkRevocation, "revocation: not checked"),
        _ => checks.not_checked(
            Check::EkRevocation,
            format!(
                "revocation: not checked for what {} issued; lists by {}",
                unchecked.join(", "),
                checked.join(", ")
            ),
        ),
    }
    Ok(())
}

fn key_of(certificate: &Certificate<'_>) -> Result<Vec<u8>, AppraiseError> {
    certificate.spki().to_der().map_err(|error| AppraiseError::CertificateMalformed {
        which: certificate.which(),
        reason: format!("its key: {error}"),
    })
}

fn read(der: &[u8]) -> der::Result<Parsed<'_>> {
    let mut reader = SliceReader::new(der)?;
    let (tbs, signature_algorithm, signature) = reader.sequence(|reader| {
        let tbs = reader.tlv_bytes()?;
        Ok::<_, der::Error>((tbs, AlgorithmIdentifierRef::decode(reader)?, BitStringRef::decode(reader)?))
    })?;
    reader.finish()?;
    let signature = signature.as_bytes().ok_or(der::ErrorKind::Value { tag: Tag::BitString })?;

    let mut reader = SliceReader::new(tbs)?;
    let list = reader.sequence(|reader| {
        // Absent in v1, and 1 in v2.
        match Option::<u8>::decode(reader)? {
            None | Some(1) => {}
            Some(_) => return Err(der::ErrorKind::Value { tag: Tag::Integer }.into()),
        }
        if AlgorithmIdentifierRef::decode(reader)? != signature_algorithm {
            return Err(der::ErrorKind::Value { tag: Tag::Sequence }.into());
        }
        let issuer = reader.tlv_bytes()?;
        let this_update = seconds(Time::decode(reader)?);
        let next_update = Option::<Time>::decode(reader)?.map(seconds);
        let mut critical = None;
        let mut serials = BTreeSet::new();
        if !reader.is_finished() && Tag::peek(reader)? == Tag::Sequence {
            let revoked = Header::decode(reader)?;
            reader.read_nested(revoked.length(), |reader| {
                while !reader.is_finished() {
                    let serial = reader.sequence(|reader| read_entry(reader, &mut critical))?;
                    serials.insert(without_leading_zeros(serial).to_vec());
                }
                Ok::<_, der::Error>(())
            })?;
        }
        let extensions = ContextSpecific::<Vec<Extension<'_>>>::decode_explicit(reader, TagNumber(0))?;
        critical = critical.or_else(|| find_critical(&extensions?.value, &[]));
        Ok::<_, der::Error>(Parsed {
            tbs,
            signature_algorithm,
            signature,
            issuer,
            this_update,
            next_update,
            serials,
            critical,
        })
    })?;
    reader.finish()?;
    Ok(list)
}

/// Whatever the reason and the date: what is on the list is revoked, also on hold and also from a date on that is still to come.
fn read_entry<'a>(reader: &mut SliceReader<'a>, critical: &mut Option<String>) -> der::Result<&'a [u8]> {
    let serial = AnyRef::decode(reader)?;
    serial.tag().assert_eq(Tag::Integer)?;
    Time::decode(reader)?;
    if let Some(extensions) = Option::<Vec<Extension<'_>>>::decode(reader)? {
        *critical = critical.take().or_else(|| find_critical(&extensions, &[ID_CE_CRL_REASONS]));
    }
    Ok(serial.value())
}

/// What changes the meaning of a list or of an entry: critical extensions, and those that have to be critical and may be mismarked.
const CHANGES_MEANING: [ObjectIdentifier; 3] =
    [ID_CE_DELTA_CRL_INDICATOR, ID_CE_ISSUING_DISTRIBUTION_POINT, ID_CE_CERTIFICATE_ISSUER];

fn find_critical(extensions: &[Extension<'_>], understood: &[ObjectIdentifier]) -> Option<String> {
    extensions
        .iter()
        .find(|Extension { extn_id, critical, .. }| {
            CHANGES_MEANING.contains(extn_id) || *critical && !understood.contains(extn_id)
        })
        .map(|extension| extension.extn_id.to_string())
}

fn seconds(time: Time) -> u64 {
    time.to_unix_duration().as_secs()
}
