//! The agent's half: it sends the token that it was given.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use plastron_plugins::node::{AgentAttestError, AgentContext, AgentConversation, AgentNodeAttestor};
use zeroize::Zeroizing;

use crate::NAME;
use crate::token::{TokenFormError, check_form};

/// Most bytes read of a token file: a token, and some white space around it.
const FILE_CAPACITY: usize = 4096;
const MAX_FILE_LEN: u64 = 4096;

/// Where the agent's token comes from.
pub enum TokenSource {
    /// `join_token`, or `-joinToken`.
    Literal(Zeroizing<String>),
    /// `join_token_file`: read when the node attests, white space around the token ignored.
    File(PathBuf),
    /// None was given: enough for a node that has an SVID already.
    Absent,
}

/// Attests with a join token.
pub struct JoinTokenAttestor {
    source: TokenSource,
}

impl JoinTokenAttestor {
    /// With the token from `source`.
    pub fn new(source: TokenSource) -> Self {
        Self { source }
    }

    fn token(&self) -> Result<Zeroizing<String>, TokenError> {
        let token = match &self.source {
            TokenSource::Literal(token) => token.clone(),
            TokenSource::File(path) => read(path)?,
            TokenSource::Absent => return Err(TokenError::Absent),
        };
        check_form(&token)?;
        Ok(token)
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, TokenError> {
    let fail = |source| TokenError::File { path: path.to_owned(), source };
    // The whole capacity at once: growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(FILE_CAPACITY));
    File::open(path).map_err(fail)?.take(MAX_FILE_LEN).read_to_string(&mut text).map_err(fail)?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

impl AgentNodeAttestor for JoinTokenAttestor {
    fn name(&self) -> &str {
        NAME
    }

    fn begin(&self, _context: AgentContext) -> Box<dyn AgentConversation> {
        Box::new(Conversation { token: self.token() })
    }
}

struct Conversation {
    token: Result<Zeroizing<String>, TokenError>,
}

#[async_trait::async_trait]
impl AgentConversation for Conversation {
    async fn payload(&mut self) -> Result<Vec<u8>, AgentAttestError> {
        match &self.token {
            Ok(token) => Ok(token.as_bytes().to_vec()),
            Err(error) => Err(refuse(error.to_string())),
        }
    }

    async fn respond(&mut self, _challenge: &[u8]) -> Result<Vec<u8>, AgentAttestError> {
        Err(refuse("the server sent a challenge, but a join token knows no challenges".to_owned()))
    }

    async fn admitted(&mut self) -> Result<(), AgentAttestError> {
        Ok(())
    }
}

fn refuse(reason: String) -> AgentAttestError {
    AgentAttestError { attestor: NAME.to_owned(), reason }
}

/// Why there is no token to send.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("no join token was provided; set join_token or join_token_file, or start with -joinToken")]
    Absent,
    #[error("can't read the join token file {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Form(#[from] TokenFormError),
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plastron_spiffe::TrustDomain;

    use super::*;

    fn begin(source: TokenSource) -> Box<dyn AgentConversation> {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        JoinTokenAttestor::new(source).begin(AgentContext { trust_domain, svid_public_key: Arc::from([]) })
    }

    #[tokio::test]
    async fn the_token_is_the_payload() {
        let mut conversation = begin(TokenSource::Literal(Zeroizing::new("abc".to_owned())));
        assert_eq!(conversation.payload().await.unwrap(), b"abc");
        assert!(conversation.respond(b"prove it").await.is_err());
        conversation.admitted().await.unwrap();
    }

    #[tokio::test]
    async fn a_file_is_read_at_the_time_of_the_attestation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let missing = begin(TokenSource::File(path.clone())).payload().await.unwrap_err();
        assert!(missing.reason.contains(&path.display().to_string()), "{missing}");
        std::fs::write(&path, "\n abc-2 \n").unwrap();
        assert_eq!(begin(TokenSource::File(path.clone())).payload().await.unwrap(), b"abc-2");
        std::fs::write(&path, "a b").unwrap();
        assert!(begin(TokenSource::File(path)).payload().await.is_err());
    }

    #[tokio::test]
    async fn without_a_token_the_error_says_how_to_give_one() {
        let error = begin(TokenSource::Absent).payload().await.unwrap_err();
        assert!(error.reason.contains("join_token"), "{error}");
    }
}
