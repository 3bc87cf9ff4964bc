//! A PKI for the tests: root, intermediate, leaves with any kind of key.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plastron_plugins_node_x509pop::X509PopFiles;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, RsaKeySize, SanType, SerialNumber,
};
use rsa::pkcs8::DecodePrivateKey as _;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

/// A private key.
pub(crate) struct Key(KeyPair);

impl Key {
    pub(crate) fn p256() -> Self {
        Self(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap())
    }
    pub(crate) fn p384() -> Self {
        Self(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap())
    }
    pub(crate) fn p521() -> Self {
        Self(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap())
    }
    pub(crate) fn rsa() -> Self {
        Self(KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap())
    }
    pub(crate) fn ed25519() -> Self {
        Self(KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap())
    }
}

/// Root and intermediate.
pub(crate) struct Pki {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

fn ca(name: &str, year: i32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    params
}

impl Pki {
    pub(crate) fn new() -> Self {
        Self::until(2040)
    }

    /// The root expires at the beginning of this year.
    pub(crate) fn until(year: i32) -> Self {
        Self::with(ca("root", year), ca("intermediate", 2040))
    }

    /// The intermediate is a CA that may sign revocation lists alone.
    pub(crate) fn of_a_list_signer() -> Self {
        let mut intermediate = ca("intermediate", 2040);
        intermediate.key_usages = vec![KeyUsagePurpose::CrlSign];
        Self::with(ca("root", 2040), intermediate)
    }

    /// Everything is valid since the year 1, as Go's certificates are where nobody says since when.
    pub(crate) fn since_ever() -> Self {
        let since_ever = |mut params: CertificateParams| {
            params.not_before = rcgen::date_time_ymd(1, 1, 1);
            params
        };
        Self::with(since_ever(ca("root", 2040)), since_ever(ca("intermediate", 2040)))
    }

    fn with(root: CertificateParams, intermediate: CertificateParams) -> Self {
        let root = CertifiedIssuer::self_signed(root, Key::p256().0).unwrap();
        let intermediate = CertifiedIssuer::signed_by(intermediate, Key::p256().0, &root).unwrap();
        Self { root, intermediate }
    }

    pub(crate) fn root_der(&self) -> Vec<u8> {
        self.root.der().to_vec()
    }

    pub(crate) fn root_fingerprint(&self) -> String {
        hex::encode(Sha1::digest(self.root.der()))
    }

    pub(crate) fn intermediate_fingerprint(&self) -> String {
        hex::encode(Sha1::digest(self.intermediate.der()))
    }

    /// A leaf of node-1, changed by `change`.
    pub(crate) fn leaf(&self, key: Key, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "node-1");
        params.serial_number = Some(SerialNumber::from(vec![0x0a, 0x1b]));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection];
        let names = ["x509pop://example.org/rack/r1/u7", "x509pop://other.org/rack/r2", "x509pop://example.org/room"];
        params.subject_alt_names = names.map(|name| SanType::URI(name.try_into().unwrap())).to_vec();
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(2035, 1, 1);
        change(&mut params);
        let certificate = params.signed_by(&key.0, &self.intermediate).unwrap();
        Leaf { key: key.0, params, chain: vec![certificate.der().to_vec(), self.intermediate.der().to_vec()] }
    }

    /// An X.509-SVID.
    pub(crate) fn svid(&self, id: &str) -> Leaf {
        self.leaf(Key::p256(), |params| {
            params.is_ca = IsCa::ExplicitNoCa;
            params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        })
    }
}

/// A node's certificate, with its key and chain.
pub(crate) struct Leaf {
    key: KeyPair,
    params: CertificateParams,
    chain: Vec<Vec<u8>>,
}

impl Leaf {
    pub(crate) fn der(&self) -> Vec<u8> {
        self.chain[0].clone()
    }

    pub(crate) fn fingerprint(&self) -> String {
        hex::encode(Sha1::digest(&self.chain[0]))
    }

    pub(crate) fn without_intermediates(mut self) -> Self {
        self.chain.truncate(1);
        self
    }

    /// A certificate that this one, which is no CA's, signed.
    pub(crate) fn issue(self, key: Key) -> Self {
        let Self { key: own, params, mut chain } = self;
        let issuer = rcgen::Issuer::from_params(&params, &own);
        let certificate = params.clone().signed_by(&key.0, &issuer).unwrap();
        chain.insert(0, certificate.der().to_vec());
        Self { key: key.0, params: params.clone(), chain }
    }

    /// The same with another last bit of its signature.
    pub(crate) fn forged(mut self) -> Self {
        *self.chain[0].last_mut().unwrap() ^= 1;
        self
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        payload(&self.chain)
    }

    /// Key and chain in files, the intermediates in one of their own.
    pub(crate) fn write(&self, directory: &Path) -> X509PopFiles {
        let pem = |der: &[u8]| {
            let body = STANDARD.encode(der);
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        };
        let (certificate, private_key) = (directory.join("node.crt.pem"), directory.join("node.key.pem"));
        std::fs::write(&certificate, pem(&self.chain[0])).unwrap();
        std::fs::write(&private_key, self.key.serialize_pem()).unwrap();
        let above: String = self.chain[1..].iter().map(|der| pem(der)).collect();
        let intermediates = (!above.is_empty()).then(|| directory.join("intermediates.pem"));
        if let Some(path) = &intermediates {
            std::fs::write(path, above).unwrap();
        }
        X509PopFiles { private_key, certificate, intermediates }
    }

    /// What this key's own agent answers, made without the agent.
    pub(crate) fn respond(&self, challenge: &[u8]) -> Vec<u8> {
        if self.key.algorithm() == &rcgen::PKCS_RSA_SHA256 {
            return self.rsa_response(challenge, 32);
        }
        self.ecdsa_response(challenge, &[7; 32])
    }

    /// A signature of a P-256 key over the server's nonce and this one.
    pub(crate) fn ecdsa_response(&self, challenge: &[u8], own: &[u8]) -> Vec<u8> {
        let (message, own) = message(challenge, own);
        let pair = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            &self.key.serialize_der(),
        )
        .unwrap();
        let signature = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), &message).unwrap();
        let (r, s) = signature.as_ref().split_at(32);
        let (r, s) = (STANDARD.encode(r), STANDARD.encode(s));
        json!({ "ecdsa_signature": { "nonce": own, "r": r, "s": s } }).to_string().into_bytes()
    }

    /// RSASSA-PSS with a salt of this length.
    pub(crate) fn rsa_response(&self, challenge: &[u8], salt: usize) -> Vec<u8> {
        use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
        let (message, own) = message(challenge, &[7; 32]);
        let key = rsa::PrivateKey::from_pkcs8_der(&self.key.serialize_der()).unwrap();
        let key = rsa::pss::SigningKey::<sha2::Sha256>::new_with_salt_len(key, salt);
        let mut random = getrandom::SysRng;
        let signature = key.try_sign_with_rng(&mut random, &message).unwrap();
        let signature = STANDARD.encode(signature.to_bytes());
        json!({ "rsa_signature": { "nonce": own, "signature": signature } }).to_string().into_bytes()
    }
}

/// What is signed, and the nonce of our own.
fn message(challenge: &[u8], own: &[u8]) -> (Vec<u8>, String) {
    let challenge: Value = serde_json::from_slice(challenge).unwrap();
    let nonce = [&challenge["rsa_signature"], &challenge["ecdsa_signature"]]
        .into_iter()
        .find_map(|part| part["nonce"].as_str())
        .unwrap();
    ([STANDARD.decode(nonce).unwrap(), own.to_vec()].concat(), STANDARD.encode(own))
}

/// The first message with these certificates.
pub(crate) fn payload(chain: &[Vec<u8>]) -> Vec<u8> {
    let certificates: Vec<_> = chain.iter().map(|der| STANDARD.encode(der)).collect();
    json!({ "certificates": certificates }).to_string().into_bytes()
}
