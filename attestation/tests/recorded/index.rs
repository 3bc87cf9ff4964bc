//! The index of the recorded evidence: one line per conversation. Who records and who replays read it by this file.
//!
//! Columns, separated by tabs: machine, step, template, trust, time, expected, what was done. The messages of a conversation lie beside
//! the index as `<machine>.<step>.payload`, `.challenge` and `.response`. What the verifier drew by chance in a conversation follows from
//! its name, so that it can draw the same again.

use plastron_attestation::{EkTemplate, Entropy};
use plastron_attestation_appraise::CredentialEntropy;
use plastron_attestation_tcg::HashAlgorithm;
use zeroize::Zeroizing;

/// The first line.
pub(crate) const HEADER: &str = "machine\tstep\ttemplate\ttrust\ttime\texpected\twhat was done";

/// The trust domain of every conversation.
pub(crate) const TRUST_DOMAIN: &str = "example.org";

/// SubjectPublicKeyInfo of an SVID key in memory; what it looks like does not matter to the exchange.
pub(crate) const SVID_KEY: &[u8] = b"the SPKI of the CSR";

/// A conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The machine. Conversations of one machine follow each other, and the server remembers it.
    pub(crate) machine: String,
    /// Which of the machine's conversations.
    pub(crate) step: String,
    /// The template of its EK, which the pool accepts.
    pub(crate) template: EkTemplate,
    /// How the pool trusts it.
    pub(crate) trust: Trust,
    /// When it took place, in Unix seconds.
    pub(crate) time: u64,
    /// What became of it: `admitted`, or the name of the check that refused it.
    pub(crate) expected: String,
    /// For people.
    pub(crate) what: String,
}

/// How the pool trusts an EK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// By its certificate.
    Certificate,
    /// By a pin.
    Pin,
}

impl Trust {
    fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Pin => "pin",
        }
    }
}

impl Row {
    /// A line of the index.
    pub(crate) fn line(&self) -> String {
        let Self { machine, step, template, trust, time, expected, what } = self;
        [machine, step, template.name(), trust.name(), &time.to_string(), expected, what].join("\t")
    }

    /// From a line.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let [machine, step, template, trust, time, expected, what] =
            line.split('\t').collect::<Vec<_>>().try_into().ok()?;
        Some(Self {
            machine: machine.to_owned(),
            step: step.to_owned(),
            template: EkTemplate::from_name(template)?,
            trust: [Trust::Certificate, Trust::Pin].into_iter().find(|known| known.name() == trust)?,
            time: time.parse().ok()?,
            expected: expected.to_owned(),
            what: what.to_owned(),
        })
    }

    /// The file of a message.
    pub(crate) fn file(&self, message: &str) -> String {
        format!("{}.{}.{message}", self.machine, self.step)
    }

    /// What the verifier draws in this conversation.
    pub(crate) fn entropy(&self) -> Entropy {
        let drawn = |what: &str| {
            let text = format!("{what} of {} in {}", self.step, self.machine);
            HashAlgorithm::Sha384.digest([text.as_bytes()])
        };
        let mut nonce = [0; 32];
        let (mut secret, mut seed) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 48]));
        for (bytes, what) in
            [(nonce.as_mut_slice(), "nonce"), (secret.as_mut_slice(), "secret"), (seed.as_mut_slice(), "seed")]
        {
            bytes.iter_mut().zip(drawn(what)).for_each(|(byte, drawn)| *byte = drawn);
        }
        Entropy { nonce, credential: CredentialEntropy { secret, seed } }
    }
}
