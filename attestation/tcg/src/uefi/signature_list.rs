//! EFI_SIGNATURE_LIST and EFI_SIGNATURE_DATA (UEFI Specification 2.10, section 32.4.1): what PK, KEK, db, dbx and MOK lists hold.
//!
//! Not here: what a certificate says, and whether anything was signed by it.

use super::known_guids::{
    EFI_CERT_SHA1_GUID, EFI_CERT_SHA224_GUID, EFI_CERT_SHA256_GUID, EFI_CERT_SHA384_GUID, EFI_CERT_SHA512_GUID,
    EFI_CERT_X509_GUID, EFI_CERT_X509_SHA256_GUID, EFI_CERT_X509_SHA384_GUID, EFI_CERT_X509_SHA512_GUID,
};
use super::{Guid, MAX_VARIABLE_DATA};
use crate::{ReadError, Reader};

/// SignatureType, SignatureListSize, SignatureHeaderSize, SignatureSize.
const LIST_HEADER_LEN: usize = 28;

/// SignatureOwner.
const OWNER_LEN: usize = 16;

/// Most lists in one variable: real ones hold a few, dbx of some vendors one for each entry.
pub const MAX_SIGNATURE_LISTS: usize = 4096;

/// Most signatures in one variable: Microsoft's dbx of 2025 has about 400.
pub const MAX_SIGNATURES: usize = 16_384;

/// One EFI_SIGNATURE_DATA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureData<'a> {
    /// SignatureOwner: the agent that added it, by its own word.
    pub owner: Guid,
    /// SignatureData: a certificate, a digest, …, as the list's SignatureType says.
    pub data: &'a [u8],
}

impl<'a> SignatureData<'a> {
    /// Reads one signature that fills `bytes`, as EV_EFI_VARIABLE_AUTHORITY events hold it: its type is not stated.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new("EFI_SIGNATURE_DATA", bytes);
        let owner = Guid::read(&mut reader)?;
        Ok(Self { owner, data: reader.take(reader.left())? })
    }
}

/// One EFI_SIGNATURE_LIST: signatures of one type and one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureList<'a> {
    /// SignatureType.
    pub signature_type: Guid,
    /// SignatureHeader: of length 0 for every type that the specification defines.
    pub header: &'a [u8],
    /// Signatures, in their order.
    pub signatures: Vec<SignatureData<'a>>,
}

impl<'a> SignatureList<'a> {
    /// Reads the lists that fill the value of a variable. A variable that is absent, or was emptied, has none.
    ///
    /// Checks of each list, in order: SignatureListSize covers its header and not more than there is; SignatureHeaderSize fits; SignatureSize
    /// has room for an owner, and is that of a digest where the type is one; the signatures fill the list exactly; limits.
    pub fn parse_all(bytes: &'a [u8]) -> Result<Vec<Self>, ReadError> {
        let mut reader = Reader::new("EFI_SIGNATURE_LIST", bytes);
        if bytes.len() > MAX_VARIABLE_DATA {
            return Err(reader.too_many("bytes", bytes.len(), MAX_VARIABLE_DATA));
        }
        let mut lists = Vec::new();
        let mut signatures = 0;
        while reader.left() > 0 {
            if lists.len() == MAX_SIGNATURE_LISTS {
                return Err(reader.too_many("lists", lists.len() + 1, MAX_SIGNATURE_LISTS));
            }
            let list = read_list(&mut reader, MAX_SIGNATURES.saturating_sub(signatures))?;
            signatures += list.signatures.len();
            lists.push(list);
        }
        Ok(lists)
    }

    /// Whether the signatures are X.509 certificates.
    pub fn is_x509(&self) -> bool {
        self.signature_type == EFI_CERT_X509_GUID
    }

    /// Whether the signatures are SHA-256 digests.
    pub fn is_sha256(&self) -> bool {
        self.signature_type == EFI_CERT_SHA256_GUID
    }
}

fn read_list<'a>(reader: &mut Reader<'a>, most: usize) -> Result<SignatureList<'a>, ReadError> {
    let available = reader.left();
    let signature_type = Guid::read(reader)?;
    let list_size = reader.length_u32_le("bytes of SignatureListSize", available)?;
    let header_size = reader.length_u32_le("bytes of SignatureHeaderSize", available)?;
    let signature_size = reader.length_u32_le("bytes of SignatureSize", MAX_VARIABLE_DATA)?;
    let body = list_size
        .checked_sub(LIST_HEADER_LEN)
        .and_then(|body| body.checked_sub(header_size))
        .ok_or_else(|| reader.value("SignatureListSize", size_as_value(list_size)))?;
    let wrong_size = || reader.value("SignatureSize", size_as_value(signature_size));
    if signature_size <= OWNER_LEN || fixed_len(signature_type).is_some_and(|len| signature_size != OWNER_LEN + len) {
        return Err(wrong_size());
    }
    if body % signature_size != 0 {
        return Err(wrong_size());
    }
    let count = body / signature_size;
    if count > most {
        return Err(reader.too_many("signatures", count, most));
    }
    let header = reader.take(header_size)?;
    let mut signatures = Vec::with_capacity(count);
    for _ in 0..count {
        let owner = Guid::read(reader)?;
        signatures.push(SignatureData { owner, data: reader.take(signature_size - OWNER_LEN)? });
    }
    Ok(SignatureList { signature_type, header, signatures })
}

fn size_as_value(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// Bytes of a signature without its owner, where the type fixes them: digests, and digests of a TBS with an EFI_TIME.
fn fixed_len(signature_type: Guid) -> Option<usize> {
    const EFI_TIME_LEN: usize = 16;
    match signature_type {
        EFI_CERT_SHA1_GUID => Some(20),
        EFI_CERT_SHA224_GUID => Some(28),
        EFI_CERT_SHA256_GUID => Some(32),
        EFI_CERT_SHA384_GUID => Some(48),
        EFI_CERT_SHA512_GUID => Some(64),
        EFI_CERT_X509_SHA256_GUID => Some(32 + EFI_TIME_LEN),
        EFI_CERT_X509_SHA384_GUID => Some(48 + EFI_TIME_LEN),
        EFI_CERT_X509_SHA512_GUID => Some(64 + EFI_TIME_LEN),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReadFault;
    use crate::uefi::MICROSOFT_SIGNATURE_OWNER;

    fn list(signature_type: Guid, sizes: [u32; 3], body: &[u8]) -> Vec<u8> {
        let mut bytes = signature_type.to_bytes().to_vec();
        sizes.iter().for_each(|size| bytes.extend(size.to_le_bytes()));
        bytes.extend(body);
        bytes
    }

    fn signature(data: &[u8]) -> Vec<u8> {
        [MICROSOFT_SIGNATURE_OWNER.to_bytes().as_slice(), data].concat()
    }

    #[test]
    fn lists_of_several_types_are_read_in_order() {
        let digests = [signature(&[1; 32]), signature(&[2; 32])].concat();
        let other = Guid::from_bytes([9; 16]);
        let bytes = [
            list(EFI_CERT_SHA256_GUID, [28 + 96, 0, 48], &digests),
            list(EFI_CERT_X509_GUID, [28 + 21, 0, 21], &signature(b"x.509")),
            list(other, [28 + 3 + 17, 3, 17], &[b"hdr".as_slice(), &signature(b"o")].concat()),
        ]
        .concat();
        let lists = SignatureList::parse_all(&bytes).unwrap();
        assert_eq!(lists.len(), 3);
        assert!(lists[0].is_sha256() && !lists[0].is_x509());
        assert_eq!(lists[0].signatures[1], SignatureData { owner: MICROSOFT_SIGNATURE_OWNER, data: &[2; 32] });
        assert!(lists[1].is_x509());
        assert_eq!(lists[1].signatures[0].data, b"x.509");
        assert_eq!((lists[2].signature_type, lists[2].header), (other, b"hdr".as_slice()));
    }

    #[test]
    fn an_empty_variable_and_an_empty_list_hold_nothing() {
        assert_eq!(SignatureList::parse_all(&[]).unwrap(), []);
        let lists = list(EFI_CERT_SHA256_GUID, [28, 0, 48], &[]);
        assert_eq!(SignatureList::parse_all(&lists).unwrap()[0].signatures, []);
    }

    #[test]
    fn a_list_longer_than_its_bytes_is_refused_at_its_size() {
        let error =
            SignatureList::parse_all(&list(EFI_CERT_X509_GUID, [u32::MAX, 0, 48], &signature(&[1; 32]))).unwrap_err();
        assert_eq!(error.offset, 16);
        assert!(matches!(error.reason, ReadFault::TooMany { what: "bytes of SignatureListSize", limit: 76, .. }));
    }

    #[test]
    fn sizes_that_contradict_one_another_are_refused() {
        let body = signature(&[1; 32]);
        let fault = |sizes| SignatureList::parse_all(&list(EFI_CERT_SHA256_GUID, sizes, &body)).unwrap_err().reason;
        for (sizes, field) in [
            ([27, 0, 48], "SignatureListSize"),
            ([76, 49, 48], "SignatureListSize"),
            ([76, 0, 0], "SignatureSize"),
            ([76, 0, 16], "SignatureSize"),
            ([76, 0, 24], "SignatureSize"),
            ([60, 0, 48], "SignatureSize"),
        ] {
            assert!(matches!(fault(sizes), ReadFault::Value { field: got, .. } if got == field), "{sizes:?}");
        }
    }

    #[test]
    fn a_signature_without_room_for_its_owner_and_more_is_refused() {
        for size in [0u32, 8, 16] {
            let error = SignatureList::parse_all(&list(EFI_CERT_X509_GUID, [28 + 48, 0, size], &[7; 48])).unwrap_err();
            assert_eq!(error.reason, ReadFault::Value { field: "SignatureSize", value: size.into() });
        }
    }

    #[test]
    fn more_signatures_than_the_limit_are_refused_before_they_are_read() {
        let other = Guid::from_bytes([9; 16]);
        let body = vec![0; 17 * (MAX_SIGNATURES + 1)];
        let size = 28 + u32::try_from(body.len()).unwrap();
        let error = SignatureList::parse_all(&list(other, [size, 0, 17], &body)).unwrap_err();
        assert!(matches!(error.reason, ReadFault::TooMany { what: "signatures", .. }), "{error}");
        let lists = list(other, [28, 0, 17], &[]).repeat(MAX_SIGNATURE_LISTS + 1);
        let error = SignatureList::parse_all(&lists).unwrap_err();
        assert!(matches!(error.reason, ReadFault::TooMany { what: "lists", .. }), "{error}");
    }

    #[test]
    fn a_lone_signature_is_its_owner_and_the_rest() {
        let bytes = signature(b"x.509");
        assert_eq!(SignatureData::parse(&bytes).unwrap().data, b"x.509");
        assert!(SignatureData::parse(&[0; 15]).is_err());
    }
}
