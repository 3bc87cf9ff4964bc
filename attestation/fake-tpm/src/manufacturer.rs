//! A TPM manufacturer: root, intermediate, and the EK certificates that it issues, good and bad.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, SigningKey as _, SubjectPublicKeyInfo,
    date_time_ymd,
};

/// Object identifiers of TPM manufacturer, model and version.
const IDENTITY_ATTRIBUTES: [&[u8]; 3] =
    [&[0x67, 0x81, 0x05, 0x02, 0x01], &[0x67, 0x81, 0x05, 0x02, 0x02], &[0x67, 0x81, 0x05, 0x02, 0x03]];

const SUBJECT_ALT_NAME: [u64; 4] = [2, 5, 29, 17];

/// A manufacturer's CA, two levels, valid until 4096.
#[derive(Clone)]
pub struct Manufacturer {
    root: Arc<[u8]>,
    intermediate: Arc<[u8]>,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

/// What an EK certificate states. The default is a good one; tests change one thing.
#[derive(Clone, Debug)]
pub struct EkCertificate {
    /// Extended key usages, as arcs.
    pub extended_key_usages: Vec<Vec<u64>>,
    /// Key usages; `None` for the one that fits the key's type.
    pub key_usages: Option<Vec<KeyUsagePurpose>>,
    /// Basic constraints.
    pub is_ca: IsCa,
    /// Manufacturer, model and version; `None` leaves one out.
    pub identity: [Option<String>; 3],
    /// Whether there is a subject alternative name at all.
    pub has_alternative_name: bool,
    /// Extensions beside the usual ones.
    pub extensions: Vec<CustomExtension>,
    /// Validity, in years.
    pub valid_years: (i32, i32),
    /// Serial number.
    pub serial: u64,
}

impl Default for EkCertificate {
    fn default() -> Self {
        Self {
            extended_key_usages: vec![vec![2, 23, 133, 8, 1]],
            key_usages: None,
            is_ca: IsCa::ExplicitNoCa,
            identity: [Some("id:504C5354".into()), Some("fake".into()), Some("id:00010002".into())],
            has_alternative_name: true,
            extensions: Vec::new(),
            valid_years: (2000, 4000),
            serial: 0x1001,
        }
    }
}

impl Manufacturer {
    /// A new one, of this name.
    pub fn new(name: &str) -> Self {
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a P-256 key");
        let root_params = ca_params(&format!("{name} root"));
        let root = root_params.self_signed(&root_key).expect("a self-signed root");
        let root_issuer = Issuer::new(root_params, root_key);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a P-256 key");
        let params = ca_params(&format!("{name} intermediate"));
        let intermediate = params.signed_by(&key, &root_issuer).expect("an intermediate");
        Self {
            root: Arc::from(root.der().as_ref()),
            intermediate: Arc::from(intermediate.der().as_ref()),
            issuer: Arc::new(Issuer::new(params, key)),
        }
    }

    /// With CA certificates of a test's own making, DER; `issuer` signs the EK certificates.
    pub fn with_issuer(root: &[u8], intermediate: &[u8], issuer: Issuer<'static, KeyPair>) -> Self {
        Self { root: Arc::from(root), intermediate: Arc::from(intermediate), issuer: Arc::new(issuer) }
    }

    /// The root certificate, DER.
    pub fn root(&self) -> Vec<u8> {
        self.root.to_vec()
    }

    /// The intermediate certificate, DER.
    pub fn intermediate(&self) -> Vec<u8> {
        self.intermediate.to_vec()
    }

    /// Has the content of a certificate changed by a test, and signs what came of it: certificates that no CA would issue.
    pub fn forge(&self, certificate: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let (mut tbs, algorithm) = split_certificate(certificate);
        change(&mut tbs);
        let signature = self.issuer.key().sign(&tbs).expect("a signature");
        let signature = long_tlv(0x03, &[&[0], signature.as_slice()].concat());
        long_tlv(0x30, &[tbs, algorithm, signature].concat())
    }

    /// Certifies a key (SubjectPublicKeyInfo, DER).
    pub fn certify(&self, spki: &[u8], is_rsa: bool, certificate: &EkCertificate) -> Vec<u8> {
        let EkCertificate {
            extended_key_usages,
            key_usages,
            is_ca,
            identity,
            has_alternative_name,
            extensions,
            valid_years,
            serial,
        } = certificate;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from_slice(&serial.to_be_bytes()));
        params.not_before = date_time_ymd(valid_years.0, 1, 1);
        params.not_after = date_time_ymd(valid_years.1, 1, 1);
        params.is_ca = *is_ca;
        let usual = if is_rsa { KeyUsagePurpose::KeyEncipherment } else { KeyUsagePurpose::KeyAgreement };
        params.key_usages = key_usages.clone().unwrap_or_else(|| vec![usual]);
        params.extended_key_usages =
            extended_key_usages.iter().map(|oid| ExtendedKeyUsagePurpose::Other(oid.clone())).collect();
        params.use_authority_key_identifier_extension = true;
        params.custom_extensions = extensions.clone();
        if *has_alternative_name {
            let mut extension = CustomExtension::from_oid_content(&SUBJECT_ALT_NAME, alternative_name(identity));
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        }
        let key = SubjectPublicKeyInfo::from_der(spki).expect("an SPKI of our own");
        params.signed_by(&key, &*self.issuer).expect("an EK certificate").der().to_vec()
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// GeneralNames with one directoryName of a relative distinguished name per attribute.
fn alternative_name(identity: &[Option<String>; 3]) -> Vec<u8> {
    let names: Vec<u8> = IDENTITY_ATTRIBUTES
        .iter()
        .zip(identity)
        .filter_map(|(oid, value)| {
            let value = value.as_ref()?;
            let attribute = [tlv(0x06, oid), tlv(0x0c, value.as_bytes())].concat();
            Some(tlv(0x31, &tlv(0x30, &attribute)))
        })
        .flatten()
        .collect();
    tlv(0x30, &tlv(0xa4, &tlv(0x30, &names)))
}

/// TBSCertificate and signature algorithm, as they stand.
fn split_certificate(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let content = der.get(4..).expect("a certificate of over 255 bytes");
    let length = u16::from_be_bytes([content[2], content[3]]);
    let (tbs, rest) = content.split_at(usize::from(length) + 4);
    (tbs.to_vec(), rest[..usize::from(rest[1]) + 2].to_vec())
}

/// With a length of two bytes where one is too short.
fn long_tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    if value.len() < 128 {
        return tlv(tag, value);
    }
    let mut tlv = match u8::try_from(value.len()) {
        Ok(len) => vec![tag, 0x81, len],
        Err(_) => {
            let [high, low] = u16::try_from(value.len()).expect("under 64 KiB").to_be_bytes();
            vec![tag, 0x82, high, low]
        }
    };
    tlv.extend_from_slice(value);
    tlv
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = u8::try_from(value.len()).ok().filter(|len| *len < 128).expect("a short value");
    let mut tlv = vec![tag, len];
    tlv.extend_from_slice(value);
    tlv
}
