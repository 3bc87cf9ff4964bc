//! `./dev boot-test`: a machine in QEMU boots Debian with a TPM, its firmware writes the log of that boot, and the real `plastron-agent`
//! in it attests to a real `plastron-server` outside.
//!
//! `plastron-boot-test SCRIPTS WORK`: SCRIPTS is the folder `boot-test`, WORK the folder for all that is made, with what
//! `boot-test/packages` fetched in `WORK/packages`. Each step prints what it saw; the first that does not see what it must ends the
//! run with status 1. Golden values come from the first boot, never from this program: Debian's packages change.

mod error;
mod firmware;
mod machine;
mod payload;
mod story;
mod verdict;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

pub(crate) use error::BootTestError;

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(scripts), Some(work), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        eprintln!("usage: plastron-boot-test SCRIPTS WORK");
        return ExitCode::from(2);
    };
    let begun = Instant::now();
    match story::tell(&scripts, &work) {
        Ok(()) => {
            println!(
                "\nProved in {} s: firmware's own log admits a machine, and names what was changed when it is refused.",
                begun.elapsed().as_secs()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("boot-test: {error}");
            ExitCode::FAILURE
        }
    }
}
