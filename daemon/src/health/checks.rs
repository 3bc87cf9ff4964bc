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
    /// The program can't do its work, and serves what it has.
    FromCache(FromCache),
    /// What is wrong, for the operator.
    Failed(String),
}

/// What a program that serves what it has tells about that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromCache {
    /// Since when, Unix seconds.
    pub since: u64,
    /// What is in the way.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

type Probe = Box<dyn Fn() -> Pin<Box<dyn Future<Output = CheckOutcome> + Send>> + Send + Sync>;
type Detail = Box<dyn Fn() -> serde_json::Value + Send + Sync>;

/// The checks of a program. Cheap to clone.
#[derive(Clone)]
pub struct Checks(Arc<ChecksBuilder>);

/// Collects the checks of a program.
#[derive(Default)]
pub struct ChecksBuilder {
    checks: Vec<Check>,
    details: Vec<(&'static str, Detail)>,
}

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

    /// What stands beside the outcomes: figures that nobody is to act on by themselves.
    pub fn details(&self) -> Vec<(&'static str, serde_json::Value)> {
        self.0.details.iter().map(|(name, detail)| (*name, detail())).collect()
    }

    async fn outcomes(&self, wanted: impl Fn(&Check) -> bool) -> Vec<(&'static str, CheckOutcome)> {
        let mut outcomes = Vec::new();
        for check in self.0.checks.iter().filter(|check| wanted(check)) {
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

    /// A check that says whether the program can serve, and knows a state between that and failure.
    pub fn ready_or_from_cache<F>(self, name: &'static str, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = CheckOutcome> + Send + 'static,
    {
        self.push(name, false, Box::new(move || Box::pin(probe())))
    }

    /// Figures for the page of [`ready`](Self::ready) checks. They are read whenever the page is, so reading them must cost nothing.
    pub fn detail(mut self, name: &'static str, read: impl Fn() -> serde_json::Value + Send + Sync + 'static) -> Self {
        self.details.push((name, Box::new(read)));
        self
    }

    fn add<F>(self, name: &'static str, live: bool, probe: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let probe = move || {
            let outcome = probe();
            let named = async { outcome.await.map_or_else(CheckOutcome::Failed, |()| CheckOutcome::Passed) };
            Box::pin(named) as Pin<Box<dyn Future<Output = CheckOutcome> + Send>>
        };
        self.push(name, live, Box::new(probe))
    }

    fn push(mut self, name: &'static str, live: bool, probe: Probe) -> Self {
        self.checks.push(Check { name, live, probe, last: Mutex::new(None) });
        self
    }

    /// The list, complete.
    pub fn build(self) -> Checks {
        Checks(Arc::new(self))
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
        let late = |_elapsed| CheckOutcome::Failed(format!("no answer within {} s", TIMEOUT.as_secs()));
        let outcome = tokio::time::timeout(TIMEOUT, (self.probe)()).await.unwrap_or_else(late);
        *last = Some((Instant::now(), outcome.clone()));
        outcome
    }
}
