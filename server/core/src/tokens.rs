//! Join tokens: made here, known only by their hashes afterwards, spent by `NodeStore::admit`.

use std::fmt;
use std::sync::Arc;

use plastron_spiffe::{SpiffeId, SpiffeIdError, TrustDomain};
use zeroize::Zeroizing;

use crate::audit;
use crate::authorization::{Permit, rpc};
use crate::clock::{Clock, unix_seconds};
use crate::ledger::{Ledger, Write};
use crate::limits::MAX_TOKEN_LEN;
use crate::store::{JoinTokenRecord, TokenError, TokenHash};

/// A join token, told once.
pub struct JoinToken {
    /// What the node has to present.
    pub value: Zeroizing<String>,
    /// Unix seconds from which on it is no longer good.
    pub expires_at: i64,
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value: _, expires_at } = self;
        f.debug_struct("JoinToken").field("expires_at", expires_at).finish_non_exhaustive()
    }
}

/// What an operator asks for.
#[derive(Default)]
pub struct JoinTokenRequest {
    /// Lifetime in seconds; at least 1.
    pub ttl: i64,
    /// The token, or none for a random one.
    pub token: Option<Zeroizing<String>>,
    /// A SPIFFE ID that the node gets besides its own.
    pub agent_id: Option<SpiffeId>,
}

/// Makes join tokens.
pub struct JoinTokens {
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    trust_domain: TrustDomain,
}

impl JoinTokens {
    pub(crate) fn new(ledger: Arc<Ledger>, clock: Arc<dyn Clock>, trust_domain: TrustDomain) -> Self {
        Self { ledger, clock, trust_domain }
    }

    /// Makes a token that admits one node. Checks, in order: the lifetime; the token's form; the alias.
    pub async fn create(
        &self,
        permit: Permit<rpc::CreateJoinToken>,
        request: JoinTokenRequest,
    ) -> Result<JoinToken, JoinTokenError> {
        let JoinTokenRequest { ttl, token, agent_id } = request;
        if ttl < 1 {
            return Err(JoinTokenError::Ttl);
        }
        let value = token.unwrap_or_else(|| Zeroizing::new(uuid::Uuid::new_v4().to_string()));
        if value.is_empty() || value.len() > MAX_TOKEN_LEN || value.contains('/') {
            return Err(JoinTokenError::Form { len: value.len() });
        }
        self.trust_domain.with_path(&format!("/spire/agent/join_token/{}", value.as_str()))?;
        if let Some(agent_id) = &agent_id {
            let other = agent_id.trust_domain() != &self.trust_domain;
            if other || agent_id.is_trust_domain() || agent_id.is_reserved() {
                return Err(JoinTokenError::AgentId { id: agent_id.clone(), trust_domain: self.trust_domain.clone() });
            }
        }
        let expires_at = unix_seconds(self.clock.now()).saturating_add(ttl);
        let subject = agent_id.as_ref().map_or_else(String::new, |id| format!("alias {id}"));
        let record = JoinTokenRecord { hash: TokenHash::of(&value), expires_at, alias: agent_id };
        let result: Result<(), TokenError> = self
            .ledger
            .write(Write::KeepJoinToken, move |store| async move { store.create_join_token(record).await })
            .await;
        let outcome = audit::outcome(&result);
        audit::change(permit.identity(), "join token create", &subject, &outcome);
        result?;
        Ok(JoinToken { value, expires_at })
    }
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinTokenError {
    /// No lifetime: InvalidArgument.
    #[error("ttl is required, you must provide one")]
    Ttl,
    /// A token that can't stand in a SPIFFE ID: InvalidArgument. The token is not repeated.
    #[error("a join token has 1 to {MAX_TOKEN_LEN} bytes without '/'; this one has {len}")]
    Form {
        /// Its length in bytes.
        len: usize,
    },
    /// A token that can't stand in a SPIFFE ID: InvalidArgument.
    #[error("the join token can't stand in a SPIFFE ID")]
    Path,
    /// An alias that a node can't have: InvalidArgument.
    #[error("invalid agent ID {id}: it must be a path in trust domain {trust_domain}, outside /spire")]
    AgentId {
        /// The alias asked for.
        id: SpiffeId,
        /// The server's trust domain.
        trust_domain: TrustDomain,
    },
    /// It exists, or the store failed.
    #[error("failed to create token")]
    Token(#[from] TokenError),
}

impl From<SpiffeIdError> for JoinTokenError {
    /// The reason would repeat the token.
    fn from(_error: SpiffeIdError) -> Self {
        Self::Path
    }
}
