//! Conversations without a socket: what is answered, when, and by which names.

use std::collections::BTreeMap;
use std::sync::Arc;

use plastron_agent_core::{Identity, PrivateKey, WorkloadUpdate};
use plastron_proto::envoy::config::core::v3::Node;
use plastron_proto::envoy::config::core::v3::data_source::Specifier;
use plastron_proto::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use plastron_proto::envoy::extensions::transport_sockets::tls::v3::{Secret, SpiffeCertValidatorConfig};
use plastron_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use plastron_proto::google::rpc::Status as Problem;
use plastron_spiffe::x509::X509Svid;
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain, X509Authority};
use prost_types::value::Kind;
use prost_types::{Any, Struct, Value};
use rcgen::{CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};
use tonic::{Code, Status};
use zeroize::Zeroizing;

use super::conversation::{Conversation, Question};
use super::*;
use crate::push::View;
use crate::refusal::Refusal;

fn bundle(trust_domain: &str, roots: &[&[u8]]) -> Arc<Bundle> {
    let authority = |der: &&[u8]| X509Authority { certificate: der.to_vec(), tainted: false };
    let x509_authorities = roots.iter().map(authority).collect();
    Arc::new(Bundle { x509_authorities, ..Bundle::empty(TrustDomain::parse(trust_domain).unwrap()) })
}

fn identity(entry_id: &str, path: &str) -> Arc<Identity> {
    let spiffe_id = SpiffeId::parse(&format!("spiffe://example.org{path}")).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![SanType::URI(spiffe_id.as_str().try_into().unwrap())];
    let key = KeyPair::generate().unwrap();
    let leaf = params.self_signed(&key).unwrap().der().to_vec();
    Arc::new(Identity {
        entry_id: entry_id.into(),
        spiffe_id,
        hint: String::new(),
        entry_created_at: 1,
        is_delegable: true,
        svid: Arc::new(X509Svid::parse(vec![leaf]).unwrap()),
        private_key: Arc::new(PrivateKey::from_pkcs8(Zeroizing::new(key.serialize_der()))),
    })
}

/// Two identities, and bundles of three domains, one of them empty.
fn update() -> WorkloadUpdate {
    let foreign = [bundle("other.test", &[b"foreign"]), bundle("gone.test", &[])];
    WorkloadUpdate {
        identities: vec![identity("a", "/web"), identity("b", "/db")],
        bundle: bundle("example.org", &[b"root", b"next"]),
        federated_bundles: foreign.into_iter().map(|bundle| (bundle.trust_domain.clone(), bundle)).collect(),
    }
}

fn request(names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        resource_names: names.iter().map(|&name| name.to_owned()).collect(),
        type_url: "the type".to_owned(),
        ..DiscoveryRequest::default()
    }
}

/// What a proxy says that applied a response.
fn ack(response: &DiscoveryResponse, names: &[&str]) -> DiscoveryRequest {
    let (version_info, response_nonce) = (response.version_info.clone(), response.nonce.clone());
    DiscoveryRequest { version_info, response_nonce, ..request(names) }
}

fn metadata(disable: bool) -> Node {
    let value = Value { kind: Some(Kind::BoolValue(disable)) };
    let fields = BTreeMap::from([("disable_spiffe_cert_validation".to_owned(), value)]);
    Node { metadata: Some(Struct { fields }), ..Node::default() }
}

fn text(source: Option<plastron_proto::envoy::config::core::v3::DataSource>) -> String {
    match source.unwrap().specifier.unwrap() {
        Specifier::InlineBytes(bytes) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn pem_of(label: &str, values: &[&[u8]]) -> String {
    String::from_utf8(pem::encode(label, values.iter().copied())).unwrap()
}

/// A line for each secret: its name, and what it holds.
fn described(resources: &[Any]) -> Vec<String> {
    let describe = |resource: &Any| {
        let secret: Secret = resource.to_msg().unwrap();
        let what = match secret.r#type.unwrap() {
            Type::TlsCertificate(certificate) => {
                let (chain, key) = (text(certificate.certificate_chain), text(certificate.private_key));
                assert!(key.starts_with("-----BEGIN PRIVATE KEY-----\n"));
                let der = chain.lines().filter(|line| !line.starts_with('-')).collect::<String>();
                let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, der).unwrap();
                format!("certificate {}", X509Svid::parse(vec![der]).unwrap().claimed_id())
            }
            Type::ValidationContext(context) => match context.custom_validator_config {
                None => format!("roots {}", text(context.trusted_ca)),
                Some(validator) => {
                    assert_eq!(validator.name, "envoy.tls.cert_validator.spiffe");
                    assert!(context.trusted_ca.is_none());
                    let config: SpiffeCertValidatorConfig = validator.typed_config.unwrap().to_msg().unwrap();
                    let domains = config.trust_domains.into_iter();
                    let domains: Vec<_> =
                        domains.map(|domain| format!("{}: {}", domain.name, text(domain.trust_bundle))).collect();
                    format!("domains {}", domains.join(""))
                }
            },
        };
        format!("{} = {what}", secret.name)
    };
    resources.iter().map(describe).collect()
}

fn once(settings: &SdsSettings, request: DiscoveryRequest, view: &View) -> Result<DiscoveryResponse, Refusal> {
    Question::of(settings, request)?.answer(settings, view)
}

fn fetched(names: &[&str], node: Option<Node>) -> Result<Vec<String>, Status> {
    let request = DiscoveryRequest { node, ..request(names) };
    let response = once(&SdsSettings::default(), request, &View::Identities(update()))?;
    assert_eq!((response.version_info.as_str(), response.nonce.as_str()), ("", ""));
    assert_eq!(response.type_url, "the type");
    Ok(described(&response.resources))
}

fn own() -> String {
    format!("example.org: {}", pem_of("CERTIFICATE", &[b"root", b"next"]))
}

fn foreign() -> String {
    format!("other.test: {}", pem_of("CERTIFICATE", &[b"foreign"]))
}

#[test]
fn each_name_stands_for_what_spire_lets_it_stand_for() {
    let (own, foreign) = (own(), foreign());
    for (name, expected) in [
        ("default", "certificate spiffe://example.org/web".to_owned()),
        ("spiffe://example.org/web", "certificate spiffe://example.org/web".to_owned()),
        ("spiffe://example.org/db", "certificate spiffe://example.org/db".to_owned()),
        ("spiffe://example.org", format!("domains {own}")),
        ("ROOTCA", format!("domains {own}")),
        ("spiffe://other.test", format!("domains {foreign}")),
        ("ALL", format!("domains {own}{foreign}")),
    ] {
        assert_eq!(fetched(&[name], None).unwrap(), [format!("{name} = {expected}")]);
    }
}

/// SPIRE answers one of the first two, and one of the last three.
#[test]
fn every_name_of_a_request_is_answered() {
    let names = ["default", "spiffe://example.org/web", "ALL", "ROOTCA", "spiffe://example.org"];
    let answers = fetched(&names, None).unwrap();
    let answered: Vec<_> = answers.iter().map(|answer| answer.split(" = ").next().unwrap()).collect();
    assert_eq!(answered, names);
    assert_eq!(fetched(&["ROOTCA", "", "ROOTCA"], None).unwrap().len(), 1);
}

#[test]
fn a_request_without_names_is_for_everything_that_is_there() {
    let (own, foreign) = (own(), foreign());
    let everything = [
        format!("spiffe://example.org = domains {own}"),
        format!("spiffe://other.test = domains {foreign}"),
        "spiffe://example.org/web = certificate spiffe://example.org/web".to_owned(),
        "spiffe://example.org/db = certificate spiffe://example.org/db".to_owned(),
    ];
    assert_eq!(fetched(&[], None).unwrap(), everything);
    assert_eq!(fetched(&["", ""], None).unwrap(), everything);
}

#[test]
fn two_entries_with_one_id_are_one_secret() {
    let mut update = update();
    update.identities = vec![identity("a", "/web"), identity("b", "/web")];
    let view = View::Identities(update);
    let all = once(&SdsSettings::default(), request(&[]), &view).unwrap();
    let named = once(&SdsSettings::default(), request(&["spiffe://example.org/web"]), &view).unwrap();
    assert_eq!(all.resources.last(), named.resources.first());
    assert_eq!(all.resources.len(), 3);
}

#[test]
fn a_name_that_is_not_the_workloads_refuses_the_request() {
    for (names, unknown) in [
        (&["spiffe://example.org/other"][..], "[\"spiffe://example.org/other\"]"),
        (&["z", "ROOTCA", "a\nb"], "[\"a\\nb\" \"z\"]"),
        (&["spiffe://unknown.test"], "[\"spiffe://unknown.test\"]"),
        (&["rootca"], "[\"rootca\"]"),
        // Who emptied its bundle is believed by nobody.
        (&["spiffe://gone.test"], "[\"spiffe://gone.test\"]"),
    ] {
        let status = fetched(names, None).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let text = format!("workload is not authorized for the requested identities {unknown}");
        assert_eq!(status.message(), text);
    }
    let long = "x".repeat(100_000);
    assert!(fetched(&[&long], None).unwrap_err().message().len() <= crate::limits::MAX_REASON_BYTES);
}

/// Threat 30: a proxy's words cost no more than they are long, in memory and in the log.
#[test]
fn names_are_few_and_are_not_repeated_at_length() {
    let most = vec![""; crate::limits::MAX_SECRET_NAMES];
    let more = vec![""; crate::limits::MAX_SECRET_NAMES + 1];
    assert_eq!(fetched(&most, None).unwrap().len(), 4);
    let text = "at most 1024 resource names are possible";
    let status = fetched(&more, None).unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, text));

    let mut conversation = Conversation::new(SdsSettings::default());
    assert!(conversation.hear(request(&most)).unwrap().is_none());
    let refusal = conversation.hear(request(&more)).unwrap_err();
    assert!(matches!(refusal, Refusal::TooManySecretNames { got: 1025 }), "{refusal}");

    let long = "\u{1b}".repeat(100_000);
    let refusal = once(&SdsSettings::default(), request(&[&long]), &View::Identities(update())).unwrap_err();
    assert!(refusal.to_string().len() < 2 * crate::limits::MAX_REASON_BYTES, "{}", refusal.to_string().len());
}

#[test]
fn a_caller_without_an_identity_may_have_the_own_bundle_alone() {
    let view = View::OwnBundle(bundle("example.org", &[b"root", b"next"]));
    let settings = SdsSettings::default();
    let own = own();
    for names in [&[][..], &["spiffe://example.org"], &["ROOTCA"], &["ALL"]] {
        let name = names.first().copied().unwrap_or("spiffe://example.org");
        let response = once(&settings, request(names), &view).unwrap();
        assert_eq!(described(&response.resources), [format!("{name} = domains {own}")]);
    }
    for name in ["default", "spiffe://example.org/web", "spiffe://other.test"] {
        let refusal = once(&settings, request(&[name]), &view).unwrap_err();
        assert!(matches!(refusal, Refusal::SecretNames { .. }), "{name}: {refusal}");
    }
}

#[test]
fn without_the_validator_there_are_roots_and_never_of_all_domains() {
    let plain = pem_of("CERTIFICATE", &[b"root", b"next"]);
    let answer = fetched(&["ROOTCA", "default"], Some(metadata(true))).unwrap();
    let certificate = "default = certificate spiffe://example.org/web".to_owned();
    assert_eq!(answer, [format!("ROOTCA = roots {plain}"), certificate]);
    let status = fetched(&["ALL"], Some(metadata(true))).unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(status.message(), "unable to use \"SPIFFE validator\" on Envoy below 1.17");

    let settings = SdsSettings { validation: PeerValidation::RootsOnly, ..SdsSettings::default() };
    let view = View::Identities(update());
    let response = once(&settings, request(&["ROOTCA"]), &view).unwrap();
    assert_eq!(described(&response.resources), [format!("ROOTCA = roots {plain}")]);
}

#[test]
fn names_are_the_configurations() {
    let settings = SdsSettings {
        default_svid_name: "mine".to_owned(),
        default_bundle_name: "ours".to_owned(),
        default_all_bundles_name: "theirs".to_owned(),
        validation: PeerValidation::ByTrustDomain,
    };
    let view = View::Identities(update());
    assert_eq!(once(&settings, request(&["mine", "ours", "theirs"]), &view).unwrap().resources.len(), 3);
    for name in ["default", "ROOTCA", "ALL"] {
        assert!(once(&settings, request(&[name]), &view).is_err(), "{name}");
    }
}

#[test]
fn an_empty_own_bundle_is_never_sent() {
    let view = View::OwnBundle(bundle("example.org", &[]));
    for names in [&[][..], &["ROOTCA"], &["ALL"]] {
        let refusal = once(&SdsSettings::default(), request(names), &view).unwrap_err();
        assert!(matches!(refusal, Refusal::EmptyBundle), "{names:?}: {refusal}");
    }
}

/// A conversation that has come to its first answer.
fn begun(names: &[&str]) -> (Conversation, WorkloadUpdate, DiscoveryResponse) {
    let mut conversation = Conversation::new(SdsSettings::default());
    let update = update();
    assert!(conversation.see(View::Identities(update.clone())).unwrap().is_none(), "nothing was asked yet");
    let response = conversation.hear(request(names)).unwrap().unwrap();
    assert_eq!(response.version_info, "1");
    assert_eq!(response.nonce.len(), 8);
    (conversation, update, response)
}

#[test]
fn a_request_that_comes_first_is_answered_when_there_is_something_to_say() {
    let mut conversation = Conversation::new(SdsSettings::default());
    assert!(conversation.hear(request(&["default"])).unwrap().is_none());
    // Nothing was answered, so there is no nonce to name yet.
    assert!(conversation.hear(request(&["ROOTCA"])).unwrap().is_none());
    let response = conversation.see(View::Identities(update())).unwrap().unwrap();
    assert_eq!(described(&response.resources), [format!("ROOTCA = domains {}", own())]);
    assert_eq!(response.type_url, "the type");
}

#[test]
fn neither_good_nor_bad_acknowledgements_are_answered() {
    let (mut conversation, _, response) = begun(&["default"]);
    for _ in 0..3 {
        assert!(conversation.hear(ack(&response, &["default"])).unwrap().is_none());
        let error_detail = Some(Problem { message: "no\nway".to_owned(), ..Problem::default() });
        let bad = DiscoveryRequest { error_detail, version_info: String::new(), ..ack(&response, &["default"]) };
        assert!(conversation.hear(bad).unwrap().is_none());
    }
}

#[test]
fn a_request_about_another_answer_is_ignored() {
    let (mut conversation, update, first) = begun(&["default"]);
    let rotated = WorkloadUpdate { identities: vec![identity("a", "/web")], ..update };
    let second = conversation.see(View::Identities(rotated)).unwrap().unwrap();
    assert_eq!(second.version_info, "2");
    assert_ne!(first.nonce, second.nonce);
    for stale in [ack(&first, &["ROOTCA"]), request(&["ROOTCA"])] {
        assert!(conversation.hear(stale).unwrap().is_none());
    }
    let answer = conversation.hear(ack(&second, &["ROOTCA"])).unwrap().unwrap();
    assert!(described(&answer.resources)[0].starts_with("ROOTCA = "));
}

#[test]
fn other_names_are_answered_at_once_even_with_a_refusal_of_what_was_before() {
    let (mut conversation, _, first) = begun(&["default", "ROOTCA"]);
    // Order says nothing, and neither does repetition.
    assert!(conversation.hear(ack(&first, &["ROOTCA", "default", "ROOTCA"])).unwrap().is_none());
    let bad = DiscoveryRequest { version_info: "0".to_owned(), ..ack(&first, &["default"]) };
    let second = conversation.hear(bad).unwrap().unwrap();
    assert_eq!(described(&second.resources), ["default = certificate spiffe://example.org/web"]);
    let refusal = conversation.hear(ack(&second, &["nobody"])).unwrap_err();
    assert!(matches!(refusal, Refusal::SecretNames { .. }));
}

#[test]
fn a_change_is_told_to_whoever_it_concerns() {
    let (mut certificate, update, _) = begun(&["default"]);
    let (mut roots, _, _) = begun(&["ROOTCA"]);
    let mut everything = Conversation::new(SdsSettings::default());
    everything.hear(request(&[])).unwrap();
    everything.see(View::Identities(update.clone())).unwrap().unwrap();

    let told = |conversation: &mut Conversation, update: &WorkloadUpdate| {
        conversation.see(View::Identities(update.clone())).unwrap().map(|response| response.version_info)
    };
    let versions = |conversations: [&mut Conversation; 3], update: &WorkloadUpdate| {
        conversations.map(|conversation| told(conversation, update))
    };
    let some = |version: &str| Some(version.to_owned());
    // The SVIDs of `roots` are others: it was not told of any.
    assert_eq!(versions([&mut certificate, &mut roots, &mut everything], &update), [None, None, None]);
    let rotated = WorkloadUpdate { identities: vec![identity("a", "/web"), identity("b", "/db")], ..update };
    assert_eq!(versions([&mut certificate, &mut roots, &mut everything], &rotated), [some("2"), None, some("2")]);
    let bundle = WorkloadUpdate { bundle: bundle("example.org", &[b"next"]), ..rotated };
    assert_eq!(versions([&mut certificate, &mut roots, &mut everything], &bundle), [None, some("2"), some("3")]);
    let federated = WorkloadUpdate { federated_bundles: BTreeMap::new(), ..bundle };
    assert_eq!(versions([&mut certificate, &mut roots, &mut everything], &federated), [None, None, some("4")]);
    // Its last identity goes.
    let nobody = || View::OwnBundle(federated.bundle.clone());
    assert!(matches!(certificate.see(nobody()), Err(Refusal::SecretNames { .. })));
    assert!(roots.see(nobody()).unwrap().is_none());
    assert_eq!(everything.see(nobody()).unwrap().unwrap().resources.len(), 1);
}

#[test]
fn what_a_proxy_is_it_says_once() {
    let mut conversation = Conversation::new(SdsSettings::default());
    conversation.see(View::Identities(update())).unwrap();
    let hello = DiscoveryRequest { node: Some(metadata(true)), ..request(&["ROOTCA"]) };
    let first = conversation.hear(hello).unwrap().unwrap();
    assert!(described(&first.resources)[0].starts_with("ROOTCA = roots "));
    let second = conversation.hear(ack(&first, &["spiffe://example.org"])).unwrap().unwrap();
    assert!(described(&second.resources)[0].starts_with("spiffe://example.org = roots "));
    let now = DiscoveryRequest { node: Some(metadata(false)), ..ack(&second, &["ROOTCA"]) };
    let third = conversation.hear(now).unwrap().unwrap();
    assert!(described(&third.resources)[0].starts_with("ROOTCA = domains "));
}
