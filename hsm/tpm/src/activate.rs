//! TPM2_ActivateCredential: the proof that EK and AK live in one TPM.

use plastron_attestation::{EkTemplate, TpmDeviceError};
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{EncryptedSecret, IdObject};
use zeroize::Zeroizing;

use crate::link::{Link, SendError};
use crate::response::{describe, is_failure, refuses_parameter};
use crate::session::{authorising, encrypting};

/// Activates. The AK is authorised by its empty value, the EK as its template says; the secret comes back encrypted to a session
/// that is salted to the EK.
pub(crate) fn run(
    link: &mut Link,
    template: EkTemplate,
    ek: KeyHandle,
    ak: KeyHandle,
    credential: &[u8],
    secret: &[u8],
) -> Result<Zeroizing<Vec<u8>>, TpmDeviceError> {
    let refused = |reason| TpmDeviceError::CredentialRefused { reason };
    let credential =
        IdObject::try_from(credential.to_vec()).map_err(|error| refused(format!("credential: {error}")))?;
    let secret = EncryptedSecret::try_from(secret.to_vec()).map_err(|error| refused(format!("secret: {error}")))?;
    authorising(link, template, ek, |link, session| {
        let send = |link: &mut Link, third| {
            let sessions = (Some(AuthSession::Password), Some(session), third);
            let answer = link.send(|context| {
                context.execute_with_sessions(sessions, |context| {
                    context.activate_credential(ak, ek, credential.clone(), secret.clone())
                })
            });
            answer.map(|activated| Zeroizing::new(activated.to_vec())).map_err(|error| match error {
                SendError::Answer(answer) if refuses_parameter(&answer) => refused(describe(&answer)),
                // libtpms answers so to a secret that does not decrypt. In real failure mode the TPM does nothing else either.
                SendError::Answer(answer)
                    if is_failure(&answer) && link.send(|context| context.get_random(1)).is_ok() =>
                {
                    refused(describe(&answer))
                }
                other => other.of("ActivateCredential"),
            })
        };
        match session {
            // A password encrypts nothing: a third session does.
            AuthSession::Password => encrypting(link, template, ek, |link, third| send(link, Some(third))),
            _ => send(link, None),
        }
    })
}
