//! The PKCS#11 module that stands between a program and its token and injects faults (`fault-proxy/`, where its rules are described).

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::{HarnessError, SoftHsm};

/// Builds it.
const COMMAND: &str = "cargo build --manifest-path fault-proxy/Cargo.toml --target-dir fault-proxy/target";

/// What happens between a program and one token. The program loads [`FaultProxy::module`] and has [`SoftHsm::environment`].
pub struct FaultProxy {
    directory: PathBuf,
}

/// How often a function was called in the process that loaded the proxy last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Calls that came.
    pub came: u64,
    /// Those of them that met a rule.
    pub met: u64,
    /// Those that hang now.
    pub hanging: u64,
}

impl FaultProxy {
    /// In front of this token.
    pub fn of(token: &SoftHsm) -> Self {
        Self { directory: token.directory().join("fault") }
    }

    /// The module, for `module` in a configuration.
    pub fn module() -> Result<PathBuf, HarnessError> {
        let proxy = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).join("fault-proxy");
        let path = proxy.join("target/debug/libplastron_fault_proxy.so");
        if path.is_file() {
            return Ok(path);
        }
        Err(HarnessError::MissingProxy { path: path.display().to_string(), command: COMMAND })
    }

    /// Puts these rules in place of those before: every call that begins from now on goes by them.
    pub fn set(&self, rules: &[&str]) -> Result<(), HarnessError> {
        /// Two writes within one tick of the file system's clock differ all the same.
        static WRITES: AtomicU64 = AtomicU64::new(1);
        let (path, next) = (self.directory.join("rules"), self.directory.join("rules.next"));
        let what = || format!("write {}", path.display());
        fs::write(&next, rules.join("\n")).map_err(HarnessError::io(what()))?;
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(WRITES.fetch_add(1, Ordering::Relaxed));
        let file = File::options().write(true).open(&next).map_err(HarnessError::io(what()))?;
        file.set_modified(moment).map_err(HarnessError::io(what()))?;
        fs::rename(&next, &path).map_err(HarnessError::io(what()))
    }

    /// No faults from now on; what hangs goes on.
    pub fn clear(&self) -> Result<(), HarnessError> {
        self.set(&[])
    }

    /// How often this function was called.
    pub fn calls(&self, function: &str) -> Result<Calls, HarnessError> {
        let path = self.directory.join("calls");
        let text = fs::read_to_string(&path).map_err(HarnessError::io(format!("read {}", path.display())))?;
        let malformed = || HarnessError::Malformed {
            path: path.display().to_string(),
            expected: "the fault proxy's count of this function's calls",
        };
        let mut lines = text.lines().map(str::split_whitespace);
        let mut words =
            lines.find_map(|mut words| (words.next() == Some(function)).then_some(words)).ok_or_else(malformed)?;
        let mut next = || words.next().and_then(|word| word.parse().ok()).ok_or_else(malformed);
        Ok(Calls { came: next()?, met: next()?, hanging: next()? })
    }

    /// Waits until so many calls of this function hang.
    pub fn wait_until_hanging(&self, function: &str, calls: u64, timeout: Duration) -> Result<(), HarnessError> {
        let deadline = Instant::now() + timeout;
        loop {
            let hanging = self.calls(function)?.hanging;
            if hanging >= calls {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let (what, log) = (format!("{calls} hanging calls of {function}"), format!("{hanging} hang"));
                return Err(HarnessError::Timeout { what, seconds: timeout.as_secs(), log });
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl SoftHsm {
    /// What a program needs that uses the token, by itself or through the [`FaultProxy`].
    pub fn environment(&self) -> Result<[(&'static str, OsString); 3], HarnessError> {
        Ok([
            ("SOFTHSM2_CONF", self.conf().into_os_string()),
            ("PLASTRON_FAULT_MODULE", Self::module()?.into_os_string()),
            ("PLASTRON_FAULT_DIR", self.directory().join("fault").into_os_string()),
        ])
    }
}
