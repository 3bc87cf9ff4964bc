//! JWT-SVIDs through gRPC (`NewJWTSVID`): CPU of the server's process and how many a second, beside aws-lc-rs's own signing rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plastron_proto::spire::api::server::svid::v1::NewJwtsvidRequest;
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;

use crate::error::BenchError;
use crate::figures::{Series, heading, line};
use crate::server::{CaKey, Server};
use crate::sign::SigningRate;
use crate::svid::Load;
use crate::{Effort, cpu};

/// Calls in flight.
const IN_FLIGHT: usize = 8;

pub(crate) async fn run(effort: Effort) -> Result<(), BenchError> {
    for (key, algorithm) in [(CaKey::SoftP256, "ES256"), (CaKey::SoftP384, "ES384")] {
        heading(&format!("JWT-SVIDs through gRPC, {algorithm}, key: {}", key.name()));
        let server = Server::start(key, "NodeAttestor \"join_token\" { plugin_data {} }").await?;
        let load = Arc::new(Load::prepare(&server).await?);
        ask(&load, Duration::from_millis(500)).await?;
        let (mut micros, mut rate) = (Series::default(), Series::default());
        let (mut raw_rate, mut raw_micros) = (Series::default(), Series::default());
        for _ in 0..effort.rounds {
            let (before, begun) = (cpu::of_process(server.pid())?, Instant::now());
            let issued = ask(&load, Duration::from_secs(effort.seconds)).await?;
            let (wall, spent) = (begun.elapsed(), cpu::of_process(server.pid())?.saturating_sub(before));
            micros.push(spent.as_secs_f64() * 1e6 / issued);
            rate.push(issued / wall.as_secs_f64());
            let raw = SigningRate::measure(key, effort.seconds.div_ceil(2))?;
            raw_rate.push(raw.per_second);
            raw_micros.push(raw.cpu_micros);
        }
        line("server CPU per NewJWTSVID", &format!("{} µs", micros.show(1)));
        line("CPU per signature of aws-lc-rs", &format!("{} µs", raw_micros.show(1)));
        line("JWT-SVIDs per second", &rate.show(0));
        line("signature of aws-lc-rs, per second, all cores", &raw_rate.show(0));
        server.stop()?;
    }
    Ok(())
}

/// Asks for one token after the other for so long; how many were issued.
async fn ask(load: &Arc<Load>, duration: Duration) -> Result<f64, BenchError> {
    let deadline = Instant::now() + duration;
    let mut callers = Vec::with_capacity(IN_FLIGHT);
    for caller in 0..IN_FLIGHT {
        let load = Arc::clone(load);
        callers.push(tokio::spawn(async move {
            let mut client = SvidClient::new(load.channel.clone());
            let mut issued = 0_u32;
            for (params, id, _) in load.entries.iter().cycle().skip(caller * load.entries.len() / IN_FLIGHT) {
                if Instant::now() >= deadline {
                    break;
                }
                let request =
                    NewJwtsvidRequest { entry_id: params.entry_id.clone(), audience: vec!["bench".to_owned()] };
                let answer = client.new_jwtsvid(request).await.map_err(BenchError::call("NewJWTSVID"))?;
                let svid = answer.into_inner().svid.ok_or_else(|| BenchError::wrong("an answer has no JWT-SVID"))?;
                if svid.id.is_none_or(|got| got.path != id.path()) || svid.token.is_empty() {
                    return Err(BenchError::wrong(format!("the token of {id} is another's, or empty")));
                }
                issued += 1;
            }
            Ok::<_, BenchError>(issued)
        }));
    }
    let mut issued = 0.0;
    for caller in callers {
        issued += f64::from(caller.await.map_err(BenchError::wrong)??);
    }
    Ok(issued)
}
