//! The `plugins` block: SPIRE's form, in the order of the file.
//!
//! ```hcl
//! plugins {
//!   KeyManager "pkcs11" { plugin_data { … } }
//!   NodeAttestor "tpm" { plugin_data_file = "tpm.conf" }
//! }
//! ```
//! What a plugin's own keys mean is its own business; unknown ones are found when [`Plugin::decode`] reads them.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use plastron_hcl1::{Located, Notice, Place, Subtree};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::{LoadError, Strictness, load_subtree};

/// A plugin as it is configured.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// `NodeAttestor`, `KeyManager`, `WorkloadAttestor`, …, as written.
    pub kind: String,
    /// The plugin's name.
    pub name: String,
    /// Where its block stands.
    pub place: Place,
    /// The program of a plugin in another process; `None` for one of ours.
    pub command: Option<ExternalCommand>,
    data: Data,
}

/// Where a plugin's own configuration stands. A file is read by [`Plugin::decode`], so that one that can't be read is its plugin's
/// problem alone.
#[derive(Clone, Debug)]
enum Data {
    Here(Subtree),
    File(Located<PathBuf>),
}

/// The program that serves a plugin in another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalCommand {
    /// The program's path.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// The SHA-256 that the program must have, in hexadecimal.
    pub checksum: Option<String>,
}

#[derive(Deserialize)]
struct RawPlugin {
    plugin_cmd: Option<PathBuf>,
    #[serde(default)]
    plugin_args: Vec<String>,
    plugin_checksum: Option<String>,
    enabled: Option<bool>,
    plugin_data: Option<Subtree>,
    plugin_data_file: Option<Located<PathBuf>>,
}

impl Plugin {
    /// The plugin's own configuration, with what its reader should be told.
    pub fn decode<T: DeserializeOwned>(&self, strictness: &Strictness<'_>) -> Result<(T, Vec<Notice>), LoadError> {
        let (config, notices) = match &self.data {
            Data::Here(data) => data.decode()?,
            Data::File(file) => read_file(file)?.decode()?,
        };
        Ok((config, strictness.judge(notices)?))
    }
}

/// In SPIRE's words, which scripts look for.
fn read_file(file: &Located<PathBuf>) -> Result<Subtree, LoadError> {
    load_subtree(&file.value).map_err(|error| match error {
        LoadError::Unreadable { path, source } => {
            let reason = match source.kind() {
                io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
                _ => source.to_string(),
            };
            file.refuse(format_args!("failed to read plugin configuration: open {}: {reason}", path.display())).into()
        }
        error => error,
    })
}

/// Reads the `plugins` block. Disabled plugins are left out; a second block of the same type and name is refused.
pub fn read(plugins: &Subtree, strictness: &Strictness<'_>) -> Result<(Vec<Plugin>, Vec<Notice>), LoadError> {
    let mut found = Vec::new();
    let mut warnings = Vec::new();
    let mut seen: HashMap<(String, String), Place> = HashMap::new();
    for kind in plugins.blocks()? {
        for named in kind.subtree.blocks()? {
            let key = (kind.key.clone(), named.key.clone());
            if let Some(first) = seen.get(&key) {
                let problem = format!("{:?} {:?} is configured at {} already", kind.key, named.key, first.position);
                return Err(named.place.refuse(problem).into());
            }
            seen.insert(key, named.place.clone());
            let (raw, notices) = named.subtree.decode::<RawPlugin>()?;
            warnings.extend(strictness.judge(notices)?);
            if raw.enabled.unwrap_or(true) {
                found.push(plugin(kind.key.clone(), named.key, named.place, raw)?);
            }
        }
    }
    Ok((found, warnings))
}

fn plugin(kind: String, name: String, place: Place, raw: RawPlugin) -> Result<Plugin, LoadError> {
    let data = match (raw.plugin_data, raw.plugin_data_file) {
        (Some(_), Some(file)) => return Err(file.refuse("plugin_data is given too; choose one").into()),
        (Some(data), None) => Data::Here(data),
        (None, Some(file)) => Data::File(file),
        (None, None) => Data::Here(Subtree::absent(place.clone())),
    };
    let command =
        raw.plugin_cmd.map(|path| ExternalCommand { path, args: raw.plugin_args, checksum: raw.plugin_checksum });
    Ok(Plugin { kind, name, place, command, data })
}

#[cfg(test)]
mod tests;
