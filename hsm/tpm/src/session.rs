//! Sessions: what authorises the use of an EK (TCG EK Credential Profile 2.5, section 2.2.1 and annex B.6) and of a hierarchy. All are
//! salted to a key of the TPM, so that whoever listens on the bus learns neither a parameter nor an authorisation value, and can't
//! try values on what he heard. Not against whoever answers in the TPM's place: that is what attestation is for.

use plastron_attestation::{EkTemplate, TpmDeviceError};
use plastron_attestation_tcg::{EkAuthorisation, HashAlgorithm};
use tss_esapi::Context;
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, KeyHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Digest, Nonce, SymmetricDefinition};

use crate::key_template;
use crate::link::{Hierarchy, Link};

/// A loaded key that sessions are salted to, with the algorithms that go with its strength.
#[derive(Clone, Copy)]
pub(crate) struct Salt {
    key: KeyHandle,
    cipher: SymmetricDefinition,
    hash: HashingAlgorithm,
}

impl Salt {
    /// To an EK.
    pub(crate) fn ek(template: EkTemplate, key: KeyHandle) -> Self {
        let cipher = match template.symmetric().key_bits {
            128 => SymmetricDefinition::AES_128_CFB,
            _ => SymmetricDefinition::AES_256_CFB,
        };
        let hash = match template.name_alg() {
            HashAlgorithm::Sha384 => HashingAlgorithm::Sha384,
            HashAlgorithm::Sha512 => HashingAlgorithm::Sha512,
            HashAlgorithm::Sha1 | HashAlgorithm::Sha256 => HashingAlgorithm::Sha256,
        };
        Self { key, cipher, hash }
    }
}

/// What a session is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Satisfies a policy; encrypts both ways.
    Policy,
    /// Encrypts the first parameter of the answer and authorises nothing. It goes beside two that do.
    Encryption,
    /// Proves an authorisation value without showing it.
    Proof,
}

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
        EkAuthorisation::EndorsementPolicy => {
            let salt = Salt::ek(template, ek);
            salted(link, salt, Purpose::Policy, |link, session| {
                let policy = PolicySession::try_from(session)
                    .map_err(|_| malformed("StartAuthSession", "not the policy session that was asked for"))?;
                by_hierarchy(link, "PolicySecret", Hierarchy::Endorsement, Some(salt), |context, proof| {
                    context.execute_with_session(Some(proof), |context| {
                        let (nonce, command, reference) = (Nonce::default(), Digest::default(), Nonce::default());
                        context.policy_secret(policy, AuthHandle::Endorsement, nonce, command, reference, None)
                    })
                })?;
                body(link, session)
            })
        }
    }
}

/// Runs `body` with a session that encrypts a response, and authorises nothing.
pub(crate) fn encrypting<T>(
    link: &mut Link,
    template: EkTemplate,
    ek: KeyHandle,
    body: impl FnOnce(&mut Link, AuthSession) -> Result<T, TpmDeviceError>,
) -> Result<T, TpmDeviceError> {
    salted(link, Salt::ek(template, ek), Purpose::Encryption, body)
}

/// Sends a command that a hierarchy authorises. Where its owner set a value, that is proven by HMAC and never sent; `salt` is a key
/// that is loaded anyway, and without one a key is made for it.
pub(crate) fn by_hierarchy<T>(
    link: &mut Link,
    name: &'static str,
    hierarchy: Hierarchy,
    salt: Option<Salt>,
    mut command: impl FnMut(&mut Context, AuthSession) -> tss_esapi::Result<T>,
) -> Result<T, TpmDeviceError> {
    let mut send = |link: &mut Link, proof| link.authorised(name, hierarchy, |context| command(context, proof));
    if link.auth(hierarchy).is_empty() {
        return send(link, AuthSession::Password);
    }
    match salt {
        Some(salt) => salted(link, salt, Purpose::Proof, send),
        None => proving(link, send),
    }
}

/// Runs `body` with a session that is salted to a primary key of the null hierarchy, which asks nobody's leave.
fn proving<T>(
    link: &mut Link,
    body: impl FnOnce(&mut Link, AuthSession) -> Result<T, TpmDeviceError>,
) -> Result<T, TpmDeviceError> {
    let template = key_template::storage_p256().map_err(|error| malformed("CreatePrimary", error.to_string()))?;
    let made = link.command("CreatePrimary", |context| {
        context.execute_with_session(Some(AuthSession::Password), |context| {
            context.create_primary(resource_handles::Hierarchy::Null, template.clone(), None, None, None, None)
        })
    })?;
    let key = made.key_handle;
    let salt = Salt { key, cipher: SymmetricDefinition::AES_128_CFB, hash: HashingAlgorithm::Sha256 };
    // The key goes before the body begins: its slot may be needed.
    let session = link.flushing(key.into(), |link| start(link, salt, Purpose::Proof))?;
    link.flushing_session(session, |link| body(link, session))
}

fn salted<T>(
    link: &mut Link,
    salt: Salt,
    purpose: Purpose,
    body: impl FnOnce(&mut Link, AuthSession) -> Result<T, TpmDeviceError>,
) -> Result<T, TpmDeviceError> {
    let session = start(link, salt, purpose)?;
    link.flushing_session(session, |link| {
        let attributes = SessionAttributesBuilder::new();
        let (attributes, mask) = match purpose {
            Purpose::Policy => attributes.with_decrypt(true).with_encrypt(true).build(),
            // ActivateCredential's parameters are public: only the answer is secret.
            Purpose::Encryption => attributes.with_encrypt(true).build(),
            Purpose::Proof => return body(link, session),
        };
        link.command("StartAuthSession", |context| context.tr_sess_set_attributes(session, attributes, mask))?;
        body(link, session)
    })
}

fn start(link: &mut Link, salt: Salt, purpose: Purpose) -> Result<AuthSession, TpmDeviceError> {
    let Salt { key, cipher, hash } = salt;
    let session_type = match purpose {
        Purpose::Policy => SessionType::Policy,
        Purpose::Encryption | Purpose::Proof => SessionType::Hmac,
    };
    let session = link.command("StartAuthSession", |context| {
        context.execute_without_session(|context| {
            context.start_auth_session(Some(key), None, None, session_type, cipher, hash)
        })
    })?;
    session.ok_or_else(|| malformed("StartAuthSession", "no session"))
}

pub(crate) fn malformed(command: &'static str, reason: impl Into<String>) -> TpmDeviceError {
    TpmDeviceError::MalformedReply { command, reason: reason.into() }
}
