//! Delegated Identity: who is a delegate, whom it may act for, and what it gets.

use std::collections::BTreeMap;
use std::process::{Child, Command};

use plastron_proto::spire::api::agent::delegatedidentity::v1 as wire;
use plastron_proto::spire::api::agent::delegatedidentity::v1::delegated_identity_client::DelegatedIdentityClient;
use plastron_proto::types;
use plastron_spiffe::x509::X509Svid;
use plastron_spiffe::{Bundle, TrustDomain};
use tonic::Streaming;

use super::*;
use crate::authority::Authority;

type Client = DelegatedIdentityClient<Channel>;

/// What is waited for takes milliseconds; machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(30);

const NO_IDENTITY: &str = "no identity issued";
const ONE_OF: &str = "must provide either selectors or non-zero PID, but not both";

fn selectors(texts: &[&str]) -> Vec<types::Selector> {
    let pair = |text: &&str| {
        let (kind, value) = text.split_once(':').unwrap();
        types::Selector { r#type: kind.to_owned(), value: value.to_owned() }
    };
    texts.iter().map(pair).collect()
}

async fn client(world: &World) -> Client {
    DelegatedIdentityClient::new(world.channel().await)
}

async fn subscribe(
    client: &mut Client,
    texts: &[&str],
    pid: i32,
) -> Result<Streaming<wire::SubscribeToX509sviDsResponse>, Status> {
    let request = wire::SubscribeToX509sviDsRequest { selectors: selectors(texts), pid };
    Ok(client.subscribe_to_x509svi_ds(request).await?.into_inner())
}

fn paths(message: &wire::SubscribeToX509sviDsResponse) -> Vec<String> {
    message.x509_svids.iter().map(|svid| svid.x509_svid.clone().unwrap().id.unwrap().path).collect()
}

/// What comes next. A test that waits in vain fails, and does not hang.
async fn message<M>(stream: &mut Streaming<M>) -> Result<Option<M>, Status> {
    tokio::time::timeout(PATIENCE, stream.message()).await.unwrap()
}

async fn next<M>(stream: &mut Streaming<M>) -> M {
    message(stream).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_by_grpcs_code() {
    let world = World::start().await;
    let mut client = client(&world).await;
    let long = format!("test:{}", "x".repeat(65 * 1024));
    let status = subscribe(&mut client, &[&long], 0).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().starts_with("received message larger than max: "), "{status}");
}

/// A workload without an SVID keeps nobody waiting but who asks for it, over the one connection that a delegate has.
#[tokio::test]
async fn workloads_that_wait_for_their_svid_do_not_delay_the_others() {
    let world = World::start().await;
    let client = client(&world).await;
    world.server.add_entry("one", "/one", &["test:app:one"]);
    let mut first = subscribe(&mut client.clone(), &["test:app:one"], 0).await.unwrap();
    while paths(&next(&mut first).await) != ["/one"] {}
    let syncs = {
        let mut state = world.server.state();
        state.refuse_svids = true;
        state.syncs
    };
    world.server.add_entry("late", "/late", &["test:app:late"]);
    while world.server.state().syncs < syncs + 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut waiting = Vec::new();
    for _ in 0..32 {
        let mut client = client.clone();
        waiting.push(tokio::spawn(async move { subscribe(&mut client, &["test:app:late"], 0).await.map(drop) }));
    }
    // Long enough that they are all there first; the test holds without, too.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut client = client.clone();
    let open = tokio::time::timeout(Duration::from_secs(20), subscribe(&mut client, &["test:app:one"], 0));
    assert_eq!(paths(&next(&mut open.await.unwrap().unwrap()).await), ["/one"]);
    assert!(waiting.iter().all(|call| !call.is_finished()), "they still wait");
    waiting.iter().for_each(JoinHandle::abort);
}

/// A process that somebody else is.
struct Process(Child);

impl Process {
    fn start() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_delegate_gets_what_the_selectors_match_and_every_change_of_it() {
    let world = World::start().await;
    let mut client = client(&world).await;
    let mut stream = subscribe(&mut client, &["k8s:ns:web", "k8s:sa:web"], 0).await.unwrap();
    let none = next(&mut stream).await;
    assert!(none.x509_svids.is_empty() && none.federates_with.is_empty(), "nothing matches, and that is no error");

    world.server.add_entry("one", "/one", &["k8s:ns:web"]);
    let one = next(&mut stream).await;
    assert_eq!(paths(&one), ["/one"]);
    let svid = one.x509_svids[0].x509_svid.clone().unwrap();
    let parsed = X509Svid::parse(svid.cert_chain).unwrap();
    assert_eq!((parsed.claimed_id().path(), svid.expires_at), ("/one", i64::try_from(parsed.not_after()).unwrap()));
    assert_eq!(svid.id.unwrap().trust_domain, "example.org");
    assert!(!one.x509_svids[0].x509_svid_key.is_empty());

    // What administers the server, or is one, is not for delegates.
    for (id, path) in [("two", "/two"), ("three", "/three"), ("four", "/four")] {
        world.server.add_entry(id, path, &["k8s:sa:web"]);
    }
    while paths(&next(&mut stream).await) != ["/four", "/one", "/three", "/two"] {}
    world.change("two", |entry| entry.admin = true);
    while paths(&next(&mut stream).await) != ["/four", "/one", "/three"] {}
    world.change("three", |entry| entry.downstream = true);
    while paths(&next(&mut stream).await) != ["/four", "/one"] {}
    world.change("four", |entry| entry.hint = "blue".to_owned());
    while next(&mut stream).await.x509_svids[0].x509_svid.clone().unwrap().hint != "blue" {}

    let foreign = ["z.test", "a.test"].map(|name| TrustDomain::parse(name).unwrap());
    for domain in &foreign {
        world.server.state().foreign.insert(domain.clone(), Authority::new(domain, 1_800_000_000).bundle());
    }
    world.change("one", |entry| entry.federates_with = foreign.to_vec());
    while next(&mut stream).await.federates_with != ["spiffe://a.test", "spiffe://z.test"] {}

    for id in ["one", "two", "three", "four"] {
        world.server.state().entries.remove(id);
    }
    while !next(&mut stream).await.x509_svids.is_empty() {}
}

#[tokio::test]
async fn only_a_delegate_is_served() {
    let world = World::start().await;
    let mut client = client(&world).await;
    let mut open = subscribe(&mut client, &["k8s:ns:web"], 0).await.unwrap();
    next(&mut open).await;
    let mut bundles =
        client.subscribe_to_x509_bundles(wire::SubscribeToX509BundlesRequest {}).await.unwrap().into_inner();
    next(&mut bundles).await;

    // It has an identity, and that is another now.
    {
        let own = format!("test:pid:{}", std::process::id());
        let mut state = world.server.state();
        state.entries.remove(DELEGATE);
        state.entries.insert("other".to_owned(), fake_server::entry("other", "/other", &[&own]));
    }
    let text = "caller not configured as an authorized delegate";
    refused(message(&mut open).await, Code::PermissionDenied, text);
    refused(message(&mut bundles).await, Code::PermissionDenied, text);
    every_method_refuses(&mut client, Code::PermissionDenied, text).await;

    // A second entry makes it a delegate, whichever is the first.
    world.server.add_entry("again", "/delegate", &[&format!("test:pid:{}", std::process::id())]);
    let mut open = loop {
        match subscribe(&mut client, &["k8s:ns:web"], 0).await {
            Ok(stream) => break stream,
            Err(status) => assert_eq!(status.message(), text),
        }
    };
    next(&mut open).await;

    // It has none any more.
    world.server.state().entries.clear();
    refused(message(&mut open).await, Code::PermissionDenied, NO_IDENTITY);
    every_method_refuses(&mut client, Code::PermissionDenied, NO_IDENTITY).await;

    world.attestor.fails.store(true, Ordering::SeqCst);
    every_method_refuses(&mut client, Code::Unavailable, "workload attestation failed").await;
}

async fn every_method_refuses(client: &mut Client, code: Code, text: &str) {
    refused(subscribe(client, &["k8s:ns:web"], 0).await, code, text);
    // Who may not ask at all does not learn that the question was wrong.
    refused(subscribe(client, &[], 0).await, code, text);
    refused(client.subscribe_to_x509_bundles(wire::SubscribeToX509BundlesRequest {}).await, code, text);
    refused(client.subscribe_to_jwt_bundles(wire::SubscribeToJwtBundlesRequest {}).await, code, text);
    refused(tokens(client, &["x"], &["k8s:ns:web"], 0).await, code, text);
}

async fn tokens(
    client: &mut Client,
    audience: &[&str],
    texts: &[&str],
    pid: i32,
) -> Result<Vec<types::Jwtsvid>, Status> {
    let audience = audience.iter().map(|value| (*value).to_owned()).collect();
    let request = wire::FetchJwtsviDsRequest { audience, selectors: selectors(texts), pid };
    Ok(client.fetch_jwtsvi_ds(request).await?.into_inner().svids)
}

#[tokio::test]
async fn a_target_is_selectors_or_a_process_and_not_both() {
    let world = World::start().await;
    let mut client = client(&world).await;
    refused(subscribe(&mut client, &[], 0).await, Code::InvalidArgument, ONE_OF);
    refused(subscribe(&mut client, &["a:b"], 1).await, Code::InvalidArgument, ONE_OF);
    refused(tokens(&mut client, &["x"], &[], 0).await, Code::InvalidArgument, ONE_OF);
    refused(tokens(&mut client, &["x"], &["a:b"], 1).await, Code::InvalidArgument, ONE_OF);
    for bad in [("", "b"), ("a", ""), ("a:b", "c")] {
        let selectors = vec![types::Selector { r#type: bad.0.to_owned(), value: bad.1.to_owned() }];
        let request = wire::SubscribeToX509sviDsRequest { selectors, pid: 0 };
        let text = "could not parse provided selectors";
        refused(client.subscribe_to_x509svi_ds(request).await, Code::InvalidArgument, text);
    }
    let gone = "workload attestation failed";
    for pid in [-1, i32::MIN, i32::MAX] {
        refused(subscribe(&mut client, &[], pid).await, Code::Unavailable, gone);
    }
}

#[tokio::test]
async fn a_process_is_attested_and_its_stream_ends_with_it() {
    let world = World::start().await;
    let mut client = client(&world).await;
    let mut process = Process::start();
    let pid = process.pid();
    world.server.add_entry("theirs", "/theirs", &[&format!("test:pid:{pid}")]);
    let mut stream = subscribe(&mut client, &[], pid).await.unwrap();
    while paths(&next(&mut stream).await) != ["/theirs"] {}
    assert_eq!(tokens(&mut client, &["x"], &[], pid).await.unwrap()[0].id.clone().unwrap().path, "/theirs");
    process.end();
    refused(message(&mut stream).await, Code::Unavailable, "workload attestation failed");
    refused(tokens(&mut client, &["x"], &[], pid).await, Code::Unavailable, "workload attestation failed");
}

#[tokio::test]
async fn bundles_are_all_that_the_agent_holds_and_none_that_it_holds_no_more() {
    let world = World::start().await;
    let mut client = client(&world).await;
    let foreign = TrustDomain::parse("other.test").unwrap();
    let mut x509 = client.subscribe_to_x509_bundles(wire::SubscribeToX509BundlesRequest {}).await.unwrap().into_inner();
    let mut jwt = client.subscribe_to_jwt_bundles(wire::SubscribeToJwtBundlesRequest {}).await.unwrap().into_inner();
    let own = world.server.state().bundle.x509_authorities[0].certificate.clone();
    let expected = BTreeMap::from([("spiffe://example.org".to_owned(), own.clone())]);
    assert_eq!(next(&mut x509).await.ca_certificates, expected);
    let sets = next(&mut jwt).await.bundles;
    assert_eq!(sets.keys().collect::<Vec<_>>(), ["spiffe://example.org"]);
    let set = String::from_utf8(sets["spiffe://example.org"].clone()).unwrap();
    assert!(set.contains("\"kid\"") && !set.contains("\"use\""), "{set}");

    // An entry that this process does not match: the delegate sees the bundle all the same.
    let authority = Authority::new(&foreign, 1_800_000_000).bundle();
    world.server.state().foreign.insert(foreign.clone(), authority.clone());
    world.server.add_entry("web", "/web", &["k8s:ns:web"]);
    world.change("web", |entry| entry.federates_with = vec![foreign.clone()]);
    let both = next(&mut x509).await.ca_certificates;
    assert_eq!(both["spiffe://other.test"], authority.x509_authorities[0].certificate);

    // Emptied: the key goes, and no empty bytes come.
    world.server.state().foreign.insert(foreign.clone(), Bundle::empty(foreign.clone()));
    assert_eq!(next(&mut x509).await.ca_certificates, expected);
    world.server.state().foreign.insert(foreign.clone(), authority);
    assert_eq!(next(&mut x509).await.ca_certificates.len(), 2);
    world.server.state().entries.remove("web");
    assert_eq!(next(&mut x509).await.ca_certificates, expected);
}

#[tokio::test]
async fn tokens_are_of_each_entry_that_a_delegate_may_have() {
    let world = World::start().await;
    let mut client = client(&world).await;
    for (id, path) in [("a", "/a"), ("b", "/b"), ("c", "/c"), ("d", "/d")] {
        world.server.add_entry(id, path, &["k8s:ns:web"]);
    }
    world.change("b", |entry| entry.admin = true);
    world.change("c", |entry| entry.downstream = true);
    // Hints stay as they are: the delegate acts for many.
    world.change("a", |entry| entry.hint = "same".to_owned());
    world.change("d", |entry| entry.hint = "same".to_owned());
    refused(tokens(&mut client, &[], &["k8s:ns:web"], 0).await, Code::InvalidArgument, "audience must be specified");
    let mut svids = Vec::new();
    for _ in 0..500 {
        match tokens(&mut client, &["x", "y"], &["k8s:ns:web"], 0).await {
            Ok(found) => svids = found,
            Err(status) => assert_eq!((status.code(), status.message()), (Code::PermissionDenied, NO_IDENTITY)),
        }
        if svids.len() == 2 && svids.iter().all(|svid| svid.hint == "same") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let paths: Vec<_> = svids.iter().map(|svid| svid.id.clone().unwrap().path).collect();
    assert_eq!(paths, ["/a", "/d"]);
    for svid in &svids {
        let jwt = plastron_spiffe::jwt::UnverifiedJwt::parse(&svid.token).unwrap();
        assert_eq!(jwt.claimed_audience(), ["x", "y"]);
        assert_eq!(i64::try_from(jwt.claimed_expires_at()).unwrap(), svid.expires_at);
        assert_eq!(i64::try_from(jwt.claimed_issued_at().unwrap()).unwrap(), svid.issued_at);
        assert_eq!(svid.hint, "same");
    }
    refused(tokens(&mut client, &["x"], &["k8s:ns:none"], 0).await, Code::PermissionDenied, NO_IDENTITY);
}
