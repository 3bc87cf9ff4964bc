//! The path of an agent's ID as a template (`agent_path_template`): Go's `text/template`, as much of it as names a field.
//!
//! `{{ .Field }}` and nothing else between braces: what SPIRE's template engine has besides (functions, pipelines, conditions) is
//! refused where the configuration is read, with the words that are not understood.

use std::collections::BTreeMap;

/// Most bytes of a template: the path that it makes is far shorter.
const MAX_TEMPLATE_LEN: usize = 2048;

/// What a template can name.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) trust_domain: &'a str,
    pub(crate) plugin_name: &'a str,
    /// SHA-1 of the leaf, hex: SPIRE's choice, an identifier and no proof.
    pub(crate) fingerprint: &'a str,
    pub(crate) serial_number_hex: &'a str,
    pub(crate) common_name: &'a str,
    /// Path of the exchanged SVID below the prefix; empty outside mode `spiffe`.
    pub(crate) svid_path_trimmed: &'a str,
    pub(crate) uri_san_selectors: &'a BTreeMap<String, String>,
}

/// A template that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    TrustDomain,
    PluginName,
    Fingerprint,
    SerialNumberHex,
    CommonName,
    SvidPathTrimmed,
    UriSanSelector(String),
}

impl Field {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            ".TrustDomain" => Self::TrustDomain,
            ".PluginName" => Self::PluginName,
            ".Fingerprint" => Self::Fingerprint,
            ".SerialNumberHex" => Self::SerialNumberHex,
            ".Subject.CommonName" => Self::CommonName,
            ".SVIDPathTrimmed" => Self::SvidPathTrimmed,
            other => {
                let key = other.strip_prefix(".URISanSelectors.")?;
                let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                (!key.is_empty() && key.bytes().all(is_word)).then(|| Self::UriSanSelector(key.to_owned()))?
            }
        })
    }
}

impl PathTemplate {
    /// SPIRE's default in mode `external_pki`.
    pub fn by_fingerprint() -> Self {
        Self(vec![
            Part::Text("/".to_owned()),
            Part::Field(Field::PluginName),
            Part::Text("/".to_owned()),
            Part::Field(Field::Fingerprint),
        ])
    }

    /// SPIRE's default in mode `spiffe`.
    pub fn by_svid_path() -> Self {
        Self(vec![
            Part::Text("/".to_owned()),
            Part::Field(Field::PluginName),
            Part::Text("/".to_owned()),
            Part::Field(Field::SvidPathTrimmed),
        ])
    }

    /// Reads a template. A leading `/` is added where there is none.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE_LEN {
            return Err(TemplateError::TooLong { len: text.len() });
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, action)) = rest.split_once("{{") {
            let (action, after) = action.split_once("}}").ok_or(TemplateError::Open)?;
            parts.push(Part::Text(before.to_owned()));
            let name = action.trim();
            let field = Field::parse(name).ok_or_else(|| TemplateError::Unknown { action: name.to_owned() })?;
            parts.push(Part::Field(field));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        if !text.starts_with('/') {
            parts.insert(0, Part::Text("/".to_owned()));
        }
        Ok(Self(parts))
    }

    /// The path below `/spire/agent`. A field that is empty is an error: two nodes without a common name must not be one.
    pub(crate) fn render(&self, fields: &Fields<'_>) -> Result<String, TemplateError> {
        let mut path = String::new();
        for part in &self.0 {
            let (name, value) = match part {
                Part::Text(text) => {
                    path.push_str(text);
                    continue;
                }
                Part::Field(field) => field.of(fields),
            };
            if value.is_empty() {
                return Err(TemplateError::Empty { field: name.to_owned() });
            }
            path.push_str(value);
        }
        Ok(path)
    }
}

impl Field {
    fn of<'a>(&'a self, fields: &Fields<'a>) -> (&'a str, &'a str) {
        let Fields {
            trust_domain,
            plugin_name,
            fingerprint,
            serial_number_hex,
            common_name,
            svid_path_trimmed,
            uri_san_selectors,
        } = fields;
        match self {
            Self::TrustDomain => ("TrustDomain", trust_domain),
            Self::PluginName => ("PluginName", plugin_name),
            Self::Fingerprint => ("Fingerprint", fingerprint),
            Self::SerialNumberHex => ("SerialNumberHex", serial_number_hex),
            Self::CommonName => ("Subject.CommonName", common_name),
            Self::SvidPathTrimmed => ("SVIDPathTrimmed", svid_path_trimmed),
            Self::UriSanSelector(key) => (key, uri_san_selectors.get(key).map_or("", String::as_str)),
        }
    }
}

/// Why a template is not understood, or makes no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Longer than any path.
    #[error("the template has {len} bytes, of at most {MAX_TEMPLATE_LEN}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// `{{` without `}}`.
    #[error("a {{{{ of the template is never closed")]
    Open,
    /// Something else than the name of a field.
    #[error(
        "the template's {action:?} is not understood: a field is one of .TrustDomain, .PluginName, .Fingerprint, \
         .SerialNumberHex, .Subject.CommonName, .SVIDPathTrimmed and .URISanSelectors.<key>; functions and conditions are not there"
    )]
    Unknown {
        /// What stands between the braces.
        action: String,
    },
    /// The certificate has nothing for a field.
    #[error("the certificate has no {field}, which the template of the agent's path names")]
    Empty {
        /// The field.
        field: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> Result<String, TemplateError> {
        let uri_san_selectors = BTreeMap::from([("rack".to_owned(), "r1".to_owned())]);
        PathTemplate::parse(template)?.render(&Fields {
            trust_domain: "example.org",
            plugin_name: "x509pop",
            fingerprint: "0beec7b5",
            serial_number_hex: "0a1b",
            common_name: "",
            svid_path_trimmed: "host/1",
            uri_san_selectors: &uri_san_selectors,
        })
    }

    #[test]
    fn fields_are_put_in_their_places() {
        assert_eq!(render("{{ .PluginName }}/{{.Fingerprint}}"), Ok("/x509pop/0beec7b5".to_owned()));
        assert_eq!(render("/a/{{ .SerialNumberHex }}-b"), Ok("/a/0a1b-b".to_owned()));
        assert_eq!(render("/{{ .URISanSelectors.rack }}/{{ .TrustDomain }}"), Ok("/r1/example.org".to_owned()));
        assert_eq!(render("/x/{{ .SVIDPathTrimmed }}"), Ok("/x/host/1".to_owned()));
        assert_eq!(
            PathTemplate::parse("/{{ .PluginName }}/{{ .Fingerprint }}").unwrap().render(&EMPTY),
            PathTemplate::by_fingerprint().render(&EMPTY)
        );
    }

    const EMPTY: Fields<'_> = Fields {
        trust_domain: "example.org",
        plugin_name: "x509pop",
        fingerprint: "00",
        serial_number_hex: "01",
        common_name: "",
        svid_path_trimmed: "",
        uri_san_selectors: &BTreeMap::new(),
    };

    /// Two nodes whose certificates lack the field would be one node.
    #[test]
    fn a_field_that_the_certificate_lacks_makes_no_path() {
        for template in ["/cn/{{ .Subject.CommonName }}", "/{{ .URISanSelectors.room }}"] {
            assert!(matches!(render(template), Err(TemplateError::Empty { .. })), "{template}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_words() {
        for bad in
            ["{{ .Subject.CommonName | lower }}", "{{ if .X }}a{{ end }}", "{{}}", "{{ Fingerprint }}", "{{ .Raw }}"]
        {
            assert!(matches!(PathTemplate::parse(bad), Err(TemplateError::Unknown { .. })), "{bad}");
        }
        assert_eq!(PathTemplate::parse("/a/{{ .Fingerprint"), Err(TemplateError::Open));
        assert!(matches!(PathTemplate::parse(&"x".repeat(3000)), Err(TemplateError::TooLong { .. })));
    }
}
