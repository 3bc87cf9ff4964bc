//! Certificates that are valid since before 1970, as Go makes them where nobody sets a beginning: year 1.
//!
//! Neither of the readers used here knows such a date. They are given a copy whose beginning is the first second of 1970, which is as long
//! past; signatures are verified over the bytes that arrived ([`OverOriginal`]), never over the copy.

use der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, asn1::AnyRef};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

/// A GeneralizedTime of DER, as long as every other.
const EPOCH: &[u8; 15] = b"19700101000000Z";

/// A certificate as it can be read: itself, or its copy that begins in 1970.
pub fn readable(certificate: &[u8]) -> Vec<u8> {
    let mut copy = certificate.to_vec();
    if let Some(value) = not_before(certificate).and_then(|range| copy.get_mut(range))
        && value.len() == EPOCH.len()
        && value.last() == Some(&b'Z')
        && value.get(..4).is_some_and(|year| year.iter().all(u8::is_ascii_digit) && year < &EPOCH[..4])
    {
        value.copy_from_slice(EPOCH);
    }
    copy
}

/// Where the octets of a GeneralizedTime `notBefore` lie.
fn not_before(certificate: &[u8]) -> Option<std::ops::Range<usize>> {
    let (tbs_at, tbs) = contents(certificate, 0)?;
    let (fields_at, fields) = contents(tbs, tbs_at)?;
    let mut reader = SliceReader::new(fields).ok()?;
    let element = |reader: &mut SliceReader<'_>| {
        let at = usize::try_from(u32::from(reader.position())).ok()?;
        let any = AnyRef::decode(reader).ok()?;
        Some((at, any.header().tag()))
    };
    let (_, first) = element(&mut reader)?;
    // The version is there in all but version 1; then follow serial number, signature algorithm and issuer.
    for _ in 0..if first == Tag::Integer { 2 } else { 3 } {
        element(&mut reader)?;
    }
    let (validity_at, _) = element(&mut reader)?;
    let (dates_at, dates) = contents(fields.get(validity_at..)?, fields_at + validity_at)?;
    let date = AnyRef::decode(&mut SliceReader::new(dates).ok()?).ok()?;
    let header = date.header().encoded_len().ok().and_then(|length| usize::try_from(u32::from(length)).ok())?;
    let at = dates_at + header;
    (date.header().tag() == Tag::GeneralizedTime).then(|| at..at + date.value().len())
}

/// The contents of the element that `bytes` begins with, and where they lie in the whole, of which `bytes` begins at `offset`.
fn contents(bytes: &[u8], offset: usize) -> Option<(usize, &[u8])> {
    let mut reader = SliceReader::new(bytes).ok()?;
    let any = AnyRef::decode(&mut reader).ok()?;
    let end = usize::try_from(u32::from(reader.position())).ok()?;
    let header = end.checked_sub(any.value().len())?;
    Some((offset + header, bytes.get(header..end)?))
}

/// The part of a certificate that is signed.
fn signed_part(certificate: &[u8]) -> Option<&[u8]> {
    let (_, inner) = contents(certificate, 0)?;
    let mut reader = SliceReader::new(inner).ok()?;
    AnyRef::decode(&mut reader).ok()?;
    inner.get(..usize::try_from(u32::from(reader.position())).ok()?)
}

/// What was signed in place of what a copy says was.
#[derive(Debug)]
pub struct Originals(Vec<(Vec<u8>, Vec<u8>)>);

impl Originals {
    /// Of these certificates and their copies.
    pub fn of<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let parts = pairs.filter(|(original, copy)| original != copy);
        Self(parts.filter_map(|(a, b)| Some((signed_part(b)?.to_vec(), signed_part(a)?.to_vec()))).collect())
    }

    fn behind<'a>(&'a self, message: &'a [u8]) -> &'a [u8] {
        self.0.iter().find(|(copy, _)| copy == message).map_or(message, |(_, original)| original)
    }

    /// An algorithm that verifies the originals.
    pub fn verified_by<'a>(&'a self, inner: &'a dyn SignatureVerificationAlgorithm) -> OverOriginal<'a> {
        OverOriginal { inner, originals: self }
    }
}

/// A signature algorithm that verifies what arrived, where it is asked about a copy.
#[derive(Debug)]
pub struct OverOriginal<'a> {
    inner: &'a dyn SignatureVerificationAlgorithm,
    originals: &'a Originals,
}

impl SignatureVerificationAlgorithm for OverOriginal<'_> {
    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.signature_alg_id()
    }

    fn verify_signature(&self, public_key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        self.inner.verify_signature(public_key, self.originals.behind(message), signature)
    }
}
