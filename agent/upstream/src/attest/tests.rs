//! The agent's half of the stream against replies in a list.

use plastron_plugins::node::AgentAttestError;

use super::*;

struct Echo {
    answers: usize,
}

#[async_trait::async_trait]
impl AgentConversation for Echo {
    async fn payload(&mut self) -> Result<Vec<u8>, AgentAttestError> {
        Ok(b"payload".to_vec())
    }

    async fn respond(&mut self, challenge: &[u8]) -> Result<Vec<u8>, AgentAttestError> {
        self.answers += 1;
        match challenge {
            b"impossible" => Err(AgentAttestError { attestor: "echo".to_owned(), reason: "can't".to_owned() }),
            b"mute" => Ok(Vec::new()),
            _ => Ok(challenge.to_vec()),
        }
    }

    async fn admitted(&mut self) -> Result<(), AgentAttestError> {
        Ok(())
    }
}

fn challenge(bytes: &[u8]) -> Result<AttestAgentResponse, Status> {
    Ok(AttestAgentResponse { step: Some(attest_agent_response::Step::Challenge(bytes.to_vec())) })
}

fn result() -> Result<AttestAgentResponse, Status> {
    let result = attest_agent_response::Result { svid: None, reattestable: true };
    Ok(AttestAgentResponse { step: Some(attest_agent_response::Step::Result(result)) })
}

async fn run(
    replies: Vec<Result<AttestAgentResponse, Status>>,
) -> (Result<bool, UpstreamError>, Vec<AttestAgentRequest>, usize) {
    let (requests, mut sent) = mpsc::channel(1000);
    let mut echo = Echo { answers: 0 };
    let outcome = converse("server", &requests, tokio_stream::iter(replies), &mut echo).await;
    drop(requests);
    let mut all = Vec::new();
    while let Some(request) = sent.recv().await {
        all.push(request);
    }
    (outcome.map(|result| result.reattestable), all, echo.answers)
}

#[tokio::test]
async fn one_response_for_each_challenge() {
    let (outcome, sent, _) = run(vec![challenge(b"one"), challenge(b"two"), result()]).await;
    assert!(outcome.unwrap());
    let sent: Vec<_> = sent.into_iter().map(|request| request.step.unwrap()).collect();
    assert_eq!(sent, [b"one", b"two"].map(|bytes| attest_agent_request::Step::ChallengeResponse(bytes.to_vec())));
}

#[tokio::test]
async fn what_breaks_the_contract_ends_the_conversation() {
    let no_step = || Ok(AttestAgentResponse { step: None });
    for replies in
        [vec![], vec![challenge(b"one")], vec![challenge(b"")], vec![no_step()], vec![challenge(b"mute"), result()]]
    {
        let (outcome, ..) = run(replies).await;
        assert!(matches!(outcome, Err(UpstreamError::MalformedReply { .. })), "{outcome:?}");
    }
    let endless = (0..1000).map(|_| challenge(b"more")).collect();
    let (outcome, _, answers) = run(endless).await;
    assert!(matches!(outcome, Err(UpstreamError::MalformedReply { .. })), "{outcome:?}");
    assert_eq!(answers, MAX_CHALLENGES);
}

#[tokio::test]
async fn a_refusal_by_either_side_keeps_its_name() {
    let (outcome, ..) = run(vec![Err(Status::permission_denied("failed to attest: pcr_mismatch"))]).await;
    assert!(matches!(outcome, Err(UpstreamError::PermissionDenied { .. })), "{outcome:?}");
    let (outcome, ..) = run(vec![challenge(b"impossible")]).await;
    assert!(matches!(outcome, Err(UpstreamError::Attestor(_))), "{outcome:?}");
}
