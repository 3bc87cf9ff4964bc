//! An administrator who wants SVIDs and keeps what comes, to see later whether it is worth anything.

use plastron_proto::spire::api::server::bundle::v1::GetBundleRequest;
use plastron_proto::spire::api::server::bundle::v1::bundle_client::BundleClient;
use plastron_proto::spire::api::server::svid::v1::MintX509svidRequest;
use plastron_proto::spire::api::server::svid::v1::svid_client::SvidClient;
use plastron_spiffe::x509::{Purpose, SerialNumber, X509Svid, verify_chain};
use plastron_spiffe::{Bundle, TrustDomain, X509Authority};
use plastron_swtpm_tests::{TRUST_DOMAIN, TestServer};
use plastron_transport::unix_channel;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls_pki_types::UnixTime;
use tonic::Status;
use tonic::transport::Channel;

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

    /// Wants an SVID that is valid for so long.
    pub(crate) async fn mint(&self, seconds: i32) -> Result<Minted, Status> {
        let request = MintX509svidRequest { csr: self.csr.clone(), ttl: seconds };
        let answer = SvidClient::new(self.channel.clone()).mint_x509svid(request).await?;
        Ok(Minted(X509Svid::parse(answer.into_inner().svid.unwrap().cert_chain).unwrap()))
    }

    pub(crate) async fn bundle(&self) -> Result<Bundle, Status> {
        let answer = BundleClient::new(self.channel.clone()).get_bundle(GetBundleRequest::default()).await?;
        let mut bundle = Bundle::empty(TrustDomain::parse(TRUST_DOMAIN).unwrap());
        for authority in answer.into_inner().x509_authorities {
            bundle.x509_authorities.push(X509Authority::parse(authority.asn1).unwrap());
        }
        Ok(bundle)
    }
}

/// An X.509-SVID that somebody got.
#[derive(Clone)]
pub(crate) struct Minted(X509Svid);

impl Minted {
    /// Whether a relying party with this bundle takes it now.
    pub(crate) fn is_trusted(&self, bundle: &Bundle) -> bool {
        verify_chain(self.0.clone(), bundle, Purpose::Any, UnixTime::now()).is_ok()
    }

    /// Whether it did at that moment.
    pub(crate) fn was_trusted(&self, bundle: &Bundle, at: UnixTime) -> bool {
        verify_chain(self.0.clone(), bundle, Purpose::Any, at).is_ok()
    }

    /// Its serial number as the audit log writes it.
    pub(crate) fn serial(&self) -> String {
        SerialNumber::from_bytes(self.0.serial()).unwrap().to_decimal()
    }
}

/// Serial numbers of all SVIDs that a server's log tells of as minted.
pub(crate) fn minted_in_log(log: &str) -> Vec<String> {
    let lines = log.lines().filter(|line| line.contains("x509-svid issue") && line.contains("mint"));
    lines
        .filter_map(|line| Some(line.split_once("serial=")?.1.trim_matches('"').split(['"', ' ']).next()?.to_owned()))
        .collect()
}
