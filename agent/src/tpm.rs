//! The `tpm` node attestor's settings, and the one place that opens a TPM. Built without the feature `tpm`, the settings are still
//! understood, and naming the attestor is an error that says so.

use std::path::PathBuf;

use plastron_hcl1::{ConfigError, Located};
use plastron_plugins_node_tpm::EkTemplate;
use serde::Deserialize;

/// The attestation type.
pub(crate) const NAME: &str = "tpm";
/// Whether this build links libtss2.
pub(crate) const BUILT_IN: bool = cfg!(feature = "tpm");
/// What to say where it does not.
pub(crate) const NOT_BUILT_IN: &str =
    "this agent was built without TPM support; use a build with the feature \"tpm\", or NodeAttestor \"join_token\"";

/// The kernel's resource manager.
const DEFAULT_TCTI: &str = "device:/dev/tpmrm0";

/// `plugin_data` of NodeAttestor "tpm".
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RawSettings {
    device: Option<Located<String>>,
    tcti: Option<Located<String>>,
    ek_template: Option<Located<String>>,
    endorsement_auth_file: Option<PathBuf>,
    owner_auth_file: Option<PathBuf>,
}

/// Which TPM, and which of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// A TCTI configuration, such as `device:/dev/tpmrm0` or `swtpm:host=127.0.0.1,port=2321`.
    pub(crate) tcti: String,
    pub(crate) template: EkTemplate,
    pub(crate) endorsement_auth_file: Option<PathBuf>,
    pub(crate) owner_auth_file: Option<PathBuf>,
}

impl Settings {
    pub(crate) fn read(raw: RawSettings) -> Result<Self, ConfigError> {
        let RawSettings { device, tcti, ek_template, endorsement_auth_file, owner_auth_file } = raw;
        let tcti = match (device, tcti) {
            (None, None) => DEFAULT_TCTI.to_owned(),
            (Some(device), None) if device.value.starts_with('/') => format!("device:{}", device.value),
            (Some(device), None) => {
                return Err(device.refuse("a device is an absolute path; other ways to a TPM go into tcti"));
            }
            (None, Some(tcti)) => tcti.value,
            (Some(_), Some(tcti)) => return Err(tcti.refuse("device is given too; choose one")),
        };
        let template = match &ek_template {
            None => EkTemplate::L1Rsa2048,
            Some(name) => EkTemplate::from_name(&name.value)
                .ok_or_else(|| name.refuse(format_args!("use one of {}", EkTemplate::names())))?,
        };
        Ok(Self { tcti, template, endorsement_auth_file, owner_auth_file })
    }
}

#[cfg(feature = "tpm")]
mod open {
    use std::fs::File;
    use std::io::{self, Read as _};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use plastron_agent_cli::{TpmProperties, TpmSource};
    use plastron_attestation::{TpmDevice, TpmDeviceError};
    use plastron_hsm_tpm::{Tpm, TpmConfig};
    use plastron_plugins::node::AgentNodeAttestor;
    use plastron_plugins_node_tpm::{AkStore, StartError, TpmAgentAttestor};
    use zeroize::Zeroizing;

    use super::Settings;

    /// Longest file of an authorisation value: the value itself has at most 64 bytes (the largest digest of a TPM).
    const MAX_AUTH_FILE_LEN: u64 = 1024;

    impl Settings {
        /// Opens the TPM and gives it to an attestor, which keeps its AK in the data directory.
        pub(crate) fn open(&self, data_dir: &Path) -> Result<Arc<dyn AgentNodeAttestor>, OpenError> {
            let Self { tcti, template, endorsement_auth_file, owner_auth_file } = self;
            let device = tcti.clone();
            let endorsement_auth = read_auth(endorsement_auth_file.as_deref())?;
            let owner_auth = read_auth(owner_auth_file.as_deref())?;
            let open = move || -> Result<Box<dyn TpmDevice>, TpmDeviceError> {
                Ok(Box::new(Tpm::open(TpmConfig {
                    device: device.clone(),
                    endorsement_auth: endorsement_auth.clone(),
                    owner_auth: owner_auth.clone(),
                })?))
            };
            let attestor = TpmAgentAttestor::start(Box::new(open), *template, AkStore::in_data_dir(data_dir)).map_err(
                |error| match error {
                    StartError::Open(error) => OpenError::Device(error),
                    StartError::Thread(error) => OpenError::Thread(error),
                },
            )?;
            Ok(Arc::new(attestor))
        }
    }

    /// An authorisation value from its file, without the line end that editors add.
    fn read_auth(path: Option<&Path>) -> Result<Option<Zeroizing<Vec<u8>>>, OpenError> {
        let Some(path) = path else { return Ok(None) };
        // The whole capacity at once: growing would leave copies behind.
        let mut value = Zeroizing::new(Vec::with_capacity(2048));
        File::open(path)
            .and_then(|file| file.take(MAX_AUTH_FILE_LEN).read_to_end(&mut value))
            .map_err(|source| OpenError::AuthFile { path: path.to_owned(), source })?;
        while value.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            value.pop();
        }
        Ok(Some(value))
    }

    /// The TPM for `tpm info` and its like.
    pub(crate) fn source() -> Option<&'static dyn TpmSource> {
        Some(&Source)
    }

    struct Source;

    impl TpmSource for Source {
        fn open(&self, device: &str) -> Result<Box<dyn TpmDevice>, TpmDeviceError> {
            Ok(Box::new(Tpm::open(TpmConfig::new(device))?))
        }

        fn properties(&self, device: &str) -> Result<TpmProperties, TpmDeviceError> {
            let plastron_hsm_tpm::TpmProperties {
                manufacturer,
                vendor,
                firmware,
                specification,
                banks,
                lockout_counter,
                max_auth_fail,
            } = Tpm::open(TpmConfig::new(device))?.properties()?;
            Ok(TpmProperties { manufacturer, vendor, firmware, specification, banks, lockout_counter, max_auth_fail })
        }
    }

    /// Why there is no TPM.
    #[derive(Debug, thiserror::Error)]
    pub(crate) enum OpenError {
        #[error("the TPM does not open; check that it is there and that the agent's user may use it (group tss)")]
        Device(#[from] TpmDeviceError),
        #[error("can't read the authorisation value in {}", path.display())]
        AuthFile { path: PathBuf, source: io::Error },
        #[error("can't start the TPM's thread")]
        Thread(#[source] io::Error),
    }
}

#[cfg(not(feature = "tpm"))]
mod open {
    use std::path::Path;
    use std::sync::Arc;

    use plastron_plugins::node::AgentNodeAttestor;

    impl super::Settings {
        /// This build opens no TPM; the catalog refuses the settings before.
        pub(crate) fn open(&self, _data_dir: &Path) -> Result<Arc<dyn AgentNodeAttestor>, OpenError> {
            Err(OpenError::NotBuiltIn)
        }
    }

    /// The TPM for `tpm info` and its like: none.
    pub(crate) fn source() -> Option<&'static dyn plastron_agent_cli::TpmSource> {
        None
    }

    /// Why there is no TPM.
    #[derive(Debug, thiserror::Error)]
    pub(crate) enum OpenError {
        #[error("{}", super::NOT_BUILT_IN)]
        NotBuiltIn,
    }
}

pub(crate) use open::{OpenError, source};
