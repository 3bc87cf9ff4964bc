//! Event logs per CPU-second on one core: read, replayed in all their banks, and understood.
//!
//! The logs are made here, with digests of SHA-1, SHA-256 and SHA-384, as OVMF, shim and GRUB write them.

use std::hint::black_box;

use aws_lc_rs::digest::{self, Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use plastron_attestation_appraise::event_log::{Facts, Replay};
use plastron_attestation_fake_tpm::event_log::{LinuxBoot, LogBuilder};
use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::RawLog;

use crate::Effort;
use crate::appraise::per_second;
use crate::error::BenchError;
use crate::figures::{Series, heading, line};

/// What one image that dbx forbids adds to a log.
const DBX_ENTRY_LEN: usize = 48;

pub(crate) fn run(effort: Effort) -> Result<(), BenchError> {
    heading(
        "Event logs, one thread (CPU time): parsed, replayed in SHA-1, SHA-256 and SHA-384, facts with every text hashed",
    );
    for (name, events, len) in [("26 KB, 88 events", 88, 26_000), ("64 KiB, 220 events", 220, 64 << 10)] {
        let log = log(events, len)?.bytes().to_vec();
        let (mut parsed, mut replayed, mut all) = (Series::default(), Series::default(), Series::default());
        let mut hashed = Series::default();
        let bare = hash_inputs(&log)?;
        for _ in 0..effort.rounds {
            parsed.push(per_second(effort, || parse(&log).map(drop))?);
            replayed.push(per_second(effort, || parse(&log).map(|log| drop(black_box(Replay::of(&log)))))?);
            all.push(per_second(effort, || {
                let log = parse(&log)?;
                black_box((Replay::of(&log), Facts::read(&log)));
                Ok(())
            })?);
            hashed.push(per_second(effort, || {
                bare.iter().for_each(|(algorithm, bytes)| {
                    black_box(digest::digest(algorithm, bytes));
                });
                Ok(())
            })?);
        }
        for (what, series) in [("parsed", &parsed), ("and replayed", &replayed), ("and facts", &all)] {
            line(&format!("{name}: {what}, per CPU-second"), &series.show(0));
        }
        line(&format!("{name}: the same bytes hashed and nothing else, per CPU-second"), &hashed.show(0));
        line(&format!("{name}: share of bare hashing in all of it"), &all.over(&hashed).show(2));
        line(&format!("{name}: CPU microseconds for all of it"), &format!("{:.1}", 1e6 / all.median()));
    }
    Ok(())
}

fn parse(log: &[u8]) -> Result<RawLog<'_>, BenchError> {
    RawLog::parse(black_box(log)).map_err(BenchError::wrong)
}

/// A log of exactly so many events and at least so many bytes, at most one entry of dbx more.
pub(crate) fn log(events: usize, len: usize) -> Result<LogBuilder, BenchError> {
    let mut boot = LinuxBoot { grub_commands: 0, dbx_len: 1, ..LinuxBoot::default() };
    boot.grub_commands = events.saturating_sub(boot.log().event_count());
    boot.dbx_len += len.saturating_sub(boot.log().bytes().len()).div_ceil(DBX_ENTRY_LEN);
    let log = boot.log();
    let got = (log.event_count(), log.bytes().len());
    if got.0 != events || !(len..len + DBX_ENTRY_LEN).contains(&got.1) {
        return Err(BenchError::wrong(format!("the log has {} events and {} bytes", got.0, got.1)));
    }
    Ok(log)
}

/// What must be hashed, whoever reads the log: the data of each event, and the old value and digest of each extension.
fn hash_inputs(log: &[u8]) -> Result<Vec<(&'static Algorithm, Vec<u8>)>, BenchError> {
    let log = parse(log)?;
    let events = || log.events().iter().filter(|event| event.is_extended());
    let inputs = log.banks().iter().flat_map(|bank| {
        let algorithm = match bank {
            HashAlgorithm::Sha1 => &SHA1_FOR_LEGACY_USE_ONLY,
            HashAlgorithm::Sha256 => &SHA256,
            HashAlgorithm::Sha384 => &SHA384,
            HashAlgorithm::Sha512 => &SHA512,
        };
        events().flat_map(move |event| [(algorithm, event.data.to_vec()), (algorithm, vec![0; 2 * bank.digest_len()])])
    });
    Ok(inputs.collect())
}
