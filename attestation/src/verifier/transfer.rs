//! What is fetched after the quote is verified: the event log, from this server or from the node, and then the node's IMA list.

use plastron_attestation_appraise::{AnnouncedLog, Check, ImaPolicy, SentLog};
use rustls_pki_types::UnixTime;

use super::{LOG_TRANSFER_SECS, Proven, State, Verifier, VerifierAction, find_pool};
use crate::log_transfer::{ImaAssembly, ImaProgress, LogAssembly, LogChunk, LogKind, LogProgress};
use crate::refused::ExchangeError;

impl Verifier {
    /// A log that this server had kept. One that is gone, or damaged, is asked for again.
    pub(super) fn judge_stored(
        &mut self,
        proven: Box<Proven>,
        stored: Option<Vec<u8>>,
        now: UnixTime,
    ) -> Result<VerifierAction, ExchangeError> {
        let Some(announced) = proven.event_log else { return self.ask_for_ima_list(proven, None, now) };
        match stored.map(|bytes| SentLog::matching(&announced, bytes)) {
            Some(Ok(log)) => {
                self.checks.pass(Check::EventLogDigest, "kept since an earlier attestation");
                self.ask_for_ima_list(proven, Some(log), now)
            }
            None | Some(Err(_)) => Ok(self.request(proven, LogAssembly::begin(announced), announced)),
        }
    }

    pub(super) fn receive(
        &mut self,
        proven: Box<Proven>,
        assembly: LogAssembly,
        bytes: &[u8],
        now: UnixTime,
    ) -> Result<VerifierAction, ExchangeError> {
        check_time(LogKind::EventLog, &proven, now)?;
        let LogChunk { bytes } = LogChunk::decode(bytes)?;
        self.take_part(proven, assembly, &bytes, now)
    }

    pub(super) fn take_part(
        &mut self,
        proven: Box<Proven>,
        assembly: LogAssembly,
        part: &[u8],
        now: UnixTime,
    ) -> Result<VerifierAction, ExchangeError> {
        match (assembly.take(part)?, proven.event_log) {
            (LogProgress::Part(assembly), Some(announced)) => Ok(self.request(proven, assembly, announced)),
            (LogProgress::Part(_), None) => Err(ExchangeError::LogUnasked),
            (LogProgress::Whole(log), _) => {
                self.checks.pass(Check::EventLogDigest, format!("{} bytes", log.bytes().len()));
                self.ask_for_ima_list(proven, Some(log), now)
            }
        }
    }

    fn request(&mut self, proven: Box<Proven>, assembly: LogAssembly, announced: AnnouncedLog) -> VerifierAction {
        let message = assembly.request().encode();
        self.state = State::ReceivingLog(proven, assembly);
        VerifierAction::RequestLog { message, announced }
    }

    /// The event log is here, or there is none. An IMA list, where there is one, is the last that is needed.
    pub(super) fn ask_for_ima_list(
        &mut self,
        mut proven: Box<Proven>,
        event_log: Option<SentLog>,
        now: UnixTime,
    ) -> Result<VerifierAction, ExchangeError> {
        let Some(len) = proven.ima_list_len else { return self.judge(*proven, event_log, None, now) };
        if find_pool(&self.policy, proven.ek.pool())?.boot().ima == ImaPolicy::NotAsked {
            return Err(ExchangeError::ImaListUnasked);
        }
        proven.transfer_began = now.as_secs();
        let assembly = ImaAssembly::begin(len)?;
        Ok(self.request_ima_list(proven, event_log, assembly))
    }

    pub(super) fn receive_ima_list(
        &mut self,
        proven: Box<Proven>,
        event_log: Option<SentLog>,
        assembly: ImaAssembly,
        bytes: &[u8],
        now: UnixTime,
    ) -> Result<VerifierAction, ExchangeError> {
        check_time(LogKind::ImaList, &proven, now)?;
        let LogChunk { bytes } = LogChunk::decode(bytes)?;
        match assembly.take(&bytes)? {
            ImaProgress::Part(assembly) => Ok(self.request_ima_list(proven, event_log, assembly)),
            ImaProgress::Whole(list) => self.judge(*proven, event_log, Some(&list), now),
        }
    }

    fn request_ima_list(
        &mut self,
        proven: Box<Proven>,
        event_log: Option<SentLog>,
        assembly: ImaAssembly,
    ) -> VerifierAction {
        let (message, len) = (assembly.request().encode(), assembly.len());
        self.state = State::ReceivingImaList(proven, event_log, assembly);
        VerifierAction::RequestImaList { message, len }
    }
}

fn check_time(log: LogKind, proven: &Proven, now: UnixTime) -> Result<(), ExchangeError> {
    let age = now.as_secs().saturating_sub(proven.transfer_began);
    if age > LOG_TRANSFER_SECS {
        return Err(ExchangeError::LogTransferTooSlow { log, age, limit: LOG_TRANSFER_SECS });
    }
    Ok(())
}
