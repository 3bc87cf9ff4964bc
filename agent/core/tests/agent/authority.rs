//! A CA in memory that signs real X.509-SVIDs.

use std::time::Duration;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use plastron_spiffe::x509::{CaTemplate, Issuer, LeafTemplate, SerialNumber, SignatureAlgorithm, TbsCertificate};
use plastron_spiffe::{Bundle, SpiffeId, TrustDomain, X509Authority};
use rustls_pki_types::UnixTime;

pub(crate) struct Authority {
    key: EcdsaKeyPair,
    issuer: Issuer,
    pub(crate) certificate: Vec<u8>,
    trust_domain: TrustDomain,
}

impl Authority {
    pub(crate) fn new(trust_domain: &TrustDomain, now: u64) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        let template = CaTemplate {
            spiffe_id: &trust_domain.id(),
            public_key: public.as_ref(),
            country: &["US".to_owned()],
            organization: &["test".to_owned()],
            common_name: "",
            serial: &serial(),
            not_before: at(now - 60),
            not_after: at(now + 10 * 365 * 86_400),
        };
        let certificate = sign(&key, template.to_tbs(SignatureAlgorithm::EcdsaSha256).unwrap());
        let issuer = Issuer::from_certificate(&certificate, SignatureAlgorithm::EcdsaSha256).unwrap();
        Self { key, issuer, certificate, trust_domain: trust_domain.clone() }
    }

    pub(crate) fn leaf(&self, id: &SpiffeId, public_key: &[u8], not_before: u64, not_after: u64) -> Vec<u8> {
        let template = LeafTemplate {
            spiffe_id: id,
            public_key,
            subject: None,
            dns_names: &[],
            serial: &serial(),
            not_before: at(not_before),
            not_after: at(not_after),
        };
        sign(&self.key, template.to_tbs(&self.issuer).unwrap())
    }

    pub(crate) fn bundle(&self) -> Bundle {
        Bundle {
            trust_domain: self.trust_domain.clone(),
            x509_authorities: vec![X509Authority { certificate: self.certificate.clone(), tainted: false }],
            jwt_authorities: Vec::new(),
            refresh_hint: 0,
            sequence_number: 1,
        }
    }
}

fn sign(key: &EcdsaKeyPair, tbs: TbsCertificate) -> Vec<u8> {
    let signature = key.sign(&SystemRandom::new(), tbs.as_bytes()).unwrap();
    tbs.assemble(signature.as_ref()).unwrap()
}

fn serial() -> SerialNumber {
    let mut octets = [0; 16];
    aws_lc_rs::rand::fill(&mut octets).unwrap();
    SerialNumber::from_random(octets)
}

pub(crate) fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
