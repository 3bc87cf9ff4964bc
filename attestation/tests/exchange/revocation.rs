//! Revocation lists that the operator imported: what they refuse, what they may not say, and how old they may be.

use plastron_attestation::{EkTemplate, ExchangeError, Refused};
use plastron_attestation_appraise::{
    AppraiseError, Check, CheckOutcome, CheckRecord, EkTrust, Pool, PoolError, TrustAnchors,
};
use plastron_attestation_fake_tpm::{EkCertificate, FakeTpm, Manufacturer};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SerialNumber, SigningKey as _,
};

use crate::world::{Agent, Meddling, NOW, World, assert_refused, pool_config};

const DAY: u64 = 86_400;
const MAX_AGE: u64 = 30 * DAY;
/// Serial number of the TPM's certificate, and of the intermediate's.
const LEAF: &[u8] = &[0x10, 0x01];
const INTERMEDIATE: &[u8] = &[0x77];

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    let header = match length {
        0..128 => vec![tag, length.to_be_bytes()[1]],
        128..256 => vec![tag, 0x81, length.to_be_bytes()[1]],
        _ => [&[tag, 0x82], length.to_be_bytes().as_slice()].concat(),
    };
    [header, value.to_vec()].concat()
}

fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { vec![0x01, 0x01, 0xff] } else { Vec::new() };
    tlv(0x30, &[tlv(0x06, oid), critical, tlv(0x04, value)].concat())
}

/// An entry with extensions of its own.
fn entry(serial: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = if extensions.is_empty() { Vec::new() } else { tlv(0x30, &extensions.concat()) };
    tlv(0x30, &[tlv(0x02, serial), tlv(0x17, b"251201000000Z"), extensions].concat())
}

/// A CertificateList, field by field.
struct Crl {
    issuer: &'static str,
    this_update: &'static [u8],
    next_update: Option<&'static [u8]>,
    entries: Vec<Vec<u8>>,
    extensions: Vec<Vec<u8>>,
}

impl Crl {
    /// Of the day before `NOW`, next update in a week, with these serial numbers.
    fn of(issuer: &'static str, serials: &[&[u8]]) -> Self {
        Self {
            issuer,
            this_update: b"251231000000Z",
            next_update: Some(b"260108000000Z"),
            entries: serials.iter().map(|serial| entry(serial, &[])).collect(),
            extensions: Vec::new(),
        }
    }

    fn signed_by(&self, key: &KeyPair) -> Vec<u8> {
        let Self { issuer, this_update, next_update, entries, extensions } = self;
        let algorithm = tlv(0x30, &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]);
        let common_name = [&[0x06, 0x03, 0x55, 0x04, 0x03], tlv(0x0c, issuer.as_bytes()).as_slice()].concat();
        let name = tlv(0x30, &tlv(0x31, &tlv(0x30, &common_name)));
        let mut tbs = [tlv(0x02, &[1]), algorithm.clone(), name, tlv(0x17, this_update)].concat();
        tbs.extend(next_update.map(|next| tlv(0x17, next)).unwrap_or_default());
        if !entries.is_empty() {
            tbs.extend(tlv(0x30, &entries.concat()));
        }
        if !extensions.is_empty() {
            tbs.extend(tlv(0xa0, &tlv(0x30, &extensions.concat())));
        }
        let tbs = tlv(0x30, &tbs);
        let signature = [vec![0], key.sign(&tbs).unwrap()].concat();
        tlv(0x30, &[tbs, algorithm, tlv(0x03, &signature)].concat())
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from_slice(INTERMEDIATE));
    params
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn again(key: &KeyPair) -> KeyPair {
    KeyPair::try_from(key.serialize_der()).unwrap()
}

/// A root named `root`, an intermediate named `ca`, and a TPM that the intermediate certified.
struct Ca {
    root_key: KeyPair,
    key: KeyPair,
    root: Vec<u8>,
    intermediate: Vec<u8>,
    tpm: FakeTpm,
}

impl Ca {
    fn new() -> Self {
        Self::with(params("ca"))
    }

    fn with(intermediate_params: CertificateParams) -> Self {
        let (root_key, key) = (key(), key());
        let root = params("root").self_signed(&root_key).unwrap().der().to_vec();
        let root_issuer = Issuer::new(params("root"), again(&root_key));
        let intermediate = intermediate_params.signed_by(&key, &root_issuer).unwrap().der().to_vec();
        let manufacturer =
            Manufacturer::with_issuer(&root, &intermediate, Issuer::new(intermediate_params, again(&key)));
        let tpm = FakeTpm::new(&manufacturer, EkTemplate::H3P384);
        Self { root_key, key, root, intermediate, tpm }
    }

    fn anchors(&self) -> TrustAnchors {
        TrustAnchors::new(vec![self.root.clone()], vec![self.intermediate.clone()]).unwrap()
    }

    fn lists(&self, lists: &[Vec<u8>]) -> Result<TrustAnchors, PoolError> {
        self.anchors().with_revocation_lists(lists, MAX_AGE)
    }

    fn world(&self, anchors: TrustAnchors) -> World {
        let mut world = World::new();
        let mut config = pool_config(&world.manufacturer, EkTemplate::H3P384);
        config.ek_trust = EkTrust::Chain(anchors);
        world.policy.pools = vec![Pool::new(config).unwrap()];
        world
    }

    fn refused(&mut self, lists: &[Vec<u8>]) -> Box<Refused> {
        let anchors = self.lists(lists).unwrap();
        self.world(anchors).refusal(&mut self.tpm, Meddling::default())
    }

    fn admitted(&mut self, lists: &[Vec<u8>]) -> CheckRecord {
        let anchors = self.lists(lists).unwrap();
        let node = self.world(anchors).admit(&mut self.tpm, &mut Agent::default()).unwrap();
        node.records().iter().find(|record| record.check == Check::EkRevocation).unwrap().clone()
    }

    /// The list is refused when the pool is made.
    fn not_taken(&self, list: Vec<u8>) -> AppraiseError {
        match self.lists(&[list]).unwrap_err() {
            PoolError::Crl { index: 0, source } => {
                assert_eq!(source.check(), Check::EkRevocation);
                source
            }
            other => panic!("{other}"),
        }
    }
}

/// Evidence whose EK certificate is revoked, for the suite of every check.
pub(crate) fn revoked_leaf() -> Box<Refused> {
    let mut ca = Ca::new();
    let list = Crl::of("ca", &[&[0x20], LEAF]).signed_by(&ca.key);
    ca.refused(&[list])
}

#[test]
fn a_verdict_says_what_was_checked_for_revocation() {
    let mut ca = Ca::new();
    let none = ca.admitted(&[]);
    assert_eq!((none.outcome, none.detail.as_str()), (CheckOutcome::NotChecked, "revocation: not checked"));
    let of_ca = Crl::of("ca", &[&[0x20]]).signed_by(&ca.key);
    let half = ca.admitted(std::slice::from_ref(&of_ca));
    assert_eq!(half.outcome, CheckOutcome::NotChecked);
    assert!(half.detail.contains("not checked for what \"CN=root\" issued; lists by \"CN=ca\""), "{}", half.detail);
    let of_root = Crl::of("root", &[]).signed_by(&ca.root_key);
    let whole = ca.admitted(&[of_root, of_ca]);
    assert_eq!(whole.outcome, CheckOutcome::Passed, "{}", whole.detail);
}

/// A serial number is a number: zeros in front of it do not make it another. Neither does the reason matter.
#[test]
fn a_revoked_certificate_is_refused_however_it_is_listed() {
    assert_refused(&revoked_leaf(), Check::EkRevocation);
    let mut ca = Ca::new();
    let on_hold = extension(&[0x55, 0x1d, 0x15], false, &[0x0a, 0x01, 0x06]);
    let removed = extension(&[0x55, 0x1d, 0x15], true, &[0x0a, 0x01, 0x08]);
    for listed in [entry(&[0, 0, 0x10, 0x01], &[]), entry(LEAF, &[on_hold]), entry(LEAF, &[removed])] {
        let list = Crl { entries: vec![entry(&[1], &[]), listed], ..Crl::of("ca", &[]) }.signed_by(&ca.key);
        let refused = ca.refused(&[list]);
        assert_refused(&refused, Check::EkRevocation);
        assert!(
            refused.error().describe().contains("the EK certificate with serial number 1001 is revoked"),
            "{refused}"
        );
    }
    ca.tpm.certify(&EkCertificate { serial: 0x1002, ..EkCertificate::default() });
    let list = Crl::of("ca", &[LEAF]).signed_by(&ca.key);
    ca.admitted(&[list]);
}

#[test]
fn a_revoked_intermediate_is_refused_wherever_it_comes_from() {
    let mut ca = Ca::new();
    let list = Crl::of("root", &[INTERMEDIATE]).signed_by(&ca.root_key);
    let refused = ca.refused(std::slice::from_ref(&list));
    assert_refused(&refused, Check::EkRevocation);
    assert!(refused.error().describe().contains("the intermediate certificate"), "{refused}");
    // An on-die CA: its certificate comes from the TPM, the list of its issuer from the operator.
    ca.tpm.set_chain(vec![ca.intermediate.clone()]);
    let roots = TrustAnchors::new(vec![ca.root.clone()], vec![]).unwrap();
    let anchors = roots.with_revocation_lists(&[list], MAX_AGE).unwrap();
    assert_refused(&ca.world(anchors).refusal(&mut ca.tpm, Meddling::default()), Check::EkRevocation);
}

#[test]
fn a_node_whose_certificate_is_revoked_later_is_refused_at_its_renewal() {
    let mut ca = Ca::new();
    let mut world = ca.world(ca.anchors());
    let mut agent = Agent::default();
    world.admit(&mut ca.tpm, &mut agent).unwrap();
    let list = Crl::of("ca", &[LEAF]).signed_by(&ca.key);
    world.policy.pools = ca.world(ca.lists(&[list]).unwrap()).policy.pools;
    let refused = world.converse(&mut ca.tpm, &mut agent, &mut Meddling::default()).unwrap_err();
    assert_refused(&refused, Check::EkRevocation);
}

/// Fail closed: a list that is too old says nothing any more, and that is a refusal.
#[test]
fn a_stale_list_refuses() {
    let mut ca = Ca::new();
    let at = |ca: &mut Ca, list: Crl, now: u64| {
        let mut world = ca.world(ca.lists(&[list.signed_by(&ca.key)]).unwrap());
        world.now = now;
        world.converse(&mut ca.tpm, &mut Agent::default(), &mut Meddling::default()).map(|_| ())
    };
    let this_update = NOW - DAY;
    let stale = |result: Result<(), Box<Refused>>| {
        let refused = result.unwrap_err();
        assert_refused(&refused, Check::EkRevocation);
        assert!(refused.error().describe().contains("is stale"), "{refused}");
    };
    // Past its next update.
    at(&mut ca, Crl::of("ca", &[]), NOW + 7 * DAY).unwrap();
    stale(at(&mut ca, Crl::of("ca", &[]), NOW + 7 * DAY + 1));
    // Older than the pool takes, whatever it announces.
    for next_update in [None, Some(b"490101000000Z".as_slice())] {
        let list = || Crl { next_update, ..Crl::of("ca", &[]) };
        at(&mut ca, list(), this_update + MAX_AGE).unwrap();
        stale(at(&mut ca, list(), this_update + MAX_AGE + 1));
    }
    // Of the future.
    let refused = at(&mut ca, Crl { this_update: b"260101000001Z", ..Crl::of("ca", &[]) }, NOW).unwrap_err();
    assert_refused(&refused, Check::EkRevocation);
}

/// A list that is too old still says whom it revoked: that is bad evidence, and not a lack of it.
#[test]
fn a_stale_list_revokes_whom_it_names() {
    let mut ca = Ca::new();
    let list = Crl::of("ca", &[LEAF]).signed_by(&ca.key);
    let mut world = ca.world(ca.lists(&[list]).unwrap());
    world.now = NOW + 7 * DAY + 1;
    let refused = world.converse(&mut ca.tpm, &mut Agent::default(), &mut Meddling::default()).unwrap_err();
    assert_refused(&refused, Check::EkRevocation);
    let error = refused.error();
    assert!(matches!(error, ExchangeError::Evidence(AppraiseError::Revoked { .. })), "{refused}");
}

#[test]
fn the_newest_list_of_an_issuer_counts() {
    let mut ca = Ca::new();
    let old = Crl { this_update: b"250101000000Z", next_update: None, ..Crl::of("ca", &[LEAF]) }.signed_by(&ca.key);
    let new = Crl::of("ca", &[]).signed_by(&ca.key);
    ca.admitted(&[old.clone(), new.clone()]);
    ca.admitted(&[new, old]);
}

#[test]
fn a_forged_list_is_not_taken() {
    let ca = Ca::new();
    let forged = ca.not_taken(Crl::of("ca", &[]).signed_by(&key()));
    assert!(matches!(forged, AppraiseError::CrlSignature { .. }), "{forged}");
    // The intermediate does not speak for the root, nor a stranger for itself.
    for issuer in ["root", "stranger"] {
        let forged = ca.not_taken(Crl::of(issuer, &[]).signed_by(&ca.key));
        assert!(matches!(forged, AppraiseError::CrlSignature { .. }), "{forged}");
    }
    let no_lists = {
        let mut params = params("ca");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Ca::with(params)
    };
    let refused = no_lists.not_taken(Crl::of("ca", &[]).signed_by(&no_lists.key));
    assert!(refused.to_string().contains("key usage"), "{refused}");
    let good = Crl::of("ca", &[LEAF]).signed_by(&ca.key);
    ca.lists(std::slice::from_ref(&good)).unwrap();
    for at in 0..good.len() {
        ca.not_taken(good[..at].to_vec());
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        ca.not_taken(flipped);
    }
    ca.not_taken([good.as_slice(), &[0]].concat());
}

/// A CA of the same name with another key is another CA: its list neither revokes nor clears.
#[test]
fn a_list_of_another_ca_of_the_same_name_says_nothing() {
    let (mut ca, other) = (Ca::new(), Ca::new());
    let list = Crl::of("ca", &[LEAF]).signed_by(&other.key);
    ca.not_taken(list.clone());
    let both = TrustAnchors::new(vec![ca.root.clone()], vec![other.intermediate.clone(), ca.intermediate.clone()]);
    let anchors = both.unwrap().with_revocation_lists(&[list], MAX_AGE).unwrap();
    let node = ca.world(anchors).admit(&mut ca.tpm, &mut Agent::default()).unwrap();
    let record = node.records().iter().find(|record| record.check == Check::EkRevocation).unwrap();
    assert_eq!(record.outcome, CheckOutcome::NotChecked);
}

/// Delta lists, indirect ones, and those of some certificates only: an absent serial number says nothing there.
#[test]
fn lists_that_are_not_whole_are_not_taken() {
    let ca = Ca::new();
    let delta = extension(&[0x55, 0x1d, 0x1b], true, &[0x02, 0x01, 0x01]);
    let mismarked_delta = extension(&[0x55, 0x1d, 0x1b], false, &[0x02, 0x01, 0x01]);
    let indirect = extension(&[0x55, 0x1d, 0x1c], true, &[0x30, 0x03, 0x84, 0x01, 0xff]);
    let unknown = extension(&[0x2b, 0x06, 0x01, 0x04, 0x01, 0x86, 0x8d, 0x1f, 0x01], true, &[0x05, 0x00]);
    for bad in [delta, mismarked_delta, indirect, unknown.clone()] {
        let refused = ca.not_taken(Crl { extensions: vec![bad], ..Crl::of("ca", &[]) }.signed_by(&ca.key));
        assert!(matches!(refused, AppraiseError::CrlExtension { .. }), "{refused}");
    }
    // An entry by another issuer is how an indirect list looks from within.
    for bad in [extension(&[0x55, 0x1d, 0x1d], true, &[0x30, 0x00]), unknown] {
        let list = Crl { entries: vec![entry(LEAF, &[bad])], ..Crl::of("ca", &[]) };
        let refused = ca.not_taken(list.signed_by(&ca.key));
        assert!(matches!(refused, AppraiseError::CrlExtension { .. }), "{refused}");
    }
    // The number of a list and its key identifier, which lists have, limit nothing.
    let number = extension(&[0x55, 0x1d, 0x14], false, &[0x02, 0x01, 0x07]);
    ca.lists(&[Crl { extensions: vec![number], ..Crl::of("ca", &[]) }.signed_by(&ca.key)]).unwrap();
}
