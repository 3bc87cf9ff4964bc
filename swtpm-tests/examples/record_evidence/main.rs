//! Records conversations of real TPMs (swtpm) with the verifier: `record_evidence DIR [SCENE]`. What it writes is replayed, and tampered
//! with, by the tests in `attestation/tests/recorded`; it is reviewed as data. `cargo xtask record-evidence` runs it.
//!
//! Every machine boots by a log that is made up here and that its TPM is told, event by event. It leaves what it does not write alone,
//! so that a file which nothing replays is noticed there.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a recording that fails is begun anew")]

#[path = "../../../attestation/tests/recorded/index.rs"]
mod index;
mod machine;
#[path = "../../../attestation/tests/recorded/server.rs"]
mod server;

use std::path::{Path, PathBuf};

use plastron_attestation::EkTemplate;
use plastron_attestation_appraise::TrustAnchors;
use plastron_attestation_fake_tpm::event_log::{LinuxBoot, LogBuilder, uefi_variable};
use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::EventType;
use plastron_swtpm_tests::{Manufacturer, Swtpm};
use rustls_pki_types::UnixTime;

use index::{HEADER, Row, Trust};
use machine::{Machine, Trick};
use server::{Server, csr_key_of};

/// EFI_GLOBAL_VARIABLE.
const GLOBAL: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];

/// What can be recorded by itself. Its machines are of no other scene.
const SCENES: [(&str, Scene); 10] = [
    ("templates", |recorder| EkTemplate::ALL.into_iter().for_each(|template| recorder.enrols_and_renews(template))),
    ("life", Recorder::lives),
    ("copy", Recorder::is_copied),
    ("carte-blanche", Recorder::has_a_bank_that_firmware_did_not_extend),
    ("no-log", Recorder::has_no_log),
    ("unlogged", Recorder::extends_a_pcr_after_its_log),
    ("odd", Recorder::boots_oddly),
    ("sha1", Recorder::knows_sha1_only),
    ("foreign", Recorder::comes_from_another_manufacturer),
    ("keys", Recorder::has_other_keys),
];

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let folder = PathBuf::from(arguments.next().expect("usage: record_evidence DIR [SCENE]"));
    let only = arguments.next().map(|name| name.into_string().expect("a scene"));
    let is_wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let scenes: Vec<_> = SCENES.iter().filter(|(name, _)| is_wanted(name)).collect();
    assert!(!scenes.is_empty(), "no such scene: {only:?}; there are {:?}", SCENES.map(|(name, _)| name));
    let mut recorder = Recorder::new(&folder, only.is_none());
    scenes.into_iter().for_each(|(_, scene)| scene(&mut recorder));
    recorder.finish();
}

/// Writes files, and the lines about them.
struct Recorder {
    folder: PathBuf,
    manufacturer: Manufacturer,
    anew: bool,
    rows: Vec<Row>,
}

type ChangeLog = fn(&mut LogBuilder);

type Scene = fn(&mut Recorder);

/// An ordinary boot with a log that is not long.
fn boot() -> LinuxBoot {
    LinuxBoot { dbx_len: 1, grub_commands: 1, ..LinuxBoot::default() }
}

/// The EKs that swtpm_setup certifies.
fn trust(template: EkTemplate) -> Trust {
    match template {
        EkTemplate::L1Rsa2048 | EkTemplate::H3P384 => Trust::Certificate,
        _ => Trust::Pin,
    }
}

impl Recorder {
    /// `anew`: everything is recorded. Otherwise the lines about other machines stay, and so does their manufacturer.
    fn new(folder: &Path, anew: bool) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let manufacturer = Manufacturer::shared().unwrap();
        if anew {
            std::fs::write(folder.join("root.der"), manufacturer.root_der().unwrap()).unwrap();
            std::fs::write(folder.join("intermediate.der"), manufacturer.intermediate_der().unwrap()).unwrap();
        }
        Self { folder: folder.to_owned(), manufacturer, anew, rows: Vec::new() }
    }

    /// What was recorded earlier of machines that were not recorded now.
    fn kept(&self) -> Vec<Row> {
        if self.anew {
            return Vec::new();
        }
        let recorded_root = std::fs::read(self.folder.join("root.der")).unwrap();
        let same_manufacturer = recorded_root == self.manufacturer.root_der().unwrap();
        let by_pin = self.rows.iter().all(|row| row.trust == Trust::Pin);
        assert!(same_manufacturer || by_pin, "the recorded manufacturer is another one: record everything anew");
        let index = std::fs::read_to_string(self.folder.join("index.tsv")).unwrap();
        let is_new = |row: &Row| self.rows.iter().any(|new| new.machine == row.machine);
        index.lines().skip(1).map(|line| Row::parse(line).unwrap()).filter(|row| !is_new(row)).collect()
    }

    fn anchors(&self) -> TrustAnchors {
        let (root, intermediate) =
            (self.manufacturer.root_der().unwrap(), self.manufacturer.intermediate_der().unwrap());
        TrustAnchors::new(vec![root], vec![intermediate]).unwrap()
    }

    /// One conversation, from which everything is written down.
    fn converse(&mut self, machine: &mut Machine, server: &mut Option<Server>, step: &str, expected: &str, what: &str) {
        let row = Row {
            machine: machine.name.clone(),
            step: step.to_owned(),
            template: machine.template,
            trust: trust(machine.template),
            time: UnixTime::now().as_secs(),
            expected: expected.to_owned(),
            what: what.to_owned(),
        };
        let mut attester = machine.attester();
        let payload = machine.begin(&mut attester);
        self.write(&row, "payload", &payload);
        let anchors = self.anchors();
        let server = server.get_or_insert_with(|| Server::new(&row, &payload, anchors));
        server.csr_key = csr_key_of(&payload);
        let mut verifier = server.verifier(&row);
        let verdict = server.challenge(&mut verifier, &payload, row.time).and_then(|challenge| {
            self.write(&row, "challenge", &challenge);
            let response = machine.answer(&mut attester, &challenge);
            self.write(&row, "response", &response);
            server.conclude(&mut verifier, &response, row.time)
        });
        let got = match &verdict {
            Ok(_) => "admitted".to_owned(),
            Err(refused) => refused.check().to_string(),
        };
        let why = verdict.as_ref().err().map_or_else(String::new, ToString::to_string);
        assert_eq!(got, row.expected, "{row:?}: {why}");
        if verdict.is_ok() {
            machine.admitted(&mut attester);
        }
        println!("{}", row.line());
        self.rows.push(row);
    }

    fn write(&self, row: &Row, message: &str, bytes: &[u8]) {
        std::fs::write(self.folder.join(row.file(message)), bytes).unwrap();
    }

    fn finish(self) {
        let kept = self.kept();
        let rows = kept.iter().chain(&self.rows).map(Row::line);
        let lines: Vec<String> = std::iter::once(HEADER.to_owned()).chain(rows).collect();
        std::fs::write(self.folder.join("index.tsv"), lines.join("\n") + "\n").unwrap();
    }

    fn enrols_and_renews(&mut self, template: EkTemplate) {
        let mut machine = Machine::new(template.name(), template, Swtpm::start().unwrap());
        machine.boot(&boot().log());
        let server = &mut None;
        self.converse(&mut machine, server, "enrol", "admitted", "a new TPM enrols after an ordinary boot");
        self.converse(&mut machine, server, "renew", "admitted", "its AK renews: one quote, and the log is kept");
        let (attest, signature) = machine.certify_svid_key();
        for (part, bytes) in [("attest", attest), ("signature", signature)] {
            std::fs::write(self.folder.join(format!("{}.svid-key.{part}", machine.name)), bytes).unwrap();
        }
    }

    fn lives(&mut self) {
        let mut machine = Machine::new("life", EkTemplate::H3P384, Swtpm::start().unwrap());
        machine.boot(&boot().log());
        let server = &mut None;
        self.converse(&mut machine, server, "enrol", "admitted", "a new TPM enrols");
        machine.tpm.reboot().unwrap();
        machine.boot(&LinuxBoot { kernel_cmdline: "/boot/vmlinuz-6.12 root=/dev/vda1 ro".to_owned(), ..boot() }.log());
        self.converse(
            &mut machine,
            server,
            "reboot",
            "admitted",
            "rebooted with another kernel: resetCount grew, another log",
        );
        machine.tpm.suspend_and_resume().unwrap();
        self.converse(
            &mut machine,
            server,
            "resume",
            "admitted",
            "suspended and resumed: restartCount grew, the same boot",
        );
        machine.tpm.power_cut().unwrap();
        machine.boot(&boot().log());
        self.converse(&mut machine, server, "power-cut", "admitted", "the power failed: the clock is not safe");
        machine.tpm.clear().unwrap();
        machine.ak = None;
        self.converse(
            &mut machine,
            server,
            "clear",
            "admitted",
            "TPM2_Clear: another AK of the same EK, counters begin anew",
        );
    }

    fn is_copied(&mut self) {
        let mut machine = Machine::new("copy", EkTemplate::H3P384, Swtpm::start().unwrap());
        machine.boot(&boot().log());
        let server = &mut None;
        self.converse(&mut machine, server, "enrol", "admitted", "a new TPM enrols");
        let mut copy = machine.copy();
        for _ in 0..3 {
            machine.tpm.reboot().unwrap();
        }
        machine.boot(&boot().log());
        self.converse(
            &mut machine,
            server,
            "original",
            "admitted",
            "its state was copied; the original rebooted three times",
        );
        copy.boot(&boot().log());
        self.converse(&mut copy, server, "copy", "tpm_state_regressed", "the copy, with the same AK, booted once");
    }

    fn has_a_bank_that_firmware_did_not_extend(&mut self) {
        let mut machine = Machine::new("carte-blanche", EkTemplate::H3P384, Swtpm::start().unwrap());
        machine.boot(&LinuxBoot { banks: vec![HashAlgorithm::Sha1, HashAlgorithm::Sha256], ..boot() }.log());
        let what = "firmware extends sha1 and sha256 only, and sha384 is allocated (CVE-2021-42299)";
        self.converse(&mut machine, &mut None, "enrol", "bank_not_extended", what);
    }

    fn has_no_log(&mut self) {
        let mut machine = Machine::new("no-log", EkTemplate::H3P384, Swtpm::start().unwrap());
        machine.boot(&boot().log());
        machine.event_log = None;
        self.converse(&mut machine, &mut None, "enrol", "event_log_missing", "the machine shows no event log");
    }

    fn extends_a_pcr_after_its_log(&mut self) {
        let mut machine = Machine::new("unlogged", EkTemplate::H3P384, Swtpm::start().unwrap());
        machine.boot(&boot().log());
        for (bank, len) in [("sha1", 20), ("sha256", 32), ("sha384", 48)] {
            machine.tpm.extend_pcr(4, bank, &vec![7; len]).unwrap();
        }
        let what = "PCR 4 was extended once more than the log says";
        self.converse(&mut machine, &mut None, "enrol", "event_log_replay", what);
    }

    /// Logs that replay and tell of what must not be.
    fn boots_oddly(&mut self) {
        let odd: [(&str, &str, ChangeLog); 4] = [
            ("separators", "a second separator in PCR 2", |log| {
                log.event(2, EventType::SEPARATOR, &[0; 4]);
            }),
            ("secure_boot_events", "SecureBoot is measured once more after the separator of PCR 7", |log| {
                let variable = uefi_variable(&GLOBAL, "SecureBoot", &[1]);
                log.event(7, EventType::EFI_VARIABLE_DRIVER_CONFIG, &variable);
            }),
            ("debug_mode", "firmware says that its debugger was on", |log| {
                log.event(7, EventType::EFI_ACTION, b"UEFI Debug Mode");
            }),
            ("late_boot_application", "an application is started after ExitBootServices", |log| {
                log.event(4, EventType::EFI_BOOT_SERVICES_APPLICATION, &[0; 32]);
            }),
        ];
        for (check, what, change) in odd {
            let mut machine = Machine::new(&check.replace('_', "-"), EkTemplate::H3P384, Swtpm::start().unwrap());
            let mut log = boot().log();
            change(&mut log);
            machine.boot(&log);
            self.converse(&mut machine, &mut None, "enrol", check, what);
        }
        let mut machine = Machine::new("unknown-event", EkTemplate::H3P384, Swtpm::start().unwrap());
        let mut log = boot().log();
        log.event(4, EventType(0x1234_5678), b"?");
        machine.boot(&log);
        let what = "an event of a type that nobody knows, in PCR 4, which the pool does not pin";
        self.converse(&mut machine, &mut None, "enrol", "admitted", what);
    }

    fn knows_sha1_only(&mut self) {
        let mut machine = Machine::new("sha1-log", EkTemplate::H3P384, Swtpm::start().unwrap());
        let mut log = LogBuilder::sha1();
        log.event(0, EventType::S_CRTM_VERSION, b"1.0");
        machine.boot(&log);
        let what = "firmware writes a log of the old form, in which every event has a SHA-1 digest only";
        self.converse(&mut machine, &mut None, "enrol", "event_log_banks", what);

        let mut machine = Machine::new("sha1-bank", EkTemplate::H3P384, Swtpm::start().unwrap());
        machine.tpm.tpm2(&["pcrallocate", "sha1:all+sha256:none+sha384:none"]).unwrap();
        machine.tpm.reboot().unwrap();
        machine.boot(&LinuxBoot { banks: vec![HashAlgorithm::Sha1], ..boot() }.log());
        self.converse(&mut machine, &mut None, "enrol", "pcr_banks", "no PCR bank but SHA-1 is allocated");
    }

    fn comes_from_another_manufacturer(&mut self) {
        let folder = tempfile::tempdir().unwrap();
        let other = Manufacturer::found(folder.path()).unwrap();
        let mut machine = Machine::new("foreign", EkTemplate::H3P384, Swtpm::made_by(&other).unwrap());
        machine.boot(&boot().log());
        self.converse(
            &mut machine,
            &mut None,
            "enrol",
            "ek_path",
            "a TPM of a manufacturer that the pool does not trust",
        );
    }

    /// A key of the SVID that is in the TPM, an agent that lies about it, and an AK of the other kind.
    fn has_other_keys(&mut self) {
        let mut machine = Machine::new("resident", EkTemplate::L2P256, Swtpm::start().unwrap());
        machine.boot(&boot().log());
        machine.svid_key = Some(machine.create_svid_key());
        let server = &mut None;
        self.converse(&mut machine, server, "enrol", "admitted", "its SVID's key is in the TPM: the AK certifies it");
        self.converse(&mut machine, server, "renew", "admitted", "the record proves the key: one quote");
        machine.svid_key = Some(machine.create_svid_key());
        self.converse(&mut machine, server, "new-key", "admitted", "another key of this TPM, certified itself");
        let third = machine.create_svid_key();
        machine.trick = machine.svid_key.replace(third).map(Trick::Certify);
        let what = "it shows a third key, and the AK certifies the second under this conversation's binding";
        self.converse(&mut machine, server, "another-key", "certify_name", what);
        machine.trick = Some(Trick::Reset(Box::new(boot().log())));
        let what = "it is reset between certification and quote";
        self.converse(&mut machine, server, "reset", "same_boot", what);

        let mut machine = Machine::new("rsa-ak", EkTemplate::L2P256, Swtpm::start().unwrap());
        machine.boot(&boot().log());
        machine.create_rsa_ak();
        let server = &mut None;
        self.converse(&mut machine, server, "enrol", "admitted", "an RSA-2048 AK, made by tpm2-tools");
        self.converse(&mut machine, server, "renew", "admitted", "it renews: one quote, and the log is kept");
    }
}
