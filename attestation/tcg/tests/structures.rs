//! Structures as real TPMs write them, and as they must not be.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use plastron_attestation_tcg::{
    Attested, EccCurve, EkAuthorisation, EkKeyType, EkTemplate, HashAlgorithm, Name, ObjectAttributes, PcrBank,
    PublicKey, QualifiedName, ReadFault, TpmsAttest, TpmtPublic, TpmtSignature, encode_pcr_selection, left_pad,
    parse_pcr_selection, pcr_indices,
};

/// An AK: ECC, SHA-256, restricted signing, ECDSA with SHA-256 on P-256.
fn ecc_public() -> Vec<u8> {
    let mut bytes = hex::decode("0023000b000504720000001000180 00b00030010".replace(' ', "")).unwrap();
    for coordinate in [[0x11; 32], [0x22; 32]] {
        bytes.extend([0, 32]);
        bytes.extend(coordinate);
    }
    bytes
}

/// A quote over PCR 0 and 9 of SHA-256, with SHA-384 not allocated.
fn quote() -> Vec<u8> {
    let mut bytes = hex::decode("ff5443478018").unwrap();
    bytes.extend([0, 2, 0xaa, 0xbb]);
    bytes.extend([0, 3, 1, 2, 3]);
    bytes.extend(1000u64.to_be_bytes());
    bytes.extend(7u32.to_be_bytes());
    bytes.extend(8u32.to_be_bytes());
    bytes.push(1);
    bytes.extend(9u64.to_be_bytes());
    bytes.extend(hex::decode("00000002000b03010200000c03000000").unwrap());
    bytes.extend([0, 32]);
    bytes.extend([0xcc; 32]);
    bytes
}

fn ecdsa() -> Vec<u8> {
    hex::decode("0018000b0002010200030a0b0c").unwrap()
}

#[test]
fn a_public_area_is_read_and_named() {
    let bytes = ecc_public();
    let public = TpmtPublic::parse(&bytes).unwrap();
    assert_eq!(public.name_alg, HashAlgorithm::Sha256);
    assert!(public.attributes.contains(ObjectAttributes::RESTRICTED.with(ObjectAttributes::SIGN_ENCRYPT)));
    assert!(!public.attributes.contains(ObjectAttributes::DECRYPT));
    assert!(matches!(public.key, PublicKey::Ecc { curve: EccCurve::P256, x, .. } if x == [0x11; 32]));
    let name = public.name();
    assert_eq!(name.as_bytes().len(), 34);
    assert_eq!(name, Name::of(HashAlgorithm::Sha256, &bytes));
    assert_eq!(name.as_bytes().get(..2).unwrap(), [0, 0x0b]);
}

#[test]
fn a_qualified_name_commits_to_its_ancestors() {
    let name = TpmtPublic::parse(&ecc_public()).unwrap().name();
    let root = QualifiedName::endorsement_hierarchy();
    assert_eq!(root.as_bytes(), [0x40, 0, 0, 0x0b]);
    let child = root.child(HashAlgorithm::Sha384, &name);
    let mut expected = vec![0, 0x0c];
    expected.extend(HashAlgorithm::Sha384.digest([[0x40, 0, 0, 0x0b].as_slice(), name.as_bytes()]));
    assert_eq!(child.as_bytes(), expected);
    assert_ne!(child.child(HashAlgorithm::Sha256, &name), root.child(HashAlgorithm::Sha256, &name));
}

#[test]
fn a_quote_is_read() {
    let bytes = quote();
    let attest = TpmsAttest::parse(&bytes).unwrap();
    assert_eq!((attest.qualified_signer, attest.extra_data), ([0xaa, 0xbb].as_slice(), [1, 2, 3].as_slice()));
    assert_eq!((attest.clock_info.reset_count, attest.clock_info.restart_count, attest.clock_info.safe), (7, 8, true));
    let Attested::Quote { pcr_select, pcr_digest } = attest.attested else { unreachable!() };
    assert_eq!(pcr_select, [PcrBank { hash: 0x000b, bitmap: 0x201 }, PcrBank { hash: 0x000c, bitmap: 0 }]);
    assert_eq!(pcr_digest, [0xcc; 32]);
}

/// Threat 4: a certification is read as what it is.
#[test]
fn a_certification_is_not_a_quote() {
    let mut bytes = quote();
    bytes[5] = 0x17;
    bytes.truncate(6 + 4 + 5 + 25);
    bytes.extend([0, 1, 0xdd, 0, 1, 0xee]);
    let attest = TpmsAttest::parse(&bytes).unwrap();
    assert_eq!(attest.attested, Attested::Certify { name: &[0xdd], qualified_name: &[0xee] });
}

#[test]
fn signatures_are_read() {
    let bytes = ecdsa();
    let signature = TpmtSignature::parse(&bytes).unwrap();
    assert_eq!(signature, TpmtSignature::Ecdsa { hash: HashAlgorithm::Sha256, r: &[1, 2], s: &[0x0a, 0x0b, 0x0c] });
    let bytes = hex::decode("0014000c00020102").unwrap();
    let signature = TpmtSignature::parse(&bytes).unwrap();
    assert_eq!(signature, TpmtSignature::RsaSsa { hash: HashAlgorithm::Sha384, signature: &[1, 2] });
    assert!(TpmtSignature::parse(&hex::decode("0005000b0000").unwrap()).is_err(), "an HMAC is no signature");
}

/// Threat 17, threat 18: every prefix and every longer form is refused, with the place and the reason.
#[test]
fn nothing_short_and_nothing_trailing_is_read() {
    for (bytes, parse) in [
        (ecc_public(), (|bytes| TpmtPublic::parse(bytes).map(drop)) as fn(&[u8]) -> _),
        (quote(), |bytes| TpmsAttest::parse(bytes).map(drop)),
        (ecdsa(), |bytes| TpmtSignature::parse(bytes).map(drop)),
    ] {
        assert_eq!(parse(&bytes), Ok(()));
        for end in 0..bytes.len() {
            let error = parse(bytes.get(..end).unwrap()).unwrap_err();
            assert!(matches!(error.reason, ReadFault::Short { .. }), "{error}");
            assert!(error.offset <= end);
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(parse(&longer).unwrap_err().reason, ReadFault::Trailing { left: 1 });
        let huge = [bytes.as_slice(), &[0; 2048]].concat();
        assert!(matches!(parse(&huge).unwrap_err().reason, ReadFault::TooMany { .. }));
    }
}

#[test]
fn selections_are_bounded_and_round_trip() {
    let banks = [PcrBank { hash: 0x0004, bitmap: 0x00ff_ffff }, PcrBank { hash: 0x000b, bitmap: 0x4201 }];
    assert_eq!(parse_pcr_selection(&encode_pcr_selection(&banks)).unwrap(), banks);
    assert_eq!(pcr_indices(0x4201).collect::<Vec<_>>(), [0, 9, 14]);
    let many = [17u32.to_be_bytes().as_slice(), &[0; 100]].concat();
    let error = parse_pcr_selection(&many).unwrap_err();
    assert_eq!(error.reason, ReadFault::TooMany { what: "PCR banks", got: 17, limit: 16 });
    assert!(parse_pcr_selection(&u32::MAX.to_be_bytes()).is_err());
    assert!(parse_pcr_selection(&hex::decode("00000001000b05ffffffffff").unwrap()).is_err(), "40 PCRs");
}

#[test]
fn values_out_of_range_are_named() {
    let reason = |at: usize, value: u8| {
        let mut bytes = quote();
        bytes[at] = value;
        TpmsAttest::parse(&bytes).unwrap_err().to_string()
    };
    // safe is a TPMI_YES_NO.
    assert_eq!(reason(6 + 4 + 5 + 16, 2), "TPMS_ATTEST at offset 32: safe is 0x2");
    let mut public = ecc_public();
    public[3] = 0x27;
    let error = TpmtPublic::parse(&public).unwrap_err();
    assert_eq!(error.to_string(), "TPMT_PUBLIC at offset 4: nameAlg is 0x27");
    let mut public = ecc_public();
    public[1] = 0x08;
    assert!(TpmtPublic::parse(&public).is_err(), "a keyed hash is no AK");
}

#[test]
fn numbers_get_their_leading_zeros_back() {
    assert_eq!(left_pad(&[1, 2], 4), Some(vec![0, 0, 1, 2]));
    assert_eq!(left_pad(&[1, 2], 2), Some(vec![1, 2]));
    assert_eq!(left_pad(&[1, 2, 3], 2), None);
    assert_eq!(left_pad(&[], 2), None);
}

#[test]
fn templates_differ_in_what_the_profile_says() {
    let bytes = ecc_public();
    let public = TpmtPublic::parse(&bytes).unwrap();
    assert_eq!(EkTemplate::L1Rsa2048.difference(&public), Some("objectAttributes"));
    assert_eq!(EkTemplate::H3P384.difference(&public), Some("nameAlg"));
    assert_eq!(EkTemplate::from_name("p384"), Some(EkTemplate::H3P384));
    assert_eq!(
        EkTemplate::L1Rsa2048.attributes().to_string(),
        "fixedTPM|fixedParent|sensitiveDataOrigin|adminWithPolicy|restricted|decrypt"
    );
}

/// Every template reads as itself and as no other, and names every field in which it differs.
#[test]
fn each_template_is_its_own_and_no_other() {
    for template in EkTemplate::ALL {
        let bytes = template.create_primary_public(&[]);
        let unique = match template.key_type() {
            EkKeyType::Rsa(bits) => [(bits / 8).to_be_bytes().to_vec(), vec![0xc1; usize::from(bits / 8)]].concat(),
            EkKeyType::Ecc(_) => vec![0, 1, 1, 0, 1, 1],
        };
        let public = [template.public_before_unique(), unique].concat();
        let public = TpmtPublic::parse(&public).unwrap();
        for other in EkTemplate::ALL {
            assert_eq!(other.difference(&public).is_none(), other == template, "{template:?} as {other:?}");
        }
        assert_eq!(EkTemplate::from_name(template.name()), Some(template));
        let key = TpmtPublic::parse(&bytes).unwrap().key;
        let low = template.authorisation() == EkAuthorisation::EndorsementPolicy;
        let empty = match key {
            PublicKey::Rsa { modulus, .. } => modulus.is_empty(),
            PublicKey::Ecc { x, y, .. } => x.is_empty() && y.is_empty(),
        };
        assert_eq!(empty, !low, "{template:?}");
    }
    let with_nonce = EkTemplate::L2P256.create_primary_public(&[0x5a; 40]);
    let PublicKey::Ecc { x, y, .. } = TpmtPublic::parse(&with_nonce).unwrap().key else { panic!() };
    assert_eq!((x, y), ([0x5a; 32].as_slice(), [0; 32].as_slice()));
    let indices: Vec<_> = EkTemplate::ALL.iter().map(|template| template.nv_indices().certificate).collect();
    assert_eq!(indices, [0x01c0_0002, 0x01c0_000a, 0x01c0_0012, 0x01c0_0014, 0x01c0_0016, 0x01c0_001c]);
}

/// TCG EK Credential Profile 2.5, annex B.6: PolicyA is PolicySecret(TPM_RH_ENDORSEMENT), PolicyC is PolicyAuthorizeNV with the NV index
/// 0x01c07f01 (SHA-256) or 0x01c07f02 (SHA-384), PolicyB is PolicyOR of the two.
#[test]
fn the_policies_are_what_their_commands_give() {
    for template in EkTemplate::ALL {
        let hash = template.name_alg();
        let digest = |parts: &[&[u8]]| hash.digest(parts.iter().copied());
        let start = vec![0; hash.digest_len()];
        let (secret, or, authorize_nv) = ([0, 0, 1, 0x51], [0, 0, 1, 0x71], [0, 0, 1, 0x92]);
        let policy_a = digest(&[&digest(&[&start, &secret, &[0x40, 0, 0, 0x0b]])]);
        if template.authorisation() == EkAuthorisation::EndorsementPolicy {
            assert_eq!(template.auth_policy(), policy_a);
            continue;
        }
        let mut index: u32 = 0x01c0_7f01;
        if hash == HashAlgorithm::Sha384 {
            index += 1;
        }
        // TPMS_NV_PUBLIC: policyWrite, writeAll, all four kinds of read, noDA, written; it holds a TPMT_HA.
        let length = u16::try_from(hash.digest_len()).unwrap();
        let nv_public = [
            &index.to_be_bytes(),
            hash.id().to_be_bytes().as_slice(),
            &0x220f_1008u32.to_be_bytes(),
            &length.to_be_bytes(),
            &policy_a,
            &(length + 2).to_be_bytes(),
        ]
        .concat();
        let policy_c = digest(&[&start, &authorize_nv, Name::of(hash, &nv_public).as_bytes()]);
        assert_eq!(template.auth_policy(), digest(&[&start, &or, &policy_a, &policy_c]), "{template:?}");
    }
}
