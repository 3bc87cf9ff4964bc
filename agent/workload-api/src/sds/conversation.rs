//! One proxy's subscription: what was asked, what was sent, what was acknowledged. A state machine without a socket.
//!
//! The rules are SPIRE's: an answer for the first request and for every other list of names; none for an acknowledgement, whether
//! good or bad, so that a proxy that can't apply a secret does not spin; a request about an answer that is not the latest is ignored.

use std::collections::BTreeSet;

use plastron_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use prost_types::Any;
use sha2::{Digest as _, Sha256};

use super::secrets::Secrets;
use super::{PeerValidation, SdsSettings, validation};
use crate::limits::MAX_SECRET_NAMES;
use crate::push::View;
use crate::refusal::{Refusal, shortened};

/// Where a subscription stands.
pub(super) struct Conversation {
    settings: SdsSettings,
    wanted: Option<Wanted>,
    /// By what the proxy said of itself, which it may say once.
    validation: PeerValidation,
    view: Option<View>,
    sent: Option<Sent>,
}

struct Wanted {
    names: Vec<String>,
    type_url: String,
}

/// The latest answer.
struct Sent {
    /// Counts contents: a new list of names alone may leave it.
    version: u64,
    /// Counts answers.
    nonce: u32,
    /// Instead of the content, which holds a private key.
    digest: [u8; 32],
}

impl Conversation {
    /// Nothing was said yet.
    pub(super) fn new(settings: SdsSettings) -> Self {
        let validation = settings.validation;
        Self { settings, wanted: None, validation, view: None, sent: None }
    }

    /// What there is to say to a request, if anything.
    pub(super) fn hear(&mut self, request: DiscoveryRequest) -> Result<Option<DiscoveryResponse>, Refusal> {
        let DiscoveryRequest { version_info, node, resource_names, type_url, response_nonce, error_detail } = request;
        let resource_names = few(resource_names)?;
        if let Some(error) = error_detail {
            let error = shortened(error.message);
            tracing::error!(resource_names = ?shown(&resource_names), ?error, "Envoy reported errors applying secrets");
        }
        if let Some(sent) = &self.sent {
            if response_nonce != sent.nonce() {
                let nonce = shortened(response_nonce);
                tracing::warn!(?nonce, expect = sent.nonce(), "Received unexpected nonce; ignoring request");
                return Ok(None);
            }
            if version_info != sent.version() {
                let version_info = shortened(version_info);
                tracing::error!(
                    ?version_info,
                    expect = sent.version(),
                    "Client rejected expected version and rolled back"
                );
            }
        }
        if let Some(node) = node {
            self.validation = validation::of(Some(&node), self.settings.validation);
        }
        let is_news = self.wanted.as_ref().is_none_or(|wanted| differ(&wanted.names, &resource_names));
        self.wanted = Some(Wanted { names: resource_names, type_url });
        match is_news {
            true => self.answer(),
            false => Ok(None),
        }
    }

    /// What there is to say of a change: nothing to whoever has not asked yet, or would be told what it knows.
    pub(super) fn see(&mut self, view: View) -> Result<Option<DiscoveryResponse>, Refusal> {
        self.view = Some(view);
        let known = self.sent.as_ref().map(|sent| sent.digest);
        let content = self.content()?.filter(|content| known != Some(content.digest));
        Ok(content.map(|content| self.response(content)))
    }

    fn answer(&mut self) -> Result<Option<DiscoveryResponse>, Refusal> {
        Ok(self.content()?.map(|content| self.response(content)))
    }

    /// What the proxy wants, as it is now; nothing while either is unknown.
    fn content(&self) -> Result<Option<Content>, Refusal> {
        let (Some(wanted), Some(view)) = (&self.wanted, &self.view) else { return Ok(None) };
        let secrets = Secrets { settings: &self.settings, validation: self.validation, view };
        Ok(Some(Content::of(secrets.named(&wanted.names)?)))
    }

    fn response(&mut self, content: Content) -> DiscoveryResponse {
        let Content { resources, digest } = content;
        let sent = match &self.sent {
            None => Sent { version: 1, nonce: 1, digest },
            Some(sent) => {
                let version = if sent.digest == digest { sent.version } else { sent.version.saturating_add(1) };
                Sent { version, nonce: sent.nonce.wrapping_add(1), digest }
            }
        };
        let (version_info, nonce) = (sent.version(), sent.nonce());
        self.sent = Some(sent);
        let type_url = self.wanted.as_ref().map(|wanted| wanted.type_url.clone()).unwrap_or_default();
        tracing::debug!(version_info, nonce, count = resources.len(), "Sending StreamSecrets response");
        DiscoveryResponse { version_info, resources, canary: false, type_url, nonce }
    }
}

/// What an answer says.
struct Content {
    resources: Vec<Any>,
    digest: [u8; 32],
}

impl Content {
    fn of(resources: Vec<Any>) -> Self {
        let mut hash = Sha256::new();
        for Any { type_url, value } in &resources {
            for part in [type_url.as_bytes(), value] {
                // Lengths keep the parts apart.
                hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
                hash.update(part);
            }
        }
        Self { resources, digest: hash.finalize().into() }
    }
}

impl Sent {
    fn version(&self) -> String {
        self.version.to_string()
    }

    fn nonce(&self) -> String {
        format!("{:08x}", self.nonce)
    }
}

/// A single request, as much of it as matters: what a proxy says of itself is large, and need not wait with its caller.
pub(super) struct Question {
    wanted: Wanted,
    validation: PeerValidation,
}

impl Question {
    /// Refuses too many names.
    pub(super) fn of(settings: &SdsSettings, request: DiscoveryRequest) -> Result<Self, Refusal> {
        let validation = validation::of(request.node.as_ref(), settings.validation);
        let wanted = Wanted { names: few(request.resource_names)?, type_url: request.type_url };
        Ok(Self { wanted, validation })
    }

    /// The answer.
    pub(super) fn answer(self, settings: &SdsSettings, view: &View) -> Result<DiscoveryResponse, Refusal> {
        let Self { wanted: Wanted { names, type_url }, validation } = self;
        let resources = Secrets { settings, validation, view }.named(&names)?;
        tracing::debug!(count = resources.len(), "Sending FetchSecrets response");
        Ok(DiscoveryResponse { resources, type_url, ..DiscoveryResponse::default() })
    }
}

/// Each name takes far more memory than it took on the wire, and a stream keeps them.
fn few(names: Vec<String>) -> Result<Vec<String>, Refusal> {
    if names.len() > MAX_SECRET_NAMES { Err(Refusal::TooManySecretNames { got: names.len() }) } else { Ok(names) }
}

/// Order and repetition say nothing.
fn differ(before: &[String], now: &[String]) -> bool {
    let (before, now): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), now.iter().collect());
    before != now
}

/// For the log: a proxy may ask for what it likes, and as often.
fn shown(names: &[String]) -> String {
    shortened(names.join(" "))
}
