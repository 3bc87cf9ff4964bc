//! Entries for people, with SPIRE's labels.

use plastron_proto::types::{Entry, Status};
use tonic::Code;

use crate::output::{code_name, id_text, printable, quoted, utc};
use crate::{CliError, Io};

pub(super) fn list(entries: &[Entry]) -> String {
    let mut text = format!("Found {} {}\n", entries.len(), if entries.len() == 1 { "entry" } else { "entries" });
    for entry in entries {
        text += &block(entry);
    }
    text
}

/// Prints what was done to standard output, what was refused to standard error; the code is that of the first refusal.
pub(super) fn batch<'a>(
    verb: &str,
    results: impl Iterator<Item = (Option<&'a Status>, Option<&'a Entry>)>,
    io: &mut Io<'_>,
) -> Result<Code, CliError> {
    let mut first = Code::Ok;
    let mut failures = String::new();
    for (status, entry) in results {
        let text = entry.map(block).unwrap_or_default();
        let code = status.map_or(Code::Unknown, |status| Code::from(status.code));
        if code == Code::Ok {
            io.out(&text)?;
            continue;
        }
        if first == Code::Ok {
            first = code;
        }
        let message = quoted(status.map_or("", |status| &status.message));
        failures +=
            &format!("Failed to {verb} the following entry (code: {}, msg: {message}):\n{text}", code_name(code));
    }
    io.err(&failures)?;
    Ok(first)
}

fn block(entry: &Entry) -> String {
    let ttl = |seconds: i32| if seconds == 0 { "default".to_owned() } else { seconds.to_string() };
    let id = if entry.id.is_empty() { "(none)".to_owned() } else { printable(&entry.id) };
    let mut text = String::new();
    let mut line = |label: &str, value: &str| text += &format!("{label:<23} : {value}\n");
    line("Entry ID", &id);
    line("SPIFFE ID", &id_text(entry.spiffe_id.as_ref()));
    line("Parent ID", &id_text(entry.parent_id.as_ref()));
    line("Revision", &entry.revision_number.to_string());
    if entry.downstream {
        line("Downstream", "true");
    }
    line("X509-SVID TTL", &ttl(entry.x509_svid_ttl));
    line("JWT-SVID TTL", &ttl(entry.jwt_svid_ttl));
    if entry.expires_at != 0 {
        line("Expiration time", &utc(entry.expires_at));
    }
    for selector in &entry.selectors {
        line("Selector", &format!("{}:{}", printable(&selector.r#type), printable(&selector.value)));
    }
    for trust_domain in &entry.federates_with {
        line("FederatesWith", &printable(trust_domain));
    }
    for name in &entry.dns_names {
        line("DNS name", &printable(name));
    }
    if entry.admin {
        line("Admin", "true");
    }
    if entry.store_svid {
        line("StoreSvid", "true");
    }
    if !entry.hint.is_empty() {
        line("Hint", &printable(&entry.hint));
    }
    let attributes = entry.additional_attributes.unwrap_or_default();
    if attributes.disable_x509_svid_prefetch {
        line("DisableX509SvidPrefetch", "true");
    }
    if attributes.jwt_svid_include_jti {
        line("JwtSvidIncludeJti", "true");
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use plastron_proto::types::entry::AdditionalAttributes;
    use plastron_proto::types::{Selector, Spiffeid};

    use super::*;

    fn entry() -> Entry {
        let id = |path: &str| Some(Spiffeid { trust_domain: "example.org".into(), path: path.into() });
        let selector = |value: &str| Selector { r#type: "unix".into(), value: value.into() };
        Entry {
            id: "e-1".into(),
            spiffe_id: id("/db"),
            parent_id: id("/spire/agent/tpm/ab"),
            selectors: vec![selector("uid:1000"), selector("path:/\u{1b}[2J")],
            revision_number: 2,
            ..Default::default()
        }
    }

    #[test]
    fn a_plain_entry() {
        assert_eq!(
            list(&[entry()]),
            "Found 1 entry\n\
             Entry ID                : e-1\n\
             SPIFFE ID               : spiffe://example.org/db\n\
             Parent ID               : spiffe://example.org/spire/agent/tpm/ab\n\
             Revision                : 2\n\
             X509-SVID TTL           : default\n\
             JWT-SVID TTL            : default\n\
             Selector                : unix:uid:1000\n\
             Selector                : unix:path:/\\u{1b}[2J\n\n"
        );
        assert_eq!(list(&[]), "Found 0 entries\n");
    }

    #[test]
    fn an_entry_with_everything() {
        let full = Entry {
            id: String::new(),
            downstream: true,
            x509_svid_ttl: 60,
            jwt_svid_ttl: 30,
            expires_at: 1_767_366_245,
            federates_with: vec!["other.org".into()],
            dns_names: vec!["db.example.org".into()],
            admin: true,
            store_svid: true,
            hint: "primary".into(),
            additional_attributes: Some(AdditionalAttributes {
                disable_x509_svid_prefetch: true,
                jwt_svid_include_jti: true,
            }),
            selectors: vec![],
            ..entry()
        };
        assert_eq!(
            block(&full),
            "Entry ID                : (none)\n\
             SPIFFE ID               : spiffe://example.org/db\n\
             Parent ID               : spiffe://example.org/spire/agent/tpm/ab\n\
             Revision                : 2\n\
             Downstream              : true\n\
             X509-SVID TTL           : 60\n\
             JWT-SVID TTL            : 30\n\
             Expiration time         : 2026-01-02 15:04:05 +0000 UTC\n\
             FederatesWith           : other.org\n\
             DNS name                : db.example.org\n\
             Admin                   : true\n\
             StoreSvid               : true\n\
             Hint                    : primary\n\
             DisableX509SvidPrefetch : true\n\
             JwtSvidIncludeJti       : true\n\n"
        );
    }
}
