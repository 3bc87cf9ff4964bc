//! Files of entries (`-data`) and of identifiers (`-file`), in SPIRE's JSON: `{"entries": [{"spiffe_id": "spiffe://…", …}]}`, `{"ids": […]}`.
//!
//! Keys that nobody knows are ignored, as SPIRE ignores them, but named on standard error.

use plastron_proto::types::entry::AdditionalAttributes;
use plastron_proto::types::{Entry, Selector};
use plastron_spiffe::TrustDomain;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::arguments::spiffe_id;
use crate::{CliError, Io};

/// A file of entries: a million short ones.
const MAX_FILE_LEN: u64 = 256 * 1024 * 1024;

#[derive(Default, Deserialize)]
#[serde(default)]
struct FileEntry {
    entry_id: String,
    spiffe_id: String,
    parent_id: String,
    selectors: Vec<FileSelector>,
    x509_svid_ttl: i32,
    jwt_svid_ttl: i32,
    federates_with: Vec<String>,
    admin: bool,
    downstream: bool,
    #[serde(rename = "entryExpiry", alias = "entry_expiry")]
    entry_expiry: i64,
    dns_names: Vec<String>,
    revision_number: i64,
    store_svid: bool,
    hint: String,
    created_at: i64,
    additional_attributes: Option<FileAttributes>,
}

const ENTRY_KEYS: [&str; 17] = [
    "entry_id",
    "spiffe_id",
    "parent_id",
    "selectors",
    "x509_svid_ttl",
    "jwt_svid_ttl",
    "federates_with",
    "admin",
    "downstream",
    "entryExpiry",
    "entry_expiry",
    "dns_names",
    "revision_number",
    "store_svid",
    "hint",
    "created_at",
    "additional_attributes",
];

#[derive(Default, Deserialize)]
#[serde(default)]
struct FileSelector {
    r#type: String,
    value: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FileAttributes {
    disable_x509_svid_prefetch: bool,
    jwt_svid_include_jti: bool,
}

/// The entries in a file, or on standard input where the path is `-`.
pub(super) fn read_entries(path: &str, io: &mut Io<'_>) -> Result<Vec<Entry>, CliError> {
    let malformed = |source| CliError::Json { path: path.to_owned(), source };
    let objects: Vec<Map<String, Value>> = member("entries", &io.read(path, MAX_FILE_LEN)?).map_err(malformed)?;
    let mut entries = Vec::with_capacity(objects.len());
    for (index, object) in objects.into_iter().enumerate() {
        for key in object.keys().filter(|key| !ENTRY_KEYS.contains(&key.as_str())) {
            io.err(&format!("Warning: entries[{index}] has the unknown key {key:?}, which is ignored\n"))?;
        }
        let entry: FileEntry = serde_json::from_value(Value::Object(object)).map_err(malformed)?;
        entries.push(entry.into_proto()?);
    }
    Ok(entries)
}

/// The identifiers in a file, or on standard input where the path is `-`.
pub(super) fn read_ids(path: &str, io: &mut Io<'_>) -> Result<Vec<String>, CliError> {
    let malformed = |source| CliError::Json { path: path.to_owned(), source };
    member("ids", &io.read(path, MAX_FILE_LEN)?).map_err(malformed)
}

/// The list under `name` in the file's one object; objects are asked for by name, because serde takes a list for a struct as well.
fn member<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<Vec<T>, serde_json::Error> {
    let mut object: Map<String, Value> = serde_json::from_slice(bytes)?;
    object.remove(name).map_or_else(|| Ok(Vec::new()), serde_json::from_value)
}

impl FileEntry {
    fn into_proto(self) -> Result<Entry, CliError> {
        let federates_with = self
            .federates_with
            .iter()
            .map(|text| match TrustDomain::parse(text) {
                Ok(trust_domain) => Ok(trust_domain.as_str().to_owned()),
                Err(source) => Err(CliError::SpiffeId { what: "federated trust domain", text: text.clone(), source }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Entry {
            id: self.entry_id,
            spiffe_id: Some(spiffe_id("SPIFFE ID", &self.spiffe_id)?),
            parent_id: Some(spiffe_id("parent ID", &self.parent_id)?),
            selectors: self.selectors.into_iter().map(|s| Selector { r#type: s.r#type, value: s.value }).collect(),
            x509_svid_ttl: self.x509_svid_ttl,
            federates_with,
            admin: self.admin,
            downstream: self.downstream,
            expires_at: self.entry_expiry,
            dns_names: self.dns_names,
            revision_number: self.revision_number,
            store_svid: self.store_svid,
            jwt_svid_ttl: self.jwt_svid_ttl,
            hint: self.hint,
            created_at: self.created_at,
            additional_attributes: self.additional_attributes.map(|attributes| AdditionalAttributes {
                disable_x509_svid_prefetch: attributes.disable_x509_svid_prefetch,
                jwt_svid_include_jti: attributes.jwt_svid_include_jti,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Environment;

    fn entries(json: &str) -> (Result<Vec<Entry>, CliError>, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut input = json.as_bytes();
        let mut io = Io { input: &mut input, out: &mut out, err: &mut err, environment: Environment::default() };
        let result = read_entries("-", &mut io);
        (result, String::from_utf8(err).unwrap())
    }

    #[test]
    fn a_file_of_spire() {
        let (read, warnings) = entries(
            r#"{"entries": [{
                "selectors": [{"type": "unix", "value": "uid:1111"}],
                "spiffe_id": "spiffe://example.org/Blog",
                "parent_id": "spiffe://example.org/spire/agent/join_token/TokenBlog",
                "x509_svid_ttl": 200,
                "federates_with": ["spiffe://other.org"],
                "entryExpiry": 7,
                "ttl": 3,
                "admin": true
            }]}"#,
        );
        let read = read.unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].spiffe_id.as_ref().unwrap().path, "/Blog");
        assert_eq!((read[0].x509_svid_ttl, read[0].expires_at, read[0].admin), (200, 7, true));
        assert_eq!(read[0].federates_with, ["other.org"]);
        assert_eq!(warnings, "Warning: entries[0] has the unknown key \"ttl\", which is ignored\n");
    }

    #[test]
    fn what_is_no_such_file_is_refused() {
        for json in [
            "",
            "[]",
            r#"{"entries": [1]}"#,
            r#"{"entries": [{"spiffe_id": "db"}]}"#,
            "{\"entries\": [{\"admin\": 1}]}",
        ] {
            assert!(entries(json).0.is_err(), "{json}");
        }
    }
}
