//! Stores in temporary directories, and what goes into them.

use std::path::PathBuf;
use std::sync::Arc;

use plastron_attestation_appraise::{Claims, ENROLLED_TPM_VERSION, EnrolledTpm, TpmState};
use plastron_server_core::store::{AdmissionRecord, NodeSvid, TpmAdmission};
use plastron_server_store::SqliteStore;
use plastron_spiffe::x509::SerialNumber;
use plastron_spiffe::{RegistrationEntry, Selector, SpiffeId, TrustDomain};
use tempfile::TempDir;

pub(crate) const NOW: i64 = 1_780_272_000;

pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("data/datastore.sqlite3")
    }

    pub(crate) async fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path()).await.unwrap()
    }

    /// Runs SQL on the file, behind the store's back.
    pub(crate) async fn tamper(&self, sql: &'static str) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.path());
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
        pool.close().await;
    }
}

pub(crate) fn id(path: &str) -> SpiffeId {
    TrustDomain::parse("example.org").unwrap().with_path(path).unwrap()
}

pub(crate) fn entry(name: &str) -> RegistrationEntry {
    RegistrationEntry {
        id: name.to_owned(),
        spiffe_id: id(&format!("/{name}")),
        parent_id: id("/spire/agent/a"),
        selectors: vec![Selector::parse("unix:uid:1000").unwrap(), Selector::parse("unix:user:a:b\"c\\").unwrap()],
        x509_svid_ttl: u32::MAX,
        jwt_svid_ttl: 5,
        federates_with: Vec::new(),
        admin: true,
        downstream: false,
        expires_at: 7,
        dns_names: vec!["a.example.org".to_owned(), "b.example.org".to_owned()],
        revision_number: 0,
        store_svid: true,
        hint: "internal".to_owned(),
        created_at: NOW,
        disable_x509_svid_prefetch: true,
        jwt_svid_include_jti: true,
    }
}

pub(crate) fn svid(number: u8, not_after: u64) -> NodeSvid {
    NodeSvid { serial: SerialNumber::from_random([number; 16]), not_after }
}

/// TPMT_PUBLIC of an ECDSA P-256 key whose coordinates are all `fill`.
fn public_area(fill: u8) -> Vec<u8> {
    let mut area = vec![0x00, 0x23, 0x00, 0x0b, 0x00, 0x05, 0x00, 0x72, 0x00, 0x00, 0x00, 0x10, 0x00, 0x18, 0x00, 0x0b];
    area.extend([0x00, 0x03, 0x00, 0x10]);
    for _coordinate in 0..2 {
        area.extend([0x00, 0x20]);
        area.extend([fill; 32]);
    }
    area
}

pub(crate) fn tpm(ek: u8, ak: u8, reset_count: u32) -> Arc<EnrolledTpm> {
    Arc::new(EnrolledTpm {
        version: ENROLLED_TPM_VERSION,
        pool: "metal".to_owned(),
        ek_public: public_area(ek),
        ek_certificate: None,
        ek_intermediates: Vec::new(),
        ak_public: public_area(ak),
        retired_ak_names: Vec::new(),
        state: TpmState { reset_count, restart_count: 0, clock: 1, safe: true, firmware_version: 2 },
        event_log_sha256: None,
        resident_svid_key: None,
        claimed: Claims::default(),
        enrolled_at: 1,
        attested_at: 1,
    })
}

/// A TPM node that attests: its new record, and the one that it was judged against.
pub(crate) fn attested(
    path: &str,
    serial: u8,
    enrolled: &Arc<EnrolledTpm>,
    judged_against: Option<&Arc<EnrolledTpm>>,
) -> AdmissionRecord {
    AdmissionRecord {
        id: id(path),
        attestation_type: "tpm".to_owned(),
        svid: svid(serial, u64::try_from(NOW).unwrap() + 3600),
        can_reattest: true,
        selectors: vec![Selector::parse("tpm:ek:1").unwrap()],
        tpm: Some(TpmAdmission {
            enrolled: Arc::clone(enrolled),
            judged_against: judged_against.cloned(),
            event_log: None,
        }),
        needs_approval: None,
        token: None,
        now: NOW,
    }
}
