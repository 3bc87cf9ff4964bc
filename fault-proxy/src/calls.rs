//! Counts calls where a test can read them.

use std::env;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::functions::Function;

/// The directory of `rules` and `calls`.
const DIRECTORY: &str = "PLASTRON_FAULT_DIR";

/// Bytes of a function's line, with its end.
const LINE: usize = 64;

/// What a call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It came.
    Came,
    /// It met a rule.
    Met,
    /// It hangs.
    Hangs,
    /// It goes on.
    GoesOn,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    came: u64,
    met: u64,
    hanging: u64,
}

struct Calls {
    file: File,
    counts: Vec<Counts>,
}

/// A file in the directory that the test chose.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    env::var_os(DIRECTORY).map(|directory| PathBuf::from(directory).join(name))
}

/// Counts a step of a call, in memory and in the file.
pub(crate) fn count(function: Function, step: Step) {
    static CALLS: OnceLock<Option<Mutex<Calls>>> = OnceLock::new();
    let Some(calls) = CALLS.get_or_init(open) else { return };
    // Held until the line is written, so that a line never goes back.
    let mut calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
    let place = function as usize;
    let Some(counts) = calls.counts.get_mut(place) else { return };
    match step {
        Step::Came => counts.came += 1,
        Step::Met => counts.met += 1,
        Step::Hangs => counts.hanging += 1,
        Step::GoesOn => counts.hanging -= 1,
    }
    let line = line(function, *counts);
    if let Err(error) = calls.file.write_all_at(line.as_bytes(), (place * LINE) as u64) {
        crate::inject::stop(&format!("can't count calls: {error}"));
    }
}

fn open() -> Option<Mutex<Calls>> {
    let path = path("calls")?;
    let counts = vec![Counts::default(); Function::ALL.len()];
    let text: String = Function::ALL.iter().map(|function| line(*function, Counts::default())).collect();
    let made = File::create(&path).and_then(|file| file.write_all_at(text.as_bytes(), 0).map(|()| file));
    match made {
        Ok(file) => Some(Mutex::new(Calls { file, counts })),
        Err(error) => crate::inject::stop(&format!("can't make {}: {error}", path.display())),
    }
}

fn line(function: Function, Counts { came, met, hanging }: Counts) -> String {
    format!("{:<30}{came:>12}{met:>12}{hanging:>9}\n", function.name())
}
