//! Templates: which fields an entry has, by the names of `IMA-templates.rst`.

use super::position;
use crate::{HashAlgorithm, ReadError, Reader};

/// Longest digest: SHA-512.
const MAX_DIGEST: usize = 64;

/// What an entry says about a file, or about a buffer that the kernel measures under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImaFile<'a> {
    /// Hash algorithm of the digest, by the kernel's name: `sha256`.
    pub digest_algorithm: &'a str,
    /// `ima`, or `verity` for an fs-verity digest; `None` in templates that do not say.
    pub digest_type: Option<&'a str>,
    /// The digest; zeros for a violation.
    pub digest: &'a [u8],
    /// The name as it was opened, without its NUL: any bytes.
    pub name: &'a [u8],
    /// The signature in the file's extended attribute; empty where there is none, or no field for it.
    pub signature: &'a [u8],
}

/// A field of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// `d-ng`: algorithm, colon, NUL, digest.
    Digest,
    /// `d-ngv2`: the same behind the type of the digest and a colon.
    DigestWithType,
    /// `n-ng`: a name and its NUL.
    Name,
    /// `sig`, `evmsig`.
    Signature,
    /// A field that is not read.
    Other,
}

/// A template by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Template {
    /// `ima`, of before Linux 3.13.
    Ima,
    /// A template with these fields.
    Fields(&'static [Field]),
    /// One that is not Linux's own.
    Unknown,
}

impl Template {
    pub(super) fn of(name: &str) -> Self {
        use Field::{Digest, DigestWithType, Name, Other, Signature};
        match name {
            "ima" => Self::Ima,
            "ima-ng" => Self::Fields(&[Digest, Name]),
            "ima-sig" => Self::Fields(&[Digest, Name, Signature]),
            "ima-ngv2" => Self::Fields(&[DigestWithType, Name]),
            "ima-sigv2" => Self::Fields(&[DigestWithType, Name, Signature]),
            "ima-buf" => Self::Fields(&[Digest, Name, Other]),
            "ima-modsig" => Self::Fields(&[Digest, Name, Signature, Other, Other]),
            "evm-sig" => Self::Fields(&[Digest, Name, Signature, Other, Other, Other, Other, Other, Other]),
            _ => Self::Unknown,
        }
    }
}

/// Reads the fields of a template; they end where its data end. Each has its length, as UINT32, before it.
pub(super) fn read_fields<'a>(reader: &mut Reader<'a>, fields: &[Field], end: usize) -> Result<ImaFile<'a>, ReadError> {
    let mut file = ImaFile { digest_algorithm: "", digest_type: None, digest: &[], name: &[], signature: &[] };
    for field in fields {
        let left = end.saturating_sub(reader.offset()).saturating_sub(4);
        let len = reader.length_u32_le("bytes of a field of the template", left)?;
        let at = reader.clone();
        let bytes = reader.take(len)?;
        match field {
            Field::Digest => read_digest(&at, bytes, false, &mut file)?,
            Field::DigestWithType => read_digest(&at, bytes, true, &mut file)?,
            Field::Name => file.name = read_name(&at, bytes)?,
            Field::Signature => file.signature = bytes,
            Field::Other => {}
        }
    }
    match end.saturating_sub(reader.offset()) {
        0 => Ok(file),
        left => Err(reader.value("bytes of template data after the last field", position(left))),
    }
}

/// Reads the oldest template: a digest of 20 bytes, and a name behind its length.
pub(super) fn read_ima<'a>(reader: &mut Reader<'a>, longest_name: usize) -> Result<ImaFile<'a>, ReadError> {
    let digest = reader.take(20)?;
    let len = reader.length_u32_le("bytes of a name", longest_name)?;
    let at = reader.clone();
    let name = read_name(&at, reader.take(len)?)?;
    Ok(ImaFile { digest_algorithm: "sha1", digest_type: None, digest, name, signature: &[] })
}

fn read_digest<'a>(at: &Reader<'_>, bytes: &'a [u8], with_type: bool, file: &mut ImaFile<'a>) -> Result<(), ReadError> {
    let wrong = |what| at.value(what, position(bytes.len()));
    let nul = bytes.iter().position(|byte| *byte == 0).ok_or_else(|| wrong("length of a digest without algorithm"))?;
    let (label, digest) = bytes.split_at_checked(nul).ok_or_else(|| wrong("length of a digest"))?;
    let label = std::str::from_utf8(label).ok().and_then(|label| label.strip_suffix(':'));
    let label = label.ok_or_else(|| wrong("length of a digest whose algorithm is no text"))?;
    let (digest_type, algorithm) = match (label.split_once(':'), with_type) {
        (Some((digest_type, algorithm)), true) => (Some(digest_type), algorithm),
        (None, false) => (None, label),
        _ => return Err(wrong("length of a digest whose type is misplaced")),
    };
    let digest = digest.get(1..).unwrap_or_default();
    let known = HashAlgorithm::from_name(algorithm).map(HashAlgorithm::digest_len);
    if algorithm.is_empty() || digest.is_empty() || known.is_some_and(|len| len != digest.len()) {
        return Err(at.value("length of a digest that is not its algorithm's", position(digest.len())));
    }
    if digest.len() > MAX_DIGEST {
        return Err(at.too_many("bytes of a digest", digest.len(), MAX_DIGEST));
    }
    (file.digest_algorithm, file.digest_type, file.digest) = (algorithm, digest_type, digest);
    Ok(())
}

/// A name ends with its NUL, which the oldest template leaves out, and has no other.
fn read_name<'a>(at: &Reader<'_>, bytes: &'a [u8]) -> Result<&'a [u8], ReadError> {
    let name = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    match name.iter().position(|byte| *byte == 0) {
        None => Ok(name),
        Some(index) => Err(at.value("position of a NUL within a name", position(index))),
    }
}
