//! A node enrols with a join token; its workload's SVID is what openssl and a foreign client take.

use std::os::unix::fs::PermissionsExt;

use spiffe::X509Source;

use super::testbed::{TRUST_DOMAIN, Testbed, openssl, own_uid, path_of, workload_program};

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_of_a_node_with_a_join_token_gets_an_svid_that_others_accept() {
    let bed = Testbed::start("");
    let token = bed.join_token();
    let mut agent = bed.spawn_agent(&token);
    agent.0.wait_until_ready().unwrap();
    let node = bed.only_node();
    assert_eq!(node, format!("spiffe://{TRUST_DOMAIN}/spire/agent/join_token/{token}"));

    // No entry, no identity, and an exit code that says so.
    let web = workload_program(bed.path("").as_path(), "web");
    let denied = agent.fetch_as(&web, &[]);
    assert_eq!(denied.status.code(), Some(4), "{denied:?}");
    assert!(String::from_utf8_lossy(&denied.stderr).contains("no identity issued"), "{denied:?}");

    bed.entry(&node, "/web", &[&own_uid(), &path_of(&web)], &["-dns", "web.test"]);
    agent.await_id(&web, "/web");
    let out = bed.path("svid");
    std::fs::create_dir(&out).unwrap();
    let fetched = agent.fetch_as(&web, &["-write", out.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&fetched.stdout).starts_with("Received 1 svid after "), "{fetched:?}");
    let file = |name: &str| out.join(name).to_str().unwrap().to_owned();
    let (svid, key, bundle) = (file("svid.0.pem"), file("svid.0.key"), file("bundle.0.pem"));
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    for purpose in ["sslclient", "sslserver"] {
        openssl(["verify", "-x509_strict", "-purpose", purpose, "-CAfile", &bundle, "-untrusted", &svid, &svid]);
    }
    let text = openssl(["x509", "-in", &svid, "-noout", "-ext", "subjectAltName"]);
    assert!(text.contains(&format!("URI:spiffe://{TRUST_DOMAIN}/web")), "{text}");
    assert!(text.contains("DNS:web.test"), "{text}");
    assert_eq!(openssl(["x509", "-in", &svid, "-noout", "-pubkey"]), openssl(["pkey", "-in", &key, "-pubout"]));

    // This very process is another workload: not of that path, so nothing until it has an entry of its own.
    let own = std::env::current_exe().unwrap();
    bed.entry(&node, "/test", &[&own_uid(), &path_of(&own)], &[]);
    let socket = format!("unix://{}", agent.socket().display());
    let source = spiffe::X509SourceBuilder::new().endpoint(socket).build().await.unwrap();
    let id = source.svid().unwrap().spiffe_id().to_string();
    assert_eq!(id, format!("spiffe://{TRUST_DOMAIN}/test"));
    X509Source::shutdown(&source).await;
}
