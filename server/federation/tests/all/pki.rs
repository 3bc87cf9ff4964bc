//! Certificates of the web and of trust domains.

use std::time::Duration;

use plastron_spiffe::x509::X509Svid;
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain, X509Authority};
use plastron_transport::{CertificateSlot, HttpsServerTls, IdentitySlot, ServedCertificate, TlsIdentity, WebRoots};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use time::OffsetDateTime;

pub(crate) const SERVER: &str = "spiffe://other.test/spire/server";

pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    pub(crate) bundle: Bundle,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut bundle = Bundle::empty(TrustDomain::parse(name).unwrap());
        bundle.x509_authorities.push(X509Authority::parse(certificate.der().to_vec()).unwrap());
        Self { issuer: Issuer::new(params, key), pem: certificate.pem(), bundle }
    }

    /// What trusts this CA for names.
    pub(crate) fn roots(&self) -> WebRoots {
        WebRoots::from_pem(self.pem.as_bytes()).unwrap()
    }

    fn leaf(&self, names: Vec<SanType>, lives: bool) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = names;
        let (now, hour) = (OffsetDateTime::now_utc(), Duration::from_secs(3600));
        params.not_before = now - 2 * hour;
        params.not_after = if lives { now + hour } else { now - hour };
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Certificate and key for a DNS name or an IP address, as PEM.
    pub(crate) fn web_pem(&self, name: &str, lives: bool) -> (String, String) {
        let name = match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into().unwrap()),
        };
        let (certificate, key) = self.leaf(vec![name], lives);
        (certificate.pem(), key.serialize_pem())
    }

    pub(crate) fn web(&self, name: &str, lives: bool) -> HttpsServerTls {
        let (certificate, key) = self.web_pem(name, lives);
        let certificate = ServedCertificate::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        HttpsServerTls::presenting_certificate(CertificateSlot::new(certificate)).unwrap()
    }

    pub(crate) fn identity(&self, id: &str, lives: bool) -> TlsIdentity {
        let (certificate, key) = self.leaf(vec![SanType::URI(id.try_into().unwrap())], lives);
        let svid = X509Svid::parse(vec![certificate.der().to_vec()]).unwrap();
        TlsIdentity::new(&svid, &key.serialize_der()).unwrap()
    }

    pub(crate) fn svid(&self, id: &str, lives: bool) -> HttpsServerTls {
        HttpsServerTls::presenting_svid(IdentitySlot::new(self.identity(id, lives))).unwrap()
    }
}

pub(crate) fn other() -> TrustDomain {
    TrustDomain::parse("other.test").unwrap()
}

pub(crate) fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}
