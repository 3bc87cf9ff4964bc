//! The server's half: a token of the right form is presented to the store.

use plastron_attestation_appraise::{Check, Checklist, Verdict};
use plastron_plugins::node::{
    Admission, AdmissionContext, NodeAttestor, NodeConversation, NodeStep, PresentedToken, Refusal, RefusalCode,
};
use rustls_pki_types::UnixTime;
use zeroize::Zeroizing;

use crate::NAME;
use crate::token::{TokenFormError, check_form};

/// Admits whoever presents a token; the store refuses the tokens that are not good.
#[derive(Clone, Copy, Debug, Default)]
pub struct JoinTokenNodeAttestor;

struct Conversation;

impl NodeAttestor for JoinTokenNodeAttestor {
    fn name(&self) -> &str {
        NAME
    }

    fn begin(&self, _context: AdmissionContext) -> Box<dyn NodeConversation> {
        Box::new(Conversation)
    }
}

#[async_trait::async_trait]
impl NodeConversation for Conversation {
    async fn step(&mut self, message: &[u8], _now: UnixTime) -> Result<NodeStep, Refusal> {
        let token = read(message).map_err(|error| refusal(&error))?;
        Ok(NodeStep::Admit(Admission::JoinToken(PresentedToken::new(token))))
    }
}

fn read(message: &[u8]) -> Result<Zeroizing<String>, TokenFormError> {
    let token = std::str::from_utf8(message).map_err(|_| TokenFormError::NotText)?;
    check_form(token)?;
    Ok(Zeroizing::new(token.to_owned()))
}

fn refusal(error: &TokenFormError) -> Refusal {
    let detail = error.to_string();
    let mut checks = Checklist::new();
    checks.fail(Check::Malformed, detail.clone());
    Refusal {
        check: Check::Malformed,
        detail,
        verdict: Verdict::Untrusted,
        code: RefusalCode::Malformed,
        records: checks.into_records(),
        node: None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use plastron_spiffe::TrustDomain;

    use super::*;

    async fn step(message: &[u8]) -> Result<NodeStep, Refusal> {
        let context = AdmissionContext {
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            svid_public_key: Arc::from([]),
            peer: None,
        };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
        JoinTokenNodeAttestor.begin(context).step(message, now).await
    }

    #[tokio::test]
    async fn a_token_is_presented_as_it_came() {
        let Ok(NodeStep::Admit(Admission::JoinToken(token))) = step(b"abc-1").await else { panic!("not admitted") };
        assert_eq!(token.reveal(), "abc-1");
        let id = token.agent_id(&TrustDomain::parse("example.org").unwrap()).unwrap();
        assert_eq!(id.as_str(), "spiffe://example.org/spire/agent/join_token/abc-1");
    }

    #[tokio::test]
    async fn what_is_no_token_is_refused_and_not_repeated() {
        for bad in [&b""[..], b"a/b", b"\xff\xfe", b"..", &[b'x'; 300], b"secret token"] {
            let Err(refusal) = step(bad).await else { panic!("{bad:?}") };
            assert_eq!(refusal.check, Check::Malformed);
            assert_eq!(refusal.code, RefusalCode::Malformed);
            assert!(!refusal.detail.contains("secret"));
            assert_eq!(refusal.records.len(), 1);
        }
    }
}
