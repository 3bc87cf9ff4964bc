//! Named checks, and how often they are really run.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long an outcome is given again: whoever asks in a loop costs one run a second.
const FRESH: Duration = Duration::from_secs(1);

/// How long a check may take: probes give up sooner, and a check that hangs is a failure.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// All is well.
    Passed,
    /// What is wrong, for the operator.
    Failed(String),
}

type Probe = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// The checks of a program. Cheap to clone.
#[derive(Clone)]
pub struct Checks(Arc<[Check]>);

/// Collects the checks of a program.
#[derive(Default)]
pub struct ChecksBuilder(Vec<Check>);

struct Check {
    name: &'static str,
    /// A failed check of this kind asks for a restart; all checks count for readiness.
    live: bool,
    probe: Probe,
    last: Mutex<Option<(Instant, CheckOutcome)>>,
}

impl Checks {
    /// Starts a list of checks.
    pub fn builder() -> ChecksBuilder {
        ChecksBuilder::default()
    }

    /// The outcome of every check that asks for a restart when it fails.
    pub async fn live(&self) -> Vec<(&'static str, CheckOutcome)> {
        self.outcomes(|check| check.live).await
    }

    /// The outcome of every check.
    pub async fn ready(&self) -> Vec<(&'static str, CheckOutcome)> {
        self.outcomes(|_| true).await
    }

    async fn outcomes(&self, wanted: impl Fn(&Check) -> bool) -> Vec<(&'static str, CheckOutcome)> {
        let mut outcomes = Vec::new();
        for check in self.0.iter().filter(|check| wanted(check)) {
            outcomes.push((check.name, check.outcome().await));
        }
        outcomes
    }
}

impl ChecksBuilder {
    /// A check that says whether the program can serve.
    pub fn ready<F>(self, name: &'static str, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.add(name, false, probe)
    }

    /// A check that says whether the program works at all; it counts for readiness too.
    pub fn live<F>(self, name: &'static str, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.add(name, true, probe)
    }

    fn add<F>(mut self, name: &'static str, live: bool, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.0.push(Check { name, live, probe: Box::new(move || Box::pin(probe())), last: Mutex::new(None) });
        self
    }

    /// The list, complete.
    pub fn build(self) -> Checks {
        Checks(self.0.into())
    }
}

impl Check {
    /// The lock is held while the probe runs, so that many askers cause one run.
    async fn outcome(&self) -> CheckOutcome {
        let mut last = self.last.lock().await;
        if let Some((at, outcome)) = &*last
            && at.elapsed() < FRESH
        {
            return outcome.clone();
        }
        let outcome = match tokio::time::timeout(TIMEOUT, (self.probe)()).await {
            Ok(Ok(())) => CheckOutcome::Passed,
            Ok(Err(reason)) => CheckOutcome::Failed(reason),
            Err(_) => CheckOutcome::Failed(format!("no answer within {} s", TIMEOUT.as_secs())),
        };
        *last = Some((Instant::now(), outcome.clone()));
        outcome
    }
}
