//! NewJWTSVID: one attempt. Whether another follows, and what becomes of the token, `agent/core` decides.
//!
//! Checked here is what SPIRE's agent checks of the message: there is a token, whose it is, when it was issued and until when it lasts,
//! and the one time is not after the other. The token itself is not looked at.

use plastron_agent_core::upstream::{JwtSvidReply, UpstreamError};
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use plastron_proto::spire::api::server::svid::v1::{NewJwtsvidRequest, NewJwtsvidResponse};
use plastron_proto::types;
use tonic::transport::Channel;

use crate::convert;
use crate::status::bounded;

const RPC: &str = "NewJWTSVID";

pub(crate) async fn new_jwt_svid(
    server: &str,
    channel: Channel,
    entry_id: &str,
    audience: &[String],
) -> Result<JwtSvidReply, UpstreamError> {
    let mut client = SvidClient::new(channel);
    let request = NewJwtsvidRequest { entry_id: entry_id.to_owned(), audience: audience.to_vec() };
    let reply = bounded(server, RPC, client.new_jwtsvid(request)).await?;
    read(reply.into_inner())
}

fn read(reply: NewJwtsvidResponse) -> Result<JwtSvidReply, UpstreamError> {
    let malformed = |reason: &str| UpstreamError::MalformedReply { rpc: RPC, reason: reason.to_owned() };
    let NewJwtsvidResponse { svid } = reply;
    let types::Jwtsvid { token, id, expires_at, issued_at, hint: _ } = svid.ok_or_else(|| malformed("no SVID"))?;
    if token.is_empty() {
        return Err(malformed("an SVID without a token"));
    }
    let id = id.ok_or_else(|| malformed("an SVID without an ID"))?;
    let spiffe_id = convert::spiffe_id(&id).map_err(|error| malformed(&format!("ID of the SVID: {error}")))?;
    let time = |seconds: i64| u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    let issued_at = time(issued_at).ok_or_else(|| malformed("an SVID that does not say when it was issued"))?;
    let expires_at = time(expires_at).ok_or_else(|| malformed("an SVID that does not say when it expires"))?;
    if issued_at > expires_at {
        return Err(malformed("an SVID that was issued after its expiry"));
    }
    Ok(JwtSvidReply { token, spiffe_id, issued_at, expires_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn svid() -> types::Jwtsvid {
        types::Jwtsvid {
            token: "a.b.c".to_owned(),
            id: Some(types::Spiffeid { trust_domain: "example.org".to_owned(), path: "/web".to_owned() }),
            expires_at: 1300,
            issued_at: 1000,
            hint: String::new(),
        }
    }

    #[test]
    fn a_complete_reply_is_taken() {
        let reply = read(NewJwtsvidResponse { svid: Some(svid()) }).unwrap();
        assert_eq!(reply.spiffe_id.as_str(), "spiffe://example.org/web");
        assert_eq!((reply.token.as_str(), reply.issued_at, reply.expires_at), ("a.b.c", 1000, 1300));
    }

    #[test]
    fn what_a_reply_may_not_lack() {
        let other_id =
            |path: &str| Some(types::Spiffeid { trust_domain: "example.org".to_owned(), path: path.to_owned() });
        let cases = [
            ("no SVID", None),
            ("without a token", Some(types::Jwtsvid { token: String::new(), ..svid() })),
            ("without an ID", Some(types::Jwtsvid { id: None, ..svid() })),
            ("ID of the SVID", Some(types::Jwtsvid { id: other_id("/a//b"), ..svid() })),
            ("when it was issued", Some(types::Jwtsvid { issued_at: 0, ..svid() })),
            ("when it was issued", Some(types::Jwtsvid { issued_at: -1, ..svid() })),
            ("when it expires", Some(types::Jwtsvid { expires_at: 0, ..svid() })),
            ("after its expiry", Some(types::Jwtsvid { issued_at: 1301, ..svid() })),
        ];
        for (reason, svid) in cases {
            let error = read(NewJwtsvidResponse { svid }).unwrap_err();
            assert!(matches!(error, UpstreamError::MalformedReply { .. }), "{error}");
            assert!(error.to_string().contains(reason), "{error} for {reason}");
        }
    }
}
