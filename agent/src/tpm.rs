//! The `tpm` node attestor's settings, and the one place that opens a TPM. Built without the feature `tpm`, the settings are still
//! understood, and naming the attestor is an error that says so.

#[cfg(feature = "tpm")]
mod auth;

use std::path::PathBuf;

use plastron_hcl1::{ConfigError, Located};
use plastron_plugins_node_tpm::{EVENT_LOG_PATH, EkTemplate, IMA_LOG_PATH};
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
    endorsement_auth_credential: Option<Located<String>>,
    owner_auth_file: Option<PathBuf>,
    owner_auth_credential: Option<Located<String>>,
    event_log_path: Option<Located<PathBuf>>,
    ima_log_path: Option<Located<PathBuf>>,
}

/// Where an authorisation value is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthSource {
    /// A file that not everyone can read.
    File(PathBuf),
    /// A systemd credential (`LoadCredential=`), by name.
    Credential(String),
}

impl AuthSource {
    fn read(file: Option<PathBuf>, credential: Option<Located<String>>) -> Result<Option<Self>, ConfigError> {
        match (file, credential) {
            (None, None) => Ok(None),
            (Some(path), None) => Ok(Some(Self::File(path))),
            (None, Some(name)) if name.value.is_empty() || name.value.contains('/') => {
                Err(name.refuse("not the name of a credential"))
            }
            (None, Some(name)) => Ok(Some(Self::Credential(name.value))),
            (Some(_), Some(name)) => Err(name.refuse("a file is given too; choose one")),
        }
    }
}

/// Which TPM, and which of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// A TCTI configuration, such as `device:/dev/tpmrm0` or `swtpm:host=127.0.0.1,port=2321`.
    pub(crate) tcti: String,
    pub(crate) template: EkTemplate,
    pub(crate) endorsement_auth: Option<AuthSource>,
    pub(crate) owner_auth: Option<AuthSource>,
    /// Where the kernel shows the firmware's event log.
    pub(crate) event_log_path: PathBuf,
    /// Where the kernel shows the list of IMA. Read only where a server asks for it.
    pub(crate) ima_log_path: PathBuf,
}

impl Settings {
    pub(crate) fn read(raw: RawSettings) -> Result<Self, ConfigError> {
        let RawSettings {
            device,
            tcti,
            ek_template,
            endorsement_auth_file,
            endorsement_auth_credential,
            owner_auth_file,
            owner_auth_credential,
            event_log_path,
            ima_log_path,
        } = raw;
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
        let endorsement_auth = AuthSource::read(endorsement_auth_file, endorsement_auth_credential)?;
        let owner_auth = AuthSource::read(owner_auth_file, owner_auth_credential)?;
        let event_log_path = match event_log_path {
            None => PathBuf::from(EVENT_LOG_PATH),
            Some(path) if path.value.is_absolute() => path.value,
            Some(path) => return Err(path.refuse("an event log has an absolute path")),
        };
        let ima_log_path = match ima_log_path {
            None => PathBuf::from(IMA_LOG_PATH),
            Some(path) if path.value.is_absolute() => path.value,
            Some(path) => return Err(path.refuse("an IMA list has an absolute path")),
        };
        Ok(Self { tcti, template, endorsement_auth, owner_auth, event_log_path, ima_log_path })
    }
}

#[cfg(feature = "tpm")]
mod open {
    use std::io;
    use std::path::Path;
    use std::sync::Arc;

    use plastron_agent_cli::{TpmProperties, TpmSource};
    use plastron_attestation::{TpmDevice, TpmDeviceError, TpmSvidKeys};
    use plastron_hsm_tpm::{SharedTpm, Tpm, TpmConfig};
    use plastron_plugins::node::HoldsSvidKey;
    use plastron_plugins_node_tpm::{AkStore, EkTemplate, LogFiles, StartError, TpmAgentAttestor};

    use super::Settings;
    use super::auth::{self, AuthError};
    use crate::catalog::OpenAttestor;

    impl Settings {
        /// Opens the TPM and gives it to an attestor, which keeps its AK in the data directory.
        pub(crate) fn open(&self, data_dir: &Path) -> Result<OpenAttestor, OpenError> {
            let Self { tcti, template, endorsement_auth, owner_auth, event_log_path, ima_log_path } = self;
            let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
            // Made once: what the TPM refuses is remembered in it, however often the TPM is opened.
            let config = TpmConfig {
                endorsement_auth: auth::read(endorsement_auth.as_ref(), credentials.as_deref())?,
                owner_auth: auth::read(owner_auth.as_ref(), credentials.as_deref())?,
                ..TpmConfig::new(tcti.as_str())
            };
            let open = move || -> Result<Box<dyn TpmSvidKeys>, TpmDeviceError> {
                Ok(Box::new(SharedTpm::open(config.clone())?))
            };
            let (store, logs) = (AkStore::in_data_dir(data_dir), LogFiles::at(event_log_path, ima_log_path));
            let attestor =
                TpmAgentAttestor::start(Box::new(open), *template, store, logs).map_err(|error| match error {
                    StartError::Open(error) => OpenError::Device(error),
                    StartError::Thread(error) => OpenError::Thread(error),
                })?;
            let attestor = Arc::new(attestor);
            let held_keys: Arc<dyn HoldsSvidKey> = attestor.clone();
            Ok(OpenAttestor { attestor, held_keys: Some(held_keys) })
        }
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

        fn certified_templates(&self, device: &str) -> Result<Vec<EkTemplate>, TpmDeviceError> {
            Tpm::open(TpmConfig::new(device))?.certified_templates()
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
        #[error("the TPM's authorisation value can't be read")]
        Auth(#[from] AuthError),
        #[error("can't start the TPM's thread")]
        Thread(#[source] io::Error),
    }
}

#[cfg(not(feature = "tpm"))]
mod open {
    use std::path::Path;

    use crate::catalog::OpenAttestor;

    impl super::Settings {
        /// This build opens no TPM; the catalog refuses the settings before.
        pub(crate) fn open(&self, _data_dir: &Path) -> Result<OpenAttestor, OpenError> {
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
