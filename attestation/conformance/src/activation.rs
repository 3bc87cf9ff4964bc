//! `activate_credential`.

use plastron_attestation::{EkTemplate, TpmDeviceError};

use crate::Fixture;
use crate::proof::{bound_ak, credential, trusted_ek};

/// The secret comes back for a credential that is for this EK and this AK. For another AK, another TPM's EK, or with a bit changed
/// anywhere it is refused as such.
pub(crate) fn gives_the_secret_of_the_right_credential_only(fixture: &dyn Fixture) {
    let (mut machine, mut other) = (fixture.make(), fixture.make());
    for &template in fixture.templates() {
        let ek = trusted_ek(fixture, &mut *machine, template);
        let ak = machine.device().create_attestation_key(template).unwrap();
        bound_ak(&mut *machine, template, &ek, &ak);

        let another_ak = machine.device().create_attestation_key(template).unwrap();
        let (_, for_another_ak) = credential(&ek, &another_ak);
        let (_, for_another_ek) = credential(&trusted_ek(fixture, &mut *other, template), &ak);
        let (_, good) = credential(&ek, &ak);
        let mut wrong = vec![
            (for_another_ak.id_object, for_another_ak.encrypted_secret),
            (for_another_ek.id_object, for_another_ek.encrypted_secret),
        ];
        let flipped = |bytes: &[u8], at: usize| {
            let mut bytes = bytes.to_vec();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1;
            }
            bytes
        };
        // HMAC, encrypted identity, and the seed.
        for at in [2, good.id_object.len() - 1] {
            wrong.push((flipped(&good.id_object, at), good.encrypted_secret.clone()));
        }
        wrong.push((good.id_object.clone(), flipped(&good.encrypted_secret, good.encrypted_secret.len() - 1)));
        for (id_object, secret) in wrong {
            let outcome = machine.device().activate_credential(template, &ak, &id_object, &secret);
            assert_refused(template, outcome.map(drop).unwrap_err());
        }
        // Nothing of that hurt.
        bound_ak(&mut *machine, template, &ek, &ak);
    }
}

/// A credential that is no credential is refused as one, and the device is well.
pub(crate) fn survives_what_is_malformed(fixture: &dyn Fixture) {
    let mut machine = fixture.make();
    for &template in fixture.templates() {
        let ak = machine.device().create_attestation_key(template).unwrap();
        let cases: [(&[u8], &[u8]); 6] = [
            (&[], &[]),
            (&[7; 68], &[7; 256]),
            (&[7; 68], &[]),
            (&[], &[7; 256]),
            (&[7; 5000], &[7; 256]),
            (&[7; 68], &[7; 5000]),
        ];
        for (credential, secret) in cases {
            let outcome = machine.device().activate_credential(template, &ak, credential, secret);
            assert_refused(template, outcome.map(drop).unwrap_err());
        }
        trusted_ek(fixture, &mut *machine, template);
    }
}

fn assert_refused(template: EkTemplate, error: TpmDeviceError) {
    assert!(matches!(error, TpmDeviceError::CredentialRefused { .. }), "{}: {error}", template.name());
}
