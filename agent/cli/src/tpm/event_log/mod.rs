//! `tpm eventlog`: what the log of a boot says, event by event, without a TPM, an agent or a server.
//!
//! Nothing is proven: a log that no quote was compared with can say anything. What is shown is whether each text is what its digest
//! covers, and the PCR values to which the log leads, so that a person can compare them with those of a TPM.

mod render;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use plastron_attestation_tcg::event_log::{LogFault, MAX_LOG_LEN, RawLog};

use crate::Context;
use crate::error::CliError;
use crate::print::Output;

/// Where Linux shows the log of this boot.
const DEFAULT_FILE: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";

/// Flags of `tpm eventlog`.
#[derive(Debug, Args)]
pub struct EventLog {
    /// The log, in either format of the TCG; - is standard input
    #[arg(value_name = "FILE", default_value = DEFAULT_FILE)]
    file: PathBuf,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(EventLog { file, output }: &EventLog, context: Context<'_>) -> Result<(), CliError> {
    let bytes = read(file, context.input)?;
    let log = RawLog::parse(&bytes).map_err(|source| match source.reason {
        LogFault::Empty => CliError::NoEventLog { file: file.clone() },
        _ => CliError::EventLog { file: file.clone(), source },
    })?;
    match output {
        Output::Pretty => write!(context.out, "{}", render::text(file, &log))?,
        Output::Json => writeln!(context.out, "{}", render::json(&log)?)?,
    }
    Ok(())
}

/// At most one byte more than a log may have, so that a longer one is refused as such.
fn read(file: &Path, input: &mut dyn Read) -> Result<Vec<u8>, CliError> {
    let limit = u64::try_from(MAX_LOG_LEN).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let outcome = if file == OsStr::new("-") {
        input.take(limit).read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|open| open.take(limit).read_to_end(&mut bytes))
    };
    match outcome {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(CliError::NoEventLog { file: file.to_owned() }),
        Err(source) => Err(CliError::ReadEventLog { file: file.to_owned(), source }),
    }
}
