//! Lists as Linux writes them, and as they must not be.

use super::*;
use crate::ReadFault;

fn field(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat()
}

/// An entry with a right template digest.
fn entry(template: &str, data: &[u8]) -> Vec<u8> {
    let digest = HashAlgorithm::Sha1.digest([data]);
    [10u32.to_le_bytes().as_slice(), &digest, &field(template.as_bytes()), &field(data)].concat()
}

fn digest(label: &str, bytes: &[u8]) -> Vec<u8> {
    field(&[label.as_bytes(), &[0], bytes].concat())
}

fn ng(name: &[u8]) -> Vec<u8> {
    [digest("sha256:", &[7; 32]), field(&[name, &[0]].concat())].concat()
}

fn fault(bytes: &[u8]) -> (Option<u32>, usize, ReadFault) {
    let error = ImaList::parse(bytes).unwrap_err();
    match error.reason {
        ImaListFault::Read(reason) => (error.entry, error.offset, reason),
        ImaListFault::Empty => panic!("not empty"),
    }
}

#[test]
fn entries_of_every_known_template_are_read() {
    let v2 = [digest("verity:sha512:", &[9; 64]), field(b"/verity\0")].concat();
    let list = [
        entry("ima-ng", &ng(b"boot_aggregate")),
        entry("ima-sig", &[ng(b"/bin/a"), field(b"signature")].concat()),
        entry("ima-sigv2", &[v2.as_slice(), &field(b"")].concat()),
        entry("ima-ngv2", &v2),
        entry("ima-buf", &[ng(b"kexec-cmdline"), field(b"buffer")].concat()),
        entry("ima-modsig", &[ng(b"/m.ko"), field(b"s"), field(b""), field(b"modsig")].concat()),
        entry("d-ng|n-ng|uuid", b"of its own"),
    ]
    .concat();
    let list = ImaList::parse(&list).unwrap();
    let files: Vec<_> = list.entries().iter().map(|entry| entry.file).collect();
    let file = |name, signature| {
        Some(ImaFile { digest_algorithm: "sha256", digest_type: None, digest: &[7; 32], name, signature })
    };
    let verity = Some(ImaFile {
        digest_algorithm: "sha512",
        digest_type: Some("verity"),
        digest: &[9; 64],
        name: b"/verity",
        signature: b"",
    });
    assert_eq!(files[0], file(BOOT_AGGREGATE, b""));
    assert_eq!(files[1], file(b"/bin/a", b"signature"));
    assert_eq!((files[2], files[3]), (verity, verity));
    assert_eq!(files[4], file(b"kexec-cmdline", b""));
    assert_eq!(files[5], file(b"/m.ko", b"s"));
    assert_eq!((files[6], list.entries()[6].template), (None, "d-ng|n-ng|uuid"));
    assert_eq!(list.entries()[1].number, 1);
    assert_eq!(list.entries()[1].offset, 4 + 20 + 4 + 6 + 4 + ng(BOOT_AGGREGATE).len());
    assert!(list.entries().iter().all(|entry| entry.template_hash(HashAlgorithm::Sha1) == entry.template_digest));
    assert!(list.entries().iter().all(|entry| entry.pcr == 10 && !entry.is_violation()));
}

/// The digests were computed with Python's hashlib from the same bytes.
#[test]
fn the_template_digest_is_over_the_data_as_listed() {
    let list = entry("ima-ng", &ng(b"/init"));
    let list = ImaList::parse(&list).unwrap();
    let hash = |bank| hex::encode(list.entries()[0].template_hash(bank));
    assert_eq!(hash(HashAlgorithm::Sha1), "4ae697e4b0c1ecc49d753b919a0479f489982c8d");
    assert_eq!(hash(HashAlgorithm::Sha256), "c2ffad57f9ce032cb3de5087002dc7f13fd04f3eb83f2fbc96c530656295a7bb");
}

/// The digest was computed with Python's hashlib: digest, name, zeros up to 256 bytes.
#[test]
fn the_oldest_template_fills_its_name_up() {
    let head = [10u32.to_le_bytes().as_slice(), &[1; 20], &field(b"ima")].concat();
    let list = [head.as_slice(), &[2; 20], &field(b"/bin/sh")].concat();
    let list = ImaList::parse(&list).unwrap();
    assert_eq!(list.entries()[0].file.unwrap().name, b"/bin/sh");
    assert_eq!(
        hex::encode(list.entries()[0].template_hash(HashAlgorithm::Sha1)),
        "877d1a03543d73ff2781013155502975aabecad6"
    );
    let long = [head.as_slice(), &[2; 20], &field(&[b'a'; 256])].concat();
    assert!(matches!(fault(&long), (Some(0), 51, ReadFault::TooMany { what: "bytes of a name", got: 256, .. })));
}

#[test]
fn a_violation_is_zeros() {
    let mut list = entry("ima-ng", &ng(b"/var/log/x"));
    list[4..24].fill(0);
    assert!(ImaList::parse(&list).unwrap().entries()[0].is_violation());
}

#[test]
fn no_bytes_are_no_list() {
    let error = ImaList::parse(&[]).unwrap_err();
    assert_eq!(error, ImaListError { offset: 0, entry: None, reason: ImaListFault::Empty });
}

#[test]
fn lengths_are_limited_and_errors_name_entry_and_offset() {
    let good = entry("ima-ng", &ng(b"/init"));
    let second = |at: usize, value: u32| {
        let mut bytes = good.repeat(2);
        bytes[good.len() + at..good.len() + at + 4].copy_from_slice(&value.to_le_bytes());
        fault(&bytes)
    };
    let start = good.len();
    assert_eq!(second(0, 24), (Some(1), start, ReadFault::Value { field: "PCR", value: 24 }));
    assert!(matches!(second(24, u32::MAX), (Some(1), at, ReadFault::TooMany { limit: 255, .. }) if at == start + 24));
    assert!(matches!(second(34, u32::MAX), (Some(1), at, ReadFault::TooMany { .. }) if at == start + 34));
    assert!(matches!(second(34, 1 << 20), (Some(1), _, ReadFault::Short { .. })));
    assert!(matches!(second(38, 0x100), (Some(1), at, ReadFault::TooMany { .. }) if at == start + 38));
    let mut cut = good.repeat(2);
    cut.pop();
    assert!(matches!(fault(&cut), (Some(1), _, ReadFault::Short { .. })));
}

/// Threat 18
#[test]
fn a_list_over_the_limits_is_refused_before_it_is_read() {
    let error = ImaList::parse(&vec![0; MAX_IMA_LIST_LEN + 1]).unwrap_err();
    assert!(matches!(error.reason, ImaListFault::Read(ReadFault::TooMany { what: "bytes", .. })));
    let short = entry("x", b"");
    let error = ImaList::parse(&short.repeat(MAX_IMA_ENTRIES + 1)).unwrap_err();
    assert_eq!(error.entry, Some(1 << 16));
    assert!(matches!(error.reason, ImaListFault::Read(ReadFault::TooMany { what: "entries", .. })));
}

#[test]
fn fields_that_are_not_the_templates_are_refused() {
    let name = field(b"/x\0");
    let refused = |data: &[&[u8]]| match fault(&entry("ima-ng", &data.concat())).2 {
        ReadFault::Value { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(refused(&[&ng(b"/x"), &[0]]), "bytes of template data after the last field");
    assert_eq!(refused(&[&field(b"sha256:"), &name]), "length of a digest without algorithm");
    assert_eq!(refused(&[&digest("sha256", &[7; 32]), &name]), "length of a digest whose algorithm is no text");
    assert_eq!(refused(&[&digest("ima:sha256:", &[7; 32]), &name]), "length of a digest whose type is misplaced");
    assert_eq!(refused(&[&digest("sha256:", &[7; 31]), &name]), "length of a digest that is not its algorithm's");
    assert_eq!(refused(&[&digest(":", &[7; 32]), &name]), "length of a digest that is not its algorithm's");
    assert_eq!(refused(&[&digest("sm3:", &[]), &name]), "length of a digest that is not its algorithm's");
    assert_eq!(refused(&[&digest("sha256:", &[7; 32]), &field(b"a\0b\0")]), "position of a NUL within a name");
    let data = [digest("wp512:", &[7; 65]), name.clone()].concat();
    assert!(matches!(fault(&entry("ima-ng", &data)).2, ReadFault::TooMany { what: "bytes of a digest", .. }));
    let v2 = [digest("sha256:", &[7; 32]), name].concat();
    assert!(ImaList::parse(&entry("ima-ngv2", &v2)).is_err(), "this template states the digest's type");
}

#[test]
fn a_template_name_that_is_no_text_is_refused() {
    let mut bytes = entry("ima-ng", &ng(b"/x"));
    bytes[30] = 0xff;
    assert_eq!(fault(&bytes).1, 28);
}
