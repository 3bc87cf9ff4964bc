//! A machine with a TPM of its own, and the agent on it.

use std::sync::Arc;

use plastron_attestation::{
    AkBlob, Attester, AttesterAction, AttesterContext, AttesterEvent, Claims, EkTemplate, TpmSvidKeys, perform,
};
use plastron_attestation_fake_tpm::event_log::LogBuilder;
use plastron_attestation_tcg::HashAlgorithm;
use plastron_hsm_tpm::{Tpm, TpmConfig};
use plastron_spiffe::TrustDomain;
use plastron_swtpm_tests::Swtpm;

use crate::index::{SVID_KEY, TRUST_DOMAIN};

/// PCR extensions of one command: tpm2 takes a few dozen.
const EXTENSIONS_OF_A_COMMAND: usize = 8;

/// The machine.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) template: EkTemplate,
    pub(crate) ak: Option<AkBlob>,
    pub(crate) event_log: Option<Arc<[u8]>>,
    device: Tpm,
    pub(crate) tpm: Swtpm,
}

impl Machine {
    pub(crate) fn new(name: &str, template: EkTemplate, tpm: Swtpm) -> Self {
        let device = Tpm::open(TpmConfig::new(tpm.tcti())).unwrap();
        Self { name: name.to_owned(), template, ak: None, event_log: None, device, tpm }
    }

    /// The same machine with a copy of the TPM's state and of the agent's files.
    pub(crate) fn copy(&self) -> Self {
        let mut copy = Self::new(&self.name, self.template, self.tpm.clone_state().unwrap());
        copy.ak = self.ak.clone();
        copy
    }

    /// Tells the TPM, whose PCRs are at zero, what the log says, and keeps the log.
    pub(crate) fn boot(&mut self, log: &LogBuilder) {
        let specification = |(pcr, digests): (u8, &[(HashAlgorithm, Vec<u8>)])| {
            let digest = |(bank, digest): &(HashAlgorithm, Vec<u8>)| format!("{}={}", bank.name(), hex::encode(digest));
            format!("{pcr}:{}", digests.iter().map(digest).collect::<Vec<_>>().join(","))
        };
        let extensions: Vec<String> = log.extensions().map(specification).collect();
        for some in extensions.chunks(EXTENSIONS_OF_A_COMMAND) {
            let arguments: Vec<&str> = std::iter::once("pcrextend").chain(some.iter().map(String::as_str)).collect();
            self.tpm.tpm2(&arguments).unwrap();
        }
        self.event_log = Some(Arc::from(log.bytes()));
    }

    pub(crate) fn attester(&self) -> Attester {
        Attester::new(AttesterContext {
            template: self.template,
            trust_domain: TrustDomain::parse(TRUST_DOMAIN).unwrap(),
            svid_public_key: SVID_KEY.to_vec(),
            claims: Claims { claimed_host_name: Some(self.name.clone()), ..Claims::default() },
            ak: self.ak.clone(),
            ek: None,
            event_log: self.event_log.clone(),
            svid_key: None,
        })
    }

    /// The payload.
    pub(crate) fn begin(&mut self, attester: &mut Attester) -> Vec<u8> {
        self.step(attester, AttesterEvent::Begin)
    }

    /// The response.
    pub(crate) fn answer(&mut self, attester: &mut Attester, challenge: &[u8]) -> Vec<u8> {
        self.step(attester, AttesterEvent::Challenge(challenge))
    }

    /// The agent keeps a new AK.
    pub(crate) fn admitted(&mut self, attester: &mut Attester) {
        if let AttesterAction::Keep(ak) = attester.step(AttesterEvent::Admitted).unwrap() {
            self.ak = Some(ak);
        }
    }

    /// A certification of another key by the AK, under the extraData of nothing: what a quote is not.
    pub(crate) fn certify_svid_key(&mut self) -> (Vec<u8>, Vec<u8>) {
        let key = self.device.create_svid_key(self.template).unwrap();
        let ak = self.ak.as_ref().unwrap();
        let certified = self.device.certify_svid_key(self.template, ak, &key, &[0; 32]).unwrap();
        (certified.attest, certified.signature)
    }

    fn step(&mut self, attester: &mut Attester, event: AttesterEvent<'_>) -> Vec<u8> {
        let mut action = attester.step(event).unwrap();
        loop {
            match action {
                AttesterAction::Send(bytes) => return bytes,
                AttesterAction::Tpm(request) => {
                    let reply = perform(&mut self.device, self.template, request).unwrap();
                    action = attester.step(AttesterEvent::Tpm(reply)).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
