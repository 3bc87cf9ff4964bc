//! TPM2_Sign by a key that may sign any digest.

use plastron_attestation::TpmDeviceError;
use plastron_attestation_tcg::TpmtSignature;
use tss_esapi::constants::tss::{TPM2_RH_NULL, TPM2_ST_HASHCHECK};
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Digest, HashcheckTicket, SignatureScheme};
use tss_esapi::traits::Marshall;
use tss_esapi::tss2_esys::TPMT_TK_HASHCHECK;

use crate::link::Link;
use crate::session::malformed;

/// TPMT_SIGNATURE. The key's value is empty, and neither digest nor signature is a secret, so a password session does.
pub(crate) fn run(
    link: &mut Link,
    key: KeyHandle,
    digest: &[u8],
    scheme: SignatureScheme,
) -> Result<Vec<u8>, TpmDeviceError> {
    let refused =
        |error: tss_esapi::Error| TpmDeviceError::Command { command: "Sign", reason: format!("digest: {error}") };
    let digest = Digest::try_from(digest.to_vec()).map_err(refused)?;
    // Only a restricted key asks for proof that the TPM made the digest; this is the ticket that says nothing.
    let no_ticket = TPMT_TK_HASHCHECK { tag: TPM2_ST_HASHCHECK, hierarchy: TPM2_RH_NULL, digest: Default::default() };
    let no_ticket = HashcheckTicket::try_from(no_ticket).map_err(refused)?;
    let signature = link.command("Sign", |context| {
        context.execute_with_session(Some(AuthSession::Password), |context| {
            context.sign(key, digest.clone(), scheme, no_ticket.clone())
        })
    })?;
    let signature = signature.marshall().map_err(|error| malformed("Sign", error.to_string()))?;
    TpmtSignature::parse(&signature).map_err(|error| malformed("Sign", error.to_string()))?;
    Ok(signature)
}
