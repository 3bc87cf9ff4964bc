//! An administrator who wants SVIDs and keeps what comes, to see later whether it is worth anything.

use plastron_proto::spire::api::server::bundle::v1::GetBundleRequest;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use plastron_proto::spire::api::server::svid::v1::{MintJwtsvidRequest, MintX509svidRequest};
use plastron_proto::spire::api::types::Spiffeid;
use plastron_spiffe::x509::{Purpose, SerialNumber, X509Svid, verify_chain};
use plastron_spiffe::{Bundle, JwtAuthority, TrustDomain, X509Authority, jwt};
use plastron_swtpm_tests::{TRUST_DOMAIN, TestServer};
use plastron_transport::unix_channel;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls_pki_types::UnixTime;
use sha2::{Digest as _, Sha256};
use tonic::Status;
use tonic::transport::Channel;

const AUDIENCE: &str = "relying-party";

/// Asks over the admin socket, by way of whichever process listens there.
#[derive(Clone)]
pub(crate) struct Minter {
    channel: Channel,
    csr: Vec<u8>,
}

impl Minter {
    pub(crate) fn new(server: &TestServer) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(format!("spiffe://{TRUST_DOMAIN}/minted").try_into().unwrap())];
        let csr = params.serialize_request(&key).unwrap().der().to_vec();
        Self { channel: unix_channel(server.socket()), csr }
    }

    /// Wants an X.509-SVID that is valid for so long.
    pub(crate) async fn mint(&self, seconds: i32) -> Result<Minted, Status> {
        let request = MintX509svidRequest { csr: self.csr.clone(), ttl: seconds };
        let answer = SvidClient::new(self.channel.clone()).mint_x509svid(request).await?;
        Ok(Minted::X509(X509Svid::parse(answer.into_inner().svid.unwrap().cert_chain).unwrap()))
    }

    /// Wants a JWT-SVID that is valid for so long.
    pub(crate) async fn mint_jwt(&self, seconds: i32) -> Result<Minted, Status> {
        let id = Some(Spiffeid { trust_domain: TRUST_DOMAIN.to_owned(), path: "/minted".to_owned() });
        let request = MintJwtsvidRequest { id, audience: vec![AUDIENCE.to_owned()], ttl: seconds };
        let answer = SvidClient::new(self.channel.clone()).mint_jwtsvid(request).await?;
        Ok(Minted::Jwt(answer.into_inner().svid.unwrap().token))
    }

    pub(crate) async fn bundle(&self) -> Result<Bundle, Status> {
        let answer = BundleClient::new(self.channel.clone()).get_bundle(GetBundleRequest::default()).await?;
        let mut bundle = Bundle::empty(TrustDomain::parse(TRUST_DOMAIN).unwrap());
        let answer = answer.into_inner();
        for authority in answer.x509_authorities {
            bundle.x509_authorities.push(X509Authority::parse(authority.asn1).unwrap());
        }
        bundle.jwt_authorities.extend(answer.jwt_authorities.into_iter().map(|key| JwtAuthority {
            key_id: key.key_id,
            public_key: key.public_key,
            expires_at: key.expires_at,
            tainted: key.tainted,
        }));
        Ok(bundle)
    }
}

/// An SVID that somebody got.
#[derive(Clone)]
pub(crate) enum Minted {
    X509(X509Svid),
    Jwt(String),
}

impl Minted {
    /// Whether a relying party with this bundle takes it now.
    pub(crate) fn is_trusted(&self, bundle: &Bundle) -> bool {
        self.was_trusted(bundle, UnixTime::now())
    }

    /// Whether it did at that moment.
    pub(crate) fn was_trusted(&self, bundle: &Bundle, at: UnixTime) -> bool {
        match self {
            Self::X509(svid) => verify_chain(svid.clone(), bundle, Purpose::Any, at).is_ok(),
            Self::Jwt(token) => jwt::validate(token, AUDIENCE, bundle, at).is_ok(),
        }
    }

    /// What the audit log knows it by: its serial number, or its hash.
    pub(crate) fn identity(&self) -> String {
        match self {
            Self::X509(svid) => SerialNumber::from_bytes(svid.serial()).unwrap().to_decimal(),
            Self::Jwt(token) => hex::encode(Sha256::digest(token)),
        }
    }
}

/// The same of all SVIDs that a server's log tells of as minted.
pub(crate) fn minted_in_log(log: &str) -> Vec<String> {
    let lines = log.lines().filter(|line| line.contains("svid issue") && line.contains("mint"));
    let identity = |line: &str| {
        let (_, rest) = line.split_once("serial=").or_else(|| line.split_once("token_sha256="))?;
        Some(rest.trim_matches('"').split(['"', ' ']).next()?.to_owned())
    };
    lines.filter_map(identity).collect()
}
