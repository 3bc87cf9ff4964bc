//! Federation relationships for people, with SPIRE's labels.

use plastron_proto::types::federation_relationship::BundleEndpointProfile;
use plastron_proto::types::{FederationRelationship, Status};
use tonic::Code;

use crate::output::{code_name, printable, quoted};
use crate::{CliError, Io};

pub(super) fn list(all: &[FederationRelationship]) -> String {
    let plural = if all.len() == 1 { "" } else { "s" };
    let mut text = format!("Found {} federation relationship{plural}\n", all.len());
    for relationship in all {
        text.push('\n');
        text += &block(relationship);
    }
    text
}

/// Prints what was done to standard output, what was refused to standard error; the code is that of the first refusal. An answer does
/// not repeat what it refused, so `given` says what that was.
pub(super) fn batch(
    verb: &str,
    results: impl Iterator<Item = (Option<Status>, Option<FederationRelationship>)>,
    given: Vec<FederationRelationship>,
    io: &mut Io<'_>,
) -> Result<Code, CliError> {
    let mut first = Code::Ok;
    let mut failures = Vec::new();
    for ((status, relationship), given) in results.zip(given) {
        let code = status.as_ref().map_or(Code::Unknown, |status| Code::from(status.code));
        if code == Code::Ok {
            io.out(&format!("\n{}", block(&relationship.unwrap_or_default())))?;
            continue;
        }
        if first == Code::Ok {
            first = code;
        }
        let message = quoted(&status.unwrap_or_default().message);
        failures.push(format!(
            "Failed to {verb} the following federation relationship (code: {}, msg: {message}):\n{}",
            code_name(code),
            block(&given)
        ));
    }
    for failure in failures {
        io.out("\n")?;
        io.err(&failure)?;
    }
    Ok(first)
}

pub(super) fn block(relationship: &FederationRelationship) -> String {
    let FederationRelationship { trust_domain, bundle_endpoint_url, bundle_endpoint_profile, trust_domain_bundle: _ } =
        relationship;
    let mut text = String::new();
    let mut line = |label: &str, value: &str| text += &format!("{label:<25} : {}\n", printable(value));
    line("Trust domain", trust_domain);
    line("Bundle endpoint URL", bundle_endpoint_url);
    match bundle_endpoint_profile {
        Some(BundleEndpointProfile::HttpsWeb(_)) => line("Bundle endpoint profile", "https_web"),
        Some(BundleEndpointProfile::HttpsSpiffe(profile)) => {
            line("Bundle endpoint profile", "https_spiffe");
            line("Endpoint SPIFFE ID", &profile.endpoint_spiffe_id);
        }
        None => {}
    }
    text
}
