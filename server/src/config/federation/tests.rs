//! The `federation` block of SPIRE's files, and what is refused in it.

use super::*;
use crate::config::tests::{PLUGINS, load_text, with};

fn read(block: &str) -> Result<(FederationSettings, Vec<String>), String> {
    let settings = load_text(&with(&format!("federation {{\n{block}\n}}"), PLUGINS), |_| {})?;
    Ok((settings.federation, settings.warnings))
}

#[test]
fn both_profiles_on_both_sides() {
    let (settings, warnings) = read(
        r#"bundle_endpoint {
               address = "0.0.0.0"
               port = 8443
               refresh_hint = "10m"
               profile "https_spiffe" {}
           }
           federates_with "domain1.test" {
               bundle_endpoint_url = "https://1.2.3.4:8443"
               bundle_endpoint_profile "https_web" {}
           }
           federates_with "spiffe://domain2.test" {
               bundle_endpoint_url = "https://domain2.test/bundle"
               bundle_endpoint_profile "https_spiffe" { endpoint_spiffe_id = "spiffe://domain3.test/beserver" }
           }"#,
    )
    .unwrap();
    assert_eq!(warnings, [""; 0]);
    let endpoint = settings.endpoint.unwrap();
    assert_eq!((endpoint.address.unwrap().to_string().as_str(), endpoint.port), ("0.0.0.0", 8443));
    assert_eq!((endpoint.refresh_hint, endpoint.presents), (Duration::from_secs(600), Presents::Svid));
    let url = |text| BundleEndpointUrl::parse(text).unwrap();
    let id = SpiffeId::parse("spiffe://domain3.test/beserver").unwrap();
    assert_eq!(
        settings.federates_with,
        [
            FederationRelationship {
                trust_domain: TrustDomain::parse("domain1.test").unwrap(),
                bundle_endpoint_url: url("https://1.2.3.4:8443"),
                profile: EndpointProfile::HttpsWeb,
            },
            FederationRelationship {
                trust_domain: TrustDomain::parse("domain2.test").unwrap(),
                bundle_endpoint_url: url("https://domain2.test/bundle"),
                profile: EndpointProfile::HttpsSpiffe { id },
            },
        ]
    );
}

#[test]
fn certificate_files_need_no_interval() {
    for (interval, seconds) in [
        ("", 3600),
        ("file_sync_interval = \"\"", 3600),
        ("file_sync_interval = \"0s\"", 3600),
        ("file_sync_interval = \"5m\"", 300),
        ("file_sync_interval = \"1ms\"", 1),
    ] {
        let files = format!(r#"cert_file_path = "c.pem" key_file_path = "k.pem" {interval}"#);
        let block =
            format!("bundle_endpoint {{ port = 1 profile \"https_web\" {{ serving_cert_file {{ {files} }} }} }}");
        let (settings, _) = read(&block).unwrap();
        let (certificate, key) = ("c.pem".into(), "k.pem".into());
        let expected = CertificateFiles { certificate, key, interval: Duration::from_secs(seconds) };
        assert!(settings.check().is_err(), "the files are not there");
        assert_eq!(settings.endpoint.unwrap().presents, Presents::Files(expected), "{interval}");
    }
}

#[test]
fn what_spire_warns_of() {
    let warned = |block: &str| read(block).unwrap().1.join("\n");
    assert!(warned("bundle_endpoint { port = 1 }").contains("has no profile set, using https_spiffe as default"));
    let hint = |hint| {
        warned(&format!("bundle_endpoint {{ port = 1 refresh_hint = \"{hint}\" profile \"https_spiffe\" {{}} }}"))
    };
    assert!(hint("24h").contains("set to a high value") && hint("59s").contains("set too low"));
    assert_eq!((hint("1m"), hint("23h")), (String::new(), String::new()));
    assert_eq!(read("").unwrap().0.endpoint.map(|endpoint| endpoint.port), None);
    let (settings, warnings) = read("bundle_endpoint { profile \"https_spiffe\" {} }").unwrap();
    assert!(warnings.join("").contains("no port"));
    let endpoint = settings.endpoint.unwrap();
    assert_eq!((endpoint.address, endpoint.refresh_hint), (None, Duration::from_secs(300)));
}

#[test]
fn what_can_not_be_used_is_named_with_its_place() {
    let web = |inside: &str| format!("bundle_endpoint {{ port = 1 profile \"https_web\" {{ {inside} }} }}");
    let with_url = |url: &str| {
        format!(
            "federates_with \"other.test\" {{ bundle_endpoint_url = \"{url}\" bundle_endpoint_profile \"https_web\" {{}} }}"
        )
    };
    let with_profile = |profile: &str| {
        format!("federates_with \"other.test\" {{ bundle_endpoint_url = \"https://other.test\" {profile} }}")
    };
    for (block, said) in [
        (web("acme { domain_name = \"example.org\" email = \"a@example.org\" }"), "has no ACME yet"),
        ("bundle_endpoint { port = 1 acme { domain_name = \"example.org\" } }".to_owned(), "has no ACME yet"),
        (web(""), "'acme' or 'serving_cert_file' is required"),
        (web("serving_cert_file { cert_file_path = \"c.pem\" }"), "key_file_path must be configured"),
        (web("serving_cert_file { key_file_path = \"c.pem\" }"), "cert_file_path must be configured"),
        ("bundle_endpoint { port = 1 profile \"bogus\" {} }".to_owned(), "unknown bundle endpoint profile configured"),
        (
            "bundle_endpoint { port = 1 profile \"https_spiffe\" {} profile \"https_web\" {} }".to_owned(),
            "exactly one bundle endpoint profile is expected",
        ),
        ("bundle_endpoint { address = \"localhost\" }".to_owned(), "an IP address is expected"),
        ("bundle_endpoint { port = 70000 }".to_owned(), "server.federation.bundle_endpoint.port"),
        ("bundle_endpoint { refresh_hint = \"soon\" }".to_owned(), "expected a duration"),
        ("bundle_endpoint { bogus = 1 }".to_owned(), "unknown key server.federation.bundle_endpoint.bogus"),
        (with_url("http://other.test"), "must use the HTTPS protocol; URL found: \"http://other.test\""),
        (with_url("https://user:secret@other.test"), "must not contain user info"),
        (with_url("https://"), "must specify the host"),
        (with_profile(""), "missing bundle endpoint configuration"),
        (with_profile("bundle_endpoint_profile \"bogus\" {}"), "no bundle endpoint profile defined"),
        (with_profile("bundle_endpoint_profile \"https_spiffe\" {}"), "endpoint_spiffe_id must be configured"),
        (
            with_profile("bundle_endpoint_profile \"https_spiffe\" { endpoint_spiffe_id = \"other.test\" }"),
            "could not get endpoint SPIFFE ID",
        ),
        (
            "federates_with \"other.test\" { bundle_endpoint_profile \"https_web\" {} }".to_owned(),
            "bundle_endpoint_url must be configured",
        ),
        (with_url("https://other.test").replace("other.test\" {", "UPPER\" {"), "server.conf:5:"),
        (with_url("https://other.test").replace("other.test\" {", "example.org\" {"), "own trust domain"),
        (
            with_url("https://other.test")
                + "\n"
                + &with_url("https://other.test").replacen("other", "spiffe://other", 1),
            "named twice",
        ),
    ] {
        let refused = read(&block).map(|(settings, _)| settings).unwrap_err();
        assert!(refused.contains(said) && refused.contains("server.conf:"), "{block}: {refused}");
    }
}
