//! SVIDs that verify: of a CA that is made for the test.

use plastron_proto::workload as wire;
use plastron_spiffe::SpiffeId;
use plastron_spiffe::jwt::{JwtAlgorithm, JwtSvidTemplate};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType};

pub(crate) fn authority(trust_domain: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into().unwrap())];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

pub(crate) fn svid(issuer: &CertifiedIssuer<'static, KeyPair>, id: &str, hint: &str) -> wire::X509svid {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    wire::X509svid {
        spiffe_id: id.to_owned(),
        x509_svid: certificate.der().to_vec(),
        x509_svid_key: key.serialize_der(),
        bundle: issuer.der().to_vec(),
        hint: hint.to_owned(),
    }
}

/// A token in the form of a JWT-SVID, signed by no one.
fn token(id: &str, audience: &[&str]) -> String {
    let audience: Vec<String> = audience.iter().map(|value| (*value).to_owned()).collect();
    let template = JwtSvidTemplate {
        spiffe_id: &SpiffeId::parse(id).unwrap(),
        audience: &audience,
        issuer: None,
        issued_at: 1_800_000_000,
        expires_at: 1_800_000_300,
        jti: None,
    };
    template.to_unsigned(JwtAlgorithm::Rs256, "key").unwrap().assemble(b"signature").unwrap()
}

pub(crate) fn jwt_svid(id: &str, audience: &[&str], hint: &str) -> wire::Jwtsvid {
    wire::Jwtsvid { spiffe_id: id.to_owned(), svid: token(id, audience), hint: hint.to_owned() }
}
