//! Both halves of the attestor over their seams, with a TPM in memory and a real directory.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plastron_attestation::{
    AkBlob, CertifyBytes, EkMaterial, LogKind, PcrSelection, QuoteBytes, SvidKeyBlob, TpmDevice, TpmDeviceError,
    TpmSvidKeys,
};
use plastron_attestation_appraise::{AttestedNode, Check, CheckOutcome, MAX_EVENT_LOG_LEN};
use plastron_attestation_fake_tpm::event_log::LinuxBoot;
use plastron_attestation_fake_tpm::ima_list::{ImaListBuilder, Kernel};
use plastron_attestation_fake_tpm::{FakeTpm, Manufacturer, SharedFakeTpm};
use plastron_attestation_tcg::Name;
use plastron_plugins::node::{
    Admission, AdmissionContext, AgentAttestError, AgentContext, AgentConversation, AgentNodeAttestor, EnrolledTpms,
    HoldsSvidKey, KeptEventLogs, KeptEventLogsError, KnownTpm, NodeAttestor, NodeConversation, NodeStep, Refusal,
    RefusalCode, Standing,
};
use plastron_plugins_node_tpm::{
    AkStore, DenyList, EkFingerprint, EkTemplate, EkTrust, ImaPolicy, LogFiles, MissingEventLog, Pool, PoolConfig,
    TpmAgentAttestor, TpmNodeAttestor, TrustAnchors,
};
use plastron_spiffe::TrustDomain;
use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

const TEMPLATE: EkTemplate = EkTemplate::H3P384;

/// What the server remembers, of nodes and of their event logs.
#[derive(Default)]
struct Memory(Mutex<Vec<KnownTpm>>, Mutex<BTreeMap<[u8; 32], Vec<u8>>>, AtomicBool);

impl Memory {
    fn remember(&self, node: &AttestedNode) {
        let mut known = self.0.lock().unwrap();
        known.retain(|known| Some(&*known.enrolled) != node.judged_against());
        known.push(KnownTpm { enrolled: Arc::new(node.enrolled_tpm().clone()), standing: Standing::Enrolled });
        self.1.lock().unwrap().extend(node.event_log().map(|log| (*log.sha256(), log.bytes().to_vec())));
    }
}

#[async_trait::async_trait]
impl KeptEventLogs for Memory {
    async fn event_log(&self, sha256: &[u8; 32], len: u32) -> Result<Option<Vec<u8>>, KeptEventLogsError> {
        match self.2.load(Ordering::SeqCst) {
            true => Err(KeptEventLogsError { reason: "the disk is gone".to_owned() }),
            false => Ok(self.1.lock().unwrap().get(sha256).filter(|log| log.len() == len as usize).cloned()),
        }
    }
}

impl EnrolledTpms for Memory {
    fn by_ak_name(&self, ak_name: &Name) -> Option<KnownTpm> {
        self.0.lock().unwrap().iter().find(|known| known.enrolled.ak_name().as_ref() == Some(ak_name)).cloned()
    }

    fn by_ek(&self, fingerprint: &EkFingerprint) -> Option<KnownTpm> {
        let is = |known: &&KnownTpm| EkFingerprint::of_bytes(&known.enrolled.ek_public).as_ref() == Ok(fingerprint);
        self.0.lock().unwrap().iter().find(is).cloned()
    }
}

/// Its driver panics on the first reply that it reads.
struct Hostile;

impl TpmDevice for Hostile {
    fn endorsement_key(&mut self, _: EkTemplate) -> Result<EkMaterial, TpmDeviceError> {
        panic!("a reply that no TPM sends")
    }

    fn create_attestation_key(&mut self, _: EkTemplate) -> Result<AkBlob, TpmDeviceError> {
        panic!("a reply that no TPM sends")
    }

    fn activate_credential(
        &mut self,
        _: EkTemplate,
        _: &AkBlob,
        _: &[u8],
        _: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TpmDeviceError> {
        panic!("a reply that no TPM sends")
    }

    fn quote(&mut self, _: EkTemplate, _: &AkBlob, _: &[u8], _: &PcrSelection) -> Result<QuoteBytes, TpmDeviceError> {
        panic!("a reply that no TPM sends")
    }
}

impl TpmSvidKeys for Hostile {
    fn create_svid_key(&mut self, _: EkTemplate) -> Result<SvidKeyBlob, TpmDeviceError> {
        panic!("a reply that no TPM sends")
    }

    fn certify_svid_key(
        &mut self,
        _: EkTemplate,
        _: &AkBlob,
        _: &SvidKeyBlob,
        _: &[u8],
    ) -> Result<CertifyBytes, TpmDeviceError> {
        panic!("a reply that no TPM sends")
    }

    fn sign_with_svid_key(&mut self, _: EkTemplate, _: &SvidKeyBlob, _: &[u8; 32]) -> Result<Vec<u8>, TpmDeviceError> {
        panic!("a reply that no TPM sends")
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        panic!("closing reads a reply too");
    }
}

struct Machine {
    tpm: Arc<Mutex<FakeTpm>>,
    directory: tempfile::TempDir,
    agent: TpmAgentAttestor,
}

struct Server {
    manufacturer: Manufacturer,
    memory: Arc<Memory>,
    attestor: TpmNodeAttestor,
}

impl Server {
    fn new() -> Self {
        let (manufacturer, memory) = (Manufacturer::new("Turtle"), Arc::new(Memory::default()));
        let attestor = Self::attestor(&manufacturer, &memory, |_| {});
        Self { manufacturer, memory, attestor }
    }

    /// Started anew, with another configuration of its pool.
    fn set_pool(&mut self, change: impl FnOnce(&mut PoolConfig)) {
        self.attestor = Self::attestor(&self.manufacturer, &self.memory, change);
    }

    fn attestor(
        manufacturer: &Manufacturer,
        memory: &Arc<Memory>,
        change: impl FnOnce(&mut PoolConfig),
    ) -> TpmNodeAttestor {
        let anchors = TrustAnchors::new(vec![manufacturer.root()], vec![manufacturer.intermediate()]).unwrap();
        let mut config = PoolConfig::new("metal", EkTrust::Chain(anchors));
        config.ek_template = TEMPLATE;
        config.boot.missing_event_log = MissingEventLog::Accept;
        change(&mut config);
        let known: Arc<dyn EnrolledTpms> = memory.clone();
        TpmNodeAttestor::new(vec![Pool::new(config).unwrap()], DenyList::default(), known, memory.clone())
    }

    fn machine(&self) -> Machine {
        let tpm = Arc::new(Mutex::new(FakeTpm::new(&self.manufacturer, TEMPLATE)));
        let directory = tempfile::tempdir().unwrap();
        let agent = start(&tpm, &directory);
        Machine { tpm, directory, agent }
    }

    fn context(svid_public_key: &[u8]) -> AdmissionContext {
        AdmissionContext {
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            svid_public_key: Arc::from(svid_public_key),
            peer: None,
        }
    }

    async fn attest(&self, machine: &Machine) -> Result<Result<Box<AttestedNode>, Refusal>, AgentAttestError> {
        self.attest_for(machine, b"spki").await
    }

    /// With a CSR for this key.
    async fn attest_for(
        &self,
        machine: &Machine,
        svid_public_key: &[u8],
    ) -> Result<Result<Box<AttestedNode>, Refusal>, AgentAttestError> {
        match self.judge(machine, svid_public_key).await? {
            Ok((node, mut agent)) => {
                agent.admitted().await?;
                Ok(Ok(node))
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Until the server has the quote and asks for more than came with it.
    async fn until_its_log_is_asked_for(&self, machine: &Machine) -> Result<Box<dyn NodeConversation>, Refusal> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600));
        let mut agent = machine.agent.begin(AgentContext {
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            svid_public_key: Arc::from(b"spki".as_slice()),
        });
        let mut server = self.attestor.begin(Self::context(b"spki"));
        let payload = agent.payload().await.unwrap();
        let NodeStep::Challenge(challenge) = server.step(&payload, now).await? else { panic!("no challenge") };
        let response = agent.respond(&challenge).await.unwrap();
        let NodeStep::Challenge(_) = server.step(&response, now).await? else { panic!("nothing was asked for") };
        Ok(server)
    }

    /// Until the server has admitted the node, which does not know it yet.
    async fn judge(
        &self,
        machine: &Machine,
        svid_public_key: &[u8],
    ) -> Result<Result<(Box<AttestedNode>, Box<dyn AgentConversation>), Refusal>, AgentAttestError> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600));
        let mut agent = machine.agent.begin(AgentContext {
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            svid_public_key: Arc::from(svid_public_key),
        });
        let mut server = self.attestor.begin(Self::context(svid_public_key));
        let mut message = agent.payload().await?;
        loop {
            match server.step(&message, now).await {
                Err(refusal) => return Ok(Err(refusal)),
                Ok(NodeStep::Challenge(challenge)) => message = agent.respond(&challenge).await?,
                Ok(NodeStep::Admit(Admission::Tpm(node))) => {
                    self.memory.remember(&node);
                    return Ok(Ok((node, agent)));
                }
                Ok(NodeStep::Admit(_)) => panic!("not a TPM's admission"),
            }
        }
    }
}

fn start(tpm: &Arc<Mutex<FakeTpm>>, directory: &tempfile::TempDir) -> TpmAgentAttestor {
    let store = AkStore::in_data_dir(directory.path());
    let device = SharedFakeTpm(Arc::clone(tpm));
    let open = move || Ok(Box::new(device.clone()) as Box<dyn TpmSvidKeys>);
    TpmAgentAttestor::start(Box::new(open), TEMPLATE, store, log_files_of(directory)).unwrap()
}

fn log_files_of(directory: &tempfile::TempDir) -> LogFiles {
    LogFiles::at(directory.path().join("event_log"), directory.path().join("ima_list"))
}

#[tokio::test]
async fn the_ak_is_kept_and_renews_after_a_restart() {
    let server = Server::new();
    let mut machine = server.machine();
    let first = server.attest(&machine).await.unwrap().unwrap();
    let file = machine.directory.path().join("tpm_ak.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(machine.directory.path()).unwrap().count(), 1, "no temporary file is left");

    machine.agent = start(&machine.tpm, &machine.directory);
    machine.tpm.lock().unwrap().reboot();
    let second = server.attest(&machine).await.unwrap().unwrap();
    assert_eq!(second.agent_path(), first.agent_path());
    assert_eq!(second.enrolled_tpm().ak_public, first.enrolled_tpm().ak_public);
    assert_eq!(second.judged_against(), Some(first.enrolled_tpm()));
}

#[tokio::test]
async fn a_cleared_tpm_enrols_a_new_ak_at_the_second_attempt() {
    let server = Server::new();
    let machine = server.machine();
    let first = server.attest(&machine).await.unwrap().unwrap();
    machine.tpm.lock().unwrap().clear();
    let failed = server.attest(&machine).await.unwrap_err();
    assert!(failed.reason.contains("next attempt enrols a new key"), "{failed}");
    assert!(machine.directory.path().join("tpm_ak.json.unusable").exists());
    let second = server.attest(&machine).await.unwrap().unwrap();
    assert_eq!(second.agent_path(), first.agent_path());
    assert_ne!(second.enrolled_tpm().ak_public, first.enrolled_tpm().ak_public);
    assert_eq!(second.enrolled_tpm().retired_ak_names.len(), 1);
}

#[tokio::test]
async fn a_damaged_file_is_put_aside() {
    let server = Server::new();
    let machine = server.machine();
    std::fs::write(machine.directory.path().join("tpm_ak.json"), b"{\"version\":1,").unwrap();
    server.attest(&machine).await.unwrap().unwrap();
    assert!(machine.directory.path().join("tpm_ak.json.unusable").exists());
    assert!(AkStore::in_data_dir(machine.directory.path()).load(TEMPLATE).unwrap().ak.is_some());
}

/// An agent that ends between the server's admission and the news of it comes back with the keys that the server knows: another AK
/// would retire the one that was just admitted, and wait for a person where the pool says so.
#[tokio::test]
async fn a_crash_before_the_news_of_an_admission_costs_no_key() {
    let server = Server::new();
    let mut machine = server.machine();
    let spki = machine.agent.svid_key().await.unwrap().public_key().to_vec();
    let (first, agent) = server.judge(&machine, &spki).await.unwrap().unwrap();
    drop(agent);

    machine.agent = start(&machine.tpm, &machine.directory);
    assert_eq!(machine.agent.svid_key().await.unwrap().public_key(), spki);
    let second = server.attest_for(&machine, &spki).await.unwrap().unwrap();
    assert_eq!(second.judged_against(), Some(first.enrolled_tpm()));
    assert_eq!(second.enrolled_tpm().ak_public, first.enrolled_tpm().ak_public);
    assert!(second.enrolled_tpm().retired_ak_names.is_empty());
}

/// Keys that the server did not even challenge are not kept: the next attempt makes others.
#[tokio::test]
async fn a_refused_node_keeps_nothing() {
    let server = Server::new();
    let machine = Server::new().machine();
    let refusal = server.attest(&machine).await.unwrap().unwrap_err();
    assert_eq!((refusal.check, refusal.code, refusal.node), (Check::EkPath, RefusalCode::Denied, None));
    assert_eq!(refusal.records.last().map(|record| record.check), Some(Check::EkPath));
    assert_eq!(std::fs::read_dir(machine.directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_told_depends_on_what_is_wrong() {
    let server = Server::new();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600));
    let other_plugin = server.attestor.begin(Server::context(b"spki")).step(b"{\"ek\":\"MIIB\"}", now).await;
    let Err(refusal) = other_plugin else { panic!("another plugin's payload was taken") };
    assert_eq!((refusal.check, refusal.code), (Check::UnknownPayload, RefusalCode::Malformed));

    let machine = server.machine();
    let node = server.attest(&machine).await.unwrap().unwrap();
    machine.tpm.lock().unwrap().before_signing(|attest| attest.reset_count = 0);
    let refusal = server.attest(&machine).await.unwrap().unwrap_err();
    assert_eq!((refusal.check, refusal.code), (Check::TpmStateRegressed, RefusalCode::Denied));
    assert_eq!(refusal.node, Some(node.agent_path()));

    for (standing, code) in [
        (Standing::Banned { reason: "stolen".into() }, RefusalCode::Banned),
        (Standing::Quarantined { reason: "a copy".into() }, RefusalCode::NotYet),
    ] {
        server.memory.0.lock().unwrap()[0].standing = standing;
        let refusal = server.attest(&machine).await.unwrap().unwrap_err();
        assert_eq!((refusal.check, refusal.code), (Check::Standing, code));
    }
}

/// A reply that makes the TPM's driver panic fails one attestation and not all that follow.
#[tokio::test]
async fn a_driver_that_panics_is_opened_again() {
    let server = Server::new();
    let mut machine = server.machine();
    let device = SharedFakeTpm(Arc::clone(&machine.tpm));
    let mut opened = 0;
    let open = move || -> Result<Box<dyn TpmSvidKeys>, TpmDeviceError> {
        opened += 1;
        Ok(if opened == 1 { Box::new(Hostile) } else { Box::new(device.clone()) })
    };
    let store = AkStore::in_data_dir(machine.directory.path());
    machine.agent = TpmAgentAttestor::start(Box::new(open), TEMPLATE, store, log_files_of(&machine.directory)).unwrap();
    let error = server.attest(&machine).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("TPM"), "{error}");
    server.attest(&machine).await.unwrap().unwrap();
}

/// The log is read for every attestation, sent once per boot, and judged each time; a store that fails is no verdict on the node.
#[tokio::test]
async fn the_event_log_is_read_sent_once_and_judged_each_time() {
    let server = Server::new();
    let machine = server.machine();
    let boot = LinuxBoot::default().log();
    boot.boot(&mut machine.tpm.lock().unwrap());
    let path = machine.directory.path().join("event_log");
    std::fs::write(&path, boot.bytes()).unwrap();
    let replays = |node: &AttestedNode| node.records().iter().any(|record| record.check == Check::EventLogReplay);
    for _ in 0..2 {
        let node = server.attest(&machine).await.unwrap().unwrap();
        assert!(replays(&node));
        assert_eq!(&**node.event_log().unwrap().bytes(), boot.bytes());
    }
    server.memory.2.store(true, Ordering::SeqCst);
    let refusal = server.attest(&machine).await.unwrap().unwrap_err();
    assert_eq!((refusal.code, refusal.node), (RefusalCode::Unavailable, None));
    server.memory.2.store(false, Ordering::SeqCst);

    // A log of many parts, and one of another boot.
    let mut long = boot.bytes().to_vec();
    long.resize(1 << 20, 0);
    std::fs::write(&path, &long).unwrap();
    assert!(replays(&server.attest(&machine).await.unwrap().unwrap()));
    std::fs::write(&path, LinuxBoot { kernel_cmdline: "single".to_owned(), ..LinuxBoot::default() }.log().bytes())
        .unwrap();
    let refusal = server.attest(&machine).await.unwrap().unwrap_err();
    assert_eq!((refusal.check, refusal.code), (Check::EventLogReplay, RefusalCode::Denied));
}

/// The list is read from its file when the server asks, long ones in parts; one that can't be read is no list that is missing.
#[tokio::test]
async fn an_ima_list_is_read_where_the_pool_wants_it() {
    let mut server = Server::new();
    let ima_of = |node: &AttestedNode| {
        let records = node.records().iter().filter(|record| record.check == Check::ImaList);
        records.map(|record| (record.outcome, record.detail.clone())).next().unwrap()
    };
    let machine = server.machine();
    let path = machine.directory.path().join("ima_list");
    // A directory can't be read, and nobody tries.
    std::fs::create_dir(&path).unwrap();
    assert_eq!(ima_of(&server.attest(&machine).await.unwrap().unwrap()).0, CheckOutcome::NotChecked);
    server.set_pool(|config| config.boot.ima = ImaPolicy::Require);
    let failed = server.attest(&machine).await.unwrap_err();
    assert!(failed.reason.contains("can't read the IMA list"), "{failed}");
    std::fs::remove_dir(&path).unwrap();
    let refusal = server.attest(&machine).await.unwrap().unwrap_err();
    assert_eq!((refusal.check, refusal.code), (Check::ImaListMissing, RefusalCode::NotYet));

    let mut list = ImaListBuilder::booted(Kernel::Linux6_12, &machine.tpm.lock().unwrap());
    list.file("/init", b"init").entry("filler-ng", &[7; 400_000]);
    list.extend(&mut machine.tpm.lock().unwrap(), 2);
    std::fs::write(&path, list.bytes()).unwrap();
    let (outcome, detail) = ima_of(&server.attest(&machine).await.unwrap().unwrap());
    assert_eq!(outcome, CheckOutcome::Passed);
    assert!(detail.starts_with("2 of 3 entries, "), "{detail}");
    machine.tpm.lock().unwrap().measure(10, b"not in the list");
    let refusal = server.attest(&machine).await.unwrap().unwrap_err();
    assert_eq!((refusal.check, refusal.code), (Check::ImaList, RefusalCode::Denied));
}

/// Threat 18: all conversations together keep 64 MiB of logs, whether a log is sent, kept here, or the kernel's list. Who finds no room
/// comes again, and a conversation that ends gives its room back.
#[tokio::test]
async fn logs_under_way_share_the_memory_that_there_is() {
    let mut server = Server::new();
    server.set_pool(|config| config.boot.ima = ImaPolicy::Accept);
    let booted = server.machine();
    let boot = LinuxBoot::default().log();
    boot.boot(&mut booted.tpm.lock().unwrap());
    std::fs::write(booted.directory.path().join("event_log"), boot.bytes()).unwrap();
    server.attest(&booted).await.unwrap().unwrap();
    let with_list = server.machine();
    std::fs::write(with_list.directory.path().join("ima_list"), [1]).unwrap();
    let long = server.machine();
    std::fs::write(long.directory.path().join("event_log"), vec![1; MAX_EVENT_LOG_LEN]).unwrap();

    let mut under_way = Vec::new();
    for _ in 0..16 {
        under_way.push(server.until_its_log_is_asked_for(&long).await.unwrap());
    }
    for (machine, check) in
        [(&long, Check::EventLogMissing), (&booted, Check::EventLogMissing), (&with_list, Check::ImaListMissing)]
    {
        let refusal = server.until_its_log_is_asked_for(machine).await.err().unwrap();
        assert_eq!((refusal.check, refusal.code, refusal.node), (check, RefusalCode::Unavailable, None));
    }
    under_way.pop();
    server.until_its_log_is_asked_for(&long).await.unwrap();
    server.attest(&booted).await.unwrap().unwrap();
}

/// A log that is there and can't be read is no machine without a log.
#[test]
fn a_log_is_absent_or_read_or_an_error_that_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("binary");
    let both = |path: &std::path::Path| {
        let LogFiles { event_log, ima_list } = LogFiles::at(path, path);
        [(event_log, "event log"), (ima_list, "IMA list")]
    };
    assert!(both(&path).iter().all(|(file, _)| file.read().unwrap().is_none()));
    assert!(both("/dev/null/log".as_ref()).iter().all(|(file, _)| file.read().unwrap().is_none()));
    std::fs::write(&path, b"").unwrap();
    assert!(both(&path).iter().all(|(file, _)| file.read().unwrap().is_none()));
    std::fs::write(&path, b"log").unwrap();
    assert!(both(&path).iter().all(|(file, _)| &*file.read().unwrap().unwrap() == b"log"));
    std::fs::write(&path, vec![0; 4 * 1024 * 1024 + 1]).unwrap();
    for (file, name) in both(&path) {
        let error = file.read().unwrap_err().to_string();
        assert!(error.contains(name) && error.ends_with("has more than 4194304 bytes"), "{error}");
    }
    for (file, name) in both(directory.path()) {
        let error = file.read().unwrap_err().to_string();
        assert!(error.starts_with(&format!("can't read the {name}")), "{error}");
    }
    for log in [LogKind::EventLog, LogKind::ImaList] {
        let source = std::io::ErrorKind::PermissionDenied.into();
        let denied = plastron_plugins_node_tpm::LogFileError::Denied { log, path: path.clone(), source };
        assert!(denied.to_string().contains("CAP_DAC_READ_SEARCH"), "{denied}");
    }
}

/// The key of the SVID stays in the TPM, and the same, for the AK's life: over renewals and restarts, until the TPM is cleared.
#[tokio::test]
async fn the_svid_key_is_kept_in_the_tpm_for_the_life_of_the_ak() {
    let server = Server::new();
    let mut machine = server.machine();
    let is_resident = |node: &AttestedNode| node.selectors().iter().any(|s| s.to_string() == "tpm:key_resident:true");
    let key = machine.agent.svid_key().await.unwrap();
    assert_eq!(machine.agent.svid_key().await.unwrap().public_key(), key.public_key(), "before it is kept");
    let spki = key.public_key().to_vec();
    assert!(is_resident(&server.attest_for(&machine, &spki).await.unwrap().unwrap()));
    machine.agent = start(&machine.tpm, &machine.directory);
    let kept = machine.agent.svid_key().await.unwrap();
    assert_eq!(kept.public_key(), spki);
    assert!(is_resident(&server.attest_for(&machine, &spki).await.unwrap().unwrap()));

    // What it signs, its public key verifies.
    let signature = kept.sign(b"a handshake").unwrap();
    let point = spki.get(spki.len() - 65..).unwrap();
    let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1;
    aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, point).verify(b"a handshake", &signature).unwrap();

    // A cleared TPM has forgotten it: it refuses once, and the next key is another.
    machine.tpm.lock().unwrap().clear();
    assert!(kept.sign(b"a handshake").unwrap_err().to_string().contains("does not sign"));
    let fresh = machine.agent.svid_key().await.unwrap();
    assert_ne!(fresh.public_key(), spki);
    assert!(is_resident(&server.attest_for(&machine, fresh.public_key()).await.unwrap().unwrap()));
}

/// A key of this process is no key of the TPM, whatever the TPM keeps beside it.
#[tokio::test]
async fn a_csr_for_another_key_proves_no_resident_one() {
    let server = Server::new();
    let machine = server.machine();
    machine.agent.svid_key().await.unwrap();
    let node = server.attest(&machine).await.unwrap().unwrap();
    assert!(node.selectors().iter().all(|selector| !selector.to_string().contains("key_resident")));
}
