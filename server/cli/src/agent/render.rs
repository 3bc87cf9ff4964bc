//! Agents for people, with SPIRE's labels.

use plastron_proto::types::Agent;

use crate::output::{id_text, printable, utc};

pub(super) fn agents(one: bool) -> &'static str {
    if one { "agent" } else { "agents" }
}

pub(super) fn list(all: &[Agent]) -> String {
    if all.is_empty() {
        return "No attested agents found\n".to_owned();
    }
    let mut text = format!("Found {} attested {}:\n\n", all.len(), agents(all.len() == 1));
    for agent in all {
        text += &block(agent);
    }
    text
}

pub(super) fn one(agent: &Agent) -> String {
    let mut text = format!("Found an attested agent given its SPIFFE ID\n\n{}", block(agent));
    for selector in &agent.selectors {
        text += &format!("Selectors         : {}:{}\n", printable(&selector.r#type), printable(&selector.value));
    }
    text
}

fn block(agent: &Agent) -> String {
    let mut text = format!(
        "SPIFFE ID         : {}\nAttestation type  : {}\nExpiration time   : {}\n",
        id_text(agent.id.as_ref()),
        printable(&agent.attestation_type),
        utc(agent.x509svid_expires_at)
    );
    // A banned agent has no serial number.
    if agent.banned {
        text += "Banned            : true\n";
    } else {
        text += &format!("Serial number     : {}\n", printable(&agent.x509svid_serial_number));
    }
    text += &format!("Can re-attest     : {}\n", agent.can_reattest);
    if !agent.agent_version.is_empty() {
        text += &format!("Agent version     : {}\n", printable(&agent.agent_version));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use plastron_proto::types::{Selector, Spiffeid};

    use super::*;

    fn agent() -> Agent {
        Agent {
            id: Some(Spiffeid { trust_domain: "example.org".into(), path: "/spire/agent/tpm/ab".into() }),
            attestation_type: "tpm".into(),
            x509svid_serial_number: "1234".into(),
            x509svid_expires_at: 1_767_366_245,
            selectors: vec![Selector { r#type: "tpm".into(), value: "pool:lab".into() }],
            can_reattest: true,
            ..Default::default()
        }
    }

    #[test]
    fn an_agent_with_its_selectors() {
        assert_eq!(
            one(&agent()),
            "Found an attested agent given its SPIFFE ID\n\n\
             SPIFFE ID         : spiffe://example.org/spire/agent/tpm/ab\n\
             Attestation type  : tpm\n\
             Expiration time   : 2026-01-02 15:04:05 +0000 UTC\n\
             Serial number     : 1234\n\
             Can re-attest     : true\n\n\
             Selectors         : tpm:pool:lab\n"
        );
    }

    #[test]
    fn a_list_counts_and_a_banned_agent_shows_no_serial_number() {
        let banned = Agent { banned: true, agent_version: "0.1\u{1b}[31m".into(), ..agent() };
        let text = list(&[agent(), banned]);
        assert!(text.starts_with("Found 2 attested agents:\n\nSPIFFE ID         : "), "{text}");
        assert!(
            text.contains("Banned            : true\nCan re-attest     : true\nAgent version     : 0.1\\u{1b}[31m\n\n"),
            "{text}"
        );
        assert!(list(&[agent()]).starts_with("Found 1 attested agent:\n\n"));
        assert_eq!(list(&[]), "No attested agents found\n");
    }
}
