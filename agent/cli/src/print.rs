//! The forms of output, and SPIRE's words for people.

use std::io::{self, Write};
use std::time::Duration;

use clap::ValueEnum;
use der::Decode;
use time::OffsetDateTime;
use x509_cert::Certificate;

use crate::duration::GoDuration;
use crate::svid::{FetchedSvid, FetchedSvids};

/// For people or for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Text for people
    #[default]
    #[value(alias = "prettyprint")]
    Pretty,
    /// JSON for programs
    Json,
}

/// Which verb prints: SPIRE's `api watch` shows no hints, and names foreign trust domains where `api fetch` shows their IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// `api fetch`
    Fetch,
    /// `api watch`
    Watch,
}

/// `Received 1 svid after 12ms`, then each SVID.
pub(crate) fn svids(out: &mut dyn Write, verb: Verb, fetched: &FetchedSvids, after: Duration) -> io::Result<()> {
    let count = fetched.svids.len();
    let plural = if count == 1 { "" } else { "s" };
    writeln!(out, "Received {count} svid{plural} after {}", GoDuration(after))?;
    for svid in &fetched.svids {
        writeln!(out)?;
        one_svid(out, verb, svid)?;
        for (domain, bundle) in &fetched.federated {
            let name = if verb == Verb::Fetch { domain.id().to_string() } else { domain.as_str().to_owned() };
            for (number, certificate) in (1..).zip(bundle) {
                validity(out, &format!("[{name}] CA #{number}"), certificate)?;
            }
        }
    }
    writeln!(out)?;
    out.flush()
}

fn one_svid(out: &mut dyn Write, verb: Verb, svid: &FetchedSvid) -> io::Result<()> {
    writeln!(out, "SPIFFE ID:\t\t{}", svid.id)?;
    if verb == Verb::Fetch && !svid.hint.is_empty() {
        writeln!(out, "Hint:\t\t\t{}", svid.hint.escape_debug())?;
    }
    let mut chain = svid.chain.iter();
    if let Some(leaf) = chain.next() {
        validity(out, "SVID", leaf)?;
    }
    for (number, certificate) in (1..).zip(chain) {
        validity(out, &format!("Intermediate #{number}"), certificate)?;
    }
    for (number, certificate) in (1..).zip(&svid.bundle) {
        validity(out, &format!("CA #{number}"), certificate)?;
    }
    Ok(())
}

/// Two lines. A foreign authority that does not parse has no times; its peers will refuse it anyway.
fn validity(out: &mut dyn Write, what: &str, der: &[u8]) -> io::Result<()> {
    let Ok(certificate) = Certificate::from_der(&plastron_spiffe::x509::readable(der)) else {
        return writeln!(out, "{what}: not a certificate");
    };
    let validity = certificate.tbs_certificate().validity();
    writeln!(out, "{what} Valid After:\t{}", utc(validity.not_before.to_unix_duration()))?;
    writeln!(out, "{what} Valid Until:\t{}", utc(validity.not_after.to_unix_duration()))
}

/// `2025-10-21 14:04:03 +0000 UTC`
fn utc(since_epoch: Duration) -> String {
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second] +0000 UTC");
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|at| at.format(format).ok())
        .unwrap_or_else(|| format!("{seconds} s after 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_go_prints_them() {
        assert_eq!(utc(Duration::from_secs(1_761_055_443)), "2025-10-21 14:04:03 +0000 UTC");
        assert_eq!(utc(Duration::MAX), "9223372036854775807 s after 1970");
    }
}
