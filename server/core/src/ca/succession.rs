//! How the authority that signed before names the one that signs now: docs/adr/0007-successors.md.
//!
//! The certificate goes out behind the server's own SVID and nowhere else. It is made while the key before is still in its slot, and only
//! where that authority has expired, or is not valid yet by a clock that was set back: it is then that a node which knows nothing newer
//! needs it. It ends with the SVID that it stands behind: whoever knows the CA before believes it until then, whatever the bundle says of the
//! active one meanwhile, so it must not be of use to who gets hold of that one's key later. What it does not do: it signs no SVID, and it names nobody below an upstream authority, whose root is what leads there.

use plastron_spiffe::x509::{Issuer, SuccessorTemplate};

use super::{CaError, CertificateAuthority, random_serial, seconds};
use crate::audit::{self, Announced};
use crate::authority::{AuthorityError, MatchedKey, PublishedAuthority, certificate_algorithm, lifetime};
use crate::limits::backdate;
use crate::store::SlotStatus;

/// Who the audit log says did it.
const ACTOR: &str = "server";

impl CertificateAuthority {
    /// The certificate by which the authority before names the active one, DER, valid until `not_after` at the latest. `None` where there was none before, where it is valid, tainted or
    /// revoked, where its key is gone, and below an upstream authority. A failure is logged: the server serves all who know the active one.
    pub(crate) async fn named_by_predecessor(&self, not_after: u64) -> Option<Vec<u8>> {
        self.name_successor(not_after).await.unwrap_or_else(|error| {
            let error = audit::chain(&error);
            tracing::warn!(
                error,
                "The authority before can't name the present one: agents that know none but it can't follow"
            );
            None
        })
    }

    async fn name_successor(&self, not_after: u64) -> Result<Option<Vec<u8>>, CaError> {
        let active = self.x509.published(&self.context)?;
        let before = self.context.slot(active.slot().other()).filter(|before| before.status == SlotStatus::Old);
        let (Some(before), Some(bundle)) = (before, self.context.ledger.state().bundle()) else { return Ok(None) };
        let (Some(ca), Some(predecessor)) = (active.entry().ca(), before.ca()) else { return Ok(None) };
        if ca.upstream_authority_id.is_some() || predecessor.upstream_authority_id.is_some() {
            return Ok(None);
        }
        // Whoever knows one that is valid needs no successor of it, and an old key is used for nothing that is not needed.
        let now = self.context.clock.now();
        if lifetime::is_valid(&before, now) || PublishedAuthority::find(&before, &bundle).is_err() {
            return Ok(None);
        }
        let keys = self.context.key_store();
        let key = match MatchedKey::find(&before, keys).await {
            Ok(key) => key,
            Err(AuthorityError::KeyMissing { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let issuer = Issuer::from_certificate(&predecessor.certificate, certificate_algorithm(key.record().key_type))
            .map_err(CaError::Template)?;
        let (now, not_after) = (now.as_secs(), active.not_after().min(not_after));
        let tbs = SuccessorTemplate {
            spiffe_id: &self.context.config.trust_domain.id(),
            successor: &ca.certificate,
            serial: &random_serial().map_err(|reason| CaError::Random { reason })?,
            not_before: seconds(now.saturating_sub(backdate(not_after.saturating_sub(now)))),
            not_after: seconds(not_after),
        }
        .to_tbs(&issuer)
        .map_err(CaError::Template)?;
        let scheme = key.record().key_type.default_scheme();
        let slot = before.slot;
        let subject = format!(
            "slot {slot} authority {} names authority {}",
            before.authority_id().unwrap_or_default(),
            active.authority_id()
        );
        // Nothing is signed that the audit log does not know.
        let _announced: Announced =
            self.context.audit.announce(ACTOR, "x509 authority name successor", &subject).await?;
        let signature = keys.sign(&before.key_id, scheme, &tbs.digest()).await;
        let signature = signature.map_err(|source| AuthorityError::KeyStore { slot, source })?;
        let link = tbs.assemble(&signature).map_err(CaError::Template)?;
        tracing::info!(
            predecessor = before.authority_id().unwrap_or_default(),
            successor = active.authority_id(),
            "The CA before is not valid now: it names the present one, so that agents that were away can follow"
        );
        Ok(Some(link))
    }
}
