//! What a quote is bound to: the formula of extraData.
//!
//! `SHA-256(L("plastron/tpm/quote/1") ‖ L(purpose) ‖ L(trust domain) ‖ L(nonce) ‖ SHA-256(payload) ‖ SHA-256(challenge) ‖
//! SHA-256(SPKI))`, where `L(x)` is the length of x as 32 bits, then x; payload and challenge are the messages as they arrived.
//! So a relayed quote serves no other key, server, trust domain, step or conversation.

use plastron_attestation_tcg::HashAlgorithm;
use plastron_spiffe::TrustDomain;

const LABEL: &str = "plastron/tpm/quote/1";

/// Length of a nonce: 256 bits, which no two conversations share.
pub const NONCE_LEN: usize = 32;

/// What a quote is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A TPM, or a new AK of it, is admitted; the quote comes with an activated credential.
    Enrol,
    /// An enrolled AK speaks for its node.
    Renew,
    /// The AK certifies the key of the SVID, beside a quote of the same conversation.
    Certify,
}

impl Purpose {
    /// The word in the binding.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enrol => "enrol",
            Self::Renew => "renew",
            Self::Certify => "certify",
        }
    }
}

/// Everything that a quote is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// What the signature of the AK is for.
    pub purpose: Purpose,
    /// The trust domain of one's own configuration, never the peer's word.
    pub trust_domain: TrustDomain,
    /// The server's nonce.
    pub nonce: [u8; NONCE_LEN],
    /// SHA-256 of the payload as it was sent or received.
    pub payload_sha256: Vec<u8>,
    /// SHA-256 of the challenge as it was sent or received.
    pub challenge_sha256: Vec<u8>,
    /// SubjectPublicKeyInfo of the key that the SVID will carry, DER.
    pub svid_public_key: Vec<u8>,
}

impl Binding {
    /// The 32 bytes of extraData.
    pub fn extra_data(&self) -> Vec<u8> {
        let Self { purpose, trust_domain, nonce, payload_sha256, challenge_sha256, svid_public_key } = self;
        let mut input = Vec::new();
        for part in [LABEL.as_bytes(), purpose.name().as_bytes(), trust_domain.as_str().as_bytes(), nonce] {
            // Label, purpose, nonce and a trust domain of at most 255 bytes: none is near 2^32.
            input.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            input.extend_from_slice(part);
        }
        input.extend_from_slice(payload_sha256);
        input.extend_from_slice(challenge_sha256);
        input.extend(HashAlgorithm::Sha256.digest([svid_public_key.as_slice()]));
        HashAlgorithm::Sha256.digest([input.as_slice()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding() -> Binding {
        Binding {
            purpose: Purpose::Enrol,
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            nonce: [7; NONCE_LEN],
            payload_sha256: vec![1; 32],
            challenge_sha256: vec![2; 32],
            svid_public_key: vec![3; 91],
        }
    }

    #[test]
    fn extra_data_is_the_published_formula() {
        let spki = HashAlgorithm::Sha256.digest([[3u8; 91].as_slice()]);
        let mut input = Vec::new();
        input.extend(b"\0\0\0\x14plastron/tpm/quote/1\0\0\0\x05enrol\0\0\0\x0bexample.org\0\0\0\x20");
        input.extend([7; 32]);
        input.extend([1; 32]);
        input.extend([2; 32]);
        input.extend(spki);
        assert_eq!(binding().extra_data(), HashAlgorithm::Sha256.digest([input.as_slice()]));
    }

    /// Threat 13
    #[test]
    fn every_field_is_bound() {
        let original = binding().extra_data();
        let mut others = vec![binding(); 7];
        others[6].purpose = Purpose::Certify;
        others[0].purpose = Purpose::Renew;
        others[1].trust_domain = TrustDomain::parse("example.com").unwrap();
        others[2].nonce[31] ^= 1;
        others[3].payload_sha256[0] ^= 1;
        others[4].challenge_sha256[0] ^= 1;
        others[5].svid_public_key[90] ^= 1;
        assert!(others.iter().all(|other| other.extra_data() != original));
    }
}
