//! Judging what a quote shows against what the pool wants and what the server remembers.

mod banks;
mod golden;
mod state;

use plastron_attestation_tcg::{HashAlgorithm, Name};

use crate::ak::AkOrigin;
use crate::event_log::{self, JudgedBoot};
use crate::ima;
use crate::{
    AppraiseError, Approval, BoundAk, Check, Checklist, DenyList, EkFingerprint, EnrolledTpm, NeedsApproval, Pool,
    SentLog, TrustedEk, VerifiedQuote,
};

/// What the server remembers of the TPM.
#[derive(Clone, Debug)]
pub enum History {
    /// Nothing.
    New,
    /// A record of this EK; the AK says whether it is the current one.
    Known(Box<EnrolledTpm>),
}

impl History {
    /// The record, where there is one.
    pub fn record(&self) -> Option<&EnrolledTpm> {
        match self {
            Self::New => None,
            Self::Known(record) => Some(record),
        }
    }
}

/// What a node is held against.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// The pool that trusts its EK.
    pub pool: &'a Pool,
    /// What is refused whatever a pool says.
    pub deny: &'a DenyList,
    /// What the server remembers of it.
    pub history: History,
}

/// The proof that what a quote shows is what the pool wants, and no step back.
#[derive(Debug)]
pub struct Appraisal {
    ek: EkFingerprint,
    ak_name: Name,
    quote_sha256: [u8; 32],
    pool: String,
    pcr_selectors: Vec<String>,
    secure_boot: Option<bool>,
    event_log: Option<SentLog>,
    needs_approval: Option<NeedsApproval>,
    history: History,
}

impl Appraisal {
    /// Checks, in order: all are about one TPM; the record is of this EK; no retired AK; no step back; firmware not denied; the event log
    /// replays to this quote, or there is none, the pool takes that, and no allocated bank was left alone; the boot is what the pool
    /// demands; golden PCR values, after the log, so that it tells what made one that is not; the IMA list, where the pool asks for one.
    pub fn judge(
        ek: &TrustedEk,
        ak: &BoundAk,
        quote: &VerifiedQuote,
        event_log: Option<SentLog>,
        ima_list: Option<&[u8]>,
        expected: Expected<'_>,
        checks: &mut Checklist,
    ) -> Result<Self, AppraiseError> {
        let Expected { pool, deny, history } = expected;
        if ak.ek() != ek.fingerprint() {
            return Err(AppraiseError::Subject { what: "the AK is bound to another EK" });
        }
        if quote.ak_name() != ak.name() {
            return Err(AppraiseError::Subject { what: "the quote is by another AK" });
        }
        if pool.name != ek.pool() {
            return Err(AppraiseError::Subject { what: "the EK is trusted by another pool" });
        }
        if history.record().is_some_and(|record| record.ek_public != ek.public()) {
            return Err(AppraiseError::Subject { what: "the record is of another EK" });
        }
        check_history(ak, quote, &history, checks)?;
        if let Some(identity) = ek.identity() {
            deny.check_firmware(identity, quote.state().firmware_version)?;
        }
        let log = event_log::judge(event_log.as_ref().map(|log| &**log.bytes()), quote, &pool.boot, checks)?;
        if log.is_none() {
            match banks::check(quote.allocated(), &pool.boot.unextended_banks, quote.pcrs())? {
                0 => checks.not_checked(Check::BankNotExtended, "one bank only, or no firmware PCR quoted"),
                compared => {
                    checks.pass(Check::BankNotExtended, format!("{compared} PCRs, without an event log to replay"));
                }
            }
        }
        let boot = JudgedBoot::judge(log.as_ref(), quote, pool, checks)?;
        match golden::check(pool, quote.allocated(), quote.pcrs(), log.as_ref())? {
            0 => checks.not_checked(Check::GoldenPcr, "the pool has no golden PCR values"),
            compared => checks.pass(Check::GoldenPcr, format!("{compared} values")),
        }
        ima::judge(ima_list, quote, pool.boot.ima, checks)?;
        // What stands in a bank that firmware does not extend is whatever user space put there.
        let is_evidence = !pool.boot.unextended_banks.contains(&HashAlgorithm::Sha256);
        let pcr_selectors = pool.selector_pcrs.iter().filter(|_| is_evidence).filter_map(|index| {
            let value = quote.pcrs().get(&(HashAlgorithm::Sha256, *index))?;
            Some(format!("pcr:sha256:{index}:{}", hex::encode(value)))
        });
        Ok(Self {
            ek: ek.fingerprint(),
            ak_name: ak.name().clone(),
            quote_sha256: quote.sha256(),
            pool: pool.name.clone(),
            pcr_selectors: pcr_selectors.collect(),
            secure_boot: boot.secure_boot(),
            event_log,
            needs_approval: needs_approval(pool, ak, &history),
            history,
        })
    }

    pub(crate) fn ek(&self) -> EkFingerprint {
        self.ek
    }

    pub(crate) fn ak_name(&self) -> &Name {
        &self.ak_name
    }

    /// SHA-256 of the quote's signed bytes: what was judged is what that very quote shows.
    pub(crate) fn quote_sha256(&self) -> [u8; 32] {
        self.quote_sha256
    }

    pub(crate) fn pool(&self) -> &str {
        &self.pool
    }

    /// The state of Secure Boot, where a verified fact tells it.
    pub(crate) fn secure_boot(&self) -> Option<bool> {
        self.secure_boot
    }

    pub(crate) fn pcr_selectors(&self) -> &[String] {
        &self.pcr_selectors
    }

    /// What a person has to approve before the node is admitted, as the pool says.
    pub(crate) fn needs_approval(&self) -> Option<NeedsApproval> {
        self.needs_approval
    }

    /// What the server remembered, and the log that was judged.
    pub(crate) fn into_parts(self) -> (History, Option<SentLog>) {
        (self.history, self.event_log)
    }
}

fn needs_approval(pool: &Pool, ak: &BoundAk, history: &History) -> Option<NeedsApproval> {
    let (asks_for, approval) = match history.record() {
        None => (NeedsApproval::NewNode, pool.new_nodes),
        Some(record) if record.ak_name().as_ref() == Some(ak.name()) => return None,
        Some(_) => (NeedsApproval::NewAk, pool.new_ak),
    };
    match approval {
        Approval::NotAsked => None,
        Approval::ByPerson => Some(asks_for),
    }
}

fn check_history(
    ak: &BoundAk,
    quote: &VerifiedQuote,
    history: &History,
    checks: &mut Checklist,
) -> Result<(), AppraiseError> {
    if ak.origin() == AkOrigin::Retired {
        return Err(AppraiseError::RetiredAk);
    }
    let enrolled = history.record().and_then(EnrolledTpm::ak_name);
    if ak.origin() == AkOrigin::Enrolled && enrolled.as_ref() != Some(ak.name()) {
        return Err(AppraiseError::Subject { what: "the AK is bound by another record" });
    }
    let Some(record) = history.record() else {
        checks.not_checked(Check::TpmStateRegressed, "the TPM was not known");
        return Ok(());
    };
    if enrolled.as_ref() != Some(ak.name()) {
        checks.not_checked(Check::TpmStateRegressed, "a new AK takes the place of the enrolled one");
        return Ok(());
    }
    let now = quote.state();
    state::check(&record.state, &now)?;
    let safe = if now.safe { "" } else { ", clock not safe: power was cut" };
    checks.pass(
        Check::TpmStateRegressed,
        format!("resetCount {} to {}{safe}", record.state.reset_count, now.reset_count),
    );
    Ok(())
}
