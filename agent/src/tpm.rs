//! The `tpm` node attestor's settings, and the one place that opens a TPM. Built without the feature `tpm`, the settings are still
//! understood, and naming the attestor is an error that says so.

use std::path::PathBuf;

use plastron_hcl1::{ConfigError, Located};
use plastron_plugins_node_tpm::EkTemplate;
use serde::Deserialize;

/// The attestation type.
pub(crate) const NAME: &str = "tpm";
/// Whether this build links libtss2.
pub(crate) const BUILT_IN: bool = false;
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
}

/// Which TPM, and which of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// A TCTI configuration, such as `device:/dev/tpmrm0`.
    pub(crate) tcti: String,
    pub(crate) template: EkTemplate,
    pub(crate) endorsement_auth_file: Option<PathBuf>,
}

impl Settings {
    pub(crate) fn read(raw: RawSettings) -> Result<Self, ConfigError> {
        let RawSettings { device, tcti, ek_template, endorsement_auth_file } = raw;
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
            Some(name) => match name.value.as_str() {
                "rsa2048" => EkTemplate::L1Rsa2048,
                "p384" => EkTemplate::H3P384,
                _ => return Err(name.refuse("use rsa2048 or p384")),
            },
        };
        Ok(Self { tcti, template, endorsement_auth_file })
    }
}

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
