//! The one place where the agent takes over a bundle of its own trust domain, whether it was pushed or asked for.
//!
//! In this order: checked, kept on disk, used against the server, published to the workloads. Whoever acknowledges a bundle does it after that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plastron_spiffe::{Bundle, TrustDomain};
use tokio::time::Instant;

use crate::issued::{IssuedError, check_bundle};
use crate::persist::{DataDir, PersistError};
use crate::snapshot::Publisher;
use crate::standing::Standing;

/// How long the server must offer an older bundle, and no other, before it is believed. One of several servers may be late by a few
/// seconds, and a reply may have been overtaken by a push; a database that was restored from a backup stays behind.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct HeldBundle<'a> {
    trust_domain: &'a TrustDomain,
    data: &'a DataDir,
    standing: &'a Standing,
    publisher: &'a Publisher,
    /// Since when only bundles were offered that are older than the held one.
    older_since: Mutex<Option<Instant>>,
}

/// What became of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Workloads have it.
    Held,
    /// It is older than the one that workloads have, and was not taken.
    Older,
}

impl<'a> HeldBundle<'a> {
    pub(crate) fn new(
        trust_domain: &'a TrustDomain,
        data: &'a DataDir,
        standing: &'a Standing,
        publisher: &'a Publisher,
    ) -> Self {
        Self { trust_domain, data, standing, publisher, older_since: Mutex::new(None) }
    }

    /// Takes over what the server offers. Checks, in order: it is of our trust domain; it has an authority; it is not older than the held
    /// one, unless nothing else was offered for a while.
    pub(crate) fn offer(&self, bundle: Bundle) -> Result<Taken, BundleFault> {
        check_bundle(&bundle, self.trust_domain)?;
        let caller = self.standing.caller();
        let held = caller.bundle.sequence_number;
        if bundle.sequence_number < held && !self.is_older_for_long() {
            tracing::warn!(
                offered = bundle.sequence_number,
                held,
                "The server offers an older bundle than the one held; it is not taken yet"
            );
            return Ok(Taken::Older);
        }
        *self.older_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if bundle == *caller.bundle {
            // An attestation may have brought it, and then workloads do not have it yet.
            self.publisher.publish_bundle(caller.bundle);
            return Ok(Taken::Held);
        }
        tracing::debug!(
            authorities = bundle.x509_authorities.len(),
            sequence = bundle.sequence_number,
            "Bundle updated"
        );
        let bundle = Arc::new(bundle);
        self.data.save(Some(&caller.svid), &bundle)?;
        self.standing.set_bundle(Arc::clone(&bundle));
        self.publisher.publish_bundle(bundle);
        Ok(Taken::Held)
    }

    /// The sequence number of what workloads verify their peers against, or will from their first answer on.
    pub(crate) fn published(&self) -> u64 {
        let published = self.publisher.latest().map(|snapshot| snapshot.bundle.sequence_number);
        published.unwrap_or_else(|| self.standing.caller().bundle.sequence_number)
    }

    fn is_older_for_long(&self) -> bool {
        let mut since = self.older_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE
    }
}

/// Why a bundle was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleFault {
    #[error("the bundle is not acceptable")]
    Unacceptable(#[from] IssuedError),
    #[error("can't keep the bundle")]
    Persist(#[from] PersistError),
}
