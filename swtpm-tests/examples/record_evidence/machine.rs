//! A machine with a TPM of its own, and the agent on it.

use std::sync::Arc;

use plastron_attestation::{
    AkBlob, Attester, AttesterAction, AttesterContext, AttesterEvent, CertifyRequest, Claims, EkTemplate, SvidKeyBlob,
    TpmSvidKeys, perform, perform_certify,
};
use plastron_attestation_fake_tpm::event_log::LogBuilder;
use plastron_attestation_tcg::HashAlgorithm;
use plastron_hsm_tpm::{Tpm, TpmConfig};
use plastron_spiffe::TrustDomain;
use plastron_swtpm_tests::Swtpm;

use crate::index::TRUST_DOMAIN;
use crate::server::csr_key;

/// PCR extensions of one command: tpm2 takes a few dozen.
const EXTENSIONS_OF_A_COMMAND: usize = 8;

/// What an agent does that lies about the key of its SVID.
#[derive(Clone)]
pub(crate) enum Trick {
    /// It has the AK certify this key, and not the one that it shows.
    Certify(SvidKeyBlob),
    /// It resets the machine between certification and quote.
    Reset(Box<LogBuilder>),
}

/// The machine.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) template: EkTemplate,
    pub(crate) ak: Option<AkBlob>,
    pub(crate) event_log: Option<Arc<[u8]>>,
    /// The key of its SVID, where the TPM keeps it.
    pub(crate) svid_key: Option<SvidKeyBlob>,
    pub(crate) trick: Option<Trick>,
    device: Tpm,
    pub(crate) tpm: Swtpm,
}

impl Machine {
    pub(crate) fn new(name: &str, template: EkTemplate, tpm: Swtpm) -> Self {
        let device = Tpm::open(TpmConfig::new(tpm.tcti())).unwrap();
        let name = name.to_owned();
        Self { name, template, ak: None, event_log: None, svid_key: None, trick: None, device, tpm }
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
            svid_public_key: csr_key(self.svid_key.as_ref().map(|key| key.public.as_slice())),
            claims: Claims { claimed_host_name: Some(self.name.clone()), ..Claims::default() },
            ak: self.ak.clone(),
            ek: None,
            event_log: self.event_log.clone(),
            svid_key: self.svid_key.clone(),
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

    /// The TPM makes a key for the SVID.
    pub(crate) fn create_svid_key(&mut self) -> SvidKeyBlob {
        self.device.create_svid_key(self.template).unwrap()
    }

    /// An RSA-2048 AK, which our agent makes only where a TPM has no P-256. tpm2-tools make it here, under the P-256 EK of the low range.
    pub(crate) fn create_rsa_ak(&mut self) {
        self.tpm.tpm2(&["createek", "-G", "ecc", "-c", "ek.ctx", "-Q"]).unwrap();
        let ak = ["createak", "-C", "ek.ctx", "-G", "rsa", "-g", "sha256", "-s", "rsassa", "-c", "ak.ctx", "-Q"];
        self.tpm.tpm2(&[&ak[..], &["-r", "ak.private", "-u", "ak.tpm2b", "-f", "tss"]].concat()).unwrap();
        let read = |name: &str| std::fs::read(self.tpm.directory().join(name)).unwrap();
        // The public part is a TPM2B_PUBLIC; without its size it is the TPMT_PUBLIC.
        self.ak = Some(AkBlob { private: read("ak.private"), public: read("ak.tpm2b").split_off(2) });
        self.tpm.tpm2(&["flushcontext", "-t"]).unwrap();
        self.tpm.tpm2(&["flushcontext", "-s"]).unwrap();
    }

    /// A certification of another key by the AK, under the extraData of nothing: what a quote is not.
    pub(crate) fn certify_svid_key(&mut self) -> (Vec<u8>, Vec<u8>) {
        let key = self.create_svid_key();
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
                AttesterAction::Certify(mut request) => {
                    if let Some(Trick::Certify(key)) = &self.trick {
                        request = CertifyRequest { key: key.clone(), ..request };
                    }
                    let reply = perform_certify(&mut self.device, self.template, request).unwrap();
                    if let Some(Trick::Reset(log)) = self.trick.take() {
                        self.tpm.reboot().unwrap();
                        self.boot(&log);
                    }
                    action = attester.step(AttesterEvent::Tpm(reply)).unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
