//! `api fetch jwt`: the bundles first, then the tokens, each within `-timeout`; printed as SPIRE prints them.

use clap::Args;
use plastron_proto::json::to_json;
use plastron_proto::workload::{JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse};
use plastron_spiffe::SpiffeId;
use plastron_spiffe::jwt::UnverifiedJwt;
use serde_json::json;

use crate::Context;
use crate::client::{WorkloadApiClient, connect};
use crate::endpoint::Endpoint;
use crate::error::CliError;
use crate::fetch::{CallFlags, within};
use crate::print::Output;
use crate::svid::ResponseError;

/// Flags of `api fetch jwt`.
#[derive(Debug, Args)]
pub(crate) struct FetchJwt {
    #[command(flatten)]
    call: CallFlags,
    /// Whom the token is for: values separated by commas. Where the flag is given twice, the last counts, as with SPIRE's
    #[arg(long, value_name = "AUDIENCE", default_value = "")]
    audience: String,
    /// Only a token of this SPIFFE ID
    #[arg(long = "spiffeID", value_name = "ID", default_value = "")]
    spiffe_id: String,
    /// Form of the output
    #[arg(short, long, alias = "format", value_enum, ignore_case = true, default_value_t)]
    output: Output,
}

pub(crate) async fn run(arguments: FetchJwt, context: Context<'_>) -> Result<(), CliError> {
    let FetchJwt { call, audience, spiffe_id, output } = arguments;
    let audience: Vec<String> = audience.split(',').map(str::to_owned).collect();
    if audience.iter().all(String::is_empty) {
        return Err(CliError::Usage("audience must be specified".to_owned()));
    }
    let endpoint = Endpoint::choose(&call.socket, context.environment)?;
    let mut client = within(call.timeout, connect(&endpoint)).await?;
    let bundles = within(call.timeout, bundles(&mut client)).await?;
    let request = JwtsvidRequest { audience: audience.clone(), spiffe_id };
    let tokens = async { Ok(client.fetch_jwtsvid(request).await?.into_inner()) };
    let tokens: JwtsvidResponse = within(call.timeout, tokens).await?;
    if tokens.svids.is_empty() {
        return Err(ResponseError::NoSvids.into());
    }
    for svid in &tokens.svids {
        check(svid, &audience)?;
    }
    match output {
        Output::Json => {
            let answers = json!([to_json(&tokens)?, to_json(&bundles)?]);
            writeln!(context.out, "{answers}")?;
        }
        Output::Pretty => {
            for Jwtsvid { spiffe_id, svid, hint } in &tokens.svids {
                writeln!(context.out, "token({spiffe_id}):\n\t{svid}")?;
                if !hint.is_empty() {
                    writeln!(context.out, "hint({spiffe_id}):\n\t{}", hint.escape_debug())?;
                }
            }
            for (domain, jwks) in &bundles.bundles {
                let jwks = String::from_utf8_lossy(jwks);
                writeln!(context.out, "bundle({}):\n\t{}", domain.escape_debug(), Printable(&jwks))?;
            }
        }
    }
    Ok(())
}

async fn bundles(client: &mut WorkloadApiClient) -> Result<JwtBundlesResponse, CliError> {
    let mut stream = client.fetch_jwt_bundles(JwtBundlesRequest {}).await?.into_inner();
    stream.message().await?.ok_or(CliError::NoAnswer)
}

/// That it is a token of the ID beside it, for the audience asked for. Its signature is for its receiver to verify.
fn check(svid: &Jwtsvid, audience: &[String]) -> Result<(), ResponseError> {
    let Jwtsvid { spiffe_id, svid, hint: _ } = svid;
    let id = SpiffeId::parse(spiffe_id).map_err(|source| ResponseError::Id { id: spiffe_id.clone(), source })?;
    let token = UnverifiedJwt::parse(svid).map_err(|source| ResponseError::Token { id: id.clone(), source })?;
    if *token.claimed_id() != id {
        return Err(ResponseError::OtherId { stated: id, certified: token.claimed_id().clone() });
    }
    match audience.iter().filter(|value| !value.is_empty()).find(|value| !token.claimed_audience().contains(value)) {
        Some(missing) => Err(ResponseError::Audience { id, missing: missing.clone() }),
        None => Ok(()),
    }
}

/// Text of several lines without anything that drives a terminal.
struct Printable<'a>(&'a str);

impl std::fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\n' => f.write_str("\n"),
            c if c.is_control() => write!(f, "{}", c.escape_debug()),
            c => write!(f, "{c}"),
        })
    }
}
