//! Below a server of the same trust domain: its bundle is followed, and JWT keys are published there before anything else is done with them.

use std::sync::{Arc, Mutex};

use plastron_plugins::upstream::{UpstreamError, UpstreamServer};
use plastron_server_core::StartError;
use plastron_server_core::authorization::{Caller, rpc};
use plastron_server_core::ca::{CaError, UpstreamFault};
use plastron_server_core::nesting::NestingError;
use plastron_spiffe::{Bundle, JwtAuthority, X509Authority};
use rcgen::{KeyPair, PublicKeyData as _};
use tokio::sync::watch;

use crate::fixture::{CA_TTL, Disk, START, Server, local, trust_domain};
use crate::nesting::{downstream, downstream_as};
use crate::upstream::{Ca, Upstream, signing, svid_chain};

/// What the server above answers to a key.
type Answer = Box<dyn Fn(&JwtAuthority) -> Result<Vec<JwtAuthority>, UpstreamError> + Send>;

/// The server above: a bundle, and JWT keys that were published there.
struct Above {
    bundle: watch::Sender<Option<Arc<Bundle>>>,
    published: Mutex<Vec<JwtAuthority>>,
    answer: Mutex<Option<Answer>>,
}

impl Above {
    /// Publishes everything, and has no bundle yet.
    fn new() -> Arc<Self> {
        Arc::new(Self { bundle: watch::channel(None).0, published: Mutex::default(), answer: Mutex::default() })
    }

    /// Answers otherwise from now on.
    fn answers(&self, answer: impl Fn(&JwtAuthority) -> Result<Vec<JwtAuthority>, UpstreamError> + Send + 'static) {
        *self.answer.lock().unwrap() = Some(Box::new(answer));
    }

    fn behaves(&self) {
        *self.answer.lock().unwrap() = None;
    }

    fn published(&self) -> Vec<JwtAuthority> {
        self.published.lock().unwrap().clone()
    }

    fn change(&self, change: impl FnOnce(&mut Vec<JwtAuthority>)) {
        change(&mut self.published.lock().unwrap());
    }

    /// Shows these roots, tainted or not, and all keys that it has.
    fn show(&self, roots: &[(&Arc<Ca>, bool)]) {
        let x509 = roots.iter().map(|(ca, tainted)| X509Authority { certificate: ca.der.clone(), tainted: *tainted });
        let mut bundle = Bundle::empty(trust_domain());
        bundle.x509_authorities = x509.collect();
        bundle.jwt_authorities = self.published();
        self.bundle.send_replace(Some(Arc::new(bundle)));
    }
}

#[async_trait::async_trait]
impl UpstreamServer for Above {
    fn bundle(&self) -> watch::Receiver<Option<Arc<Bundle>>> {
        self.bundle.subscribe()
    }

    async fn publish_jwt_key(&self, key: JwtAuthority) -> Result<Vec<JwtAuthority>, UpstreamError> {
        if let Some(answer) = self.answer.lock().unwrap().as_ref() {
            return answer(&key);
        }
        let mut published = self.published.lock().unwrap();
        if published.iter().all(|known| known.key_id != key.key_id) {
            published.push(key);
        }
        Ok(published.clone())
    }
}

fn away() -> UpstreamError {
    UpstreamError::Unavailable { plugin: "test", source: "away".into() }
}

fn jwt_key(key_id: &str) -> JwtAuthority {
    let public_key = KeyPair::generate().unwrap().subject_public_key_info();
    let expires_at = i64::try_from(START + CA_TTL).unwrap();
    JwtAuthority { key_id: key_id.to_owned(), public_key, expires_at, tainted: false }
}

fn below(upstream: &Arc<Upstream>, above: &Arc<Above>) -> Disk {
    let mut disk = Disk::new();
    disk.upstream = Some(Arc::clone(upstream) as _);
    disk.upstream_server = Some(Arc::clone(above) as _);
    disk
}

fn jwt_keys(server: &Server) -> Vec<(String, bool)> {
    let bundle = server.services.bundles.current();
    bundle.jwt_authorities.iter().map(|key| (key.key_id.clone(), key.tainted)).collect()
}

fn roots(server: &Server) -> Vec<(Vec<u8>, bool)> {
    let bundle = server.services.bundles.current();
    bundle.x509_authorities.iter().map(|it| (it.certificate.clone(), it.tainted)).collect()
}

fn active_key(server: &Server) -> String {
    server.services.ca.jwt_authority().unwrap().authority_id().to_owned()
}

#[tokio::test]
async fn a_jwt_key_is_published_above_before_this_server_has_it() {
    let (root, above) = (Ca::root("root"), Above::new());
    let disk = below(&Upstream::honest(&[&root]), &above);
    above.change(|keys| keys.push(jwt_key("of the server above")));
    above.answers(|_key| Err(away()));
    let refused = disk.start().await.err().unwrap();
    assert!(matches!(refused, StartError::Ca(CaError::Upstream(UpstreamError::Unavailable { .. }))), "{refused:?}");

    above.behaves();
    let server = disk.start().await.unwrap();
    let active = active_key(&server);
    let published: Vec<_> = above.published().into_iter().map(|key| key.key_id).collect();
    assert_eq!(published, ["of the server above", &active], "the key that could not be published is nowhere");
    let mut known: Vec<_> = jwt_keys(&server).into_iter().map(|(key_id, _)| key_id).collect();
    known.sort();
    let mut wanted = published.clone();
    wanted.sort();
    assert_eq!(known, wanted, "a token of the server above is good here");
    server.jwt("db", 60).await.unwrap();

    // While it is away, the next key is not prepared, and the present one signs on.
    above.answers(|_key| Err(away()));
    server.clock.advance(CA_TTL / 2 + 60);
    server.services.rotate().await;
    assert_eq!((jwt_keys(&server).len(), active_key(&server)), (2, active.clone()));
    server.jwt("db", 60).await.unwrap();
    above.behaves();
    server.services.rotate().await;
    assert_eq!((above.published().len(), jwt_keys(&server).len()), (3, 3));
}

/// Threat 61
#[tokio::test]
async fn an_answer_about_jwt_keys_that_does_not_fit_is_refused() {
    let root = Ca::root("root");
    let mut wrong = Vec::new();
    for case in 0..6 {
        let above = Above::new();
        above.answers(move |key| {
            let other = jwt_key("other");
            Ok(match case {
                0 => vec![],
                1 => vec![other],
                2 => vec![JwtAuthority { tainted: true, ..key.clone() }],
                3 => vec![JwtAuthority { public_key: other.public_key, ..key.clone() }],
                4 => vec![key.clone(), JwtAuthority { public_key: vec![0x30], ..other }],
                _ => {
                    let many = (0..256).map(|n| JwtAuthority { key_id: n.to_string(), ..other.clone() });
                    many.chain([key.clone()]).collect()
                }
            })
        });
        let disk = below(&Upstream::honest(&[&root]), &above);
        let fault = match disk.start().await {
            Err(StartError::Ca(CaError::UpstreamAnswer { source, .. })) => Some(source),
            _ => None,
        };
        let named = fault.as_ref().is_some_and(|fault| match case {
            0..=3 => matches!(fault, UpstreamFault::NotPublished { .. }),
            4 => matches!(fault, UpstreamFault::JwtKey(_)),
            _ => matches!(fault, UpstreamFault::TooManyAuthorities { got: 257 }),
        });
        if !named {
            wrong.push((case, fault));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Whoever replaces its SVID because of the taint gets one of another root.
#[tokio::test]
async fn a_root_that_is_tainted_above_is_replaced_first_and_then_tainted() {
    let (old, new, above) = (Ca::root("old"), Ca::root("new"), Above::new());
    let upstream = Upstream::honest(&[&old]);
    let disk = below(&upstream, &above);
    let server = disk.start().await.unwrap();
    above.show(&[(&old, false)]);
    server.services.rotate().await;
    let before = server.services.ca.authority().authority_id().to_owned();

    above.show(&[(&old, true), (&new, false)]);
    upstream.show(&[&new]);
    upstream.answers(|_request| Err(away()));
    server.services.rotate().await;
    assert_eq!(server.services.ca.authority().authority_id(), before.as_str());
    assert!(!roots(&server).contains(&(old.der.clone(), true)), "nothing is to replace it yet");
    svid_chain(&server).await;

    upstream.answers(signing(&[&new]));
    server.services.rotate().await;
    let authority = server.services.ca.authority();
    assert_ne!(authority.authority_id(), before.as_str());
    assert_eq!(authority.anchor_id().as_ref(), new.key_id().as_str());
    assert_eq!(roots(&server), [(old.der.clone(), true), (new.der.clone(), false)]);
    svid_chain(&server).await;
    assert!(disk.audit.lines().iter().any(|line| line.contains("x509 upstream root publish")));

    // Gone there, and only because it was tainted gone here.
    above.show(&[(&new, false)]);
    server.services.rotate().await;
    assert_eq!(roots(&server), [(new.der.clone(), false)]);
    svid_chain(&server).await;
}

/// The next CA was certified before the taint: it does not sign.
#[tokio::test]
async fn a_prepared_ca_below_a_tainted_root_does_not_sign() {
    let (old, new, above) = (Ca::root("old"), Ca::root("new"), Above::new());
    let upstream = Upstream::honest(&[&old]);
    let disk = below(&upstream, &above);
    let server = disk.start().await.unwrap();
    above.show(&[(&old, false)]);
    let permit = server.permit::<rpc::PrepareX509Authority>(&local()).await;
    server.services.local_authorities.prepare_x509(permit).await.unwrap();
    above.show(&[(&old, true), (&new, false)]);
    upstream.show(&[&new]);
    upstream.answers(signing(&[&new]));
    server.services.rotate().await;
    assert_eq!(server.services.ca.authority().anchor_id().as_ref(), new.key_id().as_str());
}

/// A server that starts late has what is on its way out too: somebody still shows SVIDs of it.
#[tokio::test]
async fn a_root_that_was_tainted_before_is_known_as_such() {
    let (old, new, above) = (Ca::root("old"), Ca::root("new"), Above::new());
    let server = below(&Upstream::honest(&[&new]), &above).start().await.unwrap();
    above.show(&[(&old, true), (&new, false)]);
    server.services.rotate().await;
    assert_eq!(roots(&server), [(new.der.clone(), false), (old.der.clone(), true)]);
}

/// Tainted and revoked between two looks. What the upstream never had stays.
#[tokio::test]
async fn a_root_that_leaves_the_bundle_above_before_its_time_was_revoked() {
    let (old, new, other, above) = (Ca::root("old"), Ca::root("new"), Ca::root("other"), Above::new());
    let upstream = Upstream::honest(&[&old]);
    let server = below(&upstream, &above).start().await.unwrap();
    let permit = server.permit::<rpc::AppendBundle>(&local()).await;
    let own = vec![X509Authority { certificate: other.der.clone(), tainted: false }];
    server.services.bundles.append(permit, own, Vec::new()).await.unwrap();
    above.show(&[(&old, false)]);
    server.services.rotate().await;
    upstream.show(&[&new]);
    upstream.answers(signing(&[&new]));
    above.show(&[(&new, false)]);
    server.services.rotate().await;
    assert_eq!(roots(&server), [(other.der.clone(), false), (new.der.clone(), false)]);
    svid_chain(&server).await;

    // It comes back if it does there.
    upstream.show(&[&new, &old]);
    above.show(&[(&new, false), (&old, false)]);
    server.services.rotate().await;
    assert!(roots(&server).contains(&(old.der.clone(), false)));
}

#[tokio::test]
async fn a_key_that_is_tainted_or_revoked_above_is_replaced() {
    let (root, above) = (Ca::root("root"), Above::new());
    let server = below(&Upstream::honest(&[&root]), &above).start().await.unwrap();
    above.change(|keys| keys.push(jwt_key("another's")));
    above.show(&[(&root, false)]);
    server.services.rotate().await;
    let first = active_key(&server);

    above.change(|keys| keys.iter_mut().filter(|key| key.key_id == first).for_each(|key| key.tainted = true));
    above.show(&[(&root, false)]);
    server.services.rotate().await;
    let second = active_key(&server);
    assert_ne!(second, first);
    assert!(jwt_keys(&server).contains(&(first.clone(), true)));
    above.change(|keys| keys.retain(|key| key.key_id != first));
    above.show(&[(&root, false)]);
    server.services.rotate().await;
    assert_eq!(jwt_keys(&server), [("another's".to_owned(), false), (second.clone(), false)]);

    // Tainted and revoked between two looks: it was there, and it is not published again.
    above.change(|keys| keys.clear());
    above.show(&[(&root, false)]);
    server.services.rotate().await;
    let third = active_key(&server);
    assert_ne!(third, second);
    assert!(above.published().iter().all(|key| key.key_id != second));
    assert_eq!(jwt_keys(&server), [(third, false)]);
    server.jwt("db", 60).await.unwrap();
}

/// The bundle that is at hand may be older than the publication.
#[tokio::test]
async fn a_key_that_was_just_published_is_not_given_up() {
    let (root, above) = (Ca::root("root"), Above::new());
    let server = below(&Upstream::honest(&[&root]), &above).start().await.unwrap();
    let active = active_key(&server);
    let published = above.published();
    above.change(Vec::clear);
    above.show(&[(&root, false)]);
    server.services.rotate().await;
    assert_eq!(jwt_keys(&server), [(active.clone(), false)]);
    above.change(|keys| *keys = published);
    above.show(&[(&root, false)]);
    server.services.rotate().await;
    assert_eq!(active_key(&server), active);
}

/// Whoever takes it as published signs with it: everyone up to the root has it by then.
#[tokio::test]
async fn a_downstream_servers_key_goes_up_first() {
    let (root, above) = (Ca::root("root"), Above::new());
    let server = below(&Upstream::honest(&[&root]), &above).start().await.unwrap();
    let (caller, _entry) = downstream(&server).await;
    let key = jwt_key("nested");
    above.answers(|_key| Err(away()));
    let permit = server.permit::<rpc::PublishJwtAuthority>(&caller).await;
    let refused = server.services.nesting.publish_jwt_authority(permit, key.clone()).await.unwrap_err();
    assert!(matches!(refused, NestingError::Upstream(_)), "{refused:?}");
    assert!(!jwt_keys(&server).iter().any(|(key_id, _)| key_id == "nested"));
    above.behaves();
    let permit = server.permit::<rpc::PublishJwtAuthority>(&caller).await;
    let bundle = server.services.nesting.publish_jwt_authority(permit, key.clone()).await.unwrap();
    assert!(bundle.jwt_authorities.contains(&key) && above.published().contains(&key));
}

/// Threat 61
///
/// Whoever fell publishes another key under the name of his that was revoked: the name is there still, and the key is not.
#[tokio::test]
async fn a_revoked_key_does_not_stay_because_another_one_has_its_name() {
    let (root, above) = (Ca::root("root"), Above::new());
    let server = below(&Upstream::honest(&[&root]), &above).start().await.unwrap();
    above.change(|keys| keys.push(jwt_key("another's")));
    above.show(&[(&root, false)]);
    server.services.rotate().await;
    let public_key = || {
        let bundle = server.services.bundles.current();
        bundle.jwt_authorities.iter().find(|key| key.key_id == "another's").map(|key| key.public_key.clone())
    };
    let revoked = public_key().unwrap();

    let other = jwt_key("another's");
    above.change(|keys| keys.iter_mut().filter(|key| key.key_id == "another's").for_each(|key| *key = other.clone()));
    above.show(&[(&root, false)]);
    server.services.rotate().await;
    assert_ne!(public_key(), Some(revoked));
    assert_eq!(public_key(), Some(other.public_key), "what is there now is known");

    // The same under the name of this server's own key.
    let first = active_key(&server);
    above.change(|keys| keys.iter_mut().filter(|key| key.key_id == first).for_each(|key| *key = jwt_key(&first)));
    above.show(&[(&root, false)]);
    server.services.rotate().await;
    assert_ne!(active_key(&server), first);
    server.jwt("db", 60).await.unwrap();
}

/// Threat 61
///
/// Revoked before a bundle showed it: that it was published is known from the answer alone.
#[tokio::test]
async fn a_key_that_was_revoked_before_it_was_seen_above_is_given_up() {
    let (root, above) = (Ca::root("root"), Above::new());
    above.change(|keys| keys.push(jwt_key("another's")));
    let server = below(&Upstream::honest(&[&root]), &above).start().await.unwrap();
    let first = active_key(&server);
    assert_eq!(jwt_keys(&server).len(), 2);
    server.clock.advance(3600);
    server.services.rotate().await;
    assert_eq!((active_key(&server), jwt_keys(&server).len()), (first.clone(), 2), "no bundle says anything of them");

    above.change(Vec::clear);
    above.show(&[(&root, false)]);
    server.services.rotate().await;
    let second = active_key(&server);
    assert_ne!(second, first);
    assert_eq!(jwt_keys(&server), [(second, false)]);
    server.jwt("db", 60).await.unwrap();
}

/// Threat 62
///
/// What goes up counts against the share that this server has there: its own next key needs a place.
#[tokio::test]
async fn servers_below_do_not_use_up_this_servers_share_above() {
    let (root, above) = (Ca::root("root"), Above::new());
    let server = below(&Upstream::honest(&[&root]), &above).start().await.unwrap();
    let (one, _entry) = downstream(&server).await;
    let (other, _entry) = downstream_as(&server, "/other").await;
    let publish = async |caller: &Caller, key_id: String| {
        let permit = server.permit::<rpc::PublishJwtAuthority>(caller).await;
        let expires_at = i64::try_from(server.clock_now() + 600).unwrap();
        let key = JwtAuthority { expires_at, ..jwt_key(&key_id) };
        server.services.nesting.publish_jwt_authority(permit, key).await
    };
    for n in 0..48 {
        publish(&one, format!("one-{n}")).await.unwrap();
    }
    for caller in [&one, &other] {
        let refused = publish(caller, "more".to_owned()).await.unwrap_err();
        assert!(matches!(refused, NestingError::BelowUsed { got: 48, most: 48 }), "{refused:?}");
    }
    assert!(above.published().iter().all(|key| key.key_id != "more"), "what is refused here does not go up");

    // Only those that have not ended count.
    server.clock.advance(601);
    publish(&other, "later".to_owned()).await.unwrap();
}

/// Threat 61
///
/// No other CA to be had is no reason to trust a key on that was revoked.
#[tokio::test]
async fn revoked_keys_go_while_a_tainted_root_can_not_be_replaced() {
    let (old, new, above) = (Ca::root("old"), Ca::root("new"), Above::new());
    let upstream = Upstream::honest(&[&old]);
    let server = below(&upstream, &above).start().await.unwrap();
    above.change(|keys| keys.push(jwt_key("another's")));
    above.show(&[(&old, false)]);
    server.services.rotate().await;

    upstream.answers(|_request| Err(away()));
    above.change(|keys| keys.retain(|key| key.key_id != "another's"));
    above.change(|keys| keys.push(jwt_key("a new one")));
    above.show(&[(&old, true), (&new, false)]);
    server.services.rotate().await;
    let mut keys: Vec<_> = jwt_keys(&server).into_iter().map(|(key_id, _)| key_id).collect();
    keys.retain(|key_id| *key_id != active_key(&server));
    assert_eq!(keys, ["a new one"]);
    assert!(!roots(&server).contains(&(old.der.clone(), true)), "nothing is to replace it yet");
}
