//! CA and JWT keys of every type in every key store: on disk, in a PKCS#11 token, in a TPM. Certificates are verified by openssl, and the same
//! authorities go on after a restart.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plastron_hsm::{KeyInventory, KeyStoreError, KeyType};
use plastron_hsm_soft::SoftStore;
use plastron_hsm_tpm::{SharedTpm, TpmConfig, TpmStore};
use plastron_server_core::audit::{AuditLine, AuditSink, AuditSinkError};
use plastron_server_core::authorization::{Caller, LocalPeer, Permit, Rpc, rpc};
use plastron_server_core::ca::{CaConfig, CaKeys, CaSubject};
use plastron_server_core::clock::{Clock, SystemClock};
use plastron_server_core::ledger::Ledger;
use plastron_server_core::{Services, ServicesConfig, StartError};
use plastron_server_store::SqliteStore;
use plastron_spiffe::jwt::validate;
use plastron_spiffe::{SpiffeId, TrustDomain};
use plastron_swtpm_tests::{Swtpm, in_own_process, run, tool};

use crate::fault_proxy::{block_on, store};

/// Each with the words of openssl for its key and for what it signs with.
const ALL: [(KeyType, &str, &str, &str); 4] = [
    (KeyType::EcP256, "(256 bit)", "ecdsa-with-SHA256", "ES256"),
    (KeyType::EcP384, "(384 bit)", "ecdsa-with-SHA384", "ES384"),
    (KeyType::Rsa2048, "(2048 bit)", "sha256WithRSAEncryption", "RS256"),
    (KeyType::Rsa4096, "(4096 bit)", "sha256WithRSAEncryption", "RS256"),
];

struct Written;

#[async_trait]
impl AuditSink for Written {
    async fn write(&self, _lines: &[AuditLine]) -> Result<(), AuditSinkError> {
        Ok(())
    }

    fn state(&self) -> Result<(), AuditSinkError> {
        Ok(())
    }
}

async fn start(keys: &Arc<dyn KeyInventory>, directory: &Path, key_type: KeyType) -> Result<Arc<Services>, StartError> {
    let config = ServicesConfig {
        ca: CaConfig {
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            key_type,
            jwt_key_type: key_type,
            ttl: Duration::from_secs(24 * 3600),
            subject: CaSubject::default(),
            jwt_issuer: None,
            disable_jwt_svids: false,
        },
        admin_ids: Vec::new(),
        agent_ttl: Duration::from_secs(3600),
        default_x509_svid_ttl: Duration::from_secs(3600),
        default_jwt_svid_ttl: Duration::from_secs(300),
    };
    let database = Arc::new(SqliteStore::open(&directory.join("store.sqlite3")).await.unwrap());
    let ledger = Ledger::open(database).await.unwrap();
    let keys = CaKeys::destructible(Arc::clone(keys));
    Services::start(config, ledger, keys, Vec::new(), Arc::new(SystemClock), Arc::new(Written)).await
}

async fn permit<R: Rpc>(services: &Services) -> Permit<R> {
    let local = Caller::Local(LocalPeer { pid: Some(1), uid: 0, gid: 0 });
    services.authorizer.authorize::<R>(&local).await.unwrap()
}

fn write_pem(path: &Path, certificate: &[u8]) {
    let text = STANDARD.encode(certificate);
    fs::write(path, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")).unwrap();
}

async fn issues_both(keys: Arc<dyn KeyInventory>, (key_type, bits, signature, jwt): (KeyType, &str, &str, &str)) {
    let directory = tempfile::tempdir().unwrap();
    let id = SpiffeId::parse("spiffe://example.org/workload").unwrap();
    let mut authorities = Vec::new();
    // And once more after a restart.
    for _ in 0..2 {
        let services = start(&keys, directory.path(), key_type).await.unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names.push(rcgen::SanType::URI(id.as_str().try_into().unwrap()));
        let csr = params.serialize_request(&key).unwrap();
        let may = permit::<rpc::MintX509Svid>(&services).await;
        let svid = services.minting.mint_x509_svid(may, csr.der(), 0).await.unwrap();
        let bundle = services.bundles.current();
        let [root] = bundle.x509_authorities.as_slice() else { panic!("{:?}", bundle.x509_authorities) };
        write_pem(&directory.path().join("root.pem"), &root.certificate);
        write_pem(&directory.path().join("leaf.pem"), svid.chain.first().unwrap());
        let openssl = |arguments: &[&str]| {
            let output =
                run(Command::new(tool("openssl").unwrap()).args(arguments).current_dir(directory.path())).unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        openssl(&["verify", "-x509_strict", "-CAfile", "root.pem", "leaf.pem"]);
        let root = openssl(&["x509", "-in", "root.pem", "-noout", "-text"]);
        assert!(root.contains(bits) && root.contains(signature), "{key_type:?}: {root}");
        assert!(openssl(&["x509", "-in", "leaf.pem", "-noout", "-text"]).contains(signature));

        let may = permit::<rpc::MintJwtSvid>(&services).await;
        let token = services.minting.mint_jwt_svid(may, &id, vec!["db".to_owned()], 0).await.unwrap();
        let validated = validate(&token.token, "db", bundle.as_ref(), SystemClock.now()).unwrap();
        assert_eq!(*validated.id(), id);
        let authority = services.ca.jwt_authority().unwrap();
        assert_eq!(authority.algorithm().as_str(), jwt);
        services.health.check().await.unwrap();
        let may = permit::<rpc::ListUnreferencedKeys>(&services).await;
        assert!(services.orphans.list(may).await.unwrap().is_empty());
        authorities.push((svid.authority_id.clone(), authority.authority_id().to_owned()));
    }
    assert_eq!(authorities.first(), authorities.last(), "{key_type:?}: a restart made new authorities");
    assert_eq!(keys.list().await.unwrap().len(), 2, "{key_type:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_type_on_disk_run_a_ca() {
    for row in ALL {
        let directory = tempfile::tempdir().unwrap();
        issues_both(Arc::new(SoftStore::on_disk(&directory.path().join("keys")).unwrap()), row).await;
    }
}

#[test]
fn keys_of_every_type_in_a_token_run_a_ca() {
    in_own_process(|token| {
        block_on(async {
            for row in ALL {
                let instance = row.0.as_str();
                issues_both(Arc::new(store(&token, instance, 2, Duration::from_secs(60))), row).await;
            }
        });
    })
    .unwrap();
}

/// A TPM has no RSA-4096: the server that is told to use it does not start, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_type_that_a_tpm_has_run_a_ca() {
    let tpm = Swtpm::start().unwrap();
    let shared = SharedTpm::open(TpmConfig::new(tpm.tcti())).unwrap();
    for row in ALL {
        let directory = tempfile::tempdir().unwrap();
        let keys: Arc<dyn KeyInventory> =
            Arc::new(TpmStore::open(shared.clone(), &directory.path().join("keys")).unwrap());
        if row.0 != KeyType::Rsa4096 {
            issues_both(keys, row).await;
            continue;
        }
        let refused = start(&keys, directory.path(), row.0).await.map(|_services| ()).unwrap_err();
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&refused);
        let mut named = false;
        while let Some(error) = next {
            named |= matches!(
                error.downcast_ref(),
                Some(KeyStoreError::UnsupportedKeyType { key_type: KeyType::Rsa4096, .. })
            );
            next = error.source();
        }
        assert!(named, "{refused:?}");
        assert!(keys.list().await.unwrap().is_empty());
    }
}
