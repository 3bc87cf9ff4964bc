//! A CA below an upstream authority: what is believed of its answers, and what is published before what.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use plastron_plugins::upstream::{MintX509Ca, MintedX509Ca, UpstreamAuthority, UpstreamError};
use plastron_server_core::StartError;
use plastron_server_core::authorization::{Caller, LocalPeer, rpc};
use plastron_server_core::ca::{CaError, UpstreamFault};
use plastron_server_core::local_authority::LocalAuthorityError;
use plastron_spiffe::x509::{
    AuthorityChainError, CertificateFacts, IntermediateTemplate, SerialNumber, SignatureAlgorithm, verify_csr,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SigningKey as _};
use tokio::sync::watch;

use crate::fixture::{CA_TTL, Disk, START, Server, csr, local, trust_domain};

/// A CA of the upstream.
pub(crate) struct Ca {
    pub(crate) der: Vec<u8>,
    params: CertificateParams,
    key: KeyPair,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = rcgen::date_time_ymd(2026, 5, 31);
    params.not_after = rcgen::date_time_ymd(2027, 5, 31);
    params
}

impl Ca {
    pub(crate) fn root(name: &str) -> Arc<Self> {
        let (params, key) = (params(name), KeyPair::generate().unwrap());
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Arc::new(Self { der, params, key })
    }

    pub(crate) fn below(&self, name: &str) -> Arc<Self> {
        let (params, key) = (params(name), KeyPair::generate().unwrap());
        let der = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).unwrap().der().to_vec();
        Arc::new(Self { der, params, key })
    }
}

/// What the upstream answers.
type Answer = Box<dyn Fn(&MintX509Ca) -> Result<MintedX509Ca, UpstreamError> + Send>;

/// An upstream that says what a test wants.
pub(crate) struct Upstream {
    answer: Mutex<Answer>,
    roots: watch::Sender<Arc<[Vec<u8>]>>,
    asked: Mutex<usize>,
}

impl Upstream {
    fn new(answer: impl Fn(&MintX509Ca) -> Result<MintedX509Ca, UpstreamError> + Send + 'static) -> Arc<Self> {
        let (roots, _) = watch::channel(Arc::from([]));
        Arc::new(Self { answer: Mutex::new(Box::new(answer)), roots, asked: Mutex::new(0) })
    }

    /// Signs with the first of these, the others lead to the root, which is the last.
    pub(crate) fn honest(path: &[&Arc<Ca>]) -> Arc<Self> {
        let upstream = Self::new(signing(path));
        upstream.show(&[path.last().unwrap()]);
        upstream
    }

    pub(crate) fn answers(&self, answer: impl Fn(&MintX509Ca) -> Result<MintedX509Ca, UpstreamError> + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }

    pub(crate) fn show(&self, roots: &[&Arc<Ca>]) {
        self.roots.send_replace(roots.iter().map(|root| root.der.clone()).collect());
    }

    fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

#[async_trait::async_trait]
impl UpstreamAuthority for Upstream {
    fn name(&self) -> &str {
        "test"
    }

    async fn mint_x509_ca(&self, request: MintX509Ca) -> Result<MintedX509Ca, UpstreamError> {
        *self.asked.lock().unwrap() += 1;
        (self.answer.lock().unwrap())(&request)
    }

    fn roots(&self) -> watch::Receiver<Arc<[Vec<u8>]>> {
        self.roots.subscribe()
    }
}

fn sign(ca: &Ca, request: &MintX509Ca, id: &plastron_spiffe::SpiffeId, public_key: Option<&[u8]>) -> Vec<u8> {
    let csr = verify_csr(&request.csr).unwrap();
    assert_eq!(csr.uris, [trust_domain().id().as_str()]);
    let now = request.now.as_secs();
    let at = |seconds| rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).unwrap();
    let template = IntermediateTemplate {
        spiffe_id: id,
        public_key: public_key.unwrap_or(&csr.public_key),
        subject: &csr.subject,
        serial: &SerialNumber::from_random(octets),
        not_before: at(now - 10),
        not_after: at(now + request.preferred_ttl.as_secs()),
    };
    let tbs = template.to_tbs(&ca.der, SignatureAlgorithm::EcdsaSha256).unwrap();
    let signature = ca.key.sign(tbs.as_bytes()).unwrap();
    tbs.assemble(&signature).unwrap()
}

/// A certificate for the right key and name that is no CA's.
fn leaf_of(ca: &Ca, request: &MintX509Ca) -> Vec<u8> {
    let key = rcgen::SubjectPublicKeyInfo::from_der(&verify_csr(&request.csr).unwrap().public_key).unwrap();
    let mut params = params("leaf");
    params.is_ca = IsCa::ExplicitNoCa;
    params.subject_alt_names = vec![rcgen::SanType::URI(trust_domain().id().as_str().try_into().unwrap())];
    params.signed_by(&key, &Issuer::from_params(&ca.params, &ca.key)).unwrap().der().to_vec()
}

pub(crate) fn signing(
    path: &[&Arc<Ca>],
) -> impl Fn(&MintX509Ca) -> Result<MintedX509Ca, UpstreamError> + Send + 'static {
    let path: Vec<_> = path.iter().map(|ca| Arc::clone(ca)).collect();
    move |request| {
        let (first, root) = (path.first().unwrap(), path.last().unwrap());
        let mut chain = vec![sign(first, request, &trust_domain().id(), None)];
        chain.extend(path.iter().take(path.len() - 1).map(|ca| ca.der.clone()));
        Ok(MintedX509Ca { chain, roots: vec![root.der.clone()] })
    }
}

fn below(upstream: &Arc<Upstream>) -> Disk {
    let mut disk = Disk::new();
    disk.upstream = Some(Arc::clone(upstream) as _);
    disk
}

fn bundle(server: &Server) -> Vec<Vec<u8>> {
    server.services.bundles.current().x509_authorities.iter().map(|it| it.certificate.clone()).collect()
}

pub(crate) async fn svid_chain(server: &Server) -> Vec<Vec<u8>> {
    let svid = server.attest(&server.token(None).await, &csr(&[])).await.unwrap().svid;
    server.verified(&svid);
    svid.chain.clone()
}

#[tokio::test]
async fn svids_lead_to_the_upstreams_root_and_the_bundle_has_that_and_no_other() {
    let root = Ca::root("root");
    let middle = root.below("middle");
    let upstream = Upstream::honest(&[&middle, &root]);
    let disk = below(&upstream);
    let server = disk.start().await.unwrap();
    assert_eq!(bundle(&server), std::slice::from_ref(&root.der));
    let chain = svid_chain(&server).await;
    assert_eq!(chain.len(), 3, "leaf, the server's CA, the upstream's");
    assert_eq!(chain.last(), Some(&middle.der));
    let ca = chain.get(1).unwrap();
    assert_eq!(CertificateFacts::read(ca).unwrap().not_after, START + CA_TTL);
    let announced = disk.audit.lines().into_iter().find(|line| line.contains("x509 authority activate")).unwrap();
    assert!(announced.contains(server.services.ca.authority().authority_id()), "{announced}");

    // A restart goes on below it and does not ask again.
    let again = disk.start().await.unwrap();
    assert_eq!(upstream.asked(), 1);
    assert_eq!(svid_chain(&again).await.get(1), Some(ca));
}

/// The next CA is certified anew, by a replaced upstream: its root is in the bundle before anything below it signs.
#[tokio::test]
async fn a_rotation_keeps_the_chain_and_a_new_root_is_published_first() {
    let (old, new) = (Ca::root("old"), Ca::root("new"));
    let upstream = Upstream::honest(&[&old]);
    let disk = below(&upstream);
    let server = disk.start().await.unwrap();
    let first = server.attest(&server.token(None).await, &csr(&[])).await.unwrap().svid;

    upstream.show(&[&old, &new]);
    server.services.rotate().await;
    assert_eq!(bundle(&server), [old.der.clone(), new.der.clone()], "published before anyone asks for a certificate");
    assert!(disk.audit.lines().iter().any(|line| line.contains("x509 upstream root publish")));

    upstream.answers(signing(&[&new]));
    server.clock.advance(CA_TTL / 2 + 60);
    server.services.rotate().await;
    assert_eq!(svid_chain(&server).await.len(), 2);
    server.clock.advance(CA_TTL * 5 / 12);
    server.services.rotate().await;
    let authority = server.services.ca.authority();
    assert_eq!(authority.not_after(), START + CA_TTL / 2 + 60 + CA_TTL);
    svid_chain(&server).await;
    let parsed = plastron_spiffe::x509::X509Svid::parse(first.chain.clone()).unwrap();
    assert_eq!(parsed.chain().len(), 2);
    assert_eq!(bundle(&server).len(), 2, "what the old one signed stays trusted");
}

/// Threat 61
///
/// Every answer that does not fit is refused by name, and nothing of it is in the bundle.
#[tokio::test]
async fn an_answer_that_does_not_fit_is_refused() {
    let (root, other) = (Ca::root("root"), Ca::root("other"));
    let other_key = KeyPair::generate().unwrap();
    let answer = {
        let (root, other) = (Arc::clone(&root), Arc::clone(&other));
        move |case: usize, request: &MintX509Ca| {
            let own = trust_domain().id();
            let good = || sign(&root, request, &own, None);
            let spki = {
                use rcgen::PublicKeyData as _;
                other_key.subject_public_key_info()
            };
            let (chain, roots) = match case {
                0 => (vec![good()], vec![other.der.clone()]),
                1 => (vec![sign(&root, request, &own, Some(&spki))], vec![root.der.clone()]),
                2 => {
                    let foreign = plastron_spiffe::TrustDomain::parse("other.example").unwrap().id();
                    (vec![sign(&root, request, &foreign, None)], vec![root.der.clone()])
                }
                3 => (vec![root.der.clone()], vec![root.der.clone()]),
                4 => (vec![], vec![root.der.clone()]),
                5 => (vec![good()], vec![]),
                6 => (vec![good()], vec![root.der.clone(); 65]),
                7 => (vec![leaf_of(&root, request)], vec![root.der.clone()]),
                _ => (vec![vec![0x30]], vec![root.der.clone()]),
            };
            Ok(MintedX509Ca { chain, roots })
        }
    };
    let answer = Arc::new(answer);
    let mut wrong = Vec::new();
    for case in 0..9 {
        let answer = Arc::clone(&answer);
        let upstream = Upstream::new(move |request| answer(case, request));
        let disk = below(&upstream);
        let refusal = match disk.start().await {
            Err(StartError::Ca(CaError::UpstreamAnswer { plugin, source })) if plugin == "test" => Some(source),
            _ => None,
        };
        let named = refusal.as_ref().is_some_and(|source| match case {
            1 => *source == UpstreamFault::OtherKey,
            2 => matches!(source, UpstreamFault::OtherName { .. }),
            3 => *source == UpstreamFault::IsRoot,
            6 => *source == UpstreamFault::TooManyRoots { got: 65 },
            7 => matches!(source, UpstreamFault::Chain(AuthorityChainError::NotCa { .. })),
            _ => matches!(source, UpstreamFault::Chain(_)),
        });
        if !named {
            wrong.push((case, refusal));
            continue;
        }
        // Once it behaves, the server starts.
        upstream.answers(signing(&[&root]));
        let server = disk.start().await.unwrap();
        assert_eq!(bundle(&server), std::slice::from_ref(&root.der), "nothing was left of what was refused");
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// The upstream is away when the CA is due: the old one signs on, and the key that waits is not made twice.
#[tokio::test]
async fn an_upstream_that_is_away_costs_nothing_until_the_ca_ends() {
    let root = Ca::root("root");
    let upstream = Upstream::honest(&[&root]);
    let disk = below(&upstream);
    let server = disk.start().await.unwrap();
    let before = server.services.ca.authority().authority_id().to_owned();
    upstream.answers(|_| Err(UpstreamError::Unavailable { plugin: "test", source: "away".into() }));
    server.clock.advance(CA_TTL * 7 / 8);
    for _ in 0..3 {
        server.services.rotate().await;
    }
    assert_eq!(upstream.asked(), 4);
    assert_eq!(server.services.ca.authority().authority_id(), before.as_str());
    svid_chain(&server).await;
    upstream.answers(signing(&[&root]));
    server.services.rotate().await;
    assert_ne!(server.services.ca.authority().authority_id(), before.as_str());
}

/// A tainted upstream root certifies nothing any more, and its subject key identifier is what is tainted and revoked.
#[tokio::test]
async fn what_is_tainted_below_an_upstream_is_the_upstream() {
    let (old, new) = (Ca::root("old"), Ca::root("new"));
    let upstream = Upstream::honest(&[&old]);
    let disk = below(&upstream);
    let server = disk.start().await.unwrap();
    let caller = Caller::Local(LocalPeer { pid: None, uid: 0, gid: 0 });
    let own = server.services.ca.authority().authority_id().to_owned();
    let authorities = &server.services.local_authorities;
    let refused = authorities.taint_x509(server.permit::<rpc::TaintX509Authority>(&caller).await, &own).await;
    assert!(matches!(refused, Err(LocalAuthorityError::UpstreamAuthority { .. })), "{refused:?}");
    let refused = authorities.revoke_x509(server.permit::<rpc::RevokeX509Authority>(&caller).await, &own).await;
    assert!(matches!(refused, Err(LocalAuthorityError::UpstreamAuthority { .. })), "{refused:?}");

    upstream.show(&[&new]);
    upstream.answers(signing(&[&new]));
    let prepared = authorities.prepare_x509(server.permit::<rpc::PrepareX509Authority>(&local()).await).await.unwrap();
    authorities
        .activate_x509(server.permit::<rpc::ActivateX509Authority>(&local()).await, &prepared.authority_id)
        .await
        .unwrap();
    let old_id = old.key_id();
    let permit = server.permit::<rpc::TaintX509UpstreamAuthority>(&local()).await;
    authorities.taint_x509_upstream(permit, &old_id).await.unwrap();
    svid_chain(&server).await;

    // The old upstream is put back: it certifies nothing.
    upstream.answers(signing(&[&old]));
    let permit = server.permit::<rpc::PrepareX509Authority>(&local()).await;
    let refused = authorities.prepare_x509(permit).await.unwrap_err();
    let reason = format!("{refused:?}");
    assert!(reason.contains("Tainted") && reason.contains(&old_id), "{reason}");
    let permit = server.permit::<rpc::RevokeX509UpstreamAuthority>(&local()).await;
    authorities.revoke_x509_upstream(permit, &old_id).await.unwrap();
    assert_eq!(bundle(&server), std::slice::from_ref(&new.der));
}

/// What is tainted is the key: a new certificate for it makes nothing good.
#[tokio::test]
async fn a_new_certificate_for_a_tainted_upstream_key_is_not_taken() {
    let (old, new) = (Ca::root("old"), Ca::root("new"));
    let upstream = Upstream::honest(&[&old]);
    let disk = below(&upstream);
    let server = disk.start().await.unwrap();
    upstream.show(&[&new]);
    upstream.answers(signing(&[&new]));
    let authorities = &server.services.local_authorities;
    let prepared = authorities.prepare_x509(server.permit::<rpc::PrepareX509Authority>(&local()).await).await.unwrap();
    let permit = server.permit::<rpc::ActivateX509Authority>(&local()).await;
    authorities.activate_x509(permit, &prepared.authority_id).await.unwrap();
    let permit = server.permit::<rpc::TaintX509UpstreamAuthority>(&local()).await;
    authorities.taint_x509_upstream(permit, &old.key_id()).await.unwrap();

    let again = old.again(|params| params.not_before = rcgen::date_time_ymd(2026, 5, 30));
    assert_eq!(again.key_id(), old.key_id());
    upstream.show(&[&new, &again]);
    server.services.rotate().await;
    assert_eq!(bundle(&server), [old.der.clone(), new.der.clone()], "not published");
    upstream.answers(signing(&[&again]));
    let permit = server.permit::<rpc::PrepareX509Authority>(&local()).await;
    let refused = authorities.prepare_x509(permit).await.unwrap_err();
    assert!(format!("{refused:?}").contains("Tainted"), "{refused:?}");
}

/// Threat 56
#[tokio::test]
async fn an_upstream_root_whose_time_has_not_come_is_published_when_it_has() {
    let root = Ca::root("root");
    let upstream = Upstream::honest(&[&root]);
    let disk = below(&upstream);
    let server = disk.start().await.unwrap();
    let then = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(START + 3600);
    let later = Ca::root("later").again(|params| params.not_before = then);
    upstream.show(&[&root, &later]);
    server.services.rotate().await;
    assert_eq!(bundle(&server), std::slice::from_ref(&root.der));
    server.clock.advance(3601);
    server.services.rotate().await;
    assert_eq!(bundle(&server), [root.der.clone(), later.der.clone()]);
}

impl Ca {
    /// Another certificate for the same key.
    fn again(&self, change: impl Fn(&mut CertificateParams)) -> Arc<Self> {
        let key = KeyPair::try_from(self.key.serialize_der()).unwrap();
        let mut params = self.params.clone();
        change(&mut params);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Arc::new(Self { der, params, key })
    }

    /// Subject key identifier, lower-case hex.
    pub(crate) fn key_id(&self) -> String {
        plastron_server_core::store::subject_key_id(&self.der).unwrap()
    }
}
