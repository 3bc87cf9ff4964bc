//! Attestors in memory that answer, fail, vanish or hang.

use std::sync::atomic::{AtomicBool, Ordering};

use plastron_plugins::workload::Liveness;

use super::*;

enum Answer {
    Selectors(Vec<String>),
    Fails,
    Gone,
    Hangs,
    Panics,
}

#[async_trait::async_trait]
impl WorkloadAttestor for Answer {
    fn name(&self) -> &str {
        "fake"
    }

    async fn attest(&self, process: &WorkloadProcess) -> Result<Vec<Selector>, WorkloadAttestError> {
        let pid = process.pid;
        match self {
            Self::Selectors(found) => Ok(found.iter().map(|text| Selector::parse(text).unwrap()).collect()),
            Self::Fails => Err(WorkloadAttestError::Unreadable { pid, what: "exe", reason: "denied".to_owned() }),
            Self::Gone => Err(WorkloadAttestError::Gone { pid }),
            Self::Hangs => std::future::pending().await,
            Self::Panics => panic!("an attestor gone wrong"),
        }
    }
}

struct Alive(AtomicBool);

impl Liveness for Alive {
    fn is_same_process(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

async fn attest(alive: bool, answers: Vec<Answer>) -> Result<Vec<String>, WorkloadAttestationError> {
    let attestors = answers.into_iter().map(|answer| Arc::new(answer) as Arc<dyn WorkloadAttestor>).collect();
    let liveness = Arc::new(Alive(AtomicBool::new(alive)));
    let process = WorkloadProcess { pid: 7, uid: 1, gid: 1, liveness };
    let selectors = WorkloadAttestation::new(attestors).attest(&process).await?;
    Ok(selectors.iter().map(ToString::to_string).collect())
}

fn some(text: &str) -> Answer {
    Answer::Selectors(vec![text.to_owned()])
}

#[tokio::test]
async fn answers_are_joined_and_failures_left_out() {
    let found = attest(true, vec![some("b:2"), Answer::Fails, Answer::Panics, some("a:1"), some("b:2")]).await.unwrap();
    assert_eq!(found, ["a:1", "b:2"]);
}

#[tokio::test]
async fn all_failing_is_an_error_and_so_is_having_no_attestor() {
    let all = attest(true, vec![Answer::Fails, Answer::Panics]).await;
    assert!(matches!(all, Err(WorkloadAttestationError::AllFailed { pid: 7 })), "{all:?}");
    let none = attest(true, vec![]).await;
    assert!(matches!(none, Err(WorkloadAttestationError::AllFailed { .. })), "{none:?}");
}

#[tokio::test]
async fn an_attestor_with_nothing_to_say_has_still_answered() {
    assert!(attest(true, vec![Answer::Selectors(vec![]), Answer::Fails]).await.unwrap().is_empty());
}

/// Threat 38
#[tokio::test]
async fn a_process_that_is_gone_gets_nothing_whatever_was_found() {
    let found = attest(false, vec![some("unix:uid:0")]).await;
    assert!(matches!(found, Err(WorkloadAttestationError::Gone { pid: 7 })), "{found:?}");
    let found = attest(true, vec![some("unix:uid:0"), Answer::Gone]).await;
    assert!(matches!(found, Err(WorkloadAttestationError::Gone { .. })), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn an_attestor_that_hangs_is_not_waited_for_for_ever() {
    let found = attest(true, vec![some("a:1"), Answer::Hangs]).await;
    assert!(matches!(found, Err(WorkloadAttestationError::TimedOut { .. })), "{found:?}");
}

#[tokio::test]
async fn selectors_are_bounded() {
    let many = (0..=MAX_SELECTORS).map(|n| format!("a:{n}")).collect();
    let found = attest(true, vec![Answer::Selectors(many)]).await;
    assert!(matches!(found, Err(WorkloadAttestationError::TooManySelectors { .. })), "{found:?}");
}
