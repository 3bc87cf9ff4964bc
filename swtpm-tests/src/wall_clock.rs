//! The wall clock that a program sees, set by a test while the program runs (libfaketime).
//!
//! Only the wall clock moves. The monotonic clock, by which programs wait, stays the machine's, as it does where a real clock is set.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::HarnessError;

/// Where Debian keeps the library, by architecture.
const LIBRARIES: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// A clock that programs can be started with; it begins as the machine's.
pub struct WallClock {
    directory: TempDir,
}

impl WallClock {
    /// A clock that shows the machine's time.
    pub fn new() -> Result<Self, HarnessError> {
        let directory = tempfile::Builder::new().prefix("clock-").tempdir();
        let clock = Self { directory: directory.map_err(HarnessError::io("create a temporary directory"))? };
        clock.set(0)?;
        Ok(clock)
    }

    /// From now on it is so many seconds ahead of the machine's clock, or behind it, for programs that run already too.
    pub fn set(&self, seconds_ahead: i64) -> Result<(), HarnessError> {
        // Renamed into place: a program reads the file each time it looks at the clock, and must never find half of it.
        let (path, new) = (self.file(), self.directory.path().join("new"));
        fs::write(&new, format!("{seconds_ahead:+}\n"))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(HarnessError::io(format!("write {}", path.display())))
    }

    /// Has this command, and what it starts, see this clock.
    pub fn show_to(&self, command: &mut Command) -> Result<(), HarnessError> {
        let library = LIBRARIES.iter().find(|path| fs::exists(path).unwrap_or(false));
        let library = library
            .ok_or_else(|| HarnessError::MissingTool { tool: "libfaketimeMT.so.1".to_owned(), package: "faketime" })?;
        command.env("LD_PRELOAD", library);
        command.envs([("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("FAKETIME_NO_CACHE", "1")]);
        command.env("FAKETIME_TIMESTAMP_FILE", self.file());
        Ok(())
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }
}
