//! What the log of a boot tells, with what stands behind each fact (TCG PC Client Platform Firmware Profile 1.06, section 10; one file
//! for each family of events opens with its rule).
//!
//! A quote covers digests and their order within each PCR. It covers neither the type nor the text of an event, so every text is hashed
//! under the rule for its event before it is called verified, and a fact says `verified`, `digest_only` or `untrusted`. Even a verified
//! text only tells what somebody extended a PCR with:
//!
//! - firmware owns PCR 0 to 3, 6 and 7 up to their separators and PCR 5 up to the end of ExitBootServices; what follows there can be
//!   user space's, and is never more than `digest_only`;
//! - PCR 4, 8, 9 and 11 to 14 are extended by whatever PCR 4 says was started; root can extend them later;
//! - EV_NO_ACTION extends nothing and is no fact. PCR 16 to 23 can be reset and are no evidence.
//!
//! Not here: whether the log is that of a quote (`ReplayedLog`), and whether what it tells is good enough (`judge`).

mod authority;
mod boot;
mod digests;
mod firmware;
mod grub;
mod hashed;
mod image;
mod kernel;
mod known_certificates;
mod provenance;
mod reading;
mod secure_boot;
mod separator;
mod shim;
mod signature;
mod stub;
mod text;
mod windows;

pub use authority::{Authority, AuthorityContent};
pub use boot::{Boot, BootVariable};
pub use digests::{Digests, Measured};
pub use firmware::Firmware;
pub use grub::Grub;
pub use kernel::Kernel;
pub use provenance::{Fact, NotVerified, Provenance};
pub(crate) use reading::PcrSet;
pub use secure_boot::SecureBoot;
pub use shim::Mok;
pub use signature::{CertificateDer, Signature, SignatureContent};
pub use stub::Uki;
pub use windows::{SipaEntry, SipaEntryValue, Windows};

use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::{EventType, RawEvent, RawLog};
use serde::Serialize;

use super::finding::{Finding, FindingKind};
use super::quirks::{self, SeenQuirk};
use crate::Check;
use boot::BootEvents;
use grub::GrubEvents;
use reading::Reading;
use secure_boot::Pcr7;
use separator::Separators;
use stub::LinuxStub;

/// What a log tells. How far it can be relied on is with each fact; whether the log is that of a machine is not known to `Facts::read`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Facts {
    /// PCR 7.
    pub secure_boot: SecureBoot,
    /// PCR 0 to 3.
    pub firmware: Firmware,
    /// PCR 1, 4 and 5.
    pub boot: Boot,
    /// Images that firmware and boot loaders started, or refused at the last moment, in order: PCR 4.
    pub boot_applications: Vec<Fact<Measured>>,
    /// The kernel that was booted.
    pub kernel: Kernel,
    /// GRUB.
    pub grub: Grub,
    /// A unified kernel image, and systemd-boot.
    pub uki: Uki,
    /// shim's MOK state.
    pub mok: Mok,
    /// Windows' boot loader.
    pub windows: Windows,
    /// Events that no rule of this list is about, by type and digest.
    pub others: Vec<Fact<Measured>>,
    /// In what known ways firmware or boot loaders deviate from the specification.
    pub quirks: Vec<SeenQuirk>,
    /// What is odd.
    #[serde(skip)]
    pub findings: Vec<Finding>,
    #[serde(skip)]
    provenances: Vec<(u32, Provenance)>,
}

impl Facts {
    /// Reads a log on its own word: nothing says that it is of a TPM. For people and tools that look at a file. A bank that some event
    /// leaves out is a finding, and is not looked at.
    pub fn read(log: &RawLog<'_>) -> Self {
        let gap = |bank: &HashAlgorithm| {
            log.events().iter().find(|event| event.is_extended() && event.digest(*bank).is_none())
        };
        let whole: Vec<_> = log.banks().iter().copied().filter(|bank| gap(bank).is_none()).collect();
        let mut facts = Self::of_replayed(log, &whole, PcrSet::ALL);
        for (bank, event) in log.banks().iter().filter_map(|bank| Some((bank, gap(bank)?))) {
            facts.findings.push(Finding {
                kind: FindingKind::Check(Check::BankNotExtended),
                pcr: Some(event.pcr),
                event: Some(event.number),
                text: format!("no digest for bank {bank}, which the log declares: the bank tells nothing"),
            });
        }
        if log.banks().iter().all(|bank| *bank == HashAlgorithm::Sha1) {
            facts.findings.push(Finding {
                kind: FindingKind::Sha1EventLog,
                pcr: None,
                event: None,
                text: "digests of SHA-1 alone, which is never evidence by itself: a server refuses the log unless 'sha1_event_log' in \
                       the pool accepts it"
                    .to_owned(),
            });
        }
        facts
    }

    /// Reads a log of which these PCRs were compared with a quote, in these banks. What it says about other PCRs is untrusted, and other
    /// banks are not looked at.
    pub(crate) fn of_replayed(log: &RawLog<'_>, banks: &[HashAlgorithm], replayed: PcrSet) -> Self {
        let mut facts = Self::default();
        let mut rules = Rules {
            replayed,
            separators: Separators::new(banks),
            boot: BootEvents::new(banks),
            pcr7: Pcr7::default(),
            grub: GrubEvents::default(),
            stub: LinuxStub::default(),
        };
        let mut reading = Reading::new(banks, log.events().len());
        for event in log.events().iter().filter(|event| event.is_extended()) {
            rules.read(event, &mut facts, &mut reading);
        }
        rules.separators.finish(&mut reading);
        rules.pcr7.finish(&facts.secure_boot, &mut reading);
        facts.kernel = kernel::kernel(&rules.grub, &facts.grub, &facts.uki, rules.stub, &mut reading);
        facts.quirks = quirks::seen(log, banks);
        (facts.findings, facts.provenances) = reading.into_parts();
        facts
    }

    /// What stands behind the text of an event, by its number; `None` for EV_NO_ACTION, which is no fact.
    pub fn provenance(&self, event: u32) -> Option<Provenance> {
        // They are in the order of the log.
        let first = self.provenances.partition_point(|(number, _)| *number < event);
        let own = self.provenances.iter().skip(first).take_while(|(number, _)| *number == event);
        own.map(|(_, provenance)| *provenance).max()
    }

    /// Whether something of this kind was found.
    pub fn has(&self, kind: FindingKind) -> bool {
        self.findings.iter().any(|finding| finding.kind == kind)
    }

    /// The text of an event for people, escaped: what its data says, whatever stands behind it.
    pub fn text(event: &RawEvent<'_>) -> String {
        text::of(event)
    }
}

/// The rules while a log is read.
struct Rules {
    replayed: PcrSet,
    separators: Separators,
    boot: BootEvents,
    pcr7: Pcr7,
    grub: GrubEvents,
    stub: LinuxStub,
}

impl Rules {
    fn read(&mut self, event: &RawEvent<'_>, facts: &mut Facts, reading: &mut Reading<'_>) {
        reading.begin(self.ceiling(event));
        if event.pcr > MAX_EVIDENCE_PCR {
            let text = format!("an event in PCR {}, which can be reset and is no evidence of boot", event.pcr);
            reading.find(FindingKind::ResettablePcr, event, text);
            reading.note(event, Provenance::Untrusted);
            return;
        }
        self.boot.recognise(event, &mut facts.boot, reading);
        self.grub.look(event);
        facts.uki.look(event);
        if self.separators.read(event, reading) {
            return;
        }
        if event.pcr == secure_boot::PCR {
            let past = self.separators.is_past(secure_boot::PCR);
            self.pcr7.read(event, past, &mut facts.secure_boot, reading);
            return;
        }
        if !self.by_type(event, facts, reading) {
            self.other(event, facts, reading);
        }
    }

    /// The most that can stand behind an event, by where it is.
    fn ceiling(&self, event: &RawEvent<'_>) -> Provenance {
        let over = match event.pcr {
            0..=3 | 6 => self.separators.is_past(event.pcr),
            5 => self.boot.is_over(),
            _ => false,
        };
        match (self.replayed.contains(event.pcr), over) {
            (false, _) => Provenance::Untrusted,
            (true, true) => Provenance::DigestOnly,
            (true, false) => Provenance::Verified,
        }
    }

    fn by_type(&mut self, event: &RawEvent<'_>, facts: &mut Facts, reading: &mut Reading<'_>) -> bool {
        match (event.claimed_type, event.pcr) {
            (_, image::PCR) => {
                self.boot.read_pcr_4(event, &mut facts.boot, &mut facts.boot_applications, reading);
                true
            }
            (EventType::IPL, shim::PCR) => {
                shim::read(event, &mut facts.mok, reading);
                true
            }
            (EventType::IPL, _) => {
                self.grub.read(event, &mut facts.grub, reading) || stub::read_ipl(event, &mut facts.uki, reading)
            }
            (EventType::EVENT_TAG, _) if windows::read(event, &mut facts.windows, reading) => true,
            (EventType::EVENT_TAG, 5 | 9 | 12 | 13) => {
                stub::read_tag(event, &mut facts.uki, &mut self.stub, reading);
                true
            }
            (_, 0..=3) if firmware::read(event, &mut facts.firmware, reading) => true,
            (_, 1..=6) => self.boot.read(event, &mut facts.boot, &mut facts.boot_applications, reading),
            _ => false,
        }
    }

    /// An event that no rule is about: by its type and digest, and by its text where that hashes.
    fn other(&mut self, event: &RawEvent<'_>, facts: &mut Facts, reading: &mut Reading<'_>) {
        let hashed = !reading::is_open_to_user_space(event) && reading.hashed(event, &[event.data]);
        let label = format!("{}: {}", event.claimed_type, reading::excerpt(event.data));
        let digests = Digests::of(event, reading.banks());
        let fact = reading.text_or_label(event, Measured { label, digests }, hashed);
        if !reading::is_known(event.claimed_type) {
            let text =
                format!("PCR {} holds an event of type {}, which no rule is about", event.pcr, event.claimed_type);
            reading.find(FindingKind::UnknownEvent, event, text);
        }
        reading.push(&mut facts.others, "others", event, fact);
    }
}

/// PCRs above can be reset by a debugger, by user space or by a measured launch.
const MAX_EVIDENCE_PCR: u8 = 15;
