//! CA certificates for downstream servers, which sign SVIDs of the same trust domain below this server's authority.

use std::sync::Arc;
use std::time::Duration;

use plastron_spiffe::SpiffeId;
use plastron_spiffe::x509::{IntermediateTemplate, SerialNumber, downstream_subject};

use super::{CaSubject, CertificateAuthority, SignError, random_serial, seconds};
use crate::audit::{Document, DocumentFacts, DocumentIdentity, Unrecorded};
use crate::limits::backdate;
use crate::meters;

/// A CA certificate of a downstream server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownstreamCa {
    /// The trust domain's own ID: whoever has its key signs for the whole of it.
    pub id: SpiffeId,
    /// DER certificates, the downstream's first, without the root.
    pub chain: Vec<Vec<u8>>,
    /// Its serial number.
    pub serial: SerialNumber,
    /// Validity, Unix seconds, inclusive.
    pub not_after: u64,
    /// The authority that signed it: its subject key identifier in lower-case hex.
    pub authority_id: Arc<str>,
}

impl Document for DownstreamCa {
    fn facts(&self) -> DocumentFacts {
        DocumentFacts {
            event: "downstream x509 ca issue",
            id: self.id.clone(),
            identity: DocumentIdentity::Serial(self.serial.clone()),
            authority_id: self.authority_id.to_string(),
            not_after: self.not_after,
        }
    }
}

impl CertificateAuthority {
    /// Signs the CA certificate of a downstream server. `public_key`: SubjectPublicKeyInfo of a key that its owner proved to hold, DER.
    /// `ttl`: wanted lifetime, `None` for that of this server's own CAs; it is cut to this authority's. The subject is that of this server's
    /// CAs, with SPIRE's unit `DOWNSTREAM-<depth>`. It is for nobody before it is recorded.
    pub async fn sign_downstream(
        &self,
        public_key: &[u8],
        ttl: Option<Duration>,
    ) -> Result<Unrecorded<DownstreamCa>, SignError> {
        let authority = self.x509.published(&self.context).map_err(SignError::Authority)?;
        let ttl = ttl.unwrap_or(self.context.config.ttl);
        let (now, not_after) = self.lifetime(ttl, None, authority.not_after())?;
        let serial = random_serial().map_err(|reason| SignError::Random { reason })?;
        let not_before = now.saturating_sub(backdate(not_after.saturating_sub(now)));
        let CaSubject { country, organization, common_name } = &self.context.config.subject;
        let depth = authority.chain().len().max(1);
        let id = self.trust_domain().id();
        let tbs = IntermediateTemplate {
            spiffe_id: &id,
            public_key,
            subject: &downstream_subject(country, organization, common_name, depth, &serial),
            serial: &serial,
            not_before: seconds(not_before),
            not_after: seconds(not_after),
        }
        .to_tbs(authority.certificate(), authority.certificate_algorithm())
        .map_err(SignError::Template)?;
        let keys = self.context.key_store();
        let digest = tbs.digest();
        let signature =
            keys.sign(authority.key_id(), authority.scheme(), &digest).await.map_err(SignError::KeyStore)?;
        let signature = authority.check(keys.identity(), &digest, signature).map_err(SignError::Authority)?;
        let certificate = tbs.assemble(signature.as_bytes()).map_err(SignError::Template)?;
        self.x509.still_published(&self.context, &authority).map_err(SignError::Authority)?;
        meters::X509_CA_SIGNED.increment();
        let chain = std::iter::once(certificate).chain(authority.chain().iter().cloned()).collect();
        Ok(Unrecorded::new(DownstreamCa { id, chain, serial, not_after, authority_id: authority.shared_id() }))
    }
}
