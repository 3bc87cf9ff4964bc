//! The last stage: a node whose TPM evidence passed every check.

use plastron_spiffe::Selector;
use rustls_pki_types::UnixTime;

use crate::{
    Appraisal, AppraiseError, BoundAk, Check, CheckRecord, Checklist, Claims, ENROLLED_TPM_VERSION, EkFingerprint,
    EnrolledTpm, History, NeedsApproval, SentLog, TrustedEk, VerifiedQuote,
};

/// Most retired AK Names that are remembered: an AK is replaced when a TPM is cleared or a disk is lost, which is rare.
const MAX_RETIRED_AKS: usize = 64;

/// A node whose TPM evidence passed every check.
#[derive(Debug)]
pub struct AttestedNode {
    fingerprint: EkFingerprint,
    selectors: Vec<Selector>,
    svid_public_key: Vec<u8>,
    judged_against: Option<EnrolledTpm>,
    enrolled: EnrolledTpm,
    event_log: Option<SentLog>,
    needs_approval: Option<NeedsApproval>,
    records: Vec<CheckRecord>,
}

impl AttestedNode {
    /// Takes one proof of each stage; they must be about one EK, one AK, one quote and one pool.
    pub fn admit(
        ek: TrustedEk,
        ak: BoundAk,
        quote: VerifiedQuote,
        appraisal: Appraisal,
        claimed: Claims,
        now: UnixTime,
        mut checks: Checklist,
    ) -> Result<Self, (AppraiseError, Checklist)> {
        if let Err(error) = check_subjects(&ek, &ak, &quote, &appraisal) {
            return Err((error, checks));
        }
        checks.pass(Check::Subject, "");
        let selectors = match selectors(&ek, &quote, &appraisal) {
            Ok(selectors) => selectors,
            Err(error) => return Err((error, checks)),
        };
        let needs_approval = appraisal.needs_approval();
        let (history, event_log) = appraisal.into_parts();
        let judged_against = match history {
            History::New => None,
            History::Known(record) => Some(*record),
        };
        let now = now.as_secs();
        let enrolled = EnrolledTpm {
            version: ENROLLED_TPM_VERSION,
            pool: ek.pool().to_owned(),
            ek_public: ek.public().to_vec(),
            ek_certificate: ek.certificate().map(<[u8]>::to_vec),
            ek_intermediates: ek.intermediates().to_vec(),
            ak_public: ak.public().to_vec(),
            retired_ak_names: retired(judged_against.as_ref(), &ak),
            state: quote.state(),
            resident_svid_key: quote.key_is_resident().then(|| quote.svid_public_key().to_vec()),
            event_log_sha256: event_log.as_ref().map(|log| *log.sha256()),
            claimed,
            enrolled_at: judged_against.as_ref().map_or(now, |record| record.enrolled_at),
            attested_at: now,
        };
        Ok(Self {
            fingerprint: ek.fingerprint(),
            selectors,
            svid_public_key: quote.svid_public_key().to_vec(),
            judged_against,
            enrolled,
            event_log,
            needs_approval,
            records: checks.into_records(),
        })
    }

    /// The EK that identifies the node.
    pub fn ek_fingerprint(&self) -> EkFingerprint {
        self.fingerprint
    }

    /// The path of its SPIFFE ID, `/spire/agent/tpm/<EK fingerprint>`.
    pub fn agent_path(&self) -> String {
        self.fingerprint.agent_path()
    }

    /// The pool that trusts the EK.
    pub fn pool(&self) -> &str {
        &self.enrolled.pool
    }

    /// What the evidence proves about the node, of type `tpm`.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// SubjectPublicKeyInfo that the quote is bound to: the only key that an SVID may now be issued for.
    pub fn svid_public_key(&self) -> &[u8] {
        &self.svid_public_key
    }

    /// The event log that was judged, to be kept: the record names it by its hash. `None` where the machine has none.
    pub fn event_log(&self) -> Option<&SentLog> {
        self.event_log.as_ref()
    }

    /// What a person has to approve before the node is admitted: its pool asks for that.
    pub fn needs_approval(&self) -> Option<NeedsApproval> {
        self.needs_approval
    }

    /// Every check that was made, in order, for the audit line.
    pub fn records(&self) -> &[CheckRecord] {
        &self.records
    }

    /// The record to keep in place of the one it was judged against, if any.
    pub fn enrolled_tpm(&self) -> &EnrolledTpm {
        &self.enrolled
    }

    /// The record whose state and AK this admission was judged against; `None` for a node that was not known. An admission is
    /// stored only where the stored record is still this one: otherwise another conversation of the node was faster, and the
    /// node has to attest again.
    pub fn judged_against(&self) -> Option<&EnrolledTpm> {
        self.judged_against.as_ref()
    }
}

fn check_subjects(
    ek: &TrustedEk,
    ak: &BoundAk,
    quote: &VerifiedQuote,
    appraisal: &Appraisal,
) -> Result<(), AppraiseError> {
    let what = if ak.ek() != ek.fingerprint() {
        "the AK is bound to another EK"
    } else if quote.ak_name() != ak.name() {
        "the quote is by another AK"
    } else if appraisal.ek() != ek.fingerprint() || appraisal.ak_name() != ak.name() {
        "the appraisal is of another TPM"
    } else if appraisal.quote_sha256() != quote.sha256() {
        "the appraisal is of another quote"
    } else if appraisal.pool() != ek.pool() {
        "the appraisal is by another pool"
    } else {
        return Ok(());
    };
    Err(AppraiseError::Subject { what })
}

/// The one place that makes selectors from TPM evidence.
fn selectors(ek: &TrustedEk, quote: &VerifiedQuote, appraisal: &Appraisal) -> Result<Vec<Selector>, AppraiseError> {
    let mut values =
        vec![format!("ek:{}", ek.fingerprint()), format!("pool:{}", ek.pool()), "key_bound:true".to_owned()];
    if let Some(identity) = ek.identity() {
        values.push(format!("manufacturer:{}", identity.manufacturer()));
    }
    if quote.key_is_resident() {
        values.push("key_resident:true".to_owned());
    }
    if let Some(enabled) = appraisal.secure_boot() {
        values.push(format!("secure_boot:{enabled}"));
    }
    values.extend_from_slice(appraisal.pcr_selectors());
    Ok(values.into_iter().map(|value| Selector::new("tpm", value)).collect::<Result<_, _>>()?)
}

/// The AK Names that may never speak for the node again. One that is enrolled anew (its credential was just activated) is none.
fn retired(before: Option<&EnrolledTpm>, ak: &BoundAk) -> Vec<Vec<u8>> {
    let Some(before) = before else { return Vec::new() };
    let mut retired = before.retired_ak_names.clone();
    if let Some(previous) = before.ak_name().filter(|previous| previous != ak.name()) {
        retired.push(previous.as_bytes().to_vec());
    }
    let surplus = retired.len().saturating_sub(MAX_RETIRED_AKS);
    retired.drain(..surplus);
    retired
}
