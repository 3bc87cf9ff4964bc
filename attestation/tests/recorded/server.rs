//! A server that judges recorded conversations and remembers one machine, as it did when they took place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plastron_attestation::{
    KnownTpm, Payload, Refused, Standing, Verifier, VerifierAction, VerifierEvent, VerifierPolicy,
};
use plastron_attestation_appraise::{
    AttestedNode, DenyList, EkFingerprint, EkPin, EkTrust, EnrolledTpm, Pool, PoolConfig, TrustAnchors,
    spki_of_public_area,
};
use plastron_spiffe::TrustDomain;
use rustls_pki_types::UnixTime;

use crate::index::{Row, SVID_KEY, TRUST_DOMAIN, Trust};

/// Policy and memory.
pub(crate) struct Server {
    pub(crate) policy: VerifierPolicy,
    pub(crate) record: Option<EnrolledTpm>,
    pub(crate) standing: Standing,
    /// SubjectPublicKeyInfo of the CSR that comes with the conversation.
    pub(crate) csr_key: Vec<u8>,
    logs: BTreeMap<[u8; 32], Vec<u8>>,
}

impl Server {
    /// A server whose only pool trusts the EK of this conversation as its row says.
    pub(crate) fn new(row: &Row, payload: &[u8], anchors: TrustAnchors) -> Self {
        let config = pool_config(row, payload, anchors);
        Self {
            policy: VerifierPolicy { pools: vec![Pool::new(config).unwrap()], deny: DenyList::default() },
            record: None,
            standing: Standing::Enrolled,
            csr_key: csr_key_of(payload),
            logs: BTreeMap::new(),
        }
    }

    /// The verifier of that conversation.
    pub(crate) fn verifier(&self, row: &Row) -> Verifier {
        let trust_domain = TrustDomain::parse(TRUST_DOMAIN).unwrap();
        Verifier::new(Arc::new(self.policy.clone()), trust_domain, self.csr_key.clone(), row.entropy())
    }

    /// Payload to challenge.
    pub(crate) fn challenge(&self, verifier: &mut Verifier, payload: &[u8], now: u64) -> Result<Vec<u8>, Box<Refused>> {
        let action = verifier.step(VerifierEvent::Payload(payload), time(now))?;
        let VerifierAction::LookUp { ak_name, claimed_ek } = action else { panic!("{action:?}") };
        let known =
            |record: &EnrolledTpm| KnownTpm { enrolled: Arc::new(record.clone()), standing: self.standing.clone() };
        let is_ak = |record: &&EnrolledTpm| record.ak_name().as_ref() == Some(&ak_name);
        let is_ek = |record: &&EnrolledTpm| EkFingerprint::of_bytes(&record.ek_public) == Ok(claimed_ek);
        let by_ak = self.record.as_ref().filter(is_ak).map(known);
        let by_ek = self.record.as_ref().filter(is_ek).map(known);
        match verifier.step(VerifierEvent::Known { by_ak, by_ek }, time(now))? {
            VerifierAction::Challenge(bytes) => Ok(bytes),
            other => panic!("{other:?}"),
        }
    }

    /// Response to verdict. The server remembers whom it admits.
    pub(crate) fn conclude(
        &mut self,
        verifier: &mut Verifier,
        response: &[u8],
        now: u64,
    ) -> Result<Box<AttestedNode>, Box<Refused>> {
        let mut action = verifier.step(VerifierEvent::Response(response), time(now))?;
        if let VerifierAction::FetchLog { announced } = &action {
            let kept = self.logs.get(&announced.sha256).cloned();
            action = verifier.step(VerifierEvent::StoredLog(kept), time(now))?;
        }
        match action {
            VerifierAction::Admit(node) => {
                self.remember(&node);
                Ok(node)
            }
            other => panic!("{other:?}"),
        }
    }

    /// What the store keeps of an admission.
    pub(crate) fn remember(&mut self, node: &AttestedNode) {
        self.record = Some(node.enrolled_tpm().clone());
        self.logs.extend(node.event_log().map(|log| (*log.sha256(), log.bytes().to_vec())));
    }
}

/// The key of a CSR: the one that is in the TPM, whose TPMT_PUBLIC this is, or one whose looks do not matter.
pub(crate) fn csr_key(resident: Option<&[u8]>) -> Vec<u8> {
    resident.map_or_else(|| SVID_KEY.to_vec(), |public| spki_of_public_area(public).unwrap())
}

/// The key of the CSR that comes with an honest payload.
pub(crate) fn csr_key_of(payload: &[u8]) -> Vec<u8> {
    csr_key(Payload::decode(payload).unwrap().svid_key.as_deref())
}

/// The pool of a row.
pub(crate) fn pool_config(row: &Row, payload: &[u8], anchors: TrustAnchors) -> PoolConfig {
    let trust = match row.trust {
        Trust::Certificate => EkTrust::Chain(anchors),
        Trust::Pin => {
            let fingerprint = EkFingerprint::of_bytes(&Payload::decode(payload).unwrap().ek_public).unwrap();
            EkTrust::Pin(vec![EkPin {
                fingerprint,
                added_by: "alice".to_owned(),
                added_at: row.time,
                reason: "a machine of the test bed".to_owned(),
                obtained: "read at the console".to_owned(),
                expires: None,
            }])
        }
    };
    let mut config = PoolConfig::new("recorded", trust);
    config.ek_template = row.template;
    config
}

pub(crate) fn time(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
