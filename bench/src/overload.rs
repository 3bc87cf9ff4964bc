//! What happens when more is asked for than the token can sign: an open loop, which does not wait for answers before it asks again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plastron_proto::spire::api::server::svid::v1::BatchNewX509svidRequest;
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use tokio::task::JoinSet;
use tonic::Code;

use crate::Effort;
use crate::error::BenchError;
use crate::figures::line;
use crate::svid::Load;

/// Most calls under way: what a queue without end would need. Those above it are not asked, and counted.
const MOST_IN_FLIGHT: usize = 4000;
/// How often the loop looks how many it is behind.
const STEP: Duration = Duration::from_millis(2);
/// How long answers are waited for after the last question.
const PATIENCE: Duration = Duration::from_secs(40);

/// Offers what a closed loop got, and twice that.
pub(crate) async fn run(load: &Arc<Load>, capacity: f64, effort: Effort) -> Result<(), BenchError> {
    let mut at_capacity = None;
    for (times, name) in [(1.0, "1x"), (2.0, "2x")] {
        let Outcome { seconds, served, refused, unasked, mut latencies } =
            offer(load, capacity * times, Duration::from_secs(effort.seconds * 3)).await?;
        latencies.sort_unstable();
        let p99 = latencies.get(latencies.len() * 99 / 100).copied().unwrap_or_default();
        let rate = served / seconds;
        let kept = at_capacity.map_or_else(String::new, |before: f64| format!(", {:.2} of that at 1x", rate / before));
        at_capacity = at_capacity.or(Some(rate));
        line(
            &format!("offered {name} of {capacity:.0}/s, open loop: SVIDs per second"),
            &format!("{rate:.0}{kept}; p99 of what is served {} ms", p99.as_millis()),
        );
        let refused: Vec<_> = refused.iter().map(|(code, count)| format!("{code} {count}")).collect();
        let refused = if refused.is_empty() { "none".to_owned() } else { refused.join(", ") };
        line("   refused", &format!("{refused}; not asked, since {MOST_IN_FLIGHT} were under way: {unasked}"));
    }
    Ok(())
}

struct Outcome {
    seconds: f64,
    served: f64,
    refused: BTreeMap<String, usize>,
    unasked: usize,
    latencies: Vec<Duration>,
}

async fn offer(load: &Arc<Load>, per_second: f64, duration: Duration) -> Result<Outcome, BenchError> {
    let mut calls: JoinSet<Result<Duration, String>> = JoinSet::new();
    let (mut refused, mut latencies) = (BTreeMap::<String, usize>::new(), Vec::new());
    let (mut asked, mut unasked, begun) = (0_u32, 0, Instant::now());
    let mut note = |answer: Result<Result<Duration, String>, tokio::task::JoinError>| match answer {
        Ok(Ok(latency)) => latencies.push(latency),
        Ok(Err(code)) => *refused.entry(code).or_default() += 1,
        Err(error) => *refused.entry(error.to_string()).or_default() += 1,
    };
    while begun.elapsed() < duration {
        while f64::from(asked) < begun.elapsed().as_secs_f64() * per_second {
            if calls.len() < MOST_IN_FLIGHT {
                calls.spawn(ask(Arc::clone(load), usize::try_from(asked).unwrap_or_default()));
            } else {
                unasked += 1;
            }
            asked = asked.saturating_add(1);
        }
        while let Some(answer) = calls.try_join_next() {
            note(answer);
        }
        tokio::time::sleep(STEP).await;
    }
    let drained = tokio::time::timeout(PATIENCE, async {
        while let Some(answer) = calls.join_next().await {
            note(answer);
        }
    });
    if drained.await.is_err() {
        return Err(BenchError::wrong(format!(
            "calls without an answer {} s after the load ended",
            PATIENCE.as_secs()
        )));
    }
    let served = f64::from(u32::try_from(latencies.len()).unwrap_or(u32::MAX));
    Ok(Outcome { seconds: begun.elapsed().as_secs_f64(), served, refused, unasked, latencies })
}

/// One SVID: how long it took, or the code of the refusal.
async fn ask(load: Arc<Load>, number: usize) -> Result<Duration, String> {
    let begun = Instant::now();
    let entry = load.entries.iter().cycle().nth(number % load.entries.len().max(1));
    let params = entry.map(|(params, _, _)| params.clone()).into_iter().collect();
    let answer = SvidClient::new(load.channel.clone()).batch_new_x509svid(BatchNewX509svidRequest { params }).await;
    let results = answer.map_err(|status| format!("{:?}", status.code()))?.into_inner().results;
    let code = results.first().and_then(|result| result.status.as_ref()).map_or(0, |status| status.code);
    if code == 0 { Ok(begun.elapsed()) } else { Err(format!("{:?}", Code::from_i32(code))) }
}
