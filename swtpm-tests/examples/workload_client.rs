//! A workload that takes its X.509-SVID from the Workload API with a library that is not ours, the `spiffe` crate of
//! crates.io, and says who it is. `SPIFFE_ENDPOINT_SOCKET` names the socket. What the library refuses, it refuses here.

use std::process::ExitCode;
use std::time::Duration;

use spiffe::X509Source;

/// How long the agent may take: a workload that starts before its entry has reached the agent waits.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> ExitCode {
    match tokio::time::timeout(PATIENCE, identity()).await {
        Ok(Ok(id)) => {
            println!("{id}");
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => failed(&error.to_string()),
        Err(_) => failed(&format!("no SVID within {} s", PATIENCE.as_secs())),
    }
}

/// The SPIFFE ID of the SVID, once its trust domain's bundle has come with it.
async fn identity() -> Result<String, Box<dyn std::error::Error>> {
    let source = X509Source::new().await?;
    let svid = source.svid()?;
    let id = svid.spiffe_id();
    if source.try_bundle_for_trust_domain(id.trust_domain()).is_none() {
        return Err(format!("no bundle came for {}", id.trust_domain()).into());
    }
    let id = id.to_string();
    source.shutdown().await;
    Ok(id)
}

fn failed(reason: &str) -> ExitCode {
    eprintln!("error: {reason}");
    ExitCode::FAILURE
}
