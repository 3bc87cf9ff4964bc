//! Stands in for firmware and boot loader: writes the event log of a boot to the file that it is given, and prints what a TPM has to be
//! told, one extension per line as `tpm2_pcrextend` takes it.

use std::error::Error;
use std::io::Write;

use plastron_attestation_fake_tpm::event_log::LinuxBoot;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("measured_boot FILE: the file for the event log is missing")?;
    let log = LinuxBoot::default().log();
    std::fs::write(path, log.bytes())?;
    let mut out = std::io::stdout().lock();
    for (pcr, digests) in log.extensions() {
        let digests = digests.iter().map(|(bank, digest)| format!("{bank}={}", hex::encode(digest)));
        writeln!(out, "{pcr}:{}", digests.collect::<Vec<_>>().join(","))?;
    }
    Ok(())
}
