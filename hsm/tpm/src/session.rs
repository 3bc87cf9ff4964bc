//! Sessions that authorise the use of an EK (TCG EK Credential Profile 2.5, section 2.2.1 and annex B.6), salted to that EK so that
//! whoever listens on the bus reads no parameter.

use plastron_attestation::{EkTemplate, TpmDeviceError};
use plastron_attestation_tcg::{EkAuthorisation, HashAlgorithm};
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, KeyHandle, ObjectHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Digest, Nonce, SymmetricDefinition};

use crate::link::{Hierarchy, Link};

/// Runs `body` with the session that authorises the EK as a parent.
///
/// Low-range templates take no authorisation value: their policy asks for the endorsement hierarchy's. High-range templates
/// take the EK's own value, which is empty.
pub(crate) fn authorising<T>(
    link: &mut Link,
    template: EkTemplate,
    ek: KeyHandle,
    body: impl FnOnce(&mut Link, AuthSession) -> Result<T, TpmDeviceError>,
) -> Result<T, TpmDeviceError> {
    match template.authorisation() {
        EkAuthorisation::EmptyAuthValue => body(link, AuthSession::Password),
        EkAuthorisation::EndorsementPolicy => salted(link, template, ek, SessionType::Policy, |link, session| {
            let policy = PolicySession::try_from(session)
                .map_err(|_| malformed("StartAuthSession", "not the policy session that was asked for"))?;
            link.authorised("PolicySecret", Hierarchy::Endorsement, |context| {
                context.execute_with_session(Some(AuthSession::Password), |context| {
                    let (nonce, command, reference) = (Nonce::default(), Digest::default(), Nonce::default());
                    context.policy_secret(policy, AuthHandle::Endorsement, nonce, command, reference, None)
                })
            })?;
            body(link, session)
        }),
    }
}

/// Runs `body` with a session that encrypts a response, and authorises nothing.
pub(crate) fn encrypting<T>(
    link: &mut Link,
    template: EkTemplate,
    ek: KeyHandle,
    body: impl FnOnce(&mut Link, AuthSession) -> Result<T, TpmDeviceError>,
) -> Result<T, TpmDeviceError> {
    salted(link, template, ek, SessionType::Hmac, body)
}

fn salted<T>(
    link: &mut Link,
    template: EkTemplate,
    ek: KeyHandle,
    session_type: SessionType,
    body: impl FnOnce(&mut Link, AuthSession) -> Result<T, TpmDeviceError>,
) -> Result<T, TpmDeviceError> {
    let cipher = match template.symmetric().key_bits {
        128 => SymmetricDefinition::AES_128_CFB,
        _ => SymmetricDefinition::AES_256_CFB,
    };
    let hash = match template.name_alg() {
        HashAlgorithm::Sha384 => HashingAlgorithm::Sha384,
        HashAlgorithm::Sha512 => HashingAlgorithm::Sha512,
        HashAlgorithm::Sha1 | HashAlgorithm::Sha256 => HashingAlgorithm::Sha256,
    };
    let session = link.command("StartAuthSession", |context| {
        context.execute_without_session(|context| {
            context.start_auth_session(Some(ek), None, None, session_type, cipher, hash)
        })
    })?;
    let session = session.ok_or_else(|| malformed("StartAuthSession", "no session"))?;
    link.flushing(ObjectHandle::from(SessionHandle::from(session)), |link| {
        let (attributes, mask) = SessionAttributesBuilder::new().with_decrypt(true).with_encrypt(true).build();
        // An HMAC session goes beside two that authorise, and ActivateCredential's parameters are public: only the answer is secret.
        let (attributes, mask) = match session_type {
            SessionType::Hmac => SessionAttributesBuilder::new().with_encrypt(true).build(),
            _ => (attributes, mask),
        };
        link.command("StartAuthSession", |context| context.tr_sess_set_attributes(session, attributes, mask))?;
        body(link, session)
    })
}

pub(crate) fn malformed(command: &'static str, reason: impl Into<String>) -> TpmDeviceError {
    TpmDeviceError::MalformedReply { command, reason: reason.into() }
}
