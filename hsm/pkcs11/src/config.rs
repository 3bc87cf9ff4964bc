//! Which module, which token, and where the PIN is.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cryptoki::types::AuthPin;
use plastron_hsm::KeyStoreError;
use zeroize::Zeroizing;

/// PINs have at most 255 bytes in the tokens we know; a file that is longer is another file.
const MAX_PIN_FILE: u64 = 4096;

/// How a store finds its token and logs in.
#[derive(Clone, Debug)]
pub struct Pkcs11Config {
    /// The token vendor's shared library, by absolute path.
    pub module: PathBuf,
    /// The token.
    pub token: TokenSelector,
    /// The user PIN.
    pub pin: PinSource,
    /// Tells this server's keys from those of others in the same token: 1 to 64 of `a-z A-Z 0-9 . _ -`.
    pub instance: String,
    /// Sessions, each with a thread of its own. By default as many as cores, at most as many as the token allows; more than
    /// cores make software tokens slower.
    pub sessions: Option<NonZeroUsize>,
    /// How long one call may take.
    pub deadline: Duration,
}

impl Pkcs11Config {
    /// 30 s: a network HSM that fails over takes seconds, and no caller waits longer.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);
}

/// A token in a module. Slot numbers change when tokens are added; labels and serial numbers do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSelector {
    /// CKA_LABEL of the token.
    Label(String),
    /// Its serial number.
    Serial(String),
    /// The slot that it is in.
    Slot(u64),
}

impl fmt::Display for TokenSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "label {label:?}"),
            Self::Serial(serial) => write!(f, "serial {serial:?}"),
            Self::Slot(slot) => write!(f, "slot {slot}"),
        }
    }
}

/// Where the user PIN is read from: never the configuration itself, never a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// A file that others can't read; one line end after the PIN is left out.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A systemd credential (`LoadCredential=`), by name.
    Credential(String),
}

impl PinSource {
    /// Reads the PIN. An error names the source and never what was read.
    pub(crate) fn read(&self, store: &str) -> Result<AuthPin, KeyStoreError> {
        let refused = |reason: String, remedy: &str| KeyStoreError::Open {
            store: store.to_owned(),
            reason,
            remedy: remedy.to_owned(),
        };
        let text = match self {
            Self::File(path) => read_file(path).map_err(|reason| {
                refused(
                    reason,
                    "write the user PIN there, owned by the server's user with mode 0600, or set another PIN source",
                )
            })?,
            Self::Environment(name) => Zeroizing::new(env::var(name).map_err(|error| {
                let reason = format!("the PIN's environment variable {name}: {error}");
                refused(reason, "set it in the unit's environment file, or set another PIN source")
            })?),
            Self::Credential(name) => {
                let directory = env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                    let reason = format!("the PIN is to come from the credential {name:?}, and systemd passed none");
                    refused(reason, "add LoadCredential= or SetCredentialEncrypted= to the unit")
                })?;
                if name.is_empty() || name.contains('/') {
                    return Err(refused(format!("{name:?} is not the name of a credential"), "correct the PIN source"));
                }
                read_file(&Path::new(&directory).join(name))
                    .map_err(|reason| refused(reason, "check LoadCredential= in the unit"))?
            }
        };
        let pin = text.strip_suffix('\n').unwrap_or(&text);
        let pin = pin.strip_suffix('\r').unwrap_or(pin);
        if pin.is_empty() {
            return Err(refused(format!("the PIN from {self} is empty"), "write the user PIN there"));
        }
        Ok(AuthPin::from(pin))
    }
}

impl fmt::Display for PinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Environment(name) => write!(f, "the environment variable {name}"),
            Self::Credential(name) => write!(f, "the credential {name}"),
        }
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let shown = path.display();
    let failed = |error: io::Error| format!("can't read the PIN file {shown}: {error}");
    let mut file = File::open(path).map_err(failed)?;
    let metadata: fs::Metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(format!("everyone has access to the PIN file {shown}: its mode is {mode:04o}"));
    }
    let mut text = Zeroizing::new(String::new());
    let length = Read::by_ref(&mut file).take(MAX_PIN_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(length).is_ok_and(|length| length > MAX_PIN_FILE) {
        return Err(format!("the PIN file {shown} is larger than {MAX_PIN_FILE} bytes"));
    }
    Ok(text)
}
